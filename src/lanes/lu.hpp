// LU with partial pivoting in each lane, and what is solved with it: lu.pyx, solve.pyx and inv.pyx have the formulas.
#pragma once
#include "cholesky.hpp"
#include "lanes.hpp"
#include "matmul.hpp"

namespace LANES {

constexpr int WORTH = 200;  // as in det.pyx

template <class N> inline Row<N> load_row(const int *piv, ptrdiff_t j) {
    typename vector_of<int, N::width>::type row;
    __builtin_memcpy(&row, piv + j * N::width, sizeof row);
    return __builtin_convertvector(row, Row<N>);
}

// Exchanges row j of each lane with its row piv[j] of n. Of row j a few columns at a time stay in registers; rows that are
// no lane's pivot are passed over. A pivot that is no row, of a lane that `invalid` reports, must not shift too far.
template <class N, class Size, class K>
inline void interchange(Size n, K k, ptrdiff_t j, const int *piv, View<N> x) {
    Row<N> pivot = load_row<N>(piv, j);
    if constexpr (std::is_same_v<Size, Fixed<2>>) {         // to look for pivots takes longer
        auto here = pivot == row_number<N>(1 - j);
        for (ptrdiff_t c = 0; c < k; ++c) {
            N upper = x(0, c), lower = x(1, c);
            x.set(0, c, select(here, lower, upper));
            x.set(1, c, select(here, upper, lower));
        }
        return;
    }
    uint64_t pivots = 0;
    for (int w = 0; w < N::width; ++w) pivots |= uint64_t(1) << (piv[j * N::width + w] & (matkern::MOST_ROWS - 1));
    pivots &= ~uint64_t(0) >> (matkern::MOST_ROWS - n) & ~(uint64_t(1) << j);
    if (!pivots) return;
    tiles<4>(k, [&](ptrdiff_t c, auto columns) {
        constexpr int S = decltype(columns)();
        N upper[S];
        for (int s = 0; s < S; ++s) upper[s] = x(j, c + s);
        for (uint64_t left = pivots; left; left &= left - 1) {
            ptrdiff_t i = __builtin_ctzll(left);
            Row<N> here = pivot == row_number<N>(i);
            for (int s = 0; s < S; ++s) {
                N lower = x(i, c + s);
                x.set(i, c + s, select(here, upper[s], lower));
                upper[s] = select(here, lower, upper[s]);
            }
        }
        for (int s = 0; s < S; ++s) x.set(j, c + s, upper[s]);
    });
}

// The first `count` interchanges of a factorisation; backward: in reverse order.
template <class N, class Size, class K>
inline void permute_rows(Size m, K k, const int *piv, bool backward, View<N> x, ptrdiff_t count) {
    for (ptrdiff_t step = 0; step < count; ++step) interchange(m, k, backward ? count - 1 - step : step, piv, x);
}

// P L U = A of shape (m, n) in place. Returns the lanes in which a division was by zero.
template <class N, class Size, class Other> inline uint64_t factor(Size m, Other n, View<N> a, int *piv) {
    using R = typename N::real_type;
    typename N::Mask zeros{};
    for (ptrdiff_t j = 0; j < (m < n ? ptrdiff_t(m) : ptrdiff_t(n)); ++j) {
        R largest = abs1(a(j, j));
        Row<N> pivot = row_number<N>(j);
        for (ptrdiff_t i = j + 1; i < m; ++i) {
            R size = abs1(a(i, j));
            auto larger = size > largest;
            largest = select(larger, size, largest);
            pivot = larger ? row_number<N>(i) : pivot;
        }
        auto rows = __builtin_convertvector(pivot, typename vector_of<int, N::width>::type);
        __builtin_memcpy(piv + j * N::width, &rows, sizeof rows);
        interchange(m, n, j, piv, a);
        if (j == m - 1) break;
        zeros |= is_zero(a(j, j));
        N inverse = reciprocal(a(j, j));
        for (ptrdiff_t i = j + 1; i < m; ++i) {
            N l = a(i, j) * inverse;
            a.set(i, j, l);
            for (ptrdiff_t c = j + 1; c < n; ++c) a.set(i, c, a(i, c) - l * a(j, c));
        }
    }
    return to_bits(zeros);
}

// The same of a copy of A, which stays in registers meanwhile if it is small.
template <class N, class Size> inline uint64_t factor_copy(Size n, const void *a, View<N> lu, int *piv) {
    if constexpr (std::is_same_v<Size, Fixed<2>>) {
        N held[4];
        UNROLLED (int e = 0; e < 4; ++e) held[e] = static_cast<const N *>(a)[e];
        uint64_t zeros = factor(n, n, View<N>{held, 2, 1}, piv);
        UNROLLED (int e = 0; e < 4; ++e) lu.p[e] = held[e];
        return zeros;
    }
    copy<N>(n * n, a, lu.p);
    return factor(n, n, lu, piv);
}

// The lanes with an interchange of no row.
template <class N> inline uint64_t invalid(ptrdiff_t count, ptrdiff_t m, const int *piv) {
    typename N::Mask bad{};
    for (ptrdiff_t j = 0; j < count; ++j) {
        Row<N> row = load_row<N>(piv, j);
        bad |= (row < row_number<N>(0)) | (row >= row_number<N>(m));
    }
    return to_bits(bad);
}

// The lanes whose factor cannot be solved with: a zero on the diagonal, an interchange of no row.
template <class N, class Size> inline uint64_t unsolvable(Size n, void *lu, const int *piv) {
    return zeros_on_diagonal(n, dense<N>(lu, n)) | invalid<N>(n, n, piv);
}

// B := op(A)^-1 B
template <class N, class Size, class K>
inline void solve_factored(int op, Size n, K k, void *lu, const int *piv, View<N> b) {
    bool transposed = op & TRANSPOSED;
    if (!transposed) permute_rows(n, k, piv, false, b, n);
    with_op<N>(op, lu, n, [&](auto view) {                  // L U, or U^T L^T
        substitute(n, k, view, !transposed, b);
        substitute(n, k, view.backward(n), transposed, b.upside_down(n));
        return uint64_t(0);
    });
    if (transposed) permute_rows(n, k, piv, true, b, n);
}

// out := op(A)^-1: of the triangle that comes first the inverse is a triangle, too. The interchanges come last: of rows if
// op transposes, of columns otherwise.
template <class N, class Size> inline void invert_factored(int op, Size n, void *lu, const int *piv, View<N> out) {
    bool transposed = op & TRANSPOSED;
    identity(n, n, out);
    with_op<N>(op, lu, n, [&](auto view) {
        substitute<true>(n, n, view, !transposed, out);
        substitute(n, n, view.backward(n), transposed, out.upside_down(n));
        return uint64_t(0);
    });
    permute_rows(n, n, piv, true, transposed ? out : View<N>{out.p, 1, n}, n);
}

template <class N> uint64_t inv(void **x, const ptrdiff_t *n, const int *, void *work) {
    return sized<N>(n[0], [&](auto size) {
        View<N> lu = dense<N>(work, size);
        int *piv = reinterpret_cast<int *>(lu.p + size * size);
        factor_copy(size, x[0], lu, piv);
        invert_factored(PLAIN, size, work, piv, dense<N>(x[1], size));
        return zeros_on_diagonal(size, lu);
    });
}

// -op(A) B op(A)
template <class N> inline uint64_t sandwich(int op, ptrdiff_t n, void *a, void *b, void *out, void *work) {
    return sized<N>(n, [&](auto size) {
        return with_op<N>(op, a, size, [&](auto view) {
            View<N> left = dense<N>(work, size), result = dense<N>(out, size);
            multiply(size, size, size, view, dense<N>(b, size), left);
            product(size, size, size, left, view, [&](ptrdiff_t i, ptrdiff_t j, N sum) { result.set(i, j, -sum); });
            return uint64_t(0);
        });
    });
}

template <class N> uint64_t inv_vjp(void **x, const ptrdiff_t *n, const int *, void *work) {
    return sandwich<N>(ADJOINT, n[0], x[0], x[1], x[2], work);
}

template <class N> uint64_t inv_jvp(void **x, const ptrdiff_t *n, const int *, void *work) {
    return sandwich<N>(PLAIN, n[0], x[0], x[1], x[2], work);
}

// ---- lu_factor; A is (m, n)

// perm: the row of A that is in each place
template <class N> inline void permutation(ptrdiff_t m, ptrdiff_t count, const int *piv, int *perm) {
    for (ptrdiff_t i = 0; i < m * N::width; ++i) perm[i] = int(i / N::width);
    for (ptrdiff_t j = 0; j < count; ++j)
        for (int w = 0; w < N::width; ++w) {
            int *here = perm + j * N::width + w, *there = perm + piv[j * N::width + w] * N::width + w, row = *here;
            *here = *there;
            *there = row;
        }
}

// x = [a, lu, piv, perm]
template <class N> uint64_t lu_factor(void **x, const ptrdiff_t *n, const int *, void *) {
    ptrdiff_t m = n[0], columns = n[1];
    int *piv = static_cast<int *>(x[2]);
    uint64_t zeros;
    if (m == columns) {
        zeros = sized<N>(m, [&](auto size) { return factor_copy(size, x[0], dense<N>(x[1], size), piv); });
    } else {
        copy<N>(m * columns, x[0], x[1]);
        zeros = factor(m, columns, dense<N>(x[1], columns), piv);
    }
    if (x[3]) permutation<N>(m, m < columns ? m : columns, piv, static_cast<int *>(x[3]));
    return zeros;
}

// The lanes that cannot be differentiated: a zero pivot with rows below it.
template <class N> inline uint64_t undifferentiable(ptrdiff_t m, ptrdiff_t least, View<N> lu, const int *piv) {
    return zeros_on_diagonal(least < m ? least : m - 1, lu) | invalid<N>(least, m, piv);
}

// x = [lu, piv, lu_bar, a_bar]: the steps of the factorisation, last first
template <class N> uint64_t lu_factor_vjp(void **x, const ptrdiff_t *n, const int *, void *) {
    return sized_shape<N>(n[0], n[1], n[2], [&](auto m, auto columns, auto least) {
        View<N> lu = dense<N>(x[0], columns), g = dense<N>(x[3], columns);
        copy<N>(m * columns, x[2], x[3]);
        for (ptrdiff_t k = least - 1; k >= 0; --k) {
            N inverse = reciprocal(conj(lu(k, k)));
            for (ptrdiff_t i = k + 1; i < m; ++i) {
                N l = conj(lu(i, k)), total = g(i, k);
                for (ptrdiff_t j = k + 1; j < columns; ++j) {
                    total -= g(i, j) * conj(lu(k, j));
                    g.set(k, j, g(k, j) - l * g(i, j));
                }
                total = total * inverse;
                g.set(i, k, total);
                g.set(k, k, g(k, k) - l * total);
            }
        }
        permute_rows(m, columns, static_cast<int *>(x[1]), true, g, least);
        return undifferentiable(m, least, lu, static_cast<int *>(x[1]));
    });
}

// x = [lu, piv, a_dot, lu_dot]
template <class N> uint64_t lu_factor_jvp(void **x, const ptrdiff_t *n, const int *, void *) {
    return sized_shape<N>(n[0], n[1], n[2], [&](auto m, auto columns, auto least) {
        View<N> lu = dense<N>(x[0], columns), t = dense<N>(x[3], columns);
        copy<N>(m * columns, x[2], x[3]);
        permute_rows(m, columns, static_cast<int *>(x[1]), false, t, least);
        for (ptrdiff_t k = 0; k < least; ++k) {
            N inverse = reciprocal(lu(k, k));
            for (ptrdiff_t i = k + 1; i < m; ++i) {
                N l = lu(i, k), dot = (t(i, k) - l * t(k, k)) * inverse;
                t.set(i, k, dot);
                for (ptrdiff_t j = k + 1; j < columns; ++j) t.set(i, j, t(i, j) - dot * lu(k, j) - l * t(k, j));
            }
        }
        return undifferentiable(m, least, lu, static_cast<int *>(x[1]));
    });
}

// The lanes whose two rows change places.
template <class N> inline typename N::Mask swapped(const int *piv) {
    return (load_row<N>(piv, 0) == row_number<N>(1)) ^ (load_row<N>(piv, 1) == row_number<N>(0));
}

// A^-H from the factor
template <class N, class Size> inline void inverse_adjoint(Size n, void *lu, const int *piv, View<N> out) {
    if (n == 2) {                                           // P (L U)^-H
        View<N> f = dense<N>(lu, 2);
        N first = reciprocal(f(0, 0)), last = reciprocal(f(1, 1)), upper = f(0, 1) * last;
        N inverse[] = {first + upper * (f(1, 0) * first), -(f(1, 0) * last), -(upper * first), last};
        auto swap = swapped<N>(piv);
        for (int i = 0; i < 4; ++i) out.p[i] = conj(select(swap, inverse[i ^ 2], inverse[i]));
        return;
    }
    invert_factored(ADJOINT, n, lu, piv, out);
}

// ---- determinants; lanes whose product comes near the ends of the range, or whose matrix is badly conditioned, are
// left to det.pyx

// The product of the pivots with the sign of the interchanges; adds the lanes that are left.
template <class N, class Size> inline N determinant(Size n, View<N> lu, const int *piv, typename N::Mask &bad) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    N product(T(1));
    for (ptrdiff_t j = 0; j < n; ++j) {
        N next = product * lu(j, j);
        product = select(load_row<N>(piv, j) == row_number<N>(j), next, -next);
        R size = abs1(product);
        bad |= ~(size > R(limits<T>::smallest / limits<T>::eps)) | ~(size <= R(limits<T>::largest * limits<T>::eps));
    }
    return product;
}

