// QR: Householder's reflections as LAPACK has them (geqr2, larfg), and the derivatives of qr.pyx, which has the formulas.
// A complete Q of a tall matrix is left to it.
#pragma once
#include "matmul.hpp"
#include "reflection.hpp"

namespace LANES {

// x = [a, Q, R]
template <class N> uint64_t qr(void **x, const ptrdiff_t *n, const int *, void *work) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    return sized_shape<N>(n[0], n[1], n[2], [&](auto m, auto columns, auto least) {
        View<N> a = dense<N>(work, columns);
        N *tau = a.p + m * columns;
        typename N::Mask bad{};
        copy<N>(m * columns, x[0], work);
        for (ptrdiff_t j = 0; j < least; ++j) {
            if (N::parts == 1 && j == m - 1) {              // one real number is left as it is
                tau[j] = N(T(0));
                continue;
            }
            Reflected<N> made = make_reflection(m, j, j, a, tau[j]);
            // of one that is zero below the diagonal, or zero on it, LAPACK looks at signs
            bad |= made.none | is_zero(real(a(j, j))) | ~(made.square > R(SAFE_SQUARE<T>));
            reflect(j, m, j + 1, columns, conj(tau[j]), a, a);
            a.set(j, j, N(made.beta));
        }
        if (x[2]) {
            View<N> r = dense<N>(x[2], columns);
            for (ptrdiff_t i = 0; i < least; ++i)
                for (ptrdiff_t j = 0; j < columns; ++j) r.set(i, j, i <= j ? a(i, j) : N(T(0)));
        }
        if (x[1]) {
            View<N> q = dense<N>(x[1], least);
            for (ptrdiff_t i = 0; i < m; ++i)
                for (ptrdiff_t j = 0; j < least; ++j) q.set(i, j, N(T(i == j)));
            for (ptrdiff_t j = least - 1; j >= 0; --j) reflect(j, m, j, least, tau[j], a, q);
        }
        return to_bits(bad);
    });
}

// x = [Q, R, Q_bar, R_bar, a_bar]
template <class N> uint64_t qr_vjp(void **x, const ptrdiff_t *n, const int *, void *work) {
    using T = typename N::scalar;
    return sized_shape<N>(n[0], n[1], n[2], [&](auto m, auto columns, auto width) {
        auto least = m < width ? m : width;
        if (columns != least) return ~uint64_t(0);
        View<N> q = dense<N>(x[0], least), r = dense<N>(x[1], width), q_bar = dense<N>(x[2], least), r_bar = dense<N>(x[3], width);
        View<N> g = dense<N>(x[4], width), h = dense<N>(work, least);
        fill<N>(least * least, 0, work);
        auto add = [&](ptrdiff_t i, ptrdiff_t j, N sum) { if (j <= i) h.set(i, j, h(i, j) + sum); };
        auto subtract = [&](ptrdiff_t i, ptrdiff_t j, N sum) { if (j <= i) h.set(i, j, h(i, j) - sum); };
        auto upper = [](View<N> t) {
            return [t](ptrdiff_t i, ptrdiff_t j) { return i <= j ? t(i, j) : N(T(0)); };
        };
        auto lower = [](View<N> t) {                        // of its adjoint
            return [t](ptrdiff_t i, ptrdiff_t j) { return j <= i ? conj(t(j, i)) : N(T(0)); };
        };
        if (x[3]) product<true, true>(least, least, least, upper(r), lower(r_bar), add);
        if (x[2]) product<true>(least, least, m, q_bar.adjoint(), q, subtract);
        View<N> r2{r.p + least, width, 1}, r2_bar{r_bar.p + least, width, 1};
        bool wide = width > least && x[3];
        if (wide)                                           // R2 R2_bar^H, of which H gets the adjoint's triangle
            product<true>(least, least, width - least, r2_bar, r2.adjoint(), subtract);
        finish_hermitian(0, least, h);
        if (wide)
            product(least, least, width - least, r2, r2_bar.adjoint(),
                    [&](ptrdiff_t i, ptrdiff_t j, N sum) { h.set(i, j, h(i, j) + sum); });
        product(m, least, least, q, h, [&](ptrdiff_t i, ptrdiff_t j, N sum) { g.set(i, j, x[2] ? sum + q_bar(i, j) : sum); });
        substitute(least, m, r.backward(least), false, g.adjoint().upside_down(least));
        product(m, width - least, x[3] ? least : 0, q, r2_bar,
                [&](ptrdiff_t i, ptrdiff_t j, N sum) { g.set(i, least + j, sum); });
        return zeros_on_diagonal(least, r);
    });
}

// x = [Q, R, a_dot, Q_dot, R_dot]
template <class N> uint64_t qr_jvp(void **x, const ptrdiff_t *n, const int *, void *work) {
    using T = typename N::scalar;
    return sized_shape<N>(n[0], n[1], n[2], [&](auto m, auto columns, auto width) {
        auto least = m < width ? m : width;
        if (columns != least) return ~uint64_t(0);
        View<N> q = dense<N>(x[0], least), r = dense<N>(x[1], width), t = dense<N>(x[2], width);
        View<N> moved = dense<N>(work, least), c = dense<N>(moved.p + m * least, least), u = dense<N>(c.p + least * least, least);
        for (ptrdiff_t i = 0; i < m; ++i)
            for (ptrdiff_t j = 0; j < least; ++j) moved.set(i, j, t(i, j));
        // X = A1_dot R1^-1: R1^T X^T = A1_dot^T
        substitute(least, m, View<N>{r.p, 1, width}, false, View<N>{moved.p, 1, least});
        multiply(least, least, m, q.adjoint(), moved, c);
        for (ptrdiff_t i = 0; i < least; ++i)
            for (ptrdiff_t j = 0; j < least; ++j)
                u.set(i, j, j < i ? N(T(0)) : i == j ? N(real(c(i, i))) : c(i, j) + conj(c(j, i)));
        if (x[3]) {
            View<N> q_dot = dense<N>(x[3], least);
            product(m, least, least, q, u, [&](ptrdiff_t i, ptrdiff_t j, N sum) { q_dot.set(i, j, moved(i, j) - sum); });
        }
        if (x[4]) {
            View<N> r_dot = dense<N>(x[4], width), r2{r.p + least, width, 1}, t2{t.p + least, width, 1};
            product<false, true>(least, least, least, u, [&](ptrdiff_t i, ptrdiff_t j) { return i <= j ? r(i, j) : N(T(0)); },
                    [&](ptrdiff_t i, ptrdiff_t j, N sum) { r_dot.set(i, j, j < i ? N(T(0)) : sum); });
            product(least, width - least, m, q.adjoint(), t2,
                    [&](ptrdiff_t i, ptrdiff_t j, N sum) { r_dot.set(i, least + j, sum); });
            product(least, width - least, least, [&](ptrdiff_t i, ptrdiff_t j) { return u(i, j) - c(i, j); }, r2,
                    [&](ptrdiff_t i, ptrdiff_t j, N sum) { r_dot.set(i, least + j, r_dot(i, least + j) + sum); });
        }
        return zeros_on_diagonal(least, r);
    });
}

}  // namespace LANES
