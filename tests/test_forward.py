"""Operations against their defining equations and against SciPy."""

import numpy as np
import pytest
import scipy.linalg
from samples import (
    DTYPES,
    WIDE,
    adjoint,
    assert_near,
    balanced,
    expm,
    general,
    hermitian,
    normal,
    oscillating,
    positive,
    separate,
    singular,
    tall,
    vectors,
    wide,
)

import matkern as mk

SIZES = (1, 2, 7, 40, 100)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
class TestEquations:
    def test_cholesky(self, rng, n, dtype):
        a = positive(rng, (3,), n, dtype)
        L, U = mk.cholesky(a), mk.cholesky(a, upper=True)
        assert L.dtype == U.dtype == a.dtype
        assert (np.triu(L, 1) == 0).all() and (np.tril(U, -1) == 0).all()
        assert_near(L @ adjoint(L), a)
        assert_near(adjoint(U), L)

    @pytest.mark.parametrize("triangle", ["L", "U"])
    def test_cholesky_reads_one_triangle(self, rng, n, dtype, triangle):
        a = positive(rng, (), n, dtype)
        keep = np.tril if triangle == "L" else np.triu
        junk = a + 7 * (1 - keep(np.ones((n, n)))).astype(dtype)
        upper = triangle == "U"
        np.testing.assert_array_equal(mk.cholesky(junk, upper=upper), mk.cholesky(a, upper=upper))

    @pytest.mark.parametrize("lower", [False, True])
    @pytest.mark.parametrize("unit_diagonal", [False, True])
    @pytest.mark.parametrize("trans", ["N", "T", "C"])
    def test_solve_triangular(self, rng, n, dtype, lower, unit_diagonal, trans):
        a, b = general(rng, (2,), n, dtype), normal(rng, (2, n, 3), dtype)
        x = mk.solve_triangular(a, b, lower=lower, trans=trans, unit_diagonal=unit_diagonal)
        t = np.tril(a) if lower else np.triu(a)
        if unit_diagonal:
            t = t - np.eye(n, dtype=dtype) * t + np.eye(n, dtype=dtype)
        op = {"N": t, "T": t.swapaxes(-1, -2), "C": adjoint(t)}[trans]
        assert_near(op @ x, b)

    @pytest.mark.parametrize("matrix", [general, tall, wide])
    def test_lu(self, rng, n, dtype, matrix):
        a = matrix(rng, (2,), n, dtype)[..., ::-1, :]  # upside down: pivots move
        p, l, u = mk.lu(a)
        assert p.dtype == a.real.dtype and l.dtype == u.dtype == a.dtype
        assert_near(p @ l @ u, a)
        np.testing.assert_array_equal(p.sum(-1), 1)
        k = min(a.shape[-2:])
        np.testing.assert_array_equal(np.triu(l), np.broadcast_to(np.eye(a.shape[-2], k), l.shape))
        assert (np.tril(u, -1) == 0).all()

    @pytest.mark.parametrize("matrix", [general, tall, wide])
    def test_lu_factor(self, rng, n, dtype, matrix):
        a = matrix(rng, (2,), n, dtype)[..., ::-1, :]
        packed, piv = mk.lu_factor(a)
        assert piv.dtype == np.intc and piv.shape == (2, min(a.shape[-2:]))
        for i in range(2):
            theirs, theirs_piv = scipy.linalg.lu_factor(a[i])
            np.testing.assert_array_equal(piv[i], theirs_piv)
            assert_near(packed[i], theirs)

    @pytest.mark.parametrize("trans", ["N", "T", "C"])
    @pytest.mark.parametrize("assume_a", ["gen", "pos"])
    def test_solve(self, rng, n, dtype, trans, assume_a):
        a = (positive if assume_a == "pos" else general)(rng, (2,), n, dtype)
        b = normal(rng, (2, n, 3), dtype)
        x = mk.solve(a, b, trans=trans, assume_a=assume_a)
        op = {"N": a, "T": a.swapaxes(-1, -2), "C": adjoint(a)}[trans]
        assert_near(op @ x, b)

    def test_lu_solve(self, rng, n, dtype):
        a, b = general(rng, (2,), n, dtype)[..., ::-1, :], normal(rng, (2, n, 3), dtype)
        assert_near(a @ mk.lu_solve(*mk.lu_factor(a), b), b)

    @pytest.mark.parametrize("lower", [True, False])
    def test_cholesky_solve(self, rng, n, dtype, lower):
        a, b = positive(rng, (2,), n, dtype), normal(rng, (2, n, 3), dtype)
        factor = mk.cholesky(a, upper=not lower)
        junk = factor + (np.triu if lower else np.tril)(np.full((n, n), 7, dtype), 1 if lower else -1)
        assert_near(a @ mk.cholesky_solve(junk, b, lower=lower), b)

    def test_inv(self, rng, n, dtype):
        a = general(rng, (2,), n, dtype)[..., ::-1, :]
        x = mk.inv(a)
        assert x.dtype == a.dtype
        assert_near(a @ x, np.broadcast_to(np.eye(n, dtype=dtype), a.shape))

    def test_det(self, rng, n, dtype):
        a = balanced(rng, (2,), n, dtype)[..., ::-1, :]
        d = mk.det(a)
        assert d.dtype == a.dtype and d.shape == (2,)
        assert_near(d, np.linalg.det(a.astype(np.result_type(dtype, np.float64))))

    def test_slogdet(self, rng, n, dtype):
        a = general(rng, (2,), n, dtype)[..., ::-1, :]
        sign, logabsdet = mk.slogdet(a)
        assert sign.dtype == a.dtype and logabsdet.dtype == a.real.dtype
        want = np.linalg.slogdet(a.astype(np.result_type(dtype, np.float64)))
        assert_near(sign, want.sign)
        assert_near(logabsdet, want.logabsdet)

    def test_matmul(self, rng, n, dtype):
        a, b = normal(rng, (2, n, 3), dtype), normal(rng, (2, 3, n + 1), dtype)
        for x, y in ((a, b), (a[0], b), (a[0, 0], b), (a, b[0, :, 0]), (a[0], b[0]), (a[0, 0], b[0, :, 0])):
            product = mk.matmul(x, y)
            assert product.dtype == dtype
            assert_near(product, np.matmul(x, y))

    @pytest.mark.parametrize("order", [None, 1, 2, 3, 0.5, 0, -1, -2.5, np.inf, -np.inf])
    def test_norm(self, rng, n, dtype, order):
        x = vectors(rng, (2, 3), n, dtype)
        for axis in (0, 1, -1):
            for keepdims in (False, True):
                got = mk.norm(x, order, axis, keepdims)
                assert got.dtype == x.real.dtype
                assert_near(got, np.linalg.norm(x.astype(np.result_type(dtype, float)), order, axis, keepdims))

    @pytest.mark.parametrize("order", [None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf])
    def test_norm_of_matrices(self, rng, n, dtype, order):
        x = normal(rng, (n, 2, 4), dtype)
        for axis in ((0, 2), (-1, 0), (1, 2)):
            for keepdims in (False, True):
                got = mk.norm(x, order, axis, keepdims)
                assert_near(got, np.linalg.norm(x.astype(np.result_type(dtype, float)), order, axis, keepdims))
        assert_near(mk.norm(x[:, 0], order), np.linalg.norm(x[:, 0], order), eps=np.finfo(dtype).eps)

    @pytest.mark.parametrize("matrix", [general, tall, wide])
    @pytest.mark.parametrize("mode", ["reduced", "complete", "r"])
    def test_qr(self, rng, n, dtype, matrix, mode):
        a = matrix(rng, (2,), n, dtype)[..., ::-1, :]
        result = mk.qr(a, mode=mode)
        q, r = mk.qr(a) if mode == "r" else result
        assert q.dtype == r.dtype == a.dtype
        assert_near(q @ r, a)
        assert_near(adjoint(q) @ q, np.broadcast_to(np.eye(q.shape[-1]), (2, *q.shape[-1:] * 2)))
        assert (np.tril(r, -1) == 0).all() and (np.diagonal(r, 0, -2, -1).imag == 0).all()
        theirs = np.linalg.qr(a, mode=mode)
        for x, y in zip(*((x,) if mode == "r" else x for x in (result, theirs)), strict=True):
            assert_near(x, y)  # LAPACK's signs, and its trailing columns of a complete Q

    @pytest.mark.parametrize("matrix", [general, tall, wide])
    def test_lstsq(self, rng, n, dtype, matrix):
        a = matrix(rng, (2,), n, dtype)[..., ::-1, :]
        b = normal(rng, (*a.shape[:-1], 3), dtype)
        x = mk.lstsq(a, b)
        assert x.dtype == a.dtype
        assert_near(x, np.linalg.pinv(a.astype(complex)) @ b if a.dtype.kind == "c" else np.linalg.pinv(a) @ b)
        l = np.array([0.25, 2], a.real.dtype)
        x = mk.lstsq(a, b, l)
        assert x.dtype == a.dtype
        assert_near(adjoint(a) @ (a @ x - b) + l[:, None, None] * x, np.zeros_like(x))

    @pytest.mark.parametrize("size", [1e-3, 0.1, 0.4, 1.0, 4.0, 20.0])
    def test_expm(self, rng, n, dtype, size):
        """Every degree, and squarings: exp(A) exp(-A) = I up to the condition, about the exponentials' square."""
        a = (size * normal(rng, (2, n, n), dtype) / (2 * n)).astype(dtype)
        x, inverse = mk.expm(a), mk.expm(-a)
        assert x.dtype == a.dtype and x.flags.c_contiguous
        assert_near(x @ inverse, np.broadcast_to(np.eye(n, dtype=dtype), a.shape), 100 * np.abs(x).max() ** 2)
        assert_near(x, expm(a.astype(WIDE[dtype])))

    def test_expm_reads_the_lower_triangle(self, rng, n, dtype):
        a = hermitian(rng, (2,), n, dtype)
        x = mk.expm(np.tril(a) + np.triu(np.full((n, n), np.nan), 1).astype(dtype), assume_a="her")
        assert_near(x, mk.expm(a))
        np.testing.assert_array_equal(x, adjoint(x))

    @pytest.mark.parametrize("UPLO", ["L", "U"])
    def test_eigh(self, rng, n, dtype, UPLO):
        a = hermitian(rng, (2,), n, dtype)
        keep = np.tril if UPLO == "L" else np.triu
        w, v = mk.eigh(a + 7 * (1 - keep(np.ones((n, n)))).astype(dtype), UPLO=UPLO)
        assert w.dtype == a.real.dtype and v.dtype == a.dtype
        assert (np.diff(w) >= 0).all()
        assert_near((v * w[..., None, :]) @ adjoint(v), a)
        assert_near(adjoint(v) @ v, np.broadcast_to(np.eye(n), v.shape))

    @pytest.mark.parametrize("UPLO", ["L", "U"])
    def test_eigvalsh(self, rng, n, dtype, UPLO):
        a = hermitian(rng, (2,), n, dtype)
        keep = np.tril if UPLO == "L" else np.triu
        w = mk.eigvalsh(a + 7 * (1 - keep(np.ones((n, n)))).astype(dtype), UPLO=UPLO)
        assert w.dtype == a.real.dtype
        assert_near(w, np.linalg.eigvalsh(a.astype(complex)))

    @pytest.mark.parametrize("matrix", [general, oscillating])
    def test_eig(self, rng, n, dtype, matrix):
        a = matrix(rng, (2,), n, dtype)
        w, v = mk.eig(a)
        assert w.dtype == v.dtype == np.result_type(dtype, np.complex64)
        assert_near(a @ v, v * w[..., None, :])
        assert_near(np.linalg.norm(v, axis=-2), np.ones((2, n)))
        largest = np.take_along_axis(v, np.abs(v).argmax(-2)[..., None, :], -2)
        assert_near(largest.imag, np.zeros(largest.shape))
        if dtype.startswith("float"):
            assert (v.imag[np.broadcast_to((w.imag == 0)[..., None, :], v.shape)] == 0).all()
            assert (np.sort(w.conj()) == np.sort(w)).all()

    @pytest.mark.parametrize("matrix", [separate, oscillating])
    def test_eigvals(self, rng, n, dtype, matrix):
        a = matrix(rng, (2,), n, dtype)
        w = mk.eigvals(a)
        assert w.dtype == np.result_type(dtype, np.complex64)
        theirs = scipy.linalg.eigvals(a[1].astype(complex))
        nearest = np.abs(w[1][:, None] - theirs).argmin(1)
        np.testing.assert_array_equal(np.sort(nearest), np.arange(n))
        assert_near(w[1], theirs[nearest])

    @pytest.mark.parametrize("shape", [(0, 0), (3, 0), (0, 3), (200, 0), (0, 200)])
    def test_svd(self, rng, n, dtype, shape):
        a = singular(*shape)(rng, (2,), n, dtype)
        u, s, vh = mk.svd(a)
        k = min(a.shape[-2:])
        assert u.dtype == vh.dtype == a.dtype and s.dtype == a.real.dtype
        assert (np.diff(s) <= 0).all() and (s >= 0).all()
        assert_near((u * s[..., None, :]) @ vh, a)
        for v in (u, adjoint(vh)):
            assert_near(adjoint(v) @ v, np.broadcast_to(np.eye(k), (2, k, k)))
        if shape == (0, 0):
            np.testing.assert_equal(mk.svd(a, full_matrices=True), (u, s, vh))

    @pytest.mark.parametrize("shape", [(0, 0), (3, 0), (0, 3), (200, 0), (0, 200)])
    def test_svdvals(self, rng, n, dtype, shape):
        a = singular(*shape)(rng, (2,), n, dtype)
        s = mk.svdvals(a)
        assert s.dtype == a.real.dtype
        assert_near(s, np.linalg.svd(a.astype(complex), compute_uv=False))

    @pytest.mark.parametrize("matrix", [general, tall, wide])
    @pytest.mark.parametrize("rank", [None, 1])
    def test_pinv(self, rng, n, dtype, matrix, rank):
        """The four equations of Penrose."""
        a = matrix(rng, (2,), n, dtype)
        if rank is not None:
            a = a[..., :, :rank] @ a[..., :rank, :]
        p = mk.pinv(a)
        assert p.dtype == a.dtype
        assert_near(a @ p @ a, a)
        assert_near(p @ a @ p, p)
        assert_near(adjoint(a @ p), a @ p)
        assert_near(adjoint(p @ a), p @ a)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("m", "n"), [(33, 31), (64, 65), (65, 64), (129, 129), (300, 131), (131, 300), (257, 1), (1, 257)]
)
def test_factorisations_by_blocks(rng, m, n, dtype):
    """Around the ends of the blocks and halves."""
    a, k = normal(rng, (m, n), dtype), min(m, n)
    p, l, u = mk.lu(a)
    assert_near(p @ l @ u, a)
    np.testing.assert_array_equal(mk.lu_factor(a).piv, scipy.linalg.lu_factor(a)[1])
    q, r = mk.qr(a, mode="complete")
    assert_near(q @ r, a)
    assert_near(adjoint(q) @ q, np.eye(m))
    np.testing.assert_array_equal(r, np.triu(r))
    np.testing.assert_array_equal(np.diagonal(r).imag, 0)
    np.testing.assert_array_equal(np.sign(np.diagonal(r).real), np.sign(np.diagonal(scipy.linalg.qr(a)[1]).real))
    gram = a[:, :k] @ adjoint(a[:, :k]) if m == k else adjoint(a) @ a
    gram += np.eye(k, dtype=dtype)
    lower, upper = mk.cholesky(gram), mk.cholesky(gram, upper=True)
    assert_near(lower @ adjoint(lower), gram)
    assert_near(adjoint(upper) @ upper, gram)
    corner = a[:k, :k] + 2 * np.sqrt(k).astype(dtype) * np.eye(k, dtype=dtype)  # well conditioned
    assert_near(mk.inv(corner) @ corner, np.eye(k))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 5, 20, 50])
