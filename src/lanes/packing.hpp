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

// Calls f(size, place(i) of matrix i, whether all lie beside each other). If they do, the small sizes that are most frequent
// are Fixed: then the compiler knows every distance.
template <class T, class F> inline uint64_t with_places(const matkern::LaneOperand &o, char *first, char *const *each, F f) {
    ptrdiff_t size = o.rows * o.columns * o.parts, spacing = o.spacing;
    auto beside = [=](auto size) {
        return f(size, [=](ptrdiff_t i) { return first + i * (size * ptrdiff_t(sizeof(T))); }, std::true_type{});
    };
    if (each) return f(size, [=](ptrdiff_t i) { return each[i]; }, std::false_type{});
    if (spacing != size * ptrdiff_t(sizeof(T)) || !contiguous(o))
        return f(size, [=](ptrdiff_t i) { return first + i * spacing; }, std::false_type{});
    switch (size) {
        case 1: return beside(Fixed<1>{});
        case 2: return beside(Fixed<2>{});
        case 4: return beside(Fixed<4>{});
        case 8: return beside(Fixed<8>{});
        case 16: return beside(Fixed<16>{});
        case 64: return beside(Fixed<64>{});
        default: return beside(size);
    }
}

// Calls f(offset, entry) for each number of a matrix.
template <class T, class F> inline void each_number(const matkern::LaneOperand &o, F f) {
    ptrdiff_t entry = 0;
    for (ptrdiff_t i = 0; i < o.rows; ++i)
        for (ptrdiff_t j = 0; j < o.columns; ++j)
            for (int part = 0; part < o.parts; ++part) f(i * o.row + j * o.column + part * ptrdiff_t(sizeof(T)), entry++);
}

// Whether half vectors are moved: with AVX2 that is faster as long as the matrices of a block lie close together.
template <class Size> constexpr bool by_halves = BYTES == 64;
template <int K> constexpr bool by_halves<Fixed<K>> = BYTES == 64 || K <= 16;

template <class T, int W, class Size, class Place, class Adjacent>
inline void pack_lanes(const matkern::LaneOperand &o, Size size, Place place, Adjacent, void *out_) {
    using V = typename vector_of<T, W>::type;
    V *out = static_cast<V *>(out_);
    if constexpr (is_fixed<Size>)
        if constexpr (Size{} < W) {
            V r[Size{}];
            for (int i = 0; i < size; ++i) r[i] = load<V>(place(0) + i * sizeof(V));
            return deal<Size{}>(r, out, 1, std::make_integer_sequence<int, W>{});
        }
    if (size < W || !(Adjacent{} || contiguous(o)))
        return each_number<T>(o, [&](ptrdiff_t offset, ptrdiff_t entry) {
            for (int w = 0; w < W; ++w) static_cast<T *>(out_)[entry * W + w] = *reinterpret_cast<const T *>(place(w) + offset);
        });
    for (ptrdiff_t e = 0; e < size; e += W) {               // the last tile overlaps the one before
        V r[W];
        ptrdiff_t first = e + W <= size ? e : size - W;
        load_transposed<by_halves<Size>>(r, [&](int w) {
            const char *row = place(w) + first * sizeof(T);
            if (Adjacent{}) prefetch<0>(row, W * size * sizeof(T));
            return row;
        });
        for (int w = 0; w < W; ++w) out[first + w] = r[w];
    }
}

template <class T, int W, class Size, class Place, class Adjacent>
inline uint64_t unpack_lanes(const matkern::LaneOperand &o, int count, Size size, Place place, Adjacent, const void *in_) {
    using V = typename vector_of<T, W>::type;
    const V *x = static_cast<const V *>(in_);
    uint64_t found = 0;
    if (!o.integers) {
        V zero[4] = {};                                     // 0 x is 0, or NaN
        ptrdiff_t e = 0;
        for (; e + 4 <= size; e += 4)
            for (int i = 0; i < 4; ++i) zero[i] += x[e + i] * T(0);
        for (; e < size; ++e) zero[0] += x[e] * T(0);
        zero[0] += zero[1] + (zero[2] + zero[3]);
        found = to_bits(zero[0] != 0);
    }
    if constexpr (is_fixed<Size>)
        if constexpr (Size{} < W)
            if (count == W) {
                V r[Size{}];
                gather<Size{}>(x, 1, r, std::make_integer_sequence<int, W>{});
                for (int i = 0; i < size; ++i) __builtin_memcpy(place(0) + i * sizeof(V), &r[i], sizeof(V));
                return found;
            }
    if (size < W || !(Adjacent{} || contiguous(o))) {
        each_number<T>(o, [&](ptrdiff_t offset, ptrdiff_t entry) {
            for (int w = 0; w < count; ++w) *reinterpret_cast<T *>(place(w) + offset) = static_cast<const T *>(in_)[entry * W + w];
        });
        return found;
    }
    for (ptrdiff_t e = 0; e < size; e += W) {
        V r[W];
        ptrdiff_t first = e + W <= size ? e : size - W;
        for (int w = 0; w < W; ++w) r[w] = x[first + w];
        if (count < W) {
            transpose<W>(r);
            UNROLLED (int w = 0; w < W; ++w)
                if (w < count) __builtin_memcpy(place(w) + first * sizeof(T), &r[w], sizeof(V));
            continue;
        }
        store_transposed<by_halves<Size>>(r, [&](int w) {
            char *row = place(w) + first * sizeof(T);
            if (Adjacent{}) prefetch<1>(row, W * size * sizeof(T));
            return row;
        });
    }
    return found;
}

// f<T, W>() for the numbers of an operand
template <int B, class F> inline uint64_t with_numbers(int size, int width, F f) {
    if (size == 8) return f(double(), Fixed<B / 8>{});
    if (width == B / 4) return f(float(), Fixed<B / 4>{});
    return f(float(), Fixed<B / 8>{});
}

template <int B> void pack(const matkern::LaneOperand *o, int width, int blocks, char *first, char *const *each) {
    with_numbers<B>(o->size, width, [&](auto number, auto lanes) {
        constexpr int W = decltype(lanes){};
        return with_places<decltype(number)>(*o, first, each, [&](auto size, auto place, auto adjacent) {
            for (ptrdiff_t block = 0; block < blocks; ++block)
                pack_lanes<decltype(number), W>(*o, size, [=](int w) { return place(block * W + w); }, adjacent,
                                                static_cast<char *>(o->lanes) + block * o->room);
            return uint64_t(0);
        });
    });
}

template <int B> uint64_t unpack(const matkern::LaneOperand *o, int width, int count, char *first, char *const *each) {
    return with_numbers<B>(o->size, width, [&](auto number, auto lanes) {
        constexpr int W = decltype(lanes){};
        return with_places<decltype(number)>(*o, first, each, [&](auto size, auto place, auto adjacent) {
            uint64_t found = 0;
            for (ptrdiff_t i = 0; i < count; i += W)
                found |= unpack_lanes<decltype(number), W>(*o, count - i < W ? count - i : W, size,
                                                           [=](int w) { return place(i + w); }, adjacent,
                                                           static_cast<char *>(o->lanes) + i / W * o->room) << i;
            return found;
        });
    });
}

}  // namespace LANES
