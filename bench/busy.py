"""What a call takes while another process keeps one of the cores busy, as servers and CI machines do.

    python busy.py                                 # every operation, forward pass and pullback
    python busy.py --ops solve,eigh --grid 1x512

Prints the median over the quiet one, and by how many milliseconds the 99th percentile is above three quiet medians.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import time

import numpy as np
from cases import chosen
from conftest import grid
from kernels import runs

import matkern as mk

GRID = "10000x4,1000x32,60x128,10x256,1x512,1x1024"
LEAST_CALLS = 10


def seconds_per_call(function, seconds):
    """Of each call."""
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < LEAST_CALLS:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times


@contextlib.contextmanager
def busy_core():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        time.sleep(0.3)
        try:
            yield
        finally:
            process.kill()


def slowdown(function, seconds):
    """Median over the quiet one, and milliseconds of the 99th percentile above three of those."""
    function()
    quiet = statistics.median(seconds_per_call(function, seconds))
    with busy_core():
        times = seconds_per_call(function, seconds)
    return statistics.median(times) / quiet, 1e3 * (np.percentile(times, 99) - 3 * quiet)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", default="", help="comma-separated operations (default: all)")
    parser.add_argument("--dtype", default="float64")
    parser.add_argument("--grid", type=grid, default=GRID, metavar="BATCHxN,...", help=f"default: {GRID}")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    args = parser.parse_args()
    print(mk.show_config(mode="dicts"))
    print(f"{'point':<36}{'':<10}{'median':>8}{'p99, ms':>10}")
    for case in chosen(args.ops):
        for batch, n in args.grid:
            kernels = runs(case, batch, n, args.dtype)
            for name in ("forward", "pullback"):
                ratio, above = slowdown(kernels[name], args.seconds)
                print(f"{f'{case.name}-{batch}x{n}-{args.dtype}':<36}{name:<10}{ratio:>8.2f}{above:>10.1f}", flush=True)


if __name__ == "__main__":
    main()
