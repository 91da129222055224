// Loops of dense.pxd over one matrix that need vectors to be fast. setup.py compiles this file for each instruction set, like
// lanes.cpp.
#include "gemm.hpp"
#include "number.hpp"
#include "shuffle.hpp"

namespace LANES {
namespace {

constexpr ptrdiff_t ROWS = 32;          // of a strip of the lower triangle: few enough that the lines written stay in a cache

// r := -r for each imaginary part, which is the upper half of an entry that is moved as one number.
template <class N, class V> inline V conjugate(V r) { return N::parts == 2 ? -r : r; }

// The entries above the diagonal of one (W, W) tile, whose first row and column are these; all of it is, or it is crossed.
template <class N, bool CROSSED, class T> inline void mirror_tile(ptrdiff_t n, ptrdiff_t row, ptrdiff_t column, T *a) {
    constexpr int W = BYTES / sizeof(T);
    using V = typename vector_of<T, W>::type;
    using Index = typename vector_of<typename bits_of<T>::type, W>::type;
    V r[W];
    load_transposed<true>(r, [=](int w) { return reinterpret_cast<const char *>(a + (row + w) * n + column); });
    Index numbers;
    for (int w = 0; w < W; ++w) numbers[w] = w + int(row - column);
    for (int w = 0; w < W; ++w) {
        T *to = a + (column + w) * n + row;
        V value = conjugate<N>(r[w]);
        if constexpr (CROSSED) value = numbers > w ? value : load<V>(to);
        __builtin_memcpy(to, &value, sizeof value);
    }
}

template <class N, class T> bool mirror_in_tiles(ptrdiff_t n, T *a) {
    constexpr ptrdiff_t W = BYTES / sizeof(T);
    if (n < W) return false;
    for (ptrdiff_t i0 = 0; i0 < n; i0 += ROWS)
        for (ptrdiff_t j = 0; j < i0 + ROWS && j < n; j += W)
            for (ptrdiff_t i = j > i0 ? j : i0; i < i0 + ROWS && i < n; i += W) {
                ptrdiff_t row = i + W <= n ? i : n - W, column = j + W <= n ? j : n - W;   // the last one overlaps
                if (column + W <= row) mirror_tile<N, false>(n, row, column, a);
                else mirror_tile<N, true>(n, row, column, a);
            }
    if (N::parts == 2) {
        auto *parts = reinterpret_cast<typename N::scalar *>(a);
        for (ptrdiff_t i = 0; i < n; ++i) parts[2 * (i * n + i) + 1] = 0;
    }
    return true;
}

// One (W, W) tile of X, whose gaps are of the dtype's precision, and, unless it is on the diagonal, the one across.
template <class T> inline void quotient_tile(ptrdiff_t n, ptrdiff_t row, ptrdiff_t column, const T *w, T *m) {
    constexpr int W = BYTES / sizeof(T);
    using V = typename vector_of<T, W>::type;
    using Index = typename vector_of<typename bits_of<T>::type, W>::type;
    V across[W], x[W];
    Index numbers;
    for (int r = 0; r < W; ++r) numbers[r] = r;
    load_transposed<true>(across, [=](int r) { return reinterpret_cast<const char *>(m + (column + r) * n + row); });
    for (int r = 0; r < W; ++r) {
        T *here = m + (row + r) * n + column;
        V old = load<V>(here);
        x[r] = T(0.5) * (old - across[r]) / (load<V>(w + column) - w[row + r]);
        if (row == column) x[r] = numbers == r ? old : x[r];
        __builtin_memcpy(here, &x[r], sizeof(V));
    }
    if (row != column)
        store_transposed<true>(x, [=](int r) { return reinterpret_cast<char *>(m + (column + r) * n + row); });
}

template <class T> ptrdiff_t quotients(ptrdiff_t n, double apart, const T *w, T *m) {
    constexpr ptrdiff_t W = BYTES / sizeof(T);
    const ptrdiff_t whole = n / W * W;
    for (ptrdiff_t i = 1; i < n; ++i)
        if (!(double(w[i]) - w[i - 1] > apart)) return 0;
    if (n && !(w[n - 1] - w[0] <= limits<T>::largest)) return 0;    // a gap that is no number of the dtype
    for (ptrdiff_t i = 0; i < whole; i += W)
        for (ptrdiff_t j = 0; j <= i; j += W) quotient_tile(n, i, j, w, m);
    return whole;
}

template <class T> double squares(ptrdiff_t count, const T *a) {
    constexpr int W = BYTES / sizeof(double), SUMS = 4;     // which do not wait for each other
    using V = typename vector_of<double, W>::type;
    using Some = typename vector_of<T, W>::type;
    V sums[SUMS]{};
    ptrdiff_t i = 0;
    for (; i + SUMS * W <= count; i += SUMS * W)
        for (int s = 0; s < SUMS; ++s) {
            V x = __builtin_convertvector(load<Some>(a + i + s * W), V);
            sums[s] += x * x;
        }
    V all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    double sum = 0;
    for (int w = 0; w < W; ++w) sum += all[w];
    for (; i < count; ++i) sum += double(a[i]) * a[i];
    return sum;
}

}  // namespace

bool mirror(char dtype, ptrdiff_t n, void *a) {
    return with_number(dtype, [&](auto number) {
        using N = decltype(number);
        constexpr int size = N::parts * sizeof(typename N::scalar);
        if constexpr (size == 16) return false;
        else return mirror_in_tiles<N>(n, static_cast<std::conditional_t<size == 4, float, double> *>(a));
    });
}

ptrdiff_t skew_quotients(char dtype, ptrdiff_t n, double apart, const void *w, void *m) {
    if (dtype == 's') return quotients(n, apart, static_cast<const float *>(w), static_cast<float *>(m));
    return quotients(n, apart, static_cast<const double *>(w), static_cast<double *>(m));
}

double sum_of_squares(char dtype, ptrdiff_t count, const void *a) {
    return dtype == 's' ? squares(count, static_cast<const float *>(a)) : squares(count, static_cast<const double *>(a));
}

}  // namespace LANES
