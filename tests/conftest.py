import zlib

import numpy as np
import pytest
from matkern.kernels import gufunc


@pytest.fixture
def rng(request):
    """Random numbers that are a test's own, whatever runs before it."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(autouse=True)
def seeded(request):
    """What autograd's check_grads draws its directions from."""
    np.random.seed(zlib.crc32(request.node.nodeid.encode()))  # noqa: NPY002


@pytest.fixture(params=gufunc.lane_choices())
def any_lanes(request):
    """Each variant of the instruction set, and none."""
    before = gufunc.lanes()
    gufunc.set_lanes(request.param)
    yield request.param
    gufunc.set_lanes(before)
