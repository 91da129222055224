// Matrix products: matmul.pyx has the formulas. n = m, k, n.
#pragma once
#include "matrix.hpp"

namespace LANES {

template <class N, class A, class B>
inline void multiply(ptrdiff_t m, ptrdiff_t n, ptrdiff_t depth, A a, B b, View<N> out, bool add = false) {
    product(m, n, depth, a, b, [&](ptrdiff_t i, ptrdiff_t j, N sum) { out.set(i, j, add ? out(i, j) + sum : sum); });
}

template <class N> uint64_t matmul(void **x, const ptrdiff_t *n, const int *, void *) {
    multiply(n[0], n[2], n[1], dense<N>(x[0], n[1]), dense<N>(x[1], n[2]), dense<N>(x[2], n[2]));
    return 0;
}

template <class N> uint64_t matmul_vjp(void **x, const ptrdiff_t *n, const int *, void *) {
    View<N> a = dense<N>(x[0], n[1]), b = dense<N>(x[1], n[2]), x_bar = dense<N>(x[2], n[2]);
    if (x[3]) multiply(n[0], n[1], n[2], x_bar, b.adjoint(), dense<N>(x[3], n[1]));
    if (x[4]) multiply(n[1], n[2], n[0], a.adjoint(), x_bar, dense<N>(x[4], n[2]));
    return 0;
}

template <class N> uint64_t matmul_jvp(void **x, const ptrdiff_t *n, const int *, void *) {
    View<N> a = dense<N>(x[0], n[1]), b = dense<N>(x[1], n[2]), x_dot = dense<N>(x[4], n[2]);
    if (x[2]) multiply(n[0], n[2], n[1], dense<N>(x[2], n[1]), b, x_dot);
    if (x[3]) multiply(n[0], n[2], n[1], a, dense<N>(x[3], n[2]), x_dot, x[2]);
    return 0;
}

}  // namespace LANES
