# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Least squares, X = argmin |A X - B|^2 + l |X|^2, A (m, n), of smallest norm where l = 0 leaves a choice.

With l > 0 a Cholesky factor of the smaller of A^H A + l and A A^H + l is kept for the derivatives; with l = 0 R of
A = Q R for tall A or of A^H = Q R for wide A, whose Gram matrix R^H R is the same. G = R^H R is A^H A + l for m >= n,
and A A^H + l else. For tall A, with B - A X = E, and for wide A, with X = A^H Z,

    X_dot = G^-1 (A_dot^H E + A^H (B_dot - A_dot X) - l_dot X)
    Z = G^-1 B, X_dot = A_dot^H Z + A^H G^-1 (B_dot - A_dot X - A A_dot^H Z - l_dot Z)

    Y = G^-1 X_bar, B_bar = A Y, A_bar = E Y^H - B_bar X^H, l_bar = -Re <X, Y>
    B_bar = G^-1 A X_bar, A_bar = Z (X_bar - A^H B_bar)^H - B_bar X^H, l_bar = -Re <Z, B_bar>

G. H. Golub and V. Pereyra, The differentiation of pseudo-inverses and nonlinear least squares problems whose variables
separate, SIAM J. Numer. Anal. 10 (1973) 413-432, equation (4.12).

A of lower rank, with l = 0: R = U S V^H has only r singular values above max(m, n) eps times the largest. F = V S^-1 of
these is kept in R's place, with r columns; G^+ = F F^H. Where the rank stays the same, A^+ has a derivative (same
equation), in which each of tall and wide A gains the term that the other one has:

    tall: X_dot += (1 - A^+ A) A_dot^H Z,  A_bar += Z ((1 - A^+ A) X_bar)^H,  Z = A G^+ X
    wide: X_dot += A^H G^+ G^+ A A_dot^H E,  A_bar += E (A^H G^+ B_bar)^H

