# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The determinant, and the sign and logarithm of its absolute value, through A = P L U.

    det_dot = tr(adj(A) A_dot),  A_bar = det_bar adj(A)^H
    t = tr(A^-1 A_dot):  logabsdet_dot = Re t,  sign_dot = i sign Im t
    A_bar = (logabsdet_bar + i Im(conj(sign) sign_bar)) A^-H

M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic differentiation,
Advances in Automatic Differentiation (2008), sections 2.2.4 and 2.2.5; adj(A) = det(A) A^-1 is the adjugate, which
a singular matrix has, too. With u the last pivot and U11, U12 what is above and left of it,

    u U^-1 = ( u U11^-1   -U11^-1 U12 )
             (    0             1     )

divides by no last pivot, and adj(A) = d u U^-1 L^-1 P^T with d the product of the other ones and of P's sign. It is
as good as the factors are well conditioned, but for the scale of U's rows: G. W. Stewart, On the adjugate matrix,
Linear Algebra Appl. 283 (1998). Where their condition is above WORTH n, as the pivots hide a small singular value, or
where an earlier pivot is zero, the singular values A = W diag(s) V^H are taken:

    adj(A)^H = conj(det(W) det(V^H)) W diag(prod of the other s_j) V^H

Either way, where pivoting lets no entry grow, the error is c n eps s_1 / s_(n-1) of the norm, and no matrix is taken
for singular.
"""

from libc.math cimport fabs, frexp, isnan, ldexp, log
from numpy.linalg import LinAlgError

from bidiagonal cimport gesdd, gesdd_workspace
from blas cimport asum, c, conj, d, gemm, get_real, imag, real, s, scalar, set_real, trmm, trsv, use_level3, z
from dense cimport all_finite, copy_triangle, fill, has_nan, permute_rows, zero_on_diagonal
from gufunc cimport NONFINITE, dtypes
from pivoted cimport factor, invert_factored, pivots_valid

from matkern.kernels.gufunc import Kernel, level3

use_level3(level3)

cdef enum:
    WORTH = 200             # a condition of WORTH n for which the factors are good enough

cdef enum:
    SINGULAR = 1
    BAD_PIVOTS
    NO_CONVERGENCE

ctypedef double complex number

cdef struct Scaled:         # value 2^exponent, so that products of many factors neither overflow nor underflow
    number value
    Py_ssize_t exponent


cdef inline Scaled scaled(number x) noexcept nogil:
    """x with a value of modulus about 1, or zero."""
    cdef Scaled result
    cdef int exponent = 0
    frexp(max(fabs(x.real), fabs(x.imag)), &exponent)
    result.exponent = exponent
    result.value.real = ldexp(x.real, -exponent)            # 1j times infinity would be NaN
    result.value.imag = ldexp(x.imag, -exponent)
    return result


cdef inline Scaled times(Scaled x, Scaled y) noexcept nogil:
    cdef Scaled result = scaled(x.value * y.value)
    result.exponent += x.exponent + y.exponent
    return result


cdef inline number plain(Scaled x) noexcept nogil:
    cdef int exponent = <int> max(<Py_ssize_t> -5000, min(x.exponent, <Py_ssize_t> 5000))
    cdef number result
    result.real = ldexp(x.value.real, exponent)
    result.imag = ldexp(x.value.imag, exponent)
    return result


cdef inline number as_number(scalar x) noexcept nogil:
    cdef number result
    result.real = real(x)
    result.imag = imag(x)
    return result


cdef inline scalar as_scalar(scalar *unused, number x) noexcept nogil:
    cdef scalar result
    if scalar is s or scalar is d:
        return <scalar> x.real
    else:
        result.real = x.real                                # a cast makes an infinite imaginary part's real one NaN
        result.imag = x.imag
        return result


cdef Scaled product(Py_ssize_t count, Py_ssize_t n, scalar *lu, int *piv) noexcept nogil:
    """The first `count` pivots, and the sign of all row interchanges."""
    cdef Scaled total = scaled(1)
    cdef Py_ssize_t i
    for i in range(count):
        total = times(total, scaled(as_number(lu[i * n + i])))
    for i in range(n):
        if piv[i] != i:
            total.value = -total.value
    return total


cdef inline double modulus(scalar x) noexcept nogil:
    """|x| to a factor of sqrt(2)."""
    return fabs(real(x)) + fabs(imag(x))


cdef inline double larger(double x, double y) noexcept nogil:
    """The larger one, NaN if either is."""
    return x if x > y or isnan(x) else y


cdef double condition(Py_ssize_t m, Py_ssize_t n, scalar *lu, scalar *x) noexcept nogil:
    """The larger of those of L's leading triangle of m rows and of U's with rows scaled to a diagonal of 1.

    In the infinity norm; an inverse's is estimated by its product with entries of modulus around 1 and random signs,
    and L's own bounded by m. Not finite for overflow.
    """
    cdef Py_ssize_t i
    cdef double row = 0, lower = 0, upper = 0, entry
    cdef unsigned int state = 1
    for i in range(m):
        row = larger(row, asum(m - i, lu + i * n + i) / modulus(lu[i * n + i]))
        state = 1664525 * state + 1013904223                # Numerical Recipes' generator
        entry = 0.5 + (state >> 8 & 0xffff) / 65536.0
        x[i] = <scalar> (entry if state >> 31 else -entry)
        x[m + i] = x[i] * lu[i * n + i]
    trsv(c'L', c'N', c'U', m, lu, n, x)
    trsv(c'U', c'N', c'N', m, lu, n, x + m)
    for i in range(m):
        lower = larger(lower, modulus(x[i]))
        upper = larger(upper, modulus(x[m + i]))
    return larger(m * lower, row * upper)


cdef Scaled adjugate_of_factor(Py_ssize_t n, scalar *lu, int *piv, scalar *g) noexcept nogil:
    """G := conj(u') A^-H for the last pivot u = u' 2^exponent, by the identity above; returns u."""
    cdef Scaled last = scaled(as_number(lu[n * n - 1]))
    g[n * n - 1] = <scalar> ldexp(1, <int> -last.exponent)
    invert_factored(n, True, as_scalar(lu, last.value.conjugate()), lu, g)
    permute_rows(n, n, piv, True, g, n)
    return last


cdef void multiply(Py_ssize_t size, Scaled scale, scalar *g) noexcept nogil:
    """G := scale G, by powers of two none of which over- or underflows where the result does not."""
    cdef Py_ssize_t i
    cdef int exponent = <int> max(<Py_ssize_t> -3000, min(scale.exponent, <Py_ssize_t> 3000))
    cdef double third = ldexp(1, exponent // 3), rest = ldexp(1, exponent - 2 * (exponent // 3))
    cdef number x
    for i in range(size):
        if scalar is s or scalar is d:
            g[i] = <scalar> (g[i] * scale.value.real * third * third * rest)
        else:
            x = as_number(g[i]) * scale.value
            x.real = x.real * third * third * rest          # of what overflows, each part by itself
            x.imag = x.imag * third * third * rest
            g[i] = as_scalar(g, x)


cdef number phase_of_unitary(Py_ssize_t n, scalar *q, scalar *lu, int *piv, scalar *work) noexcept nogil:
    cdef Scaled x
    factor(n, n, q, lu, piv, work)
    x = product(n, n, lu, piv)
    return x.value / abs(x.value)


cdef int adjugate_by_svd(Py_ssize_t n, scalar *lu, int *piv, Scaled scale, scalar *g, scalar *work) noexcept nogil:
    """G := scale adj(A)^H through the singular values of P L U."""
    cdef Py_ssize_t i, j, square = n * n
    cdef scalar *w = work
    cdef scalar *vh = w + square
    cdef scalar *a = vh + square
    cdef scalar *sigma = a + square
    cdef scalar *rest = sigma + n
    cdef Scaled others
    cdef number f
    copy_triangle(c'U', False, n, lu, a)
    trmm(c'L', c'L', c'N', c'U', n, n, 1, lu, n, a, n)
    permute_rows(n, n, piv, True, a, n)
    if not all_finite(c'A', n, n, a):
        return NONFINITE
    if gesdd(n, n, a, sigma, w, vh, rest) > 0:
        return NO_CONVERGENCE
    # `rest` has room for two matrices; a is free
    f = (phase_of_unitary(n, w, a, <int*> (rest + square), rest)
         * phase_of_unitary(n, vh, a, <int*> (rest + square), rest)).conjugate()
    scale = times(scale, scaled(f))
    for i in range(n):
        others = scale
        for j in range(n):
            if j != i:
                others = times(others, scaled(get_real(sigma, j)))
        for j in range(n):
            a[i * n + j] = vh[i * n + j]
        multiply(n, others, a + i * n)
    gemm(c'N', c'N', n, n, n, 1, w, n, a, n, 0, g, n)
    return 0


cdef int adjugate(Py_ssize_t n, scalar *lu, int *piv, number scale, scalar *g, scalar *work) noexcept nogil:
    """G := scale adj(A)^H."""
    cdef Scaled total, last
    if not pivots_valid(n, n, piv):
        return BAD_PIVOTS
    if has_nan(c'A', n, n, lu):
        return NONFINITE
    if condition(n - 1, n, lu, work) <= WORTH * n:
        last = adjugate_of_factor(n, lu, piv, g)
        if all_finite(c'A', n, n, g):
            total = product(n - 1, n, lu, piv)
            total.value = total.value.conjugate()
            total = times(total, scaled(scale))
            total.exponent += last.exponent
            multiply(n * n, total, g)
            return 0
    return adjugate_by_svd(n, lu, piv, scaled(scale), g, work)


cdef int det_forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *lu = x[2]
    cdef int *piv = <int*> x[3]
    if lu is NULL:
        lu = work + n[0] * n[0]
    if piv is NULL:
        piv = <int*> (work + 2 * n[0] * n[0])
    factor(n[0], n[0], <scalar*> x[0], lu, piv, work)
    (<scalar*> x[1])[0] = as_scalar(lu, plain(product(n[0], n[0], lu, piv)))
    return 0


cdef int det_pullback(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    if n[0] == 0:
        return 0
    return adjugate(n[0], <scalar*> x[0], <int*> x[1], as_number((<scalar*> x[2])[0]), <scalar*> x[3], work)


cdef int det_pushforward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t i, square = n[0] * n[0]
    cdef scalar *a_dot = x[2]
    cdef scalar total = 0
    cdef int code
    if n[0]:
        code = adjugate(n[0], <scalar*> x[0], <int*> x[1], 1, work, work + square)
        if code:
            return code
    for i in range(square):
        total = total + conj(work[i]) * a_dot[i]
    (<scalar*> x[3])[0] = total
    return 0


cdef int slogdet_forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *sign = x[1]
    cdef scalar *lu = x[3]
    cdef int *piv = <int*> x[4]
    cdef Py_ssize_t i
    cdef double total = 0, size
    cdef number phase = 1, pivot
    if lu is NULL:
        lu = work + n[0] * n[0]
    if piv is NULL:
        piv = <int*> (work + 2 * n[0] * n[0])
    factor(n[0], n[0], <scalar*> x[0], lu, piv, work)
    for i in range(n[0]):
        pivot = as_number(lu[i * n[0] + i])
        size = abs(pivot)
        total += log(size)
        if size == 0:
            phase = 0
        else:
            phase = phase * (pivot / size) * (1 if piv[i] == i else -1)
    if has_nan(c'A', n[0], n[0], lu):
        return NONFINITE
    sign[0] = as_scalar(lu, phase)
    set_real(<scalar*> x[2], 0, total)
    return 0


cdef int inverse_adjoint(Py_ssize_t n, scalar *lu, int *piv, number scale, scalar *g) noexcept nogil:
    """G := scale A^-H."""
    cdef scalar one = 1
    if not pivots_valid(n, n, piv):
        return BAD_PIVOTS
    if zero_on_diagonal(n, n, lu):
        return NONFINITE if has_nan(c'A', n, n, lu) else SINGULAR
    invert_factored(n, False, one, lu, g)
    permute_rows(n, n, piv, True, g, n)
    if not all_finite(c'A', n, n, g):
        return NONFINITE                                    # A^-1 overflows
    multiply(n * n, scaled(scale), g)
    return 0


cdef int slogdet_pullback(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *sign_bar = x[3]
    cdef scalar *logabsdet_bar = x[4]
    cdef number scale = 0
    if n[0] == 0:
        return 0
    if logabsdet_bar is NULL and (scalar is s or scalar is d):
        fill(n[0] * n[0], 0, <scalar*> x[5])                # a real sign has no derivative
        return 0
    if logabsdet_bar is not NULL:
        scale = get_real(logabsdet_bar, 0)
    if sign_bar is not NULL and (scalar is c or scalar is z):
        scale = scale + 1j * (as_number((<scalar*> x[0])[0]).conjugate() * as_number(sign_bar[0])).imag
    return inverse_adjoint(n[0], <scalar*> x[1], <int*> x[2], scale, <scalar*> x[5])


cdef int slogdet_pushforward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t i, square = n[0] * n[0]
    cdef scalar *a_dot = x[3]
    cdef scalar *sign_dot = x[4]
    cdef number trace = 0
    cdef int code
    if n[0]:
        code = inverse_adjoint(n[0], <scalar*> x[1], <int*> x[2], 1, work)
        if code:
            return code
    for i in range(square):
        trace += as_number(conj(work[i]) * a_dot[i])
    if sign_dot is not NULL:
        sign_dot[0] = as_scalar(sign_dot, 1j * as_number((<scalar*> x[0])[0]) * trace.imag)
    if x[5] is not NULL:
        set_real(<scalar*> x[5], 0, trace.real)
    return 0


cdef Py_ssize_t forward_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return 2 * n[0] * n[0] + n[0]


cdef Py_ssize_t adjugate_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    """Room for one more matrix than the inverse takes or the singular values, whose workspace holds two later on."""
    cdef Py_ssize_t size = gesdd_workspace(n[0], n[0])
    if size < 0:
        return -1
    return max(size, 2 * n[0] * n[0] + n[0]) + 4 * n[0] * n[0] + n[0]


cdef Py_ssize_t one_matrix(const Py_ssize_t *n, const int *option) noexcept nogil:
    return n[0] * n[0]


FAILURES = {
    SINGULAR: (LinAlgError, "is singular: the logarithm of its determinant has no derivative"),
    BAD_PIVOTS: (ValueError, "has row interchanges that are not those of a factorisation"),
    NO_CONVERGENCE: (LinAlgError, "has singular values that did not converge"),
}

det = Kernel(
    "det", "a(n,n) -> det(), lu(n,n), piv:int(n)",
    dtypes(det_forward[s], det_forward[d], det_forward[c], det_forward[z]), <size_t> forward_workspace,
    optional=("lu", "piv"))
det_vjp = Kernel(
    "det_vjp", "lu(n,n), piv:int(n), det_bar() -> a_bar(n,n)",
    dtypes(det_pullback[s], det_pullback[d], det_pullback[c], det_pullback[z]),
    <size_t> adjugate_workspace, failures=FAILURES)
det_jvp = Kernel(
    "det_jvp", "lu(n,n), piv:int(n), a_dot(n,n) -> det_dot()",
    dtypes(det_pushforward[s], det_pushforward[d], det_pushforward[c], det_pushforward[z]),
    <size_t> adjugate_workspace, failures=FAILURES)
slogdet = Kernel(
    "slogdet", "a(n,n) -> sign(), logabsdet:real(), lu(n,n), piv:int(n)",
    dtypes(slogdet_forward[s], slogdet_forward[d], slogdet_forward[c], slogdet_forward[z]),
    <size_t> forward_workspace, optional=("lu", "piv"))
slogdet_vjp = Kernel(
    "slogdet_vjp", "sign(), lu(n,n), piv:int(n), sign_bar(), logabsdet_bar:real() -> a_bar(n,n)",
    dtypes(slogdet_pullback[s], slogdet_pullback[d], slogdet_pullback[c], slogdet_pullback[z]),
    failures=FAILURES)
slogdet_jvp = Kernel(
    "slogdet_jvp", "sign(), lu(n,n), piv:int(n), a_dot(n,n) -> sign_dot(), logabsdet_dot:real()",
    dtypes(slogdet_pushforward[s], slogdet_pushforward[d], slogdet_pushforward[c], slogdet_pushforward[z]),
    <size_t> one_matrix, failures=FAILURES, optional=("sign_dot", "logabsdet_dot"))

for kernel in (det, det_vjp, det_jvp, slogdet, slogdet_vjp, slogdet_jvp):
    globals().update(kernel.gufuncs())
