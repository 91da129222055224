"""LU factorisation with partial pivoting: packed, unpacked, and solving with it."""

from typing import NamedTuple

import numpy as np

from ..kernels import lu as kernels
from ..op import Op
from .algebra import adjoint, matmul, permutation, solve_right

__all__ = [
    "LUFactorResult",
    "LUResult",
    "lu",
    "lu_factor",
    "lu_factor_jvp",
    "lu_factor_vjp",
    "lu_jvp",
    "lu_solve",
    "lu_solve_jvp",
    "lu_solve_vjp",
    "lu_vjp",
]


class LUFactorResult(NamedTuple):
    """What `lu_factor` returns."""

    lu: np.ndarray
    piv: np.ndarray


class LUResult(NamedTuple):
    """What `lu` returns."""

    p: np.ndarray
    l: np.ndarray
    u: np.ndarray


def lu_factor(a, *, out=None):
    """Factor matrices as A = P L U, packed.

    Parameters
    ----------
    a : array_like, shape (..., m, n)
    out : tuple of ndarray, optional
        Where to put `lu` and `piv`.

    Returns
    -------
    lu : ndarray, shape (..., m, n)
        U in the upper triangle, L without its unit diagonal below, in the dtype of `a` (float64 for integers).
    piv : ndarray of int32, shape (..., min(m, n))
        Row i was interchanged with row ``piv[i]``, counted from 0. They have no derivative.

    Raises
    ------
    ValueError, TypeError
        If `a` has fewer than two axes, or a dtype other than float32, float64, complex64, complex128, integer or
        bool.

    See Also
    --------
    lu_solve : solve with the factors. lu : the factors unpacked.
    lu_factor_vjp, lu_factor_jvp : its derivatives.

    Notes
    -----
    A singular matrix has a factorisation too, with a zero on the diagonal of U.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> lu, piv = mk.lu_factor(np.array([[1.0, 2.0], [2.0, 8.0]]))
    >>> lu
    array([[ 2. ,  8. ],
           [ 0.5, -2. ]])
    >>> piv
    array([1, 1], dtype=int32)
    """
    return LUFactorResult(*kernels.lu_factor(a, wanted=("lu", "piv"), out=out))


def lu_factor_vjp(lu, piv, lu_bar):
    """Pull a cotangent of the packed factors back to the matrix.

    Parameters
    ----------
    lu, piv : array_like, shapes (..., m, n) and (..., min(m, n))
        The factorisation.
    lu_bar : array_like, shape (..., m, n)
        Cotangent of `lu`. Batch axes broadcast.

    Returns
    -------
    ndarray, shape (..., m, n)
        A_bar, in the dtype of `lu`.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a pivot is zero, other than the last one of a square or wide matrix: there is no derivative.
    ValueError, TypeError
        For shapes, dtypes and pivots that do not fit.

    Notes
    -----
    For a square matrix, A_bar = P L^-H (tril(L^H G, -1) + triu(G U^H)) U^-H with G = `lu_bar`, its triangles
    belonging to L and U.
    The idea is that of [1]_; it is computed by halves in 4/3 n^3 flops (real).

    References
    ----------
    .. [1] S. F. Walter and L. Lehmann, Algorithmic differentiation of linear algebra functions with application in
       optimum experimental design, arXiv:1001.1654 (2010).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> lu, piv = mk.lu_factor(np.array([[2.0, 8.0], [1.0, 2.0]]))
    >>> mk.lu_factor_vjp(lu, piv, np.array([[0.0, 0.0], [0.0, 1.0]]))    # of the last pivot
    array([[ 2. , -0.5],
           [-4. ,  1. ]])
    """
    return kernels.lu_factor_vjp(lu, piv, lu_bar)


def lu_factor_jvp(lu, piv, A_dot):
    """Push a tangent of the matrix forward to its packed factors.

    Parameters
    ----------
    lu, piv : array_like, shapes (..., m, n) and (..., min(m, n))
        The factorisation.
    A_dot : array_like, shape (..., m, n)
        Tangent of the matrix. Batch axes broadcast.

    Returns
    -------
    ndarray, shape (..., m, n)
        The tangent of `lu`, L_dot strictly below the diagonal of U_dot.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a pivot is zero, other than the last one of a square or wide matrix: there is no derivative.
    ValueError, TypeError
        For shapes, dtypes and pivots that do not fit.

    Notes
    -----
    With F = L^-1 P^T A_dot U^-1: L_dot = L tril(F, -1) and U_dot = triu(F) U [1]_; computed by halves in 4/3 n^3
    flops (real).

    References
    ----------
    .. [1] S. F. Walter and L. Lehmann, Algorithmic differentiation of linear algebra functions with application in
       optimum experimental design, arXiv:1001.1654 (2010).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> lu, piv = mk.lu_factor(np.array([[2.0, 8.0], [1.0, 2.0]]))
    >>> mk.lu_factor_jvp(lu, piv, np.array([[2.0, 8.0], [1.0, 2.0]]))    # along A itself U grows, L stays
    array([[ 2.,  8.],
           [ 0., -2.]])
    """
    return kernels.lu_factor_jvp(lu, piv, A_dot)


