// The number types that an algorithm is written over: one entry of `width` matrices, real or complex.
//
// Real is a vector of the compiler's own (GCC, Clang), Complex two of them. A mask has all bits of a lane set, or none.
// Everything here and in the algorithms is compiled once for each instruction set, in a namespace of its own (LANES), and
// calls no function of the standard library that could be emitted out of line: the linker would keep one of the copies.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>

#if BYTES > 16
#include <immintrin.h>
#endif

namespace LANES {

template <class T> struct bits_of;
template <> struct bits_of<float> { using type = int32_t; };
template <> struct bits_of<double> { using type = int64_t; };

// Of the precision: the distance from 1 to the next number, the largest number, and the smallest with all its bits.
template <class T> struct limits;
template <> struct limits<float> {
    static constexpr float eps = 0x1p-23f, largest = __FLT_MAX__, smallest = __FLT_MIN__;
    static constexpr int32_t exponent = 0x7f800000, all_but_sign = 0x7fffffff;  // its bits
};
template <> struct limits<double> {
    static constexpr double eps = 0x1p-52, largest = __DBL_MAX__, smallest = __DBL_MIN__;
    static constexpr int64_t exponent = 0x7ff0000000000000, all_but_sign = 0x7fffffffffffffff;
};

// From here on a square has all its bits.
template <class T> constexpr T SAFE_SQUARE = limits<T>::smallest / limits<T>::eps;

template <class T, int W> struct vector_of { typedef T type __attribute__((vector_size(W * sizeof(T)))); };

template <class T, int W> struct Real {
    using scalar = T;
    using real_type = Real;
    using V = typename vector_of<T, W>::type;
    using Mask = typename vector_of<typename bits_of<T>::type, W>::type;
    static constexpr int width = W, parts = 1;
    V v;

    Real() = default;
    Real(V x) : v(x) {}
    Real(T x) : v(x - V{}) {}
    friend Real operator+(Real a, Real b) { return a.v + b.v; }
    friend Real operator-(Real a, Real b) { return a.v - b.v; }
    friend Real operator*(Real a, Real b) { return a.v * b.v; }
    friend Real operator/(Real a, Real b) { return a.v / b.v; }
    friend Real operator-(Real a) { return -a.v; }
    Real &operator+=(Real b) { v += b.v; return *this; }
    Real &operator-=(Real b) { v -= b.v; return *this; }
    friend Mask operator<=(Real a, Real b) { return a.v <= b.v; }
    friend Mask operator>(Real a, Real b) { return a.v > b.v; }
    friend Mask operator==(Real a, Real b) { return a.v == b.v; }
};

template <class T, int W> struct Complex {
    using scalar = T;
    using real_type = Real<T, W>;
    using Mask = typename real_type::Mask;
    static constexpr int width = W, parts = 2;
    real_type re, im;

    Complex() = default;
    Complex(real_type x) : re(x), im(T(0)) {}
    Complex(T x) : re(x), im(T(0)) {}
    Complex(real_type x, real_type y) : re(x), im(y) {}
    friend Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
    friend Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
    friend Complex operator*(Complex a, Complex b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
    friend Complex operator*(Complex a, real_type b) { return {a.re * b, a.im * b}; }
    friend Complex operator-(Complex a) { return {-a.re, -a.im}; }
    Complex &operator+=(Complex b) { return *this = *this + b; }
    Complex &operator-=(Complex b) { return *this = *this - b; }
};

template <class T, int W> inline Real<T, W> conj(Real<T, W> a) { return a; }
template <class T, int W> inline Real<T, W> real(Real<T, W> a) { return a; }
template <class T, int W> inline Real<T, W> abs2(Real<T, W> a) { return a * a; }
template <class T, int W> inline typename Real<T, W>::Mask is_zero(Real<T, W> a) { return a == Real<T, W>(T(0)); }

template <class T, int W> inline Complex<T, W> conj(Complex<T, W> a) { return {a.re, -a.im}; }
template <class T, int W> inline Real<T, W> real(Complex<T, W> a) { return a.re; }
template <class T, int W> inline Real<T, W> abs2(Complex<T, W> a) { return a.re * a.re + a.im * a.im; }
template <class T, int W> inline typename Real<T, W>::Mask is_zero(Complex<T, W> a) {
    return is_zero(a.re) & is_zero(a.im);
}

template <class T, int W> inline Real<T, W> select(typename Real<T, W>::Mask mask, Real<T, W> a, Real<T, W> b) {
    return mask ? a.v : b.v;
}
template <class T, int W> inline Complex<T, W> select(typename Real<T, W>::Mask mask, Complex<T, W> a, Complex<T, W> b) {
    return {select(mask, a.re, b.re), select(mask, a.im, b.im)};
}

template <class T, int W> inline Real<T, W> abs(Real<T, W> a) {
    using Mask = typename Real<T, W>::Mask;
    return (typename Real<T, W>::V)((Mask)a.v & (Mask{} + limits<T>::all_but_sign));
}

template <class T, int W> inline Real<T, W> larger(Real<T, W> a, Real<T, W> b) { return select(a > b, a, b); }

// |re| + |im|, by which LAPACK compares complex pivots
template <class T, int W> inline Real<T, W> abs1(Real<T, W> a) { return abs(a); }
template <class T, int W> inline Real<T, W> abs1(Complex<T, W> a) { return abs(a.re) + abs(a.im); }

#define EACH(function)                                                                                                \
    template <class T, int W> inline Real<T, W> function(Real<T, W> a) {                                              \
        for (int i = 0; i < W; ++i) a.v[i] = sizeof(T) == 4 ? __builtin_##function##f(a.v[i]) : __builtin_##function(a.v[i]); \
        return a;                                                                                                     \
    }
EACH(sqrt)
EACH(log)
EACH(exp)
EACH(cos)
EACH(sin)
#undef EACH

// The power of two at or below a normal number above zero.
template <class T, int W> inline Real<T, W> power_of_two(Real<T, W> a) {
    using Mask = typename Real<T, W>::Mask;
    return (typename Real<T, W>::V)((Mask)a.v & (Mask{} + limits<T>::exponent));
}

template <class T, int W> inline Real<T, W> reciprocal(Real<T, W> a) { return Real<T, W>(T(1)) / a; }
// 1/a = conj(a s) s / |a s|^2 with s = 1 / max(|re|, |im|), so that no square over- or underflows
template <class T, int W> inline Complex<T, W> reciprocal(Complex<T, W> a) {
    Real<T, W> re = abs(a.re), im = abs(a.im), s = reciprocal(select(re > im, re, im));
    Complex<T, W> unit = a * s;
    return conj(unit) * (s / abs2(unit));
}

template <class T, int W> inline Real<T, W> modulus(Real<T, W> a) { return abs(a); }
template <class T, int W> inline Real<T, W> modulus(Complex<T, W> a) {
    Real<T, W> re = abs(a.re), im = abs(a.im), high = larger(re, im), ratio = select(re > im, im, re) / high;
    return select(is_zero(a), Real<T, W>(T(0)), high * sqrt(Real<T, W>(T(1)) + ratio * ratio));
}

// The numbers of each dtype that fill this instruction set's registers.
using S = Real<float, BYTES / 4>;
using D = Real<double, BYTES / 8>;
using C = Complex<float, BYTES / 4>;
using Z = Complex<double, BYTES / 8>;

// Calls f with a number of the dtype of BLAS's letter.
template <class F> inline auto with_number(char letter, F f) {
    return letter == 's' ? f(S()) : letter == 'd' ? f(D()) : letter == 'c' ? f(C()) : f(Z());
}

// The numbers I of a and, from its width on, of b.
template <class V, int... I> inline V pick(V a, V b) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, I...);
#else
    using Index = std::conditional_t<sizeof(a[0]) == 8, int64_t, int32_t>;
    typedef Index Order __attribute__((vector_size(sizeof(V))));
    return __builtin_shuffle(a, b, Order{I...});
#endif
}