@pytest.mark.parametrize(("function", "matrix"), [(mk.eigh, hermitian), (mk.svd, tall), (mk.svd, wide)])
def test_the_sign_of_vectors(rng, n, dtype, function, matrix):
    """Or phase, alone as in a batch: of the first entry that is not small."""
    a = matrix(rng, (20,), n, dtype)
    many, one = function(a), function(a[7])
    v = many.eigenvectors if function is mk.eigh else many.U
    square = np.abs(v) ** 2
    first = (square > 0.2913 * square.max(-2, keepdims=True)).argmax(-2)
    leading = np.take_along_axis(v, first[:, None, :], -2)
    assert (leading.real > 0).all()
    assert_near(leading.imag, np.zeros(leading.shape))
    for x, y in zip(many, one, strict=True):
        assert_near(x[7], y)


def test_rtol_of_pinv():
    """Singular values of at most rtol max s count as zero; it is max(m, n) eps, a number, or one for each matrix."""
    eps = np.finfo(float).eps
    for factor, rank in ((0.75, 1), (1.5, 2)):  # of the default bound, 3 eps
        a = np.zeros((3, 2))
        a[0, 0], a[1, 1] = 1, factor * 3 * eps
        assert np.count_nonzero(mk.pinv(a)) == rank
    a = np.diag([4.0, 1.0])
    np.testing.assert_array_equal(mk.pinv(a, rtol=0.25), np.diag([0.25, 0]))
    np.testing.assert_array_equal(mk.pinv(a, rtol=0.24), np.diag([0.25, 1]))
    for rtol in (np.array([0.3, 0.2]), [0.3, 0.2], np.array([0.3, 0.2], np.float32)):
        np.testing.assert_array_equal(mk.pinv(a, rtol=rtol), [np.diag([0.25, 0]), np.diag([0.25, 1])])
        p, pull = mk.vjp("pinv", a, rtol)
        np.testing.assert_array_equal(p, mk.pinv(a, rtol=rtol))
        bars = pull(np.ones((2, 2, 2)))
        assert bars[0].shape == (2, 2) and len(bars) == 2 and bars[1] is None
    assert len(mk.vjp("pinv", a)[1](a)) == 1
    np.testing.assert_array_equal(mk.pinv(np.diag([1, 2.0**-900]), rtol=0), np.diag([1, 2.0**900]))


