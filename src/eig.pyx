# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Eigenvalues w and eigenvectors V of a general matrix, A V = V diag(w), the columns of V of unit 2-norm.

With P(X) = X - V diag(V^H X), which takes from each column what lies along v_j, S = V^-1 A_dot V, M = V^H P(V_bar)
and i != j,

    w_dot = diag(S),  V_dot = P(V Y),    Y_ij = S_ij / (w_j - w_i),        Y_ii = 0
    A_bar = V^-H X V^H,                  X_ij = M_ij / conj(w_j - w_i),    X_ii = w_bar_i

and of a real A the real part. J. H. Wilkinson, The Algebraic Eigenvalue Problem (1965), chapter 2, for the derivatives;
C. Boeddeker et al., On the computation of complex-valued gradients with application to statistically optimum
beamforming, arXiv:1701.00392 (2017), section 4.2, for the reverse, to which P adds the normalisation.

The phases of the columns are free: V_dot is along those with v_j^H v_dot_j = 0, and Im v_j^H v_bar_j is zero for a
loss that has a gradient; `gauge="raise"` fails when it is above GAUGE kappa eps |V_bar|. Norms are Frobenius's, and
kappa = |V| |V^-1| is n for a normal matrix and greater for any other. The real eigenvectors of a real A have no phase.

w_i and w_j count as repeated when |w_i - w_j| <= REPEATED eps |A| max(|y_i|, |y_j|), y_i being row i of V^-1: |y_i| is
the condition of w_i (Wilkinson, as above; 1 for a normal matrix), and LAPACK's w_i is off by about eps |A| |y_i|. There
the quotient has no value: a numerator within GAUGE kappa eps |V_bar| (of S: |A_dot|) is zero but for rounding and
contributes nothing, and another one is the case of the option `degenerate`.

The relative error of a derivative is up to about eps (kappa / n)^2, once for V^-1 and once for w_j - w_i. Above
LARGEST_ERROR percent it comes with a warning; with eps kappa >= 1 V is singular to working precision, and A defective.

V^-1 is kept for the derivatives. Where A is real, a product with A_dot or to A_bar is one of real matrices of which the
complex one is 2 n long.
"""

from libc.math cimport NAN, fabs, frexp, log10, sqrt
from numpy.linalg import LinAlgError

from blas cimport c, conj, d, eps, gemm, imag, real, s, scalar, transpose, use_level3, z
from degenerate cimport GAUGE, RAISE, REPEATED, ZERO, is_rounding
from dense cimport all_finite, copy, fill, has_nan, norm, scale_by_power, zero_on_diagonal
from geev cimport small_eig
from gufunc cimport NONFINITE, dtypes
from lapack cimport geev_columns, geev_workspace
from pivoted cimport factor, solve_factored

from matkern.kernels.gufunc import Kernel, level3

use_level3(level3)

cdef enum:
    LARGEST_ERROR = 1       # in percent

cdef enum:                  # options of the pullback and the pushforward, in their order
    DEGENERATE
    GAUGE_POLICY            # of the pullback alone

cdef enum:
    NO_CONVERGENCE = 1
    DEFECTIVE
    DEGENERATE_PAIR
    PHASE

ctypedef fused cplx:        # the precision of a real or a complex matrix
    c
    z

ctypedef fused floating:
    s
    d


cdef void unpack(Py_ssize_t n, floating *wr, floating *vr, floating *w, floating *v) noexcept nogil:
    """LAPACK's answer for a real matrix (`geev_columns`) as complex numbers, each two reals; v in rows, or NULL."""
    cdef Py_ssize_t i, j
    cdef floating *wi = wr + n
    for j in range(n):
        w[2 * j] = wr[j]
        w[2 * j + 1] = wi[j]
        if v is not NULL:
            for i in range(n):
                v[2 * (i * n + j)] = vr[(j - 1 if wi[j] < 0 else j) * n + i]
                v[2 * (i * n + j) + 1] = 0 if wi[j] == 0 else vr[(j + 1) * n + i] if wi[j] > 0 else -vr[j * n + i]


cdef void invert(Py_ssize_t n, cplx *v, cplx *inverse, cplx *work) noexcept nogil:
    """V^-1, or NaN for a singular V; the workspace holds two matrices and a row."""
    cdef cplx *lu = work + n * n
    cdef int *piv = <int*> (lu + n * n)
    cdef Py_ssize_t i
    factor(n, n, v, lu, piv, work)
    if zero_on_diagonal(n, n, lu):
        fill(n * n, <cplx> NAN, inverse)
        return
    fill(n * n, 0, inverse)
    for i in range(n):
        inverse[i * n + i] = 1
    solve_factored(c'N', n, n, lu, piv, inverse)


