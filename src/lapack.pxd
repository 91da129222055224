# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""LAPACK's factorisations in four dtypes: the only cimport of scipy.linalg.cython_lapack.

What ends in `_columns` works on a matrix in column-major order, which is the transpose of a row-major one. Sizes become
int as in blas.pxd.
"""

from libc.limits cimport INT_MAX

from scipy.linalg.cython_lapack cimport (
    spotrf, dpotrf, cpotrf, zpotrf, sgetrf, dgetrf, cgetrf, zgetrf, ssyevd, dsyevd, cheevd, zheevd,
    sgesdd, dgesdd, cgesdd, zgesdd, sgeev, dgeev, cgeev, zgeev,
    sgeqrf, dgeqrf, cgeqrf, zgeqrf,
    sormqr, dormqr, cunmqr, zunmqr, strcon, dtrcon, ctrcon, ztrcon, slarfg, dlarfg, clarfg, zlarfg,
    sstedc, dstedc, ssterf, dsterf, slaed2, dlaed2, slaed3, dlaed3, slaed4, dlaed4, slamrg, dlamrg, sbdsdc, dbdsdc)

from blas cimport c, conj, d, gemmt, ld_, middle, other, real_scalar, s, scalar, transpose, trsm, z
from dense cimport copy

cdef enum:
    LEAF = 128              # rows that LAPACK factors


cdef inline int potrf_leaf(char uplo, Py_ssize_t n, scalar *a, Py_ssize_t lda) noexcept nogil:
    cdef int n_ = <int> n, lda_ = ld_(lda), info = 0
    cdef char tri = other(uplo)
    if scalar is s:
        spotrf(&tri, &n_, a, &lda_, &info)
    elif scalar is d:
        dpotrf(&tri, &n_, a, &lda_, &info)
    elif scalar is c:
        cpotrf(&tri, &n_, a, &lda_, &info)
    else:
        zpotrf(&tri, &n_, a, &lda_, &info)
    return info


cdef inline int potrf(char uplo, Py_ssize_t n, scalar *a, Py_ssize_t lda) noexcept nogil:
    """A = L L^H (uplo L) or U^H U (uplo U) in place, by halves, whose products threads share; 0 if A is positive."""
    cdef Py_ssize_t size = middle(n), rest = n - size
    cdef scalar *beside = a + size * lda if uplo == c'L' else a + size
    cdef scalar *last = a + size * lda + size
    cdef int info
    if n <= LEAF:
        return potrf_leaf(uplo, n, a, lda)
    info = potrf(uplo, size, a, lda)
    if info:
        return info
    if uplo == c'L':
        trsm(c'R', uplo, c'C', c'N', rest, size, 1, a, lda, beside, lda)
        gemmt(uplo, False, c'N', c'C', rest, size, -1, beside, lda, beside, lda, 1, last, lda)
    else:
        trsm(c'L', uplo, c'C', c'N', size, rest, 1, a, lda, beside, lda)
        gemmt(uplo, False, c'C', c'N', rest, size, -1, beside, lda, beside, lda, 1, last, lda)
    return potrf(uplo, rest, last, lda)


cdef inline int getrf_columns(Py_ssize_t m, Py_ssize_t n, scalar *a, int *piv) noexcept nogil:
    """P A = L U in place for an (m, n) matrix in column-major order; the pivots are 1-based; returns LAPACK's info."""
    cdef int m_ = <int> m, n_ = <int> n, ld = ld_(m), info = 0
    if scalar is s:
        sgetrf(&m_, &n_, a, &ld, piv, &info)
    elif scalar is d:
        dgetrf(&m_, &n_, a, &ld, piv, &info)
    elif scalar is c:
        cgetrf(&m_, &n_, a, &ld, piv, &info)
    else:
        zgetrf(&m_, &n_, a, &ld, piv, &info)
    return info


