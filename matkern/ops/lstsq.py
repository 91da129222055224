"""Least squares, with or without Tikhonov's regularization."""

from ..kernels import lstsq as kernels
from ..op import Op
from .algebra import adjoint, eye_of, matmul

__all__ = ["lstsq", "lstsq_jvp", "lstsq_vjp"]


def lstsq(a, b, l2_regularizer=None, *, on_error="raise", out=None):
    """Minimise |A X - B|^2 + l |X|^2 (Frobenius norms), with the X of smallest norm if there is a choice.

    Parameters
    ----------
    a : array_like, shape (..., m, n)
        The matrices: tall, square or wide, of any rank.
    b : array_like, shape (..., m, k) or (m,)
        The right-hand sides; a vector only if it is 1-D. Batch axes broadcast.
    l2_regularizer : array_like, shape (...), optional
        l, a number of at least zero for each matrix. None is zero.
    on_error : {"raise", "nan"}, optional
        For a matrix that fails: raise, or make its solution NaN.
    out : ndarray, optional
        Where to put the result.

    Returns
    -------
    ndarray, shape (..., n, k), or (..., n) for a vector `b`
        X, in the wider dtype of `a` and `b`.

    Raises
    ------
    numpy.linalg.LinAlgError
        If A is so ill-conditioned for its positive l that rounding leaves A^H A + l I (for a wide matrix A A^H + l I)
        not positive definite; if singular values do not converge. A matrix with NaN or infinities gives NaN instead.
    ValueError, TypeError
        For a negative l, which as NaN gives NaN; for shapes, dtypes and options that do not fit, and for matrices too
        large for LAPACK's integers.

    See Also
    --------
    lstsq_vjp, lstsq_jvp : its derivatives. solve : for square matrices that are not singular.

    Notes
    -----
    With l > 0 the normal equations are solved, by Cholesky's factorisation of A^H A + l I or, for a wide matrix, of
    A A^H + l I. With l = 0 it is QR factorisation, of A or A^H. Where an estimate of R's condition is above
    1 / (8 max(m, n) eps), singular values of at most max(m, n) eps times the largest count as zero.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> t = np.arange(4.0)
    >>> a = np.stack([np.ones(4), t], axis=-1)
    >>> np.round(mk.lstsq(a, 2 + 3 * t), 12)                    # a line through points
    array([2., 3.])
    >>> np.round(mk.lstsq(np.ones((2, 2)), np.ones(2)), 12)     # of rank 1
    array([0.5, 0.5])
    >>> mk.lstsq(np.eye(2), np.ones(2), 1.0)
    array([0.5, 0.5])
    """
    l2_regularizer = 0.0 if l2_regularizer is None else l2_regularizer
    return kernels.lstsq(a, b, l2_regularizer, wanted=("x",), on_error=on_error, out=out)


def lstsq_vjp(a, b, factor, rank, x, x_bar, *, on_error="raise"):
    """Pull a cotangent of the solution back to the matrix, the right-hand sides and the regularizer.

    Parameters
    ----------
    a : array_like, shape (..., m, n)
    b : array_like, shape (..., m, k) or (m,)
    factor : array_like, shape (..., min(m, n), min(m, n))
        An upper triangular R for which R^H R is A^H A + l I or, for a wide matrix, A A^H + l I: what `cholesky` gives
        with ``upper=True``, and for l = 0 `qr` of A or A^H with ``mode="r"``. For a rank r below min(m, n) F with
        orthogonal columns, the trailing ones zero, for which F F^H is the pseudo-inverse of that matrix.
    rank : array_like of int, shape (...)
        r; min(m, n) wherever l is positive.
    x : array_like, shape (..., n, k) or (n,)
        The solution.
    x_bar : array_like, shape (..., n, k) or, for a vector `x`, (..., n)
        Its cotangent. Batch axes broadcast.
    on_error : {"raise", "nan"}, optional
        Instead of raising, make the derivatives of the matrix in question NaN.

    Returns
    -------
    a_bar : ndarray, shape (..., m, n)
    b_bar : ndarray, shape (..., m, k) or (..., m)
    l2_regularizer_bar : ndarray, shape (...)
        Real. All have the batch axes of all arguments together: sum over those along which an input was broadcast
        (`vjp` does).

    Raises
    ------
    numpy.linalg.LinAlgError
        If the factor has a zero on its diagonal and is said to be of full rank.
    ValueError, TypeError
        For shapes, dtypes and ranks that do not fit.

    Notes
    -----
    For m >= n, with G = A^H A + l I and Y = G^-1 X_bar:

        A_bar = (B - A X) Y^H - B_bar X^H,    B_bar = A Y,    l_bar = -Re <X, Y>

    For m < n, with G = A A^H + l I and Z = G^-1 B:

        A_bar = Z (X_bar - A^H B_bar)^H - B_bar X^H,    B_bar = G^-1 A X_bar,    l_bar = -Re <Z, B_bar>

    For l = 0 it is [1]_, equation (4.12). A matrix of lower rank has a derivative along changes that keep its rank:
    with G^+ for G^-1, A_bar has the terms of both cases, Z = A G^+ X and Y = A^H G^+ B_bar being the other case's, and
    X_bar - A^+ A X_bar for X_bar - A^H B_bar. At l = 0, l_bar is the derivative from the right. Second derivatives
    invert G: without a regularizer they need full rank.

    References
    ----------
    .. [1] G. H. Golub and V. Pereyra, The differentiation of pseudo-inverses and nonlinear least squares problems whose
       variables separate, SIAM J. Numer. Anal. 10 (1973) 413-432.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> a, b = np.array([[3.0], [4.0]]), np.array([2.0, 1.0])
    >>> x = mk.lstsq(a, b)
    >>> a_bar, b_bar, _ = mk.lstsq_vjp(a, b, mk.qr(a, mode="r"), 1, x, np.ones(1))
    >>> np.round(b_bar, 12)                                     # the pseudo-inverse
    array([0.12, 0.16])
    """
    return kernels.lstsq_vjp(a, b, factor, rank, x, x_bar, on_error=on_error)


