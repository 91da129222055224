"""What BLAS's threads gain LAPACK's drivers, and cost where a core is busy: BLAS_THREADS_ABOVE in src/parallel.cpp.

    python drivers.py                              # needs threadpoolctl
    python drivers.py --sizes 2000 --ops syevd

Prints the time with all of BLAS's threads over that with one, on a quiet machine and while another process keeps a core
busy, and how long the longest such call took over the quiet median of one thread.
"""

import argparse
import statistics

import numpy as np
from busy import busy_core, seconds_per_call
from scipy.linalg import get_lapack_funcs
from threadpoolctl import threadpool_info, threadpool_limits

DRIVERS = ("syevd", "gesdd", "geev")


def times(driver, a, threads, seconds):
    """Of each call, quiet and busy."""
    with threadpool_limits(threads):
        driver(a)
        quiet = seconds_per_call(lambda: driver(a), seconds)
        with busy_core():
            return quiet, seconds_per_call(lambda: driver(a), seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", default=",".join(DRIVERS))
    parser.add_argument("--sizes", default="256,512,1024")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    args = parser.parse_args()
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    print("; ".join(f"{pool['internal_api']} {pool['version']} x{pool['num_threads']}" for pool in pools))
    threads = max(pool["num_threads"] for pool in pools)
    print(f"{'driver':<8}{'n':>6}{'quiet':>8}{'busy':>8}{'longest':>9}")
    for n in map(int, args.sizes.split(",")):
        a = np.random.default_rng(0).standard_normal((n, n))
        a = np.asfortranarray(a + a.T)
        for name in args.ops.split(","):
            driver = get_lapack_funcs(name, (a,))
            (quiet, busy), (all_quiet, all_busy) = (times(driver, a, k, args.seconds) for k in (1, threads))
            one = statistics.median(quiet)
            ratios = [statistics.median(all_quiet) / one, statistics.median(all_busy) / statistics.median(busy)]
            print(f"{name:<8}{n:>6}{ratios[0]:>8.2f}{ratios[1]:>8.2f}{max(all_busy) / one:>9.1f}", flush=True)


if __name__ == "__main__":
    main()
