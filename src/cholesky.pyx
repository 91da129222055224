# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Cholesky: A = L L^H with L lower triangular, or A = U^H U with U = L^H.

With Phi(X) the lower triangle of X with its diagonal halved:

    L_dot = L Phi(L^-1 A_dot L^-H)
    A_bar = L^-H Phi(L^H L_bar) L^-1, the Hermitian part of it

I. Murray, Differentiation of the Cholesky decomposition, arXiv:1602.07527 (2016), equations 8 and 10. Both
run here by halves, as its section 3 has it for blocks, in place and in 2/3 n^3 flops: with
L11, L21, L22 the quarters of L,

    pullback                                            pushforward
    G22 = pullback of L22_bar                           L11_dot = pushforward of A11_dot
    L21_bar -= 2 G22 L21                                L21_dot = (A21_dot - L21 L11_dot^H) L11^-H
    B = L21_bar L11^-1, G21 = B / 2                     A22_dot -= L21_dot L21^H + L21 L21_dot^H
    L11_bar -= tril(B^H L21)                            L22_dot = pushforward of A22_dot
    G11 = pullback of L11_bar

cholesky_solve, X = A^-1 B for A = F1 F2 with F1 = L, F2 = L^H or F1 = U^H, F2 = U, and P = F2 X, Q = F1^-1 X_bar:

    B_bar = F2^-1 Q, L_bar = -tril(B_bar P^H + X Q^H), U_bar = -triu(Q X^H + P B_bar^H)
    X_dot = F2^-1 (F1^-1 (B_dot - F1_dot P) - F2_dot X)
"""

from numpy.linalg import LinAlgError

from blas cimport c, conj, d, gemmt, hemm, her2k, real, s, scalar, transpose, trmm, trsm, use_level3, z
from dense cimport (
    copy, copy_triangle, fill, finish_hermitian, has_nan, hermitian_lower, subtract, zero_on_diagonal)
from gufunc cimport NONFINITE, dtypes
from lapack cimport potrf

from matkern.kernels.gufunc import Kernel, level3

use_level3(level3)

cdef enum:
    BASE = 24               # below it, plain loops

cdef enum:
    NOT_POSITIVE = 1
    SINGULAR


cdef int forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *a = x[0]
    cdef scalar *factor = x[1]
    cdef char uplo = c'U' if option[0] else c'L'
    copy_triangle(uplo, False, n[0], a, factor)
    if potrf(uplo, n[0], factor, n[0]) > 0:
        return NONFINITE if has_nan(uplo, n[0], n[0], a) else NOT_POSITIVE
    return 0


cdef void pull(Py_ssize_t n, scalar *l, scalar *g, Py_ssize_t ld) noexcept nogil:
    """In G's lower triangle, L_bar becomes A_bar."""
    cdef Py_ssize_t i, j, k, m = n // 2
    cdef scalar b, twice
    cdef scalar *li
    cdef scalar *gi
    if n > BASE:
        pull(n - m, l + m * ld + m, g + m * ld + m, ld)
        hemm(c'L', n - m, m, -2, g + m * ld + m, ld, l + m * ld, ld, 1, g + m * ld, ld)
        trsm(c'R', c'L', c'N', c'N', n - m, m, 1, l, ld, g + m * ld, ld)
        gemmt(c'L', False, c'C', c'N', m, n - m, -1, g + m * ld, ld, l + m * ld, ld, 1, g, ld)
        pull(m, l, g, ld)
        for i in range(m, n):
            for j in range(m):
                g[i * ld + j] = g[i * ld + j] / 2
        return
    # the same with a last row for the lower half
    for i in range(n - 1, -1, -1):
        li = l + i * ld
        gi = g + i * ld
        gi[i] = <scalar> (real(gi[i]) / (2 * real(li[i])))
        twice = 2 * gi[i]
        for j in range(i):
            gi[j] = gi[j] - twice * li[j]
        for j in range(i - 1, -1, -1):
            b = gi[j] / real(l[j * ld + j])
            gi[j] = b / 2
            for k in range(j):
                gi[k] = gi[k] - b * l[j * ld + k]
            b = conj(b)
            for k in range(j + 1):
                g[j * ld + k] = g[j * ld + k] - b * li[k]


