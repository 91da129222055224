// One product of matrices too small for BLAS, which spends too long on packing them: C in tiles of registers, A by entries,
// B by rows, where they lie. Only B^T is copied. setup.py compiles this file for each instruction set, like lanes.cpp.
#include "gemm.hpp"

#include <cstdlib>

#include "number.hpp"
#include "shuffle.hpp"

namespace LANES {
namespace {

// Bytes up to which this is faster than BLAS (bench/products.py): of B, which is read again for every tile of rows, and of
// A if it is read by columns; of C, whose columns are gone through in strips, four times as many.
constexpr ptrdiff_t LARGEST = BYTES == 64 ? 1 << 19 : 1 << 17;

// out := A^T of numbers of 16 bytes.
void transpose_pairs(ptrdiff_t m, ptrdiff_t n, const double *a, ptrdiff_t lda, double *out) {
    using V = vector_of<double, 2>::type;
    for (ptrdiff_t i0 = 0; i0 < m; i0 += 4)
        for (ptrdiff_t j = 0; j < n; ++j)
            for (ptrdiff_t i = i0; i < i0 + 4 && i < m; ++i) {
                V number = load<V>(a + 2 * (i * lda + j));
                __builtin_memcpy(out + 2 * (j * m + i), &number, sizeof number);
            }
}

// out := B^T for B of shape (n, k)
template <int SIZE> void transpose_right(const matkern_product &p, void *out) {
    if constexpr (SIZE == 16) transpose_pairs(p.n, p.k, reinterpret_cast<const double *>(p.b), p.ldb, static_cast<double *>(out));
    else {
        using Item = std::conditional_t<SIZE == 4, float, double>;
        transpose_matrix(p.n, p.k, reinterpret_cast<const Item *>(p.b), p.ldb, static_cast<Item *>(out), p.n);
    }
}

template <class F, int... I> inline void unroll(F f, std::integer_sequence<int, I...>) {
    (f(std::integral_constant<int, I>{}), ...);
}
template <int K, class F> inline void unroll(F f) { unroll(f, std::make_integer_sequence<int, K>{}); }

// Columns and strides are counted in components, of which a complex number has two. The two sums of a tile of such are the
// products with the real and with the imaginary parts of A, and make, with the components of the second one swapped,
//     scale (x, y) + cross (y', x').
template <class N> struct Gemm {
    using T = typename N::scalar;
    static constexpr int W = N::width, PARTS = N::parts;
    using V = typename vector_of<T, W>::type;
    using Int = typename bits_of<T>::type;
    using Index = typename vector_of<Int, W>::type;
    ptrdiff_t depth, columns;
    const T *a;
    ptrdiff_t row, column;  // strides of op(A)
    const T *b;
    ptrdiff_t ldb;
    T *c;
    ptrdiff_t ldc;
    V scale, cross;         // alpha, with the signs of i and of conjugates
    T beta;
    char triangle;
    bool strict;

    template <int... I> static Index numbers(std::integer_sequence<int, I...>) { return Index{I...}; }
    template <int... I> static V swapped(V x, std::integer_sequence<int, I...>) { return pick<V, (I ^ 1)...>(x, x); }

    template <int S> static ptrdiff_t place(int s, ptrdiff_t tail) { return s < S - 1 ? s * W : tail; }

    // out := R rows of alpha op(A) op(B), S vectors of them; ADD: + beta out. The tail, the last vector, may overlap the one
    // before it: what is in both is made twice, alike.
    template <int R, int S, bool ADD> void sums(const T *left, const T *right, ptrdiff_t tail, T *out, ptrdiff_t ldout) const {
        V sum[PARTS][R][S];
        unroll<PARTS>([&](auto part) {
            unroll<R>([&](auto r) { unroll<S>([&](auto s) { sum[part][r][s] = V{}; }); });
        });
        for (ptrdiff_t k = 0; k < depth; ++k, left += column, right += ldb) {
            V x[S];
            unroll<S>([&](auto s) { x[s] = load<V>(right + place<S>(s, tail)); });
            unroll<PARTS>([&](auto part) {
                unroll<R>([&](auto r) {
                    V y = left[r * row + part] - V{};
                    unroll<S>([&](auto s) { sum[part][r][s] += y * x[s]; });
                });
            });
        }
        unroll<R>([&](auto r) {
            V value[S];
            unroll<S>([&](auto s) {
                value[s] = scale * sum[0][r][s];
                if constexpr (PARTS == 2) value[s] += cross * swapped(sum[1][r][s], std::make_integer_sequence<int, W>{});
                if constexpr (ADD) value[s] += beta * load<V>(out + r * ldout + place<S>(s, tail));
            });
            unroll<S>([&](auto s) {
                __builtin_memcpy(out + r * ldout + place<S>(s, tail), &value[s], sizeof(V));
            });
        });
    }

    // R rows of C from i on, S vectors of them from j on; the last vector of a row ends with it.
    template <int R, int S> void tile(ptrdiff_t i, ptrdiff_t j) const {
        ptrdiff_t tail = j + S * W <= columns ? (S - 1) * W : columns - W - j;
        const T *left = a + i * row, *right = b + j;
        T *out = c + i * ldc + j;
        if (triangle == 'L' ? j + S * W > (i + !strict) * PARTS : triangle && j < (i + R - !strict) * PARTS)
            diagonal<R, S>(i, j, tail);
        else if (beta == 0) sums<R, S, false>(left, right, tail, out, ldc);
        else sums<R, S, true>(left, right, tail, out, ldc);
    }

    // Such a tile of which only a part is in the triangle, if any.
    template <int R, int S> void diagonal(ptrdiff_t i, ptrdiff_t j, ptrdiff_t tail) const {
        if (triangle == 'L' ? j >= (i + R - strict) * PARTS : j + S * W <= (i + strict) * PARTS) return;
        T values[R][S * W];
        sums<R, S, false>(a + i * row, b + j, tail, values[0], S * W);
        for (ptrdiff_t r = 0; r < R; ++r) {
            ptrdiff_t from = triangle == 'U' ? (i + r + strict) * PARTS - j : 0;
            ptrdiff_t to = triangle == 'L' ? (i + r + !strict) * PARTS - j : columns - j;
            V made[S], old[S];
            for (int s = 0; s < S; ++s) {
                ptrdiff_t here = place<S>(s, tail);
                Index at = numbers(std::make_integer_sequence<int, W>{}) + Int(here);
                made[s] = load<V>(values[r] + here);
                old[s] = load<V>(c + (i + r) * ldc + j + here);
                if (beta != 0) made[s] += beta * old[s];
                made[s] = (at >= Int(from)) & (at < Int(to)) ? made[s] : old[s];
            }
            for (int s = 0; s < S; ++s)
                __builtin_memcpy(c + (i + r) * ldc + j + place<S>(s, tail), &made[s], sizeof(V));
        }
    }

    template <int R, int S> void rows(ptrdiff_t i, ptrdiff_t m, ptrdiff_t j) const {
        for (; i + R <= m; i += R) tile<R, S>(i, j);
        if constexpr (R > 1) rows<R / 2, S>(i, m, j);
    }

    void run(ptrdiff_t m) const {
        // Of AVX-512 there are 32 registers, of the others 16: for a tile, S vectors of B and an entry of A.
        constexpr bool few = BYTES < 64 && PARTS == 2;
        constexpr int R = (BYTES == 64 ? 8 : 4) / PARTS;
        for (ptrdiff_t j = 0; j < columns;) {               // never one vector after others: a tail overlaps its own tile
            ptrdiff_t vectors = (columns - j + W - 1) / W;
            if (vectors == 3 || (vectors > 4 && !few)) rows<R, 3>(0, m, j), j += 3 * W;
            else if (vectors > 1) rows<few ? 3 : R, 2>(0, m, j), j += 2 * W;
            else rows<R, 1>(0, m, j), j += W;
        }
    }
};

template <class N> bool is_small(const matkern_product &p) {
    using T = typename N::scalar;
    constexpr ptrdiff_t W = N::width, PARTS = N::parts;
    const T *alpha = static_cast<const T *>(p.alpha), *beta = static_cast<const T *>(p.beta);
    constexpr ptrdiff_t MOST = LARGEST / sizeof(T) / PARTS;
    bool real = PARTS == 1 || (alpha[1] == 0 && beta[1] == 0);
    bool worth_copying = p.transb == 'N' || p.m > 4;
    return p.n * PARTS >= W && *alpha != 0 && real && worth_copying && p.k * p.n <= MOST
        && (p.transa == 'N' || p.k * p.m <= MOST) && p.m * p.n <= 4 * MOST;
}

template <class N> bool multiply(const matkern_product &p) {
    using T = typename N::scalar;
    constexpr int W = N::width, PARTS = N::parts;
    ptrdiff_t columns = p.n * PARTS, room = p.k * columns * ptrdiff_t(sizeof(T));
    const T *alpha = static_cast<const T *>(p.alpha), *beta = static_cast<const T *>(p.beta);
    if (columns < W) return false;                  // of a piece
    const T *b = reinterpret_cast<const T *>(p.b);
    ptrdiff_t ldb = p.ldb * PARTS, lda = p.lda * PARTS;
    void *memory = nullptr;
    if (p.transb != 'N') {
        memory = std::malloc(room + BYTES);
        if (!memory) return false;
        T *copy = reinterpret_cast<T *>((reinterpret_cast<uintptr_t>(memory) + BYTES) & ~uintptr_t(BYTES - 1));
        transpose_right<sizeof(T) * PARTS>(p, copy);
        b = copy;
        ldb = columns;
    }
    bool plain = p.transa == 'N';
    T sign_a = p.transa == 'C' ? -1 : 1, sign_b = p.transb == 'C' ? -1 : 1;
    typename vector_of<T, W>::type scale{}, cross{};
    for (int i = 0; i < W; ++i) {
        bool imaginary = PARTS == 2 && i % 2;
        scale[i] = imaginary ? sign_b * *alpha : *alpha;
        cross[i] = imaginary ? sign_a * *alpha : -sign_a * sign_b * *alpha;
    }
    Gemm<N>{p.k, columns, reinterpret_cast<const T *>(p.a), plain ? lda : PARTS, plain ? PARTS : lda, b, ldb,
                      reinterpret_cast<T *>(p.c), p.ldc * PARTS, scale, cross, *beta, p.triangle, p.strict != 0}.run(p.m);
    std::free(memory);
    return true;
}

}  // namespace

bool gemm_fits(const matkern_product &p) {
    return HAS_GEMM && with_number(p.dtype, [&](auto number) { return is_small<decltype(number)>(p); });
}

bool gemm(const matkern_product &p) {
    return with_number(p.dtype, [&](auto number) { return multiply<decltype(number)>(p); });
}

}  // namespace LANES