// x = [a, det, lu, piv]
template <class N> uint64_t det(void **x, const ptrdiff_t *n, const int *, void *work) {
    return sized<N>(n[0], [&](auto size) {
        View<N> lu = dense<N>(x[2] ? x[2] : work, size);
        int *piv = static_cast<int *>(x[3] ? x[3] : static_cast<N *>(work) + size * size);
        typename N::Mask bad{};
        factor_copy(size, x[0], lu, piv);
        *static_cast<N *>(x[1]) = determinant(size, lu, piv, bad);
        return to_bits(bad);
    });
}

// x = [a, sign, logabsdet, lu, piv]
template <class N> uint64_t slogdet(void **x, const ptrdiff_t *n, const int *, void *work) {
    using T = typename N::scalar;
    return sized<N>(n[0], [&](auto size) {
        View<N> lu = dense<N>(x[3] ? x[3] : work, size);
        int *piv = static_cast<int *>(x[4] ? x[4] : static_cast<N *>(work) + size * size);
        typename N::Mask bad{};
        factor_copy(size, x[0], lu, piv);
        N value = determinant(size, lu, piv, bad);
        auto level = modulus(value);
        N &sign = *static_cast<N *>(x[1]);
        if constexpr (N::parts == 1) sign = select(value > N(T(0)), N(T(1)), N(T(-1)));
        else sign = value * reciprocal(level);
        *static_cast<typename N::real_type *>(x[2]) = log(level);
        return to_bits(bad);
    });
}

