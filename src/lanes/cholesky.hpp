// Cholesky: the plain loops of cholesky.pyx, whose top has the formulas.
#pragma once
#include "matmul.hpp"

namespace LANES {

template <class N> uint64_t cholesky(void **x, const ptrdiff_t *n, const int *option, void *) {
    using R = typename N::real_type;
    return sized<N>(n[0], [&](auto size) {
        return with_op<N>(option[0] ? ADJOINT : PLAIN, x[1], size, [&](auto l) {
            decltype(l) a = l;
            a.p = static_cast<N *>(x[0]);
            typename N::Mask bad{};
            for (ptrdiff_t j = 0; j < size; ++j) {
                R d = real(a(j, j));
                for (ptrdiff_t k = 0; k < j; ++k) d -= abs2(l(j, k));
                bad |= ~(d > R(typename N::scalar(0)));
                d = sqrt(d);
                l.set(j, j, N(d));
                R inverse = reciprocal(d);
                for (ptrdiff_t i = j + 1; i < size; ++i) {
                    N t = a(i, j);
                    for (ptrdiff_t k = 0; k < j; ++k) t -= l(i, k) * conj(l(j, k));
                    l.set(i, j, t * inverse);
                    l.set(j, i, N(typename N::scalar(0)));
                }
            }
            return to_bits(bad);
        });
    });
}

template <class N> uint64_t cholesky_vjp(void **x, const ptrdiff_t *n, const int *option, void *work) {
    using R = typename N::real_type;
    R *inverse = static_cast<R *>(work);
    return sized<N>(n[0], [&](auto size) {
        return with_op<N>(option[0] ? ADJOINT : PLAIN, x[0], size, [&](auto l) {
            decltype(l) l_bar = l;
            l_bar.p = static_cast<N *>(x[1]);
            View<N> g = dense<N>(x[2], size);
            const R half(typename N::scalar(0.5));
            for (ptrdiff_t i = 0; i < size; ++i) {
                inverse[i] = reciprocal(real(l(i, i)));
                for (ptrdiff_t j = 0; j <= i; ++j) g.set(i, j, l_bar(i, j));
            }
            for (ptrdiff_t i = size - 1; i >= 0; --i) {
                R twice = real(g(i, i)) * inverse[i];
                g.set(i, i, N(twice * half));
                for (ptrdiff_t j = 0; j < i; ++j) g.set(i, j, g(i, j) - l(i, j) * twice);
                for (ptrdiff_t j = i - 1; j >= 0; --j) {
                    N b = g(i, j) * inverse[j];
                    g.set(i, j, b * half);
                    for (ptrdiff_t k = 0; k < j; ++k) g.set(i, k, g(i, k) - b * l(j, k));
                    b = conj(b);
                    for (ptrdiff_t k = 0; k <= j; ++k) g.set(j, k, g(j, k) - b * l(i, k));
                }
            }
            finish_hermitian(option[1], size, g);
            return uint64_t(0);
        });
    });
}

template <class N> uint64_t cholesky_jvp(void **x, const ptrdiff_t *n, const int *option, void *) {
    using R = typename N::real_type;
    return sized<N>(n[0], [&](auto size) {
        return with_op<N>(option[0] ? ADJOINT : PLAIN, x[0], size, [&](auto l) {
            decltype(l) t = l;
            t.p = static_cast<N *>(x[2]);
            hermitian_lower(option[1], size, dense<N>(x[1], size), t);
            for (ptrdiff_t i = 0; i < size; ++i) {
                R diagonal = real(t(i, i));
                for (ptrdiff_t j = 0; j < i; ++j) {
                    N total = t(i, j) - l(i, j) * real(t(j, j));
                    for (ptrdiff_t k = 0; k < j; ++k) total -= t(i, k) * conj(l(j, k)) + l(i, k) * conj(t(j, k));
                    total = total * reciprocal(real(l(j, j)));
                    t.set(i, j, total);
                    t.set(j, i, N(typename N::scalar(0)));
                    R part = real(total * conj(l(i, j)));
                    diagonal -= part + part;
                }
                t.set(i, i, N(diagonal * reciprocal(real(l(i, i))) * R(typename N::scalar(0.5))));
            }
            return uint64_t(0);
        });
    });
}

// x = [l, b, x]: A = F1 F2 with F1 = L, F2 = L^H, or U^H and U
template <class N> uint64_t cholesky_solve(void **x, const ptrdiff_t *n, const int *option, void *) {
    return sized<N>(n[0], [&](auto size) {
        return with_op<N>(option[0] ? ADJOINT : PLAIN, x[0], size, [&](auto l) {
            View<N> solution = dense<N>(x[2], n[1]);
            copy<N>(size * n[1], x[1], x[2]);
            substitute(size, n[1], l, false, solution);
            substitute(size, n[1], l.adjoint().backward(size), false, solution.upside_down(size));
            return zeros_on_diagonal(size, l);
        });
    });
}

// The factor's lower triangle as a product takes it, zero above.
template <class V> inline auto lower_part(V l) {
    using N = typename V::number;
    return [l](ptrdiff_t i, ptrdiff_t j) { return j <= i ? l(i, j) : N(typename N::scalar(0)); };
}

template <class V> inline auto adjoint_of_lower_part(V l) {
    using N = typename V::number;
    return [l](ptrdiff_t i, ptrdiff_t j) { return i <= j ? conj(l(j, i)) : N(typename N::scalar(0)); };
}

// x = [l, x, x_bar, l_bar, b_bar]; of U = L^H the cotangent is L_bar^H
template <class N> uint64_t cholesky_solve_vjp(void **x, const ptrdiff_t *n, const int *option, void *work) {
    int op = option[0] ? ADJOINT : PLAIN;
    return sized<N>(n[0], [&](auto size) {
        ptrdiff_t k = n[1];
        View<N> solution = dense<N>(x[1], k), p = dense<N>(work, k), q = dense<N>(p.p + size * k, k);
        View<N> b_bar = dense<N>(x[4] ? x[4] : q.p + size * k, k);
        uint64_t zeros = with_op<N>(op, x[0], size, [&](auto l) {
            copy<N>(size * k, x[2], q.p);
            substitute(size, k, l, false, q);
            copy<N>(size * k, q.p, b_bar.p);
            substitute(size, k, l.adjoint().backward(size), false, b_bar.upside_down(size));
            if (x[3]) multiply(size, k, size, adjoint_of_lower_part(l), solution, p);
            return zeros_on_diagonal(size, l);
        });
        if (!x[3]) return zeros;
        with_op<N>(op, x[3], size, [&](auto l_bar) {
            product(size, size, k, b_bar, p.adjoint(), [&](ptrdiff_t i, ptrdiff_t j, N sum) { l_bar.set(i, j, -sum); });
            product(size, size, k, solution, q.adjoint(), [&](ptrdiff_t i, ptrdiff_t j, N sum) {
                l_bar.set(i, j, j <= i ? l_bar(i, j) - sum : N(typename N::scalar(0)));
            });
            return uint64_t(0);
        });
        return zeros;
    });
}

// x = [l, x, l_dot, b_dot, x_dot]
template <class N> uint64_t cholesky_solve_jvp(void **x, const ptrdiff_t *n, const int *option, void *work) {
    int op = option[0] ? ADJOINT : PLAIN;
    return sized<N>(n[0], [&](auto size) {
        ptrdiff_t k = n[1];
        View<N> solution = dense<N>(x[1], k), p = dense<N>(work, k), x_dot = dense<N>(x[4], k);
        auto subtract = [&](ptrdiff_t i, ptrdiff_t j, N sum) { x_dot.set(i, j, x_dot(i, j) - sum); };
        if (x[3]) copy<N>(size * k, x[3], x[4]);
        else fill<N>(size * k, 0, x[4]);
        return with_op<N>(op, x[0], size, [&](auto l) {
            decltype(l) l_dot = l;
            l_dot.p = static_cast<N *>(x[2]);
            if (x[2]) {
                multiply(size, k, size, adjoint_of_lower_part(l), solution, p);
                product(size, k, size, lower_part(l_dot), p, subtract);
            }
            substitute(size, k, l, false, x_dot);
            if (x[2]) product(size, k, size, adjoint_of_lower_part(l_dot), solution, subtract);
            substitute(size, k, l.adjoint().backward(size), false, x_dot.upside_down(size));
            return zeros_on_diagonal(size, l);
        });
    });
}

}  // namespace LANES
