"""The exponential of a matrix."""

from functools import partial

import numpy as np

from ..jacobians import jacobian, memory
from ..kernels import expm as kernels
from ..op import Op
from .algebra import adjoint, eye_of, gradient_of_hermitian, matmul, tangent_of_hermitian

__all__ = ["expm", "expm_jacobian", "expm_jvp", "expm_vjp"]


def expm(a, *, assume_a="gen", on_error="raise", out=None):
    """Compute the exponential of square matrices.

    Parameters
    ----------
    a : array_like, shape (..., n, n)
        The matrices; for ``assume_a="her"`` only the lower triangle is read, of the diagonal the real part.
    assume_a : {"gen", "her"}, optional
        Any matrix (by scaling and squaring), or a Hermitian one (by its eigenvalues).
    on_error : {"raise", "nan"}, optional
        For a Hermitian matrix whose eigenvalues do not converge: raise, or make its exponential NaN.
    out : ndarray, optional
        Where to put the result.

    Returns
    -------
    ndarray, shape (..., n, n)
        exp(A), in the dtype of `a` (float64 for integers); Hermitian for ``assume_a="her"``. A matrix with NaN or
        infinities gives NaN; one whose exponential overflows gives infinities or NaN.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the eigenvalues of a Hermitian matrix do not converge.
    ValueError, TypeError
        For shapes, dtypes and options that do not fit, and for Hermitian matrices so large (n > 26752) that LAPACK's
        integers cannot hold the size of its workspace.

    See Also
    --------
    expm_vjp, expm_jvp : its derivatives. expm_jacobian : the derivative as a matrix.

    Notes
    -----
    Pade approximants of degree 3, 5, 7, 9 or 13 (at most 7 in single precision; of a batch of small matrices always the
    highest) of (A - mu I) / 2^s, with mu the mean of the diagonal [1]_, algorithm 2.3; fewer squarings where the powers
    of A are small beside those of its norm [2]_.

    References
    ----------
    .. [1] N. J. Higham, The scaling and squaring method for the matrix exponential revisited, SIAM J. Matrix Anal.
       Appl. 26 (2005).
    .. [2] A. H. Al-Mohy and N. J. Higham, A new scaling and squaring algorithm for the matrix exponential, SIAM J.
       Matrix Anal. Appl. 31 (2009).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> np.round(mk.expm(np.array([[0.0, -np.pi], [np.pi, 0.0]])), 12) + 0.0     # half a turn
    array([[-1.,  0.],
           [ 0., -1.]])
    """
    return OP.variant({"assume_a": assume_a})[0].forward(a, wanted=("x",), on_error=on_error, out=out)


def expm_vjp(a, x_bar, *, assume_a="gen"):
    """Pull a cotangent of the exponential back to the matrix.

    It computes the exponential again, with what its derivative needs; `vjp` keeps that of the forward pass.

    Parameters
    ----------
    a : array_like, shape (..., n, n)
        The matrix.
    x_bar : array_like, shape (..., n, n)
        Cotangent of its exponential. Batch axes broadcast.
    assume_a : {"gen", "her"}, optional
        As for `expm`.

    Returns
    -------
    ndarray, shape (..., n, n)
        A_bar, in the dtype of `a`; Hermitian for ``assume_a="her"``.

    Raises
    ------
    numpy.linalg.LinAlgError
        As `expm` does.
    ValueError, TypeError
        For shapes, dtypes and options that do not fit.

    Notes
    -----
    A_bar = L(A^H, X_bar), L(A, E) the Frechet derivative of the exponential at A along E, by differentiating each step
    of the scaling and squaring [1]_, algorithm 6.4. For a Hermitian A = Q diag(w) Q^H it is Q (F o Q^H G Q) Q^H, with
    G the Hermitian part of X_bar and F_ij = (e^w_i - e^w_j) / (w_i - w_j), e^w_i where they are equal [2]_, theorem
    3.11; F is computed to rounding also where they nearly are.

    References
    ----------
    .. [1] A. H. Al-Mohy and N. J. Higham, Computing the Frechet derivative of the matrix exponential, with an
       application to condition number estimation, SIAM J. Matrix Anal. Appl. 30 (2009).
    .. [2] N. J. Higham, Functions of Matrices: Theory and Computation (2008).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.expm_vjp(np.zeros((2, 2)), np.array([[1.0, 2.0], [3.0, 4.0]]))        # at zero exp is I + A
    array([[1., 2.],
           [3., 4.]])
    """
    record = OP.variant({"assume_a": assume_a})[0]
    return record.run_pullback(record.run_forward([a], {}), {"x": x_bar}, {})[0]


