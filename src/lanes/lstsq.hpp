// Derivatives of least squares of full rank, with or without a regularizer: lstsq.pyx has the formulas. A lower rank is
// left to it.
#pragma once
#include "matmul.hpp"

namespace LANES {

// B := G^-1 B with G = R^H R
template <class N> inline void solve_gram(ptrdiff_t n, ptrdiff_t k, View<N> r, View<N> b) {
    substitute(n, k, r.adjoint(), false, b);
    substitute(n, k, r.backward(n), false, b.upside_down(n));
}

// The lanes with a singular factor or a lower rank.
template <class N> inline uint64_t unsolvable_gram(ptrdiff_t n, View<N> r, const void *rank) {
    uint64_t left = zeros_on_diagonal(n, r);
    for (int w = 0; w < N::width; ++w)
        if (static_cast<const int *>(rank)[w] != n) left |= uint64_t(1) << w;
    return left;
}

// x = [a, b, factor, rank, x, x_bar, a_bar, b_bar, l2_regularizer_bar]
template <class N> uint64_t lstsq_vjp(void **x, const ptrdiff_t *size, const int *, void *work) {
    using R = typename N::real_type;
    ptrdiff_t m = size[0], n = size[1], k = size[2], least = size[3];
    View<N> a = dense<N>(x[0], n), r = dense<N>(x[2], least), solution = dense<N>(x[4], k), x_bar = dense<N>(x[5], k);
    View<N> in_m = dense<N>(work, k), in_n = dense<N>(in_m.p + m * k, k);   // E or Z; Y or X_bar - A^H B_bar
    View<N> b_bar = dense<N>(x[7] ? x[7] : in_n.p + n * k, k);
    copy<N>(n * k, x_bar.p, in_n.p);
    copy<N>(m * k, x[1], in_m.p);
    if (m >= n) {
        solve_gram(n, k, r, in_n);
        multiply(m, k, n, a, in_n, b_bar);
        if (x[6]) product(m, k, n, a, solution, subtract_from(in_m));
        if (x[8]) *static_cast<R *>(x[8]) = -overlap(n * k, solution.p, in_n.p);
    } else {
        multiply(m, k, n, a, x_bar, b_bar);
        solve_gram(m, k, r, b_bar);
        solve_gram(m, k, r, in_m);
        product(n, k, m, a.adjoint(), b_bar, subtract_from(in_n));
        if (x[8]) *static_cast<R *>(x[8]) = -overlap(m * k, in_m.p, b_bar.p);
    }
    if (x[6]) {
        multiply(m, n, k, in_m, in_n.adjoint(), dense<N>(x[6], n));
        product(m, n, k, b_bar, solution.adjoint(), subtract_from(dense<N>(x[6], n)));
    }
    return unsolvable_gram(least, r, x[3]);
}

// x = [a, b, factor, rank, x, a_dot, b_dot, l2_regularizer_dot, x_dot]
template <class N> uint64_t lstsq_jvp(void **x, const ptrdiff_t *size, const int *, void *work) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    ptrdiff_t m = size[0], n = size[1], k = size[2], least = size[3];
    View<N> a = dense<N>(x[0], n), r = dense<N>(x[2], least), solution = dense<N>(x[4], k), a_dot = dense<N>(x[5], n);
    View<N> moved = dense<N>(work, k), in_m = dense<N>(moved.p + m * k, k), x_dot = dense<N>(x[8], k);
    R l_dot = x[7] ? *static_cast<R *>(x[7]) : R(T(0));
    if (x[6]) copy<N>(m * k, x[6], moved.p);
    else fill<N>(m * k, 0, moved.p);
    if (x[5]) product(m, k, n, a_dot, solution, subtract_from(moved));
    if (m >= n) {
        multiply(n, k, m, a.adjoint(), moved, x_dot);
        if (x[5]) {
            copy<N>(m * k, x[1], in_m.p);
            product(m, k, n, a, solution, subtract_from(in_m));
            multiply(n, k, m, a_dot.adjoint(), in_m, x_dot, true);
        }
        for (ptrdiff_t i = 0; i < n * k; ++i) x_dot.p[i] -= solution.p[i] * l_dot;
        solve_gram(n, k, r, x_dot);
    } else {
        copy<N>(m * k, x[1], in_m.p);
        solve_gram(m, k, r, in_m);
        for (ptrdiff_t i = 0; i < m * k; ++i) moved.p[i] -= in_m.p[i] * l_dot;
        if (x[5]) {
            multiply(n, k, m, a_dot.adjoint(), in_m, x_dot);
            product(m, k, n, a, x_dot, subtract_from(moved));
        } else fill<N>(n * k, 0, x_dot.p);
        solve_gram(m, k, r, moved);
        multiply(n, k, m, a.adjoint(), moved, x_dot, true);
    }
    return unsolvable_gram(least, r, x[3]);
}

}  // namespace LANES
