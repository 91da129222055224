// From matrices to lanes and back. Numbers are moved as they are; only unpacking looks whether they are finite.
#pragma once
#include "number.hpp"

namespace LANES {

// ---- W vectors of W numbers in registers

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

// ---- operands

inline bool contiguous(ptrdiff_t item, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t row, ptrdiff_t column) {
    return (columns == 1 || column == item) && (rows == 1 || row == columns * item);
}

template <class Place> inline bool adjacent(int width, ptrdiff_t bytes, Place *places) {
    for (int w = 1; w < width; ++w)
        if (places[w] != places[0] + w * bytes) return false;
    return true;
}

// Calls f with the size, if that is a power of two below W.
template <int W, class F> inline bool of_fixed_size(ptrdiff_t size, F f) {
    if constexpr (W > 1) {
        if (size == W / 2) {
            f(std::integral_constant<int, W / 2>{});
            return true;
        }
        return of_fixed_size<W / 2>(size, f);
    } else return false;
}

template <class T, int W>
void pack_lanes(int parts, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t row, ptrdiff_t column,
                const char *const *places, void *out_) {
    using V = typename vector_of<T, W>::type;
    constexpr auto lanes = std::make_integer_sequence<int, W>{};
    T *out = static_cast<T *>(out_);
    ptrdiff_t size = rows * columns * parts;
    if (!contiguous(parts * sizeof(T), rows, columns, row, column)) {
        for (ptrdiff_t i = 0; i < rows; ++i)
            for (ptrdiff_t j = 0; j < columns; ++j)
                for (int part = 0; part < parts; ++part, out += W) {
                    ptrdiff_t offset = i * row + j * column + part * ptrdiff_t(sizeof(T));
                    for (int w = 0; w < W; ++w) out[w] = *reinterpret_cast<const T *>(places[w] + offset);
                }
        return;
    }
    if (size < W) {
        if (adjacent(W, size * sizeof(T), places) && of_fixed_size<W>(size, [&](auto known) {
                constexpr int K = decltype(known)();
                V r[K];
                for (int i = 0; i < K; ++i) r[i] = load<V>(places[0] + i * sizeof(V));
                deal<K>(r, static_cast<V *>(out_), 1, lanes);
            }))
            return;
        for (ptrdiff_t e = 0; e < size; ++e, out += W)
            for (int w = 0; w < W; ++w) out[w] = reinterpret_cast<const T *>(places[w])[e];
        return;
    }
    for (ptrdiff_t e = 0; e < size; e += W) {               // the last tile overlaps the one before
        V r[W];
        ptrdiff_t first = e + W <= size ? e : size - W;
        for (int w = 0; w < W; ++w) r[w] = load<V>(places[w] + first * sizeof(T));
        transpose<W>(r);
        for (int w = 0; w < W; ++w) static_cast<V *>(out_)[first + w] = r[w];
    }
}

template <class T, int W>
uint64_t unpack_lanes(int parts, bool integers, int count, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t row,
                      ptrdiff_t column, const void *in_, char *const *places) {
    using V = typename vector_of<T, W>::type;
    constexpr auto lanes = std::make_integer_sequence<int, W>{};
    const V *x = static_cast<const V *>(in_);
    ptrdiff_t size = rows * columns * parts, e = 0;
    uint64_t found = 0;
    if (!integers) {
        V zero[4] = {};                                     // 0 x is 0, or NaN
        for (; e + 4 <= size; e += 4)
            for (int i = 0; i < 4; ++i) zero[i] += x[e + i] * T(0);
        for (; e < size; ++e) zero[0] += x[e] * T(0);
        zero[0] += zero[1] + (zero[2] + zero[3]);
        found = to_bits(zero[0] != 0);
    }
    if (count == W && contiguous(parts * sizeof(T), rows, columns, row, column)) {
        if (size >= W) {
            for (e = 0; e < size; e += W) {
                V r[W];
                ptrdiff_t first = e + W <= size ? e : size - W;
                for (int w = 0; w < W; ++w) r[w] = x[first + w];
                transpose<W>(r);
                for (int w = 0; w < W; ++w) __builtin_memcpy(places[w] + first * sizeof(T), &r[w], sizeof(V));
            }
            return found;
        }
        if (adjacent(W, size * sizeof(T), places) && of_fixed_size<W>(size, [&](auto known) {
                constexpr int K = decltype(known)();
                V r[K];
                gather<K>(x, 1, r, lanes);
                __builtin_memcpy(places[0], r, sizeof r);
            }))
            return found;
    }
    const T *in = static_cast<const T *>(in_);
    for (ptrdiff_t i = 0; i < rows; ++i)
        for (ptrdiff_t j = 0; j < columns; ++j)
            for (int part = 0; part < parts; ++part, in += W) {
                ptrdiff_t offset = i * row + j * column + part * ptrdiff_t(sizeof(T));
                for (int w = 0; w < count; ++w) *reinterpret_cast<T *>(places[w] + offset) = in[w];
            }
    return found;
}

template <int B>
void pack(int size, int width, int parts, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t row, ptrdiff_t column,
          const char *const *places, void *out) {
    if (size == 8) pack_lanes<double, B / 8>(parts, rows, columns, row, column, places, out);
    else if (width == B / 4) pack_lanes<float, B / 4>(parts, rows, columns, row, column, places, out);
    else pack_lanes<float, B / 8>(parts, rows, columns, row, column, places, out);
}

template <int B>
uint64_t unpack(int size, int width, int parts, bool integers, int count, ptrdiff_t rows, ptrdiff_t columns,
                ptrdiff_t row, ptrdiff_t column, const void *in, char *const *places) {
    if (size == 8)
        return unpack_lanes<double, B / 8>(parts, integers, count, rows, columns, row, column, in, places);
    if (width == B / 4)
        return unpack_lanes<float, B / 4>(parts, integers, count, rows, columns, row, column, in, places);
    return unpack_lanes<float, B / 8>(parts, integers, count, rows, columns, row, column, in, places);
}

}  // namespace LANES
