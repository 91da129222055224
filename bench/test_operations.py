"""Forward pass, pullback alone, and the two together, of every operation on the grid."""

from operator import attrgetter

from cases import CASES
from contenders import INSTALLED, Point, check


def pytest_generate_tests(metafunc):
    option = metafunc.config.getoption
    pairs = [
        (Point(case, batch, n, dtype), INSTALLED[name])
        for case in CASES
        if case.name in option("ops")
        for batch, n in option("grid")
        for dtype in option("dtypes")
        for name in option("contenders")
        if name == "matkern" or (getattr(case, name) and not (name in case.real_only and dtype.startswith("complex")))
    ]
    metafunc.parametrize(("point", "contender"), pairs, ids=attrgetter("name"))


def test_forward(point, timed):
    check(point, "forward", timed("forward"))


def test_backward(point, timed):
    check(point, "backward", timed("backward"))


def test_total(point, timed):
    check(point, "total", timed("total"))
