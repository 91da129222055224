// From matrices to lanes and back. Numbers are moved as they are; only unpacking looks whether they are finite.
#pragma once
#include "number.hpp"

namespace LANES {

inline bool contiguous(ptrdiff_t item, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t row, ptrdiff_t column) {
    return (columns == 1 || column == item) && (rows == 1 || row == columns * item);
}

template <class T, int W>
void pack_lanes(int parts, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t row, ptrdiff_t column,
                const char *const *places, void *out_) {
    T *out = static_cast<T *>(out_);
    if (contiguous(parts * sizeof(T), rows, columns, row, column)) {
        const T *a[W];
        for (int w = 0; w < W; ++w) a[w] = reinterpret_cast<const T *>(places[w]);
        for (ptrdiff_t e = 0; e < rows * columns * parts; ++e, out += W)
            for (int w = 0; w < W; ++w) out[w] = a[w][e];
        return;
    }
    for (ptrdiff_t i = 0; i < rows; ++i)
        for (ptrdiff_t j = 0; j < columns; ++j)
            for (int part = 0; part < parts; ++part, out += W) {
                ptrdiff_t offset = i * row + j * column + part * ptrdiff_t(sizeof(T));
                for (int w = 0; w < W; ++w) out[w] = *reinterpret_cast<const T *>(places[w] + offset);
            }
}

template <class T, int W>
uint64_t unpack_lanes(int parts, bool integers, int count, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t row,
                      ptrdiff_t column, const void *in_, char *const *places) {
    const T *in = static_cast<const T *>(in_);
    ptrdiff_t size = rows * columns * parts;
    uint64_t found = 0;
    if (!integers) {
        T zero[W];                                          // x - x is 0, or NaN
        for (int w = 0; w < W; ++w) zero[w] = 0;
        for (ptrdiff_t e = 0; e < size; ++e)
            for (int w = 0; w < W; ++w) zero[w] += in[e * W + w] - in[e * W + w];
        for (int w = 0; w < W; ++w) found |= uint64_t(zero[w] != 0) << w;
    }
    if (count == W && contiguous(parts * sizeof(T), rows, columns, row, column)) {
        T *a[W];
        for (int w = 0; w < W; ++w) a[w] = reinterpret_cast<T *>(places[w]);
        for (ptrdiff_t e = 0; e < size; ++e, in += W)
            for (int w = 0; w < W; ++w) a[w][e] = in[w];
        return found;
    }
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
