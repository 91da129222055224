# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""BLAS for row-major matrices of four dtypes, and what it lacks: the only cimport of scipy.linalg.cython_blas.

A row-major matrix read column by column, as BLAS reads it, is its own transpose. So every routine here
swaps operands, sides and triangles once, and the kernels never think of it. Sizes arrive as 64-bit integers
that the batch layer (gufunc.pyx) has checked against INT_MAX, and become int here and in lapack.pxd.
`ld` is the distance between rows, in elements.
"""

from libc.math cimport sqrt
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from scipy.linalg.cython_blas cimport (
    sasum, dasum, scasum, dzasum,
    sgemm, dgemm, cgemm, zgemm, ssymm, dsymm, chemm, zhemm, ssyr2k, dsyr2k, cher2k, zher2k,
    strsm, dtrsm, ctrsm, ztrsm, strsv, dtrsv, ctrsv, ztrsv)

ctypedef float s
ctypedef double d
ctypedef float complex c
ctypedef double complex z

ctypedef fused scalar:
    s
    d
    c
    z

ctypedef fused real_scalar:
    s
    d


# scalars

cdef inline scalar conj(scalar x) noexcept nogil:
    if scalar is c or scalar is z:
        return x.conjugate()
    else:
        return x


cdef inline double real(scalar x) noexcept nogil:
    if scalar is c or scalar is z:
        return x.real
    else:
        return x


cdef inline double imag(scalar x) noexcept nogil:
    if scalar is c or scalar is z:
        return x.imag
    else:
        return 0


cdef inline double eps(scalar *unused) noexcept nogil:
    """The distance from 1 to the next number of the precision."""
    if scalar is s or scalar is c:
        return 1.1920928955078125e-07
    else:
        return 2.220446049250313e-16


cdef inline double get_real(scalar *x, Py_ssize_t i) noexcept nogil:
    """Element i of an array of real numbers in the precision of `scalar`."""
    if scalar is s or scalar is c:
        return (<float*> x)[i]
    else:
        return (<double*> x)[i]


cdef inline void set_real(scalar *x, Py_ssize_t i, double value) noexcept nogil:
    if scalar is s or scalar is c:
        (<float*> x)[i] = <float> value
    else:
        (<double*> x)[i] = value


cdef inline char other(char uplo) noexcept nogil:
    """The triangle that BLAS sees."""
    return c'U' if uplo == c'L' else c'L'


cdef inline int ld_(Py_ssize_t ld) noexcept nogil:
    return <int> ld if ld > 0 else 1


# level 1

cdef inline double asum(Py_ssize_t size, scalar *x) noexcept nogil:
    """The sum of |re x_i| + |im x_i|."""
    cdef int size_ = <int> size, one = 1
    if scalar is s:
        return sasum(&size_, x, &one)
    elif scalar is d:
        return dasum(&size_, x, &one)
    elif scalar is c:
        return scasum(&size_, x, &one)
    else:
        return dzasum(&size_, x, &one)


# transposition

cdef inline void transpose_tile(bint conjugated, scalar *a, Py_ssize_t lda, scalar *out,
                                Py_ssize_t ldout) noexcept nogil:
    """out := A^T, or A^H, for A of shape (4, 4), which compilers keep in registers."""
    cdef scalar tile[16]
    cdef Py_ssize_t i, j
    for i in range(4):
        for j in range(4):
            tile[4 * j + i] = conj(a[i * lda + j]) if conjugated else a[i * lda + j]
    for j in range(4):
        for i in range(4):
            out[j * ldout + i] = tile[4 * j + i]


cdef inline void transpose(bint conjugated, Py_ssize_t m, Py_ssize_t n, scalar *a, Py_ssize_t lda,
                           scalar *out, Py_ssize_t ldout) noexcept nogil:
    """out := A^T, or A^H, for A of shape (m, n)."""
    cdef Py_ssize_t i, j, i0, m4 = m - m % 4, n4 = n - n % 4
    for i0 in range(0, m4, 32):                             # few enough rows that their cache lines stay to their ends
        for j in range(0, n4, 4):
            for i in range(i0, min(i0 + 32, m4), 4):
                transpose_tile(conjugated, a + i * lda + j, lda, out + j * ldout + i, ldout)
    for i in range(m):                                      # the last columns, and the last rows
        for j in range(n4 if i < m4 else 0, n):
            out[j * ldout + i] = conj(a[i * lda + j]) if conjugated else a[i * lda + j]


# level 3

cdef inline Py_ssize_t middle(Py_ssize_t n) noexcept nogil:
    """Where a matrix of more than 16 rows is halved so that the second part, too, starts where vectors do."""
    return (n + 31) // 32 * 16


# Products of at least this many multiplications are shared among threads, in an even number of pieces of about half.
cdef enum:
    SHARED_ABOVE = 4000000
    MOST_PIECES = 256

cdef extern from "level3.h":
    enum:
        LARGEST_SYSTEM "MATKERN_LARGEST_SYSTEM"
    ctypedef struct Product "matkern_product":
        char dtype, hermitian, triangle
        bint strict, ours
        int64_t shift
        char transa, transb
        int64_t m, n, k, lda, ldb, ldc
        char *a
        char *b
        char *c
        void *alpha
        void *beta
        const void *weights
        int64_t pieces
    ctypedef struct System "matkern_system":
        bint product
        char dtype, side, uplo, trans, diag
        int64_t m, n, lda, ldb
        void *alpha
        char *a
        char *b
        int64_t pieces
    ctypedef void (*Body)(void *context, int64_t first, int64_t last) noexcept nogil
    ctypedef struct Level3 "const matkern_level3":
        void (*share)(int64_t pieces, Body body, void *context) noexcept nogil
        bint (*fits)(const Product *product) noexcept nogil
        bint (*multiply)(const Product *product) noexcept nogil
        bint (*solve)(const System *system) noexcept nogil
        bint (*mirror)(char dtype, int64_t n, void *a) noexcept nogil
        int64_t (*skew_quotients)(char dtype, int64_t n, double apart, const void *w, void *m) noexcept nogil
        bint (*sum_of_squares)(char dtype, int64_t count, const void *a, double *sum) noexcept nogil
        bint (*has_gemv)() noexcept nogil
        void (*gemv)(char dtype, int64_t m, int64_t n, const void *a, int64_t lda, const void *x, void *y,
                     const void *v, void *w) noexcept nogil
        void (*hemv)(char dtype, int64_t n, int64_t first, int64_t last, const void *a, int64_t lda, const void *x,
                     void *y) noexcept nogil

cdef extern from *:
    """
    static const matkern_level3 *matkern_lent = 0;          /* of this module */
    static inline void use_level3(size_t address) { matkern_lent = (const matkern_level3 *) address; }
    """
    Level3 *matkern_lent
    void use_level3(size_t address)         # matkern.kernels.gufunc.level3; without it everything is BLAS's

cdef inline char letter(scalar *unused) noexcept nogil:
    """BLAS's letter of the dtype."""
    return c's' if scalar is s else c'd' if scalar is d else c'c' if scalar is c else c'z'


