"""Eigenvalues and eigenvectors of a general matrix."""

from typing import NamedTuple

import numpy as np

from ..kernels import eig as kernels
from ..op import Op
from .algebra import adjoint, eye_of, in_kind_of, matmul

__all__ = ["EigResult", "eig", "eig_jvp", "eig_vjp", "eigvals", "eigvals_jvp", "eigvals_vjp"]


class EigResult(NamedTuple):
    """What `eig` returns."""

    eigenvalues: np.ndarray
    eigenvectors: np.ndarray


def eig(a, *, on_error="raise", out=None):
    """Compute eigenvalues and right eigenvectors of general matrices, A V = V diag(w).

    Parameters
    ----------
    a : array_like, shape (..., n, n)
    on_error : {"raise", "nan"}, optional
        For a matrix whose eigenvalues do not converge: raise, or make them NaN.
    out : tuple of ndarray, optional
        Where to put the results.

    Returns
    -------
    eigenvalues : ndarray, shape (..., n)
        In no order, always complex, in the precision of `a` (complex128 for integers). Those of a real matrix are real
        or come in conjugate pairs.
    eigenvectors : ndarray, shape (..., n, n)
        In columns of unit 2-norm, complex, each with the phase that makes its largest component real, as LAPACK has it.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the eigenvalues do not converge. A matrix with NaN or infinities gives NaN instead.
    ValueError, TypeError
        For shapes, dtypes and options that do not fit, and for matrices so large (n > 46340) that LAPACK's
        integers cannot hold their size.

    See Also
    --------
    eig_vjp, eig_jvp : its derivatives. eigvals : the eigenvalues alone. eigh : for Hermitian matrices.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> w, v = mk.eig(np.array([[0.0, 1.0], [-1.0, 0.0]]))
    >>> w
    array([0.+1.j, 0.-1.j])
    """
    return EigResult(*kernels.eig(a, wanted=("eigenvalues", "eigenvectors"), on_error=on_error, out=out))


def eig_vjp(
    a,
    eigenvalues,
    eigenvectors,
    eigenvalues_bar,
    eigenvectors_bar,
    *,
    degenerate="nan",
    gauge="raise",
    on_error="raise",
):
    """Pull cotangents of eigenvalues and eigenvectors back to the general matrix.

    Parameters
    ----------
    a : array_like, shape (..., n, n)
        The matrix: of a real one the gradient is real.
    eigenvalues : array_like, shape (..., n)
    eigenvectors : array_like, shape (..., n, n)
        What `eig` returned.
    eigenvalues_bar : array_like, shape (..., n), or None
    eigenvectors_bar : array_like, shape (..., n, n), or None
        Their cotangents; None is zero. Batch axes broadcast.
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
        A_bar, in the dtype of `a`.

    Raises
    ------
    numpy.linalg.LinAlgError
        For a matrix that is defective to working precision, and for repeated eigenvalues with ``degenerate="raise"``.
    ValueError, TypeError
        For a cotangent along the phases with ``gauge="raise"``; for shapes, dtypes and options that do not fit.

    Warns
    -----
    RuntimeWarning
        For a matrix that is nearly defective: the message has its index and the condition of its eigenvectors.

    Notes
    -----
    With P(X) = X - V diag(V^H X) and M = V^H P(V_bar): A_bar = V^-H X V^H, X_ij = M_ij / conj(w_j - w_i) and
    X_ii = w_bar_i, of a real A the real part; [1]_, section 4.2, with the columns' normalisation, which is P. V is
    factored here; `vjp` keeps its inverse from the forward pass.

    Norms are Frobenius's, and kappa = |V| |V^-1|, which is n for a normal matrix and greater for any other. A matrix is
    defective to working precision if eps kappa >= 1, and nearly so if 100 eps (kappa / n)^2 > 1: the derivative's
    relative error may then be above 1 %. Eigenvalues count as repeated when |w_i - w_j| <= 4 eps |A| max(|y_i|, |y_j|)
    with y_i row i of V^-1, the condition of w_i [2]_: rounding of A moves them that far. At such a pair M_ij within 16
    kappa eps |V_bar| is rounding and contributes zero. So a loss of the eigenvalues alone has its gradient, and so
    has one of projectors onto whole eigenspaces; a function V diag(f(w)) V^-1 has not: its limit f'(w) is not
    in the cotangents. A part of V_bar along the phases, Im v_i^H v_bar_i, is rounding up to the same bound. A real
    eigenvector of a real matrix has no phase.

    References
    ----------
    .. [1] C. Boeddeker, P. Hanebrink, L. Drude, J. Heymann and R. Haeb-Umbach, On the computation of complex-valued
       gradients with application to statistically optimum beamforming, arXiv:1701.00392 (2017).
    .. [2] J. H. Wilkinson, The Algebraic Eigenvalue Problem (1965), chapter 2.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> a = np.array([[1.0, 1.0], [0.0, 3.0]])
    >>> w, v = mk.eig(a)
    >>> np.round(mk.eig_vjp(a, w, v, np.array([0.0, 1.0]), None), 12)      # of the eigenvalue 3
    array([[0. , 0. ],
           [0.5, 1. ]])
    """
    return kernels.eig_vjp(
        a,
        eigenvalues,
        eigenvectors,
        kernels.eig_inverse(eigenvectors),
        eigenvalues_bar,
        eigenvectors_bar,
        degenerate=degenerate,
        gauge=gauge,
        on_error=on_error,
    )


