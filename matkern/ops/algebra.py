"""Pieces that the plain formulas share, in any namespace `xp` with NumPy's names."""


def adjoint(xp, x):
    """The conjugate transpose."""
    return xp.conj(xp.swapaxes(x, -1, -2))


def op_of(xp, a, trans):
    """A, its transpose, or its conjugate transpose."""
    if trans == "N":
        return a
    return xp.swapaxes(a, -1, -2) if trans == "T" else adjoint(xp, a)


def matmul(xp, first, *rest):
    """The product of several matrices, from the left."""
    for x in rest:
        first = xp.matmul(first, x)
    return first


def solve_right(xp, a, b):
    """B A^-1."""
    return xp.swapaxes(xp.linalg.solve(xp.swapaxes(a, -1, -2), xp.swapaxes(b, -1, -2)), -1, -2)


def eye_of(xp, x):
    """The identity in the size of the matrices x."""
    return xp.eye(x.shape[-1], dtype=x.dtype)


def in_kind_of(xp, a, x):
    """x, or where `a` is real its real part."""
    return xp.real(x) if xp.real(a).dtype == a.dtype else x


def phi(xp, x):
    """The lower triangle with its diagonal halved."""
    return xp.tril(x) - eye_of(xp, x) * x / 2


def gradient_of_hermitian(xp, g, triangle):
    """A gradient of a Hermitian matrix: its Hermitian part, or with respect to the entries of a triangle."""
    g = (g + adjoint(xp, g)) / 2
    if triangle is None:
        return g
    return (xp.tril(2 * g) if triangle == "L" else xp.triu(2 * g)) - eye_of(xp, g) * g


def tangent_of_hermitian(xp, t, triangle):
    """A tangent of a Hermitian matrix from any square one: its Hermitian part, or from the entries of a triangle."""
    if triangle is not None:
        part = xp.tril(t) if triangle == "L" else xp.triu(t)
        t = 2 * part - eye_of(xp, t) * part
    return (t + adjoint(xp, t)) / 2


def permutation(xp, perm, dtype):
    """The matrix P^T, which moves row perm[..., i] to row i."""
    one, zero = xp.ones((), dtype=dtype), xp.zeros((), dtype=dtype)
    return xp.where(perm[..., :, None] == xp.arange(perm.shape[-1]), one, zero)