cdef inline void gemv_columns(Py_ssize_t m, Py_ssize_t n, scalar *a, Py_ssize_t lda, scalar *x, scalar *y, scalar *v,
                              scalar *w) noexcept nogil:
    """y := A x + y and, as A is read, w := A^H v + w for an (m, n) matrix in column-major order; y or w may be NULL.

    Only where `has_gemv`, as what else is lent for matrices in that order.
    """
    matkern_lent.gemv(letter(a), m, n, a, lda, x, y, v, w)


cdef inline bint has_gemv() noexcept nogil:
    return matkern_lent is not NULL and matkern_lent.has_gemv()


cdef inline int64_t pieces_of(double work) noexcept nogil:
    return 2 * <int64_t> min(work / SHARED_ABOVE, <double> MOST_PIECES / 2)


cdef inline void multiply(Product *p) noexcept nogil:
    cdef int m = <int> p.m, n = <int> p.n, k = <int> p.k, lda = ld_(p.lda), ldb = ld_(p.ldb), ldc = ld_(p.ldc)
    cdef char *uplo = &p.hermitian
    cdef char *side = b'R'
    if p.hermitian:
        if p.dtype == c's':
            ssymm(side, uplo, &n, &m, <s*> p.alpha, <s*> p.a, &lda, <s*> p.b, &ldb, <s*> p.beta, <s*> p.c, &ldc)
        elif p.dtype == c'd':
            dsymm(side, uplo, &n, &m, <d*> p.alpha, <d*> p.a, &lda, <d*> p.b, &ldb, <d*> p.beta, <d*> p.c, &ldc)
        elif p.dtype == c'c':
            chemm(side, uplo, &n, &m, <c*> p.alpha, <c*> p.a, &lda, <c*> p.b, &ldb, <c*> p.beta, <c*> p.c, &ldc)
        else:
            zhemm(side, uplo, &n, &m, <z*> p.alpha, <z*> p.a, &lda, <z*> p.b, &ldb, <z*> p.beta, <z*> p.c, &ldc)
    elif p.ours and matkern_lent.multiply(p):
        pass
    elif p.dtype == c's':
        sgemm(&p.transb, &p.transa, &n, &m, &k, <s*> p.alpha, <s*> p.b, &ldb, <s*> p.a, &lda, <s*> p.beta,
              <s*> p.c, &ldc)
    elif p.dtype == c'd':
        dgemm(&p.transb, &p.transa, &n, &m, &k, <d*> p.alpha, <d*> p.b, &ldb, <d*> p.a, &lda, <d*> p.beta,
              <d*> p.c, &ldc)
    elif p.dtype == c'c':
        cgemm(&p.transb, &p.transa, &n, &m, &k, <c*> p.alpha, <c*> p.b, &ldb, <c*> p.a, &lda, <c*> p.beta,
              <c*> p.c, &ldc)
    else:
        zgemm(&p.transb, &p.transa, &n, &m, &k, <z*> p.alpha, <z*> p.b, &ldb, <z*> p.a, &lda, <z*> p.beta,
              <z*> p.c, &ldc)