def test_a_forward_solve_is_backward_stable():
    """Wilkinson's matrix: its triangular factor has a condition of 2^59, and substitution does not care."""
    n = 60
    l = np.eye(n) - np.tril(np.ones((n, n)), -1)
    b = np.random.default_rng(0).standard_normal((n, 40))
    x = mk.solve_triangular(l, b, lower=True)
    # |L X - B| <= c n eps |L| |X| entry by entry (Higham, Accuracy and Stability of Numerical Algorithms, theorem 8.5)
    assert (np.abs(l @ x - b) <= 4 * n * np.finfo(float).eps * (np.abs(l) @ np.abs(x))).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [5, 16, 32, 33, 64, 150, 300])
def test_inverses_are_backward_stable(n, dtype):
    """Of a smooth kernel, whose leading blocks are nearly singular, too: one residual is of rounding's size.

    It is A X - I of what was solved by columns, X A - I by rows. The other one grows with the condition.
    """
    t, eps = np.linspace(0, 1, n), np.finfo(dtype).eps
    a = np.exp(-((t[:, None] - t) ** 2) / 0.1) + 1e5 * eps * np.eye(n)
    a = np.array([a, a[::-1]], dtype)
    if np.iscomplexobj(a):
        a = a * np.exp(1j * t[:, None])
    _, pull = mk.vjp("slogdet", a)
    (a_bar,) = pull((None, np.ones(2)))
    for inverse in (mk.inv(a), adjoint(a_bar)):
        size = np.linalg.norm(a, axis=(-2, -1)) * np.linalg.norm(inverse, axis=(-2, -1))
        residuals = [np.linalg.norm(x - np.eye(n), axis=(-2, -1)) for x in (a @ inverse, inverse @ a)]
        assert (np.minimum(*residuals) <= 10 * n * eps * size).all()  # a few n eps, as for a solve