cdef void push(Py_ssize_t n, scalar *l, scalar *t, Py_ssize_t ld, scalar *scratch) noexcept nogil:
    """In T's lower triangle, A_dot becomes L_dot. The scratch holds a quarter of the matrix."""
    cdef Py_ssize_t i, j, k, m = n // 2
    cdef scalar total
    cdef double diagonal
    cdef scalar *li
    cdef scalar *ti
    if n > BASE:
        push(m, l, t, ld, scratch)
        for i in range(n - m):
            copy(m, l + (m + i) * ld, scratch + i * m)
        trmm(c'R', c'L', c'C', c'N', n - m, m, 1, t, ld, scratch, m)
        for i in range(n - m):
            for j in range(m):
                t[(m + i) * ld + j] = t[(m + i) * ld + j] - scratch[i * m + j]
        trsm(c'R', c'L', c'C', c'N', n - m, m, 1, l, ld, t + m * ld, ld)
        her2k(c'L', n - m, m, -1, t + m * ld, ld, l + m * ld, ld, t + m * ld + m, ld)
        push(n - m, l + m * ld + m, t + m * ld + m, ld, scratch)
        return
    for i in range(n):
        li = l + i * ld
        ti = t + i * ld
        diagonal = real(ti[i])
        for j in range(i):
            total = ti[j] - li[j] * real(t[j * ld + j])
            for k in range(j):
                total = total - ti[k] * conj(l[j * ld + k]) - li[k] * conj(t[j * ld + k])
            ti[j] = total / real(l[j * ld + j])
            diagonal -= 2 * real(ti[j] * conj(li[j]))
        ti[i] = <scalar> (diagonal / (2 * real(li[i])))


cdef void lower_factor(bint upper, Py_ssize_t n, scalar *factor, scalar *out) noexcept nogil:
    """out := L, given U = L^H if upper."""
    if upper:
        transpose(True, n, n, factor, n, out, n)
        copy_triangle(c'L', False, n, out, out)
    else:
        copy_triangle(c'L', False, n, factor, out)


cdef int vjp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *l = x[0]
    cdef scalar *g = x[2]
    cdef bint upper = option[0]
    if upper:
        l = work
        lower_factor(upper, n[0], x[0], l)
    lower_factor(upper, n[0], x[1], g)
    pull(n[0], l, g, n[0])
    finish_hermitian(option[1], n[0], g)
    return 0


cdef int jvp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *l = x[0]
    cdef scalar *t = x[2]
    cdef bint upper = option[0]
    if upper:
        l = work + n[0] * n[0]
        lower_factor(upper, n[0], x[0], l)
        t = work + 2 * n[0] * n[0]
    hermitian_lower(option[1], n[0], <scalar*> x[1], t)
    push(n[0], l, t, n[0], work)
    if upper:
        transpose(True, n[0], n[0], t, n[0], <scalar*> x[2], n[0])
    return 0


cdef int check_factor(Py_ssize_t n, scalar *l) noexcept nogil:
    if zero_on_diagonal(n, n, l):
        return NONFINITE if has_nan(c'A', n, n, l) else SINGULAR
    return 0


cdef int solve_forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *l = x[0]
    cdef char uplo = c'U' if option[0] else c'L'
    cdef char first = c'C' if option[0] else c'N', second = c'N' if option[0] else c'C'
    cdef int code = check_factor(n[0], l)
    if code:
        return code
    copy(n[0] * n[1], x[1], x[2])
    trsm(c'L', uplo, first, c'N', n[0], n[1], 1, l, n[0], <scalar*> x[2], n[1])
    trsm(c'L', uplo, second, c'N', n[0], n[1], 1, l, n[0], <scalar*> x[2], n[1])
    return 0


