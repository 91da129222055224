// Triangular systems: triangular.pyx has the formulas. op(A) is lower triangular here, or is taken backwards.
#pragma once
#include "matrix.hpp"

namespace LANES {

// Calls f(view of op(A), whether it is backwards) with a lower triangular view.
template <class N, class Size, class F> inline uint64_t lower_triangle(bool lower, int op, void *a, Size n, F f) {
    bool backward = lower == bool(op & TRANSPOSED);
    return with_op<N>(op, a, n, [&](auto view) { return backward ? f(view.backward(n), true) : f(view, false); });
}

template <class N, class Size> inline View<N> rows_of(void *x, Size n, ptrdiff_t k, bool backward) {
    View<N> view = dense<N>(x, k);
    return backward ? view.upside_down(n) : view;
}

// option = lower, trans, unit_diagonal
template <class N> uint64_t solve_triangular(void **x, const ptrdiff_t *n, const int *option, void *) {
    return sized_system<N>(n, [&](auto size, auto k) {
        return lower_triangle<N>(option[0], op_of(option[1]), x[0], size, [&](auto l, bool backward) {
            copy<N>(size * k, x[1], x[2]);
            substitute(size, k, l, option[2], rows_of<N>(x[2], size, k, backward));
            return option[2] ? 0 : zeros_on_diagonal(size, l);
        });
    });
}

// x = [a, x, x_bar, a_bar, b_bar]; the cotangent of op(A) is -B_bar X^H
template <class N> uint64_t solve_triangular_vjp(void **x, const ptrdiff_t *n, const int *option, void *work) {
    int op = op_of(option[1]);
    void *b_bar = x[4] ? x[4] : work;
    return sized_system<N>(n, [&](auto size, auto k) {
        uint64_t zeros = lower_triangle<N>(option[0], op ^ ADJOINT, x[0], size, [&](auto l, bool backward) {
            copy<N>(size * k, x[2], b_bar);
            substitute(size, k, l, option[2], rows_of<N>(b_bar, size, k, backward));
            return option[2] ? 0 : zeros_on_diagonal(size, l);
        });
        if (!x[3]) return zeros;
        lower_triangle<N>(option[0], op, x[3], size, [&](auto a_bar, bool backward) {
            View<N> left = rows_of<N>(b_bar, size, k, backward), right = rows_of<N>(x[1], size, k, backward);
            const N zero(typename N::scalar(0));
            product<true>(size, size, k, left, right.adjoint(), [&](ptrdiff_t i, ptrdiff_t j, N sum) {
                if (i < j) return;
                a_bar.set(j, i, zero);
                if (j < i || !option[2]) a_bar.set(i, j, -sum);
            });
            return uint64_t(0);
        });
        return zeros;
    });
}

// x = [a, x, a_dot, b_dot, x_dot]
template <class N> uint64_t solve_triangular_jvp(void **x, const ptrdiff_t *n, const int *option, void *) {
    int op = op_of(option[1]);
    return sized_system<N>(n, [&](auto size, auto k) {
        if (x[3]) copy<N>(size * k, x[3], x[4]);
        else fill<N>(size * k, 0, x[4]);
        if (x[2])
            lower_triangle<N>(option[0], op, x[2], size, [&](auto a_dot, bool backward) {
                View<N> solution = rows_of<N>(x[1], size, k, backward), x_dot = rows_of<N>(x[4], size, k, backward);
                for (ptrdiff_t i = 0; i < size; ++i)
                    product(1, k, option[2] ? i : i + 1, [&](ptrdiff_t, ptrdiff_t q) { return a_dot(i, q); }, solution,
                            [&](ptrdiff_t, ptrdiff_t j, N sum) { x_dot.set(i, j, x_dot(i, j) - sum); });
                return uint64_t(0);
            });
        return lower_triangle<N>(option[0], op, x[0], size, [&](auto l, bool backward) {
            substitute(size, k, l, option[2], rows_of<N>(x[4], size, k, backward));
            return option[2] ? 0 : zeros_on_diagonal(size, l);
        });
    });
}

}  // namespace LANES
