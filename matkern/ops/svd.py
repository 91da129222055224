"""Singular values and singular vectors."""

from typing import NamedTuple

import numpy as np

from ..kernels import svd as kernels
from ..op import Op
from .algebra import adjoint, matmul

__all__ = ["SVDResult", "svd", "svd_jvp", "svd_vjp", "svdvals", "svdvals_jvp", "svdvals_vjp"]


class SVDResult(NamedTuple):
    """What `svd` returns."""

    U: np.ndarray
    S: np.ndarray
    Vh: np.ndarray


def svd(a, *, full_matrices=False, compute_uv=True, on_error="raise", out=None):
    """Compute thin singular value decompositions, A = U diag(s) V^H.

    Parameters
    ----------
    a : array_like, shape (..., m, n)
        The matrices; below, k is the smaller of m and n.
    full_matrices : {False, True}, optional
        True is for square matrices alone, where it makes no difference: the vectors that it adds to others are any
        basis of a space, and have no derivative.
    compute_uv : {True, False}, optional
        False is `svdvals`, for the sake of NumPy's name.
    on_error : {"raise", "nan"}, optional
        For a matrix whose singular values do not converge: raise, or make the results NaN.
    out : tuple of ndarray, optional
        Where to put the results.

    Returns
    -------
    U : ndarray, shape (..., m, k)
        The left singular vectors in orthonormal columns, in the dtype of `a` (float64 for integers). Of each column the
        first entry whose square is above 0.2913 times the largest is positive, whatever the batch, the BLAS library and
        the number of threads.
    S : ndarray, shape (..., k)
        The singular values in descending order, real, in the precision of `a`.
    Vh : ndarray, shape (..., k, n)
        The conjugate right singular vectors in orthonormal rows.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the singular values do not converge. A matrix with NaN or infinities gives NaN instead.
    ValueError, TypeError
        For shapes, dtypes and options that do not fit, `full_matrices` with a matrix that is not square among them,
        and for matrices so large (n > 20723, if square) that LAPACK's integers cannot hold the size of its workspace.

    See Also
    --------
    svd_vjp, svd_jvp : its derivatives. svdvals : the singular values alone.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> U, S, Vh = mk.svd(np.array([[3.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
    >>> U.shape, Vh.shape
    ((3, 2), (2, 2))
    >>> S
    array([3., 2.])
    """
    if not compute_uv:
        return svdvals(a, on_error=on_error, out=out)
    return SVDResult(*kernels.svd(a, full_matrices=full_matrices, on_error=on_error, out=out))


def svd_vjp(U, S, Vh, U_bar, S_bar, Vh_bar, *, degenerate="nan", gauge="raise", on_error="raise"):
    """Pull cotangents of singular values and vectors back to the matrix.

    Parameters
    ----------
    U : array_like, shape (..., m, k)
    S : array_like, shape (..., k)
    Vh : array_like, shape (..., k, n)
        What `svd` returned; k is the smaller of m and n.
    U_bar : array_like, shape (..., m, k), or None
    S_bar : array_like, shape (..., k), or None
    Vh_bar : array_like, shape (..., k, n), or None
        Their cotangents; None is zero. Batch axes broadcast.
    degenerate : {"nan", "zero", "raise"}, optional
        For a matrix with repeated singular values, or zero ones, and a cotangent that tells their vectors apart, where
        there is no derivative: NaN, take that part as zero (for a loss known to be invariant), or raise.
    gauge : {"raise", "ignore"}, optional
        For a cotangent with a part along the free phases of complex singular vectors: raise, or drop it.
    on_error : {"raise", "nan"}, optional
        Instead of raising, make the gradient of the matrix in question NaN.

    Returns
    -------
    ndarray, shape (..., m, n)
        A_bar, in the dtype of `U`.

    Raises
    ------
    numpy.linalg.LinAlgError
        For repeated or zero singular values with ``degenerate="raise"``.
    ValueError, TypeError
        For a cotangent along the phases with ``gauge="raise"``; for shapes, dtypes and options that do not fit.

    Notes
    -----
    With M and N the skew parts of U^H U_bar and V^H V_bar, and D = diag(1 / s),
    A_bar = U (diag(s_bar) + Q) V^H + (I - U U^H) U_bar D V^H + U D V_bar^H (I - V V^H),
    Q_ij = (M + N)_ij / (s_j - s_i) + (M - N)_ij / (s_j + s_i), and Q_ii = (M - N)_ii / (2 s_i); [1]_, and
    [2]_ for Q_ii, which is zero for real matrices.

    A difference or a sum of two singular values counts as zero up to 4 sqrt(max(m, n)) eps max(s); so does, for a
    matrix that is not square, a singular value. What it divides is rounding up to 16 max(m, n) eps |(U_bar, V_bar)|
    (Frobenius) and contributes zero, so that a loss of the singular values alone, of projectors onto whole
    singular spaces, or of the matrix rebuilt from singular values that are neither repeated nor zero, has its
    gradient. A function U diag(f(s)) V^H has not at repeated ones: its limit f'(s) is not in the cotangents.

    The phase that u_i and v_i share is free; a loss that has a gradient does not depend on it, and
    Im(u_i^H u_bar_i + v_i^H v_bar_i) is zero. It is rounding up to the same bound.

    References
    ----------
    .. [1] J. Townsend, Differentiating the singular value decomposition (2016).
    .. [2] Z.-Q. Wan and S.-X. Zhang, Automatic differentiation for complex valued SVD, arXiv:1909.02659 (2019).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> U, S, Vh = mk.svd(np.array([[3.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
    >>> np.abs(np.round(mk.svd_vjp(U, S, Vh, None, np.array([1.0, 0.0]), None), 12))     # of the largest one
    array([[1., 0.],
           [0., 0.],
           [0., 0.]])
    """
    return kernels.svd_vjp(U, S, Vh, U_bar, S_bar, Vh_bar, degenerate=degenerate, gauge=gauge, on_error=on_error)