def test_named_outputs():
    a = np.diag([2.0, 1.0])
    assert mk.eig(a)._fields == mk.eigh(a)._fields == ("eigenvalues", "eigenvectors")
    assert mk.svd(a)._fields == ("U", "S", "Vh")
    assert mk.lu(a)._fields == ("p", "l", "u")
    assert mk.lu_factor(a)._fields == ("lu", "piv")
    assert mk.qr(a)._fields == ("Q", "R")


@pytest.mark.parametrize("function", [mk.solve, mk.solve_triangular, mk.lstsq])
def test_a_right_hand_side_is_a_vector_only_if_it_is_1d(function, rng):
    a = np.triu(general(rng, (3,), 4, "float64"))
    assert function(a[0], np.ones(4)).shape == (4,)
    assert function(a, np.ones(4)).shape == (3, 4)
    assert_near(function(a, np.ones(4))[1], function(a[1], np.ones((4, 1)))[:, 0])
    with pytest.raises(ValueError, match=r"b\([mn],k\?\) has shape \(3, 4\)"):
        function(a, np.ones((3, 4)))  # a matrix of 3 rows, as NumPy 2 has it


def test_numbers_of_empty_matrices():
    empty = np.zeros((2, 0, 0))
    np.testing.assert_array_equal(mk.det(empty), [1, 1])
    np.testing.assert_array_equal(mk.slogdet(empty).logabsdet, [0, 0])
    np.testing.assert_array_equal(mk.matmul(np.zeros((2, 0)), np.zeros((0, 3))), np.zeros((2, 3)))
    np.testing.assert_array_equal(mk.norm(np.zeros((2, 0)), axis=1), [0, 0])
    for order, of_2x0, of_0x2 in ((1, 0, 0), (-1, np.inf, 0), (np.inf, 0, 0), (-np.inf, 0, np.inf), (2, 0, 0)):
        assert (mk.norm(np.zeros((2, 0)), order), mk.norm(np.zeros((0, 2)), order)) == (of_2x0, of_0x2)
    assert mk.norm(np.zeros((2, 0)), -2) == np.inf
    assert mk.inv(empty).shape == (2, 0, 0)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_norms_neither_overflow_nor_underflow(scale):
    x = np.array([3.0, -4.0]) * scale
    for order, want in ((None, 5), (3, 91 ** (1 / 3)), (-3, (1 / 27 + 1 / 64) ** (-1 / 3)), (0.5, (3**0.5 + 2) ** 2)):
        np.testing.assert_allclose(mk.norm(x, order), want * scale, rtol=1e-15)


