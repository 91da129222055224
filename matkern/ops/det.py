"""The determinant, and the sign and logarithm of its absolute value."""

from typing import NamedTuple

import numpy as np

from ..kernels import det as kernels
from ..op import Op
from .algebra import adjoint

__all__ = ["SlogdetResult", "det", "det_jvp", "det_vjp", "slogdet", "slogdet_jvp", "slogdet_vjp"]


class SlogdetResult(NamedTuple):
    """What `slogdet` returns."""

    sign: np.ndarray
    logabsdet: np.ndarray


def det(a, *, out=None):
    """Compute the determinant of square matrices.

    Parameters
    ----------
    a : array_like, shape (..., n, n)
        The matrices.
    out : ndarray, shape (...), optional
        Where to put the result.

    Returns
    -------
    ndarray, shape (...)
        In the dtype of `a` (float64 for integers); 1 for 0x0 matrices.

    Raises
    ------
    ValueError, TypeError
        For shapes and dtypes that do not fit.

    See Also
    --------
    det_vjp, det_jvp : its derivatives. slogdet : where the determinant would overflow.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.det(np.array([[2.0, 1.0], [0.0, 3.0]]))
    array(6.)
    """
    return kernels.det(a, wanted=("det",), out=out)


def det_vjp(lu, piv, det_bar, *, on_error="raise"):
    """Pull a cotangent of the determinant back to the matrix, singular or not.

    Parameters
    ----------
    lu, piv : array_like, shapes (..., n, n) and (..., n)
        What `lu_factor` returns for A.
    det_bar : array_like, shape (...)
        Cotangent of the determinant. Batch axes broadcast.
    on_error : {"raise", "nan"}, optional
        Instead of raising, make the gradient of the matrix in question NaN.

    Returns
    -------
    ndarray, shape (..., n, n)
        A_bar.

    Raises
    ------
    numpy.linalg.LinAlgError
        If singular values that are needed do not converge.
    ValueError, TypeError
        For shapes, dtypes and pivots that do not fit.

    Notes
    -----
    A_bar = det_bar adj(A)^H [1]_, section 2.2.4, with the adjugate adj(A) = det(A) A^-1, which singular matrices have,
    too: it has rank 1 for matrices of rank n - 1, and is zero below. It comes from the factors of A without a division
    by the last pivot, or, where they are ill-conditioned (above 200 n, rows of U scaled), from the singular values of
    their product [2]_. Nothing decides whether a matrix is singular; where pivoting lets no entry grow, the error is
    at most 10 n eps s_1 / s_(n-1) of the norm of adj(A). Second derivatives are those of det(A) A^-H: they need an
    invertible matrix.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).
    .. [2] G. W. Stewart, On the adjugate matrix, Linear Algebra and its Applications 283 (1998).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> lu, piv = mk.lu_factor(np.array([[1.0, 2.0], [2.0, 4.0]]))          # singular
    >>> mk.det_vjp(lu, piv, np.array(1.0))
    array([[ 4., -2.],
           [-2.,  1.]])
    """
    return kernels.det_vjp(lu, piv, det_bar, on_error=on_error)


def det_jvp(lu, piv, a_dot, *, on_error="raise"):
    """Push a tangent of the matrix, singular or not, forward to its determinant.

    Parameters
    ----------
    lu, piv : array_like, shapes (..., n, n) and (..., n)
        What `lu_factor` returns for A.
    a_dot : array_like, shape (..., n, n)
        Tangent of the matrix. Batch axes broadcast.
    on_error : {"raise", "nan"}, optional
        Instead of raising, make the tangent of the matrix in question NaN.

    Returns
    -------
    ndarray, shape (...)
        det_dot.

    Raises
    ------
    numpy.linalg.LinAlgError, ValueError, TypeError
        As `det_vjp`.

    Notes
    -----
    det_dot = tr(adj(A) A_dot) [1]_, section 2.2.4; `det_vjp` says how the adjugate is computed.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> lu, piv = mk.lu_factor(np.diag([3.0, 2.0]))
    >>> mk.det_jvp(lu, piv, np.eye(2))
    array(5.)
    """
    return kernels.det_jvp(lu, piv, a_dot, on_error=on_error)


def slogdet(a, *, out=None):
    """Compute the sign of the determinant of square matrices, and the logarithm of its absolute value.

    Parameters
    ----------
    a : array_like, shape (..., n, n)
        The matrices.
    out : tuple of ndarray, optional
        Where to put the results.

    Returns
    -------
    sign : ndarray, shape (...)
        1 or -1, of a complex matrix det(A) / |det(A)|, and 0 of a singular one; in the dtype of `a`.
    logabsdet : ndarray, shape (...)
        log |det(A)|, real; -inf for a singular matrix.

    Raises
    ------
    ValueError, TypeError
        For shapes and dtypes that do not fit.

    See Also
    --------
    slogdet_vjp, slogdet_jvp : its derivatives.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> sign, logabsdet = mk.slogdet(np.diag([-1.0, np.e]))
    >>> sign, logabsdet
    (array(-1.), array(1.))
    """
    return SlogdetResult(*kernels.slogdet(a, wanted=("sign", "logabsdet"), out=out))


