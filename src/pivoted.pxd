# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""One matrix factored as A = P L U, and systems with such a factor: what lu.pyx and solve.pyx share."""

from blas cimport getrf_columns, scalar, trsm
from dense cimport conjugate, has_nan, permute_rows, transpose, zero_on_diagonal
from gufunc cimport NONFINITE


cdef inline void factor(Py_ssize_t m, Py_ssize_t n, scalar *a, scalar *lu, int *piv, scalar *work) noexcept nogil:
    """L below U in `lu`, 0-based row interchanges in `piv`; the workspace holds a matrix."""
    cdef Py_ssize_t i
    transpose(m, n, a, work)
    getrf_columns(m, n, work, piv)
    transpose(n, m, work, lu)
    for i in range(min(m, n)):
        piv[i] = min(max(piv[i] - 1, <int> i), <int> m - 1)     # with NaN about, the search for a pivot may miss


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


cdef inline void solve_factored(char trans, Py_ssize_t n, Py_ssize_t k, scalar *lu, int *piv, scalar *b,
                                bint substitute) noexcept nogil:
    """B := op(A)^-1 B; op is N, T, C or, for the conjugate of A, R; `substitute` as for trsm."""
    if trans == c'R':
        conjugate(n * k, b)
    if trans == c'N' or trans == c'R':
        permute_rows(n, k, piv, False, b)
        trsm(c'L', c'L', c'N', c'U', n, k, 1, lu, n, b, k, substitute)
        trsm(c'L', c'U', c'N', c'N', n, k, 1, lu, n, b, k, substitute)
    else:
        trsm(c'L', c'U', trans, c'N', n, k, 1, lu, n, b, k, substitute)
        trsm(c'L', c'L', trans, c'U', n, k, 1, lu, n, b, k, substitute)
        permute_rows(n, k, piv, True, b)
    if trans == c'R':
        conjugate(n * k, b)