def test_norms_of_what_is_not_finite_or_nearly_so():
    assert np.isnan(mk.norm([np.inf, np.nan], on_error="nan"))
    assert mk.norm([np.inf, 1.0]) == np.inf
    np.testing.assert_allclose(mk.norm([1e308 + 1e308j]), np.sqrt(2) * 1e308, rtol=1e-15)


def test_a_determinant_is_scaled_on_its_way():
    """Products of pivots that overflow before they come back."""
    a = np.diag([1e200, 1e200, 1e-200, 1e-200])
    np.testing.assert_allclose(mk.det(a), 1, rtol=1e-14)
    np.testing.assert_allclose(mk.vjp("det", a)[1](1.0)[0], np.diag([1e-200, 1e-200, 1e200, 1e200]), rtol=1e-14)
    overflown = mk.det(np.diag([1e200, 1e200, 1 - 1j]))
    assert (overflown.real, overflown.imag) == (np.inf, -np.inf)
    (bar,) = mk.vjp("det", np.diag([1e200, 1e200, 1e200j]))[1](1.0)  # the adjugate's adjoint
    assert (bar[0, 0].imag, bar[2, 2].real) == (-np.inf, np.inf)
    assert not np.isnan(np.diag(bar).real).any()
    (bar,) = mk.vjp("slogdet", np.diag([1e-10, 1.0]))[1]((None, 1e300))
    np.testing.assert_array_equal(np.diag(bar), [np.inf, 1e300])


