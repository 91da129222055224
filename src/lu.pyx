# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""LU with partial pivoting, A = P L U: packed (lu_factor), its solves (lu_solve), unpacked (lu).

The pivots are locally constant. With F = L^-1 P^T A_dot U^-1, for square A,

    L_dot = L tril(F, -1), U_dot = triu(F) U
    A_bar = P L^-H (tril(L^H L_bar, -1) + triu(U_bar U^H)) U^-H

S. F. Walter and L. Lehmann, Algorithmic differentiation of linear algebra functions with application in
optimum experimental design, arXiv:1001.1654 (2010), for the idea; both maps run here by halves, in place and
in 4/3 n^3 flops. In quarters of LU and of the packed G = L_bar (strictly below) + U_bar,

    pullback                                            pushforward of T = P^T A_dot
    G22 = pullback of G22                               T11 = pushforward of T11
    G21 -= G22 U12^H, G12 -= L21^H G22                  T12 = L11^-1 (T12 - L11_dot U12)
    G12 = L11^-H G12, G21 = G21 U11^-H                  T21 = (T21 - L21 U11_dot) U11^-1
    G11 -= tril(G12 U12^H, -1) + triu(L21^H G21)        T22 -= T21 U12 + L21 T12
    G11 = pullback of G11                               T22 = pushforward of T22

No step divides by the last pivot, which may be zero. Another zero pivot leaves A without a derivative.

lu_solve, X = A^-1 B with Y = U X = L^-1 P^T B:

    Z = U^-H X_bar, V = L^-H Z: U_bar = -triu(Z X^H), L_bar = -tril(V Y^H, -1), B_bar = P V
    X_dot = U^-1 (L^-1 (P^T B_dot - L_dot Y) - U_dot X)
