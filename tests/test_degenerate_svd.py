"""Repeated and zero singular values, free phases, pseudo-inverses of any rank."""

import numpy as np
import pytest
from numpy.linalg import LinAlgError
from samples import (
    DTYPES,
    adjoint,
    assert_near,
    normal,
)

import matkern as mk

# ---- singular values


SHAPES = ((5, 5), (8, 5), (5, 8))


def with_values(rng, dtype, shape, values):
    """A matrix with these singular values, the rest zero, and its singular vectors."""
    u, v = (np.linalg.qr(normal(rng, (size, len(values)), dtype)).Q for size in shape)
    return ((u * np.array(values)) @ adjoint(v)).astype(dtype), u, v


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["svd", "svdvals"])
def test_losses_of_the_singular_values_alone_are_always_finite(rng, dtype, name, shape):
    """trace(A^H A) = sum s^2 has the gradient 2 A, with repeated values, zeros, and nothing but zeros."""
    for values in ((2, 2, 2, 1, 1), (2, 2, 1), (0,)):
        a, *_ = with_values(rng, dtype, shape, values)
        y, pull = mk.vjp(name, a)
        s = y if name == "svdvals" else y.S
        for g in (2 * s,) if name == "svdvals" else ((None, 2 * s, None), (np.zeros_like(y.U), 2 * s, None)):
            assert_near(pull(g)[0], 2 * a)
        dots = mk.jvp("svdvals", (a,), (a,))[1]
        assert_near(dots, s)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_losses_of_singular_spaces_have_their_gradient(rng, dtype, shape):
    """U_r U_r^H of a threefold singular value, beside a twofold zero: the derivative along A_dot is that of a projector
    onto an eigenspace of A A^H."""
    a, u, _ = with_values(rng, dtype, shape, (2, 2, 2))
    (_, _, _), pull = mk.vjp("svd", a)
    m, t = normal(rng, (shape[0],) * 2, dtype), normal(rng, shape, dtype)
    m = m + adjoint(m)
    U_bar = np.zeros((shape[0], 5), dtype)
    U_bar[:, :3] = 2 * m @ mk.svd(a).U[:, :3]
    p, h = u @ adjoint(u), t @ adjoint(a) + a @ adjoint(t)
    rest = np.eye(shape[0]) - p
    want = np.vdot(m, (p @ h @ rest + rest @ h @ p) / 4).real
    got = np.vdot(pull((U_bar, None, None))[0], t).real
    assert abs(got - want) <= 1e3 * np.finfo(dtype).eps * np.abs(m).sum()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_matrix_rebuilt_from_a_part_has_its_gradient(rng, dtype, shape):
    """<g, U_r diag(s_r) V_r^H> of a matrix of rank r has the gradient g - (I - U_r U_r^H) g (I - V_r V_r^H)."""
    a, u, v = with_values(rng, dtype, shape, (3, 2, 1))
    (U, S, Vh), pull = mk.vjp("svd", a)
    g = normal(rng, shape, dtype)
    keep = np.arange(5) < 3
    bars = (
        g @ adjoint(Vh) * S * keep,
        (U.conj() * (g @ adjoint(Vh))).sum(0).real * keep,
        (S * keep)[:, None] * (adjoint(U) @ g),
    )
    rest = g - u @ (adjoint(u) @ g)
    assert_near(pull(bars)[0], g - (rest - rest @ v @ adjoint(v)))
    everything = g @ adjoint(Vh) * S, (U.conj() * (g @ adjoint(Vh))).sum(0).real, S[:, None] * (adjoint(U) @ g)
    assert np.isfinite(pull(everything)[0]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "values"), [(s, v) for s in SHAPES for v in ((3, 3, 2, 1, 0.5), (3, 2, 1))])
