// Matrix products: matmul.pyx has the formulas. n = m, k, n.
#pragma once
#include "matrix.hpp"

namespace LANES {

template <class M, class J, class K, class N, class A, class B>
inline void multiply(M m, J n, K depth, A a, B b, View<N> out, bool add = false) {
    product(m, n, depth, a, b, [&](ptrdiff_t i, ptrdiff_t j, N sum) { out.set(i, j, add ? out(i, j) + sum : sum); });
}

template <class N> uint64_t matmul(void **x, const ptrdiff_t *n, const int *, void *) {
    return sized_shape<N>(n[0], n[1], n[2], [&](auto m, auto k, auto columns) {
        multiply(m, columns, k, dense<N>(x[0], k), dense<N>(x[1], columns), dense<N>(x[2], columns));
        return uint64_t(0);
    });
}

template <class N> uint64_t matmul_vjp(void **x, const ptrdiff_t *n, const int *, void *) {
    return sized_shape<N>(n[0], n[1], n[2], [&](auto m, auto k, auto columns) {
        View<N> a = dense<N>(x[0], k), b = dense<N>(x[1], columns), x_bar = dense<N>(x[2], columns);
        if (x[3]) multiply(m, k, columns, x_bar, b.adjoint(), dense<N>(x[3], k));
        if (x[4]) multiply(k, columns, m, a.adjoint(), x_bar, dense<N>(x[4], columns));
        return uint64_t(0);
    });
}

template <class N> uint64_t matmul_jvp(void **x, const ptrdiff_t *n, const int *, void *) {
    return sized_shape<N>(n[0], n[1], n[2], [&](auto m, auto k, auto columns) {
        View<N> a = dense<N>(x[0], k), b = dense<N>(x[1], columns), x_dot = dense<N>(x[4], columns);
        if (x[2]) multiply(m, columns, k, dense<N>(x[2], k), b, x_dot);
        if (x[3]) multiply(m, columns, k, a, dense<N>(x[3], columns), x_dot, x[2]);
        return uint64_t(0);
    });
}

}  // namespace LANES
