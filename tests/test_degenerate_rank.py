"""Determinants of singular matrices, kinks of norms, the free columns of Q, least squares of lower rank."""

import mpmath
import numpy as np
import pytest
from samples import (
    DTYPES,
    adjoint,
    assert_near,
    general,
    inner,
    normal,
    tall,
    wide,
)

import matkern as mk

# ---- determinants of singular matrices


def adjugate(a):
    """By minors, each a determinant in 60 digits: exact for what is given."""
    n = len(a)
    with mpmath.workdps(60):
        m = mpmath.matrix(a.tolist())
        minors = [
            [
                mpmath.det(mpmath.matrix([[m[r, c] for c in range(n) if c != j] for r in range(n) if r != i]))
                for j in range(n)
            ]
            for i in range(n)
        ]
    signs = np.array([[(-1) ** (i + j) for j in range(n)] for i in range(n)])
    return (signs * np.array([[complex(x) for x in row] for row in minors])).T


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [5, 4, 3, 0])
def test_det_of_a_singular_matrix_has_a_gradient(rng, rank, dtype):
    """The error is at most 10 n eps s_1 / s_(n-1) of the norm for corank 1; for lower ranks the adjugate is zero, up to
    the product of the largest n - 2 singular values and what rounding makes of the next."""
    n = 5
    u, v = (np.linalg.qr(normal(rng, (n, n), dtype))[0] for _ in range(2))
    s = np.linspace(2, 1, n) * (np.arange(n) < rank)
    a = ((u * s) @ adjoint(v)).astype(dtype)
    eps = np.finfo(dtype).eps
    _, pull = mk.vjp("det", a)
    (got,) = pull(np.ones((), dtype))
    want = adjoint(adjugate(a))
    s = np.linalg.svd(a.astype(np.result_type(dtype, float)))[1]
    if rank >= n - 1:
        assert np.linalg.norm(got - want) <= 10 * n * eps * s[0] / s[-2] * np.linalg.norm(want)
    else:
        assert np.linalg.norm(got) <= 10 * n * eps * np.prod(s[:2]) * s[0] ** 2
    t = normal(rng, (n, n), dtype)
    _, d_dot = mk.jvp("det", (a,), (t,))
    assert abs(d_dot - np.trace(adjoint(want) @ t)) <= 40 * n * eps * np.linalg.norm(t) * 16


@pytest.mark.parametrize("n", [8, 30])
def test_det_where_pivots_hide_a_small_singular_value(n):
    """Kahan's matrix, moved by one row, has no small pivot before the last and a singular value near zero; the adjugate
    by minors is exact."""
    c, s = np.cos(1.2), np.sin(1.2)
    a = np.diag(s ** np.arange(n)) @ (np.eye(n) - c * np.triu(np.ones((n, n)), 1))
    a[:, -1] = a[:, :-1] @ np.linspace(0.1, 0.3, n - 1)  # singular, and the last pivot is rounding
    (got,) = mk.vjp("det", a)[1](1.0)
    sigma = np.linalg.svd(a)[1]
    if n == 8:
        want = adjugate(a).T.real
    else:
        with mpmath.workdps(80):
            eye = mpmath.eye(n) * mpmath.mpf(10) ** -40  # of the matrix beside it
            m = mpmath.matrix(a.tolist()) + eye
            want = np.array((mpmath.det(m) * m**-1).T.tolist(), dtype=float)
    assert np.linalg.norm(got - want) <= 10 * n * np.finfo(float).eps * sigma[0] / sigma[-2] * np.linalg.norm(want)


def test_det_of_zero_and_of_a_zero_pivot_in_front():
    np.testing.assert_array_equal(mk.vjp("det", np.zeros((3, 3)))[1](1.0)[0], np.zeros((3, 3)))
    np.testing.assert_array_equal(mk.vjp("det", np.zeros((1, 1)))[1](1.0)[0], np.ones((1, 1)))
    a = np.diag([2.0, 0.0, 3.0])
    np.testing.assert_allclose(mk.vjp("det", a)[1](1.0)[0], np.diag([0.0, 6.0, 0.0]), atol=1e-15)


