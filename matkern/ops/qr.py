"""QR factorisation."""

from functools import partial
from typing import NamedTuple

import numpy as np

from ..kernels import qr as kernels
from ..op import Op
from .algebra import adjoint, matmul, phi, solve_right

__all__ = ["QRResult", "qr", "qr_jvp", "qr_vjp"]


class QRResult(NamedTuple):
    """What `qr` returns."""

    Q: np.ndarray
    R: np.ndarray


def qr(a, *, mode="reduced", out=None):
    """Factor matrices as A = Q R, Q with orthonormal columns and R upper triangular.

    Parameters
    ----------
    a : array_like, shape (..., m, n)
        The matrices: square, tall or wide, of any rank.
    mode : {"reduced", "complete", "r"}, optional
        Q with k = min(m, n) columns; with m columns, the trailing m - n of which are arbitrary; or R alone, of k rows.
    out : tuple of ndarray, or for ``mode="r"`` ndarray, optional
        Where to put the results.

    Returns
    -------
    Q : ndarray, shape (..., m, k) or (..., m, m)
        Not for ``mode="r"``, which returns R by itself.
    R : ndarray, shape (..., k, n) or (..., m, n)
        Both in the dtype of `a` (float64 for integers). The signs of the diagonal are LAPACK's; it is real.

    Raises
    ------
    ValueError, TypeError
        For shapes, dtypes and options that do not fit, and for matrices too large for LAPACK's integers. A matrix with
        NaN in it gives NaN.

    See Also
    --------
    qr_vjp, qr_jvp : its derivatives.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> q, r = mk.qr(np.array([[3.0, 1.0], [4.0, 3.0]]))
    >>> np.round(r, 12)
    array([[-5., -3.],
           [ 0.,  1.]])
    >>> mk.qr(np.ones((5, 2)), mode="complete").Q.shape
    (5, 5)
    """
    if mode == "reduced":
        return QRResult(*kernels.qr(a, out=out))
    if mode == "complete":
        return QRResult(*kernels.qr_complete(a, out=out))
    if mode == "r":
        return kernels.qr(a, wanted=("R",), out=out)
    raise ValueError(f"qr: mode must be one of 'reduced', 'complete', 'r', got {mode!r}")


def qr_vjp(Q, R, Q_bar, R_bar, *, gauge="raise", on_error="raise"):
    """Pull cotangents of Q and R back to the matrix.

    Parameters
    ----------
    Q : array_like, shape (..., m, k) or (..., m, m)
    R : array_like, shape (..., k, n) or (..., m, n)
        What `qr` returned, reduced or complete.
    Q_bar : array_like, in the shape of `Q`, or None
    R_bar : array_like, in the shape of `R`, or None
        Their cotangents; None is zero. Batch axes broadcast. Of `R_bar` the upper triangle counts, of its diagonal
        the real part.
    gauge : {"raise", "ignore"}, optional
        For a cotangent with a part along rotations of the trailing columns of a complete Q among each other, which
        leave A = Q R as it is: raise, or drop it.
    on_error : {"raise", "nan"}, optional
        Instead of raising, make the gradient of the matrix in question NaN.

    Returns
    -------
    ndarray, shape (..., m, n)
        A_bar, in the dtype of `Q`.

    Raises
    ------
    numpy.linalg.LinAlgError
        If one of the first min(m, n) entries of R's diagonal is zero: there is no derivative.
    ValueError, TypeError
        For a cotangent along the rotations with ``gauge="raise"``; for shapes, dtypes and options that do not fit.

    Notes
    -----
    With A = [A1 A2], R = [R1 R2], Q = [Q1 Q2], R1 square and invertible, A2 and R2 of a wide matrix, Q2 of a complete
    Q of a tall one: M = R1 R1_bar^H - Q1_bar^H Q1 - R2_bar R2^H, H is the Hermitian matrix that has the lower triangle
    of M and the real part of its diagonal, and

        A1_bar = (Q1_bar + Q1 (H + R2 R2_bar^H) - Q2 Q2_bar^H Q1) R1^-H,    A2_bar = Q1 R2_bar

    [1]_, section 3, for a tall matrix, [2]_, section 3, for a wide one. The skew-Hermitian part of Q2^H Q2_bar is the
    one along the rotations; an entry of at most 16 m eps |Q_bar| (Frobenius) is rounding.

    References
    ----------
    .. [1] S. F. Walter and L. Lehmann, Algorithmic differentiation of linear algebra functions with application in
       optimum experimental design, arXiv:1001.1654 (2010).
    .. [2] D. A. O. Roberts and L. R. Roberts, QR and LQ decomposition matrix backpropagation algorithms for square,
       wide, and deep matrices - real or complex - and their software implementation, arXiv:2009.10071 (2020).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> q, r = mk.qr(np.array([[3.0], [4.0]]))
    >>> mk.qr_vjp(q, r, None, np.array([[1.0]]))        # of minus the norm
    array([[-0.6],
           [-0.8]])
    """
    return kernels.qr_vjp(Q, R, Q_bar, R_bar, gauge=gauge, on_error=on_error)