cdef int solve_pullback(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t size = n[0] * n[1]
    cdef scalar *l = x[0]
    cdef scalar *solution = x[1]
    cdef scalar *l_bar = x[3]
    cdef scalar *b_bar = x[4]
    cdef scalar *p = work
    cdef scalar *q = work + size
    cdef char uplo = c'U' if option[0] else c'L'
    cdef char first = c'C' if option[0] else c'N', second = c'N' if option[0] else c'C'
    cdef int code = check_factor(n[0], l)
    if code:
        return code
    if b_bar is NULL:
        b_bar = q + size
    copy(size, x[2], q)
    trsm(c'L', uplo, first, c'N', n[0], n[1], 1, l, n[0], q, n[1])
    copy(size, q, b_bar)
    trsm(c'L', uplo, second, c'N', n[0], n[1], 1, l, n[0], b_bar, n[1])
    if l_bar is NULL:
        return 0
    copy(size, solution, p)
    trmm(c'L', uplo, second, c'N', n[0], n[1], 1, l, n[0], p, n[1])
    fill(n[0] * n[0], 0, l_bar)
    if option[0]:
        gemmt(uplo, False, c'N', c'C', n[0], n[1], -1, q, n[1], solution, n[1], 1, l_bar, n[0])
        gemmt(uplo, False, c'N', c'C', n[0], n[1], -1, p, n[1], b_bar, n[1], 1, l_bar, n[0])
    else:
        gemmt(uplo, False, c'N', c'C', n[0], n[1], -1, b_bar, n[1], p, n[1], 1, l_bar, n[0])
        gemmt(uplo, False, c'N', c'C', n[0], n[1], -1, solution, n[1], q, n[1], 1, l_bar, n[0])
    return 0


cdef int solve_pushforward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t size = n[0] * n[1]
    cdef scalar *l = x[0]
    cdef scalar *solution = x[1]
    cdef scalar *l_dot = x[2]
    cdef scalar *x_dot = x[4]
    cdef char uplo = c'U' if option[0] else c'L'
    cdef char first = c'C' if option[0] else c'N', second = c'N' if option[0] else c'C'
    cdef int code = check_factor(n[0], l)
    if code:
        return code
    if x[3] is NULL:
        fill(size, 0, x_dot)
    else:
        copy(size, x[3], x_dot)
    if l_dot is not NULL:
        copy(size, solution, work)
        trmm(c'L', uplo, second, c'N', n[0], n[1], 1, l, n[0], work, n[1])
        trmm(c'L', uplo, first, c'N', n[0], n[1], 1, l_dot, n[0], work, n[1])
        subtract(n[0], n[1], work, x_dot, n[1])
    trsm(c'L', uplo, first, c'N', n[0], n[1], 1, l, n[0], x_dot, n[1])
    if l_dot is not NULL:
        copy(size, solution, work)
        trmm(c'L', uplo, second, c'N', n[0], n[1], 1, l_dot, n[0], work, n[1])
        subtract(n[0], n[1], work, x_dot, n[1])
    trsm(c'L', uplo, second, c'N', n[0], n[1], 1, l, n[0], x_dot, n[1])
    return 0


cdef Py_ssize_t solve_vjp_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return 3 * n[0] * n[1]


cdef Py_ssize_t solve_jvp_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return n[0] * n[1]


cdef Py_ssize_t vjp_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return n[0] * n[0] if option[0] else 0


cdef Py_ssize_t jvp_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return (3 if option[0] else 1) * n[0] * n[0]


UPPER = {"upper": (False, True)}
TRIANGLE = {"triangle": (None, "L", "U")}

cholesky = Kernel(
    "cholesky", "a(n,n) -> L(n,n)",
    dtypes(forward[s], forward[d], forward[c], forward[z]),
    options=UPPER, failures={NOT_POSITIVE: (LinAlgError, "is not positive definite")})
cholesky_vjp = Kernel(
    "cholesky_vjp", "L(n,n), L_bar(n,n) -> a_bar(n,n)",
    dtypes(vjp[s], vjp[d], vjp[c], vjp[z]),
    <size_t> vjp_workspace, UPPER | TRIANGLE)
cholesky_jvp = Kernel(
    "cholesky_jvp", "L(n,n), a_dot(n,n) -> L_dot(n,n)",
    dtypes(jvp[s], jvp[d], jvp[c], jvp[z]),
    <size_t> jvp_workspace, UPPER | TRIANGLE)

LOWER = {"lower": (True, False)}
SOLVE_FAILURES = {SINGULAR: (LinAlgError, "is singular: it has a zero on its diagonal")}

cholesky_solve = Kernel(
    "cholesky_solve", "l(n,n), b(n,k?) -> x(n,k?)",
    dtypes(solve_forward[s], solve_forward[d], solve_forward[c], solve_forward[z]), 0, LOWER, SOLVE_FAILURES)
cholesky_solve_vjp = Kernel(
    "cholesky_solve_vjp", "l(n,n), x(n,k?), x_bar(n,k?) -> l_bar(n,n), b_bar(n,k?)",
    dtypes(solve_pullback[s], solve_pullback[d], solve_pullback[c], solve_pullback[z]),
    <size_t> solve_vjp_workspace, LOWER, SOLVE_FAILURES, optional=("l_bar", "b_bar"))
cholesky_solve_jvp = Kernel(
    "cholesky_solve_jvp", "l(n,n), x(n,k?), l_dot(n,n), b_dot(n,k?) -> x_dot(n,k?)",
    dtypes(solve_pushforward[s], solve_pushforward[d], solve_pushforward[c], solve_pushforward[z]),
    <size_t> solve_jvp_workspace, LOWER, SOLVE_FAILURES)

for kernel in (cholesky, cholesky_vjp, cholesky_jvp, cholesky_solve, cholesky_solve_vjp, cholesky_solve_jvp):
    globals().update(kernel.gufuncs())
