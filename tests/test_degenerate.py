"""Repeated eigenvalues, free phases and bases, lower ranks: what has a derivative has it, and what has none says so."""

import mpmath
import numpy as np
import pytest
from numpy.linalg import LinAlgError
from samples import (
    DTYPES,
    adjoint,
    assert_near,
    general,
    hermitian,
    inner,
    normal,
    oscillating,
    positive,
    separate,
    tall,
    wide,
)

import matkern as mk


def repeated(rng, dtype, values=(1, 1, 1, 2, 3)):
    q, _ = np.linalg.qr(normal(rng, (len(values), len(values)), dtype))
    a = (q * np.array(values)) @ adjoint(q)
    return ((a + adjoint(a)) / 2).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["eigh", "eigvalsh"])
def test_losses_of_the_eigenvalues_alone_are_always_finite(rng, dtype, name):
    """trace(A^2) = sum w^2 has the gradient 2 A, repeated or not."""
    for a in (repeated(rng, dtype), np.eye(4, dtype=dtype), np.zeros((3, 3), dtype)):
        y, pull = mk.vjp(name, a)
        w = y if name == "eigvalsh" else y.eigenvalues
        for g in (2 * w,) if name == "eigvalsh" else ((2 * w, None), (2 * w, np.zeros_like(a))):
            assert_near(pull(g)[0], 2 * a)


