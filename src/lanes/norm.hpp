// Norms and their duals, and with those their derivatives: norm.pyx has the formulas. Of the p-norms of entries those for p
// of 1, 2, inf and -inf; the others are left to it.
#pragma once
#include "bidiagonal.hpp"
#include "matmul.hpp"

namespace LANES {

constexpr int TIED = 4;  // as in norm.pyx
enum { ENTRIES, NUCLEAR, LARGEST_COLUMN, SMALLEST_COLUMN, LARGEST_ROW, SMALLEST_ROW, LARGEST_VALUE, SMALLEST_VALUE };

// size x / |x|, and zero for zero
template <class N> inline N direction(N x, typename N::real_type size) {
    using R = typename N::real_type;
    const R zero(typename N::scalar(0));
    if constexpr (N::parts == 1) return select(x > zero, size, select(zero > x, -size, zero * x));
    else return select(is_zero(x), x, x * (size * reciprocal(modulus(x))));
}

// The Euclidean norm of the entries.
template <class N> inline typename N::real_type euclidean(ptrdiff_t size, const N *x, N *dual, uint64_t &again) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    R squares(T(0));
    for (ptrdiff_t i = 0; i < size; ++i) squares += abs2(x[i]);
    again |= to_bits(~(squares > R(SAFE_SQUARE<T>)) | ~(squares <= R(limits<T>::largest)));
    R norm = sqrt(squares), inverse = reciprocal(norm);
    if (dual)
        for (ptrdiff_t i = 0; i < size; ++i) dual[i] = x[i] * inverse;
    return norm;
}

// The sum, the largest or the smallest of the moduli for p of 1, inf or -inf, which may differ from lane to lane.
template <class N>
inline typename N::real_type norm_of_moduli(ptrdiff_t size, const N *x, typename N::real_type p, N *dual, uint64_t &again) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    const R zero(T(0)), one(T(1)), infinite{T(__builtin_inf())};
    typename N::Mask at_most = p == infinite, at_least = p == -infinite, extreme = at_most | at_least;
    typename N::Mask left = ~(extreme | (p == one));
    if (!any(~left)) {
        again = ~uint64_t(0);
        return zero;
    }
    R sum = zero, largest = zero, smallest = infinite, ties = zero;
    for (ptrdiff_t i = 0; i < size; ++i) {
        R a = modulus(x[i]);
        sum += a;
        largest = larger(a, largest);
        smallest = select(smallest > a, a, smallest);
    }
    again |= to_bits(left | ~is_zero(sum * zero));
    R norm = select(at_most, largest, select(at_least, smallest, sum));
    if (!dual) return norm;
    for (ptrdiff_t i = 0; i < size; ++i) ties += select(modulus(x[i]) == norm, one, zero);
    R share = one / ties;
    for (ptrdiff_t i = 0; i < size; ++i)
        dual[i] = direction(x[i], select(extreme, select(modulus(x[i]) == norm, share, zero), one));
    return norm;
}

// The largest or smallest sum of a row or a column.
template <class N>
inline typename N::real_type norm_of_sums(int kind, ptrdiff_t m, ptrdiff_t n, View<N> x, View<N> dual,
                                          typename N::real_type *sums, uint64_t &again) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    const R zero(T(0)), one(T(1));
    bool columns = kind == LARGEST_COLUMN || kind == SMALLEST_COLUMN;
    bool largest = kind == LARGEST_COLUMN || kind == LARGEST_ROW;
    ptrdiff_t count = columns ? n : m;
    R total = zero, ties = zero;
    for (ptrdiff_t k = 0; k < count; ++k) sums[k] = zero;
    for (ptrdiff_t i = 0; i < m; ++i)
        for (ptrdiff_t j = 0; j < n; ++j) sums[columns ? j : i] += modulus(x(i, j));
    R norm = sums[0];
    for (ptrdiff_t k = 0; k < count; ++k) {
        total += sums[k];
        norm = largest ? larger(sums[k], norm) : select(norm > sums[k], sums[k], norm);
    }
    again |= to_bits(~is_zero(total * zero));
    if (!dual.p) return norm;
    for (ptrdiff_t k = 0; k < count; ++k) ties += select(sums[k] == norm, one, zero);
    R share = one / ties;
    for (ptrdiff_t i = 0; i < m; ++i)
        for (ptrdiff_t j = 0; j < n; ++j)
            dual.set(i, j, direction(x(i, j), select(sums[columns ? j : i] == norm, share, zero)));
    return norm;
}