"""

from numpy.linalg import LinAlgError

from blas cimport GEMMT_SCRATCH, c, conj, d, gemm, gemmt, s, scalar, set_real, trmm, trsm, z
from dense cimport copy, copy_triangle, fill, has_nan, permute_rows, zero_on_diagonal
from gufunc cimport NONFINITE, dtypes
from pivoted cimport factor, pivots_valid, solve_factored

from matkern.kernels.gufunc import Kernel

cdef enum:
    BASE = 24               # below it, plain loops

cdef enum:
    SINGULAR = 1
    BAD_PIVOTS


cdef void pull(Py_ssize_t n, scalar *lu, scalar *g, Py_ssize_t ld, scalar *scratch) noexcept nogil:
    """G = L_bar (strictly below the diagonal) + U_bar becomes P^T A_bar."""
    cdef Py_ssize_t i, j, k, m = n // 2, low = m * ld, last = low + m
    cdef scalar total, lik
    if n > BASE:
        pull(n - m, lu + last, g + last, ld, scratch)
        gemm(c'N', c'C', n - m, m, n - m, -1, g + last, ld, lu + m, ld, 1, g + low, ld)
        gemm(c'C', c'N', m, n - m, n - m, -1, lu + low, ld, g + last, ld, 1, g + m, ld)
        trsm(c'L', c'L', c'C', c'U', m, n - m, 1, lu, ld, g + m, ld)
        trsm(c'R', c'U', c'C', c'N', n - m, m, 1, lu, ld, g + low, ld)
        gemmt(c'L', True, c'N', c'C', m, n - m, -1, g + m, ld, lu + m, ld, g, ld, scratch)
        gemmt(c'U', False, c'C', c'N', m, n - m, -1, lu + low, ld, g + low, ld, g, ld, scratch)
        pull(m, lu, g, ld, scratch)
        return
    for k in range(n - 2, -1, -1):                          # the same with a first row and column for the upper half
        for i in range(k + 1, n):
            total = 0
            lik = conj(lu[i * ld + k])
            for j in range(k + 1, n):
                total = total + g[i * ld + j] * conj(lu[k * ld + j])
                g[k * ld + j] = g[k * ld + j] - lik * g[i * ld + j]
            g[i * ld + k] = (g[i * ld + k] - total) / conj(lu[k * ld + k])
            g[k * ld + k] = g[k * ld + k] - lik * g[i * ld + k]


cdef void push(Py_ssize_t n, scalar *lu, scalar *t, Py_ssize_t ld, scalar *scratch) noexcept nogil:
    """T = P^T A_dot becomes L_dot (strictly below the diagonal) + U_dot; the scratch holds a quarter of it."""
    cdef Py_ssize_t i, j, k, m = n // 2, low = m * ld, last = low + m
    cdef scalar tik, lik
    if n > BASE:
        push(m, lu, t, ld, scratch)
        for i in range(m):
            copy(n - m, lu + i * ld + m, scratch + i * (n - m))
        trmm(c'L', c'L', c'N', c'U', m, n - m, 1, t, ld, scratch, n - m)     # (I + L11_dot) U12
        for i in range(m):
            for j in range(n - m):
                t[i * ld + m + j] = t[i * ld + m + j] - (scratch[i * (n - m) + j] - lu[i * ld + m + j])
        trsm(c'L', c'L', c'N', c'U', m, n - m, 1, lu, ld, t + m, ld)
        for i in range(n - m):
            copy(m, lu + low + i * ld, scratch + i * m)
        trmm(c'R', c'U', c'N', c'N', n - m, m, 1, t, ld, scratch, m)
        for i in range(n - m):
            for j in range(m):
                t[low + i * ld + j] = t[low + i * ld + j] - scratch[i * m + j]
        trsm(c'R', c'U', c'N', c'N', n - m, m, 1, lu, ld, t + low, ld)
        gemm(c'N', c'N', n - m, n - m, m, -1, t + low, ld, lu + m, ld, 1, t + last, ld)
        gemm(c'N', c'N', n - m, n - m, m, -1, lu + low, ld, t + m, ld, 1, t + last, ld)
        push(n - m, lu + last, t + last, ld, scratch)
        return
    for k in range(n - 1):
        for i in range(k + 1, n):
            lik = lu[i * ld + k]
            tik = (t[i * ld + k] - lik * t[k * ld + k]) / lu[k * ld + k]
            t[i * ld + k] = tik
            for j in range(k + 1, n):
                t[i * ld + j] = t[i * ld + j] - tik * lu[k * ld + j] - lik * t[k * ld + j]


cdef int check(Py_ssize_t n, scalar *lu, int *piv, Py_ssize_t pivots) noexcept nogil:
    """A failure's code if the row interchanges, or one of the first `pivots` pivots, are unusable."""
    if piv is not NULL and not pivots_valid(n, piv):
        return BAD_PIVOTS
    if zero_on_diagonal(n, pivots, lu):
        return NONFINITE if has_nan(c'A', n, lu) else SINGULAR
    return 0


# ---- lu_factor

cdef int lu_factor_forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    factor(n[0], x[0], x[1], <int*> x[2], work)
    return 0


