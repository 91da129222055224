"""Eigenvalues and eigenvectors of a Hermitian matrix."""

from typing import NamedTuple

import numpy as np

from ..kernels import eigh as kernels
from ..op import Op
from .algebra import adjoint, eye_of, gradient_of_hermitian, matmul, tangent_of_hermitian

__all__ = ["EighResult", "eigh", "eigh_jvp", "eigh_vjp", "eigvalsh", "eigvalsh_jvp", "eigvalsh_vjp"]


class EighResult(NamedTuple):
    """What `eigh` returns."""

    eigenvalues: np.ndarray
    eigenvectors: np.ndarray


def eigh(a, *, UPLO="L", on_error="raise", out=None):
    """Compute eigenvalues and eigenvectors of Hermitian matrices, A = V diag(w) V^H.

    Parameters
    ----------
    a : array_like, shape (..., n, n)
        Only one triangle is read, of the diagonal the real part.
    UPLO : {"L", "U"}, optional
        Which.
    on_error : {"raise", "nan"}, optional
        For a matrix whose eigenvalues do not converge: raise, or make them NaN.
    out : tuple of ndarray, optional
        Where to put the results.

    Returns
    -------
    eigenvalues : ndarray, shape (..., n)
        In ascending order, real, in the precision of `a` (float64 for integers).
    eigenvectors : ndarray, shape (..., n, n)
        In columns, orthonormal, in the dtype of `a`. Of each column the first entry whose square is above 0.2913 times
        the largest is positive, whatever the batch, the BLAS library and the number of threads.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the eigenvalues do not converge. A matrix with NaN or infinities gives NaN instead.
    ValueError, TypeError
        For shapes, dtypes and options that do not fit, and for matrices so large (n > 26752) that LAPACK's
        integers cannot hold the size of its workspace.

    See Also
    --------
    eigh_vjp, eigh_jvp : its derivatives. eigvalsh : the eigenvalues alone.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> w, v = mk.eigh(np.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> w
    array([1., 3.])
    >>> np.sign(v)
    array([[ 1.,  1.],
           [-1.,  1.]])
    """
    return EighResult(*kernels.eigh(a, UPLO=UPLO, on_error=on_error, out=out))


