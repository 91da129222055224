"""BLAS over src/lanes/gemm.cpp, for products of one matrix: that they pay up to the limits there is in this table.

    python products.py                             # on this CPU's best instruction set
    python products.py --dtypes float32 --lanes avx2

Prints the time of a product by BLAS over that of gemm.cpp, of A B and then of G B^H and A^H G, on one thread: the
median of interleaved rounds. First for square matrices, then for a square A and a B of 8 and of 32 columns. From the
size on where gemm.cpp leaves them to BLAS it is 1.
"""

import argparse

import numpy as np
from kernels import interleaved, median_ratio, with_lanes
from matkern.kernels import gufunc

import matkern as mk

SIZES = (8, 12, 16, 24, 32, 48, 64, 100, 128, 200, 256, 360, 500, 1000)
COLUMNS = (None, 8, 32)  # of B; None: as many as rows
ENTRIES = 60_000  # of an operand: a batch of matrices that stays in the second cache


def ratios(lanes, n, columns, dtype):
    """Of A B, and of the products with adjoints."""
    rng = np.random.default_rng(0)
    batch = max(2, ENTRIES // n**2)
    a, b, g = (rng.standard_normal((batch, *s)).astype(dtype) for s in ((n, n), (n, columns), (n, columns)))
    for run in (lambda: mk.matmul(a, b), lambda: mk.matmul_vjp(a, b, g)):
        yield median_ratio(interleaved([with_lanes("off", 0, run), with_lanes(lanes, 1, run)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtypes", default="float64,float32,complex128,complex64")
    parser.add_argument("--lanes", default=gufunc.lane_choices()[-2], choices=gufunc.lane_choices()[:-1])
    args = parser.parse_args()
    mk.set_num_threads(1)
    print(args.lanes)
    print(f"{'dtype':<12}{'columns':>8} {'':<9}" + "".join(f"{n:>6}" for n in SIZES))
    for dtype in args.dtypes.split(","):
        for columns in COLUMNS:
            rows = zip(*[ratios(args.lanes, n, columns or n, dtype) for n in SIZES], strict=True)
            for name, row in zip(("A B", "adjoints"), rows, strict=True):
                print(f"{dtype:<12}{columns or 'n':>8} {name:<9}" + "".join(f"{r:>6.2f}" for r in row), flush=True)


if __name__ == "__main__":
    main()