def lu(a, *, out=None):
    """Factor matrices as A = P L U.

    Parameters
    ----------
    a : array_like, shape (..., m, n)
    out : tuple of ndarray, optional
        Where to put `p`, `l` and `u`.

    Returns
    -------
    p : ndarray, shape (..., m, m)
        The permutation as a real matrix; it has no derivative.
    l, u : ndarray, shapes (..., m, min(m, n)) and (..., min(m, n), n)
        The unit lower and the upper triangular factor, in the dtype of `a` (float64 for integers).

    Raises
    ------
    ValueError, TypeError
        If `a` has fewer than two axes, or a dtype other than float32, float64, complex64, complex128, integer or
        bool.

    See Also
    --------
    lu_vjp, lu_jvp : its derivatives. lu_factor : the packed form.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> p, l, u = mk.lu(np.array([[1.0, 2.0], [2.0, 8.0]]))
    >>> p @ l @ u
    array([[1., 2.],
           [2., 8.]])
    """
    return LUResult(*kernels.lu(a, out=out))


def lu_vjp(p, l, u, l_bar, u_bar):
    """Pull cotangents of the factors back to the matrix.

    Parameters
    ----------
    p, l, u : array_like
        The factorisation, in the shapes that `lu` returns.
    l_bar, u_bar : array_like or None
        Cotangents in the shapes of `l` and `u`; only L strictly below the diagonal and the upper triangle of U are
        read. None is zero.

    Returns
    -------
    ndarray, shape (..., m, n)
        A_bar, in the dtype of `l` and `u`.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a pivot is zero, other than the last one of a square or wide matrix: there is no derivative.
    ValueError, TypeError
        For shapes and dtypes that do not fit, and if `p` is not a permutation.

    Notes
    -----
    For a square matrix, A_bar = P L^-H (tril(L^H L_bar, -1) + triu(U_bar U^H)) U^-H; see `lu_factor_vjp`.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> p, l, u = mk.lu(np.array([[2.0, 8.0], [1.0, 2.0]]))
    >>> mk.lu_vjp(p, l, u, np.array([[0.0, 0.0], [1.0, 0.0]]), None)     # of l[1, 0] = a[1, 0] / a[0, 0]
    array([[-0.25,  0.  ],
           [ 0.5 ,  0.  ]])
    """
    return kernels.lu_vjp(p, l, u, l_bar, u_bar)


def lu_jvp(p, l, u, A_dot):
    """Push a tangent of the matrix forward to its factors.

    Parameters
    ----------
    p, l, u : array_like
        The factorisation, in the shapes that `lu` returns.
    A_dot : array_like, shape (..., m, n)
        Tangent of the matrix. Batch axes broadcast.

    Returns
    -------
    l_dot, u_dot : ndarray
        Tangents of the factors, in their shapes.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a pivot is zero, other than the last one of a square or wide matrix: there is no derivative.
    ValueError, TypeError
        For shapes and dtypes that do not fit, and if `p` is not a permutation.

    Notes
    -----
    With F = L^-1 P^T A_dot U^-1: L_dot = L tril(F, -1) and U_dot = triu(F) U; see `lu_factor_jvp`.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> p, l, u = mk.lu(np.array([[2.0, 8.0], [1.0, 2.0]]))
    >>> l_dot, u_dot = mk.lu_jvp(p, l, u, np.array([[0.0, 0.0], [1.0, 0.0]]))
    >>> l_dot
    array([[0. , 0. ],
           [0.5, 0. ]])
    """
    return kernels.lu_jvp(p, l, u, A_dot)


def lu_solve(lu, piv, b, *, on_error="raise", out=None):
    """Solve A X = B with the packed factors of A.

    Parameters
    ----------
    lu, piv : array_like, shapes (..., n, n) and (..., n)
        What `lu_factor` returns.
    b : array_like, shape (..., n, k) or (n,)
        The right-hand sides; a vector only if it is 1-D. Batch axes broadcast.
    on_error : {"raise", "nan"}, optional
        For a singular matrix: raise, or make its solution NaN.
    out : ndarray, optional
        Where to put the result.

    Returns
    -------
    ndarray, shape (..., n, k), or (..., n) for a vector `b`
        X.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a pivot is zero.
    ValueError, TypeError
        For shapes, dtypes and pivots that do not fit.

    See Also
    --------
    lu_solve_vjp, lu_solve_jvp : its derivatives.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> lu, piv = mk.lu_factor(np.array([[1.0, 2.0], [2.0, 8.0]]))
    >>> mk.lu_solve(lu, piv, np.array([3.0, 10.0]))
    array([1., 1.])
    """
    return kernels.lu_solve(lu, piv, b, wanted=("x",), on_error=on_error, out=out)


