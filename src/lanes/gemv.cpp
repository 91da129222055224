// Products of a matrix in column-major order and vectors, several columns at once: as fast as memory is, which reads the matrix
// once for two products. setup.py compiles this file like lanes.cpp.
#include "gemm.hpp"
#include "number.hpp"
#include "shuffle.hpp"

namespace LANES {
namespace {

// Numbers are counted in components, of which a complex one has two. With the products of A and the real and the imaginary
// parts of x, the components of the second one swapped, A x is
//     (a, b) + (-b', a'),
// and of A^H v one sum has the products with v, which are those of the real part, the other one those with v swapped.
template <class N> struct Columns {
    using T = typename N::scalar;
    static constexpr ptrdiff_t W = N::width, PARTS = N::parts;
    static constexpr int AT_ONCE = (BYTES == 64 ? 8 : 4) / PARTS;
    using V = typename vector_of<T, W>::type;
    ptrdiff_t lda;

    template <int... I> static V swapped(V x, std::integer_sequence<int, I...>) { return pick<V, (I ^ 1)...>(x, x); }
    static V swapped(V x) { return swapped(x, std::make_integer_sequence<int, W>{}); }

    static V load_some(const T *p, ptrdiff_t count) {
        V v{};
        for (ptrdiff_t i = 0; i < count; ++i) v[i] = p[i];
        return v;
    }

    // y := A x + y and w := A^H v + w, or one of them, for C columns of m components.
    template <int C, bool PLAIN, bool ADJOINT> void some(ptrdiff_t m, const T *a, const T *x, T *y, const T *v, T *w) const {
        V sum[2][C] = {};
        V signs{};
        for (int i = 0; i < W; ++i) signs[i] = i % 2 ? 1 : -1;
        auto rows = [&](ptrdiff_t i, auto read, auto write) {
            V plain{}, cross{}, left{}, turned{};
            if constexpr (PLAIN) plain = read(y + i);
            if constexpr (ADJOINT) left = read(v + i);
            if constexpr (ADJOINT && PARTS == 2) turned = swapped(left);
#pragma GCC unroll 8
            for (int j = 0; j < C; ++j) {
                V column = read(a + j * lda + i);
                if constexpr (PLAIN) plain += column * x[j * PARTS];
                if constexpr (PLAIN && PARTS == 2) cross += column * x[j * PARTS + 1];
                if constexpr (ADJOINT) sum[0][j] += column * left;
                if constexpr (ADJOINT && PARTS == 2) sum[1][j] += column * turned;
            }
            if constexpr (PLAIN && PARTS == 2) plain += signs * swapped(cross);
            if constexpr (PLAIN) write(y + i, plain);
        };
        ptrdiff_t i = 0;
        for (; i + W <= m; i += W)
            rows(i, [](const T *p) { return load<V>(p); }, [](T *p, V value) { __builtin_memcpy(p, &value, sizeof value); });
        if (i < m)
            rows(i, [&](const T *p) { return load_some(p, m - i); },
                 [&](T *p, V value) { for (ptrdiff_t k = 0; k < m - i; ++k) p[k] = value[k]; });
        if constexpr (ADJOINT)
            for (int j = 0; j < C; ++j)
                for (int k = 0; k < W; ++k) {
                    w[j * PARTS] += sum[0][j][k];
                    if constexpr (PARTS == 2) w[j * PARTS + 1] -= signs[k] * sum[1][j][k];
                }
    }

    template <int C, bool PLAIN, bool ADJOINT> void all(ptrdiff_t m, ptrdiff_t n, const T *a, const T *x, T *y, const T *v,
                                                       T *w) const {
        ptrdiff_t j = 0;
        for (; j + C <= n; j += C) some<C, PLAIN, ADJOINT>(m, a + j * lda, x + j * PARTS, y, v, w + j * PARTS);
        if constexpr (C > 1)
            if (j < n) all<C / 2, PLAIN, ADJOINT>(m, n - j, a + j * lda, x + j * PARTS, y, v, w + j * PARTS);
    }

    // y := A x + y for C columns of a Hermitian matrix, of which the triangle below is read.
    template <int C> void corner(const T *a, const T *x, T *y) const {
#pragma GCC unroll 8
        for (int j = 0; j < C; ++j) {
            for (int part = 0; part < PARTS; ++part) y[j * PARTS + part] += a[j * lda + j * PARTS] * x[j * PARTS + part];
#pragma GCC unroll 8
            for (int i = j + 1; i < C; ++i) {
                const T *entry = a + j * lda + i * PARTS, *xi = x + i * PARTS, *xj = x + j * PARTS;
                T *yi = y + i * PARTS, *yj = y + j * PARTS;
                if constexpr (PARTS == 1) {
                    *yi += *entry * *xj;
                    *yj += *entry * *xi;
                } else {
                    yi[0] += entry[0] * xj[0] - entry[1] * xj[1];
                    yi[1] += entry[0] * xj[1] + entry[1] * xj[0];
                    yj[0] += entry[0] * xi[0] + entry[1] * xi[1];
                    yj[1] += entry[0] * xi[1] - entry[1] * xi[0];
                }
            }
        }
    }

    // y := A x + y, of the columns j <= k < end the part on and below the diagonal, and of the rows with their numbers.
    template <int C> void hermitian(ptrdiff_t n, ptrdiff_t j, ptrdiff_t end, const T *a, const T *x, T *y) const {
        for (; j + C <= end; j += C) {
            const T *corner_a = a + j * lda + j * PARTS;
            ptrdiff_t below = (j + C) * PARTS;
            corner<C>(corner_a, x + j * PARTS, y + j * PARTS);
            some<C, true, true>(n * PARTS - below, corner_a + C * PARTS, x + j * PARTS, y + below, x + below, y + j * PARTS);
        }
        if constexpr (C > 1)
            if (j < end) hermitian<C / 2>(n, j, end, a, x, y);
    }
};

}  // namespace

void gemv(char dtype, ptrdiff_t m, ptrdiff_t n, const void *a, ptrdiff_t lda, const void *x, void *y, const void *v, void *w) {
    with_number(dtype, [&](auto number) {
        using Those = Columns<decltype(number)>;
        using T = typename Those::T;
        Those those{lda * Those::PARTS};
        auto run = [&](auto plain, auto adjoint) {
            those.template all<Those::AT_ONCE, plain, adjoint>(
                m * Those::PARTS, n, static_cast<const T *>(a), static_cast<const T *>(x), static_cast<T *>(y),
                static_cast<const T *>(v), static_cast<T *>(w));
        };
        if (!w) run(std::true_type{}, std::false_type{});
        else if (!y) run(std::false_type{}, std::true_type{});
        else run(std::true_type{}, std::true_type{});
    });
}

void hemv(char dtype, ptrdiff_t n, ptrdiff_t first, ptrdiff_t last, const void *a, ptrdiff_t lda, const void *x, void *y) {
    with_number(dtype, [&](auto number) {
        using Those = Columns<decltype(number)>;
        using T = typename Those::T;
        Those{lda * Those::PARTS}.template hermitian<Those::AT_ONCE>(
            n, first, last, static_cast<const T *>(a), static_cast<const T *>(x), static_cast<T *>(y));
    });
}

}  // namespace LANES
