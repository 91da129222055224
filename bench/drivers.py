"""What our own drivers gain beside LAPACK's, on one thread and on all: of large matrices, and of small general ones.

    python drivers.py                              # the LEAST of src/tridiagonal.pxd and src/bidiagonal.pxd
    python drivers.py --ops svd --dtypes complex64 --sizes 2000
    python drivers.py --ops eig,eigvals --dtypes float64 --sizes 2,4,8,12,16           # the SMALL_EIG of src/geev.pxd

Prints the time of the function without lanes, with which they go, over the time with them, for eig and eigvals that of
NumPy's over ours: medians of interleaved rounds. Beyond those sizes both are LAPACK's: to see what another one would
do, compile it.
"""

import argparse
from functools import partial

import numpy as np
from cases import chosen
from kernels import interleaved, median_ratio, with_lanes
from matkern.kernels import gufunc

import matkern as mk

SIZES = "192,256,384,512,768,1024,1536"
GENERAL = {"eig": np.linalg.eig, "eigvals": np.linalg.eigvals}  # LAPACK's dgeev, of any precision, on one thread
ENTRIES = 30_000  # of a batch of those, beside which a call is short


def gain(case, n, dtype, threads):
    ours = getattr(mk, case.op)
    mk.set_num_threads(threads)
    if case.op not in GENERAL:
        run = partial(ours, *case.inputs(1, n, dtype), **case.options)
        return median_ratio(interleaved([with_lanes(lanes, 0, run) for lanes in ("off", gufunc.lane_choices()[-2])]))
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((n, n)))[0].astype(dtype)
    a = q @ case.inputs(max(1, ENTRIES // n**2), n, dtype)[0] @ q.T  # triangular before
    return median_ratio(interleaved([partial(f, a) for f in (GENERAL[case.op], ours)]))


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
