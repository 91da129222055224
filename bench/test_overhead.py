"""What a call costs besides the computation: one 4x4 matrix, against each framework's own function, and an import."""

import subprocess
import sys

import pytest
from cases import CASES
from contenders import INSTALLED, Autograd, Contender, Jax, Matkern, Point, Torch, check

POINT = Point(next(case for case in CASES if case.op == "cholesky"), batch=1, n=4, dtype="float64")


class NumPy(Contender):
    name = module = "numpy"

    def forward(self):
        return self.case.autograd(self.library, *self.inputs)  # its NumPy is NumPy


def through(theirs):
    """matkern's functions of a library's arrays."""
    return type(theirs)(f"Matkern{theirs.__name__}", (theirs,), {"name": "matkern", "shim": f"matkern.{theirs.name}"})


def pairs(*pairs):
    """Parameters: matkern's functions and a library's own, at one point."""
    both = [
        pytest.param(POINT, c, theirs.name, id=f"{theirs.name}-{c.name}")
        for ours, theirs in pairs
        for c in (ours, theirs)
    ]
    return pytest.mark.parametrize(("point", "contender", "framework"), both)


@pairs((Matkern, NumPy))
def test_call(timed, framework):
    check(POINT, "forward", timed("forward"))


@pytest.mark.parametrize("mode", ["forward", "backward", "total"])
@pairs(*((through(theirs), theirs) for theirs in (Autograd, Torch, Jax) if theirs.name in INSTALLED))
def test_framework(timed, framework, mode):
    check(POINT, mode, timed(mode, f"{framework} {mode}"))


@pytest.mark.benchmark(group="import, in a new process")
@pytest.mark.parametrize("name", ["numpy", "matkern"])
def test_import(benchmark, name):
    benchmark.pedantic(subprocess.run, ([sys.executable, "-c", f"import {name}"],), {"check": True}, rounds=9)
