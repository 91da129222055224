"""Cholesky factorisation of a Hermitian positive definite matrix."""

from ..kernels import cholesky as kernels
from ..op import Op
from .algebra import adjoint, gradient_of_hermitian, matmul, phi, tangent_of_hermitian

__all__ = ["cholesky", "cholesky_jvp", "cholesky_vjp"]


def cholesky(a, *, upper=False, on_error="raise", out=None):
    """Factor Hermitian positive definite matrices as A = L L^H.

    Parameters
    ----------
    a : array_like, shape (..., n, n)
        Only the lower triangle is read, or the upper one if `upper`; the diagonal's imaginary part is not.
    upper : bool, optional
        Return U = L^H of A = U^H U instead of L.
    on_error : {"raise", "nan"}, optional
        For a matrix that is not positive definite: raise, or make its factor NaN.
    out : ndarray, shape (..., n, n), optional
        Where to put the result.

    Returns
    -------
    ndarray, shape (..., n, n)
        The triangular factor, zeros in its other triangle, in the dtype of `a` (float64 for integers).

    Raises
    ------
    numpy.linalg.LinAlgError
        If a matrix is not positive definite; the message has its index and how many there are. A matrix
        with NaN in it gives NaN instead.
    ValueError, TypeError
        If `a` is not square in its last two axes, or has a dtype other than float32, float64, complex64,
        complex128, integer or bool.

    See Also
    --------
    cholesky_vjp, cholesky_jvp : its derivatives.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.cholesky(np.array([[4.0, 2.0], [2.0, 5.0]]))
    array([[2., 0.],
           [1., 2.]])
    """
    return kernels.cholesky(a, upper=upper, on_error=on_error, out=out)


def cholesky_vjp(L, L_bar, *, upper=False, triangle=None):
    """Pull a cotangent of the Cholesky factor back to the matrix.

    Parameters
    ----------
    L : array_like, shape (..., n, n)
        The factor; U if `upper`.
    L_bar : array_like, shape (..., n, n)
        Its cotangent; only the factor's triangle is read. Batch axes broadcast.
    upper : bool, optional
        As for `cholesky`.
    triangle : {None, "L", "U"}, optional
        None: the gradient as a Hermitian matrix. A triangle: with respect to the entries in it, zero elsewhere.

    Returns
    -------
    ndarray, shape (..., n, n)
        A_bar, in the dtype of `L`.

    Raises
    ------
    ValueError, TypeError
        For shapes, dtypes and options that do not fit.

    Notes
    -----
    A_bar = L^-H Phi(L^H L_bar) L^-1, its Hermitian part, where Phi takes the lower triangle and halves its
    diagonal [1]_, equation 10, computed by halves in 2/3 n^3 flops (real).

    References
    ----------
    .. [1] I. Murray, Differentiation of the Cholesky decomposition, arXiv:1602.07527 (2016).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> L = mk.cholesky(np.array([[4.0, 2.0], [2.0, 5.0]]))
    >>> mk.cholesky_vjp(L, np.diag(1 / np.diag(L)))      # of log det A / 2: half the inverse
    array([[ 0.15625, -0.0625 ],
           [-0.0625 ,  0.125  ]])
    """
    return kernels.cholesky_vjp(L, L_bar, upper=upper, triangle=triangle)


def cholesky_jvp(L, A_dot, *, upper=False, triangle=None):
    """Push a tangent of the matrix forward to its Cholesky factor.

    Parameters
    ----------
    L : array_like, shape (..., n, n)
        The factor; U if `upper`.
    A_dot : array_like, shape (..., n, n)
        The tangent, any square matrix. Batch axes broadcast.
    upper : bool, optional
        As for `cholesky`.
    triangle : {None, "L", "U"}, optional
        None: the tangent's Hermitian part counts. A triangle: its entries there, and their mirror images.

    Returns
    -------
    ndarray, shape (..., n, n)
        L_dot (U_dot if `upper`), in the dtype of `L`.

    Raises
    ------
    ValueError, TypeError
        For shapes, dtypes and options that do not fit.

    Notes
    -----
    L_dot = L Phi(L^-1 A_dot L^-H), where Phi takes the lower triangle and halves its diagonal [1]_, equation 8,
    computed by halves in 2/3 n^3 flops (real).

    References
    ----------
    .. [1] I. Murray, Differentiation of the Cholesky decomposition, arXiv:1602.07527 (2016).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.cholesky_jvp(2 * np.eye(2), np.array([[4.0, 0.0], [0.0, 8.0]]))
    array([[1., 0.],
           [0., 2.]])
    """
    return kernels.cholesky_jvp(L, A_dot, upper=upper, triangle=triangle)


def vjp_formula(xp, L, L_bar, *, upper=False, triangle=None):
    if upper:
        L, L_bar = adjoint(xp, L), adjoint(xp, L_bar)
    middle = phi(xp, matmul(xp, adjoint(xp, L), xp.tril(L_bar)))
    half = xp.linalg.solve(adjoint(xp, L), middle)  # L^-H Phi
    g = adjoint(xp, xp.linalg.solve(adjoint(xp, L), adjoint(xp, half)))  # L^-H Phi L^-1
    return (gradient_of_hermitian(xp, g, triangle),)


def jvp_formula(xp, L, a_dot, *, upper=False, triangle=None):
    if upper:
        L = adjoint(xp, L)
    half = xp.linalg.solve(L, tangent_of_hermitian(xp, a_dot, triangle))  # L^-1 A_dot
    L_dot = matmul(xp, L, phi(xp, adjoint(xp, xp.linalg.solve(L, adjoint(xp, half)))))  # L Phi(L^-1 A_dot L^-H)
    return (adjoint(xp, L_dot) if upper else L_dot,)


Op(
    name="cholesky",
    function=cholesky,
    forward=kernels.cholesky,
    pullback=kernels.cholesky_vjp,
    pushforward=kernels.cholesky_jvp,
    vjp_formula=vjp_formula,
    jvp_formula=jvp_formula,
    outputs=("L",),
    holomorphic=lambda name, options: False,
)
