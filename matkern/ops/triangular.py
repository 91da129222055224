"""Systems of equations with a triangular matrix."""

from ..kernels import triangular as kernels
from ..op import Op
from .algebra import adjoint, eye_of, matmul, op_of

__all__ = ["solve_triangular", "solve_triangular_jvp", "solve_triangular_vjp"]


def solve_triangular(a, b, *, lower=False, trans="N", unit_diagonal=False, on_error="raise", out=None):
    """Solve op(A) X = B for triangular A.

    Parameters
    ----------
    a : array_like, shape (..., n, n)
        Only the upper triangle is read, or the lower one if `lower`.
    b : array_like, shape (..., n, k) or (n,)
        The right-hand sides; a vector only if it is 1-D. Batch axes broadcast.
    lower : bool, optional
        Which triangle.
    trans : {"N", "T", "C"}, optional
        op(A) is A, its transpose, or its conjugate transpose.
    unit_diagonal : bool, optional
        Take the diagonal as ones and do not read it.
    on_error : {"raise", "nan"}, optional
        For a singular matrix: raise, or make its solution NaN.
    out : ndarray, optional
        Where to put the result.

    Returns
    -------
    ndarray, shape (..., n, k), or (..., n) for a vector `b`
        X, in the wider dtype of `a` and `b`.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a diagonal has a zero; the message has the matrix's index and how many there are.
    ValueError, TypeError
        For shapes, dtypes and options that do not fit.

    See Also
    --------
    solve_triangular_vjp, solve_triangular_jvp : its derivatives.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.solve_triangular(np.array([[2.0, 0.0], [1.0, 4.0]]), np.array([2.0, 9.0]), lower=True)
    array([1., 2.])
    """
    return kernels.solve_triangular(
        a, b, lower=lower, trans=trans, unit_diagonal=unit_diagonal, on_error=on_error, out=out
    )


def solve_triangular_vjp(a, x, x_bar, *, lower=False, trans="N", unit_diagonal=False):
    """Pull a cotangent of the solution back to the triangular matrix and the right-hand sides.

    Parameters
    ----------
    a : array_like, shape (..., n, n)
        The matrix.
    x : array_like, shape (..., n, k) or (n,)
        The solution.
    x_bar : array_like, shape (..., n, k) or, for a vector `x`, (..., n)
        Its cotangent. Batch axes broadcast.
    lower, trans, unit_diagonal
        As for `solve_triangular`.

    Returns
    -------
    a_bar : ndarray, shape (..., n, n)
        In the triangle that is read, zero elsewhere, and on the diagonal if that is taken as ones.
    b_bar : ndarray, shape (..., n, k) or (..., n)
        Both have the batch axes of all arguments together: sum over those along which `a` or `b` was broadcast
        (`vjp` does).

    Raises
    ------
    numpy.linalg.LinAlgError
        If a diagonal has a zero.
    ValueError, TypeError
        For shapes, dtypes and options that do not fit.

    Notes
    -----
    B_bar = op(A)^-H X_bar. A_bar is the triangle of -B_bar X^H for op N, of -conj(X B_bar^H) for T and of -X B_bar^H
    for C [1]_, section 2.3.1.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> a = np.array([[2.0, 0.0], [1.0, 4.0]])
    >>> a_bar, b_bar = mk.solve_triangular_vjp(a, np.array([1.0, 2.0]), np.array([0.0, 1.0]), lower=True)
    >>> b_bar
    array([-0.125,  0.25 ])
    """
    return kernels.solve_triangular_vjp(a, x, x_bar, lower=lower, trans=trans, unit_diagonal=unit_diagonal)


def solve_triangular_jvp(a, x, a_dot, b_dot, *, lower=False, trans="N", unit_diagonal=False):
    """Push tangents of the triangular matrix and the right-hand sides forward to the solution.

    Parameters
    ----------
    a : array_like, shape (..., n, n)
        The matrix.
    x : array_like, shape (..., n, k) or (n,)
        The solution.
    a_dot : array_like, shape (..., n, n), or None
        Tangent of the matrix, read where the matrix is; None is zero.
    b_dot : array_like, shape (..., n, k) or (..., n), or None
        Tangent of the right-hand sides.
    lower, trans, unit_diagonal
        As for `solve_triangular`.

    Returns
    -------
    ndarray, shape (..., n, k) or (..., n)
        X_dot.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a diagonal has a zero.
    ValueError, TypeError
        For shapes, dtypes and options that do not fit.

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
    >>> a = np.array([[2.0, 0.0], [1.0, 4.0]])
    >>> mk.solve_triangular_jvp(a, np.array([1.0, 2.0]), None, np.array([2.0, 1.0]), lower=True)
    array([1., 0.])
    """
    return kernels.solve_triangular_jvp(a, x, a_dot, b_dot, lower=lower, trans=trans, unit_diagonal=unit_diagonal)


def _read(xp, a, lower, unit_diagonal):
    """What is read of A: its triangle, a zero diagonal if that is taken as ones."""
    a = xp.tril(a) if lower else xp.triu(a)
    return a - eye_of(xp, a) * a if unit_diagonal else a


def _matrix(xp, a, lower, trans, unit_diagonal):
    """op(A) as a whole matrix."""
    a = _read(xp, a, lower, unit_diagonal) + (eye_of(xp, a) if unit_diagonal else 0)
    return op_of(xp, a, trans)


def vjp_formula(xp, a, x, x_bar, *, lower=False, trans="N", unit_diagonal=False):
    b_bar = xp.linalg.solve(adjoint(xp, _matrix(xp, a, lower, trans, unit_diagonal)), x_bar)
    op_bar = -matmul(xp, b_bar, adjoint(xp, x))  # of op(A)
    return _read(xp, op_of(xp, op_bar, trans), lower, unit_diagonal), b_bar


def jvp_formula(xp, a, x, a_dot, b_dot, *, lower=False, trans="N", unit_diagonal=False):
    op_dot = op_of(xp, _read(xp, a_dot, lower, unit_diagonal), trans)
    return (xp.linalg.solve(_matrix(xp, a, lower, trans, unit_diagonal), b_dot - matmul(xp, op_dot, x)),)


Op(
    name="solve_triangular",
    function=solve_triangular,
    forward=kernels.solve_triangular,
    pullback=kernels.solve_triangular_vjp,
    pushforward=kernels.solve_triangular_jvp,
    vjp_formula=vjp_formula,
    jvp_formula=jvp_formula,
    outputs=("x",),
    holomorphic=lambda name, options: name == "b" or options.get("trans", "N") != "C",
)
