"""What pullbacks of large matrices reach of the rate of BLAS's product, and what they cost beside the forward pass.

    python roofline.py                             # every operation
    python roofline.py --ops cholesky,solve --dtypes complex128 --grid 1x2000

Prints, of each operation, the flops that its pullback needs over the time it takes, as a share of the rate of a product
of two matrices of order 1024 on all threads; then the pullback's time over the forward pass's. Medians of interleaved
rounds, each after a pause in which the threads of the product fall asleep.
"""

import argparse

import numpy as np
from cases import chosen
from conftest import GRID, grid
from kernels import interleaved, median_ratio, runs
from scipy.linalg import get_blas_funcs

import matkern as mk

ORDER = 1024
PAUSE = 0.15  # seconds; OpenBLAS's threads spin for about 0.1

# Multiplications and additions over n^3 for real matrices (n, n), with n right-hand sides. Triangles of products of
# triangles or of Hermitian results are counted alone.
FLOPS = {
    "cholesky": 2 / 3,  # twice the forward pass, as any reverse mode at its best
    "lu_factor": 4 / 3,
    "lu": 4 / 3,
    "solve_triangular": 2,  # a solve and a triangle of a product
    "cholesky_solve": 14 / 3,  # two solves, a Hermitian product, its product with L
    "solve": 4,  # two solves and a product
    "inv": 4,  # two products
    "matmul": 4,
    "det": 4 / 3,  # the inverse from the factors
    "slogdet": 4 / 3,
    "qr": 13 / 3,  # R R_bar^H 1/3, Q_bar^H Q 1, Q H 2, R^-H 1
    "eigh": 5,  # V^H V_bar 2, V P 2, P V^H 1
    "eigvalsh": 1,  # V diag V^H
    "svd": 8,  # U^H U_bar, V^H V_bar, U P, P V^H
    "svdvals": 2,
}


def figures(case, batch, n, dtype):
    """The share, or None where there are no flops, and pullback over forward pass."""
    kernels = runs(case, batch, n, dtype)
    product = get_blas_funcs("gemm", dtype=dtype)
    a = np.ones((ORDER, ORDER), dtype, order="F")
    forward, pullback, products = interleaved(
        [kernels["forward"], kernels["pullback"], lambda: product(1, a, a)], pause=PAUSE
    )
    flops = FLOPS.get(case.name)
    share = flops and flops * batch * n**3 / (2 * ORDER**3) * median_ratio((products, pullback))
    return share, median_ratio((pullback, forward))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", default="", help="comma-separated operations (default: all)")
    parser.add_argument("--dtypes", default="float64")
    large = ",".join(point for point in GRID.split(",") if int(point.split("x")[1]) >= 64)
    parser.add_argument("--grid", type=grid, default=large, metavar="BATCHxN,...")
    args = parser.parse_args()
    print(mk.show_config(mode="dicts"))
    points = "".join(f"{f'{batch}x{n}':>9}" for batch, n in args.grid)
    print(f"{'':<32}{'share of the rate':<{len(points)}}   pullback / forward")
    print(f"{'operation':<20}{'dtype':<12}{points}   {points}")
    for case in chosen(args.ops):
        for dtype in args.dtypes.split(","):
            shares, ratios = zip(*[figures(case, *point, dtype) for point in args.grid], strict=True)
            row = "".join(f"{share:>9.0%}" if share else f"{'-':>9}" for share in shares)
            print(f"{case.name:<20}{dtype:<12}{row}   " + "".join(f"{ratio:>9.2f}" for ratio in ratios), flush=True)


if __name__ == "__main__":
    main()
