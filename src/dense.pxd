# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Plain loops over one row-major matrix: copies, triangles, mirrors, scans, norms. No BLAS.

What crosses the diagonal goes in tiles, for the cache's sake.
"""

from libc.math cimport NAN, fabs, frexp, isinf, isnan, ldexp, sqrt
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from blas cimport (
    c, conj, d, get_real, imag, letter, matkern_lent, real, s, scalar, set_real, transpose, transpose_tile, z)

cdef inline void copy(Py_ssize_t size, scalar *a, scalar *out) noexcept nogil:
    memcpy(out, a, size * sizeof(scalar))


cdef inline void fill(Py_ssize_t size, scalar value, scalar *out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size):
        out[i] = value


cdef inline void conjugate(Py_ssize_t size, scalar *a) noexcept nogil:
    """A := conj A."""
    cdef Py_ssize_t i
    if scalar is c or scalar is z:
        for i in range(size):
            a[i] = conj(a[i])


cdef inline void scale(Py_ssize_t size, double number, scalar *a) noexcept nogil:
    """A := number A."""
    cdef Py_ssize_t i
    for i in range(2 * size if scalar is c or scalar is z else size):
        if scalar is s or scalar is c:
            (<float*> a)[i] *= <float> number
        else:
            (<double*> a)[i] *= number


cdef inline void scale_columns(Py_ssize_t m, Py_ssize_t n, scalar *a, scalar *w, scalar *out) noexcept nogil:
    """out := A diag(w) for A of shape (m, n) and real w, in the precision of A."""
    cdef Py_ssize_t i, j
    for i in range(m):
        for j in range(n):
            if scalar is s or scalar is d:
                out[i * n + j] = a[i * n + j] * w[j]
            elif scalar is c:
                (<float*> out)[2 * (i * n + j)] = (<float*> a)[2 * (i * n + j)] * (<float*> w)[j]
                (<float*> out)[2 * (i * n + j) + 1] = (<float*> a)[2 * (i * n + j) + 1] * (<float*> w)[j]
            else:
                (<double*> out)[2 * (i * n + j)] = (<double*> a)[2 * (i * n + j)] * (<double*> w)[j]
                (<double*> out)[2 * (i * n + j) + 1] = (<double*> a)[2 * (i * n + j) + 1] * (<double*> w)[j]


cdef inline void scale_by_power(Py_ssize_t size, int exponent, scalar *a) noexcept nogil:
    """A := 2^exponent A, a power that need not be a number of the dtype."""
    cdef Py_ssize_t i
    if exponent == 0:
        return
    if -120 < exponent < 120:                               # one of both precisions
        scale(size, ldexp(1, exponent), a)
        return
    for i in range(2 * size if scalar is c or scalar is z else size):
        if scalar is s or scalar is c:
            (<float*> a)[i] = <float> ldexp((<float*> a)[i], exponent)
        else:
            (<double*> a)[i] = ldexp((<double*> a)[i], exponent)


cdef inline void upper_of_columns(Py_ssize_t m, Py_ssize_t n, Py_ssize_t rows, scalar *a, scalar *out) noexcept nogil:
    """out := the first rows of the upper triangle (or trapezoid) of an (m, n) matrix in column-major order."""
    cdef Py_ssize_t i, j, j0
    for j0 in range(0, n, 16):
        for i in range(rows):
            for j in range(j0, min(j0 + 16, n)):
                out[i * n + j] = a[j * m + i] if i <= j else 0


cdef inline void copy_block(Py_ssize_t m, Py_ssize_t n, scalar *a, Py_ssize_t lda, scalar *out,
                            Py_ssize_t ldout) noexcept nogil:
    """out := the (m, n) matrix A."""
    cdef Py_ssize_t i
    for i in range(m):
        memcpy(out + i * ldout, a + i * lda, n * sizeof(scalar))


cdef inline void copy_triangle(char uplo, bint strict, Py_ssize_t n, scalar *a, scalar *out) noexcept nogil:
    """out := the triangle of A, zero elsewhere, the diagonal included; strict: a zero diagonal."""
    cdef Py_ssize_t i, first, last
    for i in range(n):
        first = 0 if uplo == c'L' else i + strict
        last = i + 1 - strict if uplo == c'L' else n
        fill(first, 0, out + i * n)
        copy(last - first, a + i * n + first, out + i * n + first)
        fill(n - last, 0, out + i * n + last)


cdef inline void hermitian_lower(int triangle, Py_ssize_t n, scalar *a, scalar *out) noexcept nogil:
    """out := the lower triangle of a Hermitian matrix, its diagonal real, and zeros above.

    triangle 0 reads (A + A^H)/2, 1 the lower, 2 the upper triangle of A. A and out differ.
    """
    cdef Py_ssize_t i, j
    if triangle != 1:
        transpose(False, n, n, a, n, out, n)
    for i in range(n):
        for j in range(i):
            if triangle == 0:
                out[i * n + j] = (a[i * n + j] + conj(out[i * n + j])) / 2
            elif triangle == 1:
                out[i * n + j] = a[i * n + j]
            else:
                out[i * n + j] = conj(out[i * n + j])
        out[i * n + i] = <scalar> real(a[i * n + i])
        fill(n - i - 1, 0, out + i * n + i + 1)


cdef inline void mirror(Py_ssize_t n, scalar *a) noexcept nogil:
    """The upper triangle := the conjugate of the lower, the diagonal real."""
    cdef Py_ssize_t i, j, i0, n4 = n - n % 4
    if matkern_lent is not NULL and matkern_lent.mirror(letter(a), n, a):
        return
    for i0 in range(0, n4, 32):
        for j in range(0, min(i0 + 32, n4), 4):
            for i in range(max(i0, j + 4), min(i0 + 32, n4), 4):
                transpose_tile(True, a + i * n + j, n, a + j * n + i, n)
    for i in range(n):                                      # beside the diagonal, and the last rows
        for j in range(i - i % 4 if i < n4 else 0, i):
            a[j * n + i] = conj(a[i * n + j])
        a[i * n + i] = <scalar> real(a[i * n + i])


cdef inline void finish_hermitian(int triangle, Py_ssize_t n, scalar *g) noexcept nogil:
    """Make a gradient of the Hermitian matrix in G's lower triangle.

    triangle 0: the matrix itself; 1 or 2: with respect to the entries of the lower or the upper triangle,
    each of which stands for two of the matrix.
    """
    cdef Py_ssize_t i, j
    mirror(n, g)
    if triangle == 0:
        return
    for i in range(n):
        for j in range(n):
            if j != i:
                g[i * n + j] = 2 * g[i * n + j] if (j < i) == (triangle == 1) else 0


cdef inline void subtract(Py_ssize_t m, Py_ssize_t n, scalar *a, scalar *t, Py_ssize_t ld) noexcept nogil:
    """T := T - A for contiguous A."""
    cdef Py_ssize_t i, j
    for i in range(m):
        for j in range(n):
            t[i * ld + j] = t[i * ld + j] - a[i * n + j]


cdef inline void permute_rows(Py_ssize_t n, Py_ssize_t k, int *piv, bint backward, scalar *a,
                              Py_ssize_t lda) noexcept nogil:
    """Interchange row i of a matrix of k columns with row piv[i], i < n in order or, backward, in reverse."""
    cdef Py_ssize_t i, j, p, step
    cdef scalar t
    for step in range(n):
        i = n - 1 - step if backward else step
        p = piv[i]
        if p != i:
            for j in range(k):
                t = a[i * lda + j]
                a[i * lda + j] = a[p * lda + j]
                a[p * lda + j] = t


cdef inline bint any_beyond(bint infinite, Py_ssize_t size, scalar *a) noexcept nogil:
    """Whether a number is NaN or, if asked, infinite, in a loop without branches, which compilers vectorise.

    As an integer, without its sign, NaN is above infinity: the sum with `rest` then has the sign's bit.
    """
    cdef Py_ssize_t i
    cdef uint32_t bits, found = 0, rest = 0x00800000 if infinite else 0x007fffff
    cdef uint64_t bits_d, found_d = 0, rest_d = <uint64_t> 1 << 52, all_but_sign = (<uint64_t> 1 << 63) - 1
    if not infinite:
        rest_d -= 1
    for i in range(2 * size if scalar is c or scalar is z else size):
        if scalar is s or scalar is c:
            memcpy(&bits, <float*> a + i, 4)
            found |= (bits & <uint32_t> 0x7fffffff) + rest
        else:
            memcpy(&bits_d, <double*> a + i, 8)
            found_d |= (bits_d & all_but_sign) + rest_d
    return found >> 31 or found_d >> 63


cdef inline bint any_beyond_in(bint infinite, char uplo, Py_ssize_t m, Py_ssize_t n, scalar *a) noexcept nogil:
    """The same of a triangle (uplo L or U) or all (uplo A) of an (m, n) matrix."""
    cdef Py_ssize_t i, first, last
    for i in range(m):
        first = min(i, n) if uplo == c'U' else 0
        last = min(i + 1, n) if uplo == c'L' else n
        if any_beyond(infinite, last - first, a + i * n + first):
            return True
    return False


cdef inline bint has_nan(char uplo, Py_ssize_t m, Py_ssize_t n, scalar *a) noexcept nogil:
    """Whether the triangle (uplo L or U) or any entry (uplo A) of the (m, n) matrix is NaN."""
    return any_beyond_in(False, uplo, m, n, a)


cdef inline bint all_finite(char uplo, Py_ssize_t m, Py_ssize_t n, scalar *a) noexcept nogil:
    """Whether every entry of the triangle (uplo L or U) or of all (uplo A) of the (m, n) matrix is finite."""
    return not any_beyond_in(True, uplo, m, n, a)


cdef inline bint zero_on_diagonal(Py_ssize_t n, Py_ssize_t first, scalar *a) noexcept nogil:
    """Whether one of the `first` leading diagonal entries of a matrix of n columns is zero."""
    cdef Py_ssize_t i
    for i in range(first):
        if a[i * n + i] == 0:
            return True
    return False


cdef inline double sum_of_squares(Py_ssize_t size, scalar *a) noexcept nogil:
    """Of all real and imaginary parts, in double precision, in several sums that do not wait for each other."""
    cdef double sums[8]
    cdef double x
    cdef Py_ssize_t i, j, parts = 2 * size if scalar is c or scalar is z else size
    if matkern_lent is not NULL and matkern_lent.sum_of_squares(
            c's' if scalar is s or scalar is c else c'd', parts, a, &x):
        return x
    for j in range(8):
        sums[j] = 0
    for i in range(0, parts - parts % 8, 8):
        for j in range(8):
            x = get_real(a, i + j)
            sums[j] += x * x
    for i in range(parts - parts % 8, parts):
        x = get_real(a, i)
        sums[0] += x * x
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]))


cdef inline double norm(Py_ssize_t size, scalar *a) noexcept nogil:
    """The Euclidean norm, if need be scaled by the largest part so that no square over- or underflows; not finite if an
    entry is not."""
    cdef Py_ssize_t i
    cdef Py_ssize_t parts = 2 * size if scalar is c or scalar is z else size
    cdef double largest = 0, total = sum_of_squares(size, a), part
    if 1e-250 < total < 1e300:                              # what underflows then is rounding of the rest
        return sqrt(total)
    for i in range(parts):
        part = fabs(get_real(a, i))
        if isnan(part):
            return NAN
        largest = max(largest, part)
    if largest == 0 or isinf(largest):
        return largest
    total = 0
    for i in range(parts):
        part = get_real(a, i) / largest
        total += part * part
    return largest * sqrt(total)


cdef inline void phases(Py_ssize_t m, Py_ssize_t n, scalar *a, scalar *phase, scalar *largest) noexcept nogil:
    """The phases z / |z|, or signs, of the columns of unit vectors A; `largest` has room for n.

    z is a column's first entry whose square is above 0.2913 times the largest, a fraction at which no structure puts an
    entry, so that rounding does not decide which one it is.
    """
    cdef Py_ssize_t i, j, left = n
    cdef double re, im
    for j in range(n):
        phase[j] = 0
        set_real(largest, j, 0)
    for i in range(m):
        for j in range(n):
            re, im = real(a[i * n + j]), imag(a[i * n + j])
            set_real(largest, j, max(get_real(largest, j), re * re + im * im))
    i = 0
    while left > 0 and i < m:                               # mostly a few rows
        for j in range(n):
            re, im = real(a[i * n + j]), imag(a[i * n + j])
            if phase[j] == 0 and re * re + im * im > 0.2913 * get_real(largest, j):
                phase[j] = a[i * n + j]
                left -= 1
        i += 1
    for j in range(n):
        re, im = real(phase[j]), imag(phase[j])
        phase[j] = phase[j] / sqrt(re * re + im * im) if phase[j] != 0 else 1


cdef inline void turn_columns(Py_ssize_t m, Py_ssize_t n, scalar *phase, scalar *a) noexcept nogil:
    """A := A diag(conj phase)."""
    cdef Py_ssize_t i, j
    for i in range(m):
        for j in range(n):
            a[i * n + j] = a[i * n + j] * conj(phase[j])


cdef inline void outer(Py_ssize_t n, scalar *x, scalar *y, scalar *out) noexcept nogil:
    """out := -x y^H."""
    cdef Py_ssize_t i, j
    cdef scalar xi
    for i in range(n):
        xi = -x[i]
        for j in range(n):
            out[i * n + j] = xi * conj(y[j])


cdef inline void outer_triangle(char uplo, bint strict, Py_ssize_t n, scalar *x, scalar *y, scalar *out) noexcept nogil:
    """The triangle of out := -x y^H, without the diagonal if strict; the rest stays as it is."""
    cdef Py_ssize_t i, j
    cdef scalar xi
    for i in range(n):
        xi = -x[i]
        for j in range(0 if uplo == c'L' else i + strict, i + 1 - strict if uplo == c'L' else n):
            out[i * n + j] = xi * conj(y[j])


cdef inline int exponent_to_one(char uplo, Py_ssize_t m, Py_ssize_t n, scalar *a) noexcept nogil:
    """The power of 2 that makes the largest entry about 1, 0 if it is nearly so.

    Of all entries (uplo A), or of a Hermitian matrix's triangle, whose diagonal is real.
    """
    cdef Py_ssize_t i, j, first, last
    cdef double largest = 0
    cdef int exponent = 0
    for i in range(m):
        first = min(i, n) if uplo == c'U' else 0
        last = min(i + 1, n) if uplo == c'L' else n
        for j in range(first, last):
            largest = max(largest, fabs(real(a[i * n + j])))
            if (scalar is c or scalar is z) and (i != j or uplo == c'A'):
                largest = max(largest, fabs(imag(a[i * n + j])))
    if largest != 0 and not 1e-3 <= largest <= 1e3:
        frexp(largest, &exponent)
    return -exponent
