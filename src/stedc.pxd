# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Eigenvalues and eigenvectors of a real symmetric tridiagonal matrix by divide and conquer, shared among threads.

LAPACK's stedc leaves to one thread the two halves, and what makes one of them.

Torn at its middle, T = diag(T1, T2) + rho u u^T. With T1 = Q1 diag(w1) Q1^T, T2 alike and Q = diag(Q1, Q2), Q^T T Q is
diag(w1, w2) + rho z z^T: its eigenvalues x are the roots of 1 + rho sum_i z_i^2 / (w_i - x), its eigenvectors are made
of the z for which those computed are exact ones. M. Gu and S. C. Eisenstat, A divide-and-conquer algorithm for the
symmetric tridiagonal eigenproblem, SIAM J. Matrix Anal. Appl. 16 (1995), sections 2 and 3.
"""

from libc.math cimport copysign, fabs, frexp, sqrt
from libc.stdint cimport int64_t
from libc.string cimport memset

from blas cimport d, gemm, matkern_lent, real_scalar, s
from dense cimport copy, fill, scale_by_power
from lapack cimport laed2, laed3, laed4, lamrg, stedc_columns

cdef enum:
    PIECES = 16             # of the roots and of the vectors
    LEAST_KEPT = 128        # roots that are worth sharing


cdef struct Tridiagonal:    # in two parts
    bint single
    Py_ssize_t n, cut
    char *diagonal
    char *beside
    char *q
    char *work
    int *iwork
    int info[2]


cdef inline int solve_part(Tridiagonal *t, int64_t part, real_scalar *diagonal, real_scalar *beside, real_scalar *q,
                           real_scalar *work) noexcept nogil:
    cdef Py_ssize_t first = t.cut if part else 0, size = t.n - t.cut if part else t.cut
    return stedc_columns(size, diagonal + first, beside + first, q + first * t.n + first, t.n,
                         work + part * (t.cut * t.cut + 4 * t.cut + 1), t.iwork + part * (5 * t.cut + 3))


cdef inline void solve_parts(void *context, int64_t first, int64_t last) noexcept nogil:
    cdef Tridiagonal *t = <Tridiagonal*> context
    cdef int64_t part
    for part in range(first, last):
        if t.single:
            t.info[part] = solve_part(t, part, <s*> t.diagonal, <s*> t.beside, <s*> t.q, <s*> t.work)
        else:
            t.info[part] = solve_part(t, part, <d*> t.diagonal, <d*> t.beside, <d*> t.q, <d*> t.work)


cdef struct Secular:        # 1 + rho sum_i weights_i^2 / (poles_i - x), of `kept` terms, which ascend
    bint single, vectors    # the second step: eigenvectors of the distances
    int kept
    Py_ssize_t ld
    double rho
    char *poles
    char *weights
    char *roots
    char *q                 # of each root, in a column, the distances poles_i - x, then the eigenvector
    int *grouped            # the order that the eigenvectors' entries are wanted in
    char *numbers           # of each column as many
    int info[PIECES]        # of the first of the pieces that a thread does at once


cdef inline int find_roots(Secular *p, real_scalar *poles, real_scalar *weights, real_scalar *roots, real_scalar *q,
                           Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    cdef Py_ssize_t j
    cdef int info = 0
    for j in range(begin, end):
        if laed4(p.kept, <int> j + 1, poles, weights, q + j * p.ld, <real_scalar> p.rho, roots + j):
            info = 1
    return info


cdef inline void find_vectors(Secular *p, real_scalar *weights, real_scalar *q, real_scalar *numbers,
                              Py_ssize_t begin, Py_ssize_t end) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef double square
    cdef real_scalar *column
    cdef real_scalar *vector
    for j in range(begin, end):
        column, vector = q + j * p.ld, numbers + j * p.kept
        square = 0
        for i in range(p.kept):
            column[i] = weights[i] / column[i]
            square += <double> column[i] * column[i]
        square = 1 / sqrt(square)
        for i in range(p.kept):
            vector[i] = <real_scalar> (column[p.grouped[i] - 1] * square)


cdef inline void secular_pieces(void *context, int64_t first, int64_t last) noexcept nogil:
    cdef Secular *p = <Secular*> context
    cdef Py_ssize_t begin = p.kept * first // PIECES, end = p.kept * last // PIECES
    if p.vectors and p.single:
        find_vectors(p, <s*> p.weights, <s*> p.q, <s*> p.numbers, begin, end)
    elif p.vectors:
        find_vectors(p, <d*> p.weights, <d*> p.q, <d*> p.numbers, begin, end)
    elif p.single:
        p.info[first] = find_roots(p, <s*> p.poles, <s*> p.weights, <s*> p.roots, <s*> p.q, begin, end)
    else:
        p.info[first] = find_roots(p, <d*> p.poles, <d*> p.weights, <d*> p.roots, <d*> p.q, begin, end)


cdef inline int eigenvectors_kept(int kept, Py_ssize_t n, Py_ssize_t cut, real_scalar *w, real_scalar *q,
                                  real_scalar rho, real_scalar *poles, real_scalar *q2, int *grouped, int *types,
                                  real_scalar *weights, real_scalar *numbers) noexcept nogil:
    """laed3, but for the room that `numbers` has: kept^2.

    Of the numbers that laed2 keeps types[0] belong to vectors with entries of the upper part alone, types[1] to full
    ones, types[2] to such of the lower part, and in that order `q2` has their upper, then their lower parts.
    """
    cdef Secular p
    cdef Py_ssize_t i, j, upper = types[0] + types[1], lower = types[1] + types[2]
    cdef real_scalar *exact = poles + n                     # the weights for which the roots are exact
    cdef int piece, info = 0
    p.single, p.vectors, p.kept, p.ld, p.rho = real_scalar is s, False, kept, n, rho
    p.poles, p.weights, p.roots, p.q, p.grouped = <char*> poles, <char*> weights, <char*> w, <char*> q, grouped
    p.numbers = <char*> numbers
    memset(p.info, 0, sizeof(p.info))
    matkern_lent.share(PIECES, secular_pieces, &p)
    for piece in range(PIECES):
        info |= p.info[piece]
    if info:
        return info
    # exact_i^2 = product over j of (poles_i - root_j) / (poles_i - poles_j), j = i without its denominator
    for i in range(kept):
        exact[i] = q[i * n + i]
    for j in range(kept):
        for i in range(j):
            exact[i] = exact[i] * (q[j * n + i] / (poles[i] - poles[j]))
        for i in range(j + 1, kept):
            exact[i] = exact[i] * (q[j * n + i] / (poles[i] - poles[j]))
    for i in range(kept):
        exact[i] = <real_scalar> copysign(sqrt(fabs(exact[i])), weights[i])
    p.weights, p.vectors = <char*> exact, True
    matkern_lent.share(PIECES, secular_pieces, &p)
    # by rows of the transposes: Q^T := S^T Q2^T
    gemm(c'N', c'N', kept, cut, upper, 1, numbers, kept, q2, cut, 0, q, n)
    gemm(c'N', c'N', kept, n - cut, lower, 1, numbers + types[0], kept, q2 + upper * cut, n - cut, 0, q + cut, n)
    return 0


cdef inline int merge(Py_ssize_t n, Py_ssize_t cut, real_scalar *w, real_scalar *q, real_scalar rho, real_scalar *work,
                      int *iwork) noexcept nogil:
    """The eigenvalues and eigenvectors of T from those of its parts; `iwork` has 5 n integers, `work` 2 n^2 + 5 n."""
    cdef Py_ssize_t i, j
    cdef int kept = 0, info
    cdef int *order = iwork
    cdef int *index = order + n
    cdef int *grouped = index + n
    cdef int *place = grouped + n
    cdef int *types = place + n
    cdef real_scalar *z = work
    cdef real_scalar *weights = z + n
    cdef real_scalar *poles = weights + n
    cdef real_scalar *q2 = poles + 2 * n
    cdef real_scalar *numbers = q2 + n * n
    for i in range(n):
        z[i] = q[i * n + cut - 1] if i < cut else q[i * n + cut]
        order[i] = <int> (i + 1 if i < cut else i + 1 - cut)
    info = laed2(&kept, <int> n, <int> cut, w, q, order, &rho, z, poles, weights, q2, index, grouped, place, types)
    if info:
        return info
    if kept == 0:                                           # in order already
        return 0
    if kept < LEAST_KEPT:
        info = laed3(kept, <int> n, <int> cut, w, q, rho, poles, q2, grouped, types, weights, numbers)
    else:
        info = eigenvectors_kept(kept, n, cut, w, q, rho, poles, q2, grouped, types, weights, numbers)
    if info:
        return info
    lamrg(kept, <int> n - kept, w, order)                   # the roots ascend, what has deflated descends
    for i in range(1, n):                                   # but for rounding
        j = i
        while j > 0 and w[order[j - 1] - 1] > w[order[j] - 1]:
            order[j - 1], order[j] = order[j], order[j - 1]
            j -= 1
    copy(n, w, z)
    copy(n * n, q, q2)
    for i in range(n):
        w[i] = z[order[i] - 1]
        copy(n, q2 + (order[i] - 1) * n, q + i * n)
    return 0


cdef inline Py_ssize_t stedc_workspace(Py_ssize_t n) noexcept nogil:
    """Elements, with those that hold the integers."""
    return 2 * n * n + 12 * n + 6


cdef inline int stedc(Py_ssize_t n, real_scalar *diagonal, real_scalar *beside, real_scalar *q,
                      real_scalar *work) noexcept nogil:
    """T = Q diag(w) Q^T in column-major order; w ascends in `diagonal`; not 0 if an eigenvalue did not converge.

    n is at least 2.
    """
    cdef Tridiagonal t
    cdef Py_ssize_t i, cut = n // 2
    cdef int *iwork = <int*> (work + 2 * n * n + 5 * n)
    cdef real_scalar rho
    cdef double largest = 0
    cdef int info, exponent = 0
    for i in range(n):
        largest = max(largest, fabs(diagonal[i]), fabs(beside[i]) if i < n - 1 else 0)
    frexp(largest, &exponent)                               # what counts as small is measured against one
    scale_by_power(n, -exponent, diagonal)
    scale_by_power(n - 1, -exponent, beside)
    rho = beside[cut - 1]
    t.single, t.n, t.cut, t.iwork = real_scalar is s, n, cut, iwork
    t.diagonal, t.beside, t.q, t.work = <char*> diagonal, <char*> beside, <char*> q, <char*> work
    diagonal[cut - 1] -= fabs(rho)
    diagonal[cut] -= fabs(rho)
    fill(n * n, 0, q)
    matkern_lent.share(2, solve_parts, &t)
    if t.info[0] or t.info[1]:
        return 1
    info = merge(n, cut, diagonal, q, rho, work, iwork)
    scale_by_power(n, exponent, diagonal)
    return info
