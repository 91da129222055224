"""Systems of equations with a general or a positive definite matrix."""

from ..kernels import solve as kernels
from ..op import Op
from .algebra import adjoint, gradient_of_hermitian, matmul, op_of, tangent_of_hermitian

__all__ = ["solve", "solve_jvp", "solve_vjp"]


def solve(a, b, *, trans="N", assume_a="gen", on_error="raise", out=None):
    """Solve op(A) X = B.

    Parameters
    ----------
    a : array_like, shape (..., n, n)
        The matrices; for ``assume_a="pos"`` only the lower triangle is read.
    b : array_like, shape (..., n, k) or (n,)
        The right-hand sides; a vector only if it is 1-D. Batch axes broadcast.
    trans : {"N", "T", "C"}, optional
        op(A) is A, its transpose, or its conjugate transpose.
    assume_a : {"gen", "pos"}, optional
        Any matrix, or a Hermitian positive definite one (by Cholesky).
    on_error : {"raise", "nan"}, optional
        For a matrix that is singular or not positive definite: raise, or make its solution NaN.
    out : ndarray, optional
        Where to put the result.

    Returns
    -------
    ndarray, shape (..., n, k), or (..., n) for a vector `b`
        X, in the wider dtype of `a` and `b`.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a matrix is singular (a pivot is zero) or, for ``assume_a="pos"``, not positive definite; the message has
        its index and how many there are. A matrix with NaN in it gives NaN instead.
    ValueError, TypeError
        For shapes, dtypes and options that do not fit.

    See Also
    --------
    solve_vjp, solve_jvp : its derivatives. lu_factor : the factorisation that they need.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.solve(np.array([[1.0, 2.0], [2.0, 8.0]]), np.array([3.0, 10.0]))
    array([1., 1.])
    """
    return kernels.solve(a, b, wanted=("x",), trans=trans, assume_a=assume_a, on_error=on_error, out=out)


def solve_vjp(lu, piv, x, x_bar, *, trans="N", assume_a="gen"):
    """Pull a cotangent of the solution back to the matrix and the right-hand sides.

    Parameters
    ----------
    lu, piv : array_like, shapes (..., n, n) and (..., n)
        What `lu_factor` returns for A; for ``assume_a="pos"`` the factor L of `cholesky`, and ``np.arange(n)``.
    x : array_like, shape (..., n, k) or (n,)
        The solution.
    x_bar : array_like, shape (..., n, k) or, for a vector `x`, (..., n)
        Its cotangent. Batch axes broadcast.
    trans, assume_a
        As for `solve`.

    Returns
    -------
    a_bar : ndarray, shape (..., n, n)
        Hermitian for ``assume_a="pos"``.
    b_bar : ndarray, shape (..., n, k) or (..., n)
        Both have the batch axes of all arguments together: sum over those along which `a` or `b` was broadcast
        (`vjp` does).

    Raises
    ------
    numpy.linalg.LinAlgError
        If a pivot is zero.
    ValueError, TypeError
        For shapes, dtypes, options and pivots that do not fit.

    Notes
    -----
    B_bar = op(A)^-H X_bar. A_bar = -B_bar X^H for op N, -conj(X B_bar^H) for T and -X B_bar^H for C [1]_, section
    2.3.1; for a Hermitian A its Hermitian part.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> lu, piv = mk.lu_factor(np.array([[2.0, 0.0], [0.0, 4.0]]))
    >>> a_bar, b_bar = mk.solve_vjp(lu, piv, np.array([1.0, 1.0]), np.array([1.0, 0.0]))
    >>> a_bar
    array([[-0.5, -0.5],
           [-0. , -0. ]])
    """
    return kernels.solve_vjp(lu, piv, x, x_bar, trans=trans, assume_a=assume_a)


def solve_jvp(lu, piv, x, a_dot, b_dot, *, trans="N", assume_a="gen"):
    """Push tangents of the matrix and the right-hand sides forward to the solution.

    Parameters
    ----------
    lu, piv : array_like, shapes (..., n, n) and (..., n)
        What `lu_factor` returns for A; for ``assume_a="pos"`` the factor L of `cholesky`, and ``np.arange(n)``.
    x : array_like, shape (..., n, k) or (n,)
        The solution.
    a_dot : array_like, shape (..., n, n), or None
        Tangent of the matrix, its Hermitian part for ``assume_a="pos"``; None is zero.
    b_dot : array_like, shape (..., n, k) or (..., n), or None
        Tangent of the right-hand sides.
    trans, assume_a
        As for `solve`.

    Returns
    -------
    ndarray, shape (..., n, k) or (..., n)
        X_dot.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a pivot is zero.
    ValueError, TypeError
        For shapes, dtypes, options and pivots that do not fit.

    Notes
    -----
    X_dot = op(A)^-1 (B_dot - op(A_dot) X) [1]_, section 2.3.1.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> lu, piv = mk.lu_factor(np.array([[2.0, 0.0], [0.0, 4.0]]))
    >>> mk.solve_jvp(lu, piv, np.array([1.0, 1.0]), None, np.array([2.0, 2.0]))
    array([1. , 0.5])
    """
    return kernels.solve_jvp(lu, piv, x, a_dot, b_dot, trans=trans, assume_a=assume_a)


def _matrix(xp, a, trans, assume_a):
    """op(A) as a whole matrix."""
    if assume_a == "pos":  # by the factor, whose gradient is Hermitian, too, though only one triangle is read
        factor = xp.linalg.cholesky(a)
        a = matmul(xp, factor, adjoint(xp, factor))
    return op_of(xp, a, trans)


def vjp_formula(xp, a, x, x_bar, *, trans="N", assume_a="gen"):
    b_bar = xp.linalg.solve(adjoint(xp, _matrix(xp, a, trans, assume_a)), x_bar)
    a_bar = op_of(xp, -matmul(xp, b_bar, adjoint(xp, x)), trans)
    return (gradient_of_hermitian(xp, a_bar, None) if assume_a == "pos" else a_bar), b_bar


def jvp_formula(xp, a, x, a_dot, b_dot, *, trans="N", assume_a="gen"):
    if assume_a == "pos":
        a_dot = tangent_of_hermitian(xp, a_dot, None)
    return (xp.linalg.solve(_matrix(xp, a, trans, assume_a), b_dot - matmul(xp, op_of(xp, a_dot, trans), x)),)


Op(
    name="solve",
    function=solve,
    forward=kernels.solve,
    pullback=kernels.solve_vjp,
    pushforward=kernels.solve_jvp,
    vjp_formula=vjp_formula,
    jvp_formula=jvp_formula,
    outputs=("x",),
    holomorphic=lambda name, options: (
        name == "b" or (options.get("trans", "N") != "C" and options.get("assume_a", "gen") == "gen")
    ),
)
