# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""QR factorisation by Householder's reflections, A = Q R, square, tall and wide; R's diagonal is real.

A is (m, n), k = min(m, n). Q has k columns, or m of them (complete). In A = [A1 A2], R = [R1 R2; 0 0] and
Q = [Q1 Q2], A1 and Q1 of k columns, R1 (k, k); R2 is there if A is wide, Q2 if A is tall and Q complete. With
X = A1_dot R1^-1 and C = Q1^H X, U the upper triangular matrix with real diagonal for which C - U is skew-Hermitian,

    U = triu(C, 1) + tril(C, -1)^H + Re diag(C)
    R1_dot = U R1, R2_dot = Q1^H A2_dot - (C - U) R2
    Q1_dot = X - Q1 U, Q2_dot = -Q1 X^H Q2

and with M = R1 R1_bar^H - Q1_bar^H Q1 - R2_bar R2^H, H Hermitian with the lower triangle tril(M, -1) + Re diag(M),

    A1_bar = (Q1_bar + Q1 (H + R2 R2_bar^H) - Q2 Q2_bar^H Q1) R1^-H, A2_bar = Q1 R2_bar

S. F. Walter and L. Lehmann, Algorithmic differentiation of linear algebra functions with application in optimum
experimental design, arXiv:1001.1654 (2010), section 3, for tall A; D. A. O. Roberts and L. R. Roberts, QR and LQ
decomposition matrix backpropagation algorithms for square, wide, and deep matrices, arXiv:2009.10071 (2020),
section 3, for wide A. For Q2, differentiate Q1^H Q2 = 0.