cdef inline void multiply_pieces(void *context, int64_t first, int64_t last) noexcept nogil:
    """The pieces first <= i < last of a product: rows of C if it has more of them and A is any matrix, or columns."""
    cdef Product piece = (<Product*> context)[0]
    cdef Py_ssize_t size = 4 if piece.dtype == c's' else 16 if piece.dtype == c'z' else 8, begin
    if piece.m > piece.n and not piece.hermitian:
        begin = piece.m * first // piece.pieces
        piece.m = piece.m * last // piece.pieces - begin
        piece.a += size * begin * (piece.lda if piece.transa == c'N' else 1)
        piece.c += size * begin * piece.ldc
    else:
        begin = piece.n * first // piece.pieces
        piece.n = piece.n * last // piece.pieces - begin
        piece.b += size * begin * (1 if piece.transb == c'N' else piece.ldb)
        piece.c += size * begin
    if piece.m and piece.n:
        multiply(&piece)


cdef inline bint fits(Product *p) noexcept nogil:
    return matkern_lent is not NULL and not p.hermitian and matkern_lent.fits(p)


cdef inline void multiply_shared(Product *p) noexcept nogil:
    cdef double work = <double> p.m * p.n * p.k
    if p.m == 0 or p.n == 0:
        return
    p.ours = fits(p)
    if work < SHARED_ABOVE or matkern_lent is NULL:
        multiply(p)
    else:
        p.pieces = pieces_of(work)
        matkern_lent.share(p.pieces, multiply_pieces, p)


cdef inline Product product(char hermitian, char transa, char transb, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
                            scalar *alpha, scalar *a, Py_ssize_t lda, scalar *b, Py_ssize_t ldb,
                            scalar *beta, scalar *c_, Py_ssize_t ldc) noexcept nogil:
    cdef Product p
    p.dtype, p.hermitian, p.triangle, p.strict, p.shift, p.ours = letter(a), hermitian, 0, False, 0, False
    p.transa, p.transb = transa, transb
    p.m, p.n, p.k, p.lda, p.ldb, p.ldc = m, n, k, lda, ldb, ldc
    p.a, p.b, p.c, p.alpha, p.beta = <char*> a, <char*> b, <char*> c_, alpha, beta
    p.weights, p.pieces = NULL, 1
    return p


