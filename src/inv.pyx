# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The inverse X = A^-1, whose derivatives need X alone.

    X_dot = -X A_dot X
    A_bar = -X^H X_bar X^H

M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic differentiation,
Advances in Automatic Differentiation (2008), section 2.2.3.
"""

from numpy.linalg import LinAlgError

from blas cimport c, d, gemm, s, scalar, use_level3, z
from dense cimport copy, has_nan
from gufunc cimport NONFINITE, dtypes
from lapack cimport getrf_columns, getri_columns

from matkern.kernels.gufunc import Kernel, level3

use_level3(level3)

cdef enum:
    SINGULAR = 1


cdef int forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t square = n[0] * n[0]
    cdef int *piv = <int*> (work + square)
    copy(square, x[0], x[1])
    # by columns this is A^T, and the inverse of that is X by rows again
    if getrf_columns(n[0], n[0], x[1], piv) > 0:
        return NONFINITE if has_nan(c'A', n[0], n[0], <scalar*> x[0]) else SINGULAR
    if has_nan(c'A', n[0], n[0], <scalar*> x[1]):           # pivots may be out of bounds
        return NONFINITE
    getri_columns(n[0], x[1], piv, work)
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
