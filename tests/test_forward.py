"""Operations against their defining equations and against SciPy."""

import numpy as np
import pytest
import scipy.linalg
from samples import DTYPES, adjoint, assert_near, general, hermitian, normal, positive, tall, wide

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


def test_a_forward_solve_is_backward_stable():
    """Wilkinson's matrix: its triangular factor has a condition of 2^59, and substitution does not care."""
    n = 60
    l = np.eye(n) - np.tril(np.ones((n, n)), -1)
    b = np.random.default_rng(0).standard_normal((n, 40))
    x = mk.solve_triangular(l, b, lower=True)
    # |L X - B| <= c n eps |L| |X| entry by entry (Higham, Accuracy and Stability of Numerical Algorithms, theorem 8.5)
    assert (np.abs(l @ x - b) <= 4 * n * np.finfo(float).eps * (np.abs(l) @ np.abs(x))).all()


def test_named_outputs():
    a = np.diag([2.0, 1.0])
    assert mk.eigh(a)._fields == ("eigenvalues", "eigenvectors")
    assert mk.lu(a)._fields == ("p", "l", "u")
    assert mk.lu_factor(a)._fields == ("lu", "piv")


@pytest.mark.parametrize("function", [mk.solve, mk.solve_triangular])
def test_a_right_hand_side_is_a_vector_only_if_it_is_1d(function, rng):
    a = np.triu(general(rng, (3,), 4, "float64"))
    assert function(a[0], np.ones(4)).shape == (4,)
    assert function(a, np.ones(4)).shape == (3, 4)
    assert_near(function(a, np.ones(4))[1], function(a[1], np.ones((4, 1)))[:, 0])
    with pytest.raises(ValueError, match=r"b\(n,k\?\) has shape \(3, 4\)"):
        function(a, np.ones((3, 4)))  # a matrix of 3 rows, as NumPy 2 has it
