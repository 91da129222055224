// From matrices to lanes and back. Numbers are moved as they are; only unpacking looks whether they are finite.
#pragma once
#include "lanes.hpp"
#include "matrix.hpp"
#include "shuffle.hpp"

namespace LANES {

// Of matrices that lie beside each other those of the next blocks are fetched meanwhile: the CPU does not see W streams,
// some in one page, coming. Beyond the last one that does nothing.
template <int WRITE> inline void prefetch(const char *place, ptrdiff_t block) {
    constexpr ptrdiff_t LEAST = 4096;
    __builtin_prefetch(reinterpret_cast<const void *>(reinterpret_cast<uintptr_t>(place) + (block > LEAST ? block : LEAST)),
                       WRITE, 2);
}

inline bool contiguous(const matkern::LaneOperand &o) {
    ptrdiff_t item = o.parts * o.size;
    return (o.columns == 1 || o.column == item) && (o.rows == 1 || o.row == o.columns * item);
}

// Calls f(place of a matrix, whether all lie beside each other).
template <class F> inline auto with_places(const matkern::LaneOperand &o, char *first, char *const *each, F f) {
    if (each) return f([=](int i) { return each[i]; }, false);
    return f([=, spacing = o.spacing](int i) { return first + i * spacing; },
             o.spacing == o.rows * o.columns * o.parts * o.size);
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

template <class T, int W, class Place>
inline void pack_lanes(const matkern::LaneOperand &o, Place place, bool adjacent, void *out_) {
    using V = typename vector_of<T, W>::type;
    T *out = static_cast<T *>(out_);
    ptrdiff_t size = o.rows * o.columns * o.parts;
    if (!contiguous(o)) {
        for (ptrdiff_t i = 0; i < o.rows; ++i)
            for (ptrdiff_t j = 0; j < o.columns; ++j)
                for (int part = 0; part < o.parts; ++part, out += W) {
                    ptrdiff_t offset = i * o.row + j * o.column + part * ptrdiff_t(sizeof(T));
                    for (int w = 0; w < W; ++w) out[w] = *reinterpret_cast<const T *>(place(w) + offset);
                }
        return;
    }
    if (size < W) {
        if (adjacent && of_fixed_size<W>(size, [&](auto known) {
                constexpr int K = decltype(known)();
                V r[K];
                for (int i = 0; i < K; ++i) r[i] = load<V>(place(0) + i * sizeof(V));
                deal<K>(r, static_cast<V *>(out_), 1, std::make_integer_sequence<int, W>{});
            }))
            return;
        for (ptrdiff_t e = 0; e < size; ++e, out += W)
            for (int w = 0; w < W; ++w) out[w] = reinterpret_cast<const T *>(place(w))[e];
        return;
    }
    for (ptrdiff_t e = 0; e < size; e += W) {               // the last tile overlaps the one before
        V r[W];
        ptrdiff_t first = e + W <= size ? e : size - W;
        for (int w = 0; w < W; ++w) {
            r[w] = load<V>(place(w) + first * sizeof(T));
            if (adjacent) prefetch<0>(place(w) + first * sizeof(T), W * size * sizeof(T));
        }
        transpose<W>(r);
        for (int w = 0; w < W; ++w) static_cast<V *>(out_)[first + w] = r[w];
    }
}

template <class T, int W, class Place>
inline uint64_t unpack_lanes(const matkern::LaneOperand &o, int count, Place place, bool adjacent, const void *in_) {
    using V = typename vector_of<T, W>::type;
    const V *x = static_cast<const V *>(in_);
    ptrdiff_t size = o.rows * o.columns * o.parts, e = 0;
    uint64_t found = 0;
    if (!o.integers) {
        V zero[4] = {};                                     // 0 x is 0, or NaN
        for (; e + 4 <= size; e += 4)
            for (int i = 0; i < 4; ++i) zero[i] += x[e + i] * T(0);
        for (; e < size; ++e) zero[0] += x[e] * T(0);
        zero[0] += zero[1] + (zero[2] + zero[3]);
        found = to_bits(zero[0] != 0);
    }
    if (contiguous(o)) {
        if (size >= W) {
            for (e = 0; e < size; e += W) {
                V r[W];
                ptrdiff_t first = e + W <= size ? e : size - W;
                for (int w = 0; w < W; ++w) r[w] = x[first + w];
                transpose<W>(r);
                if (count < W) {
                    for (int w = 0; w < count; ++w) __builtin_memcpy(place(w) + first * sizeof(T), &r[w], sizeof(V));
                    continue;
                }
                for (int w = 0; w < W; ++w) {
                    __builtin_memcpy(place(w) + first * sizeof(T), &r[w], sizeof(V));
                    if (adjacent) prefetch<1>(place(w) + first * sizeof(T), W * size * sizeof(T));
                }
            }
            return found;
        }
        if (count == W && adjacent && of_fixed_size<W>(size, [&](auto known) {
                constexpr int K = decltype(known)();
                V r[K];
                gather<K>(x, 1, r, std::make_integer_sequence<int, W>{});
                __builtin_memcpy(place(0), r, sizeof r);
            }))
            return found;
    }
    const T *in = static_cast<const T *>(in_);
    for (ptrdiff_t i = 0; i < o.rows; ++i)
        for (ptrdiff_t j = 0; j < o.columns; ++j)
            for (int part = 0; part < o.parts; ++part, in += W) {
                ptrdiff_t offset = i * o.row + j * o.column + part * ptrdiff_t(sizeof(T));
                for (int w = 0; w < count; ++w) *reinterpret_cast<T *>(place(w) + offset) = in[w];
            }
    return found;
}

// f<T, W>() for the numbers of an operand
template <int B, class F> inline auto with_numbers(int size, int width, F f) {
    if (size == 8) return f(double(), Fixed<B / 8>{});
    if (width == B / 4) return f(float(), Fixed<B / 4>{});
    return f(float(), Fixed<B / 8>{});
}

template <int B> void pack(const matkern::LaneOperand *o, int width, int blocks, char *first, char *const *each) {
    with_numbers<B>(o->size, width, [&](auto number, auto lanes) {
        constexpr int W = decltype(lanes){};
        for (int block = 0; block < blocks; ++block)
            with_places(*o, first + block * W * o->spacing, each ? each + block * W : each, [&](auto place, bool adjacent) {
                pack_lanes<decltype(number), W>(*o, place, adjacent, static_cast<char *>(o->lanes) + block * o->room);
            });
    });
}

template <int B> uint64_t unpack(const matkern::LaneOperand *o, int width, int count, char *first, char *const *each) {
    return with_numbers<B>(o->size, width, [&](auto number, auto lanes) {
        constexpr int W = decltype(lanes){};
        uint64_t found = 0;
        for (int i = 0; i < count; i += W)
            with_places(*o, first + i * o->spacing, each ? each + i : each, [&](auto place, bool adjacent) {
                const void *in = static_cast<char *>(o->lanes) + i / W * o->room;
                found |= unpack_lanes<decltype(number), W>(*o, count - i < W ? count - i : W, place, adjacent, in) << i;
            });
        return found;
    });
}

}  // namespace LANES