@pytest.mark.parametrize("dtype", DTYPES)
def test_losses_of_eigenspaces_have_their_gradient(rng, dtype):
    """The projector P onto the space of a threefold eigenvalue: <m, P> has the derivative <m, sum over the other
    spaces of (P A_dot P_k + P_k A_dot P) / (w - w_k)> (Kato, Perturbation Theory for Linear Operators, II.2.1)."""
    a = repeated(rng, dtype)
    (_, v), pull = mk.vjp("eigh", a)
    m = normal(rng, a.shape, dtype)
    m = m + adjoint(m)
    v_bar = 2 * m @ v
    v_bar[:, 3:] = 0
    p, rest = (
        v[:, :3] @ adjoint(v[:, :3]),
        [(v[:, k : k + 1] @ adjoint(v[:, k : k + 1]), w) for k, w in ((3, 2), (4, 3))],
    )
    want = sum((p @ m @ pk + pk @ m @ p) / (1 - w) for pk, w in rest)
    assert_near(pull((None, v_bar))[0], want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_policies(rng, dtype):
    a = repeated(rng, dtype)
    (w, v), pull = mk.vjp("eigh", a)
    v_bar = normal(rng, v.shape, dtype)
    v_bar -= 1j * (v.conj() * v_bar).sum(0).imag * v if v_bar.dtype.kind == "c" else 0
    assert np.isnan(pull((None, v_bar))[0]).all()
    assert np.isnan(mk.jvp("eigh", (a,), (v_bar,))[1].eigenvectors).all()
    for call in (
        lambda **o: mk.eigh_vjp(w, v, None, v_bar, **o),
        lambda **o: mk.eigh_jvp(w, v, v_bar, **o)[1],
    ):
        with pytest.raises(LinAlgError, match="the matrix has repeated eigenvalues"):
            call(degenerate="raise")
        assert np.isnan(call(degenerate="raise", on_error="nan")).all()
        assert np.isfinite(call(degenerate="zero")).all()
    # zero: as if the pairs of repeated ones were not there
    m = adjoint(v) @ v_bar
    gap = w[None, :] - w[:, None]
    pairs = np.abs(gap) > 0.5
    x = np.where(pairs, (m - adjoint(m)) / 2 / np.where(pairs, gap, 1), 0)
    assert_near(mk.eigh_vjp(w, v, None, v_bar, degenerate="zero"), v @ x @ adjoint(v))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_threshold_of_repetition(dtype):
    """4 sqrt(n) eps max|w|, as the docstring says: half of it counts as repeated, twice of it does not."""
    eps, n = np.finfo(dtype).eps, 2
    bound = 4 * np.sqrt(n) * eps * 2.0
    v_bar = np.array([[0, 1], [0, 0]], dtype)
    for factor, is_repeated in ((0.5, True), (2, False)):
        w = np.array([2 - factor * bound, 2], dtype)
        got = mk.eigh_vjp(w, np.eye(2, dtype=dtype), None, v_bar)
        assert np.isnan(got).all() == is_repeated
        if not is_repeated:
            assert_near(got[0, 1], np.array(0.5 / (w[1] - w[0]), dtype), multiple=4)


def test_the_threshold_of_a_numerator():
    """16 n eps |V_bar| in the Frobenius norm; V_bar has norm 1 but for the part in question."""
    eps, n = np.finfo(float).eps, 3
    for factor, is_nan in ((0.5, False), (2, True)):
        v_bar = np.zeros((3, 3))
        v_bar[2, 2], v_bar[0, 1] = 1, 2 * factor * 16 * n * eps  # the numerator is half of that
        assert np.isnan(mk.eigh_vjp(np.array([1.0, 1, 2]), np.eye(3), None, v_bar)).any() == is_nan


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_gauge(rng, dtype):
    a = hermitian(rng, (3,), 4, dtype)
    (_, v), pull = mk.vjp("eigh", a)
    good = normal(rng, v.shape, dtype)
    good -= 1j * (v.conj() * good).sum(-2, keepdims=True).imag * v
    bad = good.copy()
    bad[1] += 0.1j * v[1]
    with pytest.raises(ValueError, match=r"matrix \[1\] of the batch has a loss that depends on the phases"):
        pull((None, bad))
    _, pull_ignore = mk.vjp("eigh", a, gauge="ignore")
    assert_near(pull_ignore((None, bad))[0], pull((None, good))[0])
    _, pull_nan = mk.vjp("eigh", a, on_error="nan")
    got = pull_nan((None, bad))[0]
    assert np.isnan(got[1]).all()
    assert_near(got[[0, 2]], pull((None, good))[0][[0, 2]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 30, 200])
def test_rounding_in_a_loss_without_phases_is_within_the_gauge_bound(rng, dtype, n):
    """A loss of |V|^4 has no phase: its cotangent, computed in the precision at hand, passes the default."""
    a = hermitian(rng, (2,), n, dtype)
    (_, v), pull = mk.vjp("eigh", a)
    assert np.isfinite(pull((None, 4 * np.abs(v) ** 2 * v))[0]).all()


def test_real_eigenvectors_have_no_phase(rng):
    a = hermitian(rng, (), 4, "float64")
    _, pull = mk.vjp("eigh", a)
    assert np.isfinite(pull((None, normal(rng, (4, 4), "float64")))[0]).all()


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_scales_without_overflow(rng, scale):
    """Norms and thresholds neither overflow nor vanish with the cotangent's scale."""
    a = repeated(rng, "float64")
    (_, v), pull = mk.vjp("eigh", a)
    v_bar = normal(rng, v.shape, "float64")
    assert np.isnan(pull((None, scale * v_bar))[0]).all()
    a = positive(rng, (), 5, "float64") + np.diag(np.arange(5.0))
    _, pull = mk.vjp("eigh", a)
    assert_near(pull((None, scale * v_bar))[0] / scale, pull((None, v_bar))[0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_cotangent_that_is_not_finite_is_not_lost(rng, value):
    (_, v), pull = mk.vjp("eigh", hermitian(rng, (2,), 4, "float64"))
    v_bar = np.zeros_like(v)
    v_bar[1] = value
    got = pull((None, v_bar))[0]
    assert (got[0] == 0).all() and not np.isfinite(got[1]).any()


@pytest.mark.parametrize("n", [300, 500])
def test_large_single_precision_matrices_have_a_gradient(rng, n):
    """Neighbours that are closer than n eps max|w|, as they are in such matrices, are no repeated eigenvalues."""
    a = normal(rng, (n, n), "float32")
    a = (a + a.T) / 2
    (w, _), pull = mk.vjp("eigh", a)
    assert np.diff(w).min() < 16 * n * np.finfo("float32").eps * np.abs(w).max()
    assert np.isfinite(pull((w, normal(rng, (n, n), "float32")))[0]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [4, 40, 300])
def test_equal_eigenvalues_of_large_matrices_count_as_repeated(rng, n, dtype):
    """LAPACK's values for an eigenvalue of multiplicity n / 2 are within the bound."""
    a = repeated(rng, "float64", [1.0] * (n // 2) + list(np.linspace(2, 3, n - n // 2))).astype(dtype)
    (w, v), pull = mk.vjp("eigh", a)
    assert np.ptp(w[: n // 2]) > 0 or n == 4
    assert np.isnan(pull((None, normal(rng, v.shape, dtype)))[0]).all()


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


def similar(rng, dtype, values):
    """X diag(values) X^-1 and X, which is not orthogonal."""
    n = len(values)
    x = np.eye(n) + normal(rng, (n, n), dtype) / (2 * np.sqrt(n))
    return ((x * np.array(values)) @ np.linalg.inv(x)).astype(dtype), x


def free_of_phases(v, v_bar):
    """The cotangent of a loss that does not depend on the phases of the columns."""
    return v_bar - 1j * (v.conj() * v_bar).sum(-2, keepdims=True).imag * v


class TestGeneralMatrices:
    """`eig` and `eigvals`."""

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("name", ["eig", "eigvals"])
    def test_losses_of_the_eigenvalues_alone_are_always_finite(self, rng, dtype, name):
        """Re trace(A^2) = Re sum w^2 has the gradient 2 A^H, repeated or not."""
        matrices = [repeated(rng, dtype), similar(rng, dtype, (1, 1, 1, 2, 3))[0], np.eye(4), np.zeros((3, 3))]
        for a in matrices:
            y, pull = mk.vjp(name, a.astype(dtype))
            w = y if name == "eigvals" else y.eigenvalues
            for g in (2 * w.conj(),) if name == "eigvals" else ((2 * w.conj(), None), (2 * w.conj(), 0 * y[1])):
                assert_near(pull(g)[0], 2 * adjoint(a).astype(dtype), multiple=300)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_losses_of_eigenspaces_have_their_gradient(self, rng, dtype):
        """The projector P onto the space of a threefold eigenvalue: <m, P> has the derivative <m, sum over the other
        spaces of (P A_dot P_k + P_k A_dot P) / (w - w_k)> (Kato, Perturbation Theory for Linear Operators, II.2.1)."""
        a, x = similar(rng, dtype, (1, 1, 1, 2, 3))
        (w, v), pull = mk.vjp("eig", a)
        chosen = np.diag((np.abs(w - 1) < 0.5).astype(v.dtype))
        assert chosen.trace() == 3
        m, inverse, x_inverse = normal(rng, a.shape, dtype), np.linalg.inv(v), np.linalg.inv(x)
        p = v @ chosen @ inverse
        v_bar = m @ adjoint(inverse) @ chosen - adjoint(p) @ m @ adjoint(inverse)
        p, *rest = (x[:, k] @ x_inverse[k] for k in (slice(0, 3), slice(3, 4), slice(4, 5)))
        want = sum(
            (adjoint(p) @ m @ adjoint(q) + adjoint(q) @ m @ adjoint(p)) / (1 - other)
            for q, other in zip(rest, (2, 3), strict=True)
        )
        assert_near(pull((None, v_bar))[0], want.astype(dtype), multiple=1000)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_policies(self, rng, dtype):
        a, _ = similar(rng, dtype, (1, 1, 1, 2, 3))
        (w, v), pull = mk.vjp("eig", a)
        v_bar, a_dot = free_of_phases(v, normal(rng, v.shape, v.dtype)).astype(v.dtype), normal(rng, a.shape, dtype)
        assert np.isnan(pull((None, v_bar))[0]).all()
        assert np.isnan(mk.jvp("eig", (a,), (a_dot,))[1].eigenvectors).all()
        for call in (
            lambda **o: mk.eig_vjp(a, w, v, None, v_bar, **o),
            lambda **o: mk.eig_jvp(a, w, v, a_dot, **o)[1],
        ):
            with pytest.raises(LinAlgError, match="the matrix has repeated eigenvalues"):
                call(degenerate="raise")
            assert np.isnan(call(degenerate="raise", on_error="nan")).all()
            assert np.isfinite(call(degenerate="zero")).all()
        # zero: as if the pairs of repeated ones were not there
        m, gap = adjoint(v) @ v_bar - adjoint(v) @ v * (v.conj() * v_bar).sum(0), w[None, :] - w[:, None]
        pairs = np.abs(gap) > 0.5
        x = np.where(pairs, m / np.where(pairs, gap, 1).conj(), 0)
        want = adjoint(np.linalg.inv(v)) @ x @ adjoint(v)
        want = want if np.dtype(dtype).kind == "c" else want.real
        assert_near(mk.eig_vjp(a, w, v, None, v_bar, degenerate="zero"), want, multiple=1000)

    @pytest.mark.parametrize("dtype", ["float32", "complex128"])
    @pytest.mark.parametrize("slant", [0, 0.99])
    def test_the_threshold_of_repetition(self, dtype, slant):
        """4 eps |A| max(|y_i|, |y_j|), as the docstring says: half of it counts as repeated, twice of it does not."""
        v = np.array([[1, slant], [0, np.sqrt(1 - slant**2)]], dtype)
        a, v_bar = np.diag([2, 2]).astype(dtype), np.array([[0, 0], [1, 0]], dtype)
        bound = 4 * np.finfo(dtype).eps * np.sqrt(8) / np.sqrt(1 - slant**2)
        for factor, is_repeated in ((0.5, True), (2, False)):
            w = np.array([2 - factor * bound, 2], dtype)
            assert np.isnan(mk.eig_vjp(a, w, v, None, v_bar)).all() == is_repeated
            assert np.isnan(mk.eig_jvp(a, w, v, np.ones((2, 2)))[1]).all() == is_repeated

    def test_the_threshold_of_a_numerator(self):
        """16 kappa eps |V_bar|; V_bar has norm 1 but for the part in question, and kappa is n."""
        eps, n = np.finfo(float).eps, 3
        for factor, is_nan in ((0.5, False), (2, True)):
            v_bar = np.zeros((3, 3))
            v_bar[2, 0], v_bar[0, 1] = 1, factor * 16 * n * eps
            a = np.diag([1.0, 1, 2])
            assert np.isnan(mk.eig_vjp(a, np.diag(a), np.eye(3), None, v_bar)).any() == is_nan

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_gauge(self, rng, dtype):
        a = oscillating(rng, (3,), 4, dtype)
        (_, v), pull = mk.vjp("eig", a)
        good = free_of_phases(v, normal(rng, v.shape, v.dtype))
        bad = good.copy()
        bad[1] += 0.1j * v[1]
        with pytest.raises(ValueError, match=r"matrix \[1\] of the batch has a loss that depends on the phases"):
            pull((None, bad))
        _, pull_ignore = mk.vjp("eig", a, gauge="ignore")
        assert_near(pull_ignore((None, bad))[0], pull((None, good))[0])
        _, pull_nan = mk.vjp("eig", a, on_error="nan")
        got = pull_nan((None, bad))[0]
        assert np.isnan(got[1]).all()
        assert_near(got[[0, 2]], pull((None, good))[0][[0, 2]])

    @pytest.mark.parametrize("slant", [0, 0.99])
    def test_the_threshold_of_the_gauge(self, slant):
        """16 kappa eps |V_bar|, and kappa = 2 / sin of the angle between two eigenvectors."""
        v, a = np.array([[1, slant], [0, np.sqrt(1 - slant**2)]]), np.diag([1, 2j])
        for factor, fails in ((0.5, False), (2, True)):
            v_bar = np.array([[factor * 16 * 2 / v[1, 1] * np.finfo(float).eps * 1j, 0], [0, 1]])
            if fails:
                with pytest.raises(ValueError, match="phases"):
                    mk.eig_vjp(a, np.diag(a), v, None, v_bar)
            else:
                assert np.isfinite(mk.eig_vjp(a, np.diag(a), v, None, v_bar)).all()

    def test_real_eigenvectors_have_no_phase(self, rng):
        a = separate(rng, (), 4, "float64")
        (_, v), pull = mk.vjp("eig", a)
        v_bar = normal(rng, v.shape, "complex128")
        assert_near(pull((None, v_bar))[0], pull((None, v_bar.real))[0])

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("n", [2, 30, 100])
    def test_rounding_in_a_loss_without_phases_is_within_the_gauge_bound(self, rng, dtype, n):
        """A loss of |V|^4, and one of A's exponential by way of V^-1, whose rounding grows with the condition."""
        for a in (oscillating(rng, (2,), n, dtype), normal(rng, (2, n, n), dtype) / np.sqrt(n).astype(dtype)):
            (w, v), pull = mk.vjp("eig", a)
            assert np.isfinite(pull((None, 4 * np.abs(v) ** 2 * v))[0]).all()
            m, inverse, f = normal(rng, v.shape, v.dtype), np.linalg.inv(v), np.exp(w)[..., None, :]
            v_bar = m @ adjoint(inverse) * f.conj() - adjoint((v * f) @ inverse) @ m @ adjoint(inverse)
            assert np.isfinite(pull((None, v_bar))[0]).all()

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("name", ["eig", "eigvals"])
    @pytest.mark.parametrize("n", [2, 3, 5])
    def test_defective_matrices(self, rng, dtype, name, n):
        """A Jordan block has its eigenvalues, and no derivative; its neighbours have theirs."""
        a = separate(rng, (3,), n, dtype)
        a[1] = np.eye(n) + np.eye(n, k=1)
        y, pull = mk.vjp(name, a)
        w = y if name == "eigvals" else y.eigenvalues
        assert_near(w[1], np.ones(n))
        g = w if name == "eigvals" else (w, None)
        with pytest.raises(LinAlgError, match=r"_vjp: matrix \[1\] of the batch is defective to working precision"):
            pull(g)
        with pytest.raises(LinAlgError, match=r"_jvp: matrix \[1\] of the batch is defective to working precision"):
            mk.jvp(name, (a,), (a,))
        got = mk.vjp(name, a, on_error="nan")[1](g)[0]
        assert np.isnan(got[1]).all()
        np.testing.assert_array_equal(got[[0, 2]], mk.vjp(name, a[[0, 2]])[1](tree(lambda x: x[[0, 2]], g))[0])

    def test_a_singular_matrix_of_eigenvectors(self):
        with pytest.raises(LinAlgError, match="defective"):
            mk.eigvals_vjp(np.eye(2), np.ones(2), np.ones((2, 2)), np.ones(2))

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_the_threshold_of_the_warning(self, dtype):
        """100 eps (kappa / n)^2 = 1 for a condition |V| |V^-1| of kappa: half of that is silent, twice of it warns."""
        eps, n, a = np.finfo(dtype).eps, 2, np.diag([1, 2]).astype(dtype)
        for factor, warns in ((0.5, False), (2, True)):
            kappa = factor * n * np.sqrt(0.01 / eps)
            v = np.array([[1, 1], [0, 2 / kappa]], dtype)  # |V| |V^-1| = 2 / sin of the angle, but for its square
            for call in (
                lambda v=v: mk.eigvals_vjp(a, np.diag(a), v, np.ones(2)),
                lambda v=v: mk.eig_jvp(a, np.diag(a), v, a),
            ):
                if warns:
                    message = rf"the matrix is nearly defective.* a condition of 1e{int(np.log10(kappa))} or more"
                    with pytest.warns(RuntimeWarning, match=message):
                        call()
                else:
                    call()

    def test_a_warning_names_its_matrices_and_changes_nothing(self, rng):
        """Eigenvalues 1 +- sqrt(delta): sensitive as 1 / (2 sqrt(delta)), and known to eps kappa^2 of that."""
        a, delta = separate(rng, (2, 3), 2, "float64"), 3e-15
        a[0, 2] = a[1, 1] = [[1, 1], [delta, 1]]
        w, pull = mk.vjp("eigvals", a)
        with pytest.warns(RuntimeWarning, match=r"^eig_vjp: matrix \[0, 2\] of .* \(2 of 6 matrices are like it\)$"):
            (bar,) = pull(w.real * 0 + [1, 0])
        assert np.sign(w[0, 2, 0] - 1) * bar[0, 2, 1, 0] == pytest.approx(0.5 / np.sqrt(delta), rel=0.3)
        with pytest.warns(RuntimeWarning, match="nearly defective"):
            _, dot = mk.jvp("eigvals", (a,), (np.array([[0, 0], [1, 0]]),))
        np.testing.assert_allclose(np.sort(dot[1, 1]) * np.sqrt(delta), [-0.5, 0.5], rtol=0.3)

    @pytest.mark.parametrize("delta", [1e-2, 1e-5, 1e-8, 1e-10])
    def test_derivatives_lose_digits_as_the_condition_s_square(self, delta):
        a = np.array([[1, 1], [delta, 1]])
        w, pull = mk.vjp("eigvals", a)
        error = pull(np.sign(w - 1).real)[0][1, 0] * np.sqrt(delta) - 1
        assert abs(error) <= 4 * np.finfo(float).eps / delta  # kappa / n is about 1 / (2 sqrt(delta))

    @pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
    def test_scales_without_overflow(self, rng, scale):
        a = separate(rng, (), 5, "complex128")
        (w, v), pull = mk.vjp("eig", a)
        v_bar = free_of_phases(v, normal(rng, v.shape, "complex128"))
        want = pull((None, v_bar))[0]
        assert_near(pull((None, scale * v_bar))[0] / scale, want)
        assert_near(mk.eig_vjp(scale * a, scale * w, v, None, v_bar) * scale, want)
        again, _ = similar(rng, "float64", (1, 1, 1, 2, 3))
        (_, v), pull = mk.vjp("eig", again)
        v_bar = free_of_phases(v, normal(rng, v.shape, "complex128"))
        assert np.isnan(pull((None, scale * v_bar))[0]).all()

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_a_cotangent_that_is_not_finite_is_not_lost(self, rng, value):
        (_, v), pull = mk.vjp("eig", separate(rng, (2,), 4, "float64"))
        v_bar = np.zeros_like(v)
        v_bar[1] = value
        got = pull((None, v_bar))[0]
        assert (got[0] == 0).all() and not np.isfinite(got[1]).any()

    def test_large_single_precision_matrices_have_a_gradient(self, rng):
        a = normal(rng, (300, 300), "float32")
        (w, v), pull = mk.vjp("eig", a)
        assert np.isfinite(pull((w, free_of_phases(v, normal(rng, v.shape, "complex64"))))[0]).all()

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("n", [4, 40, 200])
    def test_equal_eigenvalues_of_large_matrices_count_as_repeated(self, rng, n, dtype):
        """LAPACK's values for an eigenvalue of multiplicity n / 2 are within the bound."""
        a, _ = similar(rng, "float64", [1.0] * (n // 2) + list(np.linspace(2, 3, n - n // 2)))
        (w, v), _ = mk.vjp("eig", a.astype(dtype))
        near = np.flatnonzero(np.abs(w - 1) < 0.5)
        assert len(near) == n // 2
        for i in near:  # all of them, and not just a pair
            v_bar = np.zeros_like(v)
            v_bar[:, i] = v[:, near[near != i][0]]
            assert np.isnan(mk.eig_vjp(a.astype(dtype), w, v, None, v_bar, gauge="ignore")).all()


def tree(f, g):
    return tuple(None if x is None else f(x) for x in g) if isinstance(g, tuple) else f(g)


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
