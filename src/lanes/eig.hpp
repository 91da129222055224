// Derivatives of the eigenvalues of a general matrix: eig.pyx has the formulas. Those of eigenvectors, and matrices that
// are nearly defective, are left to it.
#pragma once
#include "eigh.hpp"

namespace LANES {

constexpr int LARGEST_ERROR = 1;  // in percent, as in eig.pyx

template <class N> using ComplexOf = Complex<typename N::scalar, N::width>;

template <class T, int W> inline void keep(Real<T, W> &out, Complex<T, W> x) { out = x.re; }
template <class T, int W> inline void keep(Complex<T, W> &out, Complex<T, W> x) { out = x; }

// The lanes whose eigenvectors V are of a condition that is told, or worse.
template <class C> inline uint64_t doubtful(ptrdiff_t n, const void *v, const void *inverse) {
    using R = typename C::real_type;
    using T = typename C::scalar;
    Norm<C> left, right;
    left.add(n * n, v);
    right.add(n * n, inverse);
    R kappa = left.value() * right.value() * R(T(1) / n);
    return to_bits(~(kappa * kappa * R(T(100) * limits<T>::eps) <= R(T(LARGEST_ERROR))));
}

// x = [a, w, V, inverse, w_bar, V_bar, a_bar]
template <class N> uint64_t eig_vjp(void **x, const ptrdiff_t *n_, const int *, void *work) {
    using C = ComplexOf<N>;
    ptrdiff_t n = n_[0];
    if (x[5] || !x[4]) return ~uint64_t(0);
    View<C> v = dense<C>(x[2], n), inverse = dense<C>(x[3], n), p = dense<C>(work, n);
    View<N> a_bar = dense<N>(x[6], n);
    const C *w_bar = static_cast<C *>(x[4]);
    for (ptrdiff_t i = 0; i < n; ++i)
        for (ptrdiff_t j = 0; j < n; ++j) p.set(i, j, conj(inverse(j, i)) * w_bar[j]);
    product(n, n, n, p, v.adjoint(), [&](ptrdiff_t i, ptrdiff_t j, C sum) { keep(a_bar.p[i * n + j], sum); });
    return doubtful<C>(n, x[2], x[3]);
}

// x = [a, w, V, inverse, a_dot, w_dot, V_dot]
template <class N> uint64_t eig_jvp(void **x, const ptrdiff_t *n_, const int *, void *work) {
    using C = ComplexOf<N>;
    ptrdiff_t n = n_[0];
    if (x[6]) return ~uint64_t(0);
    View<C> v = dense<C>(x[2], n), inverse = dense<C>(x[3], n), tv = dense<C>(work, n);
    View<N> a_dot = dense<N>(x[4], n);
    C *w_dot = static_cast<C *>(x[5]);
    multiply(n, n, n, [&](ptrdiff_t i, ptrdiff_t k) { return C(a_dot(i, k)); }, v, tv);
    for (ptrdiff_t i = 0; i < n; ++i) {
        w_dot[i] = C(typename N::scalar(0));
        for (ptrdiff_t j = 0; j < n; ++j) w_dot[i] += inverse(i, j) * tv(j, i);
    }
    return doubtful<C>(n, x[2], x[3]);
}

}  // namespace LANES
