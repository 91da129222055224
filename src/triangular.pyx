# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Triangular systems: op(A) X = B, op one of A, A^T, A^H.

    X_dot = op(A)^-1 (B_dot - op(A_dot) X)
    B_bar = op(A)^-H X_bar
    A_bar = -B_bar X^H for A,  -conj(X B_bar^H) for A^T,  -X B_bar^H for A^H, its triangle

M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic differentiation,
Advances in Automatic Differentiation (2008), section 2.3.1; a triangle of A is read, so a triangle of A_bar
is what counts, and a unit diagonal is constant.
"""

from numpy.linalg import LinAlgError

from blas cimport c, d, gemmt, s, scalar, trmm, trmm_strict, trsm, use_level3, z
from dense cimport conjugate, copy, fill, has_nan, outer_triangle, zero_on_diagonal
from gufunc cimport NONFINITE, dtypes

from matkern.kernels.gufunc import Kernel, level3

use_level3(level3)

cdef enum:                  # the options, in their order
    LOWER
    TRANS
    UNIT

cdef enum:                  # values of TRANS
    N
    T
    C

cdef enum:
    SINGULAR = 1

cdef char* TRANS_CHAR = b"NTC"


cdef int forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef char uplo = c'L' if option[LOWER] else c'U'
    if not option[UNIT] and zero_on_diagonal(n[0], n[0], x[0]):
        return NONFINITE if has_nan(uplo, n[0], n[0], x[0]) else SINGULAR
    copy(n[0] * n[1], x[1], x[2])
    trsm(c'L', uplo, TRANS_CHAR[option[TRANS]], c'U' if option[UNIT] else c'N', n[0], n[1], 1, x[0], n[0],
         x[2], n[1])
    return 0


cdef int vjp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *a = x[0]
    cdef scalar *solution = x[1]
    cdef scalar *a_bar = x[3]
    cdef scalar *b_bar = x[4]
    cdef char uplo = c'L' if option[LOWER] else c'U'
    if not option[UNIT] and zero_on_diagonal(n[0], n[0], a):
        return NONFINITE if has_nan(uplo, n[0], n[0], a) else SINGULAR
    if b_bar is NULL:
        b_bar = work
    copy(n[0] * n[1], x[2], b_bar)
    if option[TRANS] == T:                                  # conj(A)^-1 g = conj(A^-1 conj(g))
        conjugate(n[0] * n[1], b_bar)
    trsm(c'L', uplo, c'C' if option[TRANS] == N else c'N', c'U' if option[UNIT] else c'N',
         n[0], n[1], 1, a, n[0], b_bar, n[1])
    if option[TRANS] == T:
        conjugate(n[0] * n[1], b_bar)
    if a_bar is NULL:
        return 0
    fill(n[0] * n[0], 0, a_bar)
    if option[TRANS] != N:
        solution, b_bar = b_bar, solution
    if n[1] == 1:
        outer_triangle(uplo, option[UNIT], n[0], b_bar, solution, a_bar)
    else:
        gemmt(uplo, option[UNIT], c'N', c'C', n[0], n[1], -1, b_bar, n[1], solution, n[1], 1, a_bar, n[0])
    if option[TRANS] == T:
        conjugate(n[0] * n[0], a_bar)
    return 0


cdef int jvp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *solution = x[1]
    cdef scalar *b_dot = x[3]
    cdef scalar *x_dot = x[4]
    cdef char uplo = c'L' if option[LOWER] else c'U', trans = TRANS_CHAR[option[TRANS]]
    cdef char diag = c'U' if option[UNIT] else c'N'
    cdef Py_ssize_t i, size = n[0] * n[1]
    if not option[UNIT] and zero_on_diagonal(n[0], n[0], x[0]):
        return NONFINITE if has_nan(uplo, n[0], n[0], x[0]) else SINGULAR
    if x[2] is NULL:
        fill(size, 0, x_dot)
    else:
        copy(size, solution, x_dot)
        if option[UNIT]:
            trmm_strict(uplo, trans, n[0], n[1], -1, <scalar*> x[2], n[0], x_dot, n[1])
        else:
            trmm(c'L', uplo, trans, c'N', n[0], n[1], -1, <scalar*> x[2], n[0], x_dot, n[1])
    if b_dot is not NULL:
        for i in range(size):
            x_dot[i] = x_dot[i] + b_dot[i]
    trsm(c'L', uplo, trans, diag, n[0], n[1], 1, x[0], n[0], x_dot, n[1])
    return 0


cdef Py_ssize_t vjp_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return n[0] * n[1]


FAILURES = {SINGULAR: (LinAlgError, "is singular: it has a zero on its diagonal")}
OPTIONS = {"lower": (False, True), "trans": ("N", "T", "C"), "unit_diagonal": (False, True)}

solve_triangular = Kernel(
    "solve_triangular", "a(n,n), b(n,k?) -> x(n,k?)",
    dtypes(forward[s], forward[d], forward[c], forward[z]),
    options=OPTIONS, failures=FAILURES)
solve_triangular_vjp = Kernel(
    "solve_triangular_vjp", "a(n,n), x(n,k?), x_bar(n,k?) -> a_bar(n,n), b_bar(n,k?)",
    dtypes(vjp[s], vjp[d], vjp[c], vjp[z]),
    <size_t> vjp_workspace, OPTIONS, FAILURES, optional=("a_bar", "b_bar"))
solve_triangular_jvp = Kernel(
    "solve_triangular_jvp", "a(n,n), x(n,k?), a_dot(n,n), b_dot(n,k?) -> x_dot(n,k?)",
    dtypes(jvp[s], jvp[d], jvp[c], jvp[z]), options=OPTIONS, failures=FAILURES)

for kernel in (solve_triangular, solve_triangular_vjp, solve_triangular_jvp):
    globals().update(kernel.gufuncs())
