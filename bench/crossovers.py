"""Up to which n lanes are faster than one matrix at a time: the sizes in src/lanes/lanes.cpp come from this table.

    python crossovers.py                           # every kernel that has a lane function, on this CPU's best lanes
    python crossovers.py --ops cholesky,solve --dtypes float32 --lanes avx2

Prints the time of one matrix at a time over that of lanes, the median of interleaved rounds.
"""

import argparse
from dataclasses import replace

from cases import chosen
from kernels import interleaved, median_ratio, runs, with_lanes
from matkern.kernels import gufunc

import matkern as mk

SIZES = (2, 4, 6, 8, 10, 12, 14, 15, 16, 20, 24, 28, 32, 48)
FEW = 4  # right-hand sides, of systems once more
ENTRIES = 300_000  # of an operand: a batch of matrices that does not stay in the first caches


def with_few_columns(case):
    """The case and, if it is of systems, one with a few right-hand sides."""
    op = mk.OPS[case.op]
    if op.forward.cores[op.inputs[-1]][-1:] != ("k?",):
        return [(case, "")]

    def draw(*args):
        *others, b = case.draw(*args)
        return *others, b[..., :FEW]

    return [(case, ""), (replace(case, draw=draw), f", {FEW} columns")]


def ratio(run, lanes):
    times = interleaved([with_lanes(lanes, limit, run) for limit in (1, SIZES[-1])])
    gufunc.set_lanes(lanes)
    return median_ratio(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", default="", help="comma-separated operations (default: all)")
    parser.add_argument("--dtypes", default="float64,float32,complex128,complex64")
    parser.add_argument("--lanes", default=gufunc.lane_choices()[-2], choices=gufunc.lane_choices()[:-1])
    args = parser.parse_args()
    print(f"{args.lanes}, {mk.get_num_threads()} threads")
    print(f"{'kernel':<32}{'dtype':<12}" + "".join(f"{n:>7}" for n in SIZES) + "   up to")
    done = set()
    for case, few in (each for whole in chosen(args.ops) for each in with_few_columns(whole)):
        op = mk.OPS[case.op]
        parts = {op.forward.name: "forward", op.pullback.name: "pullback", op.pushforward.name: "pushforward"}
        for dtype in args.dtypes.split(","):
            names = parts.keys() & set(gufunc.lane_kernels()) - {name for name, *rest in done if rest == [dtype, few]}
            if not names:
                continue
            points = {n: runs(case, max(2, ENTRIES // n**2), n, dtype) for n in SIZES}
            for name in sorted(names):
                row = [ratio(points[n][parts[name]], args.lanes) for n in SIZES]
                most = max((n for n, r in zip(SIZES, row, strict=True) if r >= 1), default=0)
                print(f"{name + few:<32}{dtype:<12}" + "".join(f"{r:>7.2f}" for r in row) + f"{most:>8}", flush=True)
                done.add((name, dtype, few))


if __name__ == "__main__":
    main()