def lu_solve_vjp(lu, piv, x, x_bar):
    """Pull a cotangent of the solution back to the packed factors and the right-hand sides.

    Parameters
    ----------
    lu, piv : array_like, shapes (..., n, n) and (..., n)
        The factorisation.
    x : array_like, shape (..., n, k) or (n,)
        The solution.
    x_bar : array_like, shape (..., n, k) or, for a vector `x`, (..., n)
        Its cotangent. Batch axes broadcast.

    Returns
    -------
    lu_bar : ndarray, shape (..., n, n)
    b_bar : ndarray, shape (..., n, k) or (..., n)
        Both have the batch axes of all arguments together (`vjp` sums over those that were broadcast).

    Raises
    ------
    numpy.linalg.LinAlgError
        If a pivot is zero.
    ValueError, TypeError
        For shapes, dtypes and pivots that do not fit.

    Notes
    -----
    From U X = Y and L Y = P^T B, with Z = U^-H X_bar and V = L^-H Z: U_bar = -triu(Z X^H), L_bar = -tril(V Y^H, -1),
    B_bar = P V; the two rules are those of a triangular system [1]_, section 2.3.1.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> lu, piv = mk.lu_factor(np.array([[2.0, 0.0], [0.0, 4.0]]))
    >>> lu_bar, b_bar = mk.lu_solve_vjp(lu, piv, np.array([1.0, 1.0]), np.array([1.0, 1.0]))
    >>> b_bar
    array([0.5 , 0.25])
    """
    return kernels.lu_solve_vjp(lu, piv, x, x_bar)


def lu_solve_jvp(lu, piv, x, lu_dot, b_dot):
    """Push tangents of the packed factors and the right-hand sides forward to the solution.

    Parameters
    ----------
    lu, piv : array_like, shapes (..., n, n) and (..., n)
        The factorisation.
    x : array_like, shape (..., n, k) or (n,)
        The solution.
    lu_dot : array_like, shape (..., n, n), or None
        Tangent of `lu`; None is zero.
    b_dot : array_like, shape (..., n, k) or (..., n), or None
        Tangent of the right-hand sides.

    Returns
    -------
    ndarray, shape (..., n, k) or (..., n)
        X_dot.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a pivot is zero.
    ValueError, TypeError
        For shapes, dtypes and pivots that do not fit.

    Notes
    -----
    With Y = U X: X_dot = U^-1 (L^-1 (P^T B_dot - L_dot Y) - U_dot X); see `lu_solve_vjp`.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> lu, piv = mk.lu_factor(np.array([[2.0, 0.0], [0.0, 4.0]]))
    >>> mk.lu_solve_jvp(lu, piv, np.array([1.0, 1.0]), lu, None)         # L has no tangent, U grows by itself
    array([-1., -1.])
    """
    return kernels.lu_solve_jvp(lu, piv, x, lu_dot, b_dot)


def _unpacked(xp, lu, k):
    """L and U from the packed matrix, k their inner size."""
    return xp.tril(lu[..., :, :k], -1) + xp.eye(lu.shape[-2], k, dtype=lu.dtype), xp.triu(lu[..., :k, :])


def _parts(xp, l, u):
    """The square parts of L and U, and the rows below (tall) or the columns to the right (wide)."""
    k = l.shape[-1]
    return l[..., :k, :], l[..., k:, :], u[..., :, :k], u[..., :, k:]


def _joined(xp, square, below, right):
    """A tall or a wide matrix from its square part and the rest."""
    zero = sum(xp.sum(xp.zeros_like(x), axis=(-2, -1), keepdims=True) for x in (square, below, right))
    square, below, right = square + zero, below + zero, right + zero  # concatenation does not broadcast batches
    corner = matmul(xp, below, right)  # it has no entries, as one of the two has none
    return xp.concatenate((xp.concatenate((square, below), -2), xp.concatenate((right, corner), -2)), -1)


