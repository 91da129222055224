// Eigenvalues and eigenvectors of Hermitian matrices: reflections to a real tridiagonal matrix, and the implicit QL
// algorithm, in which each lane deflates, shifts and converges by itself. A lane that has converged is turned by the
// identity until the others have.
//
// B. N. Parlett, The Symmetric Eigenvalue Problem (1998), sections 7.4 and 8.9 to 8.13; A. Dubrulle, R. S. Martin and
// J. H. Wilkinson, The implicit QL algorithm, Numerische Mathematik 12 (1968) 377-383.
#pragma once
#include "matmul.hpp"
#include "reflection.hpp"
#include "rotation.hpp"

namespace LANES {

// The eigenvalues of the tridiagonal matrix with d on and e, and a zero, beside its diagonal, in d; Q's columns
// are turned to its eigenvectors if `vectors`. c, s: n each. Adds the lanes that are left.
template <class N>
inline void implicit_ql(ptrdiff_t n, typename N::real_type *d, typename N::real_type *e, typename N::real_type *c,
                        typename N::real_type *s, bool vectors, View<N> q, typename N::Mask &bad) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    using Mask = typename N::Mask;
    const R zero(T(0)), one(T(1)), eps(limits<T>::eps);
    const R safe(SAFE_SQUARE<T>), tiny(NEGLIGIBLE<T>);
    for (ptrdiff_t l = 0; l + 1 < n; ++l)
        for (int step = 0;; ++step) {
            Row<N> m = row_number<N>(n - 1);                // where the block that begins at l ends
            for (ptrdiff_t i = n - 2; i >= l; --i)
                m = abs(e[i]) <= eps * (abs(d[i]) + abs(d[i + 1])) + tiny ? row_number<N>(i) : m;
            Mask active = ~bad & (m != row_number<N>(l));
            if (!any(active)) break;
            if (step == MOST_STEPS) {
                bad |= active;
                break;
            }
            R g = (d[l + 1] - d[l]) / select(active, e[l] + e[l], one), root = sqrt(g * g + one);
            R shift = d[l] - e[l] / select(active, g + select(zero > g, -root, root), one);
            R sine = one, cosine = one, p = zero;
            ptrdiff_t last = n - 2;
            while (!any(active & (m > row_number<N>(last)))) --last;
            for (ptrdiff_t i = last; i >= l; --i) {
                Mask inside = active & (m > row_number<N>(i)), begins = m == row_number<N>(i + 1);
                g = select(begins, d[i + 1] - shift, g);
                R f = sine * e[i], b = cosine * e[i], square = f * f + g * g;
                bad |= inside & ~(square > safe);
                R r = sqrt(square), inverse = reciprocal(r);
                e[i + 1] = select(inside, select(begins, zero, r), e[i + 1]);
                sine = select(inside, f * inverse, one);
                cosine = select(inside, g * inverse, one);
                R before = d[i + 1] - p;
                r = (d[i] - before) * sine + (b + b) * cosine;
                p = select(inside, r * sine, zero);
                d[i + 1] = select(inside, before + p, d[i + 1]);
                g = cosine * r - b;
                c[last - i] = cosine;
                s[last - i] = select(inside, sine, zero);
            }
            d[l] = select(active, d[l] - p, d[l]);
            e[l] = select(active, g, e[l]);
            if (vectors) turn(n, last + 1 - l, c, s, View<N>{q.p + last + 1, q.rows, -1});
        }
}

// Reduces a Hermitian matrix, of which the lower triangle is read, to T = Q^H A Q with d on and e beside its diagonal; the
// reflections stay below A's diagonal, with tau.
template <class N>
inline void tridiagonalise(ptrdiff_t n, View<N> a, typename N::real_type *d, typename N::real_type *e, N *tau, N *w) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    for (ptrdiff_t k = 0; k < n; ++k) {
        d[k] = real(a(k, k));
        if (k == n - 1) {
            e[k] = R(T(0));
            break;
        }
        e[k] = make_reflection(n, k + 1, k, a, tau[k]).beta;
        a.set(k + 1, k, N(T(1)));
        for (ptrdiff_t i = k + 1; i < n; ++i) w[i] = N(T(0));
        for (ptrdiff_t i = k + 1; i < n; ++i) {             // tau A v
            N v = a(i, k), sum = v * real(a(i, i));
            for (ptrdiff_t j = k + 1; j < i; ++j) {
                sum += a(i, j) * a(j, k);
                w[j] += conj(a(i, j)) * v;
            }
            w[i] += sum;
        }
        N dot(T(0));
        for (ptrdiff_t i = k + 1; i < n; ++i) {
            w[i] = w[i] * tau[k];
            dot += conj(w[i]) * a(i, k);
        }
        dot = tau[k] * dot * R(T(0.5));
        for (ptrdiff_t i = k + 1; i < n; ++i) w[i] -= dot * a(i, k);
        for (ptrdiff_t i = k + 1; i < n; ++i) {
            N v = a(i, k);
            for (ptrdiff_t j = k + 1; j <= i; ++j) a.set(i, j, a(i, j) - v * conj(w[j]) - w[i] * conj(a(j, k)));
        }
    }
}

// x = [a, w, v], option = uplo; V is not wanted where NULL
template <class N> uint64_t eigh(void **x, const ptrdiff_t *n_, const int *option, void *work) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    ptrdiff_t n = n_[0];
    View<N> a = dense<N>(x[0], n), t = dense<N>(work, n), q = dense<N>(t.p + n * n, n);
    N *tau = q.p + n * n, *rest = tau + n;
    R *d = reinterpret_cast<R *>(rest + n), *e = d + n, *c = e + n, *s = c + n, *w = static_cast<R *>(x[1]);
    typename N::Mask bad{};
    for (ptrdiff_t i = 0; i < n; ++i) {
        for (ptrdiff_t j = 0; j < n; ++j) t.set(i, j, j > i ? N(T(0)) : option[0] ? conj(a(j, i)) : a(i, j));
        bad |= ~is_zero(t(i, i) * R(T(0)));                 // of the diagonal all is to be finite, and the real part counts
        t.set(i, i, N(real(t(i, i))));
    }
    R order = scale_to_one(n, n, t, bad);
    tridiagonalise(n, t, d, e, tau, rest);
    if (x[2]) {
        identity(n, n, q);
        for (ptrdiff_t k = n - 2; k >= 0; --k)
            reflect(k, n - 1, k, n - 1, tau[k], View<N>{t.p + n, n, 1}, View<N>{q.p + n + 1, n, 1});
    }
    implicit_ql(n, d, e, c, s, x[2] != nullptr, q, bad);
    for (ptrdiff_t j = 0; j < n; ++j) {                     // ascending
        Row<N> place = rank(n, j, d, [](R x, R y) { return y > x; });
        put_column<R>(1, place, [&](ptrdiff_t) { return d[j] * order; }, [&](ptrdiff_t, ptrdiff_t p) -> R & { return w[p]; });
        if (!x[2]) continue;
        N back = turn_back(n, j, q);
        put_column<N>(n, place, [&](ptrdiff_t i) { return q(i, j) * back; },
                      [&](ptrdiff_t i, ptrdiff_t p) -> N & { return static_cast<N *>(x[2])[i * n + p]; });
    }
    return to_bits(bad);
}

}  // namespace LANES
