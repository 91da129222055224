// Exponentials of matrices and their Frechet derivative: expm.pyx has the formulas. The degree is the highest, so that it
// does not depend on a lane's neighbours; each lane scales and squares for itself.
#pragma once
#include "lu.hpp"
#include "tridiagonal.hpp"

namespace LANES {

constexpr int HIGHEST = 13;             // degree
constexpr int MOST_IN_LANES = 20;       // squarings; beyond, a lane is left: 2^(6 * 20) is a number of single precision, too

template <class T> struct Pade;         // what choose() of expm.pyx has last
template <> struct Pade<float> {
    static constexpr int degree = 7;
    static constexpr double bound = 3.248;
};
template <> struct Pade<double> {
    static constexpr int degree = 13;
    static constexpr double bound = 4.740;
};

template <class N> inline N exponential(N x) {
    if constexpr (N::parts == 1) return exp(x);
    else {
        auto size = exp(x.re);
        return {size * cos(x.im), size * sin(x.im)};
    }
}

// 2^exponent in each lane
template <class N> inline typename N::real_type power(const int *exponent) {
    typename N::real_type x(typename N::scalar(1));
    for (int w = 0; w < N::width; ++w) x.v[w] = typename N::scalar(__builtin_ldexp(1, exponent[w]));
    return x;
}

template <class N> inline N mean_of_diagonal(ptrdiff_t n, const N *a) {
    N mean(typename N::scalar(0));
    for (ptrdiff_t i = 0; i < n; ++i) mean += a[i * n + i];
    return mean * typename N::real_type(typename N::scalar(1) / typename N::scalar(n));
}

// B := scale (A - mean I)
template <class N> inline void reduce(ptrdiff_t n, const N *a, typename N::real_type scale, N *b) {
    N mean = mean_of_diagonal(n, a);
    for (ptrdiff_t i = 0; i < n; ++i)
        for (ptrdiff_t j = 0; j < n; ++j) b[i * n + j] = (i == j ? a[i * n + j] - mean : a[i * n + j]) * scale;
}

// r_m's numerator, of which each lane has its own degree; the first is 1.
template <class N> struct Numerator {
    using R = typename N::real_type;
    using T = typename N::scalar;
    R number[HIGHEST + 1];
    bool beyond = false;                // some lane's goes beyond B^7: by another product with B^6

    explicit Numerator(const int *degree) {
        R m(T(0));
        for (int w = 0; w < N::width; ++w) {
            m.v[w] = T(degree[w]);
            beyond |= degree[w] > 7;
        }
        number[0] = R(T(1));
        for (int k = 1; k <= HIGHEST; ++k)
            number[k] = select(m > R(T(k - 1)), number[k - 1] * (m - R(T(k - 1))) / (R(T(k)) * (m + m - R(T(k - 1)))), R(T(0)));
    }
    // the sum over j < 3 of number[first + 2 j] p[j], entry i
    N combine(int first, N *const *p, ptrdiff_t i) const {
        return p[0][i] * number[first] + p[1][i] * number[first + 2] + p[2][i] * number[first + 4];
    }
};

// out := V, or W if odd
template <class N>
inline void part(const Numerator<N> &c, int odd, ptrdiff_t n, N *const *p, N *out, N *work) {
    for (ptrdiff_t i = 0; i < n * n; ++i) out[i] = c.combine(2 + odd, p, i);
    for (ptrdiff_t i = 0; i < n; ++i) out[i * n + i] += N(c.number[odd]);
    if (!c.beyond) return;
    for (ptrdiff_t i = 0; i < n * n; ++i) work[i] = c.combine(8 + odd, p, i);
    multiply(n, n, n, dense<N>(p[2], n), dense<N>(work, n), dense<N>(out, n), true);
}

// out := its derivative, given those of the powers
template <class N>
inline void part_derivative(const Numerator<N> &c, int odd, ptrdiff_t n, N *const *p, N *const *m, N *out, N *work) {
    for (ptrdiff_t i = 0; i < n * n; ++i) out[i] = c.combine(2 + odd, m, i);
    if (!c.beyond) return;
    for (ptrdiff_t i = 0; i < n * n; ++i) work[i] = c.combine(8 + odd, p, i);
    multiply(n, n, n, dense<N>(m[2], n), dense<N>(work, n), dense<N>(out, n), true);
    for (ptrdiff_t i = 0; i < n * n; ++i) work[i] = c.combine(8 + odd, m, i);
    multiply(n, n, n, dense<N>(p[2], n), dense<N>(work, n), dense<N>(out, n), true);
}

// out := x |B|, and the largest of its entries
template <class R> inline R column_sums(ptrdiff_t n, const R *size, const R *x, R *out) {
    R largest(typename R::scalar(0));
    for (ptrdiff_t j = 0; j < n; ++j) {
        out[j] = R(typename R::scalar(0));
        for (ptrdiff_t i = 0; i < n; ++i) out[j] += x[i] * size[i * n + j];
        largest = larger(out[j], largest);
    }
    return largest;
}

// The 1-norm of B; of a complex entry |re| + |im|, which is no smaller than it. `sizes` keeps those, and has room for a row.
template <class N> inline typename N::real_type one_norm(ptrdiff_t n, const N *b, typename N::real_type *sizes) {
    using R = typename N::real_type;
    R *ones = sizes + n * n, *sums = ones + n;
    for (ptrdiff_t i = 0; i < n * n; ++i) sizes[i] = abs1(b[i]);
    for (ptrdiff_t j = 0; j < n; ++j) ones[j] = R(typename N::scalar(1));
    return column_sums(n, sizes, ones, sums);
}

inline int at_least_zero(double x) { return x > 0 ? int(x) : 0; }

// How many of each lane's squarings are needless: expm.pyx has why. Returns the lanes where that underflows.
template <class N>
inline uint64_t spared(ptrdiff_t n, const int *squarings, const N *b, N *const *p, typename N::real_type *work, int *needless) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    constexpr int m = Pade<T>::degree;
    R fourth = one_norm(n, p[1], work), sixth = one_norm(n, p[2], work), size = one_norm(n, b, work);
    bool some = false;
    for (int w = 0; w < N::width; ++w) {
        double x = __builtin_sqrt(__builtin_sqrt(fourth.v[w])), y = __builtin_cbrt(__builtin_sqrt(sixth.v[w]));
        double growth = x > y ? x : y, most = squarings[w];
        if (growth > 0) most = __builtin_fmin(most, __builtin_floor(__builtin_log2(Pade<T>::bound / growth)));
        needless[w] = at_least_zero(most);
        some |= needless[w] > 0;
    }
    if (!some) return 0;
    R *x = work + n * n, *y = x + n, power;
    for (int step = 0; step <= 2 * m; ++step) {
        power = column_sums(n, work, x, y);
        R *last = x;
        x = y;
        y = last;
    }
    double first = 1;                                       // coefficient of the error's series
    for (int k = 1; k <= m; ++k) first *= double(k) / (m + k);
    for (int k = 2; k < 2 * m + 2; ++k) first /= k;
    uint64_t left = 0;
    for (int w = 0; w < N::width; ++w) {
        double ratio = limits<T>::eps / 2 * size.v[w] / (first * power.v[w]);
        if (power.v[w] >= limits<T>::smallest)
            needless[w] = at_least_zero(__builtin_fmin(needless[w], __builtin_floor(__builtin_log2(ratio) / (2 * m))));
        else if (needless[w]) left |= uint64_t(1) << w;
    }
    return left;
}