@pytest.mark.parametrize(("m", "n"), [(0, 0), (3, 0), (0, 3)])
@pytest.mark.parametrize("l", [0.0, 1.0])
def test_lstsq_of_an_empty_matrix(m, n, l):
    inputs = np.ones((2, m, n)), np.ones((2, m, 4)), l
    x, pull = mk.vjp("lstsq", *inputs)
    np.testing.assert_array_equal(x, np.zeros((2, n, 4)))
    for bar, y in zip(pull(x), inputs, strict=True):
        np.testing.assert_array_equal(bar, np.zeros_like(y))
    np.testing.assert_array_equal(mk.jvp("lstsq", inputs, inputs)[1], x)


def test_the_regularizer_of_lstsq_may_be_left_out(rng):
    """Then it has no cotangent; a number has a number."""
    a, b = tall(rng, (3,), 4, "float32"), normal(rng, (3, 7, 2), "float32")
    for nothing in ((), (None,), (0,), (0.0,), (np.zeros(3),)):
        np.testing.assert_array_equal(mk.lstsq(a, b, *nothing), mk.lstsq(a, b))
    x, pull = mk.vjp("lstsq", a, b)
    assert x.dtype == np.float32 and [bar.shape for bar in pull(x)] == [a.shape, b.shape]
    for l, shape in ((0.5, ()), (np.full(3, 0.5), (3,)), (np.full((2, 1), 0.5), (2, 1))):
        x, pull = mk.vjp("lstsq", a, b, l)
        assert x.dtype == np.float32 and pull(x)[2].shape == shape
        np.testing.assert_array_equal(x, mk.lstsq(a, b, l2_regularizer=l))


