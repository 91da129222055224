# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The inverse X = A^-1, whose derivatives need X alone.

    X_dot = -X A_dot X
    A_bar = -X^H X_bar X^H

M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic differentiation,
Advances in Automatic Differentiation (2008), section 2.2.3.
"""

from numpy.linalg import LinAlgError

from blas cimport c, d, gemm, s, scalar, transpose, use_level3, z
from dense cimport copy, has_nan, permute_rows, zero_on_diagonal
from gufunc cimport NONFINITE, dtypes
from pivoted cimport factor, invert_factored

from matkern.kernels.gufunc import Kernel, level3

use_level3(level3)

cdef enum:
    SINGULAR = 1


cdef int forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t square = n[0] * n[0]
    cdef scalar *lu = work
    cdef scalar *inverse = x[1]
    cdef int *piv = <int*> (lu + square)
    factor(n[0], n[0], x[0], lu, piv, inverse)
    if zero_on_diagonal(n[0], n[0], lu):
        return NONFINITE if has_nan(c'A', n[0], n[0], <scalar*> x[0]) else SINGULAR
    if has_nan(c'A', n[0], n[0], lu):
        return NONFINITE
    # A^-H = P (U^-1 L^-1)^H
    invert_factored(n[0], False, 1, lu, inverse)
    permute_rows(n[0], n[0], piv, True, inverse, n[0])
    transpose(True, n[0], n[0], inverse, n[0], lu, n[0])
    copy(square, lu, inverse)
    return 0


cdef void sandwich(char trans, Py_ssize_t n, scalar *a, scalar *b, scalar *out, scalar *work) noexcept nogil:
    """out := -op(A) B op(A)."""
    gemm(trans, c'N', n, n, n, 1, a, n, b, n, 0, work, n)
    gemm(c'N', trans, n, n, n, -1, work, n, a, n, 0, out, n)


cdef int vjp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    sandwich(c'C', n[0], <scalar*> x[0], <scalar*> x[1], <scalar*> x[2], work)
    return 0


cdef int jvp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    sandwich(c'N', n[0], <scalar*> x[0], <scalar*> x[1], <scalar*> x[2], work)
    return 0


cdef Py_ssize_t forward_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return n[0] * n[0] + n[0]


cdef Py_ssize_t derivative_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return n[0] * n[0]


inv = Kernel(
    "inv", "a(n,n) -> x(n,n)", dtypes(forward[s], forward[d], forward[c], forward[z]), <size_t> forward_workspace,
    failures={SINGULAR: (LinAlgError, "is singular")})
inv_vjp = Kernel(
    "inv_vjp", "x(n,n), x_bar(n,n) -> a_bar(n,n)", dtypes(vjp[s], vjp[d], vjp[c], vjp[z]),
    <size_t> derivative_workspace)
inv_jvp = Kernel(
    "inv_jvp", "x(n,n), a_dot(n,n) -> x_dot(n,n)", dtypes(jvp[s], jvp[d], jvp[c], jvp[z]),
    <size_t> derivative_workspace)

for kernel in (inv, inv_vjp, inv_jvp):
    globals().update(kernel.gufuncs())
