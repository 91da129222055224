// Householder's reflections, as LAPACK has them (larfg, larf).
#pragma once
#include "matrix.hpp"

namespace LANES {

template <class N> struct Reflected {
    typename N::real_type beta, square;     // what is left of the vector, and its squared length
    typename N::Mask none;                  // nothing to reflect but what is too small to be squared, and is dropped
};

// H = I - tau v v^H with H^H x = (beta, 0) for rows first ... m - 1 of column j; v = (1, below) takes x's place but for its 1.
template <class N, bool C>
inline Reflected<N> make_reflection(ptrdiff_t m, ptrdiff_t first, ptrdiff_t j, View<N, C> x, N &tau) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    N alpha = x(first, j);
    R below = abs2(alpha - N(real(alpha)));
    for (ptrdiff_t i = first + 1; i < m; ++i) below += abs2(x(i, j));
    R square = real(alpha) * real(alpha) + below, beta = sqrt(square);
    auto none = below <= R(SAFE_SQUARE<T>);
    beta = select(none, real(alpha), select(real(alpha) > R(T(0)), -beta, beta));
    N scale = select(none, N(T(0)), reciprocal(alpha - N(beta)));
    tau = select(none, N(T(0)), (N(beta) - alpha) * reciprocal(beta));
    for (ptrdiff_t i = first + 1; i < m; ++i) x.set(i, j, x(i, j) * scale);
    return {beta, square, none};
}

// Subtracts scale v (v^H X) for v = (1, below) from rows j ... m - 1 of columns first ... last - 1 of X.
template <class N, class V, class X>
inline void reflect(ptrdiff_t j, ptrdiff_t m, ptrdiff_t first, ptrdiff_t last, N scale, V v, X x) {
    for (ptrdiff_t c = first; c < last; ++c) {
        N dot = x(j, c);
        for (ptrdiff_t i = j + 1; i < m; ++i) dot += conj(v(i, j)) * x(i, c);
        dot = dot * scale;
        x.set(j, c, x(j, c) - dot);
        for (ptrdiff_t i = j + 1; i < m; ++i) x.set(i, c, x(i, c) - v(i, j) * dot);
    }
}

}  // namespace LANES
