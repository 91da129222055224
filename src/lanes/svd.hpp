// Derivatives of the singular value decomposition: svd.pyx has the formulas. Lanes with repeated singular values, zero ones
// where they matter, or a loss that depends on phases, are left to it.
#pragma once
#include "eigh.hpp"

namespace LANES {

// What a pair i >= j is divided by: s_j - s_i and s_j + s_i. Sums and differences up to `zero` count as zero.
template <class R> struct Pair {
    R difference, sum;
    typename R::Mask bad;

    Pair(const R *s, ptrdiff_t i, ptrdiff_t j, R zero) : difference(s[j] - s[i]), sum(s[j] + s[i]), bad(~(sum > zero)) {
        if (i != j) bad |= ~(abs(difference) > zero);
        difference = i == j ? R(typename R::scalar(0)) : reciprocal(difference);
        sum = reciprocal(sum);
    }
};

// 1/s where a projector takes part, 0 if none does. Adds the lanes that have a zero there.
template <class R>
inline void invert(ptrdiff_t k, const R *s, bool takes_part, R zero, R *out, typename R::Mask &bad) {
    for (ptrdiff_t i = 0; i < k; ++i) {
        out[i] = takes_part ? reciprocal(s[i]) : R(typename R::scalar(0));
        if (takes_part) bad |= ~(s[i] > zero);
    }
}

// x = [U, S, Vh, U_bar, S_bar, Vh_bar, a_bar], option = degenerate, gauge
template <class N> uint64_t svd_vjp(void **x, const ptrdiff_t *n, const int *option, void *work) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    return sized_shape<N>(n[0], n[1], n[2], [&](auto m, auto k, auto columns) {
        auto most = m > columns ? m : columns;
        const R *s = static_cast<R *>(x[1]), *s_bar = static_cast<R *>(x[4]);
        View<N> u = dense<N>(x[0], k), vh = dense<N>(x[2], columns), g = dense<N>(x[6], columns);
        View<N> p = dense<N>(work, k), q = dense<N>(p.p + k * k, k), w{q.p + k * k, 0, 1};
        R *reciprocals = reinterpret_cast<R *>(w.p + most * k);
        typename N::Mask bad{};
        if (!x[3] && !x[5]) {
            w.rows = columns;
            for (ptrdiff_t i = 0; i < k; ++i)
                for (ptrdiff_t j = 0; j < columns; ++j) w.set(i, j, vh(i, j) * s_bar[i]);
            multiply(m, columns, k, u, w, g);
            return uint64_t(0);
        }
        View<N> u_bar = dense<N>(x[3], k), vh_bar = dense<N>(x[5], columns);
        Norm<N> level;
        if (x[3]) level.add(m * k, x[3]);
        if (x[5]) level.add(k * columns, x[5]);
        bad |= level.overflows();
        R small = level.value() * R(T(GAUGE * most * limits<T>::eps));
        R zero = repeated(s[0], most);
        if (x[3]) multiply(k, k, m, u.adjoint(), u_bar, p);
        else fill<N>(k * k, 0, p.p);
        if (x[5]) multiply(k, k, columns, vh_bar, vh.adjoint(), q);
        else fill<N>(k * k, 0, q.p);
        bool rest = m > columns ? x[3] != nullptr : m < columns && x[5];  // a projector takes part
        invert(k, s, rest, zero, reciprocals, bad);
        const R half(T(0.5));
        for (ptrdiff_t i = 0; i < k; ++i)
            for (ptrdiff_t j = 0; j <= i; ++j) {
                N lower = p(i, j), upper = p(j, i);
                N skew_m = (lower - conj(upper)) * half, skew_n = (conj(q(j, i)) - q(i, j)) * half;
                N plus = skew_m + skew_n, minus = skew_m - skew_n;
                if constexpr (N::parts == 2)
                    if (i == j && option[1] == 0) bad |= ~(abs(plus.im) <= small);
                Pair<R> pair(s, i, j, zero);
                bad |= pair.bad;
                plus = plus * pair.difference;
                minus = minus * pair.sum;
                if (i == j && s_bar) plus = N(s_bar[i]);
                if (m < columns) lower = q(i, j) * reciprocals[i], upper = q(j, i) * reciprocals[j];
                else lower = lower * reciprocals[j], upper = upper * reciprocals[i];
                p.set(j, i, conj(plus - minus) - upper);
                p.set(i, j, plus + minus - lower);
            }
        if (m < columns) {
            w.rows = columns;
            product(k, columns, k, p, vh, [&](ptrdiff_t i, ptrdiff_t j, N sum) {
                w.set(i, j, x[5] ? sum + vh_bar(i, j) * reciprocals[i] : sum);
            });
            multiply(m, columns, k, u, w, g);
        } else {
            w.rows = k;
            product(m, k, k, u, p, [&](ptrdiff_t i, ptrdiff_t j, N sum) {
                w.set(i, j, x[3] ? sum + u_bar(i, j) * reciprocals[j] : sum);
            });
            multiply(m, columns, k, w, vh, g);
        }
        return to_bits(bad);
    });
}