// X, Y := X + Y, X - Y
template <class N> inline void sum_and_difference(ptrdiff_t size, N *x, N *y) {
    for (ptrdiff_t i = 0; i < size; ++i) {
        N t = x[i];
        x[i] = t + y[i];
        y[i] = t - y[i];
    }
}

template <class N> inline N shift_factor(ptrdiff_t n, const N *a, typename N::real_type scale) {
    return exponential(mean_of_diagonal(n, a) * scale);
}

inline int most_of_lanes(const int *x, int width) {
    int most = 0;
    for (int w = 0; w < width; ++w) most = x[w] > most ? x[w] : most;
    return most;
}

// The lanes that are to be squared at this step
template <class N> inline typename N::Mask squared(const int *squarings, int step) {
    typename N::Mask mask;
    for (int w = 0; w < N::width; ++w) mask[w] = squarings[w] > step ? -1 : 0;
    return mask;
}

// x = [a, x, b2, b4, b6, odd, factor, root, piv, plan]
template <class N> uint64_t expm(void **x, const ptrdiff_t *n_, const int *, void *work_) {
    using R = typename N::real_type;
    using T = typename N::scalar;
    ptrdiff_t n = n_[0], square = n * n;
    const N *a = static_cast<N *>(x[0]);
    N *out = static_cast<N *>(x[1]), *work = static_cast<N *>(work_), *kept[6];
    for (int k = 0; k < 6; ++k) {
        kept[k] = x[2 + k] ? static_cast<N *>(x[2 + k]) : work;
        if (!x[2 + k]) work += square;
    }
    N *odd = kept[3], *lu = kept[4], *root = kept[5], *b = work, *u = b + square, *t = u + square;
    int *piv = static_cast<int *>(x[8] ? x[8] : t + square), *plan = static_cast<int *>(x[9]);
    int degree[N::width], squarings[N::width], needless[N::width], scale[N::width];
    R *sizes = reinterpret_cast<R *>(u);                    // and t
    uint64_t again = 0;
    reduce(n, a, R(T(1)), b);
    R norm = one_norm(n, b, sizes);
    for (int w = 0; w < N::width; ++w) {
        double over = norm.v[w] / Pade<T>::bound;
        degree[w] = Pade<T>::degree;
        squarings[w] = needless[w] = 0;
        if (!(over < 1 << MOST_IN_LANES)) again |= uint64_t(1) << w;
        else if (over > 1) __builtin_frexp(over, &squarings[w]);
        scale[w] = -squarings[w];
    }
    reduce(n, a, power<N>(scale), b);
    multiply(n, n, n, dense<N>(b, n), dense<N>(b, n), dense<N>(kept[0], n));
    multiply(n, n, n, dense<N>(kept[0], n), dense<N>(kept[0], n), dense<N>(kept[1], n));
    multiply(n, n, n, dense<N>(kept[0], n), dense<N>(kept[1], n), dense<N>(kept[2], n));
    if (most_of_lanes(squarings, N::width)) again |= spared(n, squarings, b, kept, sizes, needless);
    if (most_of_lanes(needless, N::width)) {
        R back = power<N>(needless), times = back * back;
        for (ptrdiff_t i = 0; i < square; ++i) b[i] = b[i] * back;
        for (int k = 0; k < 3; ++k) {
            for (ptrdiff_t i = 0; i < square; ++i) kept[k][i] = kept[k][i] * times;
            times = times * back * back;
        }
    }
    for (int w = 0; w < N::width; ++w) {
        squarings[w] -= needless[w];
        scale[w] = -squarings[w];
        if (plan) plan[w] = degree[w] + 16 * squarings[w];
    }
    Numerator<N> numerator(degree);
    part(numerator, 1, n, kept, odd, t);
    multiply(n, n, n, dense<N>(b, n), dense<N>(odd, n), dense<N>(u, n));
    part(numerator, 0, n, kept, root, t);
    sum_and_difference(square, root, u);
    copy<N>(square, u, lu);
    again |= factor(n, n, dense<N>(lu, n), piv);
    solve_factored(PLAIN, n, n, lu, piv, dense<N>(root, n));
    N shift = shift_factor(n, a, power<N>(scale));
    multiply_by(square, shift, root);
    copy<N>(square, root, out);
    for (int step = 0; step < most_of_lanes(squarings, N::width); ++step) {
        auto active = squared<N>(squarings, step);
        multiply(n, n, n, dense<N>(out, n), dense<N>(out, n), dense<N>(t, n));
        for (ptrdiff_t i = 0; i < square; ++i) out[i] = select(active, t[i], out[i]);
    }
    return again;
}

