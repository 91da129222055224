// One product of matrices for which BLAS is slower: of small ones, as it spends too long on packing them, C in tiles of
// registers, A by entries, B by rows, where they lie, copied only if it is B^T, has weights, or has rows that push each other
// out of the cache; of larger ones in blocks. setup.py compiles this file for each instruction set, like lanes.cpp.
#include "gemm.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "number.hpp"
#include "shuffle.hpp"

namespace LANES {
namespace {

// Bytes up to which this is faster than BLAS (bench/products.py): of B, which is read again for every tile of rows, and of
// A if it is read by columns; of C, whose columns are gone through in strips, four times as many.
constexpr ptrdiff_t LARGEST = BYTES == 64 ? 1 << 19 : 1 << 17;

// In blocks it is up to so many bytes of A, and of A^T, with AVX-512; with AVX2 it is as fast as BLAS.
constexpr bool HAS_BLOCKS = BYTES == 64;
constexpr ptrdiff_t LARGEST_A = 1 << 24, LARGEST_A_TRANSPOSED = 1 << 22;
constexpr ptrdiff_t LEAST = 32;         // of rows, columns and products to a sum
constexpr int IN_FLIGHT = 8;            // multiply-adds that the CPU works on at a time
constexpr ptrdiff_t DEPTH = 256, LARGEST_B = 3 << 18;   // of a block: its sums, and bytes of B, of which some more fit

// out := A^T of numbers of 16 bytes, `finish` as in shuffle.hpp.
template <class F>
void transpose_pairs(ptrdiff_t m, ptrdiff_t n, const double *a, ptrdiff_t lda, double *out, ptrdiff_t ldout, F finish) {
    using V = vector_of<double, 2>::type;
    for (ptrdiff_t i0 = 0; i0 < m; i0 += 4)
        for (ptrdiff_t j = 0; j < n; ++j)
            for (ptrdiff_t i = i0; i < i0 + 4 && i < m; ++i) {
                V number = finish(j, load<V>(a + 2 * (i * lda + j)));
                __builtin_memcpy(out + 2 * (j * ldout + i), &number, sizeof number);
            }
}

// out := A^T of numbers of any dtype.
template <class N, class F = Unchanged>
void transpose_numbers(ptrdiff_t m, ptrdiff_t n, const void *a, ptrdiff_t lda, void *out, ptrdiff_t ldout, F finish = {}) {
    constexpr int size = N::parts * sizeof(typename N::scalar);
    if constexpr (size == 16)
        transpose_pairs(m, n, static_cast<const double *>(a), lda, static_cast<double *>(out), ldout, finish);
    else {
        using Item = std::conditional_t<size == 4, float, double>;
        transpose_matrix(m, n, static_cast<const Item *>(a), lda, static_cast<Item *>(out), ldout, finish);
    }
}

// Those of a row times its real number in w.
template <class T> auto weighted_by(const T *w) {
    return [w](ptrdiff_t row, auto numbers) {
        typename vector_of<T, sizeof numbers / sizeof(T)>::type parts;
        __builtin_memcpy(&parts, &numbers, sizeof parts);
        parts *= w[row];
        __builtin_memcpy(&numbers, &parts, sizeof parts);
        return numbers;
    };
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
    bool strict, masked;    // masked: the other triangle is somebody's
    ptrdiff_t shift;

    template <int... I> static Index numbers(std::integer_sequence<int, I...>) { return Index{I...}; }
    template <int... I> static V swapped(V x, std::integer_sequence<int, I...>) { return pick<V, (I ^ 1)...>(x, x); }

    template <int S> static ptrdiff_t place(int s, ptrdiff_t tail) { return s < S - 1 ? s * W : tail; }

    // out := R rows of alpha op(A) op(B), S vectors of them; ADD: + beta out. The tail, the last vector, may overlap the one
    // before it: what is in both is made twice, alike.
    template <int R, int S, bool ADD> void sums(const T *left, const T *right, ptrdiff_t tail, T *out, ptrdiff_t ldout) const {
        using Sums = V[PARTS][R][S];
        auto each = [](auto f) {
            unroll<PARTS>([&](auto part) { unroll<R>([&](auto r) { unroll<S>([&](auto s) { f(part, r, s); }); }); });
        };
        auto add = [&](Sums &sum) {
            V x[S];
            unroll<S>([&](auto s) { x[s] = load<V>(right + place<S>(s, tail)); });
            unroll<PARTS>([&](auto part) {
                unroll<R>([&](auto r) {
                    V y = left[r * row + part] - V{};
                    unroll<S>([&](auto s) { sum[part][r][s] += y * x[s]; });
                });
            });
            left += column, right += ldb;
        };
        Sums sum;
        each([&](auto part, auto r, auto s) { sum[part][r][s] = V{}; });
        ptrdiff_t k = 0;
        if constexpr (PARTS * R * S < IN_FLIGHT) {          // two sums of half the products do not wait for each other
            Sums other;
            each([&](auto part, auto r, auto s) { other[part][r][s] = V{}; });
            for (; k + 1 < depth; k += 2) add(sum), add(other);
            each([&](auto part, auto r, auto s) { sum[part][r][s] += other[part][r][s]; });
        }
        for (; k < depth; ++k) add(sum);
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

    // Where the triangle begins, or ends, in row i: a column.
    ptrdiff_t begin(ptrdiff_t i) const { return triangle == 'U' ? (i + strict) * PARTS + shift : 0; }
    ptrdiff_t end(ptrdiff_t i) const { return triangle == 'L' ? (i + !strict) * PARTS + shift : columns; }

    // R rows of C from i on, S vectors of them from j on; the last vector of a row ends with it.
    template <int R, int S> void tile(ptrdiff_t i, ptrdiff_t j) const {
        if (j >= end(i + R - 1) || j + S * W <= begin(i)) return;
        if constexpr (S > 1) {
            if (j + (S - 1) * W >= end(i + R - 1)) return tile<R, S - 1>(i, j);
            if (j + W <= begin(i)) return tile<R, S - 1>(i, j + W);
        }
        ptrdiff_t tail = j + S * W <= columns ? (S - 1) * W : columns - W - j;
        if (S == 1) j += tail, tail = 0;
        const T *left = a + i * row, *right = b + j;
        T *out = c + i * ldc + j;
        if (beta == 0) sums<R, S, false>(left, right, tail, out, ldc);
        else if (masked && (std::min(j + S * W, columns) > end(i) || j < begin(i + R - 1))) diagonal<R, S>(i, j, tail);
        else sums<R, S, true>(left, right, tail, out, ldc);
    }

    // Such a tile of which only a part is in the triangle.
    template <int R, int S> void diagonal(ptrdiff_t i, ptrdiff_t j, ptrdiff_t tail) const {
        T values[R][S * W];
        sums<R, S, false>(a + i * row, b + j, tail, values[0], S * W);
        for (ptrdiff_t r = 0; r < R; ++r) {
            ptrdiff_t from = begin(i + r) - j, to = end(i + r) - j;
            V made[S], old[S];
            for (int s = 0; s < S; ++s) {
                ptrdiff_t here = place<S>(s, tail);
                Index at = numbers(std::make_integer_sequence<int, W>{}) + Int(here);
                made[s] = load<V>(values[r] + here);
                old[s] = load<V>(c + (i + r) * ldc + j + here);
                made[s] += beta * old[s];
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

// Whether what is read again stays in the second cache where it lies.
template <class N> bool fits_cache(const matkern_product &p) {
    constexpr ptrdiff_t MOST = LARGEST / sizeof(typename N::scalar) / N::parts;
    constexpr ptrdiff_t MOST_OF_A = HAS_BLOCKS ? MOST / 4 : MOST;   // blocks copy its columns, and are faster sooner
    return p.k * p.n <= MOST && (p.transa == 'N' || p.k * p.m <= MOST_OF_A) && p.m * p.n <= 4 * MOST;
}

template <class N> bool is_faster(const matkern_product &p) {
    using T = typename N::scalar;
    constexpr ptrdiff_t W = N::width, PARTS = N::parts;
    const T *alpha = static_cast<const T *>(p.alpha), *beta = static_cast<const T *>(p.beta);
    bool real = PARTS == 1 || (alpha[1] == 0 && beta[1] == 0);
    if (p.n * PARTS < W || *alpha == 0 || !real) return false;
    if (fits_cache<N>(p)) return p.transb == 'N' || p.m > 4;    // B^T is worth copying
    if (p.weights) return false;                    // multiply_blocks knows of none
    ptrdiff_t bytes = p.m * p.k * PARTS * ptrdiff_t(sizeof(T));
    return HAS_BLOCKS && p.m >= LEAST && p.n >= LEAST && p.k >= LEAST
        && bytes <= (p.transa == 'N' ? LARGEST_A : LARGEST_A_TRANSPOSED);
}

// Memory for numbers T, at the start of a vector, on the stack if they are few; NULL: there is none.
template <class T> struct Scratch {
    static constexpr ptrdiff_t FEW = 8192 / sizeof(T);
    alignas(BYTES) T few[FEW];
    void *memory;
    T *numbers;
    explicit Scratch(ptrdiff_t count)
        : memory(count <= FEW ? nullptr : std::malloc(count * sizeof(T) + BYTES)),
          numbers(count <= FEW ? few
                  : memory ? reinterpret_cast<T *>((reinterpret_cast<uintptr_t>(memory) + BYTES) & ~uintptr_t(BYTES - 1))
                           : nullptr) {}
    Scratch(const Scratch &) = delete;
    ~Scratch() { std::free(memory); }
};

// The length of the pieces of `total`, each at most `most` and but for the last one a multiple of `unit`.
inline ptrdiff_t even(ptrdiff_t total, ptrdiff_t most, ptrdiff_t unit) {
    ptrdiff_t pieces = (total + most - 1) / most;
    return (total + pieces * unit - 1) / (pieces * unit) * unit;
}

// Copies so many numbers, of which FULL is the usual one.
template <ptrdiff_t FULL, class T> inline void copy_row(ptrdiff_t count, const T *from, T *to) {
    if (count == FULL) __builtin_memcpy(to, from, FULL * sizeof(T));
    else std::memcpy(to, from, count * sizeof(T));
}

// The product in blocks: copies of B's, in panels as wide as a tile, stay in the second cache, and strips of A, of which A^T's
// are copied, in the first one.
template <class N> bool multiply_blocks(const matkern_product &p, Gemm<N> whole) {
    using T = typename N::scalar;
    constexpr ptrdiff_t W = N::width, PARTS = N::parts, STRIP = 8, PANEL = 3 * W;
    ptrdiff_t depth = even(p.k, DEPTH, 8), columns = even(whole.columns, LARGEST_B / DEPTH / sizeof(T), PANEL);
    Scratch<T> scratch(depth * (columns + W + STRIP * PARTS));
    if (!scratch.numbers) return false;
    T *strip = scratch.numbers, *panels = strip + depth * STRIP * PARTS;
    for (ptrdiff_t j0 = 0, end; j0 < whole.columns; j0 = end) {
        end = whole.columns - j0 < columns + W ? whole.columns : j0 + columns;   // none is less than a vector
        for (ptrdiff_t k0 = 0; k0 < p.k; k0 += depth) {
            Gemm<N> block = whole;
            block.depth = std::min(depth, p.k - k0);
            if (k0) block.beta = 1;
            auto each_panel = [&](auto f) {
                for (ptrdiff_t j = j0; j < end; j += block.columns) {
                    block.columns = block.ldb = end - j > PANEL + W ? PANEL : end - j;
                    f(j, panels + (j - j0) * block.depth);
                }
            };
            if (p.transb == 'N')
                for (ptrdiff_t k = 0; k < block.depth; ++k)
                    each_panel([&](ptrdiff_t j, T *panel) {
                        copy_row<PANEL>(block.columns, whole.b + (k0 + k) * whole.ldb + j, panel + k * block.columns);
                    });
            else
                each_panel([&](ptrdiff_t j, T *panel) {
                    const T *from = whole.b + j * p.ldb + k0 * PARTS;
                    transpose_numbers<N>(block.columns / PARTS, block.depth, from, p.ldb, panel, block.columns / PARTS);
                });
            for (ptrdiff_t i = 0; i < p.m; i += STRIP) {
                ptrdiff_t rows = std::min(STRIP, p.m - i);
                if (j0 >= whole.end(i + rows - 1) || end <= whole.begin(i)) continue;
                block.a = whole.a + i * whole.row + k0 * whole.column;
                if (p.transa != 'N') {
                    for (ptrdiff_t k = 0; k < block.depth; ++k)
                        copy_row<STRIP * PARTS>(rows * PARTS, block.a + k * whole.column, strip + k * STRIP * PARTS);
                    block.a = strip, block.column = STRIP * PARTS;
                }
                each_panel([&](ptrdiff_t j, T *panel) {
                    block.b = panel;
                    block.c = whole.c + i * whole.ldc + j;
                    block.shift = whole.shift + i * PARTS - j;
                    block.run(rows);
                });
            }
        }
    }
    return true;
}

// Whether so many rows at such a distance in bytes, like 512, are more than the first cache holds of one column. It has room
// for WAYS lines whose addresses differ by multiples of WAY bytes.
bool evicts_itself(ptrdiff_t rows, ptrdiff_t distance) {
    constexpr ptrdiff_t WAY = 4096, WAYS = 8;
    ptrdiff_t step = WAY;                           // between the places in a way
    while (distance % step) step /= 2;
    return rows > WAYS * (WAY / step);
}

// out := diag(w) B for B of `rows` rows, or B if w is NULL.
template <int W, class T>
void copy_rows(ptrdiff_t rows, ptrdiff_t columns, const T *w, const T *b, ptrdiff_t ldb, T *out, ptrdiff_t ldout) {
    using V = typename vector_of<T, W>::type;
    for (ptrdiff_t i = 0; i < rows; ++i, b += ldb, out += ldout) {
        T weight = w ? w[i] : 1;
        ptrdiff_t j = 0;
        for (; j + W <= columns; j += W) {
            V x = weight * load<V>(b + j);
            __builtin_memcpy(out + j, &x, sizeof x);
        }
        for (; j < columns; ++j) out[j] = weight * b[j];
    }
}

template <class N> bool multiply(const matkern_product &p) {
    using T = typename N::scalar;
    constexpr int W = N::width, PARTS = N::parts;
    const T *alpha = static_cast<const T *>(p.alpha), *beta = static_cast<const T *>(p.beta);
    ptrdiff_t columns = p.n * PARTS, ldb = p.ldb * PARTS, lda = p.lda * PARTS;
    if (columns < W) return false;                  // of a piece
    bool plain = p.transa == 'N';
    T sign_a = p.transa == 'C' ? -1 : 1, sign_b = p.transb == 'C' ? -1 : 1;
    typename vector_of<T, W>::type scale{}, cross{};
    for (int i = 0; i < W; ++i) {
        bool imaginary = PARTS == 2 && i % 2;
        scale[i] = imaginary ? sign_b * *alpha : *alpha;
        cross[i] = imaginary ? sign_a * *alpha : -sign_a * sign_b * *alpha;
    }
    Gemm<N> whole{p.k, columns, reinterpret_cast<const T *>(p.a), plain ? lda : PARTS, plain ? PARTS : lda,
                  reinterpret_cast<const T *>(p.b), ldb, reinterpret_cast<T *>(p.c), p.ldc * PARTS, scale, cross, *beta,
                  p.triangle, p.strict != 0, p.triangle && *beta != 0, p.shift * PARTS};
    if (HAS_BLOCKS && !fits_cache<N>(p)) return multiply_blocks(p, whole);
    if (p.transb == 'N' && !p.weights && !evicts_itself(p.k, ldb * sizeof(T))) {
        whole.run(p.m);
        return true;
    }
    ptrdiff_t ld = p.n + (evicts_itself(p.k, columns * sizeof(T)) ? W / PARTS : 0);
    Scratch<T> copy(p.k * ld * PARTS);
    if (!copy.numbers) return false;
    auto weights = static_cast<const T *>(p.weights);
    if (p.transb == 'N') copy_rows<W>(p.k, columns, weights, whole.b, ldb, copy.numbers, ld * PARTS);
    else if (weights) transpose_numbers<N>(p.n, p.k, p.b, p.ldb, copy.numbers, ld, weighted_by(weights));
    else transpose_numbers<N>(p.n, p.k, p.b, p.ldb, copy.numbers, ld);
    whole.b = copy.numbers, whole.ldb = ld * PARTS;
    whole.run(p.m);
    return true;
}

}  // namespace

bool gemm_fits(const matkern_product &p) {
    return HAS_GEMM && with_number(p.dtype, [&](auto number) { return is_faster<decltype(number)>(p); });
}

bool gemm(const matkern_product &p) {
    return with_number(p.dtype, [&](auto number) { return multiply<decltype(number)>(p); });
}

}  // namespace LANES