cdef inline void gemm(char transa, char transb, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, scalar alpha,
                      scalar *a, Py_ssize_t lda, scalar *b, Py_ssize_t ldb,
                      scalar beta, scalar *c_, Py_ssize_t ldc) noexcept nogil:
    """C := alpha op(A) op(B) + beta C; C is (m, n), op(A) is (m, k), op(B) is (k, n)."""
    cdef Product p = product(0, transa, transb, m, n, k, &alpha, a, lda, b, ldb, &beta, c_, ldc)
    multiply_shared(&p)


cdef inline bint gemm_weighted(char triangle, char transb, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, scalar *a,
                               scalar *w, scalar *b, scalar *c_) noexcept nogil:
    """C := A diag(w) op(B) for real w, or its triangle L or U (the other may be written, too), if it is a small product
    that `fits`: whether it was done. Of a larger one the caller scales a factor. Rows lie one after another."""
    cdef scalar one = 1, zero = 0
    cdef Product p = product(0, c'N', transb, m, n, k, &one, a, k, b, n if transb == c'N' else k, &zero, c_, n)
    p.triangle, p.weights = triangle, w
    return <double> m * n * k < SHARED_ABOVE and fits(&p) and matkern_lent.multiply(&p)


cdef inline void hemm(char uplo, Py_ssize_t m, Py_ssize_t n, scalar alpha, scalar *a, Py_ssize_t lda,
                      scalar *b, Py_ssize_t ldb, scalar beta, scalar *c_, Py_ssize_t ldc) noexcept nogil:
    """C := alpha A B + beta C; A is Hermitian (m, m), stored in one triangle; C and B are (m, n)."""
    cdef Product p = product(other(uplo), c'N', c'N', m, n, m, &alpha, a, lda, b, ldb, &beta, c_, ldc)
    multiply_shared(&p)


cdef inline void her2k(char uplo, Py_ssize_t n, Py_ssize_t k, double alpha, scalar *a, Py_ssize_t lda,
                       scalar *b, Py_ssize_t ldb, scalar *c_, Py_ssize_t ldc) noexcept nogil:
    """C := alpha (A B^H + B A^H) + C in one triangle; C is (n, n), A and B are (n, k)."""
    cdef int n_ = <int> n, k_ = <int> k, lda_ = ld_(lda), ldb_ = ld_(ldb), ldc_ = ld_(ldc)
    cdef char tri = other(uplo), trans = c'T' if scalar is s or scalar is d else c'C'
    cdef scalar alpha_ = <scalar> alpha
    cdef float one_s = 1
    cdef double one_d = 1
    if n == 0 or k == 0:
        return
    if scalar is s:
        ssyr2k(&tri, &trans, &n_, &k_, &alpha_, b, &ldb_, a, &lda_, &one_s, c_, &ldc_)
    elif scalar is d:
        dsyr2k(&tri, &trans, &n_, &k_, &alpha_, b, &ldb_, a, &lda_, &one_d, c_, &ldc_)
    elif scalar is c:
        cher2k(&tri, &trans, &n_, &k_, &alpha_, b, &ldb_, a, &lda_, &one_s, c_, &ldc_)
    else:
        zher2k(&tri, &trans, &n_, &k_, &alpha_, b, &ldb_, a, &lda_, &one_d, c_, &ldc_)


cdef enum:
    TRMM_BASE = 16          # rows of a triangle that is multiplied by as a matrix with zeros
    TRMM_STRIP = 128        # columns (side L) or rows (R) of B that are copied at once for that


cdef inline void trmm_leaf(char side, char uplo, char trans, char diag, Py_ssize_t m, Py_ssize_t n, scalar alpha,
                           scalar *a, Py_ssize_t lda, scalar *b, Py_ssize_t ldb) noexcept nogil:
    cdef scalar triangle[TRMM_BASE * TRMM_BASE]
    cdef scalar strip[TRMM_BASE * TRMM_STRIP]
    cdef Py_ssize_t i, j, first, count, size = m if side == c'L' else n, others = n if side == c'L' else m
    for i in range(size):
        for j in range(size):
            triangle[i * size + j] = a[i * lda + j] if (i > j if uplo == c'L' else i < j) else 0
        triangle[i * size + i] = 1 if diag == c'U' else a[i * lda + i]
    first = 0
    while first < others:
        count = min(TRMM_STRIP, others - first)
        if side == c'L':
            for i in range(m):
                memcpy(strip + i * count, b + i * ldb + first, count * sizeof(scalar))
            gemm(trans, c'N', m, count, m, alpha, triangle, m, strip, count, 0, b + first, ldb)
        else:
            for i in range(count):
                memcpy(strip + i * n, b + (first + i) * ldb, n * sizeof(scalar))
            gemm(c'N', trans, count, n, n, alpha, strip, n, triangle, n, 0, b + first * ldb, ldb)
        first += count


