"""The exponential where it is hard, and its derivative as a matrix."""

import mpmath
import numpy as np
import pytest
import scipy.linalg
from samples import DTYPES, adjoint, assert_near, hermitian, normal

import matkern as mk

EPS = np.finfo(float).eps
WARD = np.array([[-131.0, 19, 18], [-390, 56, 54], [-387, 57, 52]])  # R. C. Ward, SIAM J. Numer. Anal. 14 (1977)
MOLER = np.array([[-49.0, 24], [-64, 31]])  # C. Moler and C. Van Loan, SIAM Review 20 (1978)
JORDAN = np.diag([2.0] * 4) + np.diag([1.0] * 3, 1)
TURN = np.linalg.qr(np.vander([1.0, 2, 3, 4])).Q
HARD = {
    "zero": np.zeros((3, 3)),
    "nilpotent": np.triu(np.ones((5, 5)), 1) * 1e3,
    "far from normal": np.array([[1.0, 1e6], [0, -1]]),
    "graded": np.diag([0.0, -1, -2, -3]) + np.triu(np.full((4, 4), 1e3), 1),
    "defective": JORDAN,
    "turned defective": TURN @ JORDAN @ TURN.T,
    "stiff": np.array([[-1e4, 1e4], [1, -1]]),
    "negative": np.ones((3, 3)) - np.diag([1.0, 100, 1000]),
    "skew": 50 * np.array([[0.0, -1, 2], [1, 0, -3], [-2, 3, 0]]),
    "far from zero": 300 * np.eye(3) + np.array([[0.0, 1, 2], [0, 1, 3], [1, 0, 0]]),
    "tiny": 1e-6 * np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    "Ward": WARD,
    "Moler and Van Loan": MOLER,
}


def exact(a):
    """exp(A) by a Taylor series to 60 digits, after enough halvings and with digits to spare for the squarings."""
    halvings = max(0, int(mpmath.log(mpmath.mnorm(a, 1) + 1, 2))) + 10
    small, x, term = a / mpmath.mpf(2) ** halvings, mpmath.eye(a.rows), mpmath.eye(a.rows)
    for k in range(1, 25):
        term = term * small / k
        x += term
    for _ in range(halvings):
        x = x * x
    return x


def numbers(x):
    return np.array(x.tolist(), dtype=float)


@pytest.mark.parametrize("name", HARD)
def test_hard_matrices(rng, name):
    """The exponential and its derivatives to n eps times the condition |L| |A| / |X|, or to some n eps."""
    a, e = HARD[name], rng.standard_normal(HARD[name].shape)
    n = len(a)
    with mpmath.workdps(80):
        m, t, h = mpmath.matrix(a.tolist()), mpmath.matrix(e.tolist()), mpmath.mpf(10) ** -25
        x = numbers(exact(m))
        push = numbers((exact(m + h * t) - exact(m - h * t)) / (2 * h))
        pull = numbers((exact(m.T + h * t) - exact(m.T - h * t)) / (2 * h))
    condition = np.linalg.norm(mk.expm_jacobian(a), 2) * np.linalg.norm(a) / np.linalg.norm(x)
    for got, want in ((mk.expm(a), x), (mk.expm_jvp(a, e), push), (mk.expm_vjp(a, e), pull)):
        assert np.linalg.norm(got - want) <= n * EPS * (10 + condition) * np.linalg.norm(want)


@pytest.mark.parametrize("name", ["nilpotent", "far from normal", "graded"])
def test_needless_squarings_are_left_out(name):
    """Their norms call for 8, 18 and 10; the condition lets a result with them pass the test above, not this one."""
    with mpmath.workdps(80):
        want = numbers(exact(mpmath.matrix(HARD[name].tolist())))
    x = mk.expm(HARD[name])
    assert_near(x[want != 0] / want[want != 0], np.ones((want != 0).sum()), multiple=4)


def test_derivatives_broadcast(rng):
    a, g = normal(rng, (1, 3, 3), "float64"), normal(rng, (4, 3, 3), "float64")
    for assume_a in ("gen", "her"):
        for derivative in (mk.expm_vjp, mk.expm_jvp):
            singles = np.stack([derivative(a[0], x, assume_a=assume_a) for x in g])
            assert_near(derivative(a, g, assume_a=assume_a), singles)


@pytest.mark.parametrize("dtype", DTYPES)
def test_shifts_by_a_multiple_of_the_identity(rng, dtype):
    """exp(A + c I) = e^c exp(A), for a complex c, too, and where e^c is near the ends of the range."""
    a = normal(rng, (3, 6, 6), dtype) / 6
    for c in (-40, -3, 0.5, 40, *([2j, 3 - 2j] if np.dtype(dtype).kind == "c" else [])):
        b = a + np.array(c).astype(dtype) * np.eye(6, dtype=dtype)
        factor = np.array(np.exp(c)).astype(dtype)
        e = normal(rng, a.shape, dtype)
        for got, want in ((mk.expm(b), mk.expm(a)), (mk.expm_jvp(b, e), mk.expm_jvp(a, e))):
            assert_near(got / factor, want)