cdef inline Py_ssize_t heevd_workspace_of_lapack(Py_ssize_t n) noexcept nogil:
    """Elements for a copy of A and LAPACK's work, rwork and iwork of any dtype, with vectors; -1 if too many."""
    cdef Py_ssize_t size = 3 * n * n + 14 * n + 8
    return -1 if size > INT_MAX else size + n * n


cdef inline int heevd_by_lapack(char uplo, Py_ssize_t n, scalar *a, scalar *w, scalar *v, scalar *work) noexcept nogil:
    """A = V diag(w) V^H for Hermitian A, of which one triangle is read, by divide and conquer; returns info.

    w is real and ascends; V may be NULL. By columns A is A^T = conj A, with the same eigenvalues and conjugate
    eigenvectors, each in a row of ours.
    """
    cdef int n_ = <int> n, ld = ld_(n), info = 0
    cdef int lwork, lrwork, liwork
    cdef char job = c'N' if v is NULL else c'V', tri = other(uplo)
    cdef scalar *columns = work
    cdef scalar *rwork
    cdef int *iwork
    copy(n * n, a, columns)
    work += n * n
    if scalar is s or scalar is d:
        lwork = <int> (1 + 6 * n + 2 * n * n)
        rwork = work
        lrwork = 0
        iwork = <int*> (work + lwork)
    else:
        lwork = <int> (2 * n + n * n + 1)
        rwork = work + lwork
        lrwork = <int> (1 + 5 * n + 2 * n * n)
        iwork = <int*> (rwork + lrwork)
    liwork = <int> (3 + 5 * n)
    if scalar is s:
        ssyevd(&job, &tri, &n_, columns, &ld, w, work, &lwork, iwork, &liwork, &info)
    elif scalar is d:
        dsyevd(&job, &tri, &n_, columns, &ld, w, work, &lwork, iwork, &liwork, &info)
    elif scalar is c:
        cheevd(&job, &tri, &n_, columns, &ld, <float*> w, work, &lwork, <float*> rwork, &lrwork, iwork, &liwork, &info)
    else:
        zheevd(
            &job, &tri, &n_, columns, &ld, <double*> w, work, &lwork, <double*> rwork, &lrwork, iwork, &liwork, &info)
    if v is not NULL:
        transpose(True, n, n, columns, n, v, n)
    return info


cdef inline int sterf(Py_ssize_t n, real_scalar *diagonal, real_scalar *beside) noexcept nogil:
    """The eigenvalues of a symmetric tridiagonal matrix, ascending, in `diagonal`; returns LAPACK's info."""
    cdef int n_ = <int> n, info = 0
    if real_scalar is s:
        ssterf(&n_, diagonal, beside, &info)
    else:
        dsterf(&n_, diagonal, beside, &info)
    return info


cdef inline int stedc_columns(Py_ssize_t n, real_scalar *diagonal, real_scalar *beside, real_scalar *q, Py_ssize_t ldq,
                              real_scalar *work, int *iwork) noexcept nogil:
    """T = Q diag(w) Q^T for a symmetric tridiagonal matrix; w ascends in `diagonal`; returns LAPACK's info.

    `work` is of n^2 + 4 n + 1 elements, `iwork` of 5 n + 3.
    """
    cdef int n_ = <int> n, ldq_ = ld_(ldq), lwork = <int> (1 + 4 * n + n * n), liwork = <int> (3 + 5 * n), info = 0
    cdef char job = c'I'
    if real_scalar is s:
        sstedc(&job, &n_, diagonal, beside, q, &ldq_, work, &lwork, iwork, &liwork, &info)
    else:
        dstedc(&job, &n_, diagonal, beside, q, &ldq_, work, &lwork, iwork, &liwork, &info)
    return info


cdef inline int laed2(int *kept, int n, int cut, real_scalar *w, real_scalar *q, int *order, real_scalar *rho,
                      real_scalar *update, real_scalar *poles, real_scalar *weights, real_scalar *q2, int *index,
                      int *grouped, int *place, int *types) noexcept nogil:
    """What deflates of diag(w) + rho update update^T; LAPACK's arguments."""
    cdef int info = 0
    if real_scalar is s:
        slaed2(kept, &n, &cut, w, q, &n, order, rho, update, poles, weights, q2, index, grouped, place, types, &info)
    else:
        dlaed2(kept, &n, &cut, w, q, &n, order, rho, update, poles, weights, q2, index, grouped, place, types, &info)
    return info