// out := A M + M A
template <class N> inline void from_both_sides(ptrdiff_t n, N *a, N *m, N *out) {
    multiply(n, n, n, dense<N>(a, n), dense<N>(m, n), dense<N>(out, n));
    multiply(n, n, n, dense<N>(m, n), dense<N>(a, n), dense<N>(out, n), true);
}

// The last of the operands := L(A, E), E the one before it; in a pullback L(A^H, E) = L(A, E^H)^H.
// x = [a, b2, b4, b6, odd, factor, root, piv, plan, e, out]
template <class N, bool PULLBACK> uint64_t frechet(void **x, const ptrdiff_t *n_, const int *, void *work) {
    ptrdiff_t n = n_[0], square = n * n;
    N *a = static_cast<N *>(x[0]), *odd = static_cast<N *>(x[4]), *root = static_cast<N *>(x[6]);
    N *p[3], *m[3], *e = static_cast<N *>(x[9]), *out = static_cast<N *>(x[10]);
    for (int k = 0; k < 3; ++k) {
        p[k] = static_cast<N *>(x[1 + k]);
        m[k] = static_cast<N *>(work) + k * square;
    }
    N *b = m[2] + square, *t = b + square, *u = t + square, *v = u + square, *spare = v + square;
    const int *piv = static_cast<int *>(x[7]), *plan = static_cast<int *>(x[8]);
    int degree[N::width], squarings[N::width], scale[N::width];
    uint64_t again = invalid<N>(n, n, piv);
    for (int w = 0; w < N::width; ++w) {
        degree[w] = plan[w] & 15;
        squarings[w] = plan[w] >> 4;
        bool known = degree[w] == 3 || degree[w] == 5 || degree[w] == 7 || degree[w] == Pade<typename N::scalar>::degree;
        if (!known || squarings[w] < 0 || squarings[w] > MOST_IN_LANES) {
            again |= uint64_t(1) << w;
            degree[w] = 3;
            squarings[w] = 0;
        }
        scale[w] = -squarings[w];
    }
    auto half = power<N>(scale);
    reduce(n, a, half, b);
    for (ptrdiff_t i = 0; i < n; ++i)
        for (ptrdiff_t j = 0; j < n; ++j) t[i * n + j] = (PULLBACK ? conj(e[j * n + i]) : e[i * n + j]) * half;
    from_both_sides(n, b, t, m[0]);
    from_both_sides(n, p[0], m[0], m[1]);
    multiply(n, n, n, dense<N>(p[1], n), dense<N>(m[0], n), dense<N>(m[2], n));
    multiply(n, n, n, dense<N>(m[1], n), dense<N>(p[0], n), dense<N>(m[2], n), true);
    Numerator<N> numerator(degree);
    part_derivative(numerator, 1, n, p, m, v, spare);
    multiply(n, n, n, dense<N>(b, n), dense<N>(v, n), dense<N>(u, n));
    multiply(n, n, n, dense<N>(t, n), dense<N>(odd, n), dense<N>(u, n), true);
    part_derivative(numerator, 0, n, p, m, v, spare);
    sum_and_difference(square, u, v);
    N shift = shift_factor(n, a, half);
    multiply_by(square, shift, u);
    multiply(n, n, n, dense<N>(v, n), dense<N>(root, n), dense<N>(u, n), true);
    solve_factored(PLAIN, n, n, x[5], piv, dense<N>(u, n));
    int most = most_of_lanes(squarings, N::width);
    for (int step = 0; step < most; ++step) {
        auto active = squared<N>(squarings, step);
        from_both_sides(n, root, u, v);
        for (ptrdiff_t i = 0; i < square; ++i) u[i] = select(active, v[i], u[i]);
        if (step == most - 1) break;
        multiply(n, n, n, dense<N>(root, n), dense<N>(root, n), dense<N>(spare, n));
        N *last = root;
        root = spare;
        spare = step ? last : b;                            // the first is not ours to overwrite
    }
    for (ptrdiff_t i = 0; i < n; ++i)
        for (ptrdiff_t j = 0; j < n; ++j) out[i * n + j] = PULLBACK ? conj(u[j * n + i]) : u[i * n + j];
    return again;
}

