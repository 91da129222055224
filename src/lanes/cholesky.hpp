// Cholesky: cholesky.pyx has the formulas.
#pragma once
#include "matmul.hpp"

namespace LANES {

// Each works on tiles: a block of columns at a time, and of these a tile of rows in registers.

template <class N> uint64_t cholesky(void **x, const ptrdiff_t *n, const int *option, void *) {
    using R = typename N::real_type;
    return sized<N>(n[0], [&](auto size) {
        return with_op<N>(option[0] ? ADJOINT : PLAIN, x[1], size, [&](auto l) {
            decltype(l) a = l;
            a.p = static_cast<N *>(x[0]);
            typename N::Mask bad{};
            tiles<Tile<N>::columns>(size, [&](ptrdiff_t j, auto columns) {
                constexpr int S = decltype(columns)();
                N d[S][S];                                  // the factor's diagonal tile
                R inverse[S];
                UNROLLED (int r = 0; r < S; ++r)
                    UNROLLED (int s = 0; s < S; ++s) d[r][s] = s <= r ? a(j + r, j + s) : N(typename N::scalar(0));
                accumulate<true>(d, j, j, 0, j, l, l.adjoint());
                UNROLLED (int s = 0; s < S; ++s) {
                    R pivot = real(d[s][s]);
                    UNROLLED (int q = 0; q < s; ++q) pivot -= abs2(d[s][q]);
                    bad |= ~(pivot > R(typename N::scalar(0)));
                    pivot = sqrt(pivot);
                    inverse[s] = reciprocal(pivot);
                    d[s][s] = N(pivot);
                    UNROLLED (int r = s + 1; r < S; ++r) {
                        UNROLLED (int q = 0; q < s; ++q) d[r][s] -= d[r][q] * conj(d[s][q]);
                        d[r][s] = d[r][s] * inverse[s];
                    }
                }
                UNROLLED (int r = 0; r < S; ++r)
                    UNROLLED (int s = 0; s < S; ++s) l.set(j + r, j + s, s <= r ? d[r][s] : N(typename N::scalar(0)));
                tiles<Tile<N>::rows>(size - j - S, [&](ptrdiff_t from, auto rows) {
                    constexpr int Q = decltype(rows)();
                    ptrdiff_t i = j + S + from;
                    N t[Q][S];
                    UNROLLED (int r = 0; r < Q; ++r)
                        UNROLLED (int s = 0; s < S; ++s) t[r][s] = a(i + r, j + s);
                    accumulate<true>(t, i, j, 0, j, l, l.adjoint());
                    UNROLLED (int r = 0; r < Q; ++r)
                        UNROLLED (int s = 0; s < S; ++s) {
                            UNROLLED (int q = 0; q < s; ++q) t[r][s] -= t[r][q] * conj(d[s][q]);
                            t[r][s] = t[r][s] * inverse[s];
                            l.set(i + r, j + s, t[r][s]);
                            l.set(j + s, i + r, N(typename N::scalar(0)));
                        }
                });
            });
            return to_bits(bad);
        });
    });
}

// With Z = 2 A_bar, from the last column to the first, i > j:
//     Z_ij = (L_bar_ij - sum_{k>j} Z_ik L_kj) / L_jj,  Z_jj = (L_bar_jj - sum_{k>j} conj(Z_kj) L_kj) / L_jj
template <class N> uint64_t cholesky_vjp(void **x, const ptrdiff_t *n, const int *option, void *) {
    using R = typename N::real_type;
    return sized<N>(n[0], [&](auto size) {
        return with_op<N>(option[0] ? ADJOINT : PLAIN, x[0], size, [&](auto l) {
            decltype(l) l_bar = l;
            l_bar.p = static_cast<N *>(x[1]);
            View<N> z = dense<N>(x[2], size);
            const R half(typename N::scalar(0.5));
            tiles_backward<Tile<N>::columns>(size, [&](ptrdiff_t j, auto columns) {
                constexpr int S = decltype(columns)();
                N d[S][S], d_bar[S][S];                     // the diagonal tiles; that of Z is made in d_bar
                R inverse[S];
                UNROLLED (int r = 0; r < S; ++r) {
                    UNROLLED (int s = 0; s <= r; ++s) d[r][s] = l(j + r, j + s), d_bar[r][s] = l_bar(j + r, j + s);
                    inverse[r] = reciprocal(real(d[r][r]));
                }
                tiles<Tile<N>::rows>(size - j - S, [&](ptrdiff_t from, auto rows) {
                    constexpr int Q = decltype(rows)();
                    ptrdiff_t i = j + S + from;
                    N t[Q][S];
                    UNROLLED (int r = 0; r < Q; ++r)
                        UNROLLED (int s = 0; s < S; ++s) t[r][s] = l_bar(i + r, j + s);
                    accumulate<true>(t, i, j, j + S, size, z, l);
                    UNROLLED (int r = 0; r < Q; ++r)
                        UNROLLED (int s = S - 1; s >= 0; --s) {
                            UNROLLED (int q = s + 1; q < S; ++q) t[r][s] -= t[r][q] * d[q][s];
                            t[r][s] = t[r][s] * inverse[s];
                            z.set(i + r, j + s, t[r][s]);
                            z.set(j + s, i + r, conj(t[r][s]));
                        }
                    UNROLLED (int r = 0; r < Q; ++r)
                        UNROLLED (int s = 0; s < S; ++s) {
                            N below = l(i + r, j + s);
                            UNROLLED (int q = s; q < S; ++q) d_bar[q][s] -= conj(t[r][q]) * below;
                        }
                });
                UNROLLED (int s = S - 1; s >= 0; --s) {
                    R diagonal = real(d_bar[s][s]);
                    UNROLLED (int r = s + 1; r < S; ++r) {
                        N total = d_bar[r][s];
                        UNROLLED (int q = s + 1; q < S; ++q) total -= (q <= r ? d_bar[r][q] : conj(d_bar[q][r])) * d[q][s];
                        d_bar[r][s] = total * inverse[s];
                        diagonal -= real(conj(d_bar[r][s]) * d[r][s]);
                    }
                    d_bar[s][s] = N(diagonal * inverse[s]);
                    UNROLLED (int r = s; r < S; ++r) {
                        z.set(j + r, j + s, d_bar[r][s]);
                        z.set(j + s, j + r, conj(d_bar[r][s]));
                    }
                }
            });
            for (ptrdiff_t i = 0; i < size; ++i)
                for (ptrdiff_t j = 0; j <= i; ++j) z.set(i, j, z(i, j) * half);
            finish_hermitian(option[1], size, z);
            return uint64_t(0);
        });
    });
}

// L_dot_ij = (A_dot_ij - sum_{k<j} (L_dot_ik conj(L_jk) + L_ik conj(L_dot_jk)) - L_ij L_dot_jj) / L_jj, the diagonal half of
// what is left there
template <class N> uint64_t cholesky_jvp(void **x, const ptrdiff_t *n, const int *option, void *) {
    using R = typename N::real_type;
    return sized<N>(n[0], [&](auto size) {
        return with_op<N>(option[0] ? ADJOINT : PLAIN, x[0], size, [&](auto l) {
            decltype(l) t = l;
            t.p = static_cast<N *>(x[2]);
            hermitian_lower(option[1], size, dense<N>(x[1], size), t);
            const R half(typename N::scalar(0.5));
            tiles<Tile<N>::columns>(size, [&](ptrdiff_t j, auto columns) {
                constexpr int S = decltype(columns)();
                N d[S][S], d_dot[S][S];                     // the diagonal tiles
                R inverse[S];
                UNROLLED (int r = 0; r < S; ++r)
                    UNROLLED (int s = 0; s < S; ++s) {
                        d[r][s] = s <= r ? l(j + r, j + s) : N(typename N::scalar(0));
                        d_dot[r][s] = s <= r ? t(j + r, j + s) : N(typename N::scalar(0));
                    }
                accumulate<true>(d_dot, j, j, 0, j, t, l.adjoint());
                accumulate<true>(d_dot, j, j, 0, j, l, t.adjoint());
                UNROLLED (int s = 0; s < S; ++s) {
                    inverse[s] = reciprocal(real(d[s][s]));
                    R diagonal = real(d_dot[s][s]);
                    UNROLLED (int q = 0; q < s; ++q) {
                        R part = real(d_dot[s][q] * conj(d[s][q]));
                        diagonal -= part + part;
                    }
                    d_dot[s][s] = N(diagonal * (half * inverse[s]));
                    UNROLLED (int r = s + 1; r < S; ++r) {
                        UNROLLED (int q = 0; q < s; ++q) {
                            d_dot[r][s] -= d_dot[r][q] * conj(d[s][q]);
                            d_dot[r][s] -= d[r][q] * conj(d_dot[s][q]);
                        }
                        d_dot[r][s] = (d_dot[r][s] - d[r][s] * real(d_dot[s][s])) * inverse[s];
                    }
                }
                UNROLLED (int r = 0; r < S; ++r)
                    UNROLLED (int s = 0; s < S; ++s) t.set(j + r, j + s, s <= r ? d_dot[r][s] : N(typename N::scalar(0)));
                tiles<Tile<N>::rows>(size - j - S, [&](ptrdiff_t from, auto rows) {
                    constexpr int Q = decltype(rows)();
                    ptrdiff_t i = j + S + from;
                    N left[Q][S], dot[Q][S];
                    UNROLLED (int r = 0; r < Q; ++r)
                        UNROLLED (int s = 0; s < S; ++s) left[r][s] = l(i + r, j + s), dot[r][s] = t(i + r, j + s);
                    accumulate<true>(dot, i, j, 0, j, t, l.adjoint());
                    accumulate<true>(dot, i, j, 0, j, l, t.adjoint());
                    UNROLLED (int r = 0; r < Q; ++r)
                        UNROLLED (int s = 0; s < S; ++s) {
                            UNROLLED (int q = 0; q < s; ++q) {
                                dot[r][s] -= dot[r][q] * conj(d[s][q]);
                                dot[r][s] -= left[r][q] * conj(d_dot[s][q]);
                            }
                            dot[r][s] = (dot[r][s] - left[r][s] * real(d_dot[s][s])) * inverse[s];
                            t.set(i + r, j + s, dot[r][s]);
                            t.set(j + s, i + r, N(typename N::scalar(0)));
                        }
                });
            });
            return uint64_t(0);
        });
    });
}

// x = [l, b, x]: A = F1 F2 with F1 = L, F2 = L^H, or U^H and U
template <class N> uint64_t cholesky_solve(void **x, const ptrdiff_t *n, const int *option, void *) {
    return sized_system<N>(n, [&](auto size, auto k) {
        return with_op<N>(option[0] ? ADJOINT : PLAIN, x[0], size, [&](auto l) {
            View<N> solution = dense<N>(x[2], k);
            copy<N>(size * k, x[1], x[2]);
            substitute(size, k, l, false, solution);
            substitute(size, k, l.adjoint().backward(size), false, solution.upside_down(size));
            return zeros_on_diagonal(size, l);
        });
    });
}

// The factor's lower triangle as a product takes it, zero above.
template <class V> inline auto lower_part(V l) {
    using N = typename V::number;
    return [l](ptrdiff_t i, ptrdiff_t j) { return j <= i ? l(i, j) : N(typename N::scalar(0)); };
}

template <class V> inline auto adjoint_of_lower_part(V l) {
    using N = typename V::number;
    return [l](ptrdiff_t i, ptrdiff_t j) { return i <= j ? conj(l(j, i)) : N(typename N::scalar(0)); };
}

// x = [l, x, x_bar, l_bar, b_bar]; of U = L^H the cotangent is L_bar^H
template <class N> uint64_t cholesky_solve_vjp(void **x, const ptrdiff_t *n, const int *option, void *work) {
    int op = option[0] ? ADJOINT : PLAIN;
    return sized_system<N>(n, [&](auto size, auto k) {
        View<N> solution = dense<N>(x[1], k), p = dense<N>(work, k), q = dense<N>(p.p + size * k, k);
        View<N> b_bar = dense<N>(x[4] ? x[4] : q.p + size * k, k);
        uint64_t zeros = with_op<N>(op, x[0], size, [&](auto l) {
            copy<N>(size * k, x[2], q.p);
            substitute(size, k, l, false, q);
            copy<N>(size * k, q.p, b_bar.p);
            substitute(size, k, l.adjoint().backward(size), false, b_bar.upside_down(size));
            if (x[3]) product<false, true>(size, k, size, adjoint_of_lower_part(l), solution, assign_to(p));
            return zeros_on_diagonal(size, l);
        });
        if (!x[3]) return zeros;
        with_op<N>(op, x[3], size, [&](auto l_bar) {
            product(size, size, k, b_bar, p.adjoint(), [&](ptrdiff_t i, ptrdiff_t j, N sum) { l_bar.set(i, j, -sum); });
            product(size, size, k, solution, q.adjoint(), [&](ptrdiff_t i, ptrdiff_t j, N sum) {
                l_bar.set(i, j, j <= i ? l_bar(i, j) - sum : N(typename N::scalar(0)));
            });
            return uint64_t(0);
        });
        return zeros;
    });
}

// x = [l, x, l_dot, b_dot, x_dot]
template <class N> uint64_t cholesky_solve_jvp(void **x, const ptrdiff_t *n, const int *option, void *work) {
    int op = option[0] ? ADJOINT : PLAIN;
    return sized_system<N>(n, [&](auto size, auto k) {
        View<N> solution = dense<N>(x[1], k), p = dense<N>(work, k), x_dot = dense<N>(x[4], k);
        if (x[3]) copy<N>(size * k, x[3], x[4]);
        else fill<N>(size * k, 0, x[4]);
        return with_op<N>(op, x[0], size, [&](auto l) {
            decltype(l) l_dot = l;
            l_dot.p = static_cast<N *>(x[2]);
            if (x[2]) {
                product<false, true>(size, k, size, adjoint_of_lower_part(l), solution, assign_to(p));
                product(size, k, size, lower_part(l_dot), p, subtract_from(x_dot));
            }
            substitute(size, k, l, false, x_dot);
            if (x[2]) product<false, true>(size, k, size, adjoint_of_lower_part(l_dot), solution, subtract_from(x_dot));
            substitute(size, k, l.adjoint().backward(size), false, x_dot.upside_down(size));
            return zeros_on_diagonal(size, l);
        });
    });
}

}  // namespace LANES
