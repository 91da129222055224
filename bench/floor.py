"""How far the pullbacks of small matrices are from moving their operands and results, and nothing else.

    python floor.py                                # every operation
    python floor.py --ops cholesky,solve --dtypes float32 --grid 10000x4

Prints what a kernel takes, into arrays that exist, over what two threads take to copy its operands and results: the
median of interleaved rounds.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from cases import chosen
from conftest import grid
from kernels import draw, interleaved, median_ratio

import matkern as mk


def pullback_and_copy(case, batch, n, dtype, pool):
    """Functions that run the kernel, and copy what it reads and writes."""
    call, bars, _ = draw(case, batch, n, dtype)
    kernel = call.op.pullback
    operands = [bars.get(name[:-4]) if name.endswith("_bar") else call.values[name] for name in kernel.inputs]
    options = {name: value for name, value in call.options.items() if name in kernel.options}
    results = kernel(*operands, **options)
    results = results if isinstance(results, tuple) else (results,)
    buffers = [x for x in (*operands, *results) if x is not None]
    copies = [np.empty_like(x) for x in buffers]

    def copy_half(half):
        for x, y in zip(buffers, copies, strict=True):
            np.copyto(y[half], x[half])

    def copy():
        other = pool.submit(copy_half, slice(batch // 2))
        copy_half(slice(batch // 2, None))
        other.result()

    return lambda: kernel(*operands, out=results if len(results) > 1 else results[0], **options), copy


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", default="", help="comma-separated operations (default: all)")
    parser.add_argument("--dtypes", default="float64,float32")
    parser.add_argument("--grid", type=grid, default="10000x2,10000x4,10000x8,4000x16", metavar="BATCHxN,...")
    args = parser.parse_args()
    print(mk.show_config(mode="dicts"))
    print(f"{'operation':<20}{'dtype':<12}" + "".join(f"{f'{batch}x{n}':>10}" for batch, n in args.grid))
    with ThreadPoolExecutor(1) as pool:
        for case in chosen(args.ops):
            for dtype in args.dtypes.split(","):
                points = [pullback_and_copy(case, *point, dtype, pool) for point in args.grid]
                row = [median_ratio(interleaved(point)) for point in points]
                print(f"{case.name:<20}{dtype:<12}" + "".join(f"{r:>10.2f}" for r in row), flush=True)


if __name__ == "__main__":
    main()