1 - A^+ A is 1 - F D F^H with D the inverse squares of F's columns. The singular values are looked at only where an
estimate of R's condition is above 1 / (FILTER max(m, n) eps).
"""

from libc.math cimport isfinite
from numpy.linalg import LinAlgError

from bidiagonal cimport gesdd, gesdd_workspace
from blas cimport (
    c, conj, d, eps, gemm, gemmt, get_real, imag, real, s, scalar, set_real, transpose, trsm, use_level3, z)
from dense cimport all_finite, conjugate, copy, fill, has_nan, norm, upper_of_columns, zero_on_diagonal
from gufunc cimport NONFINITE, dtypes
from lapack cimport geqrf_columns, ormqr, potrf, qr_workspace, trcon

from matkern.kernels.gufunc import Kernel, level3

use_level3(level3)

cdef enum:
    FILTER = 8

cdef enum:
    NEGATIVE = 1
    NOT_POSITIVE
    NO_CONVERGENCE
    SINGULAR
    BAD_RANK


cdef void solve_gram(Py_ssize_t n, Py_ssize_t k, Py_ssize_t rank, scalar *factor, scalar *b,
                     scalar *work) noexcept nogil:
    """B := G^+ B for (n, k) B; the workspace holds as much."""
    if rank == n:
        trsm(c'L', c'U', c'C', c'N', n, k, 1, factor, n, b, k)
        trsm(c'L', c'U', c'N', c'N', n, k, 1, factor, n, b, k)
    else:
        gemm(c'C', c'N', rank, k, n, 1, factor, n, b, k, 0, work, k)
        gemm(c'N', c'N', n, k, rank, 1, factor, n, work, k, 0, b, k)


cdef void project(Py_ssize_t n, Py_ssize_t k, Py_ssize_t rank, scalar *factor, scalar *b,
                  scalar *work) noexcept nogil:
    """B := (1 - A^+ A) B for (n, k) B and a lower rank; the workspace holds as much."""
    cdef Py_ssize_t i, j
    cdef double square
    gemm(c'C', c'N', rank, k, n, 1, factor, n, b, k, 0, work, k)
    for j in range(rank):
        square = 0
        for i in range(n):
            square += real(factor[i * n + j]) ** 2 + imag(factor[i * n + j]) ** 2
        for i in range(k):
            work[j * k + i] = work[j * k + i] / square
    gemm(c'N', c'N', n, k, rank, -1, factor, n, work, k, 1, b, k)


cdef void residual(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, scalar *a, scalar *x, scalar *b,
                   scalar *out) noexcept nogil:
    """out := B - A X."""
    copy(m * k, b, out)
    gemm(c'N', c'N', m, k, n, -1, a, n, x, k, 1, out, k)


cdef int regularized(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, scalar *a, scalar *b, double l, scalar *x,
                     scalar *factor, scalar *work) noexcept nogil:
    """X and the factor, through the Gram matrix."""
    cdef Py_ssize_t i, least = min(m, n)
    fill(least * least, 0, factor)
    if m >= n:
        gemmt(c'U', False, c'C', c'N', n, m, 1, a, n, a, n, 1, factor, n)
    else:
        gemmt(c'U', False, c'N', c'C', m, n, 1, a, n, a, n, 1, factor, m)
    for i in range(least):
        factor[i * least + i] = <scalar> (real(factor[i * least + i]) + l)
    if potrf(c'U', least, factor, least) > 0:
        return NOT_POSITIVE if isfinite(norm(m * n, a)) else NONFINITE
    if m >= n:
        gemm(c'C', c'N', n, k, m, 1, a, n, b, k, 0, x, k)
        solve_gram(n, k, n, factor, x, work)
    else:
        copy(m * k, b, work)
        solve_gram(m, k, m, factor, work, work + m * k)
        gemm(c'C', c'N', n, k, m, 1, a, n, work, k, 0, x, k)
    return 0


cdef int singular_values(Py_ssize_t n, double tolerance, scalar *r, int *rank, scalar *u, scalar *f,
                         scalar *work) noexcept nogil:
    """R = U S V^H: its rank, and if that is lower than n, U and F = V S^-1; R stays."""
    cdef Py_ssize_t i, j
    cdef scalar *sigma = work
    cdef scalar *vh = sigma + n
    rank[0] = 0
    copy(n * n, r, f)
    if gesdd(n, n, f, sigma, u, vh, vh + n * n) > 0:
        return NO_CONVERGENCE
    while rank[0] < n and get_real(sigma, rank[0]) > tolerance * get_real(sigma, 0):
        rank[0] += 1
    if rank[0] < n:
        fill(n * n, 0, f)
        for j in range(rank[0]):
            for i in range(n):
                f[i * n + j] = conj(vh[j * n + i]) / get_real(sigma, j)
    return 0


cdef int orthogonal(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, scalar *a, scalar *b, scalar *x, scalar *factor,
                    int *rank, scalar *work) noexcept nogil:
    """X, the factor and the rank, through Q R; of lower rank, through R's singular values."""
    cdef Py_ssize_t least = min(m, n), most = max(m, n)
    cdef double tolerance = most * eps(a)
    cdef scalar *qr = work
    cdef scalar *tau = qr + m * n
    cdef scalar *y = tau + least                            # Q^H B for tall A, what Q is multiplied by for wide A
    cdef scalar *u = y + most * k
    cdef scalar *f = u + least * least
    cdef scalar *coefficients = f + least * least           # in terms of U and F
    cdef scalar *rest = coefficients + least * k
    cdef int code
    if m >= n:
        transpose(False, m, n, a, n, qr, m)
        copy(m * k, b, y)
    else:                                                   # by columns A is A^T
        copy(m * n, a, qr)
        conjugate(m * n, qr)
        copy(m * k, b, y)
        fill((n - m) * k, 0, y + m * k)
    geqrf_columns(most, least, qr, most, tau, rest)
    upper_of_columns(most, least, least, qr, factor)
    if not all_finite(c'U', least, least, factor):
        return NONFINITE
    rank[0] = <int> least
    if not trcon(c'U', least, factor, rest) > FILTER * tolerance:
        code = singular_values(least, tolerance, factor, rank, u, f, rest)
        if code:
            return code
    if m >= n:
        ormqr(c'C', m, k, n, qr, tau, y, rest)
        if rank[0] == n:
            trsm(c'L', c'U', c'N', c'N', n, k, 1, factor, n, y, k)
            copy(n * k, y, x)
        else:
            gemm(c'C', c'N', rank[0], k, n, 1, u, n, y, k, 0, coefficients, k)
            gemm(c'N', c'N', n, k, rank[0], 1, f, n, coefficients, k, 0, x, k)
    else:
        if rank[0] == m:
            trsm(c'L', c'U', c'C', c'N', m, k, 1, factor, m, y, k)
        else:
            gemm(c'C', c'N', rank[0], k, m, 1, f, m, b, k, 0, coefficients, k)
            gemm(c'N', c'N', m, k, rank[0], 1, u, m, coefficients, k, 0, y, k)
        ormqr(c'N', n, k, m, qr, tau, y, rest)
        copy(n * k, y, x)
    if rank[0] < least:
        copy(least * least, f, factor)
    return 0


