# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Householder's reflections H_0 H_1 ... = I - V T V^H, a block of them at once: what factorisations by them share.

T^-1 is the upper triangle of V^H V with 1 / tau on the diagonal: T. Joffrain, T. M. Low, E. S. Quintana-Orti,
R. van de Geijn and F. G. Van Zee, Accumulating Householder transformations, revisited, ACM Trans. Math. Softw. 32
(2006), section 3. Matrices are in column-major order, or as their code sees it, by rows of their transpose.
"""

from blas cimport conj, gemm, gemmt, scalar, trsm
from dense cimport copy, fill

cdef enum:
    BLOCK = 32              # reflections that are applied at once


cdef inline void reflectors(Py_ssize_t m, Py_ssize_t k, scalar *a, Py_ssize_t lda, scalar *tau,
                            scalar *v) noexcept nogil:
    """v := V^T, of which A^T, (k, m), has what is below the diagonal of V; zeros where tau is zero."""
    cdef Py_ssize_t j
    for j in range(k):
        if tau[j] == 0:
            fill(m, 0, v + j * m)
            continue
        fill(j, 0, v + j * m)
        v[j * m + j] = 1
        copy(m - j - 1, a + j * lda + j + 1, v + j * m + j + 1)


cdef inline void inverse_of_t(Py_ssize_t m, Py_ssize_t k, scalar *v, scalar *tau, scalar *t) noexcept nogil:
    """t := conj(T^-1), (k, k); a row of zeros in V^T has any number but zero for its 1 / tau."""
    cdef Py_ssize_t j
    gemmt(c'U', False, c'N', c'C', k, m, 1, v, m, v, m, 0, t, k)
    for j in range(k):
        t[j * k + j] = 1 if tau[j] == 0 else 1 / conj(tau[j])


cdef inline void reflect(bint adjoint, Py_ssize_t m, Py_ssize_t k, scalar *v, scalar *t, Py_ssize_t count, scalar *b,
                         Py_ssize_t ldb, scalar *work) noexcept nogil:
    """B := (I - V T V^H) B, or with its adjoint, for B^T, (count, m): B^T - (B^T conj(V)) T^T V^T."""
    gemm(c'N', c'C', count, k, m, 1, b, ldb, v, m, 0, work, k)
    trsm(c'R', c'U', c'N' if adjoint else c'C', c'N', count, k, 1, t, k, work, k)
    gemm(c'N', c'N', count, m, k, -1, work, k, v, m, 1, b, ldb)


cdef inline Py_ssize_t multiply_workspace(Py_ssize_t m, Py_ssize_t count) noexcept nogil:
    return BLOCK * (BLOCK + m + count)


cdef inline void multiply_reflected(Py_ssize_t m, Py_ssize_t k, scalar *a, Py_ssize_t lda, scalar *tau,
                                    Py_ssize_t count, scalar *b, Py_ssize_t ldb, scalar *work) noexcept nogil:
    """B := H_0 H_1 ... H_(k-1) B for B^T, (count, m), and reflections of which A^T, (k, m), has the vectors."""
    cdef Py_ssize_t i = k, size
    cdef scalar *v = work + BLOCK * BLOCK
    while i > 0:
        size = (i - 1) % BLOCK + 1
        i -= size
        reflectors(m - i, size, a + i * lda + i, lda, tau + i, v)
        inverse_of_t(m - i, size, v, tau + i, work)
        reflect(False, m - i, size, v, work, count, b + i, ldb, v + size * (m - i))