def test_policies_of_svd(rng, dtype, shape, values):
    """Repeated values, and two zeros; a matrix that is not square cannot have one zero either."""
    a, *_ = with_values(rng, dtype, shape, values)
    (U, S, Vh), pull = mk.vjp("svd", a, gauge="ignore")
    bars = normal(rng, U.shape, dtype), normal(rng, S.shape, S.dtype), normal(rng, Vh.shape, dtype)
    t = normal(rng, shape, dtype)
    assert np.isnan(pull(bars)[0]).all()
    assert all(np.isnan(x).all() for x in mk.jvp("svd", (a,), (t,))[1])
    for call in (
        lambda **o: (mk.svd_vjp(U, S, Vh, *bars, gauge="ignore", **o),),
        lambda **o: mk.svd_jvp(U, S, Vh, t, **o),
    ):
        with pytest.raises(LinAlgError, match="the matrix has repeated or zero singular values"):
            call(degenerate="raise")
        assert all(np.isnan(x).all() for x in call(degenerate="raise", on_error="nan"))
        assert all(np.isfinite(x).all() for x in call(degenerate="zero"))
    # with the degenerate parts as zero, too, one is the other's adjoint
    back, dots = (
        mk.svd_vjp(U, S, Vh, *bars, degenerate="zero", gauge="ignore"),
        mk.svd_jvp(U, S, Vh, t, degenerate="zero"),
    )
    left, right = sum(np.vdot(x, y).real for x, y in zip(bars, dots, strict=True)), np.vdot(back, t).real
    assert abs(left - right) <= 1e3 * np.finfo(dtype).eps * np.abs(back * t).sum()


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_one_zero_singular_value_of_a_square_matrix(rng, dtype):
    """The vectors of a real one have derivatives; those of a complex one are free by a phase each."""
    a, *_ = with_values(rng, dtype, (4, 4), (3, 2, 1))
    (U, _, _), pull = mk.vjp("svd", a, gauge="ignore")
    got = pull((normal(rng, U.shape, dtype), None, None))[0]
    assert np.isnan(got).all() if np.dtype(dtype).kind == "c" else np.isfinite(got).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(2, 2), (3, 2), (2, 3)])
def test_the_threshold_of_repeated_and_zero_singular_values(dtype, shape):
    """4 sqrt(max(m, n)) eps max s, as the docstring says: half of it counts as zero, twice of it does not."""
    bound = 4 * np.sqrt(max(shape)) * np.finfo(dtype).eps * 2
    U, Vh = np.eye(shape[0], 2, dtype=dtype), np.eye(2, shape[1], dtype=dtype)
    U_bar, Vh_bar = np.ones_like(U), np.ones_like(Vh)
    U_bar[0, 1] = -1
    for factor, is_zero in ((0.5, True), (2, False)):
        s = np.array([2, 2 - factor * bound], dtype)
        assert np.isnan(mk.svd_vjp(U, s, Vh, U_bar, None, None)).all() == is_zero
        assert np.isnan(mk.svd_jvp(U, s, Vh, np.ones(shape, dtype))[0]).all() == is_zero
        if shape[0] != shape[1]:
            s = np.array([2, factor * bound], dtype)
            assert np.isnan(mk.svd_vjp(U, s, Vh, U_bar, None, Vh_bar)).all() == is_zero
            assert np.isnan(mk.svd_jvp(U, s, Vh, np.ones(shape, dtype))[0]).all() == is_zero


@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (3, 4)])
def test_the_threshold_of_a_numerator_of_svd(shape):
    """16 max(m, n) eps |(U_bar, V_bar)|, which is 1 but for the parts in question."""
    eps, n = np.finfo(float).eps, max(shape)
    U, Vh = np.eye(shape[0], 3), np.eye(3, shape[1])
    for factor, is_nan in ((0.5, False), (2, True)):
        U_bar, Vh_bar = np.zeros_like(U), np.zeros_like(Vh)
        U_bar[0, 0], U_bar[0, 1] = 1, 2 * factor * 16 * n * eps  # the numerator is half of that
        assert np.isnan(mk.svd_vjp(U, np.array([2.0, 2, 1]), Vh, U_bar, None, None)).any() == is_nan
        if shape[0] != shape[1]:
            U_bar[0, 1] = 0
            (U_bar[:, 2] if shape[0] > 3 else Vh_bar[2])[3] = factor * 16 * n * eps
            assert np.isnan(mk.svd_vjp(U, np.array([3.0, 2, 0]), Vh, U_bar, None, Vh_bar)).any() == is_nan


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_gauge_of_svd(rng, dtype):
    """A phase of a pair is free, that of one vector of it is not."""
    a = normal(rng, (3, 4, 6), dtype)
    (U, _, Vh), pull = mk.vjp("svd", a)
    good = 2 * np.abs(U) ** 2 * U, None, 2 * np.abs(Vh) ** 2 * Vh
    good = good[0] + 0.1j * U, None, good[2] + 0.1j * Vh  # of V that is -0.1j V
    want = pull(good)[0]
    bad = good[0].copy(), None, good[2].copy()
    bad[0][1] += 0.1j * U[1]
    bad[2][1] -= 0.1j * Vh[1]
    with pytest.raises(ValueError, match=r"matrix \[1\] of the batch has a loss that depends on the common phases"):
        pull(bad)
    assert_near(mk.vjp("svd", a, gauge="ignore")[1](bad)[0], want)
    got = mk.vjp("svd", a, on_error="nan")[1](bad)[0]
    assert np.isnan(got[1]).all()
    assert_near(got[[0, 2]], want[[0, 2]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (30, 30), (200, 100), (30, 100)])
