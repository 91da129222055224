"""What our own reductions of large matrices gain beside LAPACK's drivers, on one thread and on all.

    python drivers.py                              # the LEAST of src/tridiagonal.pxd and src/bidiagonal.pxd
    python drivers.py --ops svd --dtypes complex64 --sizes 2000

Prints the time of the function without lanes, with which they go, over the time with them: medians of interleaved
rounds. Below those sizes both are LAPACK's: to see what a lower LEAST would do, compile it.
"""

import argparse
from functools import partial

from cases import chosen
from kernels import interleaved, median_ratio, with_lanes
from matkern.kernels import gufunc

import matkern as mk

SIZES = "192,256,384,512,768,1024,1536"


def gain(case, n, dtype, threads):
    run = partial(getattr(mk, case.op), *case.inputs(1, n, dtype), **case.options)
    mk.set_num_threads(threads)
    return median_ratio(interleaved([with_lanes(lanes, 0, run) for lanes in ("off", gufunc.lane_choices()[-2])]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", default="eigh,eigvalsh,svd,svdvals", help="comma-separated operations")
    parser.add_argument("--dtypes", default="float64,float32,complex128,complex64")
    parser.add_argument("--sizes", default=SIZES)
    args = parser.parse_args()
    sizes, all_threads = [int(n) for n in args.sizes.split(",")], mk.get_num_threads()
    print(mk.show_config(mode="dicts"))
    print(f"{'operation':<12}{'dtype':<12}{'threads':>8}" + "".join(f"{n:>7}" for n in sizes))
    for case in chosen(args.ops):
        for dtype in args.dtypes.split(","):
            for threads in sorted({1, all_threads}):
                row = "".join(f"{gain(case, n, dtype, threads):>7.2f}" for n in sizes)
                print(f"{case.name:<12}{dtype:<12}{threads:>8}{row}", flush=True)


if __name__ == "__main__":
    main()
