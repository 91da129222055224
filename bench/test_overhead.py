"""What a call costs besides the computation: one 4x4 matrix, against each framework's own function, and an import.

And what the frameworks leave of the advantage for a batch of them.
"""

import subprocess
import sys

import pytest
from cases import CASES
from contenders import INSTALLED, Autograd, Contender, Jax, Matkern, Point, Torch, check

POINTS = {
    f"{op}-{batch}": Point(next(case for case in CASES if case.op == op), batch, n=4, dtype="float64")
    for op, batch in (("cholesky", 1), ("cholesky", 10_000), ("solve", 10_000))
}


class NumPy(Contender):
    name = module = "numpy"

    def forward(self):
        return self.case.autograd(self.library, *self.inputs)  # its NumPy is NumPy


def through(theirs):
    """matkern's functions of a library's arrays."""
    return type(theirs)(f"Matkern{theirs.__name__}", (theirs,), {"name": "matkern", "shim": f"matkern.{theirs.name}"})


def pairs(points, *pairs):
    """Parameters: matkern's functions and a library's own, at each point."""
    both = [
        pytest.param(POINTS[name], c, theirs.name, id=f"{name}-{theirs.name}-{c.name}")
        for name in points
        for ours, theirs in pairs
        for c in (ours, theirs)
    ]
    return pytest.mark.parametrize(("point", "contender", "framework"), both)


@pairs(["cholesky-1"], (Matkern, NumPy))
def test_call(timed, point, framework):
    check(point, "forward", timed("forward"))


@pytest.mark.parametrize("mode", ["forward", "backward", "total"])
@pairs(POINTS, *((through(theirs), theirs) for theirs in (Autograd, Torch, Jax) if theirs.name in INSTALLED))
def test_framework(timed, point, framework, mode):
    check(point, mode, timed(mode, f"{framework} {mode}"))


@pytest.mark.benchmark(group="import, in a new process")
@pytest.mark.parametrize("name", ["numpy", "matkern"])
def test_import(benchmark, name):
    benchmark.pedantic(subprocess.run, ([sys.executable, "-c", f"import {name}"],), {"check": True}, rounds=9)
