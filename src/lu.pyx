# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""LU with partial pivoting, A = P L U: packed (lu_factor), its solves (lu_solve), unpacked (lu).

A is (m, n), square or not. The pivots are locally constant. With F = L^-1 P^T A_dot U^-1, for square A,

    L_dot = L tril(F, -1), U_dot = triu(F) U
    A_bar = P L^-H (tril(L^H L_bar, -1) + triu(U_bar U^H)) U^-H

S. F. Walter and L. Lehmann, Algorithmic differentiation of linear algebra functions with application in
optimum experimental design, arXiv:1001.1654 (2010), for the idea; both maps run here by blocks and halves, in
place and in 4/3 n^3 flops. In the quarters of LU and of the packed G = L_bar (strictly below) + U_bar,

    pullback                                            pushforward of T = P^T A_dot
    G22 = pullback of G22                               T11 = pushforward of T11
    G21 -= G22 U12^H, G12 -= L21^H G22                  right: T12 = L11^-1 (T12 - L11_dot U12)
    right: G12 = L11^-H G12, G11 -= tril(G12 U12^H, -1) below: T21 = (T21 - L21 U11_dot) U11^-1
    below: G21 = G21 U11^-H, G11 -= triu(L21^H G21)     T22 -= T21 U12 + L21 T12
    G11 = pullback of G11                               T22 = pushforward of T22

A wide matrix is a square one with a block to its right, a tall one with a block below. No step of a square or
wide one divides by the last pivot, which may be zero. Another zero pivot leaves A without a derivative.

lu_solve, X = A^-1 B with Y = U X = L^-1 P^T B:

    Z = U^-H X_bar, V = L^-H Z: U_bar = -triu(Z X^H), L_bar = -tril(V Y^H, -1), B_bar = P V
    X_dot = U^-1 (L^-1 (P^T B_dot - L_dot Y) - U_dot X)
