// Singular values and vectors: reflections to a real bidiagonal matrix, and the implicit QR algorithm of Golub and Kahan,
// in which each lane deflates, shifts and converges by itself. A lane that has converged is turned by the identity until
// the others have.
//
// G. H. Golub and C. F. Van Loan, Matrix Computations (4th ed., 2013), sections 5.4.8 and 8.6.
#pragma once
#include "reflection.hpp"
#include "rotation.hpp"

namespace LANES {

// The singular values of the bidiagonal matrix with d on and e above its diagonal, in d; U and V are turned with it if
// `vectors`. c, s: 2 n each. Adds the lanes that are left.
template <class N>
inline void implicit_qr(ptrdiff_t m, ptrdiff_t n, typename N::real_type *d, typename N::real_type *e,
                        typename N::real_type *c, typename N::real_type *s, bool vectors, View<N> u, View<N> v,
                        typename N::Mask &bad) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    using Mask = typename N::Mask;
    const R zero(T(0)), one(T(1)), eps(limits<T>::eps), safe(SAFE_SQUARE<T>), tiny(NEGLIGIBLE<T>);
    for (ptrdiff_t k = n - 1; k > 0; --k)
        for (int step = 0;; ++step) {
            Row<N> first = row_number<N>(0);                // where the block that ends at k begins
            for (ptrdiff_t i = 0; i < k; ++i)
                first = abs(e[i]) <= eps * (abs(d[i]) + abs(d[i + 1])) + tiny ? row_number<N>(i + 1) : first;
            Mask active = ~bad & (first != row_number<N>(k));
            if (!any(active)) break;
            if (step == MOST_STEPS) {
                bad |= active;
                break;
            }
            ptrdiff_t l = 0;
            while (!any(active & (first == row_number<N>(l)))) ++l;
            // the eigenvalue of the last 2 x 2 block of B^H B that is next to its last entry
            R top = zero;
            for (ptrdiff_t i = l; i < k; ++i) top = select(first == row_number<N>(i), d[i], top);
            R y = d[k - 1], z = d[k], h = e[k - 1], g = k > 1 ? select(first == row_number<N>(k - 1), zero, e[k - 2]) : zero;
            bad |= active & (is_zero(y) | is_zero(top));
            active &= ~bad;
            R f = ((y - z) * (y + z) + (g - h) * (g + h)) / select(active, (h + h) * y, one), root = sqrt(f * f + one);
            f = ((top - z) * (top + z) + h * (y / select(active, f + select(zero > f, -root, root), one) - h))
                / select(active, top, one);
            R cosine = one, sine = one, x = zero;
            for (ptrdiff_t j = l; j < k; ++j) {
                Mask begins = first == row_number<N>(j), inside = active & (begins | (row_number<N>(j) > first));
                x = select(begins, d[j], x);
                g = cosine * e[j];
                h = sine * e[j];
                R square = f * f + h * h;
                bad |= inside & ~(square > safe);
                z = sqrt(square);
                R inverse = reciprocal(z);
                if (j > l) e[j - 1] = select(inside & ~begins, z, e[j - 1]);
                cosine = f * inverse;
                sine = h * inverse;
                c[j - l] = select(inside, cosine, one);
                s[j - l] = select(inside, sine, zero);
                R p = x * cosine + g * sine;
                g = g * cosine - x * sine;
                h = d[j + 1] * sine;
                y = d[j + 1] * cosine;
                square = p * p + h * h;
                bad |= inside & ~(square > safe);
                z = sqrt(square);
                inverse = reciprocal(z);
                d[j] = select(inside, z, d[j]);
                cosine = select(inside, p * inverse, one);
                sine = select(inside, h * inverse, zero);
                c[n + j - l] = cosine;
                s[n + j - l] = sine;
                sine = select(inside, sine, one);
                f = select(inside, cosine * g + sine * y, f);
                x = cosine * y - sine * g;
            }
            e[k - 1] = select(active, f, e[k - 1]);
            d[k] = select(active, x, d[k]);
            if (vectors) {
                turn(n, k - l, c, s, View<N>{v.p + l, v.rows, 1});
                turn(m, k - l, c + n, s + n, View<N>{u.p + l, u.rows, 1});
            }
        }
}