cdef inline int laed3(int kept, int n, int cut, real_scalar *w, real_scalar *q, real_scalar rho, real_scalar *poles,
                      real_scalar *q2, int *grouped, int *types, real_scalar *weights,
                      real_scalar *work) noexcept nogil:
    """Eigenvalues and eigenvectors of what laed2 has kept, and back to those of T."""
    cdef int info = 0
    if real_scalar is s:
        slaed3(&kept, &n, &cut, w, q, &n, &rho, poles, q2, grouped, types, weights, work, &info)
    else:
        dlaed3(&kept, &n, &cut, w, q, &n, &rho, poles, q2, grouped, types, weights, work, &info)
    return info


cdef inline int laed4(int kept, int which, real_scalar *poles, real_scalar *weights, real_scalar *distances,
                      real_scalar rho, real_scalar *root) noexcept nogil:
    """The 1-based root of 1 + rho sum_i weights_i^2 / (poles_i - x), and the distances poles_i - x."""
    cdef int info = 0
    if real_scalar is s:
        slaed4(&kept, &which, poles, weights, distances, &rho, root, &info)
    else:
        dlaed4(&kept, &which, poles, weights, distances, &rho, root, &info)
    return info


cdef inline void lamrg(int first, int second, real_scalar *w, int *order) noexcept nogil:
    """The 1-based order in which `first` ascending and then `second` descending numbers ascend."""
    cdef int up = 1, down = -1
    if real_scalar is s:
        slamrg(&first, &second, w, &up, &down, order)
    else:
        dlamrg(&first, &second, w, &up, &down, order)


