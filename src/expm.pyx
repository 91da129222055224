# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The exponential X of a matrix, and its Frechet derivative L(A, E) = the integral of e^(tA) E e^((1-t)A) over [0, 1].

    X_dot = L(A, A_dot),  A_bar = L(A^H, X_bar) = L(A, X_bar^H)^H

Any matrix: scaling and squaring with the [m/m] Pade approximant r_m of degree 3, 5, 7, 9 or 13, N. J. Higham, The
scaling and squaring method for the matrix exponential revisited, SIAM J. Matrix Anal. Appl. 26 (2005), algorithm 2.3.
With B = (A - mu I) / 2^s, mu the mean of the diagonal, the even powers of B up to q give

    r_m(B) = (V - U)^-1 (V + U),  U = B W,  W = (odd part of r_m's numerator) / B,  V = its even part

and X = (e^(mu / 2^s) r_m(B))^(2^s): the shift makes the norm smaller, and is put back before the squarings so that no
factor overflows that X does not. L differentiates each of these steps, with the powers, W, the factored V - U and the
first of the squares from the forward pass: A. H. Al-Mohy and N. J. Higham, Computing the Frechet derivative of the
matrix exponential, with an application to condition number estimation, SIAM J. Matrix Anal. Appl. 30 (2009),
algorithm 6.4. Its bounds on |B|, within which both r_m and its derivative are exact for a matrix that differs from B
by a rounding error, serve both; for single precision they were computed as it says, from h'(bound) = 2^-24.

Where that asks for s > 0, the powers may tell that less will do: A. H. Al-Mohy and N. J. Higham, A new scaling and
squaring algorithm for the matrix exponential, SIAM J. Matrix Anal. Appl. 31 (2009), sections 4 and 5. Needless
squarings lose digits of matrices that are far from normal.

A Hermitian matrix is A = Q diag(w) Q^H, read from its lower triangle, and

    X = Q diag(e^w) Q^H,  L(A, E) = Q (F o Q^H E Q) Q^H,  F_ij = (e^w_i - e^w_j) / (w_i - w_j),  F_ii = e^w_i

(o is the product entry by entry), Yu. L. Daleckii and S. G. Krein's theorem: N. J. Higham, Functions of Matrices
(2008), theorem 3.11. For w_i > w_j, F_ij = e^w_i (1 - e^(w_j - w_i)) / (w_i - w_j), which `expm1` makes right to
rounding however close the two are. L is its own adjoint there, and maps the Hermitian part alone.
"""

from libc.math cimport cos, exp, expm1, fabs, floor, fmin, frexp, isfinite, ldexp, log2, pow, sin, sqrt
from numpy.linalg import LinAlgError

from blas cimport c, d, eps, gemm, gemmt, get_real, imag, real, s, scalar, set_real, transpose, use_level3, z
from dense cimport all_finite, copy, fill, hermitian_lower, mirror, scale, scale_by_power
from gufunc cimport NONFINITE, dtypes
from pivoted cimport factor, pivots_valid, solve_factored
from tridiagonal cimport heevd, heevd_workspace, lower_from_eigen

from matkern.kernels.gufunc import Kernel, level3

use_level3(level3)

cdef enum:
    NO_CONVERGENCE = 1

cdef enum:
    HIGHEST = 13            # degree
    SMALL = 8               # plain loops take less time than calls of BLAS
    MOST_POWERS = 3         # B^2, B^4, B^6
    MOST_SQUARINGS = 1100   # 2^1100 is more than any norm

cdef int[5] DEGREES = [3, 5, 7, 9, 13]
cdef int[5] POWERS = [1, 2, 3, 2, 3]        # how many are formed
cdef double[5] DOUBLE_BOUNDS = [1.081e-2, 1.998e-1, 7.834e-1, 1.782, 4.740]
cdef double[3] SINGLE_BOUNDS = [3.080e-1, 1.482, 3.248]

cdef struct Plan:
    int degree, powers, squarings


# numbers times matrices; complex ones are twice as many reals

cdef inline Py_ssize_t reals(Py_ssize_t size, scalar *unused) noexcept nogil:
    return 2 * size if scalar is c or scalar is z else size


cdef inline void add_multiple(Py_ssize_t size, double number, scalar *x, scalar *y) noexcept nogil:
    """Y := Y + number X."""
    cdef Py_ssize_t i
    for i in range(reals(size, x)):
        if scalar is s or scalar is c:
            (<float*> y)[i] += <float> number * (<float*> x)[i]
        else:
            (<double*> y)[i] += number * (<double*> x)[i]


cdef inline void combine(Py_ssize_t size, int count, double *number, scalar **x, scalar *out) noexcept nogil:
    """out := the sum of every other number times its matrix."""
    cdef int j
    fill(size, 0, out)
    for j in range(count):
        add_multiple(size, number[2 * j], x[j], out)


cdef inline void multiply_by(Py_ssize_t size, scalar number, scalar *x) noexcept nogil:
    """X := number X."""
    cdef Py_ssize_t i
    for i in range(size):
        x[i] = number * x[i]


cdef inline void add_product(Py_ssize_t n, scalar *a, scalar *b, scalar *out) noexcept nogil:
    """out := A B + out."""
    cdef Py_ssize_t i, j, k
    cdef scalar aik
    if n > SMALL or scalar is c or scalar is z:
        gemm(c'N', c'N', n, n, n, 1, a, n, b, n, 1, out, n)
        return
    for i in range(n):
        for k in range(n):
            aik = a[i * n + k]
            for j in range(n):
                out[i * n + j] += aik * b[k * n + j]


cdef inline void product(Py_ssize_t n, scalar *a, scalar *b, scalar *out) noexcept nogil:
    """out := A B."""
    fill(n * n, 0, out)
    add_product(n, a, b, out)


cdef inline scalar exponential(scalar x) noexcept nogil:
    cdef double size = exp(real(x))
    if scalar is c or scalar is z:
        return <scalar> (size * cos(imag(x)) + size * sin(imag(x)) * 1j)
    else:
        return <scalar> size


# how to

cdef double column_sums(Py_ssize_t n, scalar *b, double *x, double *out) noexcept nogil:
    """out := x |B| entry by entry, x a row; return the largest entry. Of ones that is the 1-norm."""
    cdef Py_ssize_t i, j
    cdef double largest = 0, size
    for j in range(n):
        out[j] = 0
    for i in range(n):
        for j in range(n):
            if scalar is c or scalar is z:
                size = sqrt(real(b[i * n + j]) * real(b[i * n + j]) + imag(b[i * n + j]) * imag(b[i * n + j]))
            else:
                size = fabs(b[i * n + j])
            out[j] += x[i] * size
    for j in range(n):
        if not out[j] <= largest:               # NaN stays
            largest = out[j]
    return largest


cdef double one_norm(Py_ssize_t n, scalar *b, double *work) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        work[j] = 1
    return column_sums(n, b, work, work + n)


cdef inline scalar mean_of_diagonal(Py_ssize_t n, scalar *a) noexcept nogil:
    cdef Py_ssize_t i
    cdef scalar mean = 0
    for i in range(n):
        mean += a[i * n + i] / n
    return mean


cdef inline scalar shift_factor(Py_ssize_t n, scalar *a, int squarings) noexcept nogil:
    """e^(mu / 2^s)."""
    return exponential(mean_of_diagonal(n, a) * <scalar> ldexp(1, -squarings))


cdef inline void reduce(Py_ssize_t n, scalar *a, int squarings, scalar *b) noexcept nogil:
    """B := (A - mu I) / 2^s."""
    cdef Py_ssize_t i
    cdef scalar mean = mean_of_diagonal(n, a)
    copy(n * n, a, b)
    for i in range(n):
        b[i * n + i] -= mean
    scale(n * n, ldexp(1, -squarings), b)


cdef Plan choose(double norm, scalar *unused) noexcept nogil:
    """The cheapest approximant for a matrix of this norm, or the last one after as many halvings as that takes."""
    cdef int i, last = 2 if scalar is s or scalar is c else 4
    cdef double bound
    cdef Plan plan
    plan.squarings = 0
    for i in range(last + 1):
        bound = SINGLE_BOUNDS[i] if scalar is s or scalar is c else DOUBLE_BOUNDS[i]
        if norm <= bound:
            break
    else:
        i = last
        frexp(norm / bound, &plan.squarings)
    plan.degree, plan.powers = DEGREES[i], POWERS[i]
    return plan


cdef bint planned(int code, Plan *plan) noexcept nogil:
    """Read a plan from what is kept of it; False if it is none."""
    cdef int i
    plan.degree, plan.squarings = code % 16, code // 16
    for i in range(5):
        if plan.degree == DEGREES[i]:
            plan.powers = POWERS[i]
            return 0 <= plan.squarings <= MOST_SQUARINGS
    return False


cdef int spared(Py_ssize_t n, Plan *plan, scalar *b, scalar **p, double *work) noexcept nogil:
    """How many of the squarings are needless.

    The error of r_m is a series in B from B^(2m+1) on, of which max(|B^4|^(1/4), |B^6|^(1/6)) bounds the growth as well
    as |B| does. So that rounding errors of the evaluation stay small, too, c |(|B|^(2m+1))| <= u |B|, with c the first
    of the series' coefficients, u = eps / 2 and |B| of entries.
    """
    cdef int k, _power, m = plan.degree
    cdef double bound = SINGLE_BOUNDS[2] if scalar is s or scalar is c else DOUBLE_BOUNDS[4], most = plan.squarings
    cdef double size, power, growth = max(pow(one_norm(n, p[1], work), 0.25), pow(one_norm(n, p[2], work), 1. / 6))
    cdef double *x = work
    cdef double *y = work + n
    if growth > 0:
        most = fmin(most, floor(log2(bound / growth)))
    if most < 1:
        return 0
    size = one_norm(n, b, work)
    for _power in range(2 * m):                 # y = the row of ones times |B| to the power k + 1
        x, y = y, x
        power = column_sums(n, b, x, y)
    for k in range(1, m + 1):
        power *= <double> k / (m + k)
    for k in range(2, 2 * m + 2):
        power /= k
    if power > 0:
        most = fmin(most, floor(log2(eps(b) / 2 * size / power) / (2 * m)))
    return <int> max(most, 0)


# r_m and its derivative

cdef inline void coefficients(int m, double *number) noexcept nogil:
    """Of r_m's numerator, the first one 1."""
    cdef int k
    number[0] = 1
    for k in range(1, m + 1):
        number[k] = number[k - 1] * (m - k + 1) / (k * (2 * m - k + 1))


cdef void part(Plan *plan, int odd, Py_ssize_t n, scalar **p, scalar *out, scalar *work) noexcept nogil:
    """out := V, or W if odd: the sum of c_(2j + odd) B^(2j); beyond the highest power q by a product with that."""
    cdef double number[HIGHEST + 1]
    cdef Py_ssize_t i
    cdef int q = plan.powers
    coefficients(plan.degree, number)
    combine(n * n, q, number + 2 + odd, p, out)
    for i in range(n):
        out[i * n + i] += <scalar> number[odd]
    if plan.degree > 2 * q + 1:
        combine(n * n, q, number + 2 * q + 2 + odd, p, work)
        add_product(n, p[q - 1], work, out)


cdef void part_derivative(Plan *plan, int odd, Py_ssize_t n, scalar **p, scalar **m, scalar *out,
                          scalar *work) noexcept nogil:
    """out := the derivative of V or W, given those of the powers."""
    cdef double number[HIGHEST + 1]
    cdef int q = plan.powers
    coefficients(plan.degree, number)
    combine(n * n, q, number + 2 + odd, m, out)
    if plan.degree > 2 * q + 1:
        combine(n * n, q, number + 2 * q + 2 + odd, p, work)
        add_product(n, m[q - 1], work, out)
        combine(n * n, q, number + 2 * q + 2 + odd, m, work)
        add_product(n, p[q - 1], work, out)


cdef inline void sum_and_difference(Py_ssize_t size, scalar *x, scalar *y) noexcept nogil:
    """X, Y := X + Y, X - Y."""
    cdef Py_ssize_t i
    cdef scalar t
    for i in range(size):
        t = x[i]
        x[i] = t + y[i]
        y[i] = t - y[i]


cdef inline void from_both_sides(Py_ssize_t n, scalar *a, scalar *m, scalar *out) noexcept nogil:
    """out := A M + M A."""
    product(n, a, m, out)
    add_product(n, m, a, out)


cdef void frechet(bint pullback, Plan *plan, Py_ssize_t n, scalar *a, scalar **p, scalar *odd, scalar *lu, int *piv,
                  scalar *root, scalar *e, scalar *out, scalar *work) noexcept nogil:
    """out := L(A, E), in a pullback L(A, E^H)^H."""
    cdef Py_ssize_t k, square = n * n
    cdef scalar *m[MOST_POWERS]
    cdef scalar *b = work + 3 * square
    cdef scalar *t = b + square
    cdef scalar *u = t + square
    cdef scalar *v = u + square
    cdef scalar *spare = v + square
    cdef scalar shift = shift_factor(n, a, plan.squarings)
    reduce(n, a, plan.squarings, b)
    if pullback:
        transpose(True, n, n, e, n, t, n)
    else:
        copy(square, e, t)
    scale(square, ldexp(1, -plan.squarings), t)
    for k in range(MOST_POWERS):
        m[k] = work + k * square
    from_both_sides(n, b, t, m[0])
    if plan.powers > 1:
        from_both_sides(n, p[0], m[0], m[1])
    if plan.powers > 2:
        product(n, p[1], m[0], m[2])
        add_product(n, m[1], p[0], m[2])
    part_derivative(plan, 1, n, p, m, v, spare)
    product(n, b, v, u)
    add_product(n, t, odd, u)
    part_derivative(plan, 0, n, p, m, v, spare)
    sum_and_difference(square, u, v)            # (V - U) L = dU + dV + (dU - dV) r_m, times the shift's factor
    multiply_by(square, shift, u)
    add_product(n, v, root, u)
    solve_factored(c'N', n, n, lu, piv, u)
    for k in range(plan.squarings):
        from_both_sides(n, root, u, v)
        u, v = v, u
        if k < plan.squarings - 1:
            product(n, root, root, spare)
            root, spare = spare, root if k else b       # the first root is not ours to overwrite
    if pullback:
        transpose(True, n, n, u, n, out, n)
    else:
        copy(square, u, out)


# the kernels

cdef int forward(scalar **x, const Py_ssize_t *size, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t n = size[0], square = size[0] * size[0]
    cdef scalar *kept[6]                        # the powers, W, the factor and the first of the squares
    cdef int *piv = <int*> x[8]
    cdef int *code = <int*> x[9]
    cdef double *sums = <double*> work
    cdef scalar *odd
    cdef scalar *lu
    cdef scalar *root
    cdef scalar *b
    cdef scalar *u
    cdef scalar *t
    cdef Plan plan
    cdef double norm
    cdef int j, k, _squaring
    if code is not NULL:
        code[0] = 0
    work += 4 * n
    if piv is NULL:
        piv = <int*> work
        work += n
    for k in range(6):
        kept[k] = x[2 + k]
        if kept[k] is NULL:
            kept[k] = work
            work += square
    odd, lu, root = kept[3], kept[4], kept[5]
    b, u, t = work, work + square, work + 2 * square
    reduce(n, x[0], 0, b)
    norm = one_norm(n, b, sums)
    if not isfinite(norm):
        return NONFINITE
    plan = choose(norm, b)
    scale(square, ldexp(1, -plan.squarings), b)
    product(n, b, b, kept[0])
    for k in range(1, MOST_POWERS):
        if k < plan.powers:
            product(n, kept[0], kept[k - 1], kept[k])
        else:
            fill(square, 0, kept[k])
    if plan.squarings:
        k = spared(n, &plan, b, kept, sums)
        plan.squarings -= k
        if k:
            scale_by_power(square, k, b)
            for j in range(MOST_POWERS):
                scale_by_power(square, 2 * (j + 1) * k, kept[j])
    if code is not NULL:
        code[0] = plan.degree + 16 * plan.squarings
    part(&plan, 1, n, kept, odd, t)
    product(n, b, odd, u)
    part(&plan, 0, n, kept, root, t)
    sum_and_difference(square, root, u)
    factor(n, n, u, lu, piv, t)
    solve_factored(c'N', n, n, lu, piv, root)
    multiply_by(square, shift_factor(n, x[0], plan.squarings), root)
    copy(square, root, x[1])
    for _squaring in range(plan.squarings):
        copy(square, x[1], t)
        product(n, t, t, x[1])
    return 0


cdef int derivative(bint pullback, scalar **x, Py_ssize_t n, scalar *work) noexcept nogil:
    """The last of the operands := L(A, the one before it), or what `frechet` makes of it in a pullback."""
    cdef int *piv = <int*> x[7]
    cdef Plan plan
    if n == 0:
        return 0
    if not (planned((<int*> x[8])[0], &plan) and pivots_valid(n, n, piv)):
        return NONFINITE                        # as the forward pass was
    frechet(pullback, &plan, n, x[0], x + 1, x[4], x[5], piv, x[6], x[9], x[10], work)
    return 0


cdef int vjp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    return derivative(True, x, n[0], work)


cdef int jvp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    return derivative(False, x, n[0], work)


cdef Py_ssize_t forward_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return 9 * n[0] * n[0] + 5 * n[0]


cdef Py_ssize_t derivative_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return 8 * n[0] * n[0]


# Hermitian matrices

cdef int forward_hermitian(scalar **x, const Py_ssize_t *size, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t j, n = size[0], square = size[0] * size[0]
    cdef scalar *w = x[2]
    cdef scalar *q = x[3]
    if w is NULL:
        w = work
        work += n
    if q is NULL:
        q = work
        work += square
    if not all_finite(c'L', n, n, <scalar*> x[0]):
        return NONFINITE
    if heevd(c'L', n, <scalar*> x[0], w, q, work) > 0:
        return NO_CONVERGENCE
    for j in range(n):
        set_real(work + square, j, exp(get_real(w, j)))
    lower_from_eigen(n, work + square, q, work, x[1])
    mirror(n, x[1])
    return 0


cdef int derivative_hermitian(scalar **x, const Py_ssize_t *size, const int *option, scalar *work) noexcept nogil:
    """The pullback and the pushforward: L(A, .) is its own adjoint."""
    cdef Py_ssize_t i, j, n = size[0]
    cdef scalar *w = x[0]
    cdef scalar *q = x[1]
    cdef scalar *out = x[3]
    cdef double root, gap
    hermitian_lower(0, n, <scalar*> x[2], out)
    mirror(n, out)
    gemm(c'N', c'N', n, n, n, 1, out, n, q, n, 0, work, n)
    gemm(c'C', c'N', n, n, n, 1, q, n, work, n, 0, out, n)
    for i in range(n):                          # w ascends
        root = exp(get_real(w, i))
        for j in range(i):
            gap = get_real(w, i) - get_real(w, j)
            out[i * n + j] = out[i * n + j] * <scalar> (root if gap == 0 else root * (-expm1(-gap) / gap))
        out[i * n + i] = out[i * n + i] * <scalar> root
    mirror(n, out)
    gemm(c'N', c'N', n, n, n, 1, q, n, out, n, 0, work, n)
    gemmt(c'L', False, c'N', c'C', n, n, 1, work, n, q, n, 0, out, n)
    mirror(n, out)
    return 0


cdef Py_ssize_t hermitian_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    cdef Py_ssize_t size = heevd_workspace(n[0])
    return -1 if size < 0 else size + n[0] * n[0] + n[0]


cdef Py_ssize_t one_matrix(const Py_ssize_t *n, const int *option) noexcept nogil:
    return n[0] * n[0]


KEPT = "b2(n,n), b4(n,n), b6(n,n), odd(n,n), factor(n,n), root(n,n), piv:int(n), plan:int()"

expm = Kernel(
    "expm", f"a(n,n) -> x(n,n), {KEPT}", dtypes(forward[s], forward[d], forward[c], forward[z]),
    <size_t> forward_workspace, optional=("b2", "b4", "b6", "odd", "factor", "root", "piv", "plan"))
expm_vjp = Kernel(
    "expm_vjp", f"a(n,n), {KEPT}, x_bar(n,n) -> a_bar(n,n)", dtypes(vjp[s], vjp[d], vjp[c], vjp[z]),
    <size_t> derivative_workspace)
expm_jvp = Kernel(
    "expm_jvp", f"a(n,n), {KEPT}, a_dot(n,n) -> x_dot(n,n)", dtypes(jvp[s], jvp[d], jvp[c], jvp[z]),
    <size_t> derivative_workspace)

KEPT_HERMITIAN = "eigenvalues:real(n), eigenvectors(n,n)"

expm_hermitian = Kernel(
    "expm_hermitian", f"a(n,n) -> x(n,n), {KEPT_HERMITIAN}",
    dtypes(forward_hermitian[s], forward_hermitian[d], forward_hermitian[c], forward_hermitian[z]),
    <size_t> hermitian_workspace,
    failures={NO_CONVERGENCE: (LinAlgError, "has eigenvalues that did not converge")},
    optional=("eigenvalues", "eigenvectors"))
expm_hermitian_vjp = Kernel(
    "expm_hermitian_vjp", f"{KEPT_HERMITIAN}, x_bar(n,n) -> a_bar(n,n)",
    dtypes(derivative_hermitian[s], derivative_hermitian[d], derivative_hermitian[c], derivative_hermitian[z]),
    <size_t> one_matrix)
expm_hermitian_jvp = Kernel(
    "expm_hermitian_jvp", f"{KEPT_HERMITIAN}, a_dot(n,n) -> x_dot(n,n)",
    dtypes(derivative_hermitian[s], derivative_hermitian[d], derivative_hermitian[c], derivative_hermitian[z]),
    <size_t> one_matrix)

for kernel in (expm, expm_vjp, expm_jvp, expm_hermitian, expm_hermitian_vjp, expm_hermitian_jvp):
    globals().update(kernel.gufuncs())
