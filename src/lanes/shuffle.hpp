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

template <class V> inline V load(const void *p) {
    V v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

// AVX takes half a vector from memory, or leaves it there, without a shuffle, of which the CPU does but one or two at a time:
// the first or last exchange of a transposition. The compilers do not see that by themselves.
#if BYTES == 64
template <class V> inline V load_halves(const char *low, const char *high) {
    return (V)_mm512_insertf64x4(_mm512_castpd256_pd512(load<__m256d>(low)), load<__m256d>(high), 1);
}

template <class V> inline void store_halves(V v, char *low, char *high) {
    __m256d halves[] = {_mm512_castpd512_pd256((__m512d)v), _mm512_extractf64x4_pd((__m512d)v, 1)};
    __builtin_memcpy(low, &halves[0], sizeof halves[0]);
    __builtin_memcpy(high, &halves[1], sizeof halves[1]);
}
#elif BYTES == 32
template <class V> inline V load_halves(const char *low, const char *high) {
    return (V)_mm256_insertf128_pd(_mm256_castpd128_pd256(load<__m128d>(low)), load<__m128d>(high), 1);
}

template <class V> inline void store_halves(V v, char *low, char *high) {
    __m128d halves[] = {_mm256_castpd256_pd128((__m256d)v), _mm256_extractf128_pd((__m256d)v, 1)};
    __builtin_memcpy(low, &halves[0], sizeof halves[0]);
    __builtin_memcpy(high, &halves[1], sizeof halves[1]);
}
#endif

// r := the transpose of the (W, W) matrix whose row w is at row(w)
template <bool HALVES, class V, class F> inline void load_transposed(V *r, F row) {
    constexpr int W = sizeof(V) / sizeof(V{}[0]), H = W / 2;
#if BYTES > 16
    if constexpr (HALVES && sizeof(V) == BYTES) {
        for (int w = 0; w < H; ++w) {
            const char *upper = row(w), *lower = row(w + H);
            r[w] = load_halves<V>(upper, lower);
            r[w + H] = load_halves<V>(upper + BYTES / 2, lower + BYTES / 2);
        }
        return transpose<W, H / 2>(r);
    }
#endif
    for (int w = 0; w < W; ++w) r[w] = load<V>(row(w));
    transpose<W>(r);
}

// Back; r is lost.
template <bool HALVES, class V, class F> inline void store_transposed(V *r, F row) {
    constexpr int W = sizeof(V) / sizeof(V{}[0]), H = W / 2;
#if BYTES > 16
    if constexpr (HALVES && sizeof(V) == BYTES) {
        transpose<W, H / 2>(r);
        for (int w = 0; w < H; ++w) {
            char *upper = row(w), *lower = row(w + H);
            store_halves(r[w], upper, lower);
            store_halves(r[w + H], upper + BYTES / 2, lower + BYTES / 2);
        }
        return;
    }
#endif
    transpose<W>(r);
    for (int w = 0; w < W; ++w) __builtin_memcpy(row(w), &r[w], sizeof(V));
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

struct Unchanged {
    template <class V> V operator()(ptrdiff_t, V numbers) const { return numbers; }
};

// out := A^T for A of shape (m, n), of items that are moved as numbers of type T, in tiles; the last of a row overlaps. What
// goes to a row of it is made finish(row, of this).
template <class T, class F = Unchanged>
inline void transpose_matrix(ptrdiff_t m, ptrdiff_t n, const T *a, ptrdiff_t lda, T *out, ptrdiff_t ldout, F finish = {}) {
    constexpr int W = BYTES / sizeof(T);
    using V = typename vector_of<T, W>::type;
    if (m < W || n < W) {
        for (ptrdiff_t i = 0; i < m; ++i)
            for (ptrdiff_t j = 0; j < n; ++j) {
                T item = finish(j, load<T>(a + i * lda + j));
                __builtin_memcpy(out + j * ldout + i, &item, sizeof(T));
            }
        return;
    }
    for (ptrdiff_t i = 0; i < m; i += W)
        for (ptrdiff_t j = 0; j < n; j += W) {
            ptrdiff_t first = i + W <= m ? i : m - W, left = j + W <= n ? j : n - W;
            const T *from = a + first * lda + left;
            T *to = out + left * ldout + first;
            V r[W];
            load_transposed<true>(r, [=](int w) { return reinterpret_cast<const char *>(from + w * lda); });
#pragma GCC unroll 16                   // else they go through memory
            for (int w = 0; w < W; ++w, to += ldout) {
                V items = finish(left + w, r[w]);
                __builtin_memcpy(to, &items, sizeof(V));
            }
        }
}

}  // namespace LANES