def test_a_large_negative_shift_does_not_overflow():
    """exp(A - mu I) alone would."""
    a = np.array([[0.0, 1.0], [0.0, -5000.0]])
    x, pull = mk.vjp("expm", a)
    assert_near(x, [[1, 1 / 5000], [0, 0]], multiple=5000)
    assert_near(pull(np.ones((2, 2)))[0], scipy.linalg.expm_frechet(a.T, np.ones((2, 2)))[1], multiple=5000)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gap", [0, 1e-18, 1e-12, 1e-8, 1e-4, 1.0])
def test_close_eigenvalues_of_a_hermitian_matrix(rng, dtype, gap):
    """The derivative has no singularity there: that of any matrix, which knows no eigenvalues, is the same."""
    q, _ = np.linalg.qr(normal(rng, (5, 5), dtype))
    a = (q * (np.array([1, 1, 1, 2, 2]) + gap * np.arange(5)).astype(q.real.dtype)) @ adjoint(q)
    a, g = ((a + adjoint(a)) / 2).astype(dtype), normal(rng, a.shape, dtype)
    bar = mk.expm_vjp(a, g, assume_a="her")
    np.testing.assert_array_equal(bar, adjoint(bar))
    assert_near(bar, mk.expm_vjp(a, (g + adjoint(g)) / 2))
    assert_near(mk.expm_jvp(a, g, assume_a="her"), bar)  # L is its own adjoint


def test_far_eigenvalues_of_a_hermitian_matrix():
    """Differences whose exponentials overflow or vanish."""
    w = np.array([-2000.0, -3, 0, 2])
    bar = mk.expm_vjp(np.diag(w), np.ones((4, 4)), assume_a="her")
    e = np.exp(w)
    quotients = (e[:, None] - e) / (w[:, None] - w + np.eye(4)) + np.diag(e)
    assert_near(bar, quotients, multiple=1)


@pytest.mark.parametrize("n", [1, 5, 33, 70])
@pytest.mark.parametrize("dtype", DTYPES)
def test_derivative_along_a_power(rng, n, dtype):
    """Along what commutes with A it is exp(A) times the direction."""
    a = (normal(rng, (2, n, n), dtype) / np.sqrt(n)).astype(dtype)
    assert_near(mk.expm_jvp(a, a), mk.expm(a) @ a)
    assert_near(mk.expm_vjp(a, adjoint(a)), mk.expm(adjoint(a)) @ adjoint(a))


# expm_jacobian


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 2, 5])
@pytest.mark.parametrize("method", ["frechet", "najfeld-havel"])
def test_jacobian(rng, method, n, dtype):
    """vec(L(A, E)) = J vec(E), vec by columns."""
    a, e = normal(rng, (3, 2, n, n), dtype) / max(1, n), normal(rng, (3, 2, n, n), dtype)
    jacobian = mk.expm_jacobian(a, method=method)
    assert jacobian.shape == (3, 2, n * n, n * n) and jacobian.dtype == a.dtype and jacobian.flags.c_contiguous
    vec = lambda x: x.swapaxes(-1, -2).reshape(3, 2, n * n, 1)
    assert_near(jacobian @ vec(e), vec(mk.expm_jvp(a, e)))


def test_jacobian_has_the_numbers_of_the_generic_one(rng):
    a = rng.standard_normal((2, 3, 3))
    whole, generic = mk.expm_jacobian(a), mk.jacobian("expm", a)
    for i, j, k, l in np.ndindex(3, 3, 3, 3):
        np.testing.assert_array_equal(whole[:, i + 3 * j, k + 3 * l], generic[:, i, j, k, l])


@pytest.mark.parametrize("name", ["zero", "defective", "turned defective", "tiny"])
def test_both_ways_to_the_jacobian_agree(name):
    """ad is nilpotent here, or almost."""
    frechet, other = (mk.expm_jacobian(HARD[name], method=method) for method in ("frechet", "najfeld-havel"))
    scale = np.linalg.norm(frechet)
    assert_near(other / scale, frechet / scale, multiple=10)


@pytest.mark.parametrize("method", ["frechet", "najfeld-havel"])
def test_jacobian_of_a_batch_with_nan(rng, method):
    a = rng.standard_normal((3, 2, 2))
    want = mk.expm_jacobian(a, method=method)
    a[1, 0, 1] = np.nan
    got = mk.expm_jacobian(a, method=method)
    assert np.isnan(got[1]).all()
    np.testing.assert_array_equal(got[[0, 2]], want[[0, 2]])


def test_jacobian_of_a_hermitian_matrix(rng):
    """By eigenvalues a change counts by its symmetric part."""
    a = hermitian(rng, (2,), 4, "float64")
    whole = mk.jacobian("expm", a)
    assert_near(mk.jacobian("expm", a, assume_a="her"), (whole + whole.swapaxes(-1, -2)) / 2)
    with pytest.raises(ValueError, match="not a holomorphic function"):
        mk.jacobian("expm", a * (1 + 0j), assume_a="her")
