# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""One matrix factored as A = P L U, systems with such a factor, and the inverse: what several kernels share."""

from blas cimport conj, gemm, scalar, transpose, trsm
from dense cimport conjugate, copy, copy_block, has_nan, permute_rows, zero_on_diagonal
from gufunc cimport NONFINITE
from lapack cimport getrf_columns


cdef enum:
    PANEL = 64              # columns at most that LAPACK factors, in a copy in which they lie beside each other


cdef inline void factor_halves(Py_ssize_t m, Py_ssize_t n, scalar *lu, Py_ssize_t ld, int *piv,
                               scalar *work) noexcept nogil:
    """`factor` in place, by halves of the columns: threads share the products."""
    cdef Py_ssize_t i, least = min(m, n), half = (least + 31) // 32 * 16
    cdef scalar *right = lu + half
    cdef scalar *low = lu + half * ld
    if least <= PANEL:
        transpose(False, m, n, lu, ld, work, m)
        getrf_columns(m, n, work, piv)
        transpose(False, n, m, work, m, lu, ld)
        for i in range(least):
            piv[i] = min(max(piv[i] - 1, <int> i), <int> m - 1)     # with NaN about, the search for a pivot may miss
        return
    factor_halves(m, half, lu, ld, piv, work)
    permute_rows(half, n - half, piv, False, right, ld)
    trsm(c'L', c'L', c'N', c'U', half, n - half, 1, lu, ld, right, ld)
    gemm(c'N', c'N', m - half, n - half, half, -1, low, ld, right, ld, 1, low + half, ld)
    factor_halves(m - half, n - half, low + half, ld, piv + half, work)
    permute_rows(least - half, half, piv + half, False, low, ld)
    for i in range(half, least):
        piv[i] += <int> half


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


# Rows and columns that invert_factored adds at once. In larger blocks the products run faster, but more of the work is
# the inversion of the blocks' own triangles, which is slow.
cdef enum:
    BLOCK = 128             # of matrices of at least 4 BLOCK rows
    LEAF = 32               # of others
    SMALL_LEAF = 16         # of matrices of at most BLOCK rows


cdef inline Py_ssize_t invert_workspace(Py_ssize_t n) noexcept nogil:
    """Y and Z of a BLOCK, and of the LEAF inside with its inverse."""
    return LEAF * (2 * n + LEAF) + 2 * BLOCK * n


cdef inline void invert_block(Py_ssize_t n, scalar alpha, scalar *lu, Py_ssize_t ld, scalar *out,
                              scalar *work) noexcept nogil:
    """out := alpha (U^-1 L^-1)^H; the workspace has room for it."""
    cdef Py_ssize_t i, j
    for i in range(n):
        for j in range(n):
            work[i * n + j] = i == j
    trsm(c'L', c'L', c'N', c'U', n, n, 1, lu, ld, work, n)
    trsm(c'L', c'U', c'N', c'N', n, n, 1, lu, ld, work, n)
    for i in range(n):
        for j in range(n):
            out[i * ld + j] = alpha * conj(work[j * n + i])


cdef inline void invert_factored(Py_ssize_t n, Py_ssize_t done, scalar alpha, scalar *lu, scalar *out, Py_ssize_t ld,
                                 scalar *work) noexcept nogil:
    """out := alpha (U^-1 L^-1)^H, of which the last `done` rows and columns are there.

    By blocks from the last. With M = U22^-1 L22^-1, of which alpha M^H is there,

        L = ( L11      )    U = ( U11 U12 )    Y = L21 L11^-1
            ( L21  L22 )        (     U22 )    Z = U11^-1 U12

        U^-1 L^-1 = ( U11^-1 L11^-1 + Z M Y   -Z M )
                    (                  -M Y      M )
    """
    cdef Py_ssize_t first, size, block = BLOCK if n >= 4 * BLOCK else LEAF if n > BLOCK else SMALL_LEAF
    cdef scalar *y = work
    cdef scalar *z
    cdef scalar *rest
    cdef scalar *corner
    cdef scalar *new                                        # of the result with the block's rows and columns
    cdef scalar *old
    while done < n:
        size = (n - done - 1) % block + 1
        first = n - done - size
        corner = lu + first * ld + first
        new = out + first * ld + first
        old = new + size * ld + size
        z = y + size * done
        rest = z + size * done
        if size <= LEAF:
            invert_block(size, alpha, corner, ld, new, rest)
        else:
            invert_factored(size, 0, alpha, corner, new, ld, rest)
        copy_block(done, size, corner + size * ld, ld, y, size)
        copy_block(size, done, corner + size, ld, z, done)
        trsm(c'R', c'L', c'N', c'U', done, size, 1, corner, ld, y, size)
        trsm(c'L', c'U', c'N', c'N', size, done, 1, corner, ld, z, done)
        if done:
            gemm(c'C', c'N', size, done, done, -1, y, size, old, ld, 0, new + size, ld)
            gemm(c'N', c'C', done, size, done, -1, old, ld, z, done, 0, new + size * ld, ld)
            gemm(c'N', c'C', size, size, done, -1, new + size, ld, z, done, 1, new, ld)
        done += size
