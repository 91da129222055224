"""What OpenBLAS's kernels for newer CPUs gain on this one: the figures that `matkern.show_config` warns with.

    python coretype.py                             # needs a CPU with AVX-512 to see all of them

Prints the time of a product by each core type (OPENBLAS_CORETYPE) over that by the next, on one thread, the median of
interleaved rounds, each in a process of its own.
"""

import os
import statistics
import subprocess
import sys
from itertools import pairwise

import matkern as mk

CORETYPES = ("NEHALEM", "HASWELL", "SKYLAKEX")  # SSE, AVX2, AVX-512
ORDER = 1000
ROUNDS = 7
PRODUCT = f"""
import time
import numpy as np
from scipy.linalg.blas import dgemm
import matkern as mk

a = np.ones(({ORDER}, {ORDER}), order="F")
times = []
for _ in range(10):
    start = time.perf_counter()
    dgemm(1.0, a, a)
    times.append(time.perf_counter() - start)
print(mk.show_config(mode="dicts")["blas core"], min(times))
"""


def seconds(coretype):
    env = {**os.environ, "OPENBLAS_CORETYPE": coretype, "OPENBLAS_NUM_THREADS": "1"}
    core, time = subprocess.run(
        [sys.executable, "-c", PRODUCT], env=env, check=True, capture_output=True, text=True
    ).stdout.split()
    if core.upper() != coretype:
        raise SystemExit(f"OpenBLAS was asked for {coretype} and took {core}: this CPU has no such instructions")
    return float(time)


def main():
    config = mk.show_config(mode="dicts")
    print(f"SciPy {config['scipy']}, {config['blas']}, one thread, order {ORDER}")
    rounds = [[seconds(coretype) for coretype in CORETYPES] for _ in range(ROUNDS)]
    for i, (older, newer) in enumerate(pairwise(CORETYPES)):
        ratio = statistics.median(times[i] / times[i + 1] for times in rounds)
        print(f"{older} / {newer}: {ratio:.2f}")


if __name__ == "__main__":
    main()
