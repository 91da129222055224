"""Pullbacks: against the plain formula, and what cotangents may be."""

import numpy as np
import pytest
from samples import DTYPES, SAMPLES, adjoint, assert_near, by_formula, draw_cotangents, forward, normal, pullback

import matkern as mk


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 7, 40, 100])
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_formula(rng, sample, n, dtype):
    inputs = sample.draw(rng, (2,), n, dtype)
    outputs = forward(sample, inputs)
    g = draw_cotangents(rng, sample, outputs)
    got = pullback(sample, inputs, g)
    want = iter(by_formula(sample, inputs, g, "cotangent"))
    for name, x, bar in zip(sample.op.inputs, inputs, got, strict=False):
        if name not in sample.op.differentiable_inputs:
            assert bar is None
            continue
        assert bar.dtype == x.dtype and bar.flags.c_contiguous
        assert_near(bar, next(want))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [15, 16, 17, 130, 513, 650])
def test_determinants_at_every_size_of_block(rng, n, dtype):
    """det(A)'s gradient is conj(det(A)) A^-H, and log|det(A)|'s is A^-H."""
    a = (normal(rng, (n, n), dtype) / np.sqrt(n) + np.eye(n) * 3).astype(dtype)
    a /= np.exp(np.linalg.slogdet(a)[1] / n).astype(dtype)  # a determinant of about 1
    want = np.linalg.inv(a).conj().T
    d, pull = mk.vjp("det", a)
    assert_near(pull(np.ones((), dtype))[0], np.conj(d) * want)
    (_, logabsdet), pull = mk.vjp("slogdet", a)
    assert_near(pull((None, np.ones((), logabsdet.dtype)))[0], want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [31, 67, 300, 301])
def test_eigenvalues_alone_at_every_way_of_the_product(rng, n, dtype):
    """V diag(w_bar) V^H, by blocks, by halves, and above 300 rows without a transposed copy."""
    v = normal(rng, (n, n), dtype) / np.sqrt(n).astype(dtype)  # any V: the formula does not need it unitary
    w = np.arange(n).astype(v.real.dtype)
    w_bar = normal(rng, n, v.real.dtype)
    a_bar = mk.eigh_vjp(w, v, w_bar, None)
    assert_near(a_bar, (v * w_bar) @ adjoint(v))
    assert (a_bar == adjoint(a_bar)).all()


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_stacked_cotangents(rng, sample):
    """Extra leading axes are so many pullbacks, to the bit."""
    inputs = sample.draw(rng, (3,), 5, "float64")
    outputs = forward(sample, inputs)
    gs = [draw_cotangents(rng, sample, outputs) for _ in range(4)]
    stacked = {n: None if g is None else np.stack([g[n] for g in gs]).reshape(2, 2, *g.shape) for n, g in gs[0].items()}
    got = pullback(sample, inputs, stacked)
    singles = [pullback(sample, inputs, g) for g in gs]
    for i, bar in enumerate(got):
        if bar is not None:
            np.testing.assert_array_equal(bar.reshape(4, *inputs[i].shape), np.stack([s[i] for s in singles]))


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_none_is_zero(rng, sample):
    inputs = sample.draw(rng, (2,), 5, "complex128")
    outputs = forward(sample, inputs)
    g = draw_cotangents(rng, sample, outputs)
    for name in sample.op.differentiable_outputs:
        zeros = {n: np.zeros_like(y) if n == name else g[n] for n, y in outputs.items()}
        zeros = {n: z if n in sample.op.differentiable_outputs else None for n, z in zeros.items()}
        for a, b in zip(pullback(sample, inputs, g | {name: None}), pullback(sample, inputs, zeros), strict=True):
            if a is not None:
                assert_near(a, b)
    for bar in pullback(sample, inputs, dict.fromkeys(outputs)):
        assert bar is None or (bar == 0).all()


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_a_cotangent_broadcasts(rng, sample):
    """A scalar, or a cotangent without the batch axes, stands for each matrix of the batch."""
    inputs = sample.draw(rng, (3,), 4, "float64")
    outputs = forward(sample, inputs)
    options = {"gauge": "ignore"} if "gauge" in sample.op.options else {}
    for small in (1.5, np.float64(1.5)):
        ones = {n: small if n in sample.op.differentiable_outputs else None for n in outputs}
        full = {n: np.full(outputs[n].shape, small) if g is not None else None for n, g in ones.items()}
        for a, b in zip(
            pullback(sample, inputs, ones, **options), pullback(sample, inputs, full, **options), strict=True
        ):
            if a is not None:
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["solve", "solve_triangular", "lu_solve"])
@pytest.mark.parametrize(
    "shapes", [((), (3,)), ((3,), ()), ((3, 1), (2,)), ((1, 4), (3, 1)), ((1,), (1, 1)), ((2, 1, 3), (4, 1))]
)
def test_a_broadcast_input_gets_the_sum(rng, name, shapes):
    sample = next(s for s in SAMPLES if s.name == name)
    *matrix, _ = sample.draw(rng, shapes[0], 4, "float64")
    b = normal(rng, (*shapes[1], 4, 2), "float64")
    batch = np.broadcast_shapes(*shapes)
    whole = [np.array(np.broadcast_to(x, batch + x.shape[len(shapes[0]) :])) for x in matrix]
    whole.append(np.array(np.broadcast_to(b, (*batch, 4, 2))))
    y, pull = mk.vjp(name, *matrix, b)
    y_whole, pull_whole = mk.vjp(name, *whole)
    np.testing.assert_array_equal(y, y_whole)
    g = normal(rng, (5, *y.shape), "float64")  # with an extra axis, which is not summed
    for x, bar, full in zip((*matrix, b), pull(g), pull_whole(g), strict=True):
        if bar is not None:
            missing = full.ndim - 1 - x.ndim
            axes = [*range(1, 1 + missing), *(i + 1 + missing for i in range(x.ndim - 2) if x.shape[i] == 1)]
            assert bar.shape == (5, *x.shape)
            assert_near(bar, full.sum(axis=tuple(axes), keepdims=True).reshape(5, *x.shape))


