// Pieces of the algorithms: views of a matrix of lanes, sizes known at compile time, products, triangular systems.
#pragma once
#include "number.hpp"

namespace LANES {

// An entry (i, j) is p[i rows + j columns], conjugate if C.
template <class N, bool C = false> struct View {
    using number = N;
    N *p;
    ptrdiff_t rows, columns;

    N operator()(ptrdiff_t i, ptrdiff_t j) const {
        if constexpr (C) return conj(p[i * rows + j * columns]);
        else return p[i * rows + j * columns];
    }
    void set(ptrdiff_t i, ptrdiff_t j, N x) const {
        if constexpr (C) x = conj(x);
        p[i * rows + j * columns] = x;
    }
    View<N, N::parts == 2 && !C> adjoint() const { return {p, columns, rows}; }
    // the rows and columns of an (n, n) matrix in reverse; of an (n, k) one, the rows
    View backward(ptrdiff_t n) const { return {p + (n - 1) * (rows + columns), -rows, -columns}; }
    View upside_down(ptrdiff_t n) const { return {p + (n - 1) * rows, -rows, columns}; }
};

template <class V> inline V below_first(V a) { return {a.p + a.rows, a.rows, a.columns}; }

template <class N> inline View<N> dense(void *p, ptrdiff_t columns) { return {static_cast<N *>(p), columns, 1}; }

// A size that the compiler knows: loops over it are unrolled. Complex numbers would gain less.
template <int K> struct Fixed {
    constexpr operator ptrdiff_t() const { return K; }
};

template <class Size> constexpr bool is_fixed = !std::is_same_v<Size, ptrdiff_t>;

// A function for each size, with all that it calls: in one that held them all the compiler would stop inlining.
template <class F, class Size> [[gnu::noinline, gnu::flatten]] uint64_t apart(F f, Size n) { return f(n); }

template <class N, class F> inline uint64_t sized(ptrdiff_t n, F f) {
    if constexpr (N::parts == 1) switch (n) {
        case 2: return apart(f, Fixed<2>{});
        case 3: return apart(f, Fixed<3>{});
        case 4: return apart(f, Fixed<4>{});
        case 8: return apart(f, Fixed<8>{});
    }
    return f(n);
}

// The same for a system of n[0] rows with as many columns, or one.
template <class N, class F> inline uint64_t sized_system(const ptrdiff_t *n, F f) {
    if (n[1] == n[0]) return sized<N>(n[0], [&](auto size) { return f(size, size); });
    if (n[1] == 1) return sized<N>(n[0], [&](auto size) { return f(size, Fixed<1>{}); });
    return f(n[0], n[1]);
}

// Three sizes that are the same more often than not.
template <class N, class F> inline uint64_t sized_shape(ptrdiff_t a, ptrdiff_t b, ptrdiff_t c, F f) {
    if (a != b || a != c) return f(a, b, c);
    return sized<N>(a, [&](auto size) { return f(size, size, size); });
}

// What op(A) is of A; `trans` N, T and C are PLAIN, TRANSPOSED and both.
enum { PLAIN, TRANSPOSED, CONJUGATED, ADJOINT };
inline int op_of(int trans) { return trans == 2 ? ADJOINT : trans; }

// Calls f with the view of op(A).
template <class N, class Size, class F> inline uint64_t with_op(int op, void *a, Size n, F f) {
    N *p = static_cast<N *>(a);
    if constexpr (is_fixed<Size>) return op & TRANSPOSED ? f(View<N>{p, 1, n}) : f(View<N>{p, n, 1});
    View<N> view{p, op & TRANSPOSED ? 1 : ptrdiff_t(n), op & TRANSPOSED ? ptrdiff_t(n) : 1};
    if constexpr (N::parts == 2)
        if (op & CONJUGATED) return f(View<N, true>{view.p, view.rows, view.columns});
    return f(view);
}

// A tile of a matrix that stays in registers: of AVX-512 there are 32, of the others 16.
template <class N> struct Tile {
    static constexpr int rows = N::parts == 1 || BYTES == 64 ? 4 : 2, columns = N::parts == 1 && BYTES == 64 ? 4 : 2;
};

// A loop over a tile: where one is left as a loop, the compiler leaves the tile in memory.
#define UNROLLED _Pragma("GCC unroll 8") for

// A tile's share of a size: all of a smaller one that the compiler knows.
template <int K, class Size> constexpr int most_of = K;
template <int K, int M> constexpr int most_of<K, Fixed<M>> = M < K ? M : K;

// Calls f(first, Fixed<length>) for the tiles of 0 <= i < n: of K, then of 1.
template <int K, class Size, class F> inline void tiles(Size n, F f) {
    constexpr int step = most_of<K, Size>;
    ptrdiff_t i = 0;
    for (; i + step <= n; i += step) f(i, Fixed<step>{});
    if constexpr (step > 1)
        for (; i < n; ++i) f(i, Fixed<1>{});
}

// The same, last first.
template <int K, class Size, class F> inline void tiles_backward(Size n, F f) {
    constexpr int step = most_of<K, Size>;
    ptrdiff_t i = n;
    if constexpr (step > 1)
        for (; i % step; --i) f(i - 1, Fixed<1>{});
    for (; i > 0; i -= step) f(i - step, Fixed<step>{});
}

// sum[r][s] += or -= a(i + r, k) b(k, j + s) over first <= k < last
template <bool MINUS, int R, int S, class N, class A, class B>
inline void accumulate(N (&sum)[R][S], ptrdiff_t i, ptrdiff_t j, ptrdiff_t first, ptrdiff_t last, A a, B b) {
    for (ptrdiff_t k = first; k < last; ++k) {
        N right[S];
        UNROLLED (int s = 0; s < S; ++s) right[s] = b(k, j + s);
        UNROLLED (int r = 0; r < R; ++r) {
            N left = a(i + r, k);
            UNROLLED (int s = 0; s < S; ++s)
                if (MINUS) sum[r][s] -= left * right[s];
                else sum[r][s] += left * right[s];
        }
    }
}

// set(i, j, sum of a(i, k) b(k, j) over k) for i < m, j < n; LOWER: at least for j <= i; UPPER_A: a(i, k) = 0 for k < i
template <bool LOWER = false, bool UPPER_A = false, class A, class B, class Set, class M, class J, class K>
inline void product(M m, J n, K depth, A a, B b, Set set) {
    using N = decltype(a(0, 0));
    tiles<Tile<N>::rows>(m, [&](ptrdiff_t i, auto rows) {
        tiles<Tile<N>::columns>(n, [&](ptrdiff_t j, auto columns) {
            constexpr int R = decltype(rows)(), S = decltype(columns)();
            if (LOWER && j >= i + R) return;
            N sum[R][S];
            UNROLLED (int r = 0; r < R; ++r)
                UNROLLED (int s = 0; s < S; ++s) sum[r][s] = N(typename N::scalar(0));
            accumulate<false>(sum, i, j, UPPER_A ? i : 0, depth, a, b);
            UNROLLED (int r = 0; r < R; ++r)
                UNROLLED (int s = 0; s < S; ++s) set(i + r, j + s, sum[r][s]);
        });
    });
}

// X := L^-1 X for X of k columns; unit: ones on the diagonal. An upper triangle is a lower one backwards. IDENTITY: X is the
// identity, of which the lower triangle alone changes.
template <bool IDENTITY = false, class T, class Size, class K, class X> inline void substitute(Size n, K k, T l, bool unit, X x) {
    using N = typename X::number;
    tiles<Tile<N>::rows>(n, [&](ptrdiff_t i, auto rows) {
        constexpr int R = decltype(rows)();
        N inverse[R];
        UNROLLED (int r = 0; r < R; ++r) inverse[r] = unit ? N(typename N::scalar(1)) : reciprocal(l(i + r, i + r));
        tiles<Tile<N>::columns>(k, [&](ptrdiff_t j, auto columns) {
            constexpr int S = decltype(columns)();
            if (IDENTITY && j >= i + R) return;
            N sum[R][S];
            UNROLLED (int r = 0; r < R; ++r)
                UNROLLED (int s = 0; s < S; ++s) sum[r][s] = x(i + r, j + s);
            accumulate<true>(sum, i, j, IDENTITY ? j : 0, i, l, x);
            UNROLLED (int r = 0; r < R; ++r) {
                UNROLLED (int q = 0; q < r; ++q) {
                    N left = l(i + r, i + q);
                    UNROLLED (int s = 0; s < S; ++s) sum[r][s] -= left * sum[q][s];
                }
                UNROLLED (int s = 0; s < S; ++s) {
                    sum[r][s] = sum[r][s] * inverse[r];
                    x.set(i + r, j + s, sum[r][s]);
                }
            }
        });
    });
}

// The lanes with a zero on the diagonal.
template <class T, class Size> inline uint64_t zeros_on_diagonal(Size n, T t) {
    typename T::number::Mask found{};
    for (ptrdiff_t i = 0; i < n; ++i) found |= is_zero(t(i, i));
    return to_bits(found);
}

// For `product`: out = the product, and out -= the product
template <class N> inline auto assign_to(View<N> out) {
    return [out](ptrdiff_t i, ptrdiff_t j, N sum) { out.set(i, j, sum); };
}

template <class N> inline auto subtract_from(View<N> out) {
    return [out](ptrdiff_t i, ptrdiff_t j, N sum) { out.set(i, j, out(i, j) - sum); };
}

// Re <X, Y>
template <class N> inline typename N::real_type overlap(ptrdiff_t size, const N *x, const N *y) {
    typename N::real_type total(typename N::scalar(0));
    for (ptrdiff_t i = 0; i < size; ++i) total += real(conj(x[i]) * y[i]);
    return total;
}

template <class N> inline void copy(ptrdiff_t size, const void *a, void *out) {
    for (ptrdiff_t i = 0; i < size; ++i) static_cast<N *>(out)[i] = static_cast<const N *>(a)[i];
}

template <class N> inline void fill(ptrdiff_t size, typename N::scalar value, void *out) {
    for (ptrdiff_t i = 0; i < size; ++i) static_cast<N *>(out)[i] = N(value);
}

template <class N> inline void identity(ptrdiff_t m, ptrdiff_t n, View<N> x) {
    for (ptrdiff_t i = 0; i < m; ++i)
        for (ptrdiff_t j = 0; j < n; ++j) x.set(i, j, N(typename N::scalar(i == j)));
}

// The lower triangle of a Hermitian matrix, which dense.pxd's `hermitian_lower` makes of A by its triangle.
template <class N, class Size, class Out> inline void hermitian_lower(int triangle, Size n, View<N> a, Out out) {
    using R = typename N::real_type;
    for (ptrdiff_t i = 0; i < n; ++i) {
        for (ptrdiff_t j = 0; j < i; ++j)
            out.set(i, j, triangle == 0 ? (a(i, j) + conj(a(j, i))) * R(typename N::scalar(0.5))
                          : triangle == 1 ? a(i, j) : conj(a(j, i)));
        out.set(i, i, N(real(a(i, i))));
    }
}

// A gradient of the Hermitian matrix in G's lower triangle: dense.pxd's `finish_hermitian`.
template <class N, class Size> inline void finish_hermitian(int triangle, Size n, View<N> g) {
    for (ptrdiff_t i = 0; i < n; ++i) {
        for (ptrdiff_t j = 0; j < i; ++j) {
            N x = g(i, j);
            if (triangle) x += x;
            g.set(i, j, triangle == 2 ? N(typename N::scalar(0)) : x);
            g.set(j, i, triangle == 1 ? N(typename N::scalar(0)) : conj(x));
        }
        g.set(i, i, N(real(g(i, i))));
    }
}

}  // namespace LANES
