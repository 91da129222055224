"""What cannot be computed: which exception, what it says, and what becomes of the other matrices."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from numpy.linalg import LinAlgError
from samples import assert_near, general, hermitian, normal, positive, tall, wide

import matkern as mk

CALLS = {  # a matrix that fails the operation, and calls of it
    "cholesky": (-np.eye(4), mk.cholesky),
    "solve": (np.ones((4, 4)), lambda a, **o: mk.solve(a, np.ones((4, 1)), **o)),
    "solve pos": (-np.eye(4), lambda a, **o: mk.solve(a, np.ones((4, 1)), assume_a="pos", **o)),
    "solve_triangular": (np.triu(np.ones((4, 4)), 1), lambda a, **o: mk.solve_triangular(a, np.ones((4, 1)), **o)),
    "inv": (np.ones((4, 4)), mk.inv),
    "cholesky_solve": (
        np.diag([1.0, 0.0, 1.0, 1.0]),
        lambda a, **o: mk.cholesky_solve(np.tril(a), np.ones((4, 1)), **o),
    ),
    "lstsq": (1e9 * np.ones((4, 4)), lambda a, **o: mk.lstsq(a, np.ones((4, 1)), 1e-8, **o)),
    "lu_solve": (np.ones((4, 4)), lambda a, **o: mk.lu_solve(*mk.lu_factor(a), np.ones((4, 1)), **o)),
}

FAULT = r"(is|has a Gram matrix that is) (singular|not positive definite)"


@pytest.mark.parametrize("name", CALLS)
class TestOneBadMatrix:
    def test_raises_with_index_and_count(self, rng, name):
        bad, call = CALLS[name]
        a = positive(rng, (3, 5), 4, "float64")
        with pytest.raises(LinAlgError, match=rf"the matrix {FAULT}"):
            call(bad)
        a[1, 2] = bad
        with pytest.raises(LinAlgError, match=rf"matrix \[1, 2\] of the batch {FAULT}[^(]*; on_error"):
            call(a)
        a[2, 0] = bad
        with pytest.raises(LinAlgError, match=r"matrix \[1, 2\].*\(2 of 15 matrices failed\)"):
            call(a)

    def test_nan_on_request_and_the_others_are_right(self, rng, name):
        bad, call = CALLS[name]
        a = positive(rng, (200,), 4, "float64")
        want = call(a)
        some = [0, 7, 113, 199]
        a[some] = bad
        got = call(a, on_error="nan")
        assert np.isnan(got[some]).all()
        others = np.setdiff1d(np.arange(200), some)
        np.testing.assert_array_equal(got[others], want[others])

    def test_a_matrix_with_nan_is_no_error(self, rng, name):
        _, call = CALLS[name]
        a = positive(rng, (3,), 4, "float64")
        want = call(a)
        a[1] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            got = call(a)
        assert np.isnan(got[1][np.tril_indices(4)] if name == "cholesky" else got[1]).all()
        np.testing.assert_array_equal(got[[0, 2]], want[[0, 2]])


def test_nan_where_it_is_not_read_does_not_hide_an_error():
    a = -np.eye(3)
    a[0, 2] = np.nan
    with pytest.raises(LinAlgError, match="not positive definite"):
        mk.cholesky(a)
    np.testing.assert_array_equal(mk.cholesky(-a + np.triu(np.full((3, 3), np.nan), 1)), np.eye(3))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_eig_of_nan_or_infinity_is_nan(rng, value, dtype):
    a = general(rng, (3,), 4, dtype)
    want = mk.eig(a)
    a[1, 0, 3] = value
    got = mk.eig(a)
    for x, y in zip((*got, mk.eigvals(a)), (*want, mk.eigvals(a[[0, 2, 2]])[[0, 1, 1]]), strict=True):
        assert np.isnan(x[1]).all()
        np.testing.assert_array_equal(x[[0, 2]], y[[0, 2]])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_eigh_of_nan_or_infinity_is_nan(rng, value, dtype):
    a = hermitian(rng, (3,), 4, dtype)
    want = mk.eigh(a)
    a[1, 2, 1] = value
    got = mk.eigh(a)
    for x, y in zip(got, want, strict=True):
        assert np.isnan(x[1]).all()
        np.testing.assert_array_equal(x[[0, 2]], y[[0, 2]])
    assert np.isnan(mk.eigvalsh(a)[1]).all()
    assert np.isfinite(mk.eigvalsh(a, UPLO="U")).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6)])
def test_svd_of_nan_or_infinity_is_nan(rng, shape, value, dtype):
    a = normal(rng, (3, *shape), dtype)
    functions = (mk.svd, mk.svdvals, mk.pinv)
    want = [f(a) for f in functions]
    a[1, 2, 1] = value
    for f, ys in zip(functions, want, strict=True):
        got = f(a)
        for x, y in zip(got, ys, strict=True) if isinstance(got, tuple) else [(got, ys)]:
            assert np.isnan(x[1]).all()
            np.testing.assert_array_equal(x[[0, 2]], y[[0, 2]])


def test_full_matrices_of_a_matrix_that_is_not_square():
    for a in (np.ones((2, 3)), np.ones((5, 3, 2))):
        for call in (lambda: mk.svd(a, full_matrices=True), lambda: mk.vjp("svd", a, full_matrices=True)):
            with pytest.raises(
                ValueError, match=r"is not square, .*: take full_matrices=False, or the complete Q of qr"
            ):
                call()
    with pytest.raises(TypeError, match="svdvals has no option 'full_matrices'"):
        mk.vjp("svdvals", np.eye(2), full_matrices=True)


@pytest.mark.parametrize("rtol", [-1, -0.5, np.nan, np.array([0.1, -1.0]), [0.1, np.nan]])
def test_rtol_must_not_be_negative(rtol):
    with pytest.raises(ValueError, match=r"rtol .*negative or NaN"):
        mk.pinv(np.eye(3), rtol=rtol)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("assume_a", ["gen", "her"])
def test_expm_of_nan_or_infinity_is_nan(rng, value, dtype, assume_a):
    a = hermitian(rng, (3,), 4, dtype)
    want, pull = mk.vjp("expm", a, assume_a=assume_a)
    bar = pull(np.ones((4, 4)))[0]
    a[1, 2, 1] = value
    got, pull = mk.vjp("expm", a, assume_a=assume_a)
    for x, y in ((got, want), (pull(np.ones((4, 4)))[0], bar)):
        assert np.isnan(x[1]).all()
        np.testing.assert_array_equal(x[[0, 2]], y[[0, 2]])


@pytest.mark.parametrize("assume_a", ["gen", "her"])
@pytest.mark.parametrize("size", [1e3, 1e100, 1e300])
def test_an_exponential_that_overflows_takes_no_time(size, assume_a):
    a = size * np.array([[[1.0, 2.0], [2.0, -3.0]], [[0.0, 0.0], [0.0, 0.0]]])
    x, pull = mk.vjp("expm", a, assume_a=assume_a)
    assert not np.isfinite(x[0]).any()
    np.testing.assert_array_equal(x[1], np.eye(2))
    np.testing.assert_array_equal(pull(np.eye(2))[0][1], np.eye(2))


@pytest.mark.parametrize(
    "name",
    [
        "cholesky",
        "cholesky_solve",
        "det",
        "eig",
        "eigh",
        "eigvals",
        "eigvalsh",
        "expm",
        "inv",
        "lstsq",
        "lu",
        "lu_factor",
        "lu_solve",
        "matmul",
        "norm",
        "pinv",
        "qr",
        "slogdet",
        "solve",
        "solve_triangular",
        "svd",
        "svdvals",
    ],
)
def test_nan_in_one_matrix_leaves_the_derivatives_of_the_others_alone(rng, name):
    a = positive(rng, (3,), 4, "float64")
    b = rng.standard_normal((3, 4, 2))

    def gradient(a, nan):
        second = "solve" in name or name in ("lstsq", "matmul")
        inputs = (*mk.lu_factor(a), b) if name == "lu_solve" else (a, b) if second else (a,)
        y, pull = mk.vjp(name, *inputs, **({"axis": (1, 2)} if name == "norm" else {}))
        ys = y if isinstance(y, tuple) else (y,)
        names = mk.OPS[name].differentiable_outputs
        g = tuple(np.ones(x.shape) if n in names else None for n, x in zip(mk.OPS[name].outputs, ys, strict=True))
        bars = pull(g if len(g) > 1 else g[0])
        assert not nan or any(np.isnan(bar[1]).any() for bar in bars if bar is not None)
        return bars[0][[0, 2]]

    want = gradient(a, False)
    a[1, 1, 0] = a[1, 0, 1] = np.nan
    np.testing.assert_array_equal(gradient(a, True), want)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("order", ["nuc", 2, -2])
def test_a_norm_of_singular_values_of_nan_or_infinity_is_nan(rng, value, order):
    x = rng.standard_normal((3, 2, 4))
    want = mk.norm(x, order, (1, 2))
    x[1, 0, 3] = value
    got = mk.norm(x, order, (1, 2))
    assert np.isnan(got[1])
    np.testing.assert_array_equal(got[[0, 2]], want[[0, 2]])


def test_slogdet_of_a_singular_matrix_has_no_derivative(rng):
    a = rng.standard_normal((3, 2, 2))
    a[1] = [[1, 2], [2, 4]]
    (sign, logabsdet), pull = mk.vjp("slogdet", a)
    assert sign[1] == 0 and logabsdet[1] == -np.inf
    with pytest.raises(LinAlgError, match=r"matrix \[1\] of the batch is singular: the logarithm of its determinant"):
        pull((None, np.ones(3)))
    bar = mk.vjp("slogdet", a, on_error="nan")[1]((None, np.ones(3)))[0]
    assert np.isnan(bar[1]).all() and np.isfinite(bar[[0, 2]]).all()


def test_a_real_sign_s_cotangent_is_zero_for_singular_matrices_too():
    _, pull = mk.vjp("slogdet", np.ones((2, 2)))
    np.testing.assert_array_equal(pull((np.ones(()), None))[0], 0)


def test_lu_without_a_derivative(rng):
    """A zero pivot that is not the last leaves no derivative; a last one does no harm."""
    a = general(rng, (3,), 4, "float64")
    a[1, :, 1] = 0
    lu, piv = mk.lu_factor(a)
    with pytest.raises(LinAlgError, match=r"matrix \[1\] of the batch has a zero pivot"):
        mk.lu_factor_vjp(lu, piv, np.ones((4, 4)))
    with pytest.raises(LinAlgError, match=r"matrix \[1\] of the batch has a zero pivot"):
        mk.lu_jvp(*mk.lu(a), np.ones((4, 4)))
    _, pull = mk.vjp("lu_factor", a, on_error="nan")
    bar = pull((np.ones((4, 4)), None))[0]
    assert np.isnan(bar[1]).all() and np.isfinite(bar[[0, 2]]).all()
    singular = np.array([[1.0, 2.0], [2.0, 4.0]])
    lu, piv = mk.lu_factor(singular)
    assert lu[1, 1] == 0
    assert np.isfinite(mk.lu_factor_vjp(lu, piv, np.ones((2, 2)))).all()
    # of the last pivot u = a_01 - a_11 a_00 / a_10 with the rows as they are: row 1 was moved up
    np.testing.assert_allclose(mk.lu_factor_vjp(lu, piv, np.diag([0.0, 1.0])), [[-2, 1], [1, -0.5]], rtol=1e-15)


@pytest.mark.parametrize("matrix", [tall, wide])
@pytest.mark.parametrize("l", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_lstsq_of_nan_or_infinity(rng, matrix, l, value):
    """In the matrix: NaN throughout; in a right-hand side: in its solution alone."""
    a = matrix(rng, (3,), 4, "complex64")
    b = rng.standard_normal((3, a.shape[-2], 2)).astype("complex64")
    want = mk.lstsq(a, b, l)
    a[1, 2, 3], b[2, 1, 0] = value, np.nan
    got = mk.lstsq(a, b, l)
    assert np.isnan(got[1]).all() and np.isnan(got[2, :, 0]).all()
    np.testing.assert_array_equal(got[0], want[0])
    assert_near(got[2, :, 1], want[2, :, 1])


def test_regularizers_that_are_none(rng):
    a, b = tall(rng, (3,), 4, "float64"), np.ones((7, 1))
    l = np.array([1, -1e-300, 0])
    with pytest.raises(ValueError, match=r"matrix \[1\] of the batch has a negative l2_regularizer"):
        mk.lstsq(a, b, l)
    got = mk.lstsq(a, b, l, on_error="nan")
    assert np.isnan(got[1]).all() and np.isfinite(got[[0, 2]]).all()
    l[1] = np.nan
    np.testing.assert_array_equal(mk.lstsq(a, b, l), got)
    with pytest.raises(TypeError, match="l2_regularizer must be real"):
        mk.lstsq(a, b, 1j)


def test_factors_of_lstsq_that_are_none(rng):
    a, b = tall(rng, (3,), 4, "float64"), np.ones((7, 1))
    r, x = mk.qr(a, mode="r"), mk.lstsq(a, b)
    r[1, 2, 2] = 0
    for call in (
        lambda rank: mk.lstsq_vjp(a, b, r, rank, x, x),
        lambda rank: mk.lstsq_jvp(a, b, r, rank, x, a, None),
    ):
        with pytest.raises(LinAlgError, match=r"matrix \[1\] of the batch has a singular factor"):
            call(4)
        with pytest.raises(ValueError, match=r"matrix \[0\] of the batch has a rank that is not one from 0 to min"):
            call(5)


@pytest.mark.parametrize("matrix", [general, tall, wide])
@pytest.mark.parametrize("mode", ["reduced", "complete", "r"])
def test_qr_without_a_derivative(rng, matrix, mode):
    a = matrix(rng, (3,), 4, "float64")
    a[1, :, 1] = 0
    y, pull = mk.vjp("qr", a, mode=mode)
    zeros = np.zeros_like(y) if mode == "r" else tuple(map(np.zeros_like, y))
    q, r = mk.qr(a) if mode == "r" else y
    assert r[1, 1, 1] == 0
    for call in (
        lambda: pull(zeros),
        lambda: mk.qr_vjp(q, r, q, None, gauge="ignore"),
        lambda: mk.jvp("qr", (a,), (a,), mode=mode),
        lambda: mk.qr_jvp(q, r, a),
    ):
        with pytest.raises(LinAlgError, match=r"matrix \[1\] of the batch has a zero on the diagonal of R"):
            call()
    _, pull = mk.vjp("qr", a, mode=mode, on_error="nan")
    bar = pull(zeros)[0]
    assert np.isnan(bar[1]).all() and np.isfinite(bar[[0, 2]]).all()
    r_dot = mk.qr_jvp(q, r, a, on_error="nan").R
    assert np.isnan(r_dot[1]).all() and np.isfinite(r_dot[[0, 2]]).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: mk.cholesky(np.ones((2, 3))),
            ValueError,
            r"a must be square in its last two axes, got shape \(2, 3\)",
        ),
        (lambda: mk.cholesky(np.ones(3)), ValueError, r"a\(n,n\) needs at least 2 dimensions, got shape \(3,\)"),
        (lambda: mk.cholesky(None), TypeError, "a must be an array, got None"),
        (lambda: mk.cholesky(np.eye(2), upper="yes"), ValueError, "upper must be one of False, True, got 'yes'"),
        (
            lambda: mk.cholesky(np.eye(2), on_error="ignore"),
            ValueError,
            "on_error must be 'raise' or 'nan', got 'ignore'",
        ),
        (
            lambda: mk.solve(np.eye(3), np.ones((2, 2))),
            ValueError,
            r"b\(n,k\?\) has shape \(2, 2\), but n = 3 of a\(n,n\)",
        ),
        (
            lambda: mk.solve(np.ones((2, 3, 3)), np.ones((4, 3, 1))),
            ValueError,
            r"do not broadcast: \(2,\) of a, \(4,\) of b",
        ),
        (lambda: mk.solve(np.eye(3), np.ones(3), trans="X"), ValueError, "trans must be one of 'N', 'T', 'C', got 'X'"),
        (lambda: mk.eigh(np.eye(2), UPLO=["L"]), ValueError, "UPLO must be one of 'L', 'U'"),
        (
            lambda: mk.cholesky_vjp(np.eye(3), np.ones((2, 2))),
            ValueError,
            r"L_bar\(n,n\) has shape \(2, 2\), but n = 3 of L",
        ),
        (lambda: mk.eigh_vjp(np.ones(2) * 1j, np.eye(2), None, None), TypeError, "eigenvalues must be real"),
        (
            lambda: mk.lu_solve(np.eye(2), [0.0, 1.0], np.ones(2)),
            TypeError,
            "piv has dtype float64; integers are needed",
        ),
        (lambda: mk.lu_solve(np.eye(2), [0, 2], np.ones(2)), ValueError, "row interchanges that are not"),
        (lambda: mk.lu_solve(np.eye(2), [-1, 0], np.ones(2)), ValueError, "piv must hold integers from 0"),
        (lambda: mk.lu_solve(np.eye(2), [0, 2**32], np.ones(2)), ValueError, "piv must hold integers from 0"),
        (lambda: mk.lu_factor_vjp(np.eye(3), np.arange(2), np.eye(3)), ValueError, "call for min = 3"),
        (
            lambda: mk.lu_vjp(np.ones((2, 2)), np.eye(2), np.eye(2), None, np.eye(2)),
            ValueError,
            "row interchanges that are not",
        ),
        (
            lambda: mk.qr(np.eye(2), mode="full"),
            ValueError,
            "mode must be one of 'reduced', 'complete', 'r', got 'full'",
        ),
        (
            lambda: mk.vjp("qr", np.eye(2), mode="R"),
            ValueError,
            "mode must be one of 'reduced', 'complete', 'r', got 'R'",
        ),
        (lambda: mk.qr_jvp(np.eye(4)[:, :3], np.eye(3, 2), np.ones((4, 2))), ValueError, "neither min"),
        (lambda: mk.vjp("choleski", np.eye(2)), ValueError, "unknown operation 'choleski'; matkern has cholesky, "),
        (lambda: mk.vjp("solve", np.eye(2)), TypeError, "solve needs a, b; b is missing"),
        (
            lambda: mk.vjp("cholesky", np.eye(2), lower=True),
            TypeError,
            "no option 'lower'; it has upper, triangle, on_error",
        ),
        (
            lambda: mk.vjp("cholesky", np.eye(2), triangle="X"),
            ValueError,
            "triangle must be one of None, 'L', 'U', got 'X'",
        ),
        (
            lambda: mk.vjp("cholesky", np.eye(2))[1](np.ones(3)),
            ValueError,
            r"cotangent of L has shape \(3,\), which does not",
        ),
        (lambda: mk.vjp("cholesky", np.eye(2))[1]("x"), TypeError, "cotangent of L has dtype <U1"),
        (lambda: mk.vjp("eigh", np.eye(2))[1](np.ones(2)), ValueError, "takes a tuple of 2 cotangents .*, got ndarray"),
        (lambda: mk.vjp("eigh", np.eye(2))[1]((None,)), ValueError, "takes a tuple of 2 cotangents .*, got 1"),
        (lambda: mk.vjp("lu_factor", np.eye(2))[1]((None, np.ones(2))), ValueError, "piv has no derivative"),
        (lambda: mk.jvp("cholesky", np.eye(2), np.eye(2)), TypeError, "inputs must be a tuple or a list, got ndarray"),
        (
            lambda: mk.jvp("solve", (np.eye(2), np.ones(2)), (None,)),
            ValueError,
            "2 inputs need as many tangents, got 1",
        ),
        (lambda: mk.matmul(1.0, np.eye(2)), ValueError, "a needs at least 1 dimension; multiply by a number"),
        (lambda: mk.matmul(np.ones(3), np.eye(2)), ValueError, r"b\(k,n\) has shape \(2, 2\), but k = 3 of a"),
        (lambda: mk.norm(np.eye(2), "frobenius"), ValueError, "ord for 2 axes must be None or one of 'fro', 'nuc', 1"),
        (lambda: mk.norm(np.ones(2), "fro"), ValueError, "ord for 1 axis must be None or a number, got 'fro'"),
        (
            lambda: mk.norm(np.ones((2, 2, 2)), 2),
            ValueError,
            "ord for 3 axes must be None .*axis name one or two, got 2",
        ),
        (lambda: mk.norm(np.eye(2), axis=2), ValueError, "axis 2 is out of bounds for an array of 2 dimensions"),
        (lambda: mk.norm(np.eye(2), axis=(0, -2)), ValueError, r"axis \(0, -2\) names one axis twice"),
        (
            lambda: mk.norm(np.eye(2), axis="0"),
            TypeError,
            "axis must be None, an integer or a pair of integers, got '0'",
        ),
        (lambda: mk.norm(np.eye(2), np.nan), ValueError, "ord for 2 axes must be None or one of .*, got nan"),
        (lambda: mk.vjp("norm", np.eye(2), kind="nuc"), TypeError, "norm has no option 'kind'; it has ord, axis, keep"),
        (
            lambda: mk.vjp("norm", np.eye(2), 2, ord=1),
            TypeError,
            "takes x, ord, axis, keepdims by position, and ord twice",
        ),
        (lambda: mk.vjp("norm", np.eye(2), p=3.0), TypeError, "norm has no option 'p'"),
        (lambda: mk.vjp("solve", np.eye(2), 1, 2), TypeError, "solve takes a, b by position, got 3"),
        (lambda: mk.expm(np.eye(2), assume_a="pos"), ValueError, "assume_a must be one of 'gen', 'her', got 'pos'"),
        (lambda: mk.expm_jacobian(np.eye(2), method="pade"), ValueError, "method must be 'frechet' or .*, got 'pade'"),
        (lambda: mk.expm_jacobian(np.ones((2, 3))), ValueError, r"square in its last two axes, got shape \(2, 3\)"),
        (
            lambda: mk.expm_jacobian(np.broadcast_to(1.0, (3, 5000, 5000))),
            MemoryError,
            r"of shape \(3, 25000000, 25000000\) takes 13,969,838.6 GiB, and there are",
        ),
        (lambda: mk.jvp("cholesky", (np.eye(2),), (np.ones(3),)), ValueError, r"tangent of a has shape \(3,\)"),
    ],
)
def test_messages(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_sizes_beyond_32_bits_are_refused():
    """Views without memory of their own: nothing is allocated before the refusal."""
    huge = np.broadcast_to(np.float32(1), (40000, 40000))
    with pytest.raises((ValueError, MemoryError), match=r"too large for the 32-bit integers|allocate"):
        mk.eigvalsh(huge)
    for call in (mk.svd, mk.svdvals, mk.pinv):
        with pytest.raises((ValueError, MemoryError), match=r"too large for the 32-bit integers|allocate"):
            call(huge)
    with pytest.raises((ValueError, MemoryError), match=r"too large for the 32-bit integers|allocate"):
        mk.solve_triangular(np.ones((1, 1)), np.broadcast_to(np.float32(1), (1, 2**31)), out=None)


def test_infinity_never_hangs():
    code = """