# ---- kinks of norms


@pytest.mark.parametrize("order", [None, 1, 3, np.inf])
def test_a_norm_s_gradient_at_the_ends_of_the_range(order):
    """Numbers whose reciprocals overflow, and a norm that is none of the precision."""
    tiny = np.array([5e-324 * 1000 * (3 + 4j)])  # a norm of 5000 units, which rounding may miss by one
    np.testing.assert_allclose(mk.norm_vjp(tiny, 1.0, order), [0.6 + 0.8j], rtol=1.001 / 5000)
    if order is None:
        large = np.full(100, 1e38, "float32")
        np.testing.assert_allclose(
            mk.norm_vjp(large, np.float32(1)), np.full(100, 0.1), rtol=4 * np.finfo("float32").eps
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [None, 1, 2, 3, 0.5, 0, -1, -2, np.inf, -np.inf])
def test_a_zero_vector_s_norm_has_gradient_zero(order, dtype):
    x = np.zeros((2, 3), dtype)
    x[1] = [1, 0, 0]
    y, pull = mk.vjp("norm", x, ord=order, axis=1)
    (bar,) = pull(np.ones_like(y))
    np.testing.assert_array_equal(bar[0], 0)
    if order != -np.inf and order is not None and order < 0:
        np.testing.assert_array_equal(bar[1], 0)  # the norm is zero, as the smallest entry is
    elif order not in (0, -np.inf):
        np.testing.assert_array_equal(bar[1], [1, 0, 0])


def test_ties_split_evenly():
    x = np.array([2.0, -2.0, 1.0])
    np.testing.assert_array_equal(mk.norm_vjp(x, 1.0, np.inf), [0.5, -0.5, 0])
    np.testing.assert_array_equal(mk.norm_vjp(np.array([3.0, -1.0, 1.0]), 1.0, -np.inf), [0, -0.5, 0.5])
    a = np.array([[1.0, -2.0], [2.0, 1.0]])
    np.testing.assert_array_equal(mk.norm_vjp(a, 1.0, 1), [[0.5, -0.5], [0.5, 0.5]])
    np.testing.assert_array_equal(
        mk.norm_vjp(np.array([[2.0, -2.0], [3.0, 1.0]]), 1.0, np.inf), [[0.5, -0.5], [0.5, 0.5]]
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["nuc", 2, -2])
def test_norms_of_repeated_and_zero_singular_values(rng, dtype, order):
    """Orthonormal columns: s = 1 throughout; a matrix of rank one: two zeros; nothing: zero."""
    q = np.linalg.qr(normal(rng, (5, 3), dtype))[0].astype(dtype)
    assert_near(mk.norm_vjp(q, 1.0, order), q if order == "nuc" else q / 3)
    u, v = normal(rng, (5, 1), dtype), normal(rng, (1, 3), dtype)
    want = np.zeros((5, 3), dtype) if order == -2 else u @ v / np.linalg.norm(u) / np.linalg.norm(v)
    assert_near(mk.norm_vjp(u @ v, 1.0, order), want)
    np.testing.assert_array_equal(mk.norm_vjp(np.zeros((5, 3), dtype), 1.0, order), 0)


# ---- trailing columns of a complete Q, and lower ranks


@pytest.mark.parametrize("dtype", DTYPES)
def test_gauge_of_a_complete_q(rng, dtype):
    a = tall(rng, (3,), 4, dtype)
    (q, r), pull = mk.vjp("qr", a, mode="complete")
    turn = normal(rng, (3, 3), dtype)
    along = np.zeros_like(q[1])
    along[:, 4:] = q[1, :, 4:] @ (turn - adjoint(turn))
    good = normal(rng, q.shape, dtype)
    skew = adjoint(q[..., 4:]) @ good[..., 4:]
    good[..., 4:] -= q[..., 4:] @ (skew - adjoint(skew)) / 2
    bad = good.copy()
    bad[1] += along
    with pytest.raises(ValueError, match=r"matrix \[1\] of the batch has a loss that depends on which basis"):
        pull((bad, None))
    want = pull((good, r))[0]
    _, pull_ignore = mk.vjp("qr", a, mode="complete", gauge="ignore")
    assert_near(pull_ignore((bad, r))[0], want)
    got = mk.qr_vjp(q, r, bad, r, on_error="nan")
    assert np.isnan(got[1]).all()
    np.testing.assert_array_equal(got[[0, 2]], want[[0, 2]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 30, 100])
