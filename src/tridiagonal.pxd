# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Hermitian eigenvalue problems by reduction to a real tridiagonal matrix, A = Q T Q^H, whose products threads share.

G. H. Golub and C. F. Van Loan, Matrix Computations (4th ed., 2013), section 8.3.1; by panels, of which the rest of the
matrix has the update after the last of their columns, J. J. Dongarra, S. J. Hammarling and D. C. Sorensen, Block
reduction of matrices to condensed forms for eigenvalue computations, J. Comput. Appl. Math. 27 (1989), section 3.
Half of the work is a product of the rest of the matrix and a vector for each column, as fast as memory is.
"""

from libc.math cimport ldexp, sqrt
from libc.stdint cimport int64_t
from libc.string cimport memset

from blas cimport (
    c, conj, d, gemm_weighted, gemmt, gemv_columns, get_real, has_gemv, letter, matkern_lent, real, s, scalar,
    set_real, transpose, z)
from dense cimport conjugate, copy, exponent_to_one, fill, scale_by_power, scale_columns
from lapack cimport heevd_by_lapack, heevd_workspace_of_lapack, larfg, sterf
from reflectors cimport multiply_reflected, multiply_workspace
from stedc cimport stedc, stedc_workspace

cdef enum:
    PANEL = 16              # columns
    PIECES = 8              # of a product with a vector
    SHARED_FROM = 256       # rows of the matrix
    LEAST = 128             # rows from which this is faster than LAPACK's heevd (bench/drivers.py)
    LEAST_OF_VALUES = 1000  # the same of eigenvalues alone


cdef struct Hemv:
    char dtype
    Py_ssize_t itemsize, n, lda
    char *a
    char *x
    char *parts             # of y, n elements for each piece


cdef inline Py_ssize_t first_column(Py_ssize_t n, int64_t piece) noexcept nogil:
    """Of pieces of a lower triangle that have equal areas."""
    return <Py_ssize_t> (n * (1 - sqrt(1 - <double> piece / PIECES)))


cdef inline void hemv_pieces(void *context, int64_t first, int64_t last) noexcept nogil:
    cdef Hemv *p = <Hemv*> context
    cdef int64_t piece
    cdef char *y
    for piece in range(first, last):
        y = p.parts + piece * p.n * p.itemsize
        memset(y, 0, p.n * p.itemsize)
        matkern_lent.hemv(p.dtype, p.n, first_column(p.n, piece), first_column(p.n, piece + 1), p.a, p.lda, p.x, y)


cdef inline void hemv(Py_ssize_t n, scalar *a, Py_ssize_t lda, scalar *x, scalar *y, scalar *parts) noexcept nogil:
    """y := A x for a Hermitian matrix, of which the lower triangle is read by columns."""
    cdef Hemv p
    cdef Py_ssize_t i
    cdef int64_t piece
    if n < SHARED_FROM:
        fill(n, 0, y)
        matkern_lent.hemv(letter(a), n, 0, n, a, lda, x, y)
        return
    p.dtype, p.itemsize, p.n, p.lda = letter(a), sizeof(scalar), n, lda
    p.a, p.x, p.parts = <char*> a, <char*> x, <char*> parts
    matkern_lent.share(PIECES, hemv_pieces, &p)
    copy(n, parts, y)
    for piece in range(1, PIECES):
        for i in range(first_column(n, piece), n):
            y[i] = y[i] + parts[piece * n + i]


cdef inline Py_ssize_t tridiagonal_workspace(Py_ssize_t n) noexcept nogil:
    return (4 * PANEL + PIECES) * n + 4 * PANEL


cdef inline void tridiagonalise(Py_ssize_t n, scalar *a, scalar *diagonal, scalar *beside, scalar *tau,
                                scalar *work) noexcept nogil:
    """T's real diagonals, and Q = H_0 H_1 ..., each reflection below the subdiagonal, for A in column-major order.

    The panel's reflections v and, with x = tau A v, w = x - conj(tau) (v^H x) v / 2 are the rows of P^T, v w v w ...;
    A is what it was before, minus P S^H, of which S has w and v exchanged.
    """
    cdef scalar *p = work
    cdef scalar *exchanged = p + 2 * PANEL * n
    cdef scalar *parts = exchanged + 2 * PANEL * n
    cdef scalar *coefficients = parts + PIECES * n
    cdef scalar *products = coefficients + 2 * PANEL
    cdef scalar *column
    cdef scalar *v
    cdef scalar *w
    cdef scalar inner
    cdef Py_ssize_t i, j, k, rest
    for j in range(n):
        k = 2 * (j % PANEL)
        rest = n - j - 1
        column = a + j * n + j
        for i in range(k):
            coefficients[i] = -conj(p[(i ^ 1) * n + j])
        gemv_columns(rest + 1, k, p + j, n, coefficients, column, NULL, NULL)
        set_real(diagonal, j, real(column[0]))
        if rest == 0:
            return
        tau[j] = larfg(rest, column + 1)
        set_real(beside, j, real(column[1]))
        v = p + k * n + j + 1
        w = v + n
        copy(rest, column + 1, v)
        v[0] = 1
        hemv(rest, column + n + 1, n, v, w, parts)
        fill(k, 0, products)
        gemv_columns(rest, k, p + j + 1, n, NULL, NULL, v, products)
        for i in range(k):
            coefficients[i] = -products[i ^ 1]
        gemv_columns(rest, k, p + j + 1, n, coefficients, w, NULL, NULL)
        inner = 0
        for i in range(rest):
            w[i] = w[i] * tau[j]
            inner = inner + conj(v[i]) * w[i]
        inner = inner * conj(tau[j]) / 2
        for i in range(rest):
            w[i] = w[i] - inner * v[i]
        if j % PANEL == PANEL - 1:
            for i in range(2 * PANEL):
                copy(rest, p + (i ^ 1) * n + j + 1, exchanged + i * n)
            gemmt(c'U', False, c'C', c'N', rest, 2 * PANEL, -1, exchanged, n, p + j + 1, n, 1, column + n + 1, n)


cdef inline Py_ssize_t heevd_workspace(Py_ssize_t n) noexcept nogil:
    """Elements for either way; -1 if too many for LAPACK."""
    cdef Py_ssize_t size = heevd_workspace_of_lapack(n)
    return -1 if size < 0 else max(size, 2 * n * n + 2 * n + stedc_workspace(n) + tridiagonal_workspace(n)
                                   + multiply_workspace(n, n))


cdef inline int heevd(char uplo, Py_ssize_t n, scalar *a, scalar *w, scalar *v, scalar *work) noexcept nogil:
    """A = V diag(w) V^H for Hermitian A, of which one triangle is read; not 0 if an eigenvalue did not converge.

    w is real and ascends; V may be NULL.
    """
    cdef scalar *columns = work
    cdef scalar *tau = columns + n * n
    cdef scalar *beside = tau + n
    cdef scalar *vectors = beside + n                       # Q^H V by rows of its transpose, then V^T
    cdef scalar *rest = vectors + n * n
    cdef scalar *q
    cdef Py_ssize_t i
    cdef int power, info
    if n < (LEAST if v is not NULL else LEAST_OF_VALUES) or not has_gemv():
        return heevd_by_lapack(uplo, n, a, w, v, work)
    power = exponent_to_one(uplo, n, n, a)
    if uplo == c'L':
        transpose(False, n, n, a, n, columns, n)
    else:                                                   # the lower triangle of A = A^H by columns
        copy(n * n, a, columns)
        conjugate(n * n, columns)
    for i in range(n):
        columns[i * n + i] = <scalar> real(columns[i * n + i])
    scale_by_power(n * n, power, columns)
    tridiagonalise(n, columns, w, beside, tau, rest)
    if v is NULL:
        if scalar is s or scalar is c:
            info = sterf(n, <s*> w, <s*> beside)
        else:
            info = sterf(n, <d*> w, <d*> beside)
    else:
        q = vectors if scalar is s or scalar is d else rest
        if scalar is s or scalar is c:
            info = stedc(n, <s*> w, <s*> beside, <s*> q, <s*> q + n * n)
        else:
            info = stedc(n, <d*> w, <d*> beside, <d*> q, <d*> q + n * n)
        if scalar is c or scalar is z:
            for i in range(n * n):
                vectors[i] = <scalar> get_real(q, i)
        multiply_reflected(n - 1, n - 1, columns + 1, n, tau, n, vectors + 1, n, rest)
        transpose(False, n, n, vectors, n, v, n)
    for i in range(n):
        set_real(w, i, ldexp(get_real(w, i), -power))
    return info


cdef inline void lower_from_eigen(Py_ssize_t n, scalar *w, scalar *v, scalar *work, scalar *out) noexcept nogil:
    """The lower triangle of out := V diag(w) V^H for real w; what is above it may be written, too."""
    if not gemm_weighted(c'L', c'C', n, n, n, v, w, v, out):
        scale_columns(n, n, v, w, work)
        gemmt(c'L', False, c'N', c'C', n, n, 1, work, n, v, n, 0, out, n)