def test_rounding_in_a_loss_without_phases_is_within_the_gauge_bound_of_svd(rng, dtype, shape):
    (U, _, Vh), pull = mk.vjp("svd", normal(rng, (2, *shape), dtype))
    assert np.isfinite(pull((4 * np.abs(U) ** 2 * U, None, 4 * np.abs(Vh) ** 2 * Vh))[0]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(4, 4), (40, 60), (300, 300), (400, 40)])
def test_equal_and_zero_singular_values_of_large_matrices_are_found(rng, shape, dtype):
    """LAPACK's values for singular values of multiplicity k / 4 are within the bound."""
    k = min(shape)
    a, *_ = with_values(rng, "float64", shape, [2.0] * (k // 2) + [1.0] * (k // 4))
    (U, _, Vh), pull = mk.vjp("svd", a.astype(dtype), degenerate="zero")
    bars = normal(rng, U.shape, dtype), None, normal(rng, Vh.shape, dtype)
    # a quotient that is missed is about 1 / (eps sqrt(n)), against gaps of 1
    assert np.abs(pull(bars)[0]).max() < 1e3


@pytest.mark.parametrize("n", [300, 500])
def test_large_single_precision_matrices_have_a_gradient_of_svd(rng, n):
    (_, _, _), pull = mk.vjp("svd", normal(rng, (n, n), "float32"))
    assert np.isfinite(pull((normal(rng, (n, n), "float32"), None, None))[0]).all()


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_scales_of_cotangents_of_svd(rng, scale):
    a, *_ = with_values(rng, "float64", (5, 7), (4, 3, 2, 1, 0.5))
    (U, _, Vh), pull = mk.vjp("svd", a)
    bars = normal(rng, U.shape, "float64"), None, normal(rng, Vh.shape, "float64")
    assert_near(pull(tuple(None if g is None else scale * g for g in bars))[0] / scale, pull(bars)[0])


# ---- pseudo-inverses


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("values", [(2, 2, 1, 1, 1), (2, 2, 1), (1,)])
class TestPinvOfAnyRank:
    """Repeated singular values do no harm. Along tangents that keep the rank the derivative is that of the formula of
    Golub and Pereyra, and of differences in double precision."""

    def test_pullback_and_pushforward(self, rng, dtype, shape, values):
        a, *_ = with_values(rng, dtype, shape, values)
        t, g = normal(rng, shape, dtype), normal(rng, shape[::-1], dtype)
        op, double = mk.OPS["pinv"], np.result_type(dtype, np.float64)
        _, pull = mk.vjp("pinv", a, 1e-3)
        _, dot = mk.jvp("pinv", (a, 1e-3), (t, None))
        wide_a, wide_p = a.astype(double), mk.pinv(a.astype(double), rtol=1e-3)
        assert_near(dot, op.jvp_formula(np, wide_a, wide_p, t)[0])
        bar, _ = pull(g)
        assert_near(bar, op.vjp_formula(np, wide_a, wide_p, g)[0])
        assert abs(np.vdot(g, dot).real - np.vdot(bar, t).real) <= 1e3 * np.finfo(dtype).eps * np.abs(g * dot).sum()
        assert_near(pull(np.stack((g, -2 * g)))[0], np.stack((bar, -2 * bar)))

    def test_differences(self, rng, dtype, shape, values):
        double, h = np.result_type(dtype, np.float64), np.finfo(float).eps ** (1 / 3)
        a, *_ = with_values(rng, double, shape, values)
        left, right = normal(rng, (shape[0],) * 2, double), normal(rng, (shape[1],) * 2, double)
        moved = lambda s: (np.eye(shape[0]) + s * left) @ a @ (np.eye(shape[1]) + s * right)  # of the same rank
        t = (left @ a + a @ right).astype(dtype)
        _, dot = mk.jvp("pinv", (a.astype(dtype), 1e-3), (t, None))
        want = (mk.pinv(moved(h), rtol=1e-3) - mk.pinv(moved(-h), rtol=1e-3)) / (2 * h)
        assert_near(dot, want, multiple=100, eps=max(np.finfo(dtype).eps, 1e-9))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_pinv_of_zero_is_zero_and_so_is_its_derivative(rng, dtype, shape):
    a = np.zeros(shape, dtype)
    p, pull = mk.vjp("pinv", a)
    assert p.shape == shape[::-1] and (p == 0).all()
    assert (pull(np.ones(shape[::-1], dtype))[0] == 0).all()
    assert (mk.jvp("pinv", (a,), (np.ones(shape, dtype),))[1] == 0).all()