// x = [U, S, Vh, a_dot, U_dot, S_dot, Vh_dot]
template <class N> uint64_t svd_jvp(void **x, const ptrdiff_t *n, const int *, void *work) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    return sized_shape<N>(n[0], n[1], n[2], [&](auto m, auto k, auto columns) {
        auto most = m > columns ? m : columns;
        bool tall = m >= columns;
        const R *s = static_cast<R *>(x[1]);
        R *s_dot = static_cast<R *>(x[5]);
        View<N> u = dense<N>(x[0], k), vh = dense<N>(x[2], columns), a_dot = dense<N>(x[3], columns);
        View<N> p = dense<N>(work, k), q = dense<N>(p.p + k * k, k), t{q.p + k * k, tall ? k : columns, 1};
        R *reciprocals = reinterpret_cast<R *>(t.p + most * k);
        typename N::Mask bad{};
        if (tall) {                                         // A_dot V, and U^H A_dot V
            multiply(m, k, columns, a_dot, vh.adjoint(), t);
            multiply(k, k, m, u.adjoint(), t, p);
        } else {
            multiply(k, columns, m, u.adjoint(), a_dot, t);
            multiply(k, k, columns, t, vh.adjoint(), p);
        }
        if (s_dot)
            for (ptrdiff_t i = 0; i < k; ++i) s_dot[i] = real(p(i, i));
        if (!x[4] && !x[6]) return uint64_t(0);
        R zero = repeated(s[0], most);
        bool rest = m != columns && (tall ? x[4] : x[6]);   // a projector takes part
        invert(k, s, rest, zero, reciprocals, bad);
        const R half(T(0.5));
        for (ptrdiff_t i = 0; i < k; ++i)
            for (ptrdiff_t j = 0; j <= i; ++j) {
                N lower = p(i, j), upper = p(j, i);
                Pair<R> pair(s, i, j, zero);
                bad |= pair.bad;
                N plus = (lower + conj(upper)) * (half * pair.difference), minus = (lower - conj(upper)) * (half * pair.sum);
                N left = plus + minus, right = minus - plus;
                p.set(j, i, tall ? -conj(left) - upper * reciprocals[i] : -conj(left));
                p.set(i, j, tall ? left - lower * reciprocals[j] : left);
                q.set(j, i, tall ? -conj(right) : -conj(right) - upper * reciprocals[j]);
                q.set(i, j, tall ? right : right - lower * reciprocals[i]);
            }
        if (x[4]) {
            View<N> u_dot = dense<N>(x[4], k);
            product(m, k, k, u, p, [&](ptrdiff_t i, ptrdiff_t j, N sum) {
                u_dot.set(i, j, tall && rest ? sum + t(i, j) * reciprocals[j] : sum);
            });
        }
        if (x[6]) {
            View<N> vh_dot = dense<N>(x[6], columns);
            product(k, columns, k, q, vh, [&](ptrdiff_t i, ptrdiff_t j, N sum) {
                vh_dot.set(i, j, !tall && rest ? sum + t(i, j) * reciprocals[i] : sum);
            });
        }
        return to_bits(bad);
    });
}

}  // namespace LANES