def lstsq_jvp(a, b, factor, rank, x, a_dot, b_dot, l2_regularizer_dot=None, *, on_error="raise"):
    """Push tangents of the matrix, the right-hand sides and the regularizer forward to the solution.

    Parameters
    ----------
    a : array_like, shape (..., m, n)
    b : array_like, shape (..., m, k) or (m,)
    factor : array_like, shape (..., min(m, n), min(m, n))
    rank : array_like of int, shape (...)
    x : array_like, shape (..., n, k) or (n,)
        As for `lstsq_vjp`.
    a_dot : array_like, shape (..., m, n), or None
    b_dot : array_like, shape (..., m, k) or (..., m), or None
    l2_regularizer_dot : array_like, shape (...), or None
        The tangents; None is zero.
    on_error : {"raise", "nan"}, optional
        Instead of raising, make the derivatives of the matrix in question NaN.

    Returns
    -------
    ndarray, shape (..., n, k) or (..., n)
        X_dot.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the factor has a zero on its diagonal and is said to be of full rank.
    ValueError, TypeError
        For shapes, dtypes and ranks that do not fit.

    Notes
    -----
    With G and Z of `lstsq_vjp`,

        X_dot = G^-1 (A_dot^H (B - A X) + A^H (B_dot - A_dot X) - l_dot X)                      for m >= n,
        X_dot = A_dot^H Z + A^H G^-1 (B_dot - A_dot X - A A_dot^H Z - l_dot Z)                  for m < n.

    For l = 0 it is [1]_, equation (4.12), and for a matrix of lower rank the tangent counts as one that keeps the rank.

    References
    ----------
    .. [1] G. H. Golub and V. Pereyra, The differentiation of pseudo-inverses and nonlinear least squares problems whose
       variables separate, SIAM J. Numer. Anal. 10 (1973) 413-432.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> a, b = np.array([[3.0], [4.0]]), np.array([2.0, 1.0])
    >>> x = mk.lstsq(a, b)
    >>> x_dot = mk.lstsq_jvp(a, b, mk.qr(a, mode="r"), 1, x, a, None)   # along A itself X shrinks by itself
    >>> np.allclose(x_dot, -x)
    True
    """
    return kernels.lstsq_jvp(a, b, factor, rank, x, a_dot, b_dot, l2_regularizer_dot, on_error=on_error)


def _parts(xp, a, l2_regularizer, b):
    """Q, R, D = R R^H + l, R R^H, D^-1 Q^H B and B - A X for tall and wide A = Q R of full rank alike.

    A^H A + l is D on the row space of R, A A^H + l is D on the range of Q, and X = R^H D^-1 Q^H B.
    """
    q, r = xp.linalg.qr(a)
    gram = matmul(xp, r, adjoint(xp, r))
    l = l2_regularizer[..., None, None]
    d = gram + l * eye_of(xp, gram)
    inner = matmul(xp, adjoint(xp, q), b)
    z = xp.linalg.solve(d, inner)
    return q, r, d, gram, z, b - matmul(xp, q, inner - l * z)


def vjp_formula(xp, a, b, l2_regularizer, x, x_bar):
    q, r, d, gram, z, residual = _parts(xp, a, l2_regularizer, b)
    inner = xp.linalg.solve(d, matmul(xp, r, x_bar))
    along = xp.linalg.solve(gram, matmul(xp, r, x_bar))
    b_bar = matmul(xp, q, inner)
    outside = x_bar - matmul(xp, adjoint(xp, r), along)  # of the row space
    y = matmul(xp, adjoint(xp, r), xp.linalg.solve(d, along))
    a_bar = (
        matmul(xp, residual, adjoint(xp, y))
        + matmul(xp, q, z, adjoint(xp, outside))
        - matmul(xp, b_bar, adjoint(xp, x))
    )
    return a_bar, b_bar, -xp.sum(xp.real(xp.conj(z) * inner), axis=(-2, -1))


def jvp_formula(xp, a, b, l2_regularizer, x, a_dot, b_dot, l2_regularizer_dot):
    q, r, d, gram, z, residual = _parts(xp, a, l2_regularizer, b)
    moved = matmul(xp, adjoint(xp, q), b_dot - matmul(xp, a_dot, x)) - l2_regularizer_dot[..., None, None] * z
    turned = matmul(xp, adjoint(xp, a_dot), q, z)
    along = xp.linalg.solve(d, matmul(xp, r, adjoint(xp, a_dot), residual)) - matmul(xp, r, turned)
    return (turned + matmul(xp, adjoint(xp, r), xp.linalg.solve(d, moved) + xp.linalg.solve(gram, along)),)


Op(
    name="lstsq",
    function=lstsq,
    forward=kernels.lstsq,
    pullback=kernels.lstsq_vjp,
    pushforward=kernels.lstsq_jvp,
    vjp_formula=vjp_formula,
    jvp_formula=jvp_formula,
    outputs=("x",),
    holomorphic=lambda name, options: name == "b",
    defaults={"l2_regularizer": 0.0},
)