// G := the conjugate cofactors of a 2 x 2 matrix, det(P) P those of L U.
template <class N> inline void cofactors(View<N> lu, const int *piv, View<N> g) {
    N a = lu(0, 0), b = lu(0, 1), c = lu(1, 0) * a, d = lu(1, 0) * b + lu(1, 1);
    auto swap = swapped<N>(piv);
    g.set(0, 0, conj(select(swap, b, d)));
    g.set(0, 1, -conj(select(swap, a, c)));
    g.set(1, 0, -conj(select(swap, d, b)));
    g.set(1, 1, conj(select(swap, c, a)));
}

template <class N> inline void multiply_by(ptrdiff_t size, N scale, N *x) {
    for (ptrdiff_t i = 0; i < size; ++i) x[i] = x[i] * scale;
}

// G := scale conj(det(A)) A^-H; returns the lanes that are left.
template <class N, class Size> inline uint64_t adjugate(Size n, void *lu_, const int *piv, N scale, View<N> g) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    View<N> lu = dense<N>(lu_, n);
    typename N::Mask bad{};
    if (n == 2) {                                           // however singular
        cofactors(lu, piv, g);
        multiply_by(4, scale, g.p);
        return invalid<N>(2, 2, piv);
    }
    R pivot(T(0)), row(T(0));
    inverse_adjoint(n, lu_, piv, g);
    for (ptrdiff_t i = 0; i < n; ++i) {
        R sum(T(0));
        for (ptrdiff_t j = 0; j < n; ++j) {
            sum += abs1(g(i, j));
            if (i <= j) pivot = select(abs1(lu(i, j)) > pivot, abs1(lu(i, j)), pivot);
        }
        row = select(sum > row, sum, row);
    }
    bad |= ~(row * pivot <= R(T(WORTH * n)));               // of the order of the condition
    multiply_by(n * n, scale * conj(determinant(n, lu, piv, bad)), g.p);
    return to_bits(bad) | invalid<N>(n, n, piv);
}