def test_a_loss_of_the_complement_has_its_gradient(rng, dtype, n):
    """<S, P>, P = Q2 Q2^H the projector onto the complement of A's range: its cotangent 2 S Q2, computed in the
    precision at hand, passes the default, and the gradient is -2 P S A^+H, as P = 1 - A A^+."""
    a = tall(rng, (2,), n, dtype)
    (q, _), pull = mk.vjp("qr", a, mode="complete")
    s = normal(rng, (2, n + 3, n + 3), dtype)
    s = s + adjoint(s)
    q_bar = 2 * s @ q
    q_bar[..., :n] = 0
    p = q[..., n:] @ adjoint(q[..., n:])
    assert_near(pull((q_bar, None))[0], -2 * p @ s @ adjoint(np.linalg.pinv(a)))


def test_the_threshold_of_the_gauge_of_a_complete_q():
    """16 m eps |Q_bar| in the Frobenius norm; Q_bar has norm 1 but for the part in question."""
    eps, m = np.finfo(float).eps, 4
    q, r = np.eye(m), np.eye(m, 2)
    for factor, fails in ((0.5, False), (2, True)):
        q_bar = np.zeros((m, m))
        q_bar[0, 0], q_bar[2, 3] = 1, 2 * factor * 16 * m * eps  # the skew part is half of that
        assert np.isnan(mk.qr_vjp(q, r, q_bar, None, on_error="nan")).all() == fails


def test_signs_and_a_single_trailing_column_are_no_gauge(rng):
    """A real column that is free up to its sign."""
    a = normal(rng, (5, 4), "float64")
    _, pull = mk.vjp("qr", a, mode="complete")
    assert np.isfinite(pull((normal(rng, (5, 5), "float64"), None))[0]).all()


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("matrix", [general, tall, wide])
def test_the_diagonal_of_r_is_real(rng, dtype, matrix):
    """Its tangents, too; and what is below it, or imaginary on it, of a cotangent does not count."""
    a = matrix(rng, (2,), 6, dtype)
    (_, r), pull = mk.vjp("qr", a)
    _, (_, r_dot) = mk.jvp("qr", (a,), (normal(rng, a.shape, dtype),))
    assert (np.diagonal(r_dot, 0, -2, -1).imag == 0).all() and (np.tril(r_dot, -1) == 0).all()
    g = normal(rng, r.shape, dtype)
    clean = np.triu(g) - 1j * np.eye(*r.shape[-2:], dtype=dtype) * g.imag
    np.testing.assert_array_equal(pull((None, g))[0], pull((None, clean))[0])


def pseudo_inverse(a, rank):
    """By all of the singular values that count."""
    u, s, vh = np.linalg.svd(a)
    return adjoint(vh[..., :rank, :]) / s[..., None, :rank] @ adjoint(u[..., :, :rank])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n", "rank"), [(9, 6, 4), (6, 9, 4), (6, 6, 4), (100, 60, 20), (5, 3, 0), (3, 5, 0)])
