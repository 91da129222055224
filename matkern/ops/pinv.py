"""The Moore-Penrose pseudo-inverse."""

import numpy as np

from ..kernels import pinv as kernels
from ..op import Op
from .algebra import adjoint, matmul

__all__ = ["pinv", "pinv_jvp", "pinv_vjp"]


def pinv(a, rtol=None, *, on_error="raise", out=None):
    """Compute Moore-Penrose pseudo-inverses.

    Parameters
    ----------
    a : array_like, shape (..., m, n)
        The matrices, of any rank.
    rtol : array_like, shape (...), or None, optional
        Singular values of at most `rtol` times the largest one count as zero: a number, or one for each matrix. None
        is max(m, n) eps. It has no derivative.
    on_error : {"raise", "nan"}, optional
        For a matrix whose singular values do not converge: raise, or make its pseudo-inverse NaN.
    out : ndarray, shape (..., n, m), optional
        Where to put the result.

    Returns
    -------
    ndarray, shape (..., n, m)
        In the dtype of `a` (float64 for integers).

    Raises
    ------
    numpy.linalg.LinAlgError
        If the singular values do not converge. A matrix with NaN or infinities gives NaN instead.
    ValueError, TypeError
        For an `rtol` that is negative or NaN, for shapes and dtypes that do not fit, and for matrices so large that
        LAPACK's integers cannot hold the size of its workspace.

    See Also
    --------
    pinv_vjp, pinv_jvp : its derivatives.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.pinv(np.array([[2.0, 0.0], [0.0, 0.0], [0.0, 0.0]]))
    array([[0.5, 0. , 0. ],
           [0. , 0. , 0. ]])
    """
    if rtol is None:
        rtol = -1.0
    elif isinstance(rtol, int | float | list | tuple | np.ndarray | np.generic) and not np.all(np.asarray(rtol) >= 0):
        raise ValueError(f"pinv: rtol must not be negative or NaN, got {rtol}")  # the kernel knows no bad one but -1
    return kernels.pinv(a, rtol, on_error=on_error, out=out)


def pinv_vjp(a, pinv, pinv_bar):
    """Pull a cotangent of the pseudo-inverse back to the matrix.

    Parameters
    ----------
    a : array_like, shape (..., m, n)
        The matrix.
    pinv : array_like, shape (..., n, m)
        Its pseudo-inverse.
    pinv_bar : array_like, shape (..., n, m)
        The cotangent of that. Batch axes broadcast.

    Returns
    -------
    ndarray, shape (..., m, n)
        A_bar.

    Raises
    ------
    ValueError, TypeError
        For shapes and dtypes that do not fit.

    Notes
    -----
    A_bar = -P^H P_bar P^H + (I - A P) P_bar^H P P^H + P^H P P_bar^H (I - P A), the adjoint of what is said at
    `pinv_jvp`.

    Of a matrix without full rank this is the derivative along tangents that keep the rank; along others the
    pseudo-inverse is not continuous.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> a = np.array([[2.0, 0.0], [0.0, 0.0]])
    >>> mk.pinv_vjp(a, mk.pinv(a), np.ones((2, 2)))
    array([[-0.25,  0.25],
           [ 0.25,  0.  ]])
    """
    return kernels.pinv_vjp(a, pinv, pinv_bar)


def pinv_jvp(a, pinv, a_dot):
    """Push a tangent of the matrix forward to its pseudo-inverse.

    Parameters
    ----------
    a : array_like, shape (..., m, n)
        The matrix.
    pinv : array_like, shape (..., n, m)
        Its pseudo-inverse.
    a_dot : array_like, shape (..., m, n)
        The tangent. Batch axes broadcast.

    Returns
    -------
    ndarray, shape (..., n, m)
        P_dot.

    Raises
    ------
    ValueError, TypeError
        For shapes and dtypes that do not fit.

    Notes
    -----
    P_dot = -P A_dot P + P P^H A_dot^H (I - A P) + (I - P A) A_dot^H P^H P [1]_, section 4: the derivative along
    tangents that keep the rank, as every tangent does at full rank.

    References
    ----------
    .. [1] G. H. Golub and V. Pereyra, The differentiation of pseudo-inverses and nonlinear least squares problems whose
       variables separate, SIAM Journal on Numerical Analysis 10 (1973).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> a = np.array([[2.0, 0.0], [0.0, 0.0]])
    >>> mk.pinv_jvp(a, mk.pinv(a), a)           # a grows by itself
    array([[-0.5,  0. ],
           [ 0. ,  0. ]])
    """
    return kernels.pinv_jvp(a, pinv, a_dot)


def vjp_formula(xp, a, pinv, pinv_bar):
    p, ph, gh = pinv, adjoint(xp, pinv), adjoint(xp, pinv_bar)
    rows = gh - matmul(xp, a, p, gh)
    columns = gh - matmul(xp, gh, p, a)
    return (matmul(xp, rows, p, ph) + matmul(xp, ph, p, columns) - matmul(xp, ph, pinv_bar, ph),)


def jvp_formula(xp, a, pinv, a_dot):
    p, ph, th = pinv, adjoint(xp, pinv), adjoint(xp, a_dot)
    rows = th - matmul(xp, p, a, th)
    columns = th - matmul(xp, th, a, p)
    return (matmul(xp, p, ph, columns) + matmul(xp, rows, ph, p) - matmul(xp, p, a_dot, p),)


Op(
    name="pinv",
    function=pinv,
    forward=kernels.pinv,
    pullback=kernels.pinv_vjp,
    pushforward=kernels.pinv_jvp,
    vjp_formula=vjp_formula,
    jvp_formula=jvp_formula,
    outputs=("pinv",),
    defaults={"rtol": -1.0},
    holomorphic=lambda name, options: False,
)