// x = [lu, piv, det_bar, a_bar]
template <class N> uint64_t det_vjp(void **x, const ptrdiff_t *n, const int *, void *) {
    return sized<N>(n[0], [&](auto size) {
        return adjugate(size, x[0], static_cast<int *>(x[1]), *static_cast<N *>(x[2]), dense<N>(x[3], size));
    });
}

// x = [lu, piv, a_dot, det_dot]
template <class N> uint64_t det_jvp(void **x, const ptrdiff_t *n, const int *, void *work) {
    return sized<N>(n[0], [&](auto size) {
        View<N> g = dense<N>(work, size), a_dot = dense<N>(x[2], size);
        uint64_t left = adjugate(size, x[0], static_cast<int *>(x[1]), N(typename N::scalar(1)), g);
        N total(typename N::scalar(0));
        for (ptrdiff_t i = 0; i < size * size; ++i) total += conj(g.p[i]) * a_dot.p[i];
        *static_cast<N *>(x[3]) = total;
        return left;
    });
}

// x = [sign, lu, piv, sign_bar, logabsdet_bar, a_bar]
template <class N> uint64_t slogdet_vjp(void **x, const ptrdiff_t *n, const int *, void *) {
    using R = typename N::real_type;
    return sized<N>(n[0], [&](auto size) {
        const int *piv = static_cast<int *>(x[2]);
        if (N::parts == 1 && !x[4]) {                       // a real sign has no derivative
            fill<N>(size * size, 0, x[5]);
            return uint64_t(0);
        }
        N scale = x[4] ? N(*static_cast<R *>(x[4])) : N(typename N::scalar(0));
        if constexpr (N::parts == 2)
            if (x[3]) scale.im = (conj(*static_cast<N *>(x[0])) * *static_cast<N *>(x[3])).im;
        View<N> g = dense<N>(x[5], size);
        inverse_adjoint(size, x[1], piv, g);
        multiply_by(size * size, scale, g.p);
        return unsolvable<N>(size, x[1], piv);
    });
}