def test_vectors(rng):
    """A 1-D right-hand side, also against a batch of matrices."""
    a, b = normal(rng, (3, 4, 4), "float64") + 4 * np.eye(4), normal(rng, (4,), "float64")
    x, pull = mk.vjp("solve", a, b)
    column, pull_column = mk.vjp("solve", a, b[:, None])
    np.testing.assert_array_equal(x, column[..., 0])
    g = normal(rng, (2, 3, 4), "float64")
    (a_bar, b_bar), (a_want, b_want) = pull(g), pull_column(g[..., None])
    assert a_bar.shape == (2, 3, 4, 4) and b_bar.shape == (2, 4)
    np.testing.assert_array_equal(a_bar, a_want)
    np.testing.assert_array_equal(b_bar, b_want[..., 0])


def test_direct_functions_agree_with_the_generic_one(rng):
    a = normal(rng, (3, 4, 4), "float64") + 4 * np.eye(4)
    b, g = normal(rng, (3, 4, 2), "float64"), normal(rng, (3, 4, 2), "float64")
    for name, saved in (
        ("solve", lambda x: (*mk.lu_factor(a), x)),
        ("solve_triangular", lambda x: (a, x)),
    ):
        x, pull = mk.vjp(name, a, b)
        for got, want in zip(getattr(mk, f"{name}_vjp")(*saved(x), g), pull(g), strict=True):
            np.testing.assert_array_equal(got, want)


def test_the_pullback_can_be_called_again(rng):
    L, pull = mk.vjp("cholesky", np.eye(3) * 4)
    g = normal(rng, (3, 3), "float64")
    np.testing.assert_array_equal(pull(g)[0], pull(g)[0])
    np.testing.assert_array_equal(L, np.eye(3) * 2)