cdef int out_of_scale(Py_ssize_t size, scalar *a) noexcept nogil:
    """The exponent of the largest part of A, if LAPACK would scale A: OpenBLAS 0.3.30 does not scale back."""
    cdef Py_ssize_t i
    cdef double largest = 0
    cdef int exponent = 0
    for i in range(size):
        largest = max(largest, max(fabs(real(a[i])), fabs(imag(a[i]))))
    frexp(largest, &exponent)
    return exponent if exponent < -30 or exponent > 30 else 0


cdef int forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t size = n[0], square = n[0] * n[0]
    cdef scalar *w = x[1]
    cdef scalar *v = x[2]
    cdef scalar *inverse = x[3]
    cdef scalar *a = work
    cdef scalar *columns = work + square
    cdef scalar *rest = work + 2 * square
    cdef int exponent
    cdef bint done = False
    if not all_finite(c'A', size, size, x[0]):
        return NONFINITE
    if v is NULL and inverse is not NULL:
        v, work = work, work + 2 * square           # room for a complex matrix
        a, columns, rest = a + 2 * square, columns + 2 * square, rest + 2 * square
    transpose(False, size, size, x[0], size, a, size)
    exponent = out_of_scale(square, a)
    scale_by_power(square, -exponent, a)
    if v is NULL:
        columns = NULL
    if scalar is s or scalar is d:
        done = small_eig(size, a, rest, columns)
    if not done and geev_columns(size, a, rest if scalar is s or scalar is d else w, columns, rest + 2 * size):
        return NO_CONVERGENCE
    if scalar is s or scalar is d:
        unpack(size, rest, columns, w, v)
    elif v is not NULL:
        transpose(False, size, size, columns, size, v, size)
    scale_by_power(2 * size if scalar is s or scalar is d else size, exponent, w)
    if inverse is not NULL:
        if scalar is s or scalar is c:
            invert(size, <c*> v, <c*> inverse, <c*> work)
        else:
            invert(size, <z*> v, <z*> inverse, <z*> work)
    return 0