cdef inline void trmm_halves(char side, char uplo, char trans, char diag, Py_ssize_t m, Py_ssize_t n, scalar alpha,
                             scalar *a, Py_ssize_t lda, scalar *b, Py_ssize_t ldb) noexcept nogil:
    """`trmm` by halves of A, first the one whose result needs the other's part of B."""
    cdef Py_ssize_t size = m if side == c'L' else n, half = size // 2
    cdef scalar *first = b
    cdef scalar *second = b + half * ldb if side == c'L' else b + half
    cdef scalar *a2 = a + half * lda + half
    cdef scalar *beside = a + half * lda if uplo == c'L' else a + half
    cdef bint lower = (uplo == c'L') == (trans == c'N')         # op(A) is
    if m == 0 or n == 0:
        return
    if size <= TRMM_BASE:
        trmm_leaf(side, uplo, trans, diag, m, n, alpha, a, lda, b, ldb)
    elif side == c'L' and lower:
        trmm_halves(side, uplo, trans, diag, m - half, n, alpha, a2, lda, second, ldb)
        gemm(trans, c'N', m - half, n, half, alpha, beside, lda, first, ldb, 1, second, ldb)
        trmm_halves(side, uplo, trans, diag, half, n, alpha, a, lda, first, ldb)
    elif side == c'L':
        trmm_halves(side, uplo, trans, diag, half, n, alpha, a, lda, first, ldb)
        gemm(trans, c'N', half, n, m - half, alpha, beside, lda, second, ldb, 1, first, ldb)
        trmm_halves(side, uplo, trans, diag, m - half, n, alpha, a2, lda, second, ldb)
    elif lower:
        trmm_halves(side, uplo, trans, diag, m, half, alpha, a, lda, first, ldb)
        gemm(c'N', trans, m, half, n - half, alpha, second, ldb, beside, lda, 1, first, ldb)
        trmm_halves(side, uplo, trans, diag, m, n - half, alpha, a2, lda, second, ldb)
    else:
        trmm_halves(side, uplo, trans, diag, m, n - half, alpha, a2, lda, second, ldb)
        gemm(c'N', trans, m, n - half, half, alpha, first, ldb, beside, lda, 1, second, ldb)
        trmm_halves(side, uplo, trans, diag, m, half, alpha, a, lda, first, ldb)


cdef inline void trsv(char uplo, char trans, char diag, Py_ssize_t n, scalar *a, Py_ssize_t lda,
                      scalar *x) noexcept nogil:
    """x := op(A)^-1 x for op N or T, or C of a real matrix."""
    cdef int n_ = <int> n, lda_ = ld_(lda), one = 1
    cdef char tri = other(uplo), trans_ = c'T' if trans == c'N' else c'N'
    if n == 0:
        return
    if scalar is s:
        strsv(&tri, &trans_, &diag, &n_, a, &lda_, x, &one)
    elif scalar is d:
        dtrsv(&tri, &trans_, &diag, &n_, a, &lda_, x, &one)
    elif scalar is c:
        ctrsv(&tri, &trans_, &diag, &n_, a, &lda_, x, &one)
    else:
        ztrsv(&tri, &trans_, &diag, &n_, a, &lda_, x, &one)


cdef inline void trsm_leaf(System *p) noexcept nogil:
    cdef int m = <int> p.m, n = <int> p.n, lda = ld_(p.lda), ldb = ld_(p.ldb)
    cdef char side = c'R' if p.side == c'L' else c'L', tri = other(p.uplo)
    if matkern_lent is not NULL and matkern_lent.solve(p):
        return
    if p.dtype == c's':
        strsm(&side, &tri, &p.trans, &p.diag, &n, &m, <s*> p.alpha, <s*> p.a, &lda, <s*> p.b, &ldb)
    elif p.dtype == c'd':
        dtrsm(&side, &tri, &p.trans, &p.diag, &n, &m, <d*> p.alpha, <d*> p.a, &lda, <d*> p.b, &ldb)
    elif p.dtype == c'c':
        ctrsm(&side, &tri, &p.trans, &p.diag, &n, &m, <c*> p.alpha, <c*> p.a, &lda, <c*> p.b, &ldb)
    else:
        ztrsm(&side, &tri, &p.trans, &p.diag, &n, &m, <z*> p.alpha, <z*> p.a, &lda, <z*> p.b, &ldb)