def eigh_vjp(
    eigenvalues,
    eigenvectors,
    eigenvalues_bar,
    eigenvectors_bar,
    *,
    triangle=None,
    degenerate="nan",
    gauge="raise",
    on_error="raise",
):
    """Pull cotangents of eigenvalues and eigenvectors back to the Hermitian matrix.

    Parameters
    ----------
    eigenvalues : array_like, shape (..., n)
    eigenvectors : array_like, shape (..., n, n)
        What `eigh` returned.
    eigenvalues_bar : array_like, shape (..., n), or None
    eigenvectors_bar : array_like, shape (..., n, n), or None
        Their cotangents; None is zero. Batch axes broadcast.
    triangle : {None, "L", "U"}, optional
        None: the gradient as a Hermitian matrix. A triangle: with respect to the entries in it, zero elsewhere.
    degenerate : {"nan", "zero", "raise"}, optional
        For a matrix with repeated eigenvalues and a cotangent that tells their eigenvectors apart, where there is
        no derivative: NaN, take that part as zero (for a loss known to be invariant), or raise.
    gauge : {"raise", "ignore"}, optional
        For a cotangent with a part along the free phases of complex eigenvectors: raise, or drop it.
    on_error : {"raise", "nan"}, optional
        Instead of raising, make the gradient of the matrix in question NaN.

    Returns
    -------
    ndarray, shape (..., n, n)
        A_bar, in the dtype of `eigenvectors`.

    Raises
    ------
    numpy.linalg.LinAlgError
        For repeated eigenvalues with ``degenerate="raise"``.
    ValueError, TypeError
        For a cotangent along the phases with ``gauge="raise"``; for shapes, dtypes and options that do not fit.

    Notes
    -----
    With M = V^H V_bar: A_bar = V (diag(w_bar) + X) V^H, X_ij = (M_ij - conj M_ji) / 2 / (w_j - w_i) and X_ii = 0;
    [1]_, section 2.3.3, and [2]_, section 4.3, for the complex case.

    Eigenvalues count as repeated when |w_i - w_j| <= 4 sqrt(n) eps max|w|. A numerator of at most 16 n eps |V_bar|
    (Frobenius) at such a pair is rounding and contributes zero, so that a loss of the eigenvalues alone, or of
    projectors onto whole eigenspaces, has its gradient. A function V diag(f(w)) V^H has not at repeated eigenvalues:
    its limit f'(w) is not in the cotangents. A part of V_bar along the phases, Im M_ii, is rounding up to the same
    bound.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).
    .. [2] C. Boeddeker, P. Hanebrink, L. Drude, J. Heymann and R. Haeb-Umbach, On the computation of complex-valued
       gradients with application to statistically optimum beamforming, arXiv:1701.00392 (2017).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> w, v = mk.eigh(np.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> np.round(mk.eigh_vjp(w, v, np.array([0.0, 1.0]), None), 12)      # of the largest eigenvalue
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    return kernels.eigh_vjp(
        eigenvalues,
        eigenvectors,
        eigenvalues_bar,
        eigenvectors_bar,
        triangle=triangle,
        degenerate=degenerate,
        gauge=gauge,
        on_error=on_error,
    )


def eigh_jvp(eigenvalues, eigenvectors, A_dot, *, triangle=None, degenerate="nan", on_error="raise"):
    """Push a tangent of the Hermitian matrix forward to its eigenvalues and eigenvectors.

    Parameters
    ----------
    eigenvalues : array_like, shape (..., n)
    eigenvectors : array_like, shape (..., n, n)
        What `eigh` returned.
    A_dot : array_like, shape (..., n, n)
        The tangent, any square matrix. Batch axes broadcast.
    triangle : {None, "L", "U"}, optional
        None: the tangent's Hermitian part counts. A triangle: its entries there, and their mirror images.
    degenerate : {"nan", "zero", "raise"}, optional
        For a tangent that splits repeated eigenvalues, whose eigenvectors then have no derivative: NaN, take
        that part as zero, or raise.
    on_error : {"raise", "nan"}, optional
        Instead of raising, make the tangents of the matrix in question NaN.

    Returns
    -------
    eigenvalues_dot : ndarray, shape (..., n)
    eigenvectors_dot : ndarray, shape (..., n, n)
        Tangents; those of complex eigenvectors with the phases that make v_i^H v_dot_i zero.

    Raises
    ------
    numpy.linalg.LinAlgError
        For repeated eigenvalues with ``degenerate="raise"``.
    ValueError, TypeError
        For shapes, dtypes and options that do not fit.

    Notes
    -----
    With S = V^H A_dot V: w_dot = diag(S) and V_dot = V Y, Y_ij = S_ij / (w_j - w_i), Y_ii = 0 [1]_, section 2.3.3.
    What counts as repeated is said at `eigh_vjp`, with |A_dot| for |V_bar|.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> w, v = mk.eigh(np.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> w_dot, v_dot = mk.eigh_jvp(w, v, np.eye(2))
    >>> np.round(w_dot, 12)
    array([1., 1.])
    """
    return kernels.eigh_jvp(
        eigenvalues, eigenvectors, A_dot, triangle=triangle, degenerate=degenerate, on_error=on_error
    )


def eigvalsh(a, *, UPLO="L", on_error="raise", out=None):
    """Compute eigenvalues of Hermitian matrices.

    Parameters
    ----------
    a : array_like, shape (..., n, n)
        Only one triangle is read, of the diagonal the real part.
    UPLO : {"L", "U"}, optional
        Which.
    on_error : {"raise", "nan"}, optional
        For a matrix whose eigenvalues do not converge: raise, or make them NaN.
    out : ndarray, shape (..., n), optional
        Where to put the result.

    Returns
    -------
    ndarray, shape (..., n)
        In ascending order, real, in the precision of `a` (float64 for integers).

    Raises
    ------
    numpy.linalg.LinAlgError, ValueError, TypeError
        As `eigh`.

    See Also
    --------
    eigvalsh_vjp, eigvalsh_jvp : its derivatives, which need the eigenvectors: `vjp` and `jvp` keep them.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.eigvalsh(np.array([[2.0, 1.0], [1.0, 2.0]]))
    array([1., 3.])
    """
    return kernels.eigh(a, wanted=("eigenvalues",), UPLO=UPLO, on_error=on_error, out=out)


def eigvalsh_vjp(eigenvalues, eigenvectors, eigenvalues_bar, *, triangle=None):
    """Pull a cotangent of the eigenvalues back to the Hermitian matrix.

    Parameters
    ----------
    eigenvalues : array_like, shape (..., n)
    eigenvectors : array_like, shape (..., n, n)
        What `eigh` returned.
    eigenvalues_bar : array_like, shape (..., n)
        Cotangent of the eigenvalues. Batch axes broadcast.
    triangle : {None, "L", "U"}, optional
        As for `eigh_vjp`.

    Returns
    -------
    ndarray, shape (..., n, n)
        A_bar, in the dtype of `eigenvectors`; finite for repeated eigenvalues, too.

    Raises
    ------
    ValueError, TypeError
        For shapes, dtypes and options that do not fit.

    Notes
    -----
    A_bar = V diag(w_bar) V^H [1]_, section 2.3.3.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> w, v = mk.eigh(np.eye(2))
    >>> mk.eigvalsh_vjp(w, v, np.array([1.0, 1.0]))
    array([[1., 0.],
           [0., 1.]])
    """
    return kernels.eigvalsh_vjp(eigenvalues, eigenvectors, eigenvalues_bar, None, triangle=triangle)


def eigvalsh_jvp(eigenvalues, eigenvectors, A_dot, *, triangle=None):
    """Push a tangent of the Hermitian matrix forward to its eigenvalues.

    Parameters
    ----------
    eigenvalues : array_like, shape (..., n)
    eigenvectors : array_like, shape (..., n, n)
        What `eigh` returned.
    A_dot : array_like, shape (..., n, n)
        The tangent, any square matrix. Batch axes broadcast.
    triangle : {None, "L", "U"}, optional
        As for `eigh_jvp`.

    Returns
    -------
    ndarray, shape (..., n)
        w_dot.

    Raises
    ------
    ValueError, TypeError
        For shapes, dtypes and options that do not fit.

    Notes
    -----
    w_dot = diag(V^H A_dot V) [1]_, section 2.3.3.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> w, v = mk.eigh(np.diag([1.0, 2.0]))
    >>> mk.eigvalsh_jvp(w, v, np.diag([3.0, 4.0]))
    array([3., 4.])
    """
    return kernels.eigvalsh_jvp(eigenvalues, eigenvectors, A_dot, wanted=("eigenvalues_dot",), triangle=triangle)


def _quotients(xp, w, v):
    """1 / (w_j - w_i) off the diagonal, zero on it."""
    eye = xp.eye(v.shape[-1], dtype=w.dtype)
    return 1 / (w[..., None, :] - w[..., :, None] + eye) - eye


def _real_diagonal(xp, s):
    return xp.real(xp.sum(s * eye_of(xp, s), axis=-1))


def vjp_formula(xp, eigenvalues, eigenvectors, eigenvalues_bar, eigenvectors_bar, *, triangle=None):
    v = eigenvectors
    m = matmul(xp, adjoint(xp, v), eigenvectors_bar)
    x = _quotients(xp, eigenvalues, v) * (m - adjoint(xp, m)) / 2
    g = matmul(xp, v * eigenvalues_bar[..., None, :] + matmul(xp, v, x), adjoint(xp, v))
    return (gradient_of_hermitian(xp, g, triangle),)


def jvp_formula(xp, eigenvalues, eigenvectors, a_dot, *, triangle=None):
    v = eigenvectors
    s = matmul(xp, adjoint(xp, v), tangent_of_hermitian(xp, a_dot, triangle), v)
    return _real_diagonal(xp, s), matmul(xp, v, _quotients(xp, eigenvalues, v) * s)


def eigvalsh_vjp_formula(xp, a, eigenvalues_bar, *, UPLO="L", triangle=None):
    _, v = xp.linalg.eigh(a, UPLO=UPLO)
    return (gradient_of_hermitian(xp, matmul(xp, v * eigenvalues_bar[..., None, :], adjoint(xp, v)), triangle),)


def eigvalsh_jvp_formula(xp, a, a_dot, *, UPLO="L", triangle=None):
    _, v = xp.linalg.eigh(a, UPLO=UPLO)
    s = matmul(xp, adjoint(xp, v), tangent_of_hermitian(xp, a_dot, triangle), v)
    return (_real_diagonal(xp, s),)


Op(
    name="eigh",
    function=eigh,
    forward=kernels.eigh,
    pullback=kernels.eigh_vjp,
    pushforward=kernels.eigh_jvp,
    vjp_formula=vjp_formula,
    jvp_formula=jvp_formula,
    outputs=("eigenvalues", "eigenvectors"),
    result=EighResult,
    holomorphic=lambda name, options: False,
)
Op(
    name="eigvalsh",
    function=eigvalsh,
    forward=kernels.eigh,
    pullback=kernels.eigvalsh_vjp,
    pushforward=kernels.eigvalsh_jvp,
    vjp_formula=eigvalsh_vjp_formula,
    jvp_formula=eigvalsh_jvp_formula,
    outputs=("eigenvalues",),
    holomorphic=lambda name, options: False,
)
