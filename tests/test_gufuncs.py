"""The kernels as NumPy gufuncs: for arrays that bring their own `__array_ufunc__`."""

import importlib
import pickle

import numpy as np
import pytest
from samples import SAMPLES, assert_near, forward, positive

import matkern as mk
from matkern.op import RECORDS

KERNELS = {k.name: k for op in RECORDS.values() for k in (op.forward, op.pullback, op.pushforward)}
GUFUNCS = {name: g for k in KERNELS.values() for name, g in k.gufuncs().items()}


class Duck:
    """An array that applies ufuncs itself, and refuses to become one of NumPy's."""

    def __init__(self, x):
        self.x = x
        self.shape, self.ndim = x.shape, x.ndim

    def __getitem__(self, index):
        return Duck(self.x[index])

    def __array__(self, *args, **kwargs):
        raise AssertionError("np.asarray was called")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        assert method == "__call__"
        assert pickle.loads(pickle.dumps(ufunc)) is ufunc
        result = ufunc(*(x.x if isinstance(x, Duck) else x for x in inputs), **kwargs)
        return tuple(map(Duck, result)) if isinstance(result, tuple) else Duck(result)


@pytest.mark.parametrize("name", GUFUNCS)
def test_pickles_by_its_name(name):
    gufunc = GUFUNCS[name]
    assert isinstance(gufunc, np.ufunc) and gufunc.signature and gufunc.__name__ == name
    assert pickle.loads(pickle.dumps(gufunc)) is gufunc


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_pickles_by_its_name(name):
    assert pickle.loads(pickle.dumps(KERNELS[name])) is KERNELS[name]


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_duck_arrays_reach_the_gufunc(rng, sample):
    for dtype in ("float32", "complex128"):
        inputs = sample.draw(rng, (2, 3), 4, dtype)
        want = forward(sample, inputs)
        got = forward(sample, [Duck(x) for x in inputs])
        for n, y in want.items():
            assert isinstance(got[n], Duck)
            assert_near(got[n].x, y)  # the gufunc of eigvalsh computes the vectors, too: another algorithm


def test_duck_arrays_reach_the_derivatives(rng):
    a = positive(rng, (3,), 4, "float64")
    L = mk.cholesky(a)
    np.testing.assert_array_equal(mk.cholesky_vjp(Duck(L), L).x, mk.cholesky_vjp(L, L))
    w, v = mk.eigh(a)
    np.testing.assert_array_equal(mk.eigh_vjp(Duck(w), v, w, None).x, mk.eigh_vjp(w, v, w, None))


def test_a_failing_matrix_is_nan_and_quiet(rng):
    gufunc = importlib.import_module("matkern.kernels.cholesky").cholesky.gufuncs()["cholesky(upper=False)"]
    a = positive(rng, (4,), 3, "float64")
    a[2] = -np.eye(3)
    with np.errstate(all="raise"):
        got = gufunc(a)
    assert np.isnan(got[2]).all()
    np.testing.assert_array_equal(got[[0, 1, 3]], mk.cholesky(a[[0, 1, 3]]))


def test_numpy_s_arguments(rng):
    """axes, out and strided cores are NumPy's own way of calling the loop."""
    gufunc = mk.OPS["solve"].forward.gufuncs()["solve(trans=N, assume_a=gen)"]
    a, b = positive(rng, (3,), 4, "float64"), rng.standard_normal((3, 4, 2))
    want = mk.solve(a, b)
    x, _, _ = gufunc(
        np.moveaxis(a, 0, -1), np.moveaxis(b, 0, -1), axes=[(0, 1), (0, 1), (0, 1), (0, 1), (0,)], order="C"
    )
    np.testing.assert_array_equal(np.moveaxis(x, (0, 1), (-2, -1)), want)
    x, _, _ = gufunc(np.asfortranarray(a[0]), b[0, :, 0])
    np.testing.assert_array_equal(x, mk.solve(a[0], b[0, :, 0]))


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("a(n,n)", "a kernel has a signature like"),
        ("a(n,n), piv:integer(n) -> x(n)", "a kernel has a signature like"),
        ("a(n,n,n) -> x(n)", "more operands, core axes, letters or options"),
        ("a(n,m,k), b(p,q) -> x(n)", "more operands, core axes, letters or options"),
        ("a(n,n) -> x(n,k)", "no input tells k of"),
        ("a(n,k) -> x(min)", "no input tells min of"),
    ],
)
def test_an_impossible_signature_is_refused(signature, message):
    with pytest.raises(ValueError, match=message):
        type(mk.OPS["cholesky"].forward)("name", signature, [0, 0, 0, 0])


def test_the_variant_for_the_other_shape_is_refused():
    gufuncs = mk.OPS["lu"].forward.gufuncs()
    tall, wide = np.ones((5, 2)), np.ones((2, 5))
    for name, good, bad in (("lu(min=n)", tall, wide), ("lu(min=m)", wide, tall)):
        np.testing.assert_allclose(gufuncs[name](good)[2], mk.lu(good).u)
        with pytest.raises(ValueError, match="for matrices of the other shape"):
            gufuncs[name](bad)
