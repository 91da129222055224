"""Cholesky factorisation of a Hermitian positive definite matrix."""

from ..kernels import cholesky as kernels
from ..op import Op
from .algebra import adjoint, gradient_of_hermitian, matmul, phi, tangent_of_hermitian

__all__ = ["cholesky", "cholesky_jvp", "cholesky_solve", "cholesky_solve_jvp", "cholesky_solve_vjp", "cholesky_vjp"]


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


def cholesky_solve(l, b, *, lower=True, on_error="raise", out=None):
    """Solve A X = B for a positive definite A, from its Cholesky factor.

    Parameters
    ----------
    l : array_like, shape (..., n, n)
        L of A = L L^H, or U of A = U^H U. Only its triangle is read.
    b : array_like, shape (..., n, k) or (n,)
        The right-hand sides; a vector only if it is 1-D. Batch axes broadcast.
    lower : bool, optional
        Whether the factor is lower triangular.
    on_error : {"raise", "nan"}, optional
        For a factor with a zero on its diagonal: raise, or make its solution NaN.
    out : ndarray, optional
        Where to put the result.

    Returns
    -------
    ndarray, shape (..., n, k), or (..., n) for a vector `b`
        X, in the wider dtype of `l` and `b`.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a factor has a zero on its diagonal; the message has its index and how many there are.
    ValueError, TypeError
        For shapes, dtypes and options that do not fit.

    See Also
    --------
    cholesky_solve_vjp, cholesky_solve_jvp : its derivatives. solve : with ``assume_a="pos"``, from A itself.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.cholesky_solve(np.array([[2.0, 0.0], [1.0, 1.0]]), np.array([4.0, 3.0]))
    array([0.5, 1. ])
    """
    return kernels.cholesky_solve(l, b, lower=lower, on_error=on_error, out=out)


def cholesky_solve_vjp(l, x, x_bar, *, lower=True, on_error="raise"):
    """Pull a cotangent of the solution back to the Cholesky factor and the right-hand sides.

    Parameters
    ----------
    l : array_like, shape (..., n, n)
        The factor.
    x : array_like, shape (..., n, k) or (n,)
        The solution.
    x_bar : array_like, shape (..., n, k) or, for a vector `x`, (..., n)
        Its cotangent. Batch axes broadcast.
    lower : bool, optional
        As for `cholesky_solve`.
    on_error : {"raise", "nan"}, optional
        Instead of raising, make the gradients of the matrix in question NaN.

    Returns
    -------
    l_bar : ndarray, shape (..., n, n)
        In the factor's triangle.
    b_bar : ndarray, shape (..., n, k) or (..., n)
        Both have the batch axes of all arguments together: sum over those along which `l` or `b` was broadcast
        (`vjp` does).

    Raises
    ------
    numpy.linalg.LinAlgError
        If a factor has a zero on its diagonal.
    ValueError, TypeError
        For shapes, dtypes and options that do not fit.

    Notes
    -----
    B_bar = A^-1 X_bar, and with S = B_bar X^H + X B_bar^H: L_bar = -tril(S L), U_bar = -triu(U S); [1]_, section 2.3.1,
    with A_bar = -B_bar X^H through A_dot = L_dot L^H + L L_dot^H.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> l_bar, b_bar = mk.cholesky_solve_vjp(np.array([[2.0]]), np.array([[1.0]]), np.array([[1.0]]))
    >>> l_bar, b_bar                                           # of x = b / l^2 at l = 2, b = 4
    (array([[-1.]]), array([[0.25]]))
    """
    return kernels.cholesky_solve_vjp(l, x, x_bar, lower=lower, on_error=on_error)


def cholesky_solve_jvp(l, x, l_dot, b_dot, *, lower=True, on_error="raise"):
    """Push tangents of the Cholesky factor and the right-hand sides forward to the solution.

    Parameters
    ----------
    l : array_like, shape (..., n, n)
        The factor.
    x : array_like, shape (..., n, k) or (n,)
        The solution.
    l_dot : array_like, shape (..., n, n), or None
        Tangent of the factor, read in its triangle; None is zero.
    b_dot : array_like, shape (..., n, k) or (..., n), or None
        Tangent of the right-hand sides.
    lower : bool, optional
        As for `cholesky_solve`.
    on_error : {"raise", "nan"}, optional
        Instead of raising, make the tangent of the matrix in question NaN.

    Returns
    -------
    ndarray, shape (..., n, k) or (..., n)
        X_dot.

    Raises
    ------
    numpy.linalg.LinAlgError, ValueError, TypeError
        As `cholesky_solve_vjp`.

    Notes
    -----
    X_dot = A^-1 (B_dot - (L_dot L^H + L L_dot^H) X) [1]_, section 2.3.1.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.cholesky_solve_jvp(np.array([[2.0]]), np.array([[1.0]]), np.array([[1.0]]), None)
    array([[-1.]])
    """
    return kernels.cholesky_solve_jvp(l, x, l_dot, b_dot, lower=lower, on_error=on_error)


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


def _whole(xp, l, lower):
    """The factor's triangle, lower, and A."""
    l = xp.tril(l) if lower else adjoint(xp, xp.triu(l))
    return l, matmul(xp, l, adjoint(xp, l))


def solve_vjp_formula(xp, l, x, x_bar, *, lower=True):
    l, a = _whole(xp, l, lower)
    b_bar = xp.linalg.solve(a, x_bar)
    s = matmul(xp, b_bar, adjoint(xp, x))
    l_bar = -matmul(xp, s + adjoint(xp, s), l)
    return (xp.tril(l_bar) if lower else xp.triu(adjoint(xp, l_bar))), b_bar


def solve_jvp_formula(xp, l, x, l_dot, b_dot, *, lower=True):
    l, a = _whole(xp, l, lower)
    l_dot = xp.tril(l_dot) if lower else adjoint(xp, xp.triu(l_dot))
    a_dot = matmul(xp, l_dot, adjoint(xp, l))
    return (xp.linalg.solve(a, b_dot - matmul(xp, a_dot + adjoint(xp, a_dot), x)),)


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
Op(
    name="cholesky_solve",
    function=cholesky_solve,
    forward=kernels.cholesky_solve,
    pullback=kernels.cholesky_solve_vjp,
    pushforward=kernels.cholesky_solve_jvp,
    vjp_formula=solve_vjp_formula,
    jvp_formula=solve_jvp_formula,
    outputs=("x",),
    holomorphic=lambda name, options: name == "b",
)