// A norm of the singular values.
template <class N>
inline typename N::real_type norm_of_values(int kind, ptrdiff_t m, ptrdiff_t n, void *x, View<N> dual, void *work,
                                            uint64_t &again) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    const R zero(T(0)), one(T(1));
    ptrdiff_t least = m < n ? m : n, sizes[] = {m, n, least};
    View<N> u = dense<N>(work, least), vh = dense<N>(u.p + m * least, n);
    R *s = reinterpret_cast<R *>(vh.p + least * n), *share = s + least, norm = zero, count = zero;
    void *operands[] = {x, dual.p ? u.p : nullptr, s, dual.p ? vh.p : nullptr};
    int full_matrices = 0;
    again |= svd<N>(operands, sizes, &full_matrices, share + least);
    if (kind == NUCLEAR)
        for (ptrdiff_t j = 0; j < least; ++j) norm += s[j];
    else norm = s[kind == LARGEST_VALUE ? 0 : least - 1];
    if (!dual.p) return norm;
    R tied = s[0] * (sqrt(R(T(m > n ? m : n))) * R(TIED * limits<T>::eps));
    for (ptrdiff_t j = 0; j < least; ++j) {                 // those of zero have no part
        typename N::Mask chosen = s[j] > tied;
        if (kind == LARGEST_VALUE) chosen &= norm - tied <= s[j];
        if (kind == SMALLEST_VALUE) chosen &= (s[least - 1] > tied) & (s[j] <= norm + tied);
        share[j] = select(chosen, one, zero);
        count += share[j];
    }
    if (kind == NUCLEAR) count = one;
    for (ptrdiff_t j = 0; j < least; ++j) {
        share[j] = select(count > zero, share[j] / count, zero);
        for (ptrdiff_t i = 0; i < m; ++i) u.set(i, j, u(i, j) * share[j]);
    }
    multiply(m, n, least, u, vh, dual);
    return norm;
}

// x = [x, p, norm, dual], option = kind
template <class N> uint64_t norm(void **x, const ptrdiff_t *n, const int *option, void *work) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    R &out = *static_cast<R *>(x[2]);
    View<N> dual = dense<N>(x[3], n[1]);
    uint64_t again = 0;
    R p = *static_cast<R *>(x[1]);
    if (option[0] == ENTRIES && !any(~(p == R(T(2))))) out = euclidean(n[0] * n[1], static_cast<N *>(x[0]), dual.p, again);
    else if (option[0] == ENTRIES) out = norm_of_moduli(n[0] * n[1], static_cast<N *>(x[0]), p, dual.p, again);
    else if (option[0] == NUCLEAR || option[0] >= LARGEST_VALUE)
        out = norm_of_values(option[0], n[0], n[1], x[0], dual, work, again);
    else out = norm_of_sums(option[0], n[0], n[1], dense<N>(x[0], n[1]), dual, static_cast<R *>(work), again);
    return again;
}

// x = [dual, norm_bar, x_bar]
template <class N> uint64_t norm_vjp(void **x, const ptrdiff_t *n, const int *, void *) {
    typename N::real_type scale = *static_cast<typename N::real_type *>(x[1]);
    for (ptrdiff_t i = 0; i < n[0] * n[1]; ++i) static_cast<N *>(x[2])[i] = static_cast<N *>(x[0])[i] * scale;
    return 0;
}

// x = [dual, x_dot, norm_dot]
template <class N> uint64_t norm_jvp(void **x, const ptrdiff_t *n, const int *, void *) {
    *static_cast<typename N::real_type *>(x[2]) = overlap(n[0] * n[1], static_cast<N *>(x[0]), static_cast<N *>(x[1]));
    return 0;
}

}  // namespace LANES