cdef int lu_factor_vjp_matrix(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef int *piv = <int*> x[1]
    cdef int code = check(n[0], x[0], piv, n[0] - 1)
    if code:
        return code
    if x[2] is NULL:
        fill(n[0] * n[0], 0, x[3])
        return 0
    copy(n[0] * n[0], x[2], x[3])
    pull(n[0], x[0], x[3], n[0], work)
    permute_rows(n[0], n[0], piv, True, x[3])
    return 0


cdef int lu_factor_jvp_matrix(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef int *piv = <int*> x[1]
    cdef int code = check(n[0], x[0], piv, n[0] - 1)
    if code:
        return code
    if x[2] is NULL:
        fill(n[0] * n[0], 0, x[3])
        return 0
    copy(n[0] * n[0], x[2], x[3])
    permute_rows(n[0], n[0], piv, False, x[3])
    push(n[0], x[0], x[3], n[0], work)
    return 0


# ---- lu

cdef int lu_forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *p = x[1]
    cdef scalar *l = x[2]
    cdef scalar *u = x[3]
    cdef scalar *packed = work + n[0] * n[0]
    cdef int *piv = <int*> (packed + n[0] * n[0])
    cdef int *row = piv + n[0]
    cdef int t
    cdef Py_ssize_t i
    factor(n[0], x[0], packed, piv, work)
    if p is not NULL:
        for i in range(n[0]):
            row[i] = <int> i
        for i in range(n[0]):                               # row i of P^T A is row row[i] of A
            t = row[i]
            row[i] = row[piv[i]]
            row[piv[i]] = t
        for i in range(n[0] * n[0]):
            set_real(p, i, 0)
        for i in range(n[0]):
            set_real(p, row[i] * n[0] + i, 1)
    if l is not NULL:
        copy_triangle(c'L', True, n[0], packed, l)
        for i in range(n[0]):
            l[i * n[0] + i] = 1
    if u is not NULL:
        copy_triangle(c'U', False, n[0], packed, u)
    return 0


cdef int pack(Py_ssize_t n, scalar *p, scalar *l, scalar *u, scalar *packed, int *row) noexcept nogil:
    """L and U in one matrix, and where P has its ones; a failure's code if that is not a permutation."""
    cdef Py_ssize_t i, j, ones
    for i in range(n):
        copy(i, l + i * n, packed + i * n)
        copy(n - i, u + i * n + i, packed + i * n + i)
    if p is not NULL:
        for j in range(n):
            row[j] = -1
        for i in range(n):
            ones = 0
            for j in range(n):
                if is_one(p, i * n + j):
                    ones += 1
                    row[j] = <int> i
            if ones != 1:
                return BAD_PIVOTS
        for j in range(n):
            if row[j] < 0:
                return BAD_PIVOTS
    return check(n, packed, NULL, n - 1)


cdef bint is_one(scalar *p, Py_ssize_t i) noexcept nogil:
    if scalar is s or scalar is c:
        return (<float*> p)[i] == 1
    else:
        return (<double*> p)[i] == 1


cdef int lu_vjp_matrix(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *l_bar = x[3]
    cdef scalar *u_bar = x[4]
    cdef scalar *a_bar = x[5]
    cdef scalar *packed = work + GEMMT_SCRATCH
    cdef scalar *g = packed + n[0] * n[0]
    cdef int *row = <int*> (g + n[0] * n[0])
    cdef Py_ssize_t i
    cdef int code = pack(n[0], x[0], x[1], x[2], packed, row)
    if code:
        return code
    for i in range(n[0]):
        if l_bar is NULL:
            fill(i, 0, g + i * n[0])
        else:
            copy(i, l_bar + i * n[0], g + i * n[0])
        if u_bar is NULL:
            fill(n[0] - i, 0, g + i * n[0] + i)
        else:
            copy(n[0] - i, u_bar + i * n[0] + i, g + i * n[0] + i)
    pull(n[0], packed, g, n[0], work)
    for i in range(n[0]):
        copy(n[0], g + i * n[0], a_bar + row[i] * n[0])
    return 0


cdef int lu_jvp_matrix(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *a_dot = x[3]
    cdef scalar *packed = work
    cdef scalar *t = packed + n[0] * n[0]
    cdef scalar *scratch = t + n[0] * n[0]
    cdef int *row = <int*> (scratch + n[0] * n[0])
    cdef Py_ssize_t i
    cdef int code = pack(n[0], x[0], x[1], x[2], packed, row)
    if code:
        return code
    if a_dot is NULL:
        fill(n[0] * n[0], 0, t)
    else:
        for i in range(n[0]):
            copy(n[0], a_dot + row[i] * n[0], t + i * n[0])
        push(n[0], packed, t, n[0], scratch)
    if x[4] is not NULL:
        copy_triangle(c'L', True, n[0], t, <scalar*> x[4])
    if x[5] is not NULL:
        copy_triangle(c'U', False, n[0], t, <scalar*> x[5])
    return 0


# ---- lu_solve

cdef int lu_solve_forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef int code = check(n[0], x[0], <int*> x[1], n[0])
    if code:
        return code
    copy(n[0] * n[1], x[2], x[3])
    solve_factored(c'N', n[0], n[1], x[0], <int*> x[1], x[3])
    return 0


cdef int lu_solve_vjp_matrix(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *lu = x[0]
    cdef scalar *solution = x[2]
    cdef scalar *lu_bar = x[4]
    cdef scalar *b_bar = x[5]
    cdef scalar *y = work + GEMMT_SCRATCH
    cdef Py_ssize_t size = n[0] * n[1]
    cdef int code = check(n[0], lu, <int*> x[1], n[0])
    if code:
        return code
    if x[3] is NULL:
        if lu_bar is not NULL:
            fill(n[0] * n[0], 0, lu_bar)
        if b_bar is not NULL:
            fill(size, 0, b_bar)
        return 0
    if b_bar is NULL:
        b_bar = y + size
    copy(size, x[3], b_bar)
    trsm(c'L', c'U', c'C', c'N', n[0], n[1], 1, lu, n[0], b_bar, n[1])
    if lu_bar is not NULL:
        fill(n[0] * n[0], 0, lu_bar)
        gemmt(c'U', False, c'N', c'C', n[0], n[1], -1, b_bar, n[1], solution, n[1], lu_bar, n[0], work)
    trsm(c'L', c'L', c'C', c'U', n[0], n[1], 1, lu, n[0], b_bar, n[1])
    if lu_bar is not NULL:
        copy(size, solution, y)
        trmm(c'L', c'U', c'N', c'N', n[0], n[1], 1, lu, n[0], y, n[1])
        gemmt(c'L', True, c'N', c'C', n[0], n[1], -1, b_bar, n[1], y, n[1], lu_bar, n[0], work)
    permute_rows(n[0], n[1], <int*> x[1], True, b_bar)
    return 0


cdef int lu_solve_jvp_matrix(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *lu = x[0]
    cdef scalar *solution = x[2]
    cdef scalar *lu_dot = x[3]
    cdef scalar *b_dot = x[4]
    cdef scalar *x_dot = x[5]
    cdef Py_ssize_t i, size = n[0] * n[1]
    cdef scalar *y = work
    cdef scalar *t = work + size
    cdef int code = check(n[0], lu, <int*> x[1], n[0])
    if code:
        return code
    if b_dot is NULL:
        fill(size, 0, x_dot)
    else:
        copy(size, b_dot, x_dot)
        permute_rows(n[0], n[1], <int*> x[1], False, x_dot)
    if lu_dot is not NULL:
        copy(size, solution, y)
        trmm(c'L', c'U', c'N', c'N', n[0], n[1], 1, lu, n[0], y, n[1])
        copy(size, y, t)
        trmm(c'L', c'L', c'N', c'U', n[0], n[1], 1, lu_dot, n[0], t, n[1])      # (I + L_dot) Y
        for i in range(size):
            x_dot[i] = x_dot[i] - (t[i] - y[i])
    trsm(c'L', c'L', c'N', c'U', n[0], n[1], 1, lu, n[0], x_dot, n[1])
    if lu_dot is not NULL:
        copy(size, solution, t)
        trmm(c'L', c'U', c'N', c'N', n[0], n[1], 1, lu_dot, n[0], t, n[1])
        for i in range(size):
            x_dot[i] = x_dot[i] - t[i]
    trsm(c'L', c'U', c'N', c'N', n[0], n[1], 1, lu, n[0], x_dot, n[1])
    return 0


cdef Py_ssize_t workspace(const Py_ssize_t *n) noexcept nogil:
    """Three matrices, a scratch and two vectors of integers: enough for each of the maps of lu_factor and lu."""
    return GEMMT_SCRATCH + 3 * n[0] * n[0] + 2 * n[0]


cdef Py_ssize_t solve_workspace(const Py_ssize_t *n) noexcept nogil:
    return GEMMT_SCRATCH + 2 * n[0] * n[1]


FAILURES = {
    SINGULAR: (LinAlgError, "has a zero pivot: its factorisation has no derivative"),
    BAD_PIVOTS: (ValueError, "has row interchanges that are not those of a factorisation"),
}
SOLVE_FAILURES = FAILURES | {SINGULAR: (LinAlgError, "is singular: it has a zero pivot")}

lu_factor = Kernel(
    "lu_factor", "a(n,n) -> lu(n,n), piv:int(n)",
    dtypes(lu_factor_forward[s], lu_factor_forward[d], lu_factor_forward[c], lu_factor_forward[z]), <size_t> workspace)
lu_factor_vjp = Kernel(
    "lu_factor_vjp", "lu(n,n), piv:int(n), lu_bar(n,n) -> a_bar(n,n)",
    dtypes(lu_factor_vjp_matrix[s], lu_factor_vjp_matrix[d], lu_factor_vjp_matrix[c], lu_factor_vjp_matrix[z]),
    <size_t> workspace, failures=FAILURES)
lu_factor_jvp = Kernel(
    "lu_factor_jvp", "lu(n,n), piv:int(n), a_dot(n,n) -> lu_dot(n,n)",
    dtypes(lu_factor_jvp_matrix[s], lu_factor_jvp_matrix[d], lu_factor_jvp_matrix[c], lu_factor_jvp_matrix[z]),
    <size_t> workspace, failures=FAILURES)

lu = Kernel(
    "lu", "a(n,n) -> p:real(n,n), l(n,n), u(n,n)",
    dtypes(lu_forward[s], lu_forward[d], lu_forward[c], lu_forward[z]), <size_t> workspace)
lu_vjp = Kernel(
    "lu_vjp", "p:real(n,n), l(n,n), u(n,n), l_bar(n,n), u_bar(n,n) -> a_bar(n,n)",
    dtypes(lu_vjp_matrix[s], lu_vjp_matrix[d], lu_vjp_matrix[c], lu_vjp_matrix[z]), <size_t> workspace, failures=FAILURES)
lu_jvp = Kernel(
    "lu_jvp", "p:real(n,n), l(n,n), u(n,n), a_dot(n,n) -> l_dot(n,n), u_dot(n,n)",
    dtypes(lu_jvp_matrix[s], lu_jvp_matrix[d], lu_jvp_matrix[c], lu_jvp_matrix[z]), <size_t> workspace, failures=FAILURES)

lu_solve = Kernel(
    "lu_solve", "lu(n,n), piv:int(n), b(n,k?) -> x(n,k?)",
    dtypes(lu_solve_forward[s], lu_solve_forward[d], lu_solve_forward[c], lu_solve_forward[z]), failures=SOLVE_FAILURES)
lu_solve_vjp = Kernel(
    "lu_solve_vjp", "lu(n,n), piv:int(n), x(n,k?), x_bar(n,k?) -> lu_bar(n,n), b_bar(n,k?)",
    dtypes(lu_solve_vjp_matrix[s], lu_solve_vjp_matrix[d], lu_solve_vjp_matrix[c], lu_solve_vjp_matrix[z]),
    <size_t> solve_workspace, failures=SOLVE_FAILURES)
lu_solve_jvp = Kernel(
    "lu_solve_jvp", "lu(n,n), piv:int(n), x(n,k?), lu_dot(n,n), b_dot(n,k?) -> x_dot(n,k?)",
    dtypes(lu_solve_jvp_matrix[s], lu_solve_jvp_matrix[d], lu_solve_jvp_matrix[c], lu_solve_jvp_matrix[z]),
    <size_t> solve_workspace, failures=SOLVE_FAILURES)

for kernel in (lu_factor, lu_factor_vjp, lu_factor_jvp, lu, lu_vjp, lu_jvp, lu_solve, lu_solve_vjp, lu_solve_jvp):
    globals().update(kernel.gufuncs())
