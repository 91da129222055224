# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Norms of the entries of a matrix and norms of matrices.

A norm's derivative along X_dot is Re <D, X_dot> with a matrix D that depends on X alone: its dual.

    norm_dot = Re sum(conj(D) X_dot)
    X_bar = norm_bar D

entries, a p-norm: D = x/|x| (|x| / norm)^(p-1), for p of inf and -inf x/|x| at the largest or smallest entries
1 and -1, inf and -inf: x/|x| in the columns, or the rows, of the largest or the smallest sum of moduli
2 and -2: u v^H for the singular vectors of the largest or the smallest singular value; nuc: U V^H

M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic differentiation,
Advances in Automatic Differentiation (2008), section 2.3; G. A. Watson, Characterization of the subdifferential of some
matrix norms, Linear Algebra Appl. 170 (1992).

Where a norm has a kink, D is the mean over the tie, and zero where an entry or a singular value is zero. Sums tie when
they are equal; singular values within TIED sqrt(max(m, n)) eps s_1 of each other, or of zero.
"""

from libc.math cimport INFINITY, fabs, hypot, isinf, isnan, pow, sqrt
from numpy.linalg import LinAlgError

from bidiagonal cimport gesdd, gesdd_workspace
from blas cimport c, conj, d, eps, gemm, get_real, real, s, scalar, set_real, use_level3, z
from dense cimport all_finite, copy, fill, norm as euclidean
from gufunc cimport NONFINITE, dtypes

from matkern.kernels.gufunc import Kernel, level3

use_level3(level3)

cdef enum:
    TIED = 4

cdef enum:                  # values of the option
    ENTRIES
    NUCLEAR
    LARGEST_COLUMN
    SMALLEST_COLUMN
    LARGEST_ROW
    SMALLEST_ROW
    LARGEST_VALUE
    SMALLEST_VALUE

cdef enum:
    NO_CONVERGENCE = 1


cdef inline double modulus(scalar x) noexcept nogil:
    if scalar is s or scalar is d:
        return fabs(x)
    else:
        return hypot(x.real, x.imag)


cdef inline scalar quotient(scalar x, double size) noexcept nogil:
    """x / size, where 1 / size may overflow and size be no number of the precision."""
    cdef scalar y
    if scalar is s or scalar is d:
        return <scalar> (x / size)
    else:
        y.real = x.real / size
        y.imag = x.imag / size
        return y


cdef inline scalar direction(scalar x, double size) noexcept nogil:
    """size x / |x|, and zero for zero."""
    if scalar is s or scalar is d:
        return <scalar> (size if x > 0 else -size if x < 0 else 0 * x)
    else:
        if x == 0:
            return x
        return <scalar> size * quotient(x, modulus(x))


cdef double p_norm(Py_ssize_t size, scalar *x, double p) noexcept nogil:
    """By the largest modulus for p > 0, by the smallest for p < 0, so that no power overflows."""
    cdef Py_ssize_t i
    cdef double scale = INFINITY if p < 0 else 0, total = 0, a
    if p == 2:
        return euclidean(size, x)
    for i in range(size):
        a = modulus(x[i])
        if isnan(a):
            return a
        if p == 0:
            total += a != 0
        elif p == 1:
            total += a
        else:
            scale = min(scale, a) if p < 0 else max(scale, a)
    if p == 0 or p == 1:
        return total
    if isinf(p) or scale == 0 or isinf(scale):
        return scale
    for i in range(size):
        total += pow(modulus(x[i]) / scale, p)
    return scale * pow(total, 1 / p)


cdef void p_dual(Py_ssize_t size, scalar *x, double p, double norm, scalar *dual) noexcept nogil:
    cdef Py_ssize_t i, ties = 0
    if norm == 0 or p == 0:
        fill(size, 0, dual)
        return
    if isinf(p):
        for i in range(size):
            ties += modulus(x[i]) == norm
    for i in range(size):
        if isinf(p):
            dual[i] = direction(x[i], 1.0 / ties if modulus(x[i]) == norm else 0)
        elif p == 1:
            dual[i] = direction(x[i], 1)
        elif p == 2:
            dual[i] = quotient(x[i], norm)
        else:
            dual[i] = direction(x[i], pow(modulus(x[i]) / norm, p - 1))


cdef double sums_norm(int kind, Py_ssize_t m, Py_ssize_t n, scalar *x, scalar *dual, double *sums) noexcept nogil:
    """The largest or smallest sum of a row or a column."""
    cdef bint columns = kind == LARGEST_COLUMN or kind == SMALLEST_COLUMN
    cdef bint largest = kind == LARGEST_COLUMN or kind == LARGEST_ROW
    cdef Py_ssize_t i, j, k, ties = 0, count = n if columns else m
    cdef double chosen
    for k in range(count):
        sums[k] = 0
    for i in range(m):
        for j in range(n):
            sums[j if columns else i] += modulus(x[i * n + j])
    chosen = sums[0]
    for k in range(count):
        if isnan(sums[k]):
            return sums[k]
        if sums[k] > chosen if largest else sums[k] < chosen:
            chosen = sums[k]
    if dual is NULL:
        return chosen
    for k in range(count):
        ties += sums[k] == chosen
    for i in range(m):
        for j in range(n):
            k = j if columns else i
            dual[i * n + j] = direction(x[i * n + j], 1.0 / ties if sums[k] == chosen else 0)
    return chosen


cdef int values_norm(int kind, Py_ssize_t m, Py_ssize_t n, scalar *x, scalar *out, scalar *dual,
                     scalar *work) noexcept nogil:
    """A norm of the singular values."""
    cdef Py_ssize_t i, least = min(m, n), first = 0, last = least
    cdef scalar *a = work
    cdef scalar *sigma = a + m * n
    cdef scalar *u = sigma + least
    cdef scalar *vh = u + m * least
    cdef scalar *rest = vh + least * n
    cdef double norm = 0, tied, share_of_tie = 1
    copy(m * n, x, a)
    if gesdd(m, n, a, sigma, <scalar*> NULL if dual is NULL else u, vh, rest) > 0:
        return NO_CONVERGENCE
    if kind == NUCLEAR:
        for i in range(least):
            norm += get_real(sigma, i)
    else:
        norm = get_real(sigma, 0 if kind == LARGEST_VALUE else least - 1)
    set_real(out, 0, norm)
    if dual is NULL:
        return 0
    tied = TIED * sqrt(<double> max(m, n)) * eps(x) * get_real(sigma, 0)
    while last > 0 and get_real(sigma, last - 1) <= tied:           # those of zero have no part
        last -= 1
    if kind == LARGEST_VALUE:
        while last > 0 and get_real(sigma, last - 1) < norm - tied:
            last -= 1
    elif kind == SMALLEST_VALUE:
        if last < least:
            last = 0
        while first < last and get_real(sigma, first) > norm + tied:
            first += 1
    if kind != NUCLEAR and last > first:
        share_of_tie = 1.0 / (last - first)
    gemm(c'N', c'N', m, n, last - first, <scalar> share_of_tie, u + first, least, vh + first * n, n, 0, dual, n)
    return 0


cdef double of_nothing(int kind, Py_ssize_t m, Py_ssize_t n, double p) noexcept nogil:
    """The norm of an empty matrix: the smallest of no numbers is infinite, the largest and the sum are zero."""
    if (kind == ENTRIES and p < 0 or kind == SMALLEST_COLUMN and n == 0 or kind == SMALLEST_ROW and m == 0
            or kind == SMALLEST_VALUE):
        return INFINITY
    return 0


cdef int forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t size = n[0] * n[1]
    cdef double p = get_real(<scalar*> x[1], 0), norm
    cdef scalar *dual = x[3]
    if size == 0:
        set_real(<scalar*> x[2], 0, of_nothing(option[0], n[0], n[1], p))
        return 0
    if option[0] == NUCLEAR or option[0] >= LARGEST_VALUE:
        if not all_finite(c'A', n[0], n[1], <scalar*> x[0]):            # LAPACK may hang
            return NONFINITE
        return values_norm(option[0], n[0], n[1], <scalar*> x[0], <scalar*> x[2], dual, work)
    if option[0] == ENTRIES:
        norm = p_norm(size, <scalar*> x[0], p)
        if dual is not NULL and not isnan(norm):
            p_dual(size, <scalar*> x[0], p, norm, dual)
    else:
        norm = sums_norm(option[0], n[0], n[1], <scalar*> x[0], dual, <double*> work)
    if isnan(norm):
        return NONFINITE
    set_real(<scalar*> x[2], 0, norm)
    return 0


cdef int vjp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *dual = x[0]
    cdef scalar *x_bar = x[2]
    cdef scalar norm_bar = <scalar> get_real(<scalar*> x[1], 0)
    cdef Py_ssize_t i
    for i in range(n[0] * n[1]):
        x_bar[i] = norm_bar * dual[i]
    return 0


cdef int jvp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *dual = x[0]
    cdef scalar *x_dot = x[1]
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(n[0] * n[1]):
        total += real(conj(dual[i]) * x_dot[i])
    set_real(<scalar*> x[2], 0, total)
    return 0


cdef Py_ssize_t forward_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    cdef Py_ssize_t size = gesdd_workspace(n[0], n[1]), least = min(n[0], n[1])
    if option[0] == ENTRIES:
        return 0
    if option[0] != NUCLEAR and option[0] < LARGEST_VALUE:
        return 2 * max(n[0], n[1])                          # doubles
    return -1 if size < 0 else size + n[0] * n[1] + least * (n[0] + n[1] + 1)


norm = Kernel(
    "norm", "x(m,n), p:real() -> norm:real(), dual(m,n)",
    dtypes(forward[s], forward[d], forward[c], forward[z]), <size_t> forward_workspace,
    {"kind": ("entries", "nuc", "1", "-1", "inf", "-inf", "2", "-2")},
    {NO_CONVERGENCE: (LinAlgError, "has singular values that did not converge")}, optional=("dual",))
norm_vjp = Kernel(
    "norm_vjp", "dual(m,n), norm_bar:real() -> x_bar(m,n)", dtypes(vjp[s], vjp[d], vjp[c], vjp[z]))
norm_jvp = Kernel(
    "norm_jvp", "dual(m,n), x_dot(m,n) -> norm_dot:real()", dtypes(jvp[s], jvp[d], jvp[c], jvp[z]))

for kernel in (norm, norm_vjp, norm_jvp):
    globals().update(kernel.gufuncs())
