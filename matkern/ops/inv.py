"""The inverse."""

from ..kernels import inv as kernels
from ..op import Op
from .algebra import adjoint, matmul

__all__ = ["inv", "inv_jvp", "inv_vjp"]


def inv(a, *, on_error="raise", out=None):
    """Compute the inverse of square matrices, X = A^-1.

    Parameters
    ----------
    a : array_like, shape (..., n, n)
        The matrices.
    on_error : {"raise", "nan"}, optional
        For a singular matrix: raise, or make its inverse NaN.
    out : ndarray, shape (..., n, n), optional
        Where to put the result.

    Returns
    -------
    ndarray, shape (..., n, n)
        X, in the dtype of `a` (float64 for integers).

    Raises
    ------
    numpy.linalg.LinAlgError
        If a matrix is singular (a pivot is zero); the message has its index and how many there are. A matrix with
        NaN in it gives NaN instead.
    ValueError, TypeError
        For shapes, dtypes and options that do not fit.

    See Also
    --------
    inv_vjp, inv_jvp : its derivatives. solve : systems, for which no inverse is needed.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.inv(np.array([[2.0, 1.0], [1.0, 1.0]]))
    array([[ 1., -1.],
           [-1.,  2.]])
    """
    return kernels.inv(a, on_error=on_error, out=out)


def inv_vjp(x, x_bar):
    """Pull a cotangent of the inverse back to the matrix.

    Parameters
    ----------
    x : array_like, shape (..., n, n)
        The inverse.
    x_bar : array_like, shape (..., n, n)
        Its cotangent. Batch axes broadcast.

    Returns
    -------
    ndarray, shape (..., n, n)
        A_bar.

    Raises
    ------
    ValueError, TypeError
        For shapes and dtypes that do not fit.

    Notes
    -----
    A_bar = -X^H X_bar X^H [1]_, section 2.2.3.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.inv_vjp(np.array([[0.5]]), np.array([[1.0]]))       # of 1 / a at a = 2
    array([[-0.25]])
    """
    return kernels.inv_vjp(x, x_bar)


def inv_jvp(x, a_dot):
    """Push a tangent of the matrix forward to the inverse.

    Parameters
    ----------
    x : array_like, shape (..., n, n)
        The inverse.
    a_dot : array_like, shape (..., n, n)
        Tangent of the matrix. Batch axes broadcast.

    Returns
    -------
    ndarray, shape (..., n, n)
        X_dot.

    Raises
    ------
    ValueError, TypeError
        For shapes and dtypes that do not fit.

    Notes
    -----
    X_dot = -X A_dot X [1]_, section 2.2.3.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.inv_jvp(np.array([[0.5]]), np.array([[2.0]]))
    array([[-0.5]])
    """
    return kernels.inv_jvp(x, a_dot)


def vjp_formula(xp, x, x_bar):
    xh = adjoint(xp, x)
    return (-matmul(xp, xh, x_bar, xh),)


def jvp_formula(xp, x, a_dot):
    return (-matmul(xp, x, a_dot, x),)


Op(
    name="inv",
    function=inv,
    forward=kernels.inv,
    pullback=kernels.inv_vjp,
    pushforward=kernels.inv_jvp,
    vjp_formula=vjp_formula,
    jvp_formula=jvp_formula,
    outputs=("x",),
)
