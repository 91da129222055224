# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Singular value problems by reduction to a real bidiagonal matrix, A = Q B P^H, whose products threads share.

G. H. Golub and C. F. Van Loan, Matrix Computations (4th ed., 2013), section 5.4.8; by panels as in tridiagonal.pxd. The
products of the rest of the matrix with both vectors of a step read it once: its row after the reflection from the left
is known part by part, and A times that row gives A times the vector that is made of it. G. W. Howell, J. W. Demmel,
C. T. Fulton, S. Hammarling and K. Marmol, Cache efficient bidiagonalization using BLAS 2.5 operators, ACM Trans. Math.
Softw. 34 (2008), section 3.
"""

from libc.math cimport ldexp
from libc.stdint cimport int64_t

from blas cimport (
    c, conj, d, gemm, gemv_columns, get_real, has_gemv, letter, matkern_lent, real, s, scalar, set_real, transpose, z)
from dense cimport conjugate, copy, exponent_to_one, fill, norm, scale_by_power
from lapack cimport bdsdc_columns, gesdd_by_lapack, gesdd_workspace_of_lapack, larfg
from reflectors cimport multiply_reflected, multiply_workspace

cdef enum:
    PANEL = 16              # columns
    STRIP = 16              # columns that are in the cache for both products
    PIECES = 8              # of a pair of products
    SHARED_FROM = 40000     # elements
    LEAST = 128             # rows and columns from which this is faster than LAPACK's gesdd (bench/drivers.py)


cdef struct Step:           # y := tau A^H v + y, x := conj(A's first row) + x - y, and w := A x; by columns
    char dtype
    Py_ssize_t m, n, lda
    char *a
    char *v
    char *x
    char *y
    char *parts             # of w, m elements for each piece
    char *tau


cdef inline void step_strip(Step *p, scalar *a, scalar *v, scalar *x, scalar *y, scalar *w, Py_ssize_t begin,
                            Py_ssize_t end) noexcept nogil:
    """The columns begin <= j < end."""
    cdef scalar products[STRIP]
    cdef Py_ssize_t i, j = begin, width
    fill(p.m, 0, w)
    while j < end:
        width = min(STRIP, end - j)
        fill(width, 0, products)
        gemv_columns(p.m, width, a + j * p.lda, p.lda, NULL, NULL, v, products)
        for i in range(j, j + width):
            y[i] = y[i] + (<scalar*> p.tau)[0] * products[i - j]
            x[i] = x[i] + conj(a[i * p.lda]) - y[i]
        gemv_columns(p.m, width, a + j * p.lda, p.lda, x + j, w, NULL, NULL)
        j += width


cdef inline void step_pieces(void *context, int64_t first, int64_t last) noexcept nogil:
    cdef Step *p = <Step*> context
    cdef int64_t piece
    cdef Py_ssize_t begin, end
    for piece in range(first, last):
        begin, end = p.n * piece // PIECES, p.n * (piece + 1) // PIECES
        if p.dtype == c's':
            step_strip(p, <s*> p.a, <s*> p.v, <s*> p.x, <s*> p.y, <s*> p.parts + piece * p.m, begin, end)
        elif p.dtype == c'd':
            step_strip(p, <d*> p.a, <d*> p.v, <d*> p.x, <d*> p.y, <d*> p.parts + piece * p.m, begin, end)
        elif p.dtype == c'c':
            step_strip(p, <c*> p.a, <c*> p.v, <c*> p.x, <c*> p.y, <c*> p.parts + piece * p.m, begin, end)
        else:
            step_strip(p, <z*> p.a, <z*> p.v, <z*> p.x, <z*> p.y, <z*> p.parts + piece * p.m, begin, end)


cdef inline void step(Py_ssize_t m, Py_ssize_t n, scalar *a, Py_ssize_t lda, scalar tau, scalar *v, scalar *x,
                      scalar *y, scalar *parts) noexcept nogil:
    """`Step`; w is at the front of `parts`."""
    cdef Step p
    cdef Py_ssize_t i, piece
    p.dtype, p.m, p.n, p.lda, p.a, p.v, p.x, p.y = letter(a), m, n, lda, <char*> a, <char*> v, <char*> x, <char*> y
    p.parts, p.tau = <char*> parts, <char*> &tau
    if m * n < SHARED_FROM:
        step_strip(&p, a, v, x, y, parts, 0, n)
        return
    matkern_lent.share(PIECES, step_pieces, &p)
    for piece in range(1, PIECES):
        for i in range(m):
            parts[i] = parts[i] + parts[piece * m + i]


cdef inline Py_ssize_t bidiagonal_workspace(Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    return 2 * PANEL * (m + n) + PIECES * m + n + 4 * PANEL


cdef inline double negligible(scalar *unused) noexcept nogil:
    """Of a matrix whose largest entry is about 1: what may become zero, so that no product with it underflows."""
    return 1e-30 if scalar is s or scalar is c else 1e-290


cdef inline void bidiagonalise(Py_ssize_t m, Py_ssize_t n, scalar *a, scalar *diagonal, scalar *above, scalar *tau,
                               scalar *tau_right, scalar *u, scalar *work) noexcept nogil:
    """B's real diagonals, Q = H_0 H_1 ... below A's diagonal and P = G_0 G_1 ... below U's subdiagonal.

    A is (m, n), m >= n, U is (n, n), in column-major order. The panel's reflections v and u, y = tau A^H v and
    x = tau_right A u are the rows of L^T, v x v x ..., and R^T, y u y u ...; A is what it was before, minus L R^H.
    """
    cdef scalar *l = work
    cdef scalar *r = l + 2 * PANEL * m
    cdef scalar *parts = r + 2 * PANEL * n                  # w first
    cdef scalar *row = parts + PIECES * m
    cdef scalar *products = row + n
    cdef scalar *coefficients = products + 2 * PANEL
    cdef scalar *column
    cdef scalar *v
    cdef scalar *x
    cdef scalar *y
    cdef scalar *g
    cdef scalar pivot, beta
    cdef Py_ssize_t i, j, k, low, wide
    for j in range(n):
        k = 2 * (j % PANEL)
        low, wide = m - j, n - j - 1
        column = a + j * m + j
        for i in range(k):
            coefficients[i] = -conj(r[i * n + j])
        gemv_columns(low, k, l + j, m, coefficients, column, NULL, NULL)
        tau[j] = larfg(low, column)
        set_real(diagonal, j, real(column[0]))
        if wide == 0:
            return
        v = l + k * m + j
        x = v + m
        y = r + k * n + j + 1
        g = y + n
        copy(low, column, v)
        v[0] = 1
        fill(wide, 0, y)
        fill(wide, 0, row)
        fill(k, 0, products)
        gemv_columns(low, k, l + j, m, NULL, NULL, v, products)
        for i in range(k):
            products[i] = -tau[j] * products[i]
            coefficients[i] = -conj(l[i * m + j])
        gemv_columns(wide, k, r + j + 1, n, products, y, NULL, NULL)
        gemv_columns(wide, k, r + j + 1, n, coefficients, row, NULL, NULL)
        step(low, wide, column + m, m, tau[j], v, row, y, parts)
        if norm(wide, row) <= negligible(row):
            fill(wide, 0, row)
        pivot = row[0]
        tau_right[j] = larfg(wide, row)
        beta = row[0]
        set_real(above, j, real(beta))
        row[0] = 1
        copy(wide, row, u + j * n + j + 1)
        copy(wide, row, g)
        fill(low - 1, 0, x + 1)
        if tau_right[j] != 0:
            # A u of w = A (beta e_1 + (pivot - beta) u), then without what L R^H takes from it
            for i in range(1, low):
                x[i] = (parts[i] - beta * column[m + i]) / (pivot - beta)
            fill(k + 1, 0, products)
            gemv_columns(wide, k + 1, r + j + 1, n, NULL, NULL, g, products)
            for i in range(k + 1):
                products[i] = -products[i]
            gemv_columns(low - 1, k + 1, l + j + 1, m, products, x + 1, NULL, NULL)
            for i in range(1, low):
                x[i] = x[i] * tau_right[j]
        if j % PANEL == PANEL - 1:
            gemm(c'C', c'N', wide, low - 1, 2 * PANEL, -1, r + j + 1, n, l + j + 1, m, 1, column + m + 1, m)


cdef inline void widen(Py_ssize_t rows, Py_ssize_t columns, scalar *q, scalar *out) noexcept nogil:
    """out := the real square matrix Q, with columns of zeros."""
    cdef Py_ssize_t i, j
    for i in range(rows):
        for j in range(rows):
            out[i * columns + j] = <scalar> get_real(q, i * rows + j)
        fill(columns - rows, 0, out + i * columns + rows)


cdef inline void transpose_real(Py_ssize_t n, scalar *q, scalar *out) noexcept nogil:
    """out := the transpose of the real matrix Q."""
    cdef Py_ssize_t i, j, i0, j0
    for i0 in range(0, n, 16):
        for j0 in range(0, n, 16):
            for i in range(i0, min(i0 + 16, n)):
                for j in range(j0, min(j0 + 16, n)):
                    out[i * n + j] = <scalar> get_real(q, j * n + i)


cdef inline bint by_lapack(Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """Of matrices that are far from square LAPACK makes R of QR first."""
    return min(m, n) < LEAST or 3 * max(m, n) > 5 * min(m, n) or not has_gemv()


cdef inline Py_ssize_t gesdd_workspace(Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """Elements for either way; -1 if too many for LAPACK."""
    cdef Py_ssize_t size = gesdd_workspace_of_lapack(m, n), least = min(m, n), most = max(m, n)
    return -1 if size < 0 else max(size, 2 * m * n + 6 * least * least + 16 * least + bidiagonal_workspace(most, least)
                                   + multiply_workspace(most, least))


cdef inline int gesdd(Py_ssize_t m, Py_ssize_t n, scalar *a, scalar *sigma, scalar *u, scalar *vh,
                      scalar *work) noexcept nogil:
    """A = U diag(sigma) Vh, thin: U is (m, min), sigma min reals, Vh (min, n); not 0 if it did not converge.

    Overwrites A. Values alone if u is NULL. In column-major order a wide A is its tall transpose, and U and Vh change
    places.
    """
    cdef Py_ssize_t i, most = max(m, n), least = min(m, n), square = least * least
    cdef bint tall = m > n
    cdef scalar *columns = work if tall else a
    cdef scalar *right = work + (m * n if tall else 0)      # the reflections from the right
    cdef scalar *tau = right + square
    cdef scalar *tau_right = tau + least
    cdef scalar *above = tau_right + least
    cdef scalar *rest = above + least
    cdef scalar *small_u
    cdef scalar *small_vt
    cdef scalar *x                                          # X^T, and Y^T, of the tall matrix X diag(sigma) Y^H
    cdef scalar *y
    cdef int power, info
    if by_lapack(m, n):
        return gesdd_by_lapack(m, n, a, sigma, u, vh, work)
    power = exponent_to_one(c'A', m, n, a)
    if tall:
        transpose(False, m, n, a, n, columns, m)
    scale_by_power(m * n, power, columns)
    bidiagonalise(most, least, columns, sigma, above, tau, tau_right, right, rest)
    x, y = (rest, vh) if tall else (vh, rest)
    small_u = rest + most * least
    small_vt = small_u + (square if scalar is s or scalar is d else (square + 1) // 2)
    if scalar is s or scalar is c:
        info = bdsdc_columns(u is not NULL, least, <s*> sigma, <s*> above, <s*> small_u, <s*> small_vt,
                             <s*> small_vt + square, <int*> (<s*> small_vt + 4 * square + 4 * least))
    else:
        info = bdsdc_columns(u is not NULL, least, <d*> sigma, <d*> above, <d*> small_u, <d*> small_vt,
                             <d*> small_vt + square, <int*> (<d*> small_vt + 4 * square + 4 * least))
    for i in range(least):
        set_real(sigma, i, ldexp(get_real(sigma, i), -power))
    if u is NULL or info:
        return info
    widen(least, most, small_u, x)
    transpose_real(least, small_vt, y)
    rest = small_u
    multiply_reflected(most, least, columns, most, tau, least, x, most, rest)
    multiply_reflected(least - 1, least - 1, right + 1, least, tau_right, least, y + 1, least, rest)
    if tall:
        transpose(False, least, most, x, most, u, least)
        conjugate(square, y)
    else:
        transpose(True, least, least, y, least, u, least)
    return 0
