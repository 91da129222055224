// The pseudo-inverse from the singular value decomposition, and its derivatives for matrices of full rank: pinv.pyx has
// the formulas.
#pragma once
#include "bidiagonal.hpp"
#include "matmul.hpp"

namespace LANES {

// x = [a, rtol, pinv]
template <class N> uint64_t pinv(void **x, const ptrdiff_t *n, const int *, void *work) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    ptrdiff_t m = n[0], columns = n[1], k = m < columns ? m : columns, sizes[] = {m, columns, k};
    View<N> u = dense<N>(work, k), vh = dense<N>(u.p + m * k, columns);
    R *s = reinterpret_cast<R *>(vh.p + k * columns), rtol = *static_cast<R *>(x[1]);
    void *operands[] = {x[0], u.p, s, vh.p};
    int full_matrices = 0;
    uint64_t again = svd<N>(operands, sizes, &full_matrices, s + k);
    rtol = select(rtol == R(T(-1)), R(T((m > columns ? m : columns) * limits<T>::eps)), rtol);
    again |= to_bits(~(R(T(0)) <= rtol));
    for (ptrdiff_t j = 0; j < k; ++j) {
        R inverse = reciprocal(s[j]);
        for (int w = 0; w < N::width; ++w)                  // in double precision, as pinv.pyx
            if (!(s[j].v[w] > double(rtol.v[w]) * s[0].v[w])) inverse.v[w] = 0;
        for (ptrdiff_t i = 0; i < columns; ++i) vh.set(j, i, vh(j, i) * inverse);
    }
    multiply(columns, m, k, vh.adjoint(), u.adjoint(), dense<N>(x[2], m));
    return again;
}

// out := the tangent (n, m) of the pseudo-inverse P of A (m, n) along T. Returns the lanes whose rank is lower.
template <class N, class Rows, class Columns, class A>
inline uint64_t push_pinv(Rows m, Columns n, A a, A p, View<N> t, View<N> out, void *work) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    auto k = m < n ? m : n;
    View<N> r = dense<N>(work, k), gram = dense<N>(r.p + k * k, k), q = dense<N>(gram.p + k * k, k);
    R trace(T(0));
    for (ptrdiff_t i = 0; i < m; ++i)
        for (ptrdiff_t j = 0; j < n; ++j) trace += real(a(i, j) * p(j, i));
    auto twice = [&](ptrdiff_t i, ptrdiff_t j) { return q(i, j) + conj(q(j, i)); };
    if (m >= n) multiply(n, n, m, p, t, r);
    else multiply(m, m, n, t, p, r);
    if (m == n) product(n, n, n, r, p, [&](ptrdiff_t i, ptrdiff_t j, N sum) { out.set(i, j, -sum); });
    else if (m > n) {
        multiply(n, n, m, p, p.adjoint(), gram);
        multiply(n, n, n, r, gram, q);
        multiply(n, m, n, gram, t.adjoint(), out);
        product(n, m, n, twice, a.adjoint(), subtract_from(out));
    } else {
        multiply(m, m, n, p.adjoint(), p, gram);
        multiply(m, m, m, gram, r, q);
        multiply(n, m, m, t.adjoint(), gram, out);
        product(n, m, m, a.adjoint(), twice, subtract_from(out));
    }
    return to_bits(~(trace > R(T(k - 0.5))));
}

// x = [a, pinv, pinv_bar, a_bar]
template <class N> uint64_t pinv_vjp(void **x, const ptrdiff_t *n, const int *, void *work) {
    return sized_shape<N>(n[0], n[1], n[1], [&](auto m, auto columns, auto) {
        View<N> a = dense<N>(x[0], columns), p = dense<N>(x[1], m);
        return push_pinv(columns, m, a.adjoint(), p.adjoint(), dense<N>(x[2], m), dense<N>(x[3], columns), work);
    });
}

// x = [a, pinv, a_dot, pinv_dot]
template <class N> uint64_t pinv_jvp(void **x, const ptrdiff_t *n, const int *, void *work) {
    return sized_shape<N>(n[0], n[1], n[1], [&](auto m, auto columns, auto) {
        View<N> a = dense<N>(x[0], columns), p = dense<N>(x[1], m);
        return push_pinv(m, columns, a, p, dense<N>(x[2], columns), dense<N>(x[3], m), work);
    });
}

}  // namespace LANES