cdef int inverse_alone(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    if scalar is s or scalar is c:
        invert(n[0], <c*> x[0], <c*> x[1], <c*> work)
    else:
        invert(n[0], <z*> x[0], <z*> x[1], <z*> work)
    return 0


cdef int judge(Py_ssize_t n, cplx *v, double kappa) noexcept nogil:
    """0, the code of a failure or, for eigenvectors of doubtful condition, that as minus its power of ten."""
    if not eps(v) * kappa < 1:
        return NONFINITE if has_nan(c'A', n, n, v) else DEFECTIVE
    return -<int> log10(kappa) if 100 * eps(v) * (kappa / n) * (kappa / n) > LARGEST_ERROR else 0


cdef void along(Py_ssize_t n, cplx *v, cplx *x, cplx *out) noexcept nogil:
    """out_j := v_j^H x_j, column by column."""
    cdef Py_ssize_t i, j
    fill(n, 0, out)
    for i in range(n):
        for j in range(n):
            out[j] = out[j] + conj(v[i * n + j]) * x[i * n + j]


cdef void take_along(Py_ssize_t n, cplx *v, cplx *part, cplx *x) noexcept nogil:
    """X := X - V diag(part)."""
    cdef Py_ssize_t i, j
    for i in range(n):
        for j in range(n):
            x[i * n + j] = x[i * n + j] - v[i * n + j] * part[j]


cdef int settle(cplx *numerator, double small, int degenerate) noexcept nogil:
    """Zero for the quotient of a repeated pair, or the code of the option's answer."""
    if degenerate != ZERO and not is_rounding(numerator[0], small):
        return DEGENERATE_PAIR if degenerate == RAISE else NONFINITE
    numerator[0] = 0
    return 0


cdef int divide(Py_ssize_t n, cplx *w, cplx *inverse, double rounding, double small, int degenerate, bint conjugated,
                cplx *m, cplx *row) noexcept nogil:
    """M_ij := M_ij / (w_j - w_i) or / conj(w_j - w_i) for i != j; `rounding` is that of A, `row` a workspace."""
    cdef Py_ssize_t i, j
    cdef double re, im, large, square, distance, scale
    cdef cplx reciprocal
    cdef int code
    for i in range(n):
        row[i] = <cplx> norm(n, inverse + i * n)
        for j in range(i):
            re = real(w[j]) - real(w[i])
            im = imag(w[j]) - imag(w[i])
            large = max(fabs(re), fabs(im))
            distance = 0
            if large > 0:                                           # no square of it: that may over- or underflow
                re = re / large
                im = im / large
                square = re * re + im * im
                distance = large * sqrt(square)
            if distance <= REPEATED * rounding * max(real(row[i]), real(row[j])):
                code = settle(&m[i * n + j], small, degenerate)
                if code == 0:
                    code = settle(&m[j * n + i], small, degenerate)
                if code:
                    return code
            else:
                scale = 1 / square / large
                reciprocal.real = re * scale
                reciprocal.imag = (im if conjugated else -im) * scale
                m[i * n + j] = m[i * n + j] * reciprocal
                m[j * n + i] = -m[j * n + i] * reciprocal
    return 0


cdef int pull(cplx **x, bint real_a, double size_a, const Py_ssize_t *n, const int *option, cplx *work) noexcept nogil:
    cdef Py_ssize_t i, j, size = n[0], square = n[0] * n[0]
    cdef cplx *w = x[1]
    cdef cplx *v = x[2]
    cdef cplx *inverse = x[3]
    cdef cplx *w_bar = x[4]
    cdef cplx *v_bar = x[5]
    cdef cplx *m = work
    cdef cplx *p = work + square
    cdef cplx *row = work + 2 * square
    cdef double kappa = norm(square, v) * norm(square, inverse), level = 0, small
    cdef int verdict, code
    if size == 0:
        return 0
    verdict = judge(size, v, kappa)
    if verdict > 0 or verdict == NONFINITE:
        return verdict
    if v_bar is not NULL:
        level = norm(square, v_bar)
    if level == 0:                                                  # eigenvalues alone: never a quotient
        transpose(False, size, size, inverse, size, p, size)
        for i in range(size):
            for j in range(size):
                p[i * size + j] = 0 if w_bar is NULL else conj(p[i * size + j]) * w_bar[j]
    else:
        small = GAUGE * kappa * eps(v) * level
        along(size, v, v_bar, row)
        for j in range(size):
            if option[GAUGE_POLICY] == 0 and fabs(imag(row[j])) > small and not (real_a and imag(w[j]) == 0):
                return PHASE
        copy(square, v_bar, p)
        take_along(size, v, row, p)
        gemm(c'C', c'N', size, size, size, 1, v, size, p, size, 0, m, size)
        code = divide(size, w, inverse, eps(v) * size_a, small, option[DEGENERATE], True, m, row)
        if code:
            return code
        for i in range(size):
            m[i * size + i] = 0 if w_bar is NULL else w_bar[i]
        gemm(c'C', c'N', size, size, size, 1, inverse, size, m, size, 0, p, size)
    if not real_a:
        gemm(c'N', c'C', size, size, size, 1, p, size, v, size, 0, x[6], size)
    elif cplx is c:
        gemm[s](c'N', c'T', size, size, 2 * size, 1, <s*> p, 2 * size, <s*> v, 2 * size, 0, <s*> x[6], size)
    else:
        gemm[d](c'N', c'T', size, size, 2 * size, 1, <d*> p, 2 * size, <d*> v, 2 * size, 0, <d*> x[6], size)
    return verdict


cdef int push(cplx **x, bint real_a, double size_a, double level, const Py_ssize_t *n, const int *option,
              cplx *work) noexcept nogil:
    cdef Py_ssize_t i, j, size = n[0], square = n[0] * n[0]
    cdef cplx *v = x[2]
    cdef cplx *inverse = x[3]
    cdef cplx *w_dot = x[5]
    cdef cplx *v_dot = x[6]
    cdef cplx *tv = work
    cdef cplx *m = work + square
    cdef cplx *row = work + 2 * square
    cdef double kappa = norm(square, v) * norm(square, inverse), small
    cdef int verdict, code
    if size == 0:
        return 0
    verdict = judge(size, v, kappa)
    if verdict > 0 or verdict == NONFINITE:
        return verdict
    if not real_a:
        gemm(c'N', c'N', size, size, size, 1, x[4], size, v, size, 0, tv, size)
    elif cplx is c:
        gemm[s](c'N', c'N', size, 2 * size, size, 1, <s*> x[4], size, <s*> v, 2 * size, 0, <s*> tv, 2 * size)
    else:
        gemm[d](c'N', c'N', size, 2 * size, size, 1, <d*> x[4], size, <d*> v, 2 * size, 0, <d*> tv, 2 * size)
    if v_dot is NULL:
        for i in range(size):
            w_dot[i] = 0
            for j in range(size):
                w_dot[i] = w_dot[i] + inverse[i * size + j] * tv[j * size + i]
        return verdict
    gemm(c'N', c'N', size, size, size, 1, inverse, size, tv, size, 0, m, size)
    for i in range(size):
        if w_dot is not NULL:
            w_dot[i] = m[i * size + i]
        m[i * size + i] = 0
    small = GAUGE * kappa * eps(v) * level
    code = divide(size, x[1], inverse, eps(v) * size_a, small, option[DEGENERATE], False, m, row)
    if code:
        return code
    gemm(c'N', c'N', size, size, size, 1, v, size, m, size, 0, v_dot, size)
    along(size, v, v_dot, row)
    take_along(size, v, row, v_dot)
    return verdict


cdef int vjp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef double size_a = norm(n[0] * n[0], x[0])
    if scalar is s or scalar is c:
        return pull(<c**> x, scalar is s, size_a, n, option, <c*> work)
    else:
        return pull(<z**> x, scalar is d, size_a, n, option, <z*> work)


cdef int jvp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef double size_a = norm(n[0] * n[0], x[0]), level = norm(n[0] * n[0], x[4])
    if scalar is s or scalar is c:
        return push(<c**> x, scalar is s, size_a, level, n, option, <c*> work)
    else:
        return push(<z**> x, scalar is d, size_a, level, n, option, <z*> work)


# Workspaces are counted in reals: complex numbers twice. For a complex matrix that is more than it needs.

cdef Py_ssize_t inverse_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return 2 * (2 * n[0] * n[0] + n[0])


cdef Py_ssize_t forward_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    """The eigenvectors, if nobody wants them; two matrices, eigenvalues and LAPACK's workspace, then `invert`'s."""
    cdef Py_ssize_t size = geev_workspace(n[0])
    return -1 if size < 0 else 2 * n[0] * n[0] + max(2 * n[0] * n[0] + 2 * n[0] + size, inverse_workspace(n, option))


cdef Py_ssize_t derivative_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return 2 * (2 * n[0] * n[0] + n[0])


OPTIONS = {"degenerate": ("nan", "zero", "raise")}
FAILURES = {
    DEFECTIVE: (LinAlgError, "is defective to working precision: it has not as many linearly independent eigenvectors "
                             "as columns, and no derivative"),
    DEGENERATE_PAIR: (LinAlgError, "has repeated eigenvalues, and the cotangent or tangent tells their eigenvectors "
                                   "apart: there is no derivative"),
    PHASE: (ValueError, "has a loss that depends on the phases of complex eigenvectors, which are arbitrary: it has no "
                        "gradient (gauge='ignore' drops that part)"),
}
CAUTION = ("is nearly defective: its eigenvectors have a condition of 1e{} or more, and the derivative may have no "
           "correct digit")

eig = Kernel(
    "eig", "a(n,n) -> eigenvalues:complex(n), eigenvectors:complex(n,n), inverse:complex(n,n)",
    dtypes(forward[s], forward[d], forward[c], forward[z]), <size_t> forward_workspace, {},
    {NO_CONVERGENCE: (LinAlgError, "has eigenvalues that did not converge")}, optional=("eigenvectors", "inverse"))
eig_inverse = Kernel(
    "eig_inverse", "eigenvectors:complex(n,n) -> inverse:complex(n,n)",
    dtypes(inverse_alone[s], inverse_alone[d], inverse_alone[c], inverse_alone[z]), <size_t> inverse_workspace)
eig_vjp = Kernel(
    "eig_vjp",
    "a(n,n), eigenvalues:complex(n), eigenvectors:complex(n,n), inverse:complex(n,n), eigenvalues_bar:complex(n), "
    "eigenvectors_bar:complex(n,n) -> a_bar(n,n)",
    dtypes(vjp[s], vjp[d], vjp[c], vjp[z]), <size_t> derivative_workspace,
    OPTIONS | {"gauge": ("raise", "ignore")}, FAILURES, caution=CAUTION)
eig_jvp = Kernel(
    "eig_jvp",
    "a(n,n), eigenvalues:complex(n), eigenvectors:complex(n,n), inverse:complex(n,n), a_dot(n,n) "
    "-> eigenvalues_dot:complex(n), eigenvectors_dot:complex(n,n)",
    dtypes(jvp[s], jvp[d], jvp[c], jvp[z]), <size_t> derivative_workspace, OPTIONS, FAILURES,
    optional=("eigenvalues_dot", "eigenvectors_dot"), caution=CAUTION)

for kernel in (eig, eig_inverse, eig_vjp, eig_jvp):
    globals().update(kernel.gufuncs())