Q2 is free up to a unitary matrix from the right, whose tangent Q2^H Q2_dot is taken as zero. For a loss that has a
gradient the skew-Hermitian part of Q2^H Q2_bar is zero then; `gauge="raise"` fails where an entry of it is above
GAUGE m eps |Q_bar| (Frobenius norm). A zero on the diagonal of R1 leaves A without a derivative.
"""

from libc.math cimport fabs
from numpy.linalg import LinAlgError

from blas cimport c, conj, d, eps, gemm, gemmt, imag, real, s, scalar, transpose, trmm, trsm, use_level3, z
from degenerate cimport GAUGE
from dense cimport copy_block, fill, has_nan, mirror, norm, upper_of_columns, zero_on_diagonal
from gufunc cimport NONFINITE, dtypes
from lapack cimport geqrf_columns, qr_workspace
from reflectors cimport BLOCK, inverse_of_t, reflect, reflectors

from matkern.kernels.gufunc import Kernel, level3

use_level3(level3)

cdef enum:
    BASE = 48               # below it, a product of triangles is one trmm

cdef enum:
    ZERO_PIVOT = 1
    ROTATION
    BAD_COLUMNS


cdef void factor(Py_ssize_t m, Py_ssize_t n, Py_ssize_t columns, scalar *a, scalar *q, scalar *r,
                 scalar *work) noexcept nogil:
    """Q of so many columns, and as many rows of R; either may be NULL."""
    cdef Py_ssize_t i, j, k, least = min(m, n)
    cdef scalar *transposed = work                          # A^T, then Q^T
    cdef scalar *t = transposed + m * max(n, columns)       # conj(T^-1) of each block
    cdef scalar *v = t + least * BLOCK
    cdef scalar *tau = v + m * min(BLOCK, least)
    cdef scalar *block
    work = tau + least
    transpose(False, m, n, a, n, transposed, m)
    i = 0
    while i < least:
        k = min(BLOCK, least - i)
        block = transposed + i * m + i
        geqrf_columns(m - i, k, block, m, tau + i, work)
        reflectors(m - i, k, block, m, tau + i, v)
        inverse_of_t(m - i, k, v, tau + i, t + i * BLOCK)
        if i + k < n:
            reflect(True, m - i, k, v, t + i * BLOCK, n - i - k, block + k * m, m, work)
        i += k
    if r is not NULL:
        upper_of_columns(m, n, columns, transposed, r)
    if q is NULL:
        return
    for j in range(least, columns):
        fill(m, 0, transposed + j * m)
        transposed[j * m + j] = 1
    while i > 0:
        k = (i - 1) % BLOCK + 1
        i -= k
        block = transposed + i * m + i
        reflectors(m - i, k, block, m, tau + i, v)
        for j in range(i, i + k):
            fill(m, 0, transposed + j * m)
            transposed[j * m + j] = 1
        reflect(False, m - i, k, v, t + i * BLOCK, columns - i, block, m, work)
    transpose(False, columns, m, transposed, m, q, columns)


cdef int forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    factor(n[0], n[1], min(n[0], n[1]), x[0], x[1], x[2], work)
    return 0


cdef int forward_complete(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    factor(n[0], n[1], n[0], x[0], x[1], x[2], work)
    return 0


cdef int check(Py_ssize_t m, Py_ssize_t columns, Py_ssize_t n, scalar *r) noexcept nogil:
    """A code, or 0 for factors that have a derivative."""
    cdef Py_ssize_t least = min(m, n)
    if columns != least and columns != m:
        return BAD_COLUMNS
    if zero_on_diagonal(n, least, r):
        return NONFINITE if has_nan(c'A', columns, n, r) else ZERO_PIVOT
    return 0


cdef void lower_product(Py_ssize_t n, scalar *r, scalar *g, Py_ssize_t ld, scalar *out,
                        Py_ssize_t ldout) noexcept nogil:
    """The lower triangle of out := R G^H for upper triangular R and G, by halves; above it anything."""
    cdef Py_ssize_t i, j, half = n // 2, rest = n - half
    cdef scalar *below = out + half * ldout
    if n <= BASE:
        for i in range(n):
            for j in range(n):
                out[j * ldout + i] = conj(g[i * ld + j]) if i <= j else 0
        trmm(c'L', c'U', c'N', c'N', n, n, 1, r, ld, out, ldout)
        return
    transpose(True, half, rest, g + half, ld, below, ldout)
    trmm(c'L', c'U', c'N', c'N', rest, half, 1, r + half * ld + half, ld, below, ldout)
    lower_product(half, r, g, ld, out, ldout)
    lower_product(rest, r + half * ld + half, g + half * ld + half, ld, below + half, ldout)
    gemmt(c'L', False, c'N', c'C', half, rest, 1, r + half, ld, g + half, ld, 1, out, ldout)


cdef bint rotates(Py_ssize_t m, Py_ssize_t columns, Py_ssize_t first, scalar *q, scalar *q_bar,
                  scalar *work) noexcept nogil:
    """Whether Q_bar has a part along rotations of the columns of Q from `first` on."""
    cdef Py_ssize_t i, j, free = columns - first
    cdef double small = GAUGE * m * eps(q) * norm(m * columns, q_bar)
    cdef scalar skew
    gemm(c'C', c'N', free, free, m, 1, q + first, columns, q_bar + first, columns, 0, work, free)
    for i in range(free):
        for j in range(i + 1):
            skew = (work[i * free + j] - conj(work[j * free + i])) / 2
            if fabs(real(skew)) > small or fabs(imag(skew)) > small:
                return True
    return False


cdef int vjp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t i, j, m = n[0], columns = n[1], width = n[2], least = min(m, width)
    cdef scalar *q = x[0]
    cdef scalar *r = x[1]
    cdef scalar *q_bar = x[2]
    cdef scalar *r_bar = x[3]
    cdef scalar *g = x[4]
    cdef scalar *h = work                                   # what Q is multiplied by: (columns, least)
    cdef scalar *right = work + columns * least             # R2 R2_bar^H
    cdef int code = check(m, columns, width, r)
    if code:
        return code
    if r_bar is NULL:
        fill(columns * least, 0, h)
    else:
        lower_product(least, r, r_bar, width, h, least)
    if q_bar is not NULL:
        if columns > least and option[0] == 0 and rotates(m, columns, least, q, q_bar, right):
            return ROTATION
        gemmt(c'L', False, c'C', c'N', least, m, -1, q_bar, columns, q, columns, 1, h, least)
        gemm(c'C', c'N', columns - least, least, m, -1, q_bar + least, columns, q, columns, 0, h + least * least, least)
    elif columns > least:
        fill((columns - least) * least, 0, h + least * least)
    if width > least and r_bar is not NULL:
        gemm(c'N', c'C', least, least, width - least, 1, r + least, width, r_bar + least, width, 0, right, least)
        for i in range(least):
            for j in range(i + 1):
                h[i * least + j] = h[i * least + j] - conj(right[j * least + i])
        mirror(least, h)
        for i in range(least * least):
            h[i] = h[i] + right[i]
    else:
        mirror(least, h)
    if q_bar is not NULL:
        copy_block(m, least, q_bar, columns, g, width)
    gemm(c'N', c'N', m, least, columns, 1, q, columns, h, least, 0 if q_bar is NULL else 1, g, width)
    trsm(c'R', c'U', c'C', c'N', m, least, 1, r, width, g, width)
    if r_bar is not NULL:
        gemm(c'N', c'N', m, width - least, least, 1, q, columns, r_bar + least, width, 0, g + least, width)
    else:
        for i in range(m):
            fill(width - least, 0, g + i * width + least)
    return 0


cdef int jvp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t i, j, m = n[0], columns = n[1], width = n[2], least = min(m, width)
    cdef scalar *q = x[0]
    cdef scalar *r = x[1]
    cdef scalar *t = x[2]
    cdef scalar *q_dot = x[3]
    cdef scalar *r_dot = x[4]
    cdef scalar *moved = work                               # X
    cdef scalar *inner = moved + m * least                  # Q^H X: C, and below it Q2^H X
    cdef scalar *u = inner + columns * least
    cdef int code = check(m, columns, width, r)
    if code:
        return code
    copy_block(m, least, t, width, moved, least)
    trsm(c'R', c'U', c'N', c'N', m, least, 1, r, width, moved, least)
    gemm(c'C', c'N', columns, least, m, 1, q, columns, moved, least, 0, inner, least)
    for i in range(least):
        fill(i, 0, u + i * least)
        u[i * least + i] = <scalar> real(inner[i * least + i])
        for j in range(i + 1, least):
            u[i * least + j] = inner[i * least + j] + conj(inner[j * least + i])
    if q_dot is not NULL:
        copy_block(m, least, moved, least, q_dot, columns)
        gemm(c'N', c'N', m, least, least, -1, q, columns, u, least, 1, q_dot, columns)
        gemm(c'N', c'C', m, columns - least, least, -1, q, columns, inner + least * least, least,
             0, q_dot + least, columns)
    if r_dot is not NULL:
        fill((columns - least) * width, 0, r_dot + least * width)
        copy_block(least, least, u, least, r_dot, width)
        trmm(c'R', c'U', c'N', c'N', least, least, 1, r, width, r_dot, width)
        if width > least:
            for i in range(least * least):
                u[i] = u[i] - inner[i]
            gemm(c'C', c'N', least, width - least, m, 1, q, columns, t + least, width, 0, r_dot + least, width)
            gemm(c'N', c'N', least, width - least, least, 1, u, least, r + least, width, 1, r_dot + least, width)
    return 0


cdef Py_ssize_t factor_workspace(Py_ssize_t m, Py_ssize_t n, Py_ssize_t columns) noexcept nogil:
    cdef Py_ssize_t least = min(m, n)
    return (m * (max(n, columns) + min(BLOCK, least)) + BLOCK * least + least
            + max(qr_workspace(BLOCK), BLOCK * max(n, columns)))


cdef Py_ssize_t forward_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return factor_workspace(n[0], n[1], min(n[0], n[1]))


cdef Py_ssize_t complete_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return factor_workspace(n[0], n[1], n[0])


cdef Py_ssize_t vjp_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    cdef Py_ssize_t least = min(n[0], n[2]), free = n[1] - least
    return n[1] * least + max(least * least, free * free)


cdef Py_ssize_t jvp_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    cdef Py_ssize_t least = min(n[0], n[2])
    return (n[0] + n[1] + least) * least


FAILURES = {
    ZERO_PIVOT: (LinAlgError, "has a zero on the diagonal of R: there is no derivative"),
    ROTATION: (ValueError, "has a loss that depends on which basis the trailing columns of a complete Q are, which is "
                           "arbitrary: it has no gradient (gauge='ignore' drops that part)"),
    BAD_COLUMNS: (ValueError, "has a Q of neither min(m, n) nor m columns"),
}

qr = Kernel(
    "qr", "a(m,n) -> Q(m,min), R(min,n)",
    dtypes(forward[s], forward[d], forward[c], forward[z]), <size_t> forward_workspace, optional=("Q", "R"))
qr_complete = Kernel(
    "qr_complete", "a(m,n) -> Q(m,m), R(m,n)",
    dtypes(forward_complete[s], forward_complete[d], forward_complete[c], forward_complete[z]),
    <size_t> complete_workspace, optional=("Q", "R"))
qr_vjp = Kernel(
    "qr_vjp", "Q(m,p), R(p,n), Q_bar(m,p), R_bar(p,n) -> a_bar(m,n)",
    dtypes(vjp[s], vjp[d], vjp[c], vjp[z]), <size_t> vjp_workspace, {"gauge": ("raise", "ignore")}, FAILURES)
qr_jvp = Kernel(
    "qr_jvp", "Q(m,p), R(p,n), a_dot(m,n) -> Q_dot(m,p), R_dot(p,n)",
    dtypes(jvp[s], jvp[d], jvp[c], jvp[z]), <size_t> jvp_workspace, {}, FAILURES, optional=("Q_dot", "R_dot"))

for kernel in (qr, qr_complete, qr_vjp, qr_jvp):
    globals().update(kernel.gufuncs())
