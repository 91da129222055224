// The number types that an algorithm is written over: one entry of `width` matrices, real or complex.
//
// Real is a vector of the compiler's own (GCC, Clang), Complex two of them. A mask has all bits of a lane set, or none.
// Everything here and in the algorithms is compiled once for each instruction set, in a namespace of its own (LANES), and
// calls no function of the standard library that could be emitted out of line: the linker would keep one of the copies.
#pragma once
#include <cstddef>
#include <cstdint>

namespace LANES {

template <class T> struct bits_of;
template <> struct bits_of<float> { using type = int32_t; };
template <> struct bits_of<double> { using type = int64_t; };

// Of the precision: the distance from 1 to the next number, the largest number, and the smallest with all its bits.
template <class T> struct limits;
template <> struct limits<float> {
    static constexpr float eps = 0x1p-23f, largest = __FLT_MAX__, smallest = __FLT_MIN__;
};
template <> struct limits<double> {
    static constexpr double eps = 0x1p-52, largest = __DBL_MAX__, smallest = __DBL_MIN__;
};

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

template <class T, int W> inline Real<T, W> abs(Real<T, W> a) { return select(a > Real<T, W>(T(0)), a, -a); }

// |re| + |im|, by which LAPACK compares complex pivots
template <class T, int W> inline Real<T, W> abs1(Real<T, W> a) { return abs(a); }
template <class T, int W> inline Real<T, W> abs1(Complex<T, W> a) { return abs(a.re) + abs(a.im); }

template <class T, int W> inline Real<T, W> sqrt(Real<T, W> a) {
    for (int i = 0; i < W; ++i) a.v[i] = sizeof(T) == 4 ? __builtin_sqrtf(a.v[i]) : __builtin_sqrt(a.v[i]);
    return a;
}

template <class T, int W> inline Real<T, W> reciprocal(Real<T, W> a) { return Real<T, W>(T(1)) / a; }
// 1/a = conj(a s) s / |a s|^2 with s = 1 / max(|re|, |im|), so that no square over- or underflows
template <class T, int W> inline Complex<T, W> reciprocal(Complex<T, W> a) {
    Real<T, W> re = abs(a.re), im = abs(a.im), s = reciprocal(select(re > im, re, im));
    Complex<T, W> unit = a * s;
    return conj(unit) * (s / abs2(unit));
}

// Bit i is set where lane i of the mask is.
template <class Mask> inline uint64_t to_bits(Mask mask) {
    uint64_t bits = 0;
    for (unsigned i = 0; i < sizeof(mask) / sizeof(mask[0]); ++i) bits |= uint64_t(mask[i] & 1) << i;
    return bits;
}

template <class Mask> inline bool any(Mask mask) { return to_bits(mask) != 0; }

}  // namespace LANES