def eig_jvp(a, eigenvalues, eigenvectors, A_dot, *, degenerate="nan", on_error="raise"):
    """Push a tangent of the general matrix forward to its eigenvalues and eigenvectors.

    Parameters
    ----------
    a : array_like, shape (..., n, n)
    eigenvalues : array_like, shape (..., n)
    eigenvectors : array_like, shape (..., n, n)
        The matrix, and what `eig` returned.
    A_dot : array_like, shape (..., n, n)
        The tangent, of a real matrix a real one. Batch axes broadcast.
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
        For a matrix that is defective to working precision, and for repeated eigenvalues with ``degenerate="raise"``.
    ValueError, TypeError
        For shapes, dtypes and options that do not fit.

    Warns
    -----
    RuntimeWarning
        For a matrix that is nearly defective, as `eig_vjp`.

    Notes
    -----
    With S = V^-1 A_dot V: w_dot = diag(S) and V_dot = V Y - V diag(V^H V Y), Y_ij = S_ij / (w_j - w_i), Y_ii = 0
    [1]_. What counts as repeated and as defective is said at `eig_vjp`, with |A_dot| for |V_bar|.

    References
    ----------
    .. [1] J. H. Wilkinson, The Algebraic Eigenvalue Problem (1965), chapter 2.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> a = np.array([[1.0, 1.0], [0.0, 3.0]])
    >>> w_dot, v_dot = mk.eig_jvp(a, *mk.eig(a), np.eye(2))
    >>> np.round(w_dot, 12)
    array([1.+0.j, 1.+0.j])
    """
    return kernels.eig_jvp(
        a,
        eigenvalues,
        eigenvectors,
        kernels.eig_inverse(eigenvectors),
        A_dot,
        degenerate=degenerate,
        on_error=on_error,
    )


def eigvals(a, *, on_error="raise", out=None):
    """Compute eigenvalues of general matrices.

    Parameters
    ----------
    a : array_like, shape (..., n, n)
    on_error : {"raise", "nan"}, optional
        For a matrix whose eigenvalues do not converge: raise, or make them NaN.
    out : ndarray, shape (..., n), optional
        Where to put the result.

    Returns
    -------
    ndarray, shape (..., n)
        In no order, of large matrices not even that of `eig`; always complex, in the precision of `a` (complex128 for
        integers).

    Raises
    ------
    numpy.linalg.LinAlgError, ValueError, TypeError
        As `eig`.

    See Also
    --------
    eigvals_vjp, eigvals_jvp : its derivatives, which need the eigenvectors: `vjp` and `jvp` keep them.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.eigvals(np.array([[1.0, 1.0], [0.0, 3.0]]))
    array([1.+0.j, 3.+0.j])
    """
    return kernels.eig(a, wanted=("eigenvalues",), on_error=on_error, out=out)


def eigvals_vjp(a, eigenvalues, eigenvectors, eigenvalues_bar, *, on_error="raise"):
    """Pull a cotangent of the eigenvalues back to the general matrix.

    Parameters
    ----------
    a : array_like, shape (..., n, n)
        The matrix: of a real one the gradient is real.
    eigenvalues : array_like, shape (..., n)
    eigenvectors : array_like, shape (..., n, n)
        What `eig` returned.
    eigenvalues_bar : array_like, shape (..., n)
        Cotangent of the eigenvalues. Batch axes broadcast.
    on_error : {"raise", "nan"}, optional
        Instead of raising, make the gradient of the matrix in question NaN.

    Returns
    -------
    ndarray, shape (..., n, n)
        A_bar, in the dtype of `a`; finite for repeated eigenvalues, too, as long as the eigenvectors are independent.

    Raises
    ------
    numpy.linalg.LinAlgError
        For a matrix that is defective to working precision.
    ValueError, TypeError
        For shapes, dtypes and options that do not fit.

    Warns
    -----
    RuntimeWarning
        For a matrix that is nearly defective, as `eig_vjp`.

    Notes
    -----
    A_bar = V^-H diag(w_bar) V^H, of a real A the real part [1]_, section 4.2.

    References
    ----------
    .. [1] C. Boeddeker, P. Hanebrink, L. Drude, J. Heymann and R. Haeb-Umbach, On the computation of complex-valued
       gradients with application to statistically optimum beamforming, arXiv:1701.00392 (2017).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> a = np.array([[0.0, 1.0], [-4.0, 0.0]])                  # eigenvalues 2i and -2i
    >>> np.round(mk.eigvals_vjp(a, *mk.eig(a), np.array([1.0j, 0.0])), 12) + 0.0
    array([[ 0.  ,  1.  ],
           [-0.25,  0.  ]])
    """
    return kernels.eig_vjp(
        a, eigenvalues, eigenvectors, kernels.eig_inverse(eigenvectors), eigenvalues_bar, None, on_error=on_error
    )