cdef inline void trsm_halves(char side, char uplo, char trans, char diag, Py_ssize_t m, Py_ssize_t n, scalar alpha,
                             scalar *a, Py_ssize_t lda, scalar *b, Py_ssize_t ldb) noexcept nogil:
    """`trsm` by halves of A, first the one that the other's unknowns do not enter."""
    cdef System p
    cdef Py_ssize_t size = m if side == c'L' else n, half = size // 2
    cdef scalar *first = b
    cdef scalar *second = b + half * ldb if side == c'L' else b + half
    cdef scalar *a2 = a + half * lda + half
    cdef scalar *beside = a + half * lda if uplo == c'L' else a + half
    cdef bint forward = (uplo == c'L') == (trans == c'N')       # op(A) is lower triangular
    if m == 0 or n == 0:
        return
    if side == c'L' and n == 1 and ldb == 1 and (trans != c'C' or scalar is s or scalar is d) and alpha == 1:
        trsv(uplo, trans, diag, m, a, lda, b)
    elif size <= LARGEST_SYSTEM:
        p.dtype, p.side, p.uplo, p.trans, p.diag = letter(a), side, uplo, trans, diag
        p.m, p.n, p.lda, p.ldb = m, n, lda, ldb
        p.alpha, p.a, p.b = &alpha, <char*> a, <char*> b
        trsm_leaf(&p)
    elif side == c'L' and forward:
        trsm_halves(side, uplo, trans, diag, half, n, alpha, a, lda, first, ldb)
        gemm(trans, c'N', m - half, n, half, -1, beside, lda, first, ldb, alpha, second, ldb)
        trsm_halves(side, uplo, trans, diag, m - half, n, 1, a2, lda, second, ldb)
    elif side == c'L':
        trsm_halves(side, uplo, trans, diag, m - half, n, alpha, a2, lda, second, ldb)
        gemm(trans, c'N', half, n, m - half, -1, beside, lda, second, ldb, alpha, first, ldb)
        trsm_halves(side, uplo, trans, diag, half, n, 1, a, lda, first, ldb)
    elif forward:
        trsm_halves(side, uplo, trans, diag, m, n - half, alpha, a2, lda, second, ldb)
        gemm(c'N', trans, m, half, n - half, -1, second, ldb, beside, lda, alpha, first, ldb)
        trsm_halves(side, uplo, trans, diag, m, half, 1, a, lda, first, ldb)
    else:
        trsm_halves(side, uplo, trans, diag, m, half, alpha, a, lda, first, ldb)
        gemm(c'N', trans, m, n - half, half, -1, first, ldb, beside, lda, alpha, second, ldb)
        trsm_halves(side, uplo, trans, diag, m, n - half, 1, a2, lda, second, ldb)


cdef inline void triangle_halves(System *p, Py_ssize_t m, Py_ssize_t n, scalar *b) noexcept nogil:
    cdef scalar alpha = (<scalar*> p.alpha)[0]
    if p.product:
        trmm_halves(p.side, p.uplo, p.trans, p.diag, m, n, alpha, <scalar*> p.a, p.lda, b, p.ldb)
    else:
        trsm_halves(p.side, p.uplo, p.trans, p.diag, m, n, alpha, <scalar*> p.a, p.lda, b, p.ldb)


cdef inline void triangle_pieces(void *context, int64_t first, int64_t last) noexcept nogil:
    """The pieces first <= i < last of B: columns (side L) or rows (side R), which do not depend on each other."""
    cdef System *p = <System*> context
    cdef Py_ssize_t size = 4 if p.dtype == c's' else 16 if p.dtype == c'z' else 8
    cdef Py_ssize_t others = p.n if p.side == c'L' else p.m
    cdef Py_ssize_t begin = others * first // p.pieces, count = others * last // p.pieces - begin
    cdef Py_ssize_t m = p.m if p.side == c'L' else count, n = count if p.side == c'L' else p.n
    cdef char *b = p.b + size * begin * (1 if p.side == c'L' else p.ldb)
    if p.dtype == c's':
        triangle_halves(p, m, n, <s*> b)
    elif p.dtype == c'd':
        triangle_halves(p, m, n, <d*> b)
    elif p.dtype == c'c':
        triangle_halves(p, m, n, <c*> b)
    else:
        triangle_halves(p, m, n, <z*> b)


