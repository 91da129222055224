# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Linear systems op(A) X = B, op one of A, A^T, A^H, through A = P L U or, for positive definite A, A = L L^H.

    X_dot = op(A)^-1 (B_dot - op(A_dot) X)
    B_bar = op(A)^-H X_bar
    A_bar = -B_bar X^H for A,  -conj(X B_bar^H) for A^T,  -X B_bar^H for A^H

M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic differentiation,
Advances in Automatic Differentiation (2008), section 2.3.1. A positive definite A is Hermitian and read from
its lower triangle: A_bar is the Hermitian part, and A_dot counts by its Hermitian part.

The factor is kept for the derivatives. For a positive definite A it is L, and the row interchanges are none.
"""

from numpy.linalg import LinAlgError

from blas cimport c, d, gemm, s, scalar, trsm, use_level3, z
from dense cimport conjugate, copy, copy_triangle, fill, has_nan, hermitian_lower, mirror, outer, zero_on_diagonal
from gufunc cimport NONFINITE, dtypes
from lapack cimport potrf
from pivoted cimport check_factor, factor, solve_factored

from matkern.kernels.gufunc import Kernel, level3

use_level3(level3)

cdef enum:                  # the options, in their order
    TRANS
    ASSUME

cdef enum:                  # values of TRANS
    N
    T
    C

cdef enum:                  # values of ASSUME
    GEN
    POS

cdef enum:
    SINGULAR = 1
    NOT_POSITIVE
    BAD_PIVOTS

cdef char* TRANS_CHAR = b"NTC"
cdef char* ADJOINT_CHAR = b"CRN"            # op(A)^H as a function of A; R is the conjugate


cdef void solve_one(int assume, char trans, Py_ssize_t n, Py_ssize_t k, scalar *lu, int *piv,
                    scalar *b) noexcept nogil:
    """B := op(A)^-1 B."""
    if assume == GEN:
        solve_factored(trans, n, k, lu, piv, b)
        return
    if trans == c'T' or trans == c'R':                      # A^T = conj A for Hermitian A
        conjugate(n * k, b)
    trsm(c'L', c'L', c'N', c'N', n, k, 1, lu, n, b, k)
    trsm(c'L', c'L', c'C', c'N', n, k, 1, lu, n, b, k)
    if trans == c'T' or trans == c'R':
        conjugate(n * k, b)


cdef int forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *a = x[0]
    cdef scalar *lu = x[3]
    cdef int *piv = <int*> x[4]
    cdef Py_ssize_t i
    if lu is NULL:
        lu = work + n[0] * n[0]
    if piv is NULL:
        piv = <int*> (work + 2 * n[0] * n[0])
    if option[ASSUME] == POS:
        copy_triangle(c'L', False, n[0], a, lu)
        if potrf(c'L', n[0], lu, n[0]) > 0:
            return NONFINITE if has_nan(c'L', n[0], n[0], a) else NOT_POSITIVE
        for i in range(n[0]):
            piv[i] = <int> i
    else:
        factor(n[0], n[0], a, lu, piv, work)
        if zero_on_diagonal(n[0], n[0], lu):
            return NONFINITE if has_nan(c'A', n[0], n[0], a) else SINGULAR
    copy(n[0] * n[1], x[1], x[2])
    solve_one(option[ASSUME], TRANS_CHAR[option[TRANS]], n[0], n[1], lu, piv, x[2])
    return 0


cdef int vjp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *lu = x[0]
    cdef int *piv = <int*> x[1]
    cdef scalar *solution = x[2]
    cdef scalar *a_bar = x[4]
    cdef scalar *b_bar = x[5]
    cdef Py_ssize_t size = n[0] * n[1]
    cdef int code = check_factor(n[0], lu, piv, SINGULAR, BAD_PIVOTS)
    if code:
        return code
    if b_bar is NULL:
        b_bar = work
    copy(size, x[3], b_bar)
    solve_one(option[ASSUME], ADJOINT_CHAR[option[TRANS]], n[0], n[1], lu, piv, b_bar)
    if a_bar is NULL:
        return 0
    if option[TRANS] != N:
        solution, b_bar = b_bar, solution
    if n[1] == 1:
        outer(n[0], b_bar, solution, a_bar)
    else:
        gemm(c'N', c'C', n[0], n[0], n[1], -1, b_bar, n[1], solution, n[1], 0, a_bar, n[0])
    if option[TRANS] == T:
        conjugate(n[0] * n[0], a_bar)
    if option[ASSUME] == POS:
        copy(n[0] * n[0], a_bar, work + size)
        hermitian_lower(0, n[0], work + size, a_bar)
        mirror(n[0], a_bar)
    return 0


cdef int jvp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *lu = x[0]
    cdef int *piv = <int*> x[1]
    cdef scalar *a_dot = x[3]
    cdef scalar *x_dot = x[5]
    cdef int code = check_factor(n[0], lu, piv, SINGULAR, BAD_PIVOTS)
    if code:
        return code
    if x[4] is NULL:
        fill(n[0] * n[1], 0, x_dot)
    else:
        copy(n[0] * n[1], x[4], x_dot)
    if a_dot is not NULL:
        if option[ASSUME] == POS:
            hermitian_lower(0, n[0], a_dot, work)
            mirror(n[0], work)
            a_dot = work
        gemm(TRANS_CHAR[option[TRANS]], c'N', n[0], n[1], n[0], -1, a_dot, n[0], x[2], n[1], 1, x_dot, n[1])
    solve_one(option[ASSUME], TRANS_CHAR[option[TRANS]], n[0], n[1], lu, piv, x_dot)
    return 0


cdef Py_ssize_t forward_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return 2 * n[0] * n[0] + n[0]


cdef Py_ssize_t vjp_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return n[0] * n[1] + (n[0] * n[0] if option[ASSUME] == POS else 0)


cdef Py_ssize_t jvp_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return n[0] * n[0] if option[ASSUME] == POS else 0


OPTIONS = {"trans": ("N", "T", "C"), "assume_a": ("gen", "pos")}
FAILURES = {
    SINGULAR: (LinAlgError, "is singular"),
    NOT_POSITIVE: (LinAlgError, "is not positive definite"),
    BAD_PIVOTS: (ValueError, "has row interchanges that are not those of a factorisation"),
}

solve = Kernel(
    "solve", "a(n,n), b(n,k?) -> x(n,k?), lu(n,n), piv:int(n)",
    dtypes(forward[s], forward[d], forward[c], forward[z]), <size_t> forward_workspace, OPTIONS, FAILURES,
    optional=("lu", "piv"))
solve_vjp = Kernel(
    "solve_vjp", "lu(n,n), piv:int(n), x(n,k?), x_bar(n,k?) -> a_bar(n,n), b_bar(n,k?)",
    dtypes(vjp[s], vjp[d], vjp[c], vjp[z]), <size_t> vjp_workspace, OPTIONS, FAILURES,
    optional=("a_bar", "b_bar"))
solve_jvp = Kernel(
    "solve_jvp", "lu(n,n), piv:int(n), x(n,k?), a_dot(n,n), b_dot(n,k?) -> x_dot(n,k?)",
    dtypes(jvp[s], jvp[d], jvp[c], jvp[z]), <size_t> jvp_workspace, OPTIONS, FAILURES)

for kernel in (solve, solve_vjp, solve_jvp):
    globals().update(kernel.gufuncs())