def svd_jvp(U, S, Vh, A_dot, *, degenerate="nan", on_error="raise"):
    """Push a tangent of the matrix forward to its singular values and vectors.

    Parameters
    ----------
    U : array_like, shape (..., m, k)
    S : array_like, shape (..., k)
    Vh : array_like, shape (..., k, n)
        What `svd` returned; k is the smaller of m and n.
    A_dot : array_like, shape (..., m, n)
        The tangent. Batch axes broadcast.
    degenerate : {"nan", "zero", "raise"}, optional
        For a tangent that splits repeated or zero singular values, whose vectors then have no derivative: NaN, take
        that part as zero, or raise.
    on_error : {"raise", "nan"}, optional
        Instead of raising, make the tangents of the matrix in question NaN.

    Returns
    -------
    U_dot : ndarray, shape (..., m, k)
    S_dot : ndarray, shape (..., k)
    Vh_dot : ndarray, shape (..., k, n)
        Tangents; those of complex singular vectors with the phases that make u_i^H u_dot_i + v_i^H v_dot_i zero.

    Raises
    ------
    numpy.linalg.LinAlgError
        For repeated or zero singular values with ``degenerate="raise"``.
    ValueError, TypeError
        For shapes, dtypes and options that do not fit.

    Notes
    -----
    With P = U^H A_dot V and D = diag(1 / s): s_dot = Re diag(P), U_dot = U X + (I - U U^H) A_dot V D and
    V_dot = V Y + (I - V V^H) A_dot^H U D, where (X + Y)_ij = (P + P^H)_ij / (s_j - s_i), zero on the diagonal, and
    (X - Y)_ij = (P - P^H)_ij / (s_j + s_i) [1]_. What counts as repeated or zero is said at
    `svd_vjp`, with |A_dot| for |(U_bar, V_bar)|.

    References
    ----------
    .. [1] J. Townsend, Differentiating the singular value decomposition (2016).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> U, S, Vh = mk.svd(np.diag([3.0, 2.0]))
    >>> U_dot, S_dot, Vh_dot = mk.svd_jvp(U, S, Vh, np.diag([5.0, 4.0]))
    >>> S_dot
    array([5., 4.])
    """
    return kernels.svd_jvp(U, S, Vh, A_dot, degenerate=degenerate, on_error=on_error)


def svdvals(a, *, on_error="raise", out=None):
    """Compute singular values.

    Parameters
    ----------
    a : array_like, shape (..., m, n)
        The matrices; below, k is the smaller of m and n.
    on_error : {"raise", "nan"}, optional
        For a matrix whose singular values do not converge: raise, or make them NaN.
    out : ndarray, shape (..., k), optional
        Where to put the result.

    Returns
    -------
    ndarray, shape (..., k)
        In descending order, real, in the precision of `a` (float64 for integers).

    Raises
    ------
    numpy.linalg.LinAlgError, ValueError, TypeError
        As `svd`.

    See Also
    --------
    svdvals_vjp, svdvals_jvp : its derivatives, which need the singular vectors: `vjp` and `jvp` keep them.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.svdvals(np.array([[0.0, 2.0], [3.0, 0.0]]))
    array([3., 2.])
    """
    return kernels.svdvals(a, wanted=("S",), on_error=on_error, out=out)


def svdvals_vjp(U, S, Vh, S_bar):
    """Pull a cotangent of the singular values back to the matrix.

    Parameters
    ----------
    U : array_like, shape (..., m, k)
    S : array_like, shape (..., k)
    Vh : array_like, shape (..., k, n)
        What `svd` returned; k is the smaller of m and n.
    S_bar : array_like, shape (..., k)
        Cotangent of the singular values. Batch axes broadcast.

    Returns
    -------
    ndarray, shape (..., m, n)
        A_bar, in the dtype of `U`; finite for repeated and for zero singular values, too.

    Raises
    ------
    ValueError, TypeError
        For shapes and dtypes that do not fit.

    Notes
    -----
    A_bar = U diag(s_bar) V^H [1]_, section 3.3. At a singular value of zero, where s is not differentiable, it is one
    of the subgradients.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> U, S, Vh = mk.svd(np.eye(2))
    >>> mk.svdvals_vjp(U, S, Vh, np.array([1.0, 1.0]))
    array([[1., 0.],
           [0., 1.]])
    """
    return kernels.svdvals_vjp(U, S, Vh, None, S_bar, None)