def test_lstsq_of_lower_rank(rng, dtype, m, n, rank):
    """The solution of smallest norm, and its derivative along tangents that keep the rank."""
    pairs = [(normal(rng, (m, rank), dtype), normal(rng, (rank, n), dtype)) for _ in range(2)]
    (left, right), (left_dot, right_dot) = pairs
    b, b_dot = normal(rng, (m, 2), dtype), normal(rng, (m, 2), dtype)
    a, a_dot = left @ right, left_dot @ right + left @ right_dot
    x, dot = mk.jvp("lstsq", (a, b), (a_dot, b_dot))
    wide_dtype = np.result_type(dtype, np.float64)
    a, a_dot, b, b_dot = (y.astype(wide_dtype) for y in (a, a_dot, b, b_dot))
    p = pseudo_inverse(a, rank)
    assert_near(x, p @ b)
    # Golub and Pereyra (1973), equation (4.12)
    p_dot = -p @ a_dot @ p + p @ adjoint(p) @ adjoint(a_dot) @ (np.eye(m) - a @ p)
    p_dot += (np.eye(n) - p @ a) @ adjoint(a_dot) @ adjoint(p) @ p
    assert_near(dot, p_dot @ b + p @ b_dot)
    if dtype == "float64" and rank:
        h = np.finfo(float).eps ** (1 / 3)
        plus, minus = (
            mk.lstsq((left + s * h * left_dot) @ (right + s * h * right_dot), b + s * h * b_dot) for s in (1, -1)
        )
        assert_near(dot, (plus - minus) / (2 * h), multiple=1, eps=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n"), [(9, 6), (6, 9), (40, 40)])
def test_adjoint_of_lstsq_of_lower_rank(rng, dtype, m, n):
    a = normal(rng, (2, m, 4), dtype) @ normal(rng, (2, 4, n), dtype)
    a[1] = normal(rng, (m, n), dtype)  # of full rank beside it
    inputs = a, normal(rng, (2, m, 3), dtype), np.zeros(2, a.real.dtype)
    tangents = [normal(rng, x.shape, x.dtype) for x in inputs]
    x, pull = mk.vjp("lstsq", *inputs)
    g = normal(rng, x.shape, dtype)
    dot, bars = mk.jvp("lstsq", inputs, tangents)[1], pull(g)
    terms = np.abs(g * dot).sum() + sum(np.abs(bar * t).sum() for bar, t in zip(bars, tangents, strict=True))
    assert abs(inner([g], [dot]) - inner(bars, tangents)) <= 20 * n * np.finfo(dtype).eps * terms


@pytest.mark.parametrize(("m", "n"), [(9, 6), (6, 9)])
def test_a_regularizer_from_zero_at_a_lower_rank(rng, m, n):
    """From the right; X is smooth there."""
    a, b, h = normal(rng, (m, 4), "float64") @ normal(rng, (4, n), "float64"), normal(rng, (m, 2), "float64"), 1e-4
    x, dot = mk.jvp("lstsq", (a, b, 0.0), (None, None, 1.0))
    one, two = (mk.lstsq(a, b, s * h) for s in (1, 2))
    assert_near(dot, (4 * one - two - 3 * x) / (2 * h), multiple=1, eps=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n"), [(5, 2), (2, 5)])
def test_the_threshold_of_rank(dtype, m, n):
    """max(m, n) eps times the largest singular value."""
    for factor, counts in ((0.5, False), (2, True)):
        small = factor * 5 * np.finfo(dtype).eps
        a = np.eye(m, n, dtype=dtype)
        a[1, 1] = small
        want = np.eye(n, m)
        want[1, 1] = 1 / small if counts else 0
        np.testing.assert_allclose(mk.lstsq(a, np.eye(m, dtype=dtype)), want, rtol=1e-6)


@pytest.mark.parametrize("n", [20, 150])
def test_a_rank_that_the_diagonal_of_r_does_not_show(n):
    """Kahan's matrix is triangular, its smallest singular value far below its smallest diagonal entry."""
    sine = np.sqrt(1 - 0.3**2)
    a = np.diag(sine ** np.arange(n)) @ (np.eye(n) - 0.3 * np.triu(np.ones((n, n)), 1))
    s = np.linalg.svd(a, compute_uv=False)
    rank = int((s > n * np.finfo(float).eps * s[0]).sum())
    assert (rank < n) == (n == 150) and np.diagonal(a).min() > 5e-4
    b = np.ones((n, 1))
    assert_near(mk.lstsq(a, b) / np.abs(a @ b).max(), pseudo_inverse(a, rank) @ b / np.abs(a @ b).max(), eps=1e-3 / n)
