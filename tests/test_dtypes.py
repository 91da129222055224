"""Which dtype comes out, and that real inputs keep real gradients."""

import numpy as np
import pytest
from samples import DTYPES, SAMPLES, assert_near, draw_cotangents, draw_tangents, forward, general, normal, pullback

import matkern as mk

INTEGERS = ("bool", "int8", "uint8", "int16", "int32", "int64", "uint64")


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", ["cholesky", "eigvalsh", "lu_factor", "solve", "solve_triangular"])
def test_integers_become_float64(name, dtype):
    a = np.eye(3).astype(dtype)
    inputs = (a, np.ones((3, 1), dtype)) if name.startswith("solve") else (a,)
    y, pull = mk.vjp(name, *inputs)
    y = y[0] if isinstance(y, tuple) else y
    assert y.dtype == np.float64
    g = (np.ones(y.shape), None) if name == "lu_factor" else np.ones(y.shape)
    assert all(bar.dtype == np.float64 for bar in pull(g))


@pytest.mark.parametrize("first", DTYPES)
@pytest.mark.parametrize("second", DTYPES)
def test_mixed_inputs_take_the_wider(rng, first, second):
    a, b = general(rng, (2,), 4, first), normal(rng, (2, 4, 3), second)
    x, pull = mk.vjp("solve", a, b)
    both = np.result_type(first, second)
    assert x.dtype == both
    a_bar, b_bar = pull(normal(rng, x.shape, x.dtype))
    assert a_bar.dtype == a.dtype and b_bar.dtype == b.dtype
    assert_near(x, mk.solve(a.astype(both), b.astype(both)), multiple=0)


def test_a_real_matrix_with_a_complex_right_hand_side_has_a_real_gradient(rng):
    a, b = general(rng, (), 4, "float64"), normal(rng, (4, 2), "complex128")
    x, pull = mk.vjp("solve", a, b)
    g = normal(rng, x.shape, "complex128")
    _, pull_complex = mk.vjp("solve", a.astype(complex), b)
    np.testing.assert_array_equal(pull(g)[0], pull_complex(g)[0].real)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.name != "lu_solve"], ids=str)
def test_complex_cotangents_and_tangents_of_real_arrays_count_by_their_real_part(rng, sample, dtype):
    inputs = sample.draw(rng, (2,), 4, dtype)
    outputs = forward(sample, inputs)
    g = draw_cotangents(rng, sample, outputs)
    tilted = {
        n: x if x is None or x.dtype.kind == "c" else x + 1j * normal(rng, x.shape, x.dtype) for n, x in g.items()
    }
    for got, want, x in zip(pullback(sample, inputs, tilted), pullback(sample, inputs, g), inputs, strict=True):
        assert got is want is None or got.dtype == x.dtype
        np.testing.assert_array_equal(got, want)
    t = draw_tangents(rng, sample, inputs)
    _, got = mk.jvp(sample.name, inputs, [None if x is None else x + 2j for x in t], **sample.options)
    _, want = mk.jvp(sample.name, inputs, t, **sample.options)
    np.testing.assert_equal(got, want)


def test_a_float64_cotangent_does_not_widen(rng):
    L = mk.cholesky(np.eye(3, dtype=np.float32))
    assert mk.cholesky_vjp(L, np.ones((3, 3))).dtype == np.float32
    assert mk.cholesky_jvp(L, np.ones((3, 3), int)).dtype == np.float32


@pytest.mark.parametrize("dtype", ["float16", "longdouble", "clongdouble", "object", "datetime64[s]", "U1"])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(TypeError, match="cholesky: a has dtype"):
        mk.cholesky(np.ones((2, 2)).astype(dtype))


def test_lists_and_scalars():
    assert_near(mk.solve([[2, 0], [0, 4]], [2, 4]), np.ones(2), multiple=1)
    _, pull = mk.vjp("cholesky", [[4.0]])
    np.testing.assert_array_equal(pull(1)[0], [[0.25]])


def test_pandas(rng):
    """As NumPy has it: by value. Its own way with ufuncs would factor the transpose."""
    pandas = pytest.importorskip("pandas", reason="comes with the demo's extra")
    a, b = general(rng, (), 3, "float64"), normal(rng, (3,), "float64")
    np.testing.assert_array_equal(mk.solve(pandas.DataFrame(a), pandas.Series(b)), mk.solve(a, b))