template <class T, int W> inline void set_lane(Real<T, W> &out, Real<T, W> x, int lane) { out.v[lane] = x.v[lane]; }
template <class T, int W> inline void set_lane(Complex<T, W> &out, Complex<T, W> x, int lane) {
    set_lane(out.re, x.re, lane);
    set_lane(out.im, x.im, lane);
}

// Bit i is set where lane i of the mask is.
template <class Mask, int... I> inline uint64_t bits_of_lanes(Mask mask, std::integer_sequence<int, I...>) {
    constexpr int W = sizeof...(I);
    mask &= Mask{(1 << I)...};
    if constexpr (W > 8) mask |= pick<Mask, (I + 8) % W...>(mask, mask);
    if constexpr (W > 4) mask |= pick<Mask, (I + 4) % W...>(mask, mask);
    if constexpr (W > 2) mask |= pick<Mask, (I + 2) % W...>(mask, mask);
    return uint64_t(mask[0] | mask[1]);
}
template <class Mask> inline uint64_t to_bits(Mask mask) {
#if BYTES == 32                                             // one instruction, which the compilers do not find
    if constexpr (sizeof(mask) == 32)
        return sizeof(mask[0]) == 8 ? _mm256_movemask_pd((__m256d)mask) : _mm256_movemask_ps((__m256)mask);
#endif
    return bits_of_lanes(mask, std::make_integer_sequence<int, int(sizeof(mask) / sizeof(mask[0]))>{});
}

template <class Mask> inline bool any(Mask mask) { return to_bits(mask) != 0; }

// Of each lane the number of a row, from 0: an integer of the size of its numbers.
template <class N> using Row = typename N::Mask;

template <class N> inline Row<N> row_number(ptrdiff_t i) { return Row<N>{} + typename bits_of<typename N::scalar>::type(i); }

}  // namespace LANES
