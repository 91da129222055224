"""The peak of memory that a forward pass and its pullback take, in matkern and beside it.

    python memory.py                               # every operation; one matrix of order 2000, and 10000 of order 64
    python memory.py --ops cholesky,eigh --contenders matkern --grid 1x1000

Prints by how much a process's resident memory rises above what it is with the library and the inputs, in sizes of the
first input: first what the outputs, their cotangents and the gradients take together, which nobody can do without, then
the rise in each library, in a process of its own. Linux alone tells.
"""

import argparse
import os
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from cases import chosen
from conftest import grid
from contenders import INSTALLED, differentiable

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
GRID = "1x2000,10000x64"


def resident(key):
    """Bytes; of VmRSS now, of VmHWM at most since it was reset."""
    return 1024 * int(re.search(rf"{key}:\s+(\d+)", STATUS.read_text())[1])


def derivative(running):
    """The outputs, their cotangents and the gradients, as NumPy arrays."""
    outputs, pullback = running.vjp()
    outputs = [running.numpy(y) for y in differentiable(running.op, outputs)]
    cotangents = [y.copy() for y in outputs]
    gradients = pullback(running.given(list(map(running.array, cotangents))))
    return outputs, cotangents, running.results("backward", gradients)


def sizes(name, contender, batch, n, dtype):
    """Bytes of the first input, of all results, and of the rise."""
    (case,) = chosen(name)
    derivative(INSTALLED[contender](case, case.inputs(2, 2, dtype)))  # loads and compiles what is not of this size
    inputs = case.inputs(batch, n, dtype)
    running = INSTALLED[contender](case, inputs)
    before = resident("VmRSS")
    derivative(running)  # compiles for this size; not at the peak
    CLEAR.write_text("5")  # the peak is what there is
    results = derivative(running)
    return inputs[0].nbytes, sum(x.nbytes for xs in results for x in xs), resident("VmHWM") - before


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", default="", help="comma-separated operations (default: all)")
    parser.add_argument("--dtype", default="float64")
    parser.add_argument("--grid", type=grid, default=GRID, metavar="BATCHxN,...", help=f"default: {GRID}")
    parser.add_argument("--contenders", default="matkern,torch,jax", metavar="NAME,...")
    args = parser.parse_args()
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "1048576"  # what is freed goes back to the system
    names = [name for name in args.contenders.split(",") if name in INSTALLED]
    print(f"{'point':<36}{'results':>9}" + "".join(f"{name:>9}" for name in names))
    # a process for each: what one leaves would count for the next
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
        for case in chosen(args.ops):
            for batch, n in args.grid:
                cells = []
                for name in names:
                    if name != "matkern" and not getattr(case, name):
                        cells.append(f"{'-':>9}")
                        continue
                    first, results, rise = processes.submit(sizes, case.name, name, batch, n, args.dtype).result()
                    cells = cells or [f"{results / first:>9.2f}"]
                    cells.append(f"{rise / first:>9.2f}")
                print(f"{f'{case.name}-{batch}x{n}-{args.dtype}':<36}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