"""

from numpy.linalg import LinAlgError

from blas cimport (c, conj, d, gemm, gemmt, get_real, s, scalar, set_real, trmm,
                   trmm_strict, trsm, use_level3, z)
from dense cimport copy, fill, has_nan, permute_rows, subtract, zero_on_diagonal
from gufunc cimport NONFINITE, dtypes
from pivoted cimport check_factor, factor, pivots_valid, solve_factored

from matkern.kernels.gufunc import Kernel, level3

use_level3(level3)

cdef enum:
    BASE = 24               # below it, plain loops

cdef enum:
    SINGULAR = 1
    BAD_PIVOTS


cdef void pull_right(Py_ssize_t m, Py_ssize_t n, scalar *lu, scalar *g, Py_ssize_t ld) noexcept nogil:
    """The (m, n) block of columns to the right of the leading (m, m) one."""
    trsm(c'L', c'L', c'C', c'U', m, n, 1, lu, ld, g + m, ld)
    gemmt(c'L', True, c'N', c'C', m, n, -1, g + m, ld, lu + m, ld, 1, g, ld)


cdef void pull_below(Py_ssize_t m, Py_ssize_t n, scalar *lu, scalar *g, Py_ssize_t ld) noexcept nogil:
    """The (m, n) block of rows below the leading (n, n) one."""
    cdef Py_ssize_t low = n * ld
    trsm(c'R', c'U', c'C', c'N', m, n, 1, lu, ld, g + low, ld)
    gemmt(c'U', False, c'C', c'N', n, m, -1, lu + low, ld, g + low, ld, 1, g, ld)


cdef void pull(Py_ssize_t n, scalar *lu, scalar *g, Py_ssize_t ld) noexcept nogil:
    """G = L_bar (strictly below the diagonal) + U_bar becomes P^T A_bar, for a square matrix."""
    cdef Py_ssize_t i, j, k, m = n // 2, low = m * ld, last = low + m
    cdef scalar total, lik
    if n > BASE:
        pull(n - m, lu + last, g + last, ld)
        gemm(c'N', c'C', n - m, m, n - m, -1, g + last, ld, lu + m, ld, 1, g + low, ld)
        gemm(c'C', c'N', m, n - m, n - m, -1, lu + low, ld, g + last, ld, 1, g + m, ld)
        pull_right(m, n - m, lu, g, ld)
        pull_below(n - m, m, lu, g, ld)
        pull(m, lu, g, ld)
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


cdef void pull_any(Py_ssize_t m, Py_ssize_t n, scalar *lu, scalar *g) noexcept nogil:
    if n > m:
        pull_right(m, n - m, lu, g, n)
    elif m > n:
        pull_below(m - n, n, lu, g, n)
    pull(min(m, n), lu, g, n)


cdef void push_right(Py_ssize_t m, Py_ssize_t n, scalar *lu, scalar *t, Py_ssize_t ld, scalar *scratch) noexcept nogil:
    """The (m, n) block of columns to the right of the leading (m, m) one, which is done."""
    cdef Py_ssize_t i
    for i in range(m):
        copy(n, lu + i * ld + m, scratch + i * n)
    trmm_strict(c'L', c'N', m, n, 1, t, ld, scratch, n)
    subtract(m, n, scratch, t + m, ld)
    trsm(c'L', c'L', c'N', c'U', m, n, 1, lu, ld, t + m, ld)


cdef void push_below(Py_ssize_t m, Py_ssize_t n, scalar *lu, scalar *t, Py_ssize_t ld, scalar *scratch) noexcept nogil:
    """The (m, n) block of rows below the leading (n, n) one, which is done."""
    cdef Py_ssize_t i, low = n * ld
    for i in range(m):
        copy(n, lu + low + i * ld, scratch + i * n)
    trmm(c'R', c'U', c'N', c'N', m, n, 1, t, ld, scratch, n)
    subtract(m, n, scratch, t + low, ld)
    trsm(c'R', c'U', c'N', c'N', m, n, 1, lu, ld, t + low, ld)


cdef void push(Py_ssize_t n, scalar *lu, scalar *t, Py_ssize_t ld, scalar *scratch) noexcept nogil:
    """T = P^T A_dot becomes L_dot (strictly below the diagonal) + U_dot, for a square matrix."""
    cdef Py_ssize_t i, j, k, m = n // 2, low = m * ld, last = low + m
    cdef scalar tik, lik
    if n > BASE:
        push(m, lu, t, ld, scratch)
        push_right(m, n - m, lu, t, ld, scratch)
        push_below(n - m, m, lu, t, ld, scratch)
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


cdef void push_any(Py_ssize_t m, Py_ssize_t n, scalar *lu, scalar *t, scalar *scratch) noexcept nogil:
    push(min(m, n), lu, t, n, scratch)
    if n > m:
        push_right(m, n - m, lu, t, n, scratch)
    elif m > n:
        push_below(m - n, n, lu, t, n, scratch)


cdef int check_pivots(Py_ssize_t m, Py_ssize_t n, scalar *lu) noexcept nogil:
    """A failure's code if a pivot that the derivatives divide by is zero."""
    if zero_on_diagonal(n, n if m > n else m - 1, lu):
        return NONFINITE if has_nan(c'A', m, n, lu) else SINGULAR
    return 0


cdef void interchange(Py_ssize_t m, Py_ssize_t n, int *piv, int *perm) noexcept nogil:
    """Row perm[i] of A becomes row i of P^T A by the n row interchanges."""
    cdef Py_ssize_t i
    cdef int t
    for i in range(m):
        perm[i] = <int> i
    for i in range(n):
        t = perm[i]
        perm[i] = perm[piv[i]]
        perm[piv[i]] = t


# ---- lu_factor

cdef int lu_factor_forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef int *piv = <int*> x[2]
    factor(n[0], n[1], x[0], x[1], piv, work)
    if x[3] is not NULL:
        interchange(n[0], min(n[0], n[1]), piv, <int*> x[3])
    return 0