def slogdet_vjp(sign, lu, piv, sign_bar, logabsdet_bar, *, on_error="raise"):
    """Pull cotangents of the sign and the logarithm of the determinant back to the matrix.

    Parameters
    ----------
    sign : array_like, shape (...)
        What `slogdet` returned.
    lu, piv : array_like, shapes (..., n, n) and (..., n)
        What `lu_factor` returns for A.
    sign_bar : array_like, shape (...), or None
        Cotangent of the sign, which counts for complex matrices alone.
    logabsdet_bar : array_like, shape (...), or None
        Cotangent of the logarithm; None is zero. Batch axes broadcast.
    on_error : {"raise", "nan"}, optional
        Instead of raising, make the gradient of the matrix in question NaN.

    Returns
    -------
    ndarray, shape (..., n, n)
        A_bar.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a matrix is singular.
    ValueError, TypeError
        For shapes, dtypes and pivots that do not fit.

    Notes
    -----
    A_bar = (logabsdet_bar + i Im(conj(sign) sign_bar)) A^-H: log det is analytic, with the derivative tr(A^-1 A_dot)
    [1]_, section 2.2.5, whose real part is that of logabsdet and whose imaginary part turns the sign.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> lu, piv = mk.lu_factor(np.diag([2.0, 4.0]))
    >>> mk.slogdet_vjp(np.array(1.0), lu, piv, None, np.array(1.0))
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    return kernels.slogdet_vjp(sign, lu, piv, sign_bar, logabsdet_bar, on_error=on_error)


def slogdet_jvp(sign, lu, piv, a_dot, *, on_error="raise"):
    """Push a tangent of the matrix forward to the sign and the logarithm of the determinant.

    Parameters
    ----------
    sign : array_like, shape (...)
        What `slogdet` returned.
    lu, piv : array_like, shapes (..., n, n) and (..., n)
        What `lu_factor` returns for A.
    a_dot : array_like, shape (..., n, n)
        Tangent of the matrix. Batch axes broadcast.
    on_error : {"raise", "nan"}, optional
        Instead of raising, make the tangents of the matrix in question NaN.

    Returns
    -------
    sign_dot : ndarray, shape (...)
        Zero for a real matrix.
    logabsdet_dot : ndarray, shape (...)

    Raises
    ------
    numpy.linalg.LinAlgError, ValueError, TypeError
        As `slogdet_vjp`.

    Notes
    -----
    With t = tr(A^-1 A_dot): logabsdet_dot = Re t, sign_dot = i sign Im t [1]_, section 2.2.5.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> lu, piv = mk.lu_factor(np.diag([2.0, 4.0]))
    >>> mk.slogdet_jvp(np.array(1.0), lu, piv, np.eye(2))
    (array(0.), array(0.75))
    """
    return kernels.slogdet_jvp(sign, lu, piv, a_dot, on_error=on_error)


def det_vjp_formula(xp, a, det, det_bar):
    return ((det_bar * xp.conj(det))[..., None, None] * adjoint(xp, xp.linalg.inv(a)),)


def det_jvp_formula(xp, a, det, a_dot):
    return (det * _trace(xp, a, a_dot),)


def _trace(xp, a, a_dot):
    """tr(A^-1 A_dot)."""
    return xp.sum(xp.linalg.inv(a) * xp.swapaxes(a_dot, -1, -2), axis=(-2, -1))


def slogdet_vjp_formula(xp, a, sign, sign_bar, logabsdet_bar):
    product = xp.conj(sign) * sign_bar
    factor = logabsdet_bar + (product - xp.conj(product)) / 2  # i Im is half of what is not real
    return (factor[..., None, None] * adjoint(xp, xp.linalg.inv(a)),)


def slogdet_jvp_formula(xp, a, sign, a_dot):
    trace = _trace(xp, a, a_dot)
    return sign * (trace - xp.conj(trace)) / 2, xp.real(trace)


Op(
    name="det",
    function=det,
    forward=kernels.det,
    pullback=kernels.det_vjp,
    pushforward=kernels.det_jvp,
    vjp_formula=det_vjp_formula,
    jvp_formula=det_jvp_formula,
    outputs=("det",),
)
Op(
    name="slogdet",
    function=slogdet,
    forward=kernels.slogdet,
    pullback=kernels.slogdet_vjp,
    pushforward=kernels.slogdet_jvp,
    vjp_formula=slogdet_vjp_formula,
    jvp_formula=slogdet_jvp_formula,
    outputs=("sign", "logabsdet"),
    result=SlogdetResult,
    holomorphic=lambda name, options: False,
)