cdef inline void triangle_shared(bint product, char side, char uplo, char trans, char diag, Py_ssize_t m, Py_ssize_t n,
                                 scalar alpha, scalar *a, Py_ssize_t lda, scalar *b, Py_ssize_t ldb) noexcept nogil:
    cdef System p
    cdef double work = <double> m * n * (m if side == c'L' else n)
    p.dtype, p.product, p.side, p.uplo, p.trans, p.diag = letter(a), product, side, uplo, trans, diag
    p.m, p.n, p.lda, p.ldb = m, n, lda, ldb
    p.alpha, p.a, p.b = &alpha, <char*> a, <char*> b
    if work < SHARED_ABOVE or matkern_lent is NULL:
        triangle_halves(&p, m, n, b)
    else:
        p.pieces = min(pieces_of(work), n if side == c'L' else m)
        matkern_lent.share(p.pieces, triangle_pieces, &p)


cdef inline void trmm(char side, char uplo, char trans, char diag, Py_ssize_t m, Py_ssize_t n, scalar alpha,
                      scalar *a, Py_ssize_t lda, scalar *b, Py_ssize_t ldb) noexcept nogil:
    """B := alpha op(A) B (side L) or alpha B op(A) (side R); A is triangular, B is (m, n)."""
    triangle_shared(True, side, uplo, trans, diag, m, n, alpha, a, lda, b, ldb)


cdef inline void trsm(char side, char uplo, char trans, char diag, Py_ssize_t m, Py_ssize_t n, scalar alpha,
                      scalar *a, Py_ssize_t lda, scalar *b, Py_ssize_t ldb) noexcept nogil:
    """B := alpha op(A)^-1 B (side L) or alpha B op(A)^-1 (side R); A is triangular, B is (m, n)."""
    triangle_shared(False, side, uplo, trans, diag, m, n, alpha, a, lda, b, ldb)


cdef inline void trmm_strict(char uplo, char trans, Py_ssize_t m, Py_ssize_t n, scalar alpha, scalar *a, Py_ssize_t lda,
                             scalar *b, Py_ssize_t ldb) noexcept nogil:
    """B := alpha op(A) B with a zero diagonal for the triangular A's; B is (m, n).

    Without its diagonal a triangle is one with a full diagonal, of one row less, that also moves B by a row.
    """
    cdef Py_ssize_t i
    cdef bint down = (uplo == c'L') == (trans == c'N')          # op(A) is lower triangular
    cdef scalar *inner = a + lda if uplo == c'L' else a + 1
    if m == 0 or n == 0:
        return
    trmm(c'L', uplo, trans, c'N', m - 1, n, alpha, inner, lda, b if down else b + ldb, ldb)
    for i in range(m - 1):
        if down:
            memcpy(b + (m - 1 - i) * ldb, b + (m - 2 - i) * ldb, n * sizeof(scalar))
        else:
            memcpy(b + i * ldb, b + (i + 1) * ldb, n * sizeof(scalar))
    for i in range(n):
        b[i if down else (m - 1) * ldb + i] = 0


# Below this size BLAS makes a triangular product as one whole gemm into a scratch, of which a triangle is kept.
cdef enum:
    GEMMT_BASE = 48


cdef inline void gemmt_leaf(Product *p, scalar *a, scalar *b, scalar *c_) noexcept nogil:
    cdef scalar scratch[GEMMT_BASE * GEMMT_BASE]
    cdef Py_ssize_t i, j, first, last
    gemm(p.transa, p.transb, p.n, p.n, p.k, (<scalar*> p.alpha)[0], a, p.lda, b, p.ldb, 0, scratch, p.n)
    for i in range(p.n):
        first = 0 if p.triangle == c'L' else i + p.strict
        last = i + 1 - p.strict if p.triangle == c'L' else p.n
        if (<scalar*> p.beta)[0] == 0:                      # C is not read
            for j in range(first, last):
                c_[i * p.ldc + j] = scratch[i * p.n + j]
        else:
            for j in range(first, last):
                c_[i * p.ldc + j] += scratch[i * p.n + j]


