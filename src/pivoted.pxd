# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""One matrix factored as A = P L U, systems with such a factor, and the inverse: what several kernels share."""

from blas cimport conj, gemm, middle, scalar, transpose, trsm
from dense cimport conjugate, copy, fill, has_nan, permute_rows, zero_on_diagonal
from gufunc cimport NONFINITE
from lapack cimport getrf_columns


cdef enum:
    PANEL = 64              # pivots that LAPACK finds at once, in a copy in which columns lie beside each other
    LEAF = 32               # rows of a triangle that is inverted as one system


cdef inline void factor_halves(Py_ssize_t m, Py_ssize_t n, scalar *lu, Py_ssize_t ld, int *piv,
                               scalar *work) noexcept nogil:
    """`factor` in place, by halves of the columns: threads share the products."""
    cdef Py_ssize_t i, least = min(m, n), size = middle(least)
    cdef scalar *right = lu + size
    cdef scalar *low = lu + size * ld
    if least <= PANEL:
        transpose(False, m, n, lu, ld, work, m)
        getrf_columns(m, n, work, piv)
        transpose(False, n, m, work, m, lu, ld)
        for i in range(least):
            piv[i] = min(max(piv[i] - 1, <int> i), <int> m - 1)     # with NaN about, the search for a pivot may miss
        return
    factor_halves(m, size, lu, ld, piv, work)
    permute_rows(size, n - size, piv, False, right, ld)
    trsm(c'L', c'L', c'N', c'U', size, n - size, 1, lu, ld, right, ld)
    gemm(c'N', c'N', m - size, n - size, size, -1, low, ld, right, ld, 1, low + size, ld)
    factor_halves(m - size, n - size, low + size, ld, piv + size, work)
    permute_rows(least - size, size, piv + size, False, low, ld)
    for i in range(size, least):
        piv[i] += <int> size


cdef inline void factor(Py_ssize_t m, Py_ssize_t n, scalar *a, scalar *lu, int *piv, scalar *work) noexcept nogil:
    """L below U in `lu`, 0-based row interchanges in `piv`; the workspace holds a matrix."""
    copy(m * n, a, lu)
    factor_halves(m, n, lu, n, piv, work)


cdef inline bint pivots_valid(Py_ssize_t m, Py_ssize_t n, int *piv) noexcept nogil:
    """Whether the n row interchanges stay within m rows."""
    cdef Py_ssize_t i
    for i in range(n):
        if piv[i] < 0 or piv[i] >= m:
            return False
    return True


cdef inline int check_factor(Py_ssize_t n, scalar *lu, int *piv, int singular, int bad_pivots) noexcept nogil:
    """One of the two codes, or NONFINITE, if the factor cannot be solved with."""
    if not pivots_valid(n, n, piv):
        return bad_pivots
    if zero_on_diagonal(n, n, lu):
        return NONFINITE if has_nan(c'A', n, n, lu) else singular
    return 0


cdef inline void solve_factored(char trans, Py_ssize_t n, Py_ssize_t k, scalar *lu, int *piv,
                                scalar *b) noexcept nogil:
    """B := op(A)^-1 B; op is N, T, C or, for the conjugate of A, R."""
    if trans == c'R':
        conjugate(n * k, b)
    if trans == c'N' or trans == c'R':
        permute_rows(n, k, piv, False, b, k)
        trsm(c'L', c'L', c'N', c'U', n, k, 1, lu, n, b, k)
        trsm(c'L', c'U', c'N', c'N', n, k, 1, lu, n, b, k)
    else:
        trsm(c'L', c'U', trans, c'N', n, k, 1, lu, n, b, k)
        trsm(c'L', c'L', trans, c'U', n, k, 1, lu, n, b, k)
        permute_rows(n, k, piv, True, b, k)
    if trans == c'R':
        conjugate(n * k, b)


cdef inline void invert_upper(Py_ssize_t n, scalar alpha, scalar *u, Py_ssize_t ld, scalar *out) noexcept nogil:
    """out := alpha U^-H, lower triangular in a matrix of zeros, by halves.

    A product with the one half's inverse, then a system with the other half keep out U^H - alpha I as small as rounding
    of U and out allows; two systems would not: J. J. Du Croz and N. J. Higham, Stability of methods for matrix
    inversion, IMA J. Numer. Anal. 12 (1992), section 2.
    """
    cdef Py_ssize_t i, size = middle(n), rest = n - size
    cdef scalar *low = out + size * ld
    if n <= LEAF:
        for i in range(n):
            out[i * ld + i] = alpha
        trsm(c'R', c'U', c'C', c'N', n, n, 1, u, ld, out, ld)
        return
    invert_upper(size, alpha, u, ld, out)
    invert_upper(rest, alpha, u + size * ld + size, ld, low + size)
    gemm(c'N', c'C', rest, size, rest, -1, low + size, ld, u + size, ld, 0, low, ld)
    trsm(c'R', c'U', c'C', c'N', rest, size, 1, u, ld, low, ld)


cdef inline void invert_factored(Py_ssize_t n, bint corner, scalar alpha, scalar *lu, scalar *out) noexcept nogil:
    """out := alpha (U^-1 L^-1)^H; corner: but with `out`'s last entry for alpha over the last pivot."""
    cdef Py_ssize_t i
    cdef scalar *row = out + (n - 1) * n
    cdef scalar last = row[n - 1]
    fill(n * n, 0, out)
    invert_upper(n - corner, alpha, lu, n, out)
    if corner:
        for i in range(n - 1):
            row[i] = conj(lu[i * n + n - 1])
        row[n - 1] = last
        trsm(c'R', c'U', c'C', c'N', 1, n - 1, -last, lu, n, row, n)
    trsm(c'L', c'L', c'C', c'U', n, n, 1, lu, n, out, n)
