// Vectors of W numbers in registers, moved around; matrices by way of them.
#pragma once
#include "number.hpp"

namespace LANES {

// Exchanges the upper right with the lower left quarter of each (2 H, 2 H) block.
template <int H, class V, int... I> inline void exchange(V *r, std::integer_sequence<int, I...>) {
    constexpr int W = sizeof...(I);
    for (int i = 0; i < W; ++i)
        if (!(i & H)) {
            V a = r[i], b = r[i + H];
            r[i] = pick<V, (I & H ? W + I - H : I)...>(a, b);
            r[i + H] = pick<V, (I & H ? W + I : I + H)...>(a, b);
        }
}

template <int W, int H = W / 2, class V> inline void transpose(V *r) {
    exchange<H>(r, std::make_integer_sequence<int, W>{});
    if constexpr (H > 1) transpose<W, H / 2>(r);
}

// out[t step][w] = r[w T + t] and back, of T vectors in a row.
template <int T, class V, int... I> inline void deal(const V *r, V *out, int step, std::integer_sequence<int, I...> lanes) {
    if constexpr (T == 1) out[0] = r[0];
    else {
        V even[T / 2], odd[T / 2];
        for (int q = 0; q < T / 2; ++q) {
            even[q] = pick<V, 2 * I...>(r[2 * q], r[2 * q + 1]);
            odd[q] = pick<V, (2 * I + 1)...>(r[2 * q], r[2 * q + 1]);
        }
        deal<T / 2>(even, out, 2 * step, lanes);
        deal<T / 2>(odd, out + step, 2 * step, lanes);
    }
}

template <int T, class V, int... I> inline void gather(const V *in, int step, V *r, std::integer_sequence<int, I...> lanes) {
    constexpr int W = sizeof...(I);
    if constexpr (T == 1) r[0] = in[0];
    else {
        V even[T / 2], odd[T / 2];
        gather<T / 2>(in, 2 * step, even, lanes);
        gather<T / 2>(in + step, 2 * step, odd, lanes);
        for (int q = 0; q < T / 2; ++q) {
            r[2 * q] = pick<V, (I % 2 * W + I / 2)...>(even[q], odd[q]);
            r[2 * q + 1] = pick<V, (I % 2 * W + I / 2 + W / 2)...>(even[q], odd[q]);
        }
    }
}

template <class V> inline V load(const void *p) {
    V v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

// out := A^T for A of shape (m, n), of items that are moved as numbers of type T, in tiles; the last of a row overlaps.
template <class T> inline void transpose_matrix(ptrdiff_t m, ptrdiff_t n, const T *a, ptrdiff_t lda, T *out, ptrdiff_t ldout) {
    constexpr int W = BYTES / sizeof(T);
    using V = typename vector_of<T, W>::type;
    if (m < W || n < W) {
        for (ptrdiff_t i = 0; i < m; ++i)
            for (ptrdiff_t j = 0; j < n; ++j) __builtin_memcpy(out + j * ldout + i, a + i * lda + j, sizeof(T));
        return;
    }
    for (ptrdiff_t i = 0; i < m; i += W)
        for (ptrdiff_t j = 0; j < n; j += W) {
            ptrdiff_t first = i + W <= m ? i : m - W, left = j + W <= n ? j : n - W;
            V r[W];
            for (int w = 0; w < W; ++w) r[w] = load<V>(a + (first + w) * lda + left);
            transpose<W>(r);
            for (int w = 0; w < W; ++w) __builtin_memcpy(out + (left + w) * ldout + first, &r[w], sizeof(V));
        }
}

}  // namespace LANES