template <class N> uint64_t expm_vjp(void **x, const ptrdiff_t *n, const int *option, void *work) {
    return frechet<N, true>(x, n, option, work);
}

template <class N> uint64_t expm_jvp(void **x, const ptrdiff_t *n, const int *option, void *work) {
    return frechet<N, false>(x, n, option, work);
}

// ---- Hermitian matrices

// x = [a, x, w, q]
template <class N> uint64_t expm_hermitian(void **x, const ptrdiff_t *n_, const int *, void *work) {
    using R = typename N::real_type;
    ptrdiff_t n = n_[0];
    R *e = static_cast<R *>(work);
    N *rest = reinterpret_cast<N *>(e) + n;
    R *w = static_cast<R *>(x[2] ? x[2] : rest);
    View<N> q = dense<N>(x[3] ? x[3] : rest + n, n), out = dense<N>(x[1], n);
    void *operands[] = {x[0], w, q.p};
    int lower = 0;
    uint64_t again = eigh<N>(operands, n_, &lower, rest + n + n * n);
    for (ptrdiff_t j = 0; j < n; ++j) e[j] = exp(w[j]);
    auto scaled = [&](ptrdiff_t i, ptrdiff_t j) { return q(i, j) * e[j]; };
    product<true>(n, n, n, scaled, q.adjoint(), assign_to(out));
    finish_hermitian(0, n, out);
    return again;
}