def expm_jvp(a, a_dot, *, assume_a="gen"):
    """Push a tangent of the matrix forward to its exponential.

    It computes the exponential again, with what its derivative needs; `jvp` returns both.

    Parameters
    ----------
    a : array_like, shape (..., n, n)
        The matrix.
    a_dot : array_like, shape (..., n, n)
        Its tangent, of which ``assume_a="her"`` takes the Hermitian part. Batch axes broadcast.
    assume_a : {"gen", "her"}, optional
        As for `expm`.

    Returns
    -------
    ndarray, shape (..., n, n)
        X_dot.

    Raises
    ------
    numpy.linalg.LinAlgError
        As `expm` does.
    ValueError, TypeError
        For shapes, dtypes and options that do not fit.

    Notes
    -----
    X_dot = L(A, A_dot), the Frechet derivative [1]_, algorithm 6.4; see `expm_vjp`.

    References
    ----------
    .. [1] A. H. Al-Mohy and N. J. Higham, Computing the Frechet derivative of the matrix exponential, with an
       application to condition number estimation, SIAM J. Matrix Anal. Appl. 30 (2009).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.expm_jvp(np.zeros((2, 2)), np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([[1., 2.],
           [3., 4.]])
    """
    record = OP.variant({"assume_a": assume_a})[0]
    return record.run_pushforward(record.run_forward([a], {}), {"a": a_dot}, {})[0]


def expm_jacobian(a, *, method="frechet"):
    """Compute the Jacobian of the exponential as a matrix, d vec(exp(A)) / d vec(A).

    Parameters
    ----------
    a : array_like, shape (..., n, n)
        The matrices.
    method : {"frechet", "najfeld-havel"}, optional
        A Frechet derivative along each entry, all with one matrix's powers and factorisation; or a formula with a
        function of an n^2 x n^2 matrix, in plain NumPy: to compare with.

    Returns
    -------
    ndarray, shape (..., n**2, n**2)
        The Jacobian, with vec stacking columns: the entry at row i + j n and column k + l n is d exp(A)_ij / d A_kl. In
        the dtype of `a` (float64 for integers).

    Raises
    ------
    MemoryError
        If the Jacobians take more memory than the machine has.
    ValueError, TypeError
        For shapes, dtypes and methods that do not fit.

    See Also
    --------
    jacobian : ``jacobian("expm", a)`` has the same numbers at [..., i, j, k, l].

    Notes
    -----
    "frechet": column k + l n is vec(L(A, E_kl)), E_kl with a single one at row k, column l [1]_, algorithm 6.4. Some
    n^5 operations.

    "najfeld-havel": (I kron exp(A)) phi(ad), with phi(x) = (1 - exp(-x)) / x and ad = I kron A - A^T kron I, the matrix
    of X -> A X - X A [2]_. ad has the eigenvalues w_i - w_j, among them n zeros, so it is singular for every A: phi is
    entire, with phi(0) = 1, but cannot be computed as that quotient. It comes from its Taylor series at ad / 2^s, of
    norm at most 1, and from phi(2x) = phi(x) (1 + exp(-x)) / 2, with exp(-x) = 1 - x phi(x), neither of which divides
    or cancels at zero. Some n^6 operations; digits are lost where exp(-ad) is large, for eigenvalues far apart.

    References
    ----------
    .. [1] A. H. Al-Mohy and N. J. Higham, Computing the Frechet derivative of the matrix exponential, with an
       application to condition number estimation, SIAM J. Matrix Anal. Appl. 30 (2009).
    .. [2] I. Najfeld and T. F. Havel, Derivatives of the matrix exponential and their computation, Adv. Appl. Math. 16
       (1995).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.expm_jacobian(np.zeros((2, 2))).shape
    (4, 4)
    >>> A = np.array([[1.0, 2.0], [0.0, 1.0]])          # defective
    >>> np.allclose(mk.expm_jacobian(A), mk.expm_jacobian(A, method="najfeld-havel"))
    True
    """
    if method not in ("frechet", "najfeld-havel"):
        raise ValueError(f"expm_jacobian: method must be 'frechet' or 'najfeld-havel', got {method!r}")
    a = np.asarray(a)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"expm_jacobian: a must be square in its last two axes, got shape {a.shape}")
    n = a.shape[-1]
    dtype = a.dtype if a.dtype.kind in "fc" else np.dtype(np.float64)
    size = a.size * n * n * dtype.itemsize
    if size > memory():
        raise MemoryError(
            f"expm_jacobian: the Jacobian of shape {(*a.shape[:-2], n * n, n * n)} takes {size / 2**30:,.1f} GiB, and "
            f"there are {memory() / 2**30:,.1f} GiB of memory; take vjp or jvp"
        )
    if method == "najfeld-havel":
        return _najfeld_havel(a.astype(dtype))
    blocks = np.moveaxis(jacobian("expm", a), (-4, -3, -2, -1), (-3, -4, -1, -2))
    return blocks.reshape(*a.shape[:-2], n * n, n * n)