// x = [sign, lu, piv, a_dot, sign_dot, logabsdet_dot]
template <class N> uint64_t slogdet_jvp(void **x, const ptrdiff_t *n, const int *, void *work) {
    using R = typename N::real_type;
    return sized<N>(n[0], [&](auto size) {
        const int *piv = static_cast<int *>(x[2]);
        View<N> t = dense<N>(work, size);                   // A^-1 A_dot
        copy<N>(size * size, x[3], work);
        solve_factored(PLAIN, size, size, x[1], piv, t);
        N trace(typename N::scalar(0));
        for (ptrdiff_t i = 0; i < size; ++i) trace += t(i, i);
        if (x[4]) {
            N turn(typename N::scalar(0));
            if constexpr (N::parts == 2) turn.im = trace.im;
            *static_cast<N *>(x[4]) = *static_cast<N *>(x[0]) * turn;
        }
        if (x[5]) *static_cast<R *>(x[5]) = real(trace);
        return unsolvable<N>(size, x[1], piv);
    });
}

// ---- solve; option = trans, assume_a

// B := op(A)^-1 B from the factor of A, L L^H if `positive`
template <class N, class Size, class K>
inline void solve_either(bool positive, int op, Size n, K k, void *factor, const int *piv, View<N> b) {
    if (!positive) return solve_factored(op, n, k, factor, piv, b);
    // A^T = conj A
    with_op<N>(op == TRANSPOSED || op == CONJUGATED ? CONJUGATED : PLAIN, factor, n, [&](auto l) {
        substitute(n, k, l, false, b);
        substitute(n, k, l.adjoint().backward(n), false, b.upside_down(n));
        return uint64_t(0);
    });
}