import numpy as np, matkern as mk
for name in mk.OPS:
    for dtype in "fdFD":
        a = np.eye(5, dtype=dtype) * 2
        a[0, 0] = np.inf
        b = np.ones((5, 2), dtype)
        inputs = (a, np.arange(5), b) if name == "lu_solve" else (a, b) if "b" in mk.OPS[name].inputs else (a,)
        mk.vjp(name, *inputs, on_error="nan")
        mk.jvp(name, inputs, [x if x.dtype.kind in "fc" else None for x in inputs], on_error="nan")
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("k", [1, 11, 12, 40])
@pytest.mark.parametrize("n", [4, 40, 100])
def test_a_zero_on_the_diagonal_is_found_by_the_derivatives(rng, n, k):
    """For few right-hand sides and for many, which are solved in other ways."""
    a = np.triu(general(rng, (2,), n, "float64"))
    a[1, n // 2, n // 2] = 0
    b = np.ones((2, n, k))
    for call in (
        lambda: mk.solve_triangular_vjp(a, b, b),
        lambda: mk.solve_triangular_jvp(a, b, a, b),
    ):
        with pytest.raises(LinAlgError, match=r"matrix \[1\] of the batch is singular"):
            call()
    _, pull = mk.vjp("solve_triangular", a, b, on_error="nan")
    for bar in pull(b):
        assert np.isnan(bar[1]).all() and np.isfinite(bar[0]).all()


@pytest.mark.parametrize("option", [{"trans": "t"}, {"trans": "c"}, {"assume_a": "POS"}])
def test_options_are_case_sensitive(option):
    """Formulas and kernels read the same values."""
    with pytest.raises(ValueError, match="must be one of"):
        mk.vjp("solve", np.eye(2), np.ones(2), **option)


def test_wanted_is_checked():
    kernel = mk.OPS["lu_factor"].forward
    np.testing.assert_array_equal(kernel(np.eye(2), wanted=("lu",)), np.eye(2))
    np.testing.assert_array_equal(kernel(np.eye(2), wanted=("piv",)), [0, 1])
    with pytest.raises(ValueError, match="wanted must name some of lu, piv"):
        kernel(np.eye(2), wanted=("bogus",))
    np.testing.assert_array_equal(mk.OPS["eigh"].forward(np.eye(2), wanted=("eigenvectors",)), np.eye(2))


def test_the_most_axes_that_numpy_has():
    w = np.ones((1,) * 63 + (3,))
    with pytest.raises(ValueError, match="number of dimensions"):
        mk.eigh_vjp(w, np.eye(3), w, None)