cdef int lu_factor_vjp_matrix(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t least = min(n[0], n[1])
    cdef int *piv = <int*> x[1]
    cdef int code = check_pivots(n[0], n[1], x[0]) if pivots_valid(n[0], least, piv) else BAD_PIVOTS
    if code:
        return code
    copy(n[0] * n[1], x[2], x[3])
    pull_any(n[0], n[1], x[0], x[3])
    permute_rows(least, n[1], piv, True, x[3], n[1])
    return 0


cdef int lu_factor_jvp_matrix(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t least = min(n[0], n[1])
    cdef int *piv = <int*> x[1]
    cdef int code = check_pivots(n[0], n[1], x[0]) if pivots_valid(n[0], least, piv) else BAD_PIVOTS
    if code:
        return code
    copy(n[0] * n[1], x[2], x[3])
    permute_rows(least, n[1], piv, False, x[3], n[1])
    push_any(n[0], n[1], x[0], x[3], work)
    return 0


# ---- lu

cdef void unpack(Py_ssize_t m, Py_ssize_t n, scalar diagonal, scalar *packed, scalar *l, scalar *u) noexcept nogil:
    """L with this diagonal, and U; either may be NULL."""
    cdef Py_ssize_t i, least = min(m, n)
    if l is not NULL:
        fill(m * least, 0, l)
        for i in range(m):
            copy(min(i, least), packed + i * n, l + i * least)
            if i < least:
                l[i * least + i] = diagonal
    if u is not NULL:
        fill(least * n, 0, u)
        for i in range(least):
            copy(n - i, packed + i * n + i, u + i * n + i)


cdef void pack(Py_ssize_t m, Py_ssize_t n, scalar *l, scalar *u, scalar *packed) noexcept nogil:
    """L strictly below the diagonal and U in one matrix; NULL is zero."""
    cdef Py_ssize_t i, least = min(m, n)
    fill(m * n, 0, packed)
    for i in range(m):
        if l is not NULL:
            copy(min(i, least), l + i * least, packed + i * n)
        if u is not NULL and i < least:
            copy(n - i, u + i * n + i, packed + i * n + i)


cdef bint rows_of(Py_ssize_t m, scalar *p, int *row) noexcept nogil:
    """row[j] := where column j of the permutation P has its one; false if P is no permutation."""
    cdef Py_ssize_t i, j
    cdef double value
    for j in range(m):
        row[j] = -1
    for i in range(m):
        for j in range(m):
            value = get_real(p, i * m + j)
            if value == 1 and row[j] < 0:
                row[j] = <int> i
            elif value != 0:
                return False
    for j in range(m):                                      # one in each column; and in each row?
        if row[j] < 0:
            return False
        for i in range(j):
            if row[i] == row[j]:
                return False
    return True


cdef int lu_forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t i, m = n[0], least = min(n[0], n[1])
    cdef scalar *p = x[1]
    cdef scalar *packed = work + m * n[1]
    cdef int *piv = <int*> (packed + m * n[1])
    cdef int *row = piv + least
    factor(m, n[1], x[0], packed, piv, work)
    unpack(m, n[1], 1, packed, x[2], x[3])
    if p is not NULL:
        interchange(m, least, piv, row)
        for i in range(m * m):
            set_real(p, i, 0)
        for i in range(m):
            set_real(p, row[i] * m + i, 1)
    return 0


cdef int lu_vjp_matrix(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t i, rows = n[0], columns = n[2]
    cdef scalar *packed = work
    cdef scalar *g = packed + rows * columns
    cdef int *row = <int*> (g + rows * columns)
    cdef int code
    pack(rows, columns, x[1], x[2], packed)
    code = check_pivots(rows, columns, packed) if rows_of(rows, x[0], row) else BAD_PIVOTS
    if code:
        return code
    pack(rows, columns, x[3], x[4], g)
    pull_any(rows, columns, packed, g)
    for i in range(rows):
        copy(columns, g + i * columns, x[5] + row[i] * columns)
    return 0


cdef int lu_jvp_matrix(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t i, rows = n[0], columns = n[2]
    cdef scalar *packed = work + rows * columns
    cdef scalar *t = packed + rows * columns
    cdef int *row = <int*> (t + rows * columns)
    cdef int code
    pack(rows, columns, x[1], x[2], packed)
    code = check_pivots(rows, columns, packed) if rows_of(rows, x[0], row) else BAD_PIVOTS
    if code:
        return code
    for i in range(rows):
        copy(columns, x[3] + row[i] * columns, t + i * columns)
    push_any(rows, columns, packed, t, work)
    unpack(rows, columns, 0, t, x[4], x[5])
    return 0


# ---- lu_solve

cdef int lu_solve_forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef int code = check_factor(n[0], x[0], <int*> x[1], SINGULAR, BAD_PIVOTS)
    if code:
        return code
    copy(n[0] * n[1], x[2], x[3])
    solve_factored(c'N', n[0], n[1], x[0], <int*> x[1], x[3])
    if x[4] is not NULL:
        interchange(n[0], n[0], <int*> x[1], <int*> x[4])
    return 0


cdef int lu_solve_vjp_matrix(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *lu = x[0]
    cdef scalar *solution = x[2]
    cdef scalar *lu_bar = x[4]
    cdef scalar *b_bar = x[5]
    cdef scalar *y = work
    cdef Py_ssize_t size = n[0] * n[1]
    cdef int code = check_factor(n[0], lu, <int*> x[1], SINGULAR, BAD_PIVOTS)
    if code:
        return code
    if b_bar is NULL:
        b_bar = y + size
    copy(size, x[3], b_bar)
    trsm(c'L', c'U', c'C', c'N', n[0], n[1], 1, lu, n[0], b_bar, n[1])
    if lu_bar is not NULL:
        fill(n[0] * n[0], 0, lu_bar)
        gemmt(c'U', False, c'N', c'C', n[0], n[1], -1, b_bar, n[1], solution, n[1], 1, lu_bar, n[0])
    trsm(c'L', c'L', c'C', c'U', n[0], n[1], 1, lu, n[0], b_bar, n[1])
    if lu_bar is not NULL:
        copy(size, solution, y)
        trmm(c'L', c'U', c'N', c'N', n[0], n[1], 1, lu, n[0], y, n[1])
        gemmt(c'L', True, c'N', c'C', n[0], n[1], -1, b_bar, n[1], y, n[1], 1, lu_bar, n[0])
    permute_rows(n[0], n[1], <int*> x[1], True, b_bar, n[1])
    return 0


cdef int lu_solve_jvp_matrix(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *lu = x[0]
    cdef scalar *solution = x[2]
    cdef scalar *lu_dot = x[3]
    cdef scalar *b_dot = x[4]
    cdef scalar *x_dot = x[5]
    cdef Py_ssize_t i, size = n[0] * n[1]
    cdef scalar *t = work
    cdef int code = check_factor(n[0], lu, <int*> x[1], SINGULAR, BAD_PIVOTS)
    if code:
        return code
    if b_dot is NULL:
        fill(size, 0, x_dot)
    else:
        copy(size, b_dot, x_dot)
        permute_rows(n[0], n[1], <int*> x[1], False, x_dot, n[1])
    if lu_dot is not NULL:
        copy(size, solution, t)
        trmm(c'L', c'U', c'N', c'N', n[0], n[1], 1, lu, n[0], t, n[1])          # Y = U X
        trmm_strict(c'L', c'N', n[0], n[1], 1, lu_dot, n[0], t, n[1])
        for i in range(size):
            x_dot[i] = x_dot[i] - t[i]
    trsm(c'L', c'L', c'N', c'U', n[0], n[1], 1, lu, n[0], x_dot, n[1])
    if lu_dot is not NULL:
        copy(size, solution, t)
        trmm(c'L', c'U', c'N', c'N', n[0], n[1], 1, lu_dot, n[0], t, n[1])
        for i in range(size):
            x_dot[i] = x_dot[i] - t[i]
    trsm(c'L', c'U', c'N', c'N', n[0], n[1], 1, lu, n[0], x_dot, n[1])
    return 0


cdef Py_ssize_t factor_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    """A matrix to transpose or to multiply in."""
    return n[0] * n[1]


cdef Py_ssize_t forward_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    """Two matrices and two vectors of integers."""
    return 2 * n[0] * n[1] + 2 * n[0]


cdef Py_ssize_t unpacked_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    """Three matrices and a vector of integers; the letters are m, min, n."""
    return 3 * n[0] * n[2] + n[0]


cdef Py_ssize_t solve_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return 2 * n[0] * n[1]


FAILURES = {
    SINGULAR: (LinAlgError, "has a zero pivot: its factorisation has no derivative"),
    BAD_PIVOTS: (ValueError, "has row interchanges that are not those of a factorisation"),
}
SOLVE_FAILURES = FAILURES | {SINGULAR: (LinAlgError, "is singular: it has a zero pivot")}

lu_factor = Kernel(
    "lu_factor", "a(m,n) -> lu(m,n), piv:int(min), perm:int(m)",
    dtypes(lu_factor_forward[s], lu_factor_forward[d], lu_factor_forward[c], lu_factor_forward[z]),
    <size_t> factor_workspace, optional=("perm",))
lu_factor_vjp = Kernel(
    "lu_factor_vjp", "lu(m,n), piv:int(min), lu_bar(m,n) -> a_bar(m,n)",
    dtypes(lu_factor_vjp_matrix[s], lu_factor_vjp_matrix[d], lu_factor_vjp_matrix[c], lu_factor_vjp_matrix[z]),
    <size_t> factor_workspace, failures=FAILURES)
lu_factor_jvp = Kernel(
    "lu_factor_jvp", "lu(m,n), piv:int(min), a_dot(m,n) -> lu_dot(m,n)",
    dtypes(lu_factor_jvp_matrix[s], lu_factor_jvp_matrix[d], lu_factor_jvp_matrix[c], lu_factor_jvp_matrix[z]),
    <size_t> factor_workspace, failures=FAILURES)

lu = Kernel(
    "lu", "a(m,n) -> p:real(m,m), l(m,min), u(min,n)",
    dtypes(lu_forward[s], lu_forward[d], lu_forward[c], lu_forward[z]),
    <size_t> forward_workspace, optional=("p", "l", "u"))
lu_vjp = Kernel(
    "lu_vjp", "p:real(m,m), l(m,min), u(min,n), l_bar(m,min), u_bar(min,n) -> a_bar(m,n)",
    dtypes(lu_vjp_matrix[s], lu_vjp_matrix[d], lu_vjp_matrix[c], lu_vjp_matrix[z]),
    <size_t> unpacked_workspace, failures=FAILURES)
lu_jvp = Kernel(
    "lu_jvp", "p:real(m,m), l(m,min), u(min,n), a_dot(m,n) -> l_dot(m,min), u_dot(min,n)",
    dtypes(lu_jvp_matrix[s], lu_jvp_matrix[d], lu_jvp_matrix[c], lu_jvp_matrix[z]),
    <size_t> unpacked_workspace, failures=FAILURES, optional=("l_dot", "u_dot"))

lu_solve = Kernel(
    "lu_solve", "lu(n,n), piv:int(n), b(n,k?) -> x(n,k?), perm:int(n)",
    dtypes(lu_solve_forward[s], lu_solve_forward[d], lu_solve_forward[c], lu_solve_forward[z]), failures=SOLVE_FAILURES,
    optional=("perm",))
lu_solve_vjp = Kernel(
    "lu_solve_vjp", "lu(n,n), piv:int(n), x(n,k?), x_bar(n,k?) -> lu_bar(n,n), b_bar(n,k?)",
    dtypes(lu_solve_vjp_matrix[s], lu_solve_vjp_matrix[d], lu_solve_vjp_matrix[c], lu_solve_vjp_matrix[z]),
    <size_t> solve_workspace, failures=SOLVE_FAILURES, optional=("lu_bar", "b_bar"))
lu_solve_jvp = Kernel(
    "lu_solve_jvp", "lu(n,n), piv:int(n), x(n,k?), lu_dot(n,n), b_dot(n,k?) -> x_dot(n,k?)",
    dtypes(lu_solve_jvp_matrix[s], lu_solve_jvp_matrix[d], lu_solve_jvp_matrix[c], lu_solve_jvp_matrix[z]),
    <size_t> solve_workspace, failures=SOLVE_FAILURES)

for kernel in (lu_factor, lu_factor_vjp, lu_factor_jvp, lu, lu_vjp, lu_jvp, lu_solve, lu_solve_vjp, lu_solve_jvp):
    globals().update(kernel.gufuncs())