@pytest.mark.parametrize(("m", "n"), [(0, 0), (3, 0), (0, 3)])
@pytest.mark.parametrize("mode", ["reduced", "complete", "r"])
def test_qr_of_an_empty_matrix(m, n, mode):
    a = np.ones((2, m, n))
    y, pull = mk.vjp("qr", a, mode=mode)
    theirs = np.linalg.qr(a, mode=mode)
    for x, want in zip(*((x,) if mode == "r" else x for x in (y, theirs)), strict=True):
        np.testing.assert_array_equal(x, want)
    g = np.ones_like(y) if mode == "r" else tuple(np.zeros_like(x) for x in y)
    assert pull(g)[0].shape == a.shape


@pytest.mark.parametrize(
    ("dtype", "scale"), [("float32", 1e-14), ("complex64", 1e20), ("float64", 1e150), ("complex128", 1e-160)]
)
def test_eigenvalues_of_any_scale(dtype, scale):
    """LAPACK scales such matrices; SciPy's OpenBLAS 0.3.30 does not scale their eigenvalues back."""
    a = np.array([[1, 2], [3, 4]], dtype)
    w, v = mk.eig(a * a.real.dtype.type(scale))
    assert_near(np.sort_complex(w / scale), np.array([5 - 33**0.5, 5 + 33**0.5]) / 2, eps=np.finfo(dtype).eps)
    assert_near(np.linalg.norm(v, axis=0), np.ones(2), eps=np.finfo(dtype).eps)