def _pull(xp, l, u, l_bar, u_bar):
    """P^T A_bar."""
    l1, l2, u1, u2 = _parts(xp, l, u)
    l1_bar, l2_bar, u1_bar, u2_bar = _parts(xp, l_bar, u_bar)
    below = solve_right(xp, adjoint(xp, u1), l2_bar)
    right = xp.linalg.solve(adjoint(xp, l1), u2_bar)
    l1_bar = xp.tril(l1_bar - matmul(xp, right, adjoint(xp, u2)), -1)
    u1_bar = xp.triu(u1_bar - matmul(xp, adjoint(xp, l2), below))
    middle = xp.tril(matmul(xp, adjoint(xp, l1), l1_bar), -1) + xp.triu(matmul(xp, u1_bar, adjoint(xp, u1)))
    square = solve_right(xp, adjoint(xp, u1), xp.linalg.solve(adjoint(xp, l1), middle))
    return _joined(xp, square, below, right)


def _push(xp, l, u, t):
    """L_dot and U_dot from T = P^T A_dot."""
    l1, l2, u1, u2 = _parts(xp, l, u)
    k = l.shape[-1]
    f = solve_right(xp, u1, xp.linalg.solve(l1, t[..., :k, :k]))
    l1_dot, u1_dot = matmul(xp, l1, xp.tril(f, -1)), matmul(xp, xp.triu(f), u1)
    below = solve_right(xp, u1, t[..., k:, :k] - matmul(xp, l2, u1_dot))
    right = xp.linalg.solve(l1, t[..., :k, k:] - matmul(xp, l1_dot, u2))
    return xp.concatenate((l1_dot, below), -2), xp.concatenate((u1_dot, right), -1)


def lu_factor_vjp_formula(xp, lu, piv, perm, lu_bar):
    k = piv.shape[-1]
    l_bar, u_bar = xp.tril(lu_bar[..., :, :k], -1), xp.triu(lu_bar[..., :k, :])
    p = xp.swapaxes(permutation(xp, perm, lu.dtype), -1, -2)
    return (matmul(xp, p, _pull(xp, *_unpacked(xp, lu, k), l_bar, u_bar)),)


def lu_factor_jvp_formula(xp, lu, piv, perm, a_dot):
    k = piv.shape[-1]
    t = matmul(xp, permutation(xp, perm, lu.dtype), a_dot)
    l_dot, u_dot = _push(xp, *_unpacked(xp, lu, k), t)
    return (_joined(xp, l_dot[..., :k, :] + u_dot[..., :, :k], l_dot[..., k:, :], u_dot[..., :, k:]),)


def lu_vjp_formula(xp, p, l, u, l_bar, u_bar):
    return (matmul(xp, p, _pull(xp, l, u, xp.tril(l_bar, -1), xp.triu(u_bar))),)


def lu_jvp_formula(xp, p, l, u, a_dot):
    return _push(xp, l, u, matmul(xp, xp.swapaxes(p, -1, -2), a_dot))


def lu_solve_vjp_formula(xp, lu, perm, x, x_bar):
    l, u = _unpacked(xp, lu, lu.shape[-1])
    z = xp.linalg.solve(adjoint(xp, u), x_bar)
    v = xp.linalg.solve(adjoint(xp, l), z)
    lu_bar = -xp.triu(matmul(xp, z, adjoint(xp, x))) - xp.tril(matmul(xp, v, adjoint(xp, matmul(xp, u, x))), -1)
    return lu_bar, matmul(xp, xp.swapaxes(permutation(xp, perm, lu.dtype), -1, -2), v)


def lu_solve_jvp_formula(xp, lu, perm, x, lu_dot, b_dot):
    l, u = _unpacked(xp, lu, lu.shape[-1])
    y = matmul(xp, permutation(xp, perm, lu.dtype), b_dot) - matmul(xp, xp.tril(lu_dot, -1), u, x)
    return (xp.linalg.solve(u, xp.linalg.solve(l, y) - matmul(xp, xp.triu(lu_dot), x)),)


Op(
    name="lu_factor",
    function=lu_factor,
    forward=kernels.lu_factor,
    pullback=kernels.lu_factor_vjp,
    pushforward=kernels.lu_factor_jvp,
    vjp_formula=lu_factor_vjp_formula,
    jvp_formula=lu_factor_jvp_formula,
    outputs=("lu", "piv"),
    result=LUFactorResult,
)
Op(
    name="lu",
    function=lu,
    forward=kernels.lu,
    pullback=kernels.lu_vjp,
    pushforward=kernels.lu_jvp,
    vjp_formula=lu_vjp_formula,
    jvp_formula=lu_jvp_formula,
    outputs=("p", "l", "u"),
    result=LUResult,
)
Op(
    name="lu_solve",
    function=lu_solve,
    forward=kernels.lu_solve,
    pullback=kernels.lu_solve_vjp,
    pushforward=kernels.lu_solve_jvp,
    vjp_formula=lu_solve_vjp_formula,
    jvp_formula=lu_solve_jvp_formula,
    outputs=("x",),
)