cdef inline Py_ssize_t gesdd_lwork(Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """LAPACK's work of any dtype and job, with room for blocks of 32 columns."""
    cdef Py_ssize_t small = min(m, n)
    return 4 * small * small + 7 * small + 33 * (m + n) + 1


cdef inline Py_ssize_t gesdd_lrwork(Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t small = min(m, n)
    return max(5 * small * small + 7 * small, 2 * max(m, n) * small + 2 * small * small + small) + 1


cdef inline Py_ssize_t gesdd_workspace_of_lapack(Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """Elements that cover LAPACK's work, rwork and iwork of any dtype; -1 if its integers cannot hold a size."""
    if m * n > INT_MAX or gesdd_lrwork(m, n) > INT_MAX or gesdd_lwork(m, n) > INT_MAX:
        return -1
    return gesdd_lwork(m, n) + gesdd_lrwork(m, n) + 8 * min(m, n)


cdef inline int gesdd_by_lapack(Py_ssize_t m, Py_ssize_t n, scalar *a, scalar *sigma, scalar *u, scalar *vh,
                                scalar *work) noexcept nogil:
    """A = U diag(sigma) Vh, thin: U is (m, min), sigma min reals, Vh (min, n); returns LAPACK's info. Overwrites A.

    Values alone if u is NULL. By columns A is A^T = Vh^T diag(sigma) U^T, and Vh^T and U^T by columns are Vh and U.
    """
    cdef int m_ = <int> m, n_ = <int> n, lda = ld_(n), ldu = ld_(n), ldvt = ld_(min(m, n)), info = 0
    cdef int lwork = <int> gesdd_lwork(m, n)
    cdef scalar *rwork = work + lwork
    cdef int *iwork = <int*> (rwork + gesdd_lrwork(m, n))
    cdef char job = c'N' if u is NULL else c'S'
    if m == 0 or n == 0:
        return 0
    if scalar is s:
        sgesdd(&job, &n_, &m_, a, &lda, sigma, vh, &ldu, u, &ldvt, work, &lwork, iwork, &info)
    elif scalar is d:
        dgesdd(&job, &n_, &m_, a, &lda, sigma, vh, &ldu, u, &ldvt, work, &lwork, iwork, &info)
    elif scalar is c:
        cgesdd(&job, &n_, &m_, a, &lda, <float*> sigma, vh, &ldu, u, &ldvt, work, &lwork, <float*> rwork, iwork, &info)
    else:
        zgesdd(&job, &n_, &m_, a, &lda, <double*> sigma, vh, &ldu, u, &ldvt, work, &lwork, <double*> rwork, iwork,
               &info)
    return info


cdef inline int bdsdc_columns(bint vectors, Py_ssize_t n, real_scalar *diagonal, real_scalar *above, real_scalar *u,
                              real_scalar *vt, real_scalar *work, int *iwork) noexcept nogil:
    """B = U diag(w) V^T for an upper bidiagonal matrix; w descends in `diagonal`; returns LAPACK's info.

    `work` is of 3 n^2 + 4 n elements, `iwork` of 8 n.
    """
    cdef int n_ = <int> n, ld = ld_(n), info = 0
    cdef char uplo = c'U', job = c'I' if vectors else c'N'
    if real_scalar is s:
        sbdsdc(&uplo, &job, &n_, diagonal, above, u, &ld, vt, &ld, NULL, NULL, work, iwork, &info)
    else:
        dbdsdc(&uplo, &job, &n_, diagonal, above, u, &ld, vt, &ld, NULL, NULL, work, iwork, &info)
    return info


cdef inline Py_ssize_t geev_lwork(Py_ssize_t n) noexcept nogil:
    """LAPACK's work of any dtype, with room for blocks of 64 columns."""
    return 130 * n + 1


cdef inline Py_ssize_t geev_workspace(Py_ssize_t n) noexcept nogil:
    """Elements that cover LAPACK's work and rwork of any dtype; -1 if its integers cannot hold a size."""
    return -1 if n * n > INT_MAX or geev_lwork(n) > INT_MAX else geev_lwork(n) + 2 * n


cdef inline int geev_columns(Py_ssize_t n, scalar *a, scalar *w, scalar *v, scalar *work) noexcept nogil:
    """Eigenvalues and, unless v is NULL, right eigenvectors of unit norm, in column-major order; returns LAPACK's info.

    For a real matrix w is n real parts, then n imaginary parts, and a pair of conjugate eigenvectors is two columns of
    v, their real and their imaginary part, that of the eigenvalue with a positive imaginary part. Overwrites A.
    """
    cdef int n_ = <int> n, ld = ld_(n), one = 1, info = 0, lwork = <int> geev_lwork(n)
    cdef char left = c'N', right = c'N' if v is NULL else c'V'
    cdef int ldv = one if v is NULL else ld
    cdef scalar *rwork = work + lwork
    if scalar is s:
        sgeev(&left, &right, &n_, a, &ld, w, w + n, NULL, &one, v, &ldv, work, &lwork, &info)
    elif scalar is d:
        dgeev(&left, &right, &n_, a, &ld, w, w + n, NULL, &one, v, &ldv, work, &lwork, &info)
    elif scalar is c:
        cgeev(&left, &right, &n_, a, &ld, w, NULL, &one, v, &ldv, work, &lwork, <float*> rwork, &info)
    else:
        zgeev(&left, &right, &n_, a, &ld, w, NULL, &one, v, &ldv, work, &lwork, <double*> rwork, &info)
    return info


cdef inline Py_ssize_t qr_workspace(Py_ssize_t n) noexcept nogil:
    """Elements for geqrf of n columns and ormqr of as many right-hand sides, in blocks of 32; -1 if too many.

    ormqr keeps the triangles of its blocks there, too, of 65 x 64 elements.
    """
    return -1 if 32 * n + 4160 > INT_MAX else 32 * n + 4160


cdef inline void geqrf_columns(Py_ssize_t m, Py_ssize_t n, scalar *a, Py_ssize_t lda, scalar *tau,
                               scalar *work) noexcept nogil:
    """A = Q R for an (m, n) matrix in column-major order: R, below it the reflectors, with factors tau."""
    cdef int m_ = <int> m, n_ = <int> n, ld = ld_(lda), lwork = <int> qr_workspace(n), info = 0
    if scalar is s:
        sgeqrf(&m_, &n_, a, &ld, tau, work, &lwork, &info)
    elif scalar is d:
        dgeqrf(&m_, &n_, a, &ld, tau, work, &lwork, &info)
    elif scalar is c:
        cgeqrf(&m_, &n_, a, &ld, tau, work, &lwork, &info)
    else:
        zgeqrf(&m_, &n_, a, &ld, tau, work, &lwork, &info)


cdef inline scalar larfg(Py_ssize_t n, scalar *x) noexcept nogil:
    """tau of H = I - tau v v^H with H^H x = beta e_1, beta real; x becomes beta and, but for v_0 = 1, v."""
    cdef int n_ = <int> n, one = 1
    cdef scalar tau = 0
    if scalar is s:
        slarfg(&n_, x, x + 1, &one, &tau)
    elif scalar is d:
        dlarfg(&n_, x, x + 1, &one, &tau)
    elif scalar is c:
        clarfg(&n_, x, x + 1, &one, &tau)
    else:
        zlarfg(&n_, x, x + 1, &one, &tau)
    return tau


cdef inline void ormqr(char trans, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, scalar *a, scalar *tau, scalar *b,
                       scalar *work) noexcept nogil:
    """B := Q B (trans N) or Q^H B (trans C) for row-major (m, n) B and the k reflectors that geqrf_columns left.

    By columns B is B^T. (Q B)^T is the conjugate of conj(B)^T Q^H, which is B's for LAPACK to multiply from the right.
    """
    cdef int m_ = <int> m, n_ = <int> n, k_ = <int> k, lda = ld_(m), ldb = ld_(n), lwork = <int> qr_workspace(n)
    cdef int info = 0
    cdef char side = c'R', trans_ = c'N' if trans == c'C' else c'T' if scalar is s or scalar is d else c'C'
    cdef Py_ssize_t i
    for i in range(m * n):
        b[i] = conj(b[i])
    if scalar is s:
        sormqr(&side, &trans_, &n_, &m_, &k_, a, &lda, tau, b, &ldb, work, &lwork, &info)
    elif scalar is d:
        dormqr(&side, &trans_, &n_, &m_, &k_, a, &lda, tau, b, &ldb, work, &lwork, &info)
    elif scalar is c:
        cunmqr(&side, &trans_, &n_, &m_, &k_, a, &lda, tau, b, &ldb, work, &lwork, &info)
    else:
        zunmqr(&side, &trans_, &n_, &m_, &k_, a, &lda, tau, b, &ldb, work, &lwork, &info)
    for i in range(m * n):
        b[i] = conj(b[i])


cdef inline double trcon(char uplo, Py_ssize_t n, scalar *a, scalar *work) noexcept nogil:
    """An estimate of 1 / cond(A), triangular, in the maximum norm; `work` is of 4 n elements."""
    cdef int n_ = <int> n, lda = ld_(n), info = 0
    cdef char norm = c'1', diag = c'N', tri = other(uplo)
    cdef float rcond_s = 0
    cdef double rcond_d = 0
    if scalar is s:
        strcon(&norm, &tri, &diag, &n_, a, &lda, &rcond_s, work, <int*> (work + 3 * n), &info)
    elif scalar is d:
        dtrcon(&norm, &tri, &diag, &n_, a, &lda, &rcond_d, work, <int*> (work + 3 * n), &info)
    elif scalar is c:
        ctrcon(&norm, &tri, &diag, &n_, a, &lda, &rcond_s, work, <float*> (work + 2 * n), &info)
    else:
        ztrcon(&norm, &tri, &diag, &n_, a, &lda, &rcond_d, work, <double*> (work + 2 * n), &info)
    return rcond_s if scalar is s or scalar is c else rcond_d