def svdvals_jvp(U, S, Vh, A_dot):
    """Push a tangent of the matrix forward to its singular values.

    Parameters
    ----------
    U : array_like, shape (..., m, k)
    S : array_like, shape (..., k)
    Vh : array_like, shape (..., k, n)
        What `svd` returned; k is the smaller of m and n.
    A_dot : array_like, shape (..., m, n)
        The tangent. Batch axes broadcast.

    Returns
    -------
    ndarray, shape (..., k)
        s_dot.

    Raises
    ------
    ValueError, TypeError
        For shapes and dtypes that do not fit.

    Notes
    -----
    s_dot = Re diag(U^H A_dot V) [1]_, section 3.3.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> U, S, Vh = mk.svd(np.diag([3.0, 2.0]))
    >>> mk.svdvals_jvp(U, S, Vh, np.diag([5.0, 4.0]))
    array([5., 4.])
    """
    return kernels.svdvals_jvp(U, S, Vh, A_dot, wanted=("S_dot",))


def _quotients(xp, s, eye):
    """1 / (s_j^2 - s_i^2) off the diagonal, zero on it."""
    squares = s * s
    return 1 / (squares[..., None, :] - squares[..., :, None] + eye) - eye


def _may_be_tall(x):
    """Whether I - X X^H may not be zero; sizes that are not known, as they are in graphs, may be any."""
    rows, columns = x.shape[-2], x.shape[-1]
    return not (isinstance(rows, int) and isinstance(columns, int)) or rows > columns


def vjp_formula(xp, U, S, Vh, U_bar, S_bar, Vh_bar):
    v, v_bar, columns = adjoint(xp, Vh), adjoint(xp, Vh_bar), S[..., None, :]
    eye = xp.eye(S.shape[-1], dtype=S.dtype)
    m, n = matmul(xp, adjoint(xp, U), U_bar), matmul(xp, Vh, v_bar)
    skew_m, skew_n = m - adjoint(xp, m), n - adjoint(xp, n)
    quotients = _quotients(xp, S, eye)
    middle = eye * (S_bar[..., None, :] + (skew_m - skew_n) / (4 * columns))
    middle = middle + quotients * (skew_m * columns + S[..., :, None] * skew_n)
    g = matmul(xp, U, middle, Vh)
    if _may_be_tall(U):
        g = g + matmul(xp, (U_bar - matmul(xp, U, m)) / columns, Vh)
    if _may_be_tall(v):
        g = g + matmul(xp, U, adjoint(xp, (v_bar - matmul(xp, v, n)) / columns))
    return (g,)


def jvp_formula(xp, U, S, Vh, a_dot):
    v, columns = adjoint(xp, Vh), S[..., None, :]
    eye = xp.eye(S.shape[-1], dtype=S.dtype)
    p = matmul(xp, adjoint(xp, U), a_dot, v)
    quotients, ps, sp = _quotients(xp, S, eye), p * columns, S[..., :, None] * p
    phases = eye * (p - adjoint(xp, p)) / (4 * columns)
    u_dot = matmul(xp, U, quotients * (ps + adjoint(xp, ps)) + phases)
    v_dot = matmul(xp, v, quotients * (sp + adjoint(xp, sp)) - phases)
    if _may_be_tall(U):
        u_dot = u_dot + (matmul(xp, a_dot, v) - matmul(xp, U, p)) / columns
    if _may_be_tall(v):
        v_dot = v_dot + (matmul(xp, adjoint(xp, a_dot), U) - matmul(xp, v, adjoint(xp, p))) / columns
    return u_dot, xp.real(xp.sum(eye * p, axis=-1)), adjoint(xp, v_dot)


def svdvals_vjp_formula(xp, a, S_bar):
    u, _, vh = xp.linalg.svd(a, full_matrices=False)
    return (matmul(xp, u * S_bar[..., None, :], vh),)


def svdvals_jvp_formula(xp, a, a_dot):
    u, _, vh = xp.linalg.svd(a, full_matrices=False)
    return (xp.real(xp.sum(xp.conj(u) * matmul(xp, a_dot, adjoint(xp, vh)), axis=-2)),)


Op(
    name="svd",
    function=svd,
    forward=kernels.svd,
    pullback=kernels.svd_vjp,
    pushforward=kernels.svd_jvp,
    vjp_formula=vjp_formula,
    jvp_formula=jvp_formula,
    outputs=("U", "S", "Vh"),
    result=SVDResult,
    holomorphic=lambda name, options: False,
    default_variant={"compute_uv": True},
)
Op(
    name="svdvals",
    function=svdvals,
    forward=kernels.svdvals,
    pullback=kernels.svdvals_vjp,
    pushforward=kernels.svdvals_jvp,
    vjp_formula=svdvals_vjp_formula,
    jvp_formula=svdvals_jvp_formula,
    outputs=("S",),
    holomorphic=lambda name, options: False,
    variant_of=("svd", "compute_uv", False),
)