// Reduces A (m, n), m >= n, to B = U^H A V with d on and e above its diagonal. The reflections stay in A, those of U below
// the diagonal with tau, those of V to the right with tau + n.
template <class N>
inline void bidiagonalise(ptrdiff_t m, ptrdiff_t n, View<N> a, typename N::real_type *d, typename N::real_type *e, N *tau) {
    for (ptrdiff_t k = 0; k < n; ++k) {
        d[k] = make_reflection(m, k, k, a, tau[k]).beta;
        reflect(k, m, k + 1, n, conj(tau[k]), a, a);
        if (k == n - 1) break;
        auto right = below_first(a.adjoint());
        e[k] = make_reflection(n - 1, k, k, right, tau[n + k]).beta;
        reflect(k, n - 1, k + 1, m, conj(tau[n + k]), right, right);
    }
}

// x = [a, U, S, Vh], option = full_matrices; U and V^H are not wanted where NULL
template <class N> uint64_t svd(void **x, const ptrdiff_t *n_, const int *option, void *work) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    ptrdiff_t columns = n_[1], n = n_[2], m = n_[0] > columns ? n_[0] : columns;
    bool tall = columns == n, vectors = x[1] || x[3];
    if (option[0] && m != n) return ~uint64_t(0);
    View<N> a = dense<N>(x[0], columns), t = dense<N>(work, n), u = dense<N>(t.p + m * n, n), v = dense<N>(u.p + m * n, n);
    N *tau = v.p + n * n;
    R *d = reinterpret_cast<R *>(tau + 2 * n), *e = d + n, *c = e + n, *s = c + 2 * n, *w = static_cast<R *>(x[2]);
    typename N::Mask bad{};
    for (ptrdiff_t i = 0; i < m; ++i)
        for (ptrdiff_t j = 0; j < n; ++j) t.set(i, j, tall ? a(i, j) : conj(a(j, i)));
    R order = scale_to_one(m, n, t, bad);
    bidiagonalise(m, n, t, d, e, tau);
    if (vectors) {
        identity(m, n, u);
        identity(n, n, v);
        for (ptrdiff_t k = n - 1; k >= 0; --k) {
            reflect(k, m, k, n, tau[k], t, u);
            if (k < n - 1) reflect(k, n - 1, k, n - 1, tau[n + k], below_first(t.adjoint()), View<N>{v.p + n + 1, n, 1});
        }
    }
    implicit_qr(m, n, d, e, c, s, vectors, u, v, bad);
    for (ptrdiff_t j = 0; j < n; ++j) d[j] = d[j] * order;
    for (ptrdiff_t j = 0; j < n; ++j) {                     // descending
        R sign = select(R(T(0)) > d[j], R(T(-1)), R(T(1)));
        Row<N> place = rank(n, j, d, [](R x, R y) { return abs(x) > abs(y); });
        put_column<R>(1, place, [&](ptrdiff_t) { return abs(d[j]); }, [&](ptrdiff_t, ptrdiff_t p) -> R & { return w[p]; });
        if (!vectors) continue;
        View<N> left = tall ? u : v, right = tall ? v : u;
        N back = turn_back(n_[0], j, left);
        if (x[1])
            put_column<N>(n_[0], place, [&](ptrdiff_t i) { return left(i, j) * back; },
                          [&](ptrdiff_t i, ptrdiff_t p) -> N & { return static_cast<N *>(x[1])[i * n + p]; });
        back = back * sign;
        if (x[3])
            put_column<N>(columns, place, [&](ptrdiff_t i) { return conj(right(i, j) * back); },
                          [&](ptrdiff_t i, ptrdiff_t p) -> N & { return static_cast<N *>(x[3])[p * columns + i]; });
    }
    return to_bits(bad);
}

}  // namespace LANES