cdef int forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef double l = get_real(x[2], 0)
    cdef scalar *factor = x[4]
    cdef int *rank = <int*> x[5]
    cdef int least = <int> min(n[0], n[1]), kept = least
    if factor is NULL:
        factor = work
        work = work + <Py_ssize_t> least * least
    if rank is NULL:
        rank = &kept
    if l < 0:
        return NEGATIVE
    if not l >= 0:
        return NONFINITE
    rank[0] = least
    if least == 0:
        fill(n[1] * n[2], 0, x[3])
        return 0
    if l > 0:
        return regularized(n[0], n[1], n[2], x[0], x[1], l, x[3], factor, work)
    return orthogonal(n[0], n[1], n[2], x[0], x[1], x[3], factor, rank, work)


cdef int check(Py_ssize_t least, scalar *factor, int rank) noexcept nogil:
    """A code, or 0 for a factor that can be solved with."""
    if rank < 0 or rank > least:
        return BAD_RANK
    if rank == least and zero_on_diagonal(least, least, factor):
        return NONFINITE if has_nan(c'A', least, least, factor) else SINGULAR
    return 0


cdef double overlap(Py_ssize_t size, scalar *x, scalar *y) noexcept nogil:
    """Re <x, y>."""
    cdef Py_ssize_t i
    cdef double total = 0
    for i in range(size):
        total += real(x[i]) * real(y[i]) + imag(x[i]) * imag(y[i])
    return total


