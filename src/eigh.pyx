# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Eigenvalues w and eigenvectors V of a Hermitian matrix, A = V diag(w) V^H.

With M = V^H V_bar, S = V^H A_dot V (A_dot Hermitian) and i != j,

    A_bar = V (diag(w_bar) + X) V^H,  X_ij = (M_ij - conj M_ji) / 2 / (w_j - w_i)
    w_dot = diag(S),  V_dot = V Y,    Y_ij = S_ij / (w_j - w_i),  Y_ii = 0

M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic differentiation,
Advances in Automatic Differentiation (2008), section 2.3.3; C. Boeddeker et al., On the computation of
complex-valued gradients with application to statistically optimum beamforming, arXiv:1701.00392 (2017),
section 4.3, for the complex case.

w_i and w_j count as repeated when |w_i - w_j| <= REPEATED sqrt(n) eps max|w|: for eigenvalues that are equal but
for rounding, LAPACK's were measured at up to 1.2 sqrt(n) eps max|w| apart (n from 4 to 500), and a bound in n itself
would take the neighbours of large single-precision matrices for equal. There the quotient has no value: a numerator
within GAUGE n eps |V_bar| (of S: |A_dot|; Frobenius norms) is zero but for rounding and contributes nothing, and
another one is the case of the option `degenerate`. The phase of an eigenvector is free, so Im M_ii
is zero for a loss that has a gradient; `gauge="raise"` fails when it is above GAUGE n eps |V_bar|.
"""

from libc.math cimport fabs, sqrt
from numpy.linalg import LinAlgError

from blas cimport (
    c, conj, d, eps, gemm, gemmt, get_real, imag, letter, matkern_lent, real, s, scalar, set_real, use_level3, z)
from degenerate cimport GAUGE, REPEATED, divide
from dense cimport all_finite, fill, finish_hermitian, hermitian_lower, mirror, norm, phases, turn_columns
from gufunc cimport NONFINITE, dtypes
from tridiagonal cimport heevd, heevd_workspace, lower_from_eigen

from matkern.kernels.gufunc import Kernel, level3

use_level3(level3)

cdef enum:                  # options of the pullback and the pushforward, in their order
    TRIANGLE
    DEGENERATE
    GAUGE_POLICY            # of the pullback alone

cdef enum:
    NO_CONVERGENCE = 1
    DEGENERATE_PAIR
    PHASE


cdef int forward(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef scalar *a = x[0]
    cdef scalar *v = <scalar*> x[2]
    cdef scalar *phase = work
    cdef char uplo = c'U' if option[0] else c'L'
    if not all_finite(uplo, n[0], n[0], a):                 # LAPACK would return numbers all the same
        return NONFINITE
    if heevd(uplo, n[0], a, <scalar*> x[1], v, work) > 0:
        return NO_CONVERGENCE
    if v is not NULL:
        phases(n[0], n[0], v, phase, work + n[0])
        turn_columns(n[0], n[0], phase, v)
    return 0


cdef double repeated_within(Py_ssize_t n, scalar *w) noexcept nogil:
    """Eigenvalues that are at most this far apart count as repeated."""
    return REPEATED * sqrt(<double> n) * eps(w) * max(fabs(get_real(w, 0)), fabs(get_real(w, n - 1)))


cdef int vjp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t i, j, i0, j0, done = 0, size = n[0], square = n[0] * n[0]
    cdef scalar *w = x[0]
    cdef scalar *v = x[1]
    cdef scalar *w_bar = x[2]
    cdef scalar *v_bar = x[3]
    cdef scalar *g = x[4]
    cdef scalar *m = work
    cdef scalar *vx = m + square
    cdef scalar numerator
    cdef double apart, small, level = 0
    cdef int code
    if size == 0:
        return 0
    if v_bar is not NULL:
        level = norm(square, v_bar)
    if level == 0:                                          # eigenvalues alone: never a quotient
        if w_bar is NULL:
            fill(square, 0, g)
        else:
            lower_from_eigen(size, w_bar, v, vx, g)
    else:
        small = GAUGE * size * eps(w) * level
        apart = repeated_within(size, w)
        gemm(c'C', c'N', size, size, size, 1, v, size, v_bar, size, 0, m, size)
        for i in range(size):
            if option[GAUGE_POLICY] == 0 and fabs(imag(m[i * size + i])) > small:
                return PHASE
            m[i * size + i] = 0 if w_bar is NULL else <scalar> get_real(w_bar, i)
        if scalar is s or scalar is d:
            if matkern_lent is not NULL:
                done = matkern_lent.skew_quotients(letter(w), size, apart, w, m)
        for i0 in range(done, size, 16):                    # tiles, as both triangles are read and written
            for j0 in range(0, i0 + 16, 16):
                for i in range(i0, min(i0 + 16, size)):
                    for j in range(j0, min(j0 + 16, i)):
                        numerator = (m[i * size + j] - conj(m[j * size + i])) / 2
                        code = divide(&numerator, get_real(w, j) - get_real(w, i), apart, small,
                                      option[DEGENERATE], DEGENERATE_PAIR)
                        if code:
                            return code
                        m[i * size + j] = numerator
                        m[j * size + i] = conj(numerator)
        gemm(c'N', c'N', size, size, size, 1, v, size, m, size, 0, vx, size)
        gemmt(c'L', False, c'N', c'C', size, size, 1, vx, size, v, size, 0, g, size)
    finish_hermitian(option[TRIANGLE], size, g)
    return 0


cdef int jvp(scalar **x, const Py_ssize_t *n, const int *option, scalar *work) noexcept nogil:
    cdef Py_ssize_t i, j, size = n[0], square = n[0] * n[0]
    cdef scalar *w = x[0]
    cdef scalar *v = x[1]
    cdef scalar *w_dot = x[3]
    cdef scalar *v_dot = x[4]
    cdef scalar *t = work
    cdef scalar *tv = work + square
    cdef scalar numerator
    cdef double apart, small, diagonal
    cdef int code
    if size == 0:
        return 0
    hermitian_lower(option[TRIANGLE], size, <scalar*> x[2], t)
    mirror(size, t)
    small = GAUGE * size * eps(w) * norm(square, t)
    apart = repeated_within(size, w)
    gemm(c'N', c'N', size, size, size, 1, t, size, v, size, 0, tv, size)
    if v_dot is NULL:
        for j in range(size):
            diagonal = 0
            for i in range(size):
                diagonal += real(conj(v[i * size + j]) * tv[i * size + j])
            set_real(w_dot, j, diagonal)
        return 0
    gemm(c'C', c'N', size, size, size, 1, v, size, tv, size, 0, t, size)
    for i in range(size):
        if w_dot is not NULL:
            set_real(w_dot, i, real(t[i * size + i]))
        t[i * size + i] = 0
        for j in range(i):
            numerator = t[i * size + j]
            code = divide(&numerator, get_real(w, j) - get_real(w, i), apart, small,
                          option[DEGENERATE], DEGENERATE_PAIR)
            if code:
                return code
            t[i * size + j] = numerator
            t[j * size + i] = -conj(numerator)
    gemm(c'N', c'N', size, size, size, 1, v, size, t, size, 0, v_dot, size)
    return 0


cdef Py_ssize_t forward_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return heevd_workspace(n[0])


cdef Py_ssize_t vjp_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return 2 * n[0] * n[0]


cdef Py_ssize_t jvp_workspace(const Py_ssize_t *n, const int *option) noexcept nogil:
    return 2 * n[0] * n[0]


POLICY = {"triangle": (None, "L", "U"), "degenerate": ("nan", "zero", "raise")}
FAILURES = {
    DEGENERATE_PAIR: (LinAlgError, "has repeated eigenvalues, and the cotangent or tangent tells their eigenvectors "
                                   "apart: there is no derivative"),
    PHASE: (ValueError, "has a loss that depends on the phases of complex eigenvectors, which are arbitrary: it has no "
                        "gradient (gauge='ignore' drops that part)"),
}

eigh = Kernel(
    "eigh", "a(n,n) -> eigenvalues:real(n), eigenvectors(n,n)",
    dtypes(forward[s], forward[d], forward[c], forward[z]), <size_t> forward_workspace, {"UPLO": ("L", "U")},
    {NO_CONVERGENCE: (LinAlgError, "has eigenvalues that did not converge")}, optional=("eigenvectors",))
# Eigenvalues alone have kernels by another name, as lanes are faster up to other sizes.
eigh_vjp, eigvalsh_vjp = (
    Kernel(
        name,
        "eigenvalues:real(n), eigenvectors(n,n), eigenvalues_bar:real(n), eigenvectors_bar(n,n) -> a_bar(n,n)",
        dtypes(vjp[s], vjp[d], vjp[c], vjp[z]), <size_t> vjp_workspace,
        POLICY | {"gauge": ("raise", "ignore")}, FAILURES)
    for name in ("eigh_vjp", "eigvalsh_vjp"))
eigh_jvp, eigvalsh_jvp = (
    Kernel(
        name, "eigenvalues:real(n), eigenvectors(n,n), a_dot(n,n) -> eigenvalues_dot:real(n), eigenvectors_dot(n,n)",
        dtypes(jvp[s], jvp[d], jvp[c], jvp[z]), <size_t> jvp_workspace, POLICY, FAILURES,
        optional=("eigenvalues_dot", "eigenvectors_dot"))
    for name in ("eigh_jvp", "eigvalsh_jvp"))

for kernel in (eigh, eigh_vjp, eigh_jvp, eigvalsh_vjp, eigvalsh_jvp):
    globals().update(kernel.gufuncs())
