// What the algorithms for eigenvalues and singular values share: scaling, rotations, order, phases. Lanes that fail are left.
#pragma once
#include "matrix.hpp"

namespace LANES {

constexpr int MOST_STEPS = 40;  // for one eigenvalue or singular value

// What is above can be squared. Beside a matrix of order 1 what is not is nothing.
template <class T> constexpr T NEGLIGIBLE = sizeof(T) == 4 ? T(0x1p-51) : T(0x1p-485);

// Divides a matrix by a power of two of the order of its largest entry, which is returned. Lanes whose order is out of
// range, or that are not finite, get the identity.
template <class N> inline typename N::real_type scale_to_one(ptrdiff_t m, ptrdiff_t n, View<N> a, typename N::Mask &bad) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    R largest(T(0));
    N sum(T(0));
    for (ptrdiff_t i = 0; i < m; ++i)
        for (ptrdiff_t j = 0; j < n; ++j) {
            largest = larger(abs1(a(i, j)), largest);
            sum += a(i, j) * R(T(0));                       // NaN if an entry is not finite
        }
    typename N::Mask zero = largest == R(T(0));
    bad |= ~is_zero(sum) | ~(zero | ((largest > R(limits<T>::smallest)) & (largest <= R(limits<T>::largest / 4))));
    R order = select(zero | bad, R(T(1)), power_of_two(largest)), inverse = reciprocal(order);
    for (ptrdiff_t i = 0; i < m; ++i)
        for (ptrdiff_t j = 0; j < n; ++j) a.set(i, j, select(bad, N(T(i == j)), a(i, j) * inverse));
    return order;
}

// Multiplies Q of n rows by a chase of rotations, the first of columns 0 and 1, the last of columns count - 1 and count.
template <class N>
inline void turn(ptrdiff_t n, ptrdiff_t count, const typename N::real_type *c, const typename N::real_type *s, View<N> q) {
    tiles<Tile<N>::rows>(n, [&](ptrdiff_t k, auto rows) {
        constexpr int R = decltype(rows)();
        N carried[R];
        for (int r = 0; r < R; ++r) carried[r] = q(k + r, 0);
        for (ptrdiff_t j = 0; j < count; ++j)
            for (int r = 0; r < R; ++r) {
                N next = q(k + r, j + 1);
                q.set(k + r, j, carried[r] * c[j] + next * s[j]);
                carried[r] = next * c[j] - carried[r] * s[j];
            }
        for (int r = 0; r < R; ++r) q.set(k + r, count, carried[r]);
    });
}

// The place of d[j] among d: how many come before it.
template <class R, class Before> inline Row<R> rank(ptrdiff_t n, ptrdiff_t j, const R *d, Before before) {
    Row<R> place{};
    for (ptrdiff_t i = 0; i < n; ++i) place -= i < j ? ~before(d[j], d[i]) : before(d[i], d[j]);
    return place;
}

// conj(z) / |z| of column j, with z as `phases` in dense.pxd has it.
template <class N> inline N turn_back(ptrdiff_t m, ptrdiff_t j, View<N> q) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    R largest(T(0));
    for (ptrdiff_t i = 0; i < m; ++i) largest = larger(abs2(q(i, j)), largest);
    N z(T(1));
    for (ptrdiff_t i = m - 1; i >= 0; --i) z = select(abs2(q(i, j)) > R(T(0.2913)) * largest, q(i, j), z);
    if constexpr (N::parts == 1) return select(R(T(0)) > z, R(T(-1)), R(T(1)));
    else return conj(z) * reciprocal(sqrt(abs2(z)));
}

// out(i, place) = column(i) for i < n. A rotation by nothing may change the sign of a zero; here all lose it.
template <class N, class Column, class Out> inline void put_column(ptrdiff_t n, Row<N> place, Column column, Out out) {
    for (ptrdiff_t i = 0; i < n; ++i) {
        N value = column(i) + N(typename N::scalar(0));
        for (int lane = 0; lane < N::width; ++lane) set_lane(out(i, place[lane]), value, lane);
    }
}

}  // namespace LANES