// x = [a, b, x, lu, piv]
template <class N> uint64_t solve(void **x, const ptrdiff_t *n, const int *option, void *work) {
    return sized_system<N>(n, [&](auto size, auto k) {
        void *lu = x[3] ? x[3] : work;
        int *piv = static_cast<int *>(x[4] ? x[4] : static_cast<N *>(work) + size * size);
        uint64_t again;
        if (option[1]) {
            void *operands[] = {x[0], lu};
            int lower = 0;
            again = cholesky<N>(operands, n, &lower, nullptr);
            for (int i = 0; i < size * N::width; ++i) piv[i] = i / N::width;
        } else {
            copy<N>(size * size, x[0], lu);
            factor(size, size, dense<N>(lu, size), piv);
            again = zeros_on_diagonal(size, dense<N>(lu, size));
        }
        copy<N>(size * k, x[1], x[2]);
        solve_either(option[1], op_of(option[0]), size, k, lu, piv, dense<N>(x[2], k));
        return again;
    });
}

// x = [lu, piv, x, x_bar, a_bar, b_bar]; the cotangent of op(A) is -B_bar X^H
template <class N> uint64_t solve_vjp(void **x, const ptrdiff_t *n, const int *option, void *work) {
    int op = op_of(option[0]);
    return sized_system<N>(n, [&](auto size, auto k) {
        const int *piv = static_cast<int *>(x[1]);
        View<N> b_bar = dense<N>(x[5] ? x[5] : work, k);
        copy<N>(size * k, x[3], b_bar.p);
        solve_either(option[1], op ^ ADJOINT, size, k, x[0], piv, b_bar);
        if (x[4])
            with_op<N>(op, x[4], size, [&](auto a_bar) {
                product(size, size, k, b_bar, dense<N>(x[2], k).adjoint(),
                        [&](ptrdiff_t i, ptrdiff_t j, N sum) { a_bar.set(i, j, -sum); });
                return uint64_t(0);
            });
        if (x[4] && option[1]) {                            // the Hermitian part
            View<N> a_bar = dense<N>(x[4], size);
            hermitian_lower(0, size, a_bar, a_bar);
            finish_hermitian(0, size, a_bar);
        }
        return unsolvable<N>(size, x[0], piv);
    });
}

// x = [lu, piv, x, a_dot, b_dot, x_dot]
template <class N> uint64_t solve_jvp(void **x, const ptrdiff_t *n, const int *option, void *) {
    using R = typename N::real_type;
    int op = op_of(option[0]);
    return sized_system<N>(n, [&](auto size, auto k) {
        const int *piv = static_cast<int *>(x[1]);
        View<N> x_dot = dense<N>(x[5], k), solution = dense<N>(x[2], k);
        if (x[4]) copy<N>(size * k, x[4], x[5]);
        else fill<N>(size * k, 0, x[5]);
        if (x[3])
            with_op<N>(op, x[3], size, [&](auto a_dot) {
                if (option[1])
                    product(size, k, size, [&](ptrdiff_t i, ptrdiff_t j) {
                        return (a_dot(i, j) + conj(a_dot(j, i))) * R(typename N::scalar(0.5));
                    }, solution, subtract_from(x_dot));
                else product(size, k, size, a_dot, solution, subtract_from(x_dot));
                return uint64_t(0);
            });
        solve_either(option[1], op, size, k, x[0], piv, x_dot);
        return unsolvable<N>(size, x[0], piv);
    });
}

}  // namespace LANES
