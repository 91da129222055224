# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Eigenvalues and eigenvectors of a small real matrix: LAPACK's QR iteration, and what geev does around it.

For two to four rows what geev calls and looks up takes as long as the rest, or longer. The steps are the same: A is
balanced (E. E. Osborne, On pre-conditioning of matrices, J. ACM 7 (1960)), Householder's reflections reduce it to
H = Q^T A Q, lahqr makes of H a real Schur form T, the eigenvectors of T come from back substitution, and Q times them
are those of A. All that is in double precision, and in column-major order.

Left to geev are rows and columns of zeros, which it sets apart when it balances, eigenvalues that are equal but for
rounding, as it replaces the quotients, and what is so small that its square is not a number.
"""

from libc.math cimport fabs, sqrt
from scipy.linalg.cython_lapack cimport dlahqr

from blas cimport conj, eps, imag, real, z
from dense cimport fill
from lapack cimport larfg

ctypedef fused floating:
    float
    double

cdef enum:
    SMALL_EIG = 16          # rows, up to which this is faster than dgeev (bench/drivers.py),
    SMALL_EIG_SINGLE = 8    # and than sgeev, measured with this file's call in eig.pyx taken out


cdef inline double square(z x) noexcept nogil:
    return real(x) * real(x) + imag(x) * imag(x)


cdef inline bint balance(Py_ssize_t n, double *a, double *scale) noexcept nogil:
    """A := D^-1 A D for D = diag(scale), powers of two that bring rows near columns in size.

    In the 2-norm with the diagonal, so that tiny entries do not scale large ones away: R. James, J. Langou and
    B. Lowery, On matrix balancing and eigenvector computation, arXiv:1401.5766 (2014). False if a row or column is zero
    beside the diagonal, or so small that its squares are not numbers.
    """
    cdef Py_ssize_t i, j
    cdef double row, column, factor, right, below
    cdef bint changed = True
    for i in range(n):
        scale[i] = 1
    while changed:
        changed = False
        for i in range(n):
            row = column = right = below = 0
            for j in range(n):
                row += a[i + j * n] * a[i + j * n]
                column += a[j + i * n] * a[j + i * n]
                if j != i:
                    right += fabs(a[i + j * n])
                    below += fabs(a[j + i * n])
            if right == 0 or below == 0 or not (row > 1e-280 and column > 1e-280):
                return False
            row, column = sqrt(row), sqrt(column)
            factor = 1
            while column * factor * factor < row / 2:
                factor *= 2
            while column * factor * factor > row * 2:
                factor /= 2
            if column * factor + row / factor < 0.95 * (column + row):
                changed = True
                scale[i] *= factor
                for j in range(n):
                    a[j + i * n] *= factor
                for j in range(n):
                    a[i + j * n] /= factor
    return True


cdef inline void reflect(Py_ssize_t n, Py_ssize_t columns, double tau, const double *v, double *x,
                         Py_ssize_t ldx) noexcept nogil:
    """X := (I - tau v v^T) X, where v_0 = 1 is not read."""
    cdef Py_ssize_t i, j
    cdef double dot
    for j in range(columns):
        dot = x[j * ldx]
        for i in range(1, n):
            dot += v[i] * x[i + j * ldx]
        dot *= tau
        x[j * ldx] -= dot
        for i in range(1, n):
            x[i + j * ldx] -= v[i] * dot


cdef inline void hessenberg(Py_ssize_t n, double *a, double *q) noexcept nogil:
    """A := H = Q^T A Q."""
    cdef Py_ssize_t i, j, k, below
    cdef double dot
    cdef double tau[SMALL_EIG]
    cdef double *v
    for k in range(n - 2):
        v = a + k * n + k + 1
        below = n - k - 1
        tau[k] = larfg(below, v)
        for i in range(n):                                  # from the right
            dot = a[i + (k + 1) * n]
            for j in range(1, below):
                dot += a[i + (k + 1 + j) * n] * v[j]
            dot *= tau[k]
            a[i + (k + 1) * n] -= dot
            for j in range(1, below):
                a[i + (k + 1 + j) * n] -= dot * v[j]
        reflect(below, below, tau[k], v, a + (k + 1) * n + k + 1, n)
    fill(n * n, 0, q)
    for i in range(n):
        q[i * n + i] = 1
    for k in range(n - 3, -1, -1):
        v = a + k * n + k + 1
        reflect(n - k - 1, n - k - 1, tau[k], v, q + (k + 1) * n + k + 1, n)
        for i in range(1, n - k - 1):
            v[i] = 0


cdef inline bint schur_vector(Py_ssize_t n, Py_ssize_t k, const double *t, z w, double small,
                              z *x) noexcept nogil:
    """An eigenvector of T for the eigenvalue w of row k or of the 2 x 2 block that ends there, from its last entry up:

        (T_jj - w) x_j = -sum_{i>j} T_ji x_i

    False if a quotient is up to `small`, a rounding error of T.
    """
    cdef Py_ssize_t i, j = k - 1
    cdef double b, c
    cdef z p, u, v, det
    x[k] = 1
    if imag(w) != 0:                                        # T_k,k-1 x_k-1 + (T_kk - w) x_k = 0 with Re w = T_kk
        x[k - 1] = (w - t[k + k * n]) / t[k + (k - 1) * n]
        j = k - 2
    while j >= 0:
        u = 0
        for i in range(j + 1, k + 1):
            u = u - t[j + i * n] * x[i]
        p = t[j + j * n] - w
        if j == 0 or t[j + (j - 1) * n] == 0:
            if not square(p) > small * small:
                return False
            x[j] = u * conj(p) / square(p)
            j -= 1
            continue
        v = 0                                               # (p, b; c, p) (x_j-1, x_j) = (v, u), by Cramer's rule
        for i in range(j + 1, k + 1):
            v = v - t[j - 1 + i * n] * x[i]
        b = t[j - 1 + j * n]
        c = t[j + (j - 1) * n]
        det = p * p - b * c
        if not square(det) > small * small * (square(p) + max(b * b, c * c)):
            return False
        x[j - 1] = (p * v - b * u) * conj(det) / square(det)
        x[j] = (p * u - c * v) * conj(det) / square(det)
        j -= 2
    return True


cdef inline bint small_eig(Py_ssize_t n, const floating *a, floating *w, floating *v) noexcept nogil:
    """`geev_columns` of lapack.pxd for a real matrix, which is left as it is; False: not done, w and v are lost."""
    cdef double t[SMALL_EIG * SMALL_EIG]
    cdef double q[SMALL_EIG * SMALL_EIG]
    cdef double values[2 * SMALL_EIG]
    cdef double scale[SMALL_EIG]
    cdef z x[SMALL_EIG]
    cdef z column[SMALL_EIG]
    cdef z turn
    cdef double total, largest, level = 0
    cdef int n_ = <int> n, one = 1, vectors = v is not NULL, info = 0
    cdef Py_ssize_t i, j, k, top = 0, most = SMALL_EIG
    if floating is float:
        most = SMALL_EIG_SINGLE
    if n < 2 or n > most:
        return False
    for i in range(n * n):
        t[i] = a[i]
    if not balance(n, t, scale):
        return False
    hessenberg(n, t, q)
    dlahqr(<bint*> &vectors, <bint*> &vectors, &n_, &one, &n_, t, &n_, values, values + n, &one, &n_, q, &n_, &info)
    if info:
        return False
    for i in range(2 * n):
        w[i] = <floating> values[i]
        if i >= n and values[i] != 0 and w[i] == 0:         # a pair that would look real
            return False
    if not vectors:
        return True
    for i in range(n * n):
        level = max(level, fabs(t[i]))
    if not level > 1e-60:
        return False
    for k in range(n):
        if values[n + k] > 0:                               # with its conjugate, the next one
            continue
        if not schur_vector(n, k, t, values[k] - 1j * values[n + k], eps(t) * level, x):
            return False
        total = largest = 0
        turn = 1
        for i in range(n):
            column[i] = 0
            for j in range(k + 1):
                column[i] = column[i] + q[i + j * n] * x[j]
            column[i] = column[i] * scale[i]
            total += square(column[i])
            if square(column[i]) > largest and values[n + k] != 0:
                largest = square(column[i])
                turn = conj(column[i]) / sqrt(largest)      # the largest entry is to be real, as geev has it
                top = i
        if not 1e-280 < total < 1e280:
            return False
        for i in range(n):
            column[i] = column[i] * turn / sqrt(total)
            if values[n + k] == 0:
                v[i + k * n] = <floating> real(column[i])
            else:
                v[i + (k - 1) * n] = <floating> real(column[i])
                v[i + k * n] = <floating> (0 if i == top else imag(column[i]))
    return True
