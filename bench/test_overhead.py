"""What a call costs besides the computation: one 4x4 matrix, against NumPy, and under autograd."""

from operator import attrgetter
from types import SimpleNamespace

import pytest
from cases import CASES
from contenders import INSTALLED, Autograd, Contender, Matkern, Point, check

POINT = Point(next(case for case in CASES if case.op == "cholesky"), batch=1, n=4, dtype="float64")


class NumPy(Contender):
    name = module = "numpy"

    def forward(self):
        return self.case.autograd(self.library, *self.inputs)  # its NumPy is NumPy


class MatkernAutograd(Autograd):
    name, module = "matkern", "matkern.autograd"

    def compute(self, *inputs):
        return self.case.autograd(SimpleNamespace(linalg=self.library), *inputs)


def between(*contenders):
    return pytest.mark.parametrize(("point", "contender"), [(POINT, c) for c in contenders], ids=attrgetter("name"))


@between(Matkern, NumPy)
def test_call(timed):
    check(POINT, "forward", timed("forward"))


if "autograd" in INSTALLED:

    @between(MatkernAutograd, Autograd)
    def test_autograd_forward(timed):
        check(POINT, "forward", timed("forward"))

    @between(MatkernAutograd, Autograd)
    def test_autograd_backward(timed):
        check(POINT, "backward", timed("backward"))

    @between(MatkernAutograd, Autograd)
    def test_autograd_total(timed):
        check(POINT, "total", timed("total"))