def qr_jvp(Q, R, A_dot, *, on_error="raise"):
    """Push a tangent of the matrix forward to Q and R.

    Parameters
    ----------
    Q : array_like, shape (..., m, k) or (..., m, m)
    R : array_like, shape (..., k, n) or (..., m, n)
        What `qr` returned, reduced or complete.
    A_dot : array_like, shape (..., m, n)
        The tangent. Batch axes broadcast.
    on_error : {"raise", "nan"}, optional
        Instead of raising, make the tangents of the matrix in question NaN.

    Returns
    -------
    Q_dot : ndarray, in the shape of `Q`
        The trailing columns Q2 of a complete Q of a tall matrix turn in such a way that Q2^H Q2_dot is zero.
    R_dot : ndarray, in the shape of `R`

    Raises
    ------
    numpy.linalg.LinAlgError
        If one of the first min(m, n) entries of R's diagonal is zero: there is no derivative.
    ValueError, TypeError
        For shapes, dtypes and options that do not fit.

    Notes
    -----
    With the parts of `qr_vjp`, X = A1_dot R1^-1, C = Q1^H X and U = triu(C, 1) + tril(C, -1)^H + Re diag(C):

        R1_dot = U R1,      R2_dot = Q1^H A2_dot - (C - U) R2
        Q1_dot = X - Q1 U,  Q2_dot = -Q1 X^H Q2

    [1]_, section 3, for a tall matrix; the rest follows from differentiating A2 = Q1 R2 and Q1^H Q2 = 0.

    References
    ----------
    .. [1] S. F. Walter and L. Lehmann, Algorithmic differentiation of linear algebra functions with application in
       optimum experimental design, arXiv:1001.1654 (2010).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> a = np.array([[3.0, 1.0], [4.0, 3.0]])
    >>> q, r = mk.qr(a)
    >>> q_dot, r_dot = mk.qr_jvp(q, r, a)               # along A itself R grows by itself
    >>> np.allclose(q_dot, 0) and np.allclose(r_dot, r)
    True
    """
    return QRResult(*kernels.qr_jvp(Q, R, A_dot, on_error=on_error))


def _square(x):
    """The leading square part; no size is compared, as it may not be known."""
    return x[..., : x.shape[-1], : x.shape[-2]]


def vjp_formula(xp, Q, R, Q_bar, R_bar):
    r = _square(R)
    k, n = r.shape[-1], R.shape[-1]
    q, q2, r2, r2_bar = Q[..., :, :k], Q[..., :, k:], R[..., :k, k:], R_bar[..., :k, k:]
    x = Q_bar[..., :, :k] + matmul(xp, q, r2, adjoint(xp, r2_bar)) - matmul(xp, q2, adjoint(xp, Q_bar[..., :, k:]), q)
    h = phi(xp, matmul(xp, r, adjoint(xp, xp.triu(_square(R_bar)))) - matmul(xp, adjoint(xp, x), q))
    x = solve_right(xp, adjoint(xp, r), x + matmul(xp, q, h + adjoint(xp, h)))
    columns = xp.eye(n, dtype=Q.dtype)
    return (matmul(xp, x, columns[:k]) + matmul(xp, q, r2_bar, columns[k:]),)


def jvp_formula(xp, Q, R, a_dot):
    r = _square(R)
    k = r.shape[-1]
    q, q2 = Q[..., :, :k], Q[..., :, k:]
    x = solve_right(xp, r, a_dot[..., :, :k])
    c = matmul(xp, adjoint(xp, q), x)
    turn = phi(xp, c) - adjoint(xp, phi(xp, c))  # C - U: q turns by it within its span
    right = matmul(xp, adjoint(xp, q), a_dot[..., :, k:]) - matmul(xp, turn, R[..., :k, k:])
    rows = xp.concatenate((matmul(xp, c - turn, r), right), -1)
    outside = matmul(xp, q, adjoint(xp, x), q2)
    Q_dot = xp.concatenate((x - matmul(xp, q, c - turn), -outside), -1)
    return Q_dot, matmul(xp, xp.eye(R.shape[-2], k, dtype=Q.dtype), rows)


def r_vjp_formula(xp, a, R_bar):
    Q, R = xp.linalg.qr(a)
    return vjp_formula(xp, Q, R, xp.zeros_like(Q), R_bar)


def r_jvp_formula(xp, a, a_dot):
    return jvp_formula(xp, *xp.linalg.qr(a), a_dot)[1:]


Op(
    name="qr",
    function=qr,
    forward=kernels.qr,
    pullback=kernels.qr_vjp,
    pushforward=kernels.qr_jvp,
    vjp_formula=vjp_formula,
    jvp_formula=jvp_formula,
    outputs=("Q", "R"),
    result=QRResult,
    holomorphic=lambda name, options: False,
    default_variant={"mode": "reduced"},
)
Op(
    name="qr_complete",
    function=partial(qr, mode="complete"),
    forward=kernels.qr_complete,
    pullback=kernels.qr_vjp,
    pushforward=kernels.qr_jvp,
    vjp_formula=vjp_formula,
    jvp_formula=jvp_formula,
    outputs=("Q", "R"),
    result=QRResult,
    holomorphic=lambda name, options: False,
    public=False,
    variant_of=("qr", "mode", "complete"),
)
Op(
    name="qr_r",
    function=partial(qr, mode="r"),
    forward=kernels.qr,
    pullback=kernels.qr_vjp,
    pushforward=kernels.qr_jvp,
    vjp_formula=r_vjp_formula,
    jvp_formula=r_jvp_formula,
    outputs=("R",),
    holomorphic=lambda name, options: False,
    public=False,
    variant_of=("qr", "mode", "r"),
)
