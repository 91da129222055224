# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The Moore-Penrose pseudo-inverse P = A^+ of a matrix, whatever its shape and its rank.

Along tangents that keep the rank,

    P_dot = -P A_dot P + P P^H A_dot^H (I - A P) + (I - P A) A_dot^H P^H P

G. H. Golub and V. Pereyra, The differentiation of pseudo-inverses and nonlinear least squares problems whose variables
separate, SIAM Journal on Numerical Analysis 10 (1973), section 4. For A of full rank, P A = I (m >= n) or A P = I
(m <= n), and a term falls away. With P^H = A P P^H = P^H P A the others become, for R = P A_dot and C = P P^H of a tall
matrix, and R = A_dot P and C = P^H P of a wide one,

    P_dot = C A_dot^H - (R C + (R C)^H) A^H   and   P_dot = A_dot^H C - A^H (C R + (C R)^H)

with no matrix larger than the smaller of m and n. The adjoint of this map is the same map for A^H and P^H:
A_bar is what the pushforward of A^H makes of the tangent P_bar.

The rank is the trace of the projector P A. P itself comes from the singular value decomposition, as in E. H. Moore's
definition: V_r diag(1 / s_r) U_r^H over the singular values above rtol max s; an rtol of -1 stands for max(m, n) eps.
"""

from numpy.linalg import LinAlgError

from bidiagonal cimport gesdd, gesdd_workspace
from blas cimport c, conj, d, eps, gemm, gemmt, get_real, real, s, scalar, use_level3, z
from dense cimport all_finite, copy, mirror
from gufunc cimport NONFINITE, dtypes

from matkern.kernels.gufunc import Kernel, level3

use_level3(level3)

cdef enum:
    NO_CONVERGENCE = 1
    BAD_RTOL


cdef int forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t j, k = min(n[0], n[1]), rank = 0
    cdef double rtol = get_real(x[1], 0)
    cdef scalar *u = work + n[0] * n[1]
    cdef scalar *vh = u + n[0] * k
    cdef scalar *sigma = vh + k * n[1]
    if rtol == -1:                                          # the default
        rtol = max(n[0], n[1]) * eps(u)
    elif not rtol >= 0:
        return BAD_RTOL
    if not all_finite(c'A', n[0], n[1], x[0]):              # LAPACK may hang
        return NONFINITE
    if k == 0:
        return 0
    copy(n[0] * n[1], x[0], work)
    if gesdd(n[0], n[1], work, sigma, u, vh, sigma + k) > 0:
        return NO_CONVERGENCE
    while rank < k and get_real(sigma, rank) > rtol * get_real(sigma, 0):
        for j in range(n[1]):
            vh[rank * n[1] + j] = vh[rank * n[1] + j] / get_real(sigma, rank)
        rank += 1
    gemm(c'C', c'C', n[1], n[0], rank, 1, vh, n[1], u, k, 0, x[2], n[0])
    return 0


cdef double trace(Py_ssize_t m, Py_ssize_t n, scalar *a, scalar *p) noexcept nogil:
    """The real part of the trace of A P, for A of shape (m, n)."""
    cdef Py_ssize_t i, j, i0, j0
    cdef double total = 0
    for i0 in range(0, m, 16):
        for j0 in range(0, n, 16):
            for i in range(i0, min(i0 + 16, m)):
                for j in range(j0, min(j0 + 16, n)):
                    total += real(a[i * n + j] * p[j * m + i])
    return total


cdef void add_adjoint(Py_ssize_t k, scalar *a) noexcept nogil:
    """A := A + A^H."""
    cdef Py_ssize_t i, j
    for i in range(k):
        for j in range(i + 1):
            a[i * k + j] = a[i * k + j] + conj(a[j * k + i])
    mirror(k, a)


cdef void push(char op, Py_ssize_t m, Py_ssize_t n, scalar *a, scalar *p, scalar *t, scalar *out,
               scalar *work) noexcept nogil:
    """out := the tangent (n, m) of the pseudo-inverse of op(A), of shape (m, n), along T; op is N or C."""
    cdef char opposite = c'C' if op == c'N' else c'N'
    cdef Py_ssize_t k = min(m, n), i
    cdef Py_ssize_t lda = n if op == c'N' else m, ldp = m if op == c'N' else n
    cdef scalar *r = work
    cdef scalar *gram = work + k * k
    cdef scalar *q = gram + k * k
    cdef bint deficient = not trace(ldp, lda, a, p) > k - 0.5       # the same for op C
    if m >= n:
        gemm(op, c'N', n, n, m, 1, p, ldp, t, n, 0, r, n)
    else:
        gemm(c'N', op, m, m, n, 1, t, n, p, ldp, 0, r, m)
    if m == n and not deficient:
        gemm(c'N', op, n, n, n, -1, r, n, p, n, 0, out, n)
        return
    if m >= n:
        gemmt(c'L', False, op, opposite, n, m, 1, p, ldp, p, ldp, 0, gram, n)
        mirror(n, gram)
        gemm(c'N', c'N', n, n, n, 1, r, n, gram, n, 0, q, n)
        add_adjoint(n, q)
        gemm(c'N', c'C', n, m, n, 1, gram, n, t, n, 0, out, m)
        gemm(c'N', opposite, n, m, n, -1, q, n, a, lda, 1, out, m)
    else:
        gemmt(c'L', False, opposite, op, m, n, 1, p, ldp, p, ldp, 0, gram, m)
        mirror(m, gram)
        gemm(c'N', c'N', m, m, m, 1, gram, m, r, m, 0, q, m)
        add_adjoint(m, q)
        gemm(c'C', c'N', n, m, m, 1, t, n, gram, m, 0, out, m)
        gemm(opposite, c'N', n, m, m, -1, a, lda, q, m, 1, out, m)
    if not deficient:
        return
    # the third term, with I - P A in place of C: (I - P A) R^H P of a tall matrix, P R^H (I - A P) of a wide one
    if m >= n:
        gemm(op, op, n, n, m, -1, p, ldp, a, lda, 0, gram, n)
    else:
        gemm(op, op, m, m, n, -1, a, lda, p, ldp, 0, gram, m)
    for i in range(k):
        gram[i * k + i] = gram[i * k + i] + 1
    if m >= n:
        gemm(c'N', c'C', n, n, n, 1, gram, n, r, n, 0, q, n)
        gemm(c'N', op, n, m, n, 1, q, n, p, ldp, 1, out, m)
    else:
        gemm(c'C', c'N', m, m, m, 1, r, m, gram, m, 0, q, m)
        gemm(op, c'N', n, m, m, 1, p, ldp, q, m, 1, out, m)


cdef int vjp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    push(c'C', n[1], n[0], x[0], x[1], x[2], x[3], work)
    return 0


cdef int jvp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    push(c'N', n[0], n[1], x[0], x[1], x[2], x[3], work)
    return 0


cdef Py_ssize_t forward_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    """The matrix, its singular vectors and values, and LAPACK's workspace."""
    cdef Py_ssize_t size = gesdd_workspace(n[0], n[1]), k = min(n[0], n[1])
    return -1 if size < 0 else size + n[0] * n[1] + k * (n[0] + n[1] + 1)


cdef Py_ssize_t derivative_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    cdef Py_ssize_t k = min(n[0], n[1])
    return 3 * k * k


FAILURES = {
    NO_CONVERGENCE: (LinAlgError, "has singular values that did not converge"),
    BAD_RTOL: (ValueError, "has an rtol that is negative or NaN"),
}

pinv = Kernel(
    "pinv", "a(m,n), rtol:real() -> pinv(n,m)", dtypes(forward[s], forward[d], forward[c], forward[z]),
    <size_t> forward_workspace, failures=FAILURES)
pinv_vjp = Kernel(
    "pinv_vjp", "a(m,n), pinv(n,m), pinv_bar(n,m) -> a_bar(m,n)", dtypes(vjp[s], vjp[d], vjp[c], vjp[z]),
    <size_t> derivative_workspace)
pinv_jvp = Kernel(
    "pinv_jvp", "a(m,n), pinv(n,m), a_dot(m,n) -> pinv_dot(n,m)", dtypes(jvp[s], jvp[d], jvp[c], jvp[z]),
    <size_t> derivative_workspace)

for kernel in (pinv, pinv_vjp, pinv_jvp):
    globals().update(kernel.gufuncs())
