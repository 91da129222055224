// A small triangular system, which BLAS takes several times as long for as for a product: the columns of B (side L), or its
// rows, lie beside each other in vectors, copied, and are solved by substitution. setup.py compiles this file like lanes.cpp.
#include "gemm.hpp"
#include "matrix.hpp"
#include "shuffle.hpp"

namespace LANES {
namespace {

constexpr ptrdiff_t LARGEST = MATKERN_LARGEST_SYSTEM;
constexpr int VECTORS = 8;          // beside each other, at most

// The entries of op(A), the same in each lane of a number N.
template <class N> struct Entries {
    using number = N;
    using T = typename N::scalar;
    const T *a;
    ptrdiff_t row, column;
    T sign;                         // of imaginary parts

    N operator()(ptrdiff_t i, ptrdiff_t k) const {
        const T *entry = a + i * row + k * column;
        if constexpr (N::parts == 2) return {typename N::real_type(entry[0]), typename N::real_type(sign * entry[1])};
        else return entry[0];
    }
};

// The piece of B, or of B^T, that is solved at once, and its copy: `count` columns of `size` entries, which lie `row`
// components apart. In the copy a row is `vectors` numbers, the rest of the last one zero.
template <class N> struct Piece {
    using T = typename N::scalar;
    using V = typename vector_of<T, N::width>::type;
    static constexpr ptrdiff_t W = N::width, PARTS = N::parts;
    ptrdiff_t size, count, vectors;
    T *b;
    ptrdiff_t row, column;
    N *x;

    // Calls f(numbers of B in a row, how many, their place in the copy).
    template <class F> void by_rows(F f) const {
        for (ptrdiff_t k = 0; k < size; ++k)
            for (ptrdiff_t v = 0; v < vectors; ++v)
                f(b + k * row + v * W * PARTS, (v + 1) * W <= count ? W : count - v * W, x + k * vectors + v);
    }

    // Calls f(component of B, its place in the copy).
    template <class F> void by_components(F f) const {
        for (ptrdiff_t j = 0; j < count; ++j)
            for (ptrdiff_t k = 0; k < size; ++k)
                for (ptrdiff_t part = 0; part < PARTS; ++part)
                    f(b[j * column + k * row + part],
                      reinterpret_cast<T *>(x + k * vectors + j / W)[part * W + j % W]);
    }

    // Calls f(B, the copy, distance of its rows) with the rows in the order of memory.
    template <class F> void in_order(F f) const {
        ptrdiff_t last = row < 0 ? size - 1 : 0, step = vectors * W;
        f(b + last * row, reinterpret_cast<T *>(x) + last * step, row < 0 ? -step : step);
    }

    void load_copy() const {
        if (column == PARTS)
            by_rows([](const T *from, ptrdiff_t many, N *to) {
                V r[PARTS] = {};
                if (many == W) __builtin_memcpy(r, from, sizeof r);
                else __builtin_memcpy(r, from, many * PARTS * sizeof(T));
                deal<PARTS>(r, reinterpret_cast<V *>(to), 1, std::make_integer_sequence<int, W>{});
            });
        else {
            fill<N>(size * vectors, 0, x);
            if constexpr (PARTS == 2) by_components([](T &entry, T &lane) { lane = entry; });
            else in_order([&](T *from, T *to, ptrdiff_t step) { transpose_matrix(count, size, from, column, to, step); });
        }
    }

    void store_copy() const {
        if (column == PARTS)
            by_rows([](T *to, ptrdiff_t many, const N *from) {
                V r[PARTS];
                gather<PARTS>(reinterpret_cast<const V *>(from), 1, r, std::make_integer_sequence<int, W>{});
                if (many == W) __builtin_memcpy(to, r, sizeof r);
                else __builtin_memcpy(to, r, many * PARTS * sizeof(T));
            });
        else if constexpr (PARTS == 2) by_components([](T &entry, T &lane) { entry = lane; });
        else in_order([&](T *to, T *from, ptrdiff_t step) { transpose_matrix(size, count, from, step, to, column); });
    }
};

template <class N> bool solve(const matkern_system &p) {
    using T = typename N::scalar;
    constexpr ptrdiff_t W = N::width;
    bool left = p.side == 'L', plain = p.trans == 'N';
    ptrdiff_t size = left ? p.m : p.n, others = left ? p.n : p.m;
    const T *alpha = static_cast<const T *>(p.alpha);
    if (size > LARGEST || (N::parts == 2 && alpha[1] != 0)) return false;
    // X op(A) = B is op(A)^T X^T = B^T; and what is upper triangular is lower backwards
    Entries<N> entries{reinterpret_cast<const T *>(p.a), p.lda * N::parts, N::parts, T(p.trans == 'C' ? -1 : 1)};
    if (left != plain) std::swap(entries.row, entries.column);
    T *b = reinterpret_cast<T *>(p.b);
    ptrdiff_t row = (left ? p.ldb : 1) * N::parts, column = (left ? 1 : p.ldb) * N::parts;
    if ((p.uplo == 'L') != (left == plain)) {
        entries.a += (size - 1) * (entries.row + entries.column);
        entries.row = -entries.row;
        entries.column = -entries.column;
        b += (size - 1) * row;
        row = -row;
    }
    N x[LARGEST * VECTORS];
    for (ptrdiff_t first = 0; first < others; first += VECTORS * W) {
        ptrdiff_t count = others - first < VECTORS * W ? others - first : VECTORS * W, vectors = (count + W - 1) / W;
        Piece<N> piece{size, count, vectors, b + first * column, row, column, x};
        piece.load_copy();
        if (*alpha != 1)
            for (ptrdiff_t i = 0; i < size * vectors; ++i) x[i] = x[i] * typename N::real_type(*alpha);
        substitute(size, vectors, entries, p.diag == 'U', View<N>{x, vectors, 1});
        piece.store_copy();
    }
    return true;
}

}  // namespace

bool trsm(const matkern_system &p) {
    return with_number(p.dtype, [&](auto number) { return solve<decltype(number)>(p); });
}

}  // namespace LANES