def _kron(a, b):
    """Kronecker products of stacked square matrices of one size."""
    n = a.shape[-1]
    blocks = a[..., :, None, :, None] * b[..., None, :, None, :]
    return blocks.reshape(*blocks.shape[:-4], n * n, n * n)


def _najfeld_havel(a):
    eye = np.eye(a.shape[-1], dtype=a.dtype)
    result = _kron(eye, a) - _kron(a.swapaxes(-1, -2), eye)
    exponential = expm(a)
    with np.errstate(over="ignore", invalid="ignore"):
        for i in np.ndindex(a.shape[:-2]):
            result[i] = _kron(eye, exponential[i]) @ _phi(result[i])
    return result


def _phi(x):
    """(1 - exp(-x)) / x of a square matrix."""
    norm = np.abs(x).sum(0).max(initial=0)
    squarings = max(0, int(np.frexp(norm)[1])) if np.isfinite(norm) else 0
    x = np.ldexp(1.0, -squarings).astype(x.dtype) * x
    eye = np.eye(len(x), dtype=x.dtype)
    phi = eye  # by Horner's rule: 1 - x/2 (1 - x/3 (1 - ...)), without terms from about 1/20! on
    for k in range(19, 1, -1):
        phi = eye - x @ phi / k
    exponential = eye - x @ phi
    for _ in range(squarings):
        phi = (phi + phi @ exponential) / 2
        exponential = exponential @ exponential
    return phi


def _hermitian(xp, a):
    """The whole matrix, of which only the lower triangle is read though the gradient is Hermitian, as a factor's is."""
    lower = xp.tril(a)
    shift = 2 * xp.sqrt(1 + xp.sum(lower * xp.conj(lower), axis=(-2, -1), keepdims=True)) * eye_of(xp, a)
    factor = xp.linalg.cholesky(a + shift)
    return matmul(xp, factor, adjoint(xp, factor)) - shift


def _frechet(xp, a, e):
    """L(A, E): the block above the diagonal of the exponential of [[A, E], [0, A]]."""
    n = a.shape[-1]
    halves = xp.eye(2 * n, dtype=a.dtype)
    first, second = halves[:, :n], halves[:, n:]
    block = sum(
        matmul(xp, left, x, xp.swapaxes(right, -1, -2))
        for left, x, right in ((first, a, first), (first, e, second), (second, a, second))
    )
    return matmul(xp, xp.swapaxes(first, -1, -2), xp.linalg.expm(block), second)


def vjp_formula(xp, a, x_bar):
    return (adjoint(xp, _frechet(xp, a, adjoint(xp, x_bar))),)


def jvp_formula(xp, a, a_dot):
    return (_frechet(xp, a, a_dot),)


def hermitian_vjp_formula(xp, a, x_bar):
    return (_frechet(xp, _hermitian(xp, a), gradient_of_hermitian(xp, x_bar, None)),)


def hermitian_jvp_formula(xp, a, a_dot):
    return (_frechet(xp, _hermitian(xp, a), tangent_of_hermitian(xp, a_dot, None)),)


OP = Op(
    name="expm",
    function=expm,
    forward=kernels.expm,
    pullback=kernels.expm_vjp,
    pushforward=kernels.expm_jvp,
    vjp_formula=vjp_formula,
    jvp_formula=jvp_formula,
    outputs=("x",),
    default_variant={"assume_a": "gen"},
)
Op(
    name="expm_hermitian",
    function=partial(expm, assume_a="her"),
    forward=kernels.expm_hermitian,
    pullback=kernels.expm_hermitian_vjp,
    pushforward=kernels.expm_hermitian_jvp,
    vjp_formula=hermitian_vjp_formula,
    jvp_formula=hermitian_jvp_formula,
    outputs=("x",),
    holomorphic=lambda name, options: False,
    public=False,
    variant_of=("expm", "assume_a", "her"),
)
