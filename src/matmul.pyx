# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The product X = A B.

    X_dot = A_dot B + A B_dot
    A_bar = X_bar B^H, B_bar = A^H X_bar

M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic differentiation,
Advances in Automatic Differentiation (2008), section 2.2.2.
"""

from blas cimport c, d, gemm, s, scalar, use_level3, z
from gufunc cimport dtypes

from matkern.kernels.gufunc import Kernel, level3

use_level3(level3)

# the core dimensions, in the order in which they appear
cdef enum:
    M
    K
    N


cdef int forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    gemm(c'N', c'N', n[M], n[N], n[K], 1, <scalar*> x[0], n[K], <scalar*> x[1], n[N], 0, <scalar*> x[2], n[N])
    return 0


cdef int vjp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    if x[3] is not NULL:
        gemm(c'N', c'C', n[M], n[K], n[N], 1, <scalar*> x[2], n[N], <scalar*> x[1], n[N], 0, <scalar*> x[3], n[K])
    if x[4] is not NULL:
        gemm(c'C', c'N', n[K], n[N], n[M], 1, <scalar*> x[0], n[K], <scalar*> x[2], n[N], 0, <scalar*> x[4], n[N])
    return 0


cdef int jvp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar more = 0
    if x[2] is not NULL:
        gemm(c'N', c'N', n[M], n[N], n[K], 1, <scalar*> x[2], n[K], <scalar*> x[1], n[N], 0, <scalar*> x[4], n[N])
        more = 1
    if x[3] is not NULL:
        gemm(c'N', c'N', n[M], n[N], n[K], 1, <scalar*> x[0], n[K], <scalar*> x[3], n[N], more, <scalar*> x[4], n[N])
    return 0


matmul = Kernel(
    "matmul", "a(m,k), b(k,n) -> x(m,n)", dtypes(forward[s], forward[d], forward[c], forward[z]))
matmul_vjp = Kernel(
    "matmul_vjp", "a(m,k), b(k,n), x_bar(m,n) -> a_bar(m,k), b_bar(k,n)", dtypes(vjp[s], vjp[d], vjp[c], vjp[z]),
    optional=("a_bar", "b_bar"))
matmul_jvp = Kernel(
    "matmul_jvp", "a(m,k), b(k,n), a_dot(m,k), b_dot(k,n) -> x_dot(m,n)", dtypes(jvp[s], jvp[d], jvp[c], jvp[z]))

for kernel in (matmul, matmul_vjp, matmul_jvp):
    globals().update(kernel.gufuncs())