cdef inline void gemmt_strip(Product *p, scalar *a, scalar *b, scalar *c_, Py_ssize_t begin,
                             Py_ssize_t end) noexcept nogil:
    """The rows (uplo L) or columns (U) begin <= i < end of a triangular product.

    By BLAS what is before their diagonal block as one gemm, and that block by halves.
    """
    cdef Py_ssize_t size = end - begin, half = size // 2
    cdef scalar alpha = (<scalar*> p.alpha)[0], beta = (<scalar*> p.beta)[0]
    cdef bint lower = p.triangle == c'L'
    cdef scalar *a2 = a + begin * (p.lda if p.transa == c'N' else 1)
    cdef scalar *b2 = b + begin * (1 if p.transb == c'N' else p.ldb)
    cdef scalar *c2 = c_ + begin * (p.ldc if lower else 1)
    cdef Product own = p[0]
    if size == 0:
        return
    own.m, own.n, own.shift = (size, end, begin) if lower else (end, size, -begin)
    own.a, own.b, own.c = <char*> (a2 if lower else a), <char*> (b if lower else b2), <char*> c2
    own.ours = fits(&own)
    if own.ours and matkern_lent.multiply(&own):
        return
    if begin:
        if lower:
            gemm(p.transa, p.transb, size, begin, p.k, alpha, a2, p.lda, b, p.ldb, beta, c2, p.ldc)
        else:
            gemm(p.transa, p.transb, begin, size, p.k, alpha, a, p.lda, b2, p.ldb, beta, c2, p.ldc)
        gemmt_strip(p, a2, b2, c_ + begin * p.ldc + begin, 0, size)
    elif size <= GEMMT_BASE:
        gemmt_leaf(&own, a, b, c_)
    else:
        gemmt_strip(p, a, b, c_, 0, half)
        gemmt_strip(p, a, b, c_, half, size)


cdef inline void gemmt_pieces(void *context, int64_t first, int64_t last) noexcept nogil:
    """The pieces first <= i < last of a triangular product, of equal areas."""
    cdef Product *p = <Product*> context
    cdef Py_ssize_t begin = <Py_ssize_t> (p.n * sqrt(<double> first / <double> p.pieces))
    cdef Py_ssize_t end = <Py_ssize_t> (p.n * sqrt(<double> last / <double> p.pieces))
    if p.dtype == c's':
        gemmt_strip(p, <s*> p.a, <s*> p.b, <s*> p.c, begin, end)
    elif p.dtype == c'd':
        gemmt_strip(p, <d*> p.a, <d*> p.b, <d*> p.c, begin, end)
    elif p.dtype == c'c':
        gemmt_strip(p, <c*> p.a, <c*> p.b, <c*> p.c, begin, end)
    else:
        gemmt_strip(p, <z*> p.a, <z*> p.b, <z*> p.c, begin, end)


cdef inline void gemmt(char uplo, bint strict, char transa, char transb, Py_ssize_t n, Py_ssize_t k, scalar alpha,
                       scalar *a, Py_ssize_t lda, scalar *b, Py_ssize_t ldb, scalar beta,
                       scalar *c_, Py_ssize_t ldc) noexcept nogil:
    """C := alpha op(A) op(B) + beta C in one triangle, without the diagonal if strict; C is (n, n), op(A) is (n, k),
    beta 0 (what is in C does not count, and the other triangle may be written, too) or 1. Nobody else may write the
    other triangle meanwhile.

    The standard has no such routine.
    """
    cdef Product p = product(0, transa, transb, n, n, k, &alpha, a, lda, b, ldb, &beta, c_, ldc)
    cdef double work = <double> n * n * k / 2
    p.triangle, p.strict = uplo, strict
    if work < SHARED_ABOVE or matkern_lent is NULL:
        gemmt_strip(&p, a, b, c_, 0, n)
    else:
        p.pieces = pieces_of(work)
        matkern_lent.share(p.pieces, gemmt_pieces, &p)