SMALL = {
    "general": lambda rng, n: rng.standard_normal((n, n)),
    "Hessenberg": lambda rng, n: np.triu(rng.standard_normal((n, n)), -1),
    "triangular": lambda rng, n: np.triu(rng.standard_normal((n, n))),
    "zero rows": lambda rng, n: rng.standard_normal((n, n)) * (np.arange(n) % 2)[:, None],
    "rank one": lambda rng, n: np.outer(rng.standard_normal(n), rng.standard_normal(n)),
    "repeated": lambda rng, n: np.eye(n) + np.outer(np.ones(n), np.ones(n)),
    "repeated pairs": lambda rng, n: np.kron(np.eye(n // 2) + 1, [[1.0, 2.0], [-2.0, 1.0]]),
    "orthogonal": lambda rng, n: np.linalg.qr(rng.standard_normal((n, n)))[0],
    "defective": lambda rng, n: np.eye(n) + np.eye(n, k=1) + 1e-30 * rng.standard_normal((n, n)),
    "tiny parts": lambda rng, n: np.eye(n) + 1e-20 * rng.standard_normal((n, n)),
    "nearly triangular": lambda rng, n: np.triu(rng.standard_normal((n, n))) + np.tril(rng.uniform(0, 1e-12, n), -1),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SMALL)
def test_eigenvectors_of_small_real_matrices(rng, name, dtype):
    """Backward stable: the residual is rounding errors of A, whatever its eigenvalues."""
    for n in (2, 3, 4, 5, 8, 15, 16, 17):
        a = SMALL[name](rng, n).astype(dtype)
        w, v = mk.eig(a)
        assert_near(a @ v, v * w, eps=np.finfo(dtype).eps)
        assert_near(np.linalg.norm(v, axis=0), np.ones(len(a)), eps=np.finfo(dtype).eps)
        assert (np.sort(w.conj()) == np.sort(w)).all()
        largest = abs(v) > 0.99999 * abs(v).max(axis=0)
        assert (largest & (v.imag == 0)).any(axis=0).all()
        assert_near(mk.eigvals(a).sum(), np.trace(a), eps=np.finfo(dtype).eps)  # as of A + E, however sensitive each is


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_eigenvalues_of_an_unbalanced_matrix(rng, dtype):
    """D A D^-1 of powers of two has the eigenvalues of A, to a rounding error of A alone."""
    for n in (2, 5, 12):
        scale = 2.0 ** rng.integers(-12, 13, n)
        a = general(rng, (), n, dtype)
        w, v = mk.eig((a * scale[:, None] / scale).astype(dtype))
        assert_near(np.sort_complex(w), np.sort_complex(np.linalg.eigvals(a)), eps=np.finfo(dtype).eps)
        vectors = v / scale[:, None]
        vectors /= np.linalg.norm(vectors, axis=0)
        assert_near(a @ vectors, vectors * w, eps=np.finfo(dtype).eps)


def test_eigenvalues_whose_imaginary_part_underflows(rng):
    """Their vectors are still those that w tells."""
    a = np.zeros((500, 3, 3), np.float32)
    a[:, 0, 0] = 1
    for part in (a[:, 0, 1:], a[:, 1:, 0]):
        part[:] = 10.0 ** rng.uniform(-26, -20, (500, 2)) * rng.choice([-1, 1], (500, 2))
    a[:, 1:, 1:] = np.array([[-1, -1], [1, 1]]) * np.float32(1.4e-45)  # the smallest number
    v = mk.eig(a)[1]
    assert_near(np.linalg.norm(v, axis=-2), np.ones((500, 3)))


@pytest.mark.parametrize("size", [2.0**-240, 2.0**-266, 2.0**-300])
def test_eigenvectors_of_a_matrix_that_is_tiny_when_balanced(size):
    a = np.array([[1.0, 2.0, 0.0, 1.0], [-2.0, 1.0, 1.0, 0.0], [0.0, 1.0, 3.0, 1.0], [1.0, 0.0, -1.0, 3.0]])
    d = np.array([1.0, 1.0, 1 / size, 1 / size])
    w, v = mk.eig(a * size * d / d[:, None])
    v *= d[:, None] * size
    v /= np.linalg.norm(v, axis=0)
    assert_near(a @ v, v * (w / size))


@pytest.mark.parametrize(
    ("dtype", "large"), [("float32", 1e8), ("complex64", 1e15), ("float64", 1e60), ("float64", 1e150)]
)
def test_the_exponential_of_a_nilpotent_matrix_of_any_size(dtype, large):
    """Squarings that its norm asks for, and its powers do not."""
    a = np.array([[0, large], [0, 0]], dtype)
    np.testing.assert_array_equal(mk.expm(a), np.eye(2) + a)
    np.testing.assert_array_equal(mk.vjp("expm", a)[1](np.zeros((2, 2)))[0], 0)


def test_numbers_and_options_by_position():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert mk.norm(3.0) == 3 and mk.vjp("norm", x, 1)[0] == mk.norm(x, 1) == 6
    for none in (mk.vjp("pinv", x, None)[0], mk.vjp("pinv", x)[0]):
        np.testing.assert_array_equal(none, mk.pinv(x))
    np.testing.assert_array_equal(mk.vjp("lstsq", x, x, None)[0], mk.lstsq(x, x))
    assert len(mk.vjp("lstsq", x, x)[1](x)) == 2
