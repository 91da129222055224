"""Repeated eigenvalues and free phases: what has a derivative has it, and what has none says so."""

import numpy as np
import pytest
from numpy.linalg import LinAlgError
from samples import (
    DTYPES,
    adjoint,
    assert_near,
    hermitian,
    normal,
    oscillating,
    positive,
    separate,
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
        a[1] = a[0]
        np.testing.assert_array_equal(got[[0, 2]], mk.vjp(name, a)[1](g)[0][[0, 2]])

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