// (1 - e^-x) / x for x >= 0, given e^-x for x > 1
template <class R> inline R mean_decay(R x, R after) {
    using T = typename R::scalar;
    R series(T(0)), near = select(x > R(T(1)), R(T(1)), x);
    for (int k = sizeof(T) == 4 ? 11 : 19; k > 0; --k) series = R(T(1)) - near * series * R(T(1) / T(k + 1));
    return select(x > R(T(1)), (R(T(1)) - after) / x, series);
}

// x = [w, q, e, out]: L(A, .) is its own adjoint
template <class N> uint64_t expm_hermitian_vjp(void **x, const ptrdiff_t *n_, const int *, void *work) {
    using R = typename N::real_type;
    ptrdiff_t n = n_[0];
    const R *w = static_cast<R *>(x[0]);
    View<N> q = dense<N>(x[1], n), out = dense<N>(x[3], n), t = dense<N>(work, n);
    R *e = reinterpret_cast<R *>(t.p + n * n);
    for (ptrdiff_t i = 0; i < n; ++i) e[i] = exp(w[i]);
    hermitian_lower(0, n, dense<N>(x[2], n), out);
    finish_hermitian(0, n, out);
    multiply(n, n, n, out, q, t);
    multiply(n, n, n, q.adjoint(), t, out);
    for (ptrdiff_t i = 0; i < n; ++i) {                     // w ascends
        out.set(i, i, out(i, i) * e[i]);
        for (ptrdiff_t j = 0; j < i; ++j) out.set(i, j, out(i, j) * (e[i] * mean_decay(w[i] - w[j], e[j] / e[i])));
    }
    finish_hermitian(0, n, out);
    multiply(n, n, n, q, out, t);
    product<true>(n, n, n, t, q.adjoint(), assign_to(out));
    finish_hermitian(0, n, out);
    return 0;
}

}  // namespace LANES
