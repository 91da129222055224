// Derivatives of eigenvalues and eigenvectors of Hermitian matrices: eigh.pyx has the formulas. Lanes with repeated
// eigenvalues, or a loss that depends on phases, are left to it.
#pragma once
#include "matmul.hpp"

namespace LANES {

constexpr int REPEATED = 4, GAUGE = 16;  // as in degenerate.pxd

// The Frobenius norm, and whether it can be trusted to have no overflow.
template <class N> struct Norm {
    using R = typename N::real_type;
    R square;

    Norm() : square(typename N::scalar(0)) {}
    void add(ptrdiff_t size, const void *a) {
        for (ptrdiff_t i = 0; i < size; ++i) square += abs2(static_cast<const N *>(a)[i]);
    }
    R value() const { return sqrt(square); }
    typename N::Mask overflows() const { return ~(square <= R(limits<typename N::scalar>::largest)); }
};

// Eigenvalues or singular values of a matrix of size n no further apart count as equal.
template <class R> inline R repeated(R largest, ptrdiff_t n) {
    using T = typename R::scalar;
    return largest * (sqrt(R(T(n))) * R(REPEATED * limits<T>::eps));
}

// x = [w, v, w_bar, v_bar, a_bar], option = triangle, degenerate, gauge
template <class N> uint64_t eigh_vjp(void **x, const ptrdiff_t *n, const int *option, void *work) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    return sized<N>(n[0], [&](auto size) {
        const R *w = static_cast<R *>(x[0]), *w_bar = static_cast<R *>(x[2]);
        View<N> v = dense<N>(x[1], size), g = dense<N>(x[4], size), vx = dense<N>(work, size);
        typename N::Mask bad{};
        if (x[3]) {
            View<N> m = dense<N>(vx.p + size * size, size);
            Norm<N> level;
            level.add(size * size, x[3]);
            bad |= level.overflows();
            R small = level.value() * R(T(GAUGE * size * limits<T>::eps));
            R apart = repeated(larger(abs(w[0]), abs(w[size - 1])), size);
            multiply(size, size, size, v.adjoint(), dense<N>(x[3], size), m);
            for (ptrdiff_t i = 0; i < size; ++i) {
                if constexpr (N::parts == 2)
                    if (option[2] == 0) bad |= ~(abs(m(i, i).im) <= small);
                m.set(i, i, w_bar ? N(w_bar[i]) : N(T(0)));
                for (ptrdiff_t j = 0; j < i; ++j) {
                    R gap = w[j] - w[i];
                    bad |= ~(abs(gap) > apart);
                    N quotient = (m(i, j) - conj(m(j, i))) * (R(T(0.5)) / gap);
                    m.set(i, j, quotient);
                    m.set(j, i, conj(quotient));
                }
            }
            multiply(size, size, size, v, m, vx);
            product<true>(size, size, size, vx, v.adjoint(), assign_to(g));
        } else {
            auto scaled = [&](ptrdiff_t i, ptrdiff_t j) { return v(i, j) * w_bar[j]; };
            product<true>(size, size, size, scaled, v.adjoint(), assign_to(g));
        }
        finish_hermitian(option[0], size, g);
        return to_bits(bad);
    });
}

// x = [w, v, a_dot, w_dot, v_dot]
template <class N> uint64_t eigh_jvp(void **x, const ptrdiff_t *n, const int *option, void *work) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    return sized<N>(n[0], [&](auto size) {
        const R *w = static_cast<R *>(x[0]);
        R *w_dot = static_cast<R *>(x[3]);
        View<N> v = dense<N>(x[1], size), t = dense<N>(work, size), tv = dense<N>(t.p + size * size, size);
        typename N::Mask bad{};
        hermitian_lower(option[0], size, dense<N>(x[2], size), t);
        finish_hermitian(0, size, t);
        multiply(size, size, size, t, v, tv);
        if (w_dot)
            for (ptrdiff_t j = 0; j < size; ++j) {
                w_dot[j] = R(T(0));
                for (ptrdiff_t i = 0; i < size; ++i) w_dot[j] += real(conj(v(i, j)) * tv(i, j));
            }
        if (!x[4]) return uint64_t(0);
        R apart = repeated(larger(abs(w[0]), abs(w[size - 1])), size);
        multiply(size, size, size, v.adjoint(), tv, t);
        for (ptrdiff_t i = 0; i < size; ++i) {
            t.set(i, i, N(T(0)));
            for (ptrdiff_t j = 0; j < i; ++j) {
                R gap = w[j] - w[i];
                bad |= ~(abs(gap) > apart);
                N quotient = t(i, j) * reciprocal(gap);
                t.set(i, j, quotient);
                t.set(j, i, -conj(quotient));
            }
        }
        multiply(size, size, size, v, t, dense<N>(x[4], size));
        return to_bits(bad);
    });
}

}  // namespace LANES