def eigvals_jvp(a, eigenvalues, eigenvectors, A_dot, *, on_error="raise"):
    """Push a tangent of the general matrix forward to its eigenvalues.

    Parameters
    ----------
    a : array_like, shape (..., n, n)
    eigenvalues : array_like, shape (..., n)
    eigenvectors : array_like, shape (..., n, n)
        The matrix, and what `eig` returned.
    A_dot : array_like, shape (..., n, n)
        The tangent, of a real matrix a real one. Batch axes broadcast.
    on_error : {"raise", "nan"}, optional
        Instead of raising, make the tangent of the matrix in question NaN.

    Returns
    -------
    ndarray, shape (..., n)
        w_dot.

    Raises
    ------
    numpy.linalg.LinAlgError
        For a matrix that is defective to working precision.
    ValueError, TypeError
        For shapes, dtypes and options that do not fit.

    Warns
    -----
    RuntimeWarning
        For a matrix that is nearly defective, as `eig_vjp`.

    Notes
    -----
    w_dot = diag(V^-1 A_dot V) [1]_.

    References
    ----------
    .. [1] J. H. Wilkinson, The Algebraic Eigenvalue Problem (1965), chapter 2.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> a = np.diag([1.0, 2.0])
    >>> mk.eigvals_jvp(a, *mk.eig(a), np.diag([3.0, 4.0]))
    array([3.+0.j, 4.+0.j])
    """
    return kernels.eig_jvp(
        a,
        eigenvalues,
        eigenvectors,
        kernels.eig_inverse(eigenvectors),
        A_dot,
        wanted=("eigenvalues_dot",),
        on_error=on_error,
    )


def _quotients(xp, w, v):
    """1 / (w_j - w_i) off the diagonal, zero on it."""
    eye = eye_of(xp, v)
    return 1 / (w[..., None, :] - w[..., :, None] + eye) - eye


def _diagonal(xp, x):
    return xp.sum(x * eye_of(xp, x), axis=-1)


def vjp_formula(xp, a, eigenvalues, eigenvectors, eigenvalues_bar, eigenvectors_bar):
    v, vh = eigenvectors, adjoint(xp, eigenvectors)
    m = matmul(xp, vh, eigenvectors_bar)
    m = m - matmul(xp, vh, v) * _diagonal(xp, m)[..., None, :]
    x = xp.conj(_quotients(xp, eigenvalues, v)) * m + eye_of(xp, v) * eigenvalues_bar[..., None, :]
    return (in_kind_of(xp, a, xp.linalg.solve(vh, matmul(xp, x, vh))),)


def jvp_formula(xp, a, eigenvalues, eigenvectors, a_dot):
    v = eigenvectors
    s = xp.linalg.solve(v, matmul(xp, a_dot, v))
    y = _quotients(xp, eigenvalues, v) * s
    return _diagonal(xp, s), matmul(xp, v, y - eye_of(xp, v) * matmul(xp, adjoint(xp, v), v, y))


def eigvals_vjp_formula(xp, a, eigenvalues_bar):
    vh = adjoint(xp, xp.linalg.eig(a)[1])
    return (in_kind_of(xp, a, xp.linalg.solve(vh, eigenvalues_bar[..., :, None] * vh)),)


def eigvals_jvp_formula(xp, a, a_dot):
    _, v = xp.linalg.eig(a)
    return (_diagonal(xp, xp.linalg.solve(v, matmul(xp, a_dot, v))),)


Op(
    name="eig",
    function=eig,
    forward=kernels.eig,
    pullback=kernels.eig_vjp,
    pushforward=kernels.eig_jvp,
    vjp_formula=vjp_formula,
    jvp_formula=jvp_formula,
    outputs=("eigenvalues", "eigenvectors"),
    result=EigResult,
    holomorphic=lambda name, options: False,
)
Op(
    name="eigvals",
    function=eigvals,
    forward=kernels.eig,
    pullback=kernels.eig_vjp,
    pushforward=kernels.eig_jvp,
    vjp_formula=eigvals_vjp_formula,
    jvp_formula=eigvals_jvp_formula,
    outputs=("eigenvalues",),
)
