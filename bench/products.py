"""BLAS over src/lanes/gemm.cpp, for products of one matrix: the limit LARGEST there comes from this table.

    python products.py                             # on this CPU's best instruction set
    python products.py --dtypes float32 --lanes avx2

Prints the time of a product by BLAS over that of gemm.cpp, of A B and then of G B^H and A^H G, on one thread: the
median of interleaved rounds. From the size on where gemm.cpp leaves them to BLAS it is 1.
"""

import argparse

import numpy as np
from kernels import interleaved, median_ratio
from matkern.kernels import gufunc

import matkern as mk

SIZES = (8, 12, 16, 24, 32, 48, 64, 100, 128, 200, 256)
ENTRIES = 60_000  # of an operand: a batch of matrices that stays in the second cache


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtypes", default="float64,float32,complex128,complex64")
    parser.add_argument("--lanes", default=gufunc.lane_choices()[-2], choices=gufunc.lane_choices()[:-1])
    args = parser.parse_args()
    mk.set_num_threads(1)
    rng = np.random.default_rng(0)
    print(args.lanes)
    print(f"{'dtype':<12}{'':<12}" + "".join(f"{n:>7}" for n in SIZES))
    for dtype in args.dtypes.split(","):
        rows = {"A B": [], "adjoints": []}
        for n in SIZES:
            a, b, g = (rng.standard_normal((max(2, ENTRIES // n**2), n, n)).astype(dtype) for _ in range(3))
            products = {
                "A B": lambda a=a, b=b: mk.matmul(a, b),
                "adjoints": lambda a=a, b=b, g=g: mk.matmul_vjp(a, b, g),
            }
            for name, run in products.items():

                def by(choice, run=run):
                    def call():
                        gufunc.set_lanes(choice, 1)  # of lanes themselves, none
                        run()

                    return call

                rows[name].append(median_ratio(interleaved([by("off"), by(args.lanes)])))
        for name, row in rows.items():
            print(f"{dtype:<12}{name:<12}" + "".join(f"{r:>7.2f}" for r in row), flush=True)


if __name__ == "__main__":
    main()