cdef int vjp(scalar **p, const Py_ssize_t *size, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t m = size[0], n = size[1], k = size[2], least = size[3]
    cdef scalar *a = p[0]
    cdef scalar *b = p[1]
    cdef scalar *factor = p[2]
    cdef int rank = (<int*> p[3])[0]
    cdef scalar *x = p[4]
    cdef scalar *x_bar = p[5]
    cdef scalar *a_bar = p[6]
    cdef scalar *b_bar = p[7]
    cdef scalar *in_m = work                                # (m, k): E or Z
    cdef scalar *in_n = in_m + m * k                        # (n, k): Y or X_bar - A^H B_bar
    cdef scalar *more = in_n + n * k                        # (n, k), (m, k) for a lower rank
    cdef scalar *scratch = more + max(m, n) * k
    cdef int code = check(least, factor, rank)
    if code:
        return code
    if b_bar is NULL:
        b_bar = scratch + least * k
    copy(n * k, x_bar, in_n)
    if m >= n:
        solve_gram(n, k, rank, factor, in_n, scratch)
        gemm(c'N', c'N', m, k, n, 1, a, n, in_n, k, 0, b_bar, k)
        if p[8] is not NULL:
            set_real(p[8], 0, -overlap(n * k, x, in_n))
        if a_bar is not NULL:
            residual(m, n, k, a, x, b, in_m)
    else:
        gemm(c'N', c'N', m, k, n, 1, a, n, x_bar, k, 0, b_bar, k)
        solve_gram(m, k, rank, factor, b_bar, scratch)
        copy(m * k, b, in_m)
        solve_gram(m, k, rank, factor, in_m, scratch)
        gemm(c'C', c'N', n, k, m, -1, a, n, b_bar, k, 1, in_n, k)
        if p[8] is not NULL:
            set_real(p[8], 0, -overlap(m * k, in_m, b_bar))
    if a_bar is NULL:
        return 0
    gemm(c'N', c'C', m, n, k, 1, in_m, k, in_n, k, 0, a_bar, n)
    gemm(c'N', c'C', m, n, k, -1, b_bar, k, x, k, 1, a_bar, n)
    if rank == least:
        return 0
    if m >= n:
        copy(n * k, x, more)
        solve_gram(n, k, rank, factor, more, scratch)
        gemm(c'N', c'N', m, k, n, 1, a, n, more, k, 0, in_m, k)
        copy(n * k, x_bar, in_n)
        project(n, k, rank, factor, in_n, scratch)
    else:
        residual(m, n, k, a, x, b, in_m)
        copy(m * k, b_bar, more)
        solve_gram(m, k, rank, factor, more, scratch)
        gemm(c'C', c'N', n, k, m, 1, a, n, more, k, 0, in_n, k)
    gemm(c'N', c'C', m, n, k, 1, in_m, k, in_n, k, 1, a_bar, n)
    return 0


cdef void subtract(Py_ssize_t size, double factor, scalar *a, scalar *out) noexcept nogil:
    """out := out - factor A."""
    cdef Py_ssize_t i
    for i in range(size):
        out[i] = out[i] - factor * a[i]


cdef int jvp(scalar **p, const Py_ssize_t *size, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t m = size[0], n = size[1], k = size[2], least = size[3]
    cdef scalar *a = p[0]
    cdef scalar *b = p[1]
    cdef scalar *factor = p[2]
    cdef int rank = (<int*> p[3])[0]
    cdef scalar *x = p[4]
    cdef scalar *a_dot = p[5]
    cdef scalar *b_dot = p[6]
    cdef scalar *x_dot = p[8]
    cdef scalar *moved = work                               # (m, k): B_dot - A_dot X and more
    cdef scalar *in_m = moved + m * k                       # (m, k): E or Z
    cdef scalar *in_n = in_m + m * k                        # (n, k)
    cdef scalar *scratch = in_n + n * k
    cdef double l_dot = 0 if p[7] is NULL else get_real(p[7], 0)
    cdef int code = check(least, factor, rank)
    if code:
        return code
    if b_dot is NULL:
        fill(m * k, 0, moved)
    else:
        copy(m * k, b_dot, moved)
    if a_dot is not NULL:
        gemm(c'N', c'N', m, k, n, -1, a_dot, n, x, k, 1, moved, k)
    if m >= n:
        gemm(c'C', c'N', n, k, m, 1, a, n, moved, k, 0, x_dot, k)
        if a_dot is not NULL:
            residual(m, n, k, a, x, b, in_m)
            gemm(c'C', c'N', n, k, m, 1, a_dot, n, in_m, k, 1, x_dot, k)
        subtract(n * k, l_dot, x, x_dot)
        solve_gram(n, k, rank, factor, x_dot, scratch)
        if rank < n and a_dot is not NULL:
            copy(n * k, x, in_n)
            solve_gram(n, k, rank, factor, in_n, scratch)
            gemm(c'N', c'N', m, k, n, 1, a, n, in_n, k, 0, in_m, k)
            gemm(c'C', c'N', n, k, m, 1, a_dot, n, in_m, k, 0, in_n, k)
            project(n, k, rank, factor, in_n, scratch)
            subtract(n * k, -1, in_n, x_dot)
        return 0
    copy(m * k, b, in_m)
    solve_gram(m, k, rank, factor, in_m, scratch)
    subtract(m * k, l_dot, in_m, moved)
    if a_dot is NULL:
        fill(n * k, 0, x_dot)
    else:
        gemm(c'C', c'N', n, k, m, 1, a_dot, n, in_m, k, 0, x_dot, k)
        gemm(c'N', c'N', m, k, n, -1, a, n, x_dot, k, 1, moved, k)
        if rank < m:
            residual(m, n, k, a, x, b, in_m)
            gemm(c'C', c'N', n, k, m, 1, a_dot, n, in_m, k, 0, in_n, k)
            gemm(c'N', c'N', m, k, n, 1, a, n, in_n, k, 0, in_m, k)
            solve_gram(m, k, rank, factor, in_m, scratch)
            subtract(m * k, -1, in_m, moved)
    solve_gram(m, k, rank, factor, moved, scratch)
    gemm(c'C', c'N', n, k, m, 1, a, n, moved, k, 1, x_dot, k)
    return 0


cdef Py_ssize_t forward_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    cdef Py_ssize_t least = min(n[0], n[1]), most = max(n[0], n[1]), k = n[2]
    cdef Py_ssize_t reflect = qr_workspace(max(least, k)), svd = gesdd_workspace(least, least)
    if reflect < 0 or svd < 0:
        return -1
    return (least * least + n[0] * n[1] + least + most * k + 2 * least * least + least * k
            + max(reflect, 4 * least, least + least * least + svd))


cdef Py_ssize_t vjp_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return (2 * n[0] + n[1] + max(n[0], n[1]) + n[3]) * n[2]


cdef Py_ssize_t jvp_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return (2 * n[0] + n[1] + n[3]) * n[2]


FAILURES = {
    NEGATIVE: (ValueError, "has a negative l2_regularizer"),
    NOT_POSITIVE: (LinAlgError, "has a Gram matrix that is not positive definite but for rounding: A is too "
                                "ill-conditioned for its l2_regularizer"),
    NO_CONVERGENCE: (LinAlgError, "has singular values that did not converge"),
    SINGULAR: (LinAlgError, "has a singular factor"),
    BAD_RANK: (ValueError, "has a rank that is not one from 0 to min(m, n)"),
}

lstsq = Kernel(
    "lstsq", "a(m,n), b(m,k?), l2_regularizer:real() -> x(n,k?), factor(min,min), rank:int()",
    dtypes(forward[s], forward[d], forward[c], forward[z]), <size_t> forward_workspace, {}, FAILURES,
    optional=("factor", "rank"))
lstsq_vjp = Kernel(
    "lstsq_vjp", "a(m,n), b(m,k?), factor(min,min), rank:int(), x(n,k?), x_bar(n,k?) "
                 "-> a_bar(m,n), b_bar(m,k?), l2_regularizer_bar:real()",
    dtypes(vjp[s], vjp[d], vjp[c], vjp[z]), <size_t> vjp_workspace, {}, FAILURES,
    optional=("a_bar", "b_bar", "l2_regularizer_bar"))
lstsq_jvp = Kernel(
    "lstsq_jvp", "a(m,n), b(m,k?), factor(min,min), rank:int(), x(n,k?), a_dot(m,n), b_dot(m,k?), "
                 "l2_regularizer_dot:real() -> x_dot(n,k?)",
    dtypes(jvp[s], jvp[d], jvp[c], jvp[z]), <size_t> jvp_workspace, {}, FAILURES)

for kernel in (lstsq, lstsq_vjp, lstsq_jvp):
    globals().update(kernel.gufuncs())
