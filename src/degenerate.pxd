# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Quotients by differences of eigenvalues or singular values, which may be zero: of eig.pyx, eigh.pyx and svd.pyx."""

from libc.math cimport fabs

from blas cimport imag, real, scalar
from gufunc cimport NONFINITE

cdef enum:                  # bounds, in eps; who uses them says of what
    REPEATED = 4
    GAUGE = 16

cdef enum:                  # values of the option `degenerate`
    NAN
    ZERO
    RAISE


cdef inline bint is_rounding(scalar x, double small) noexcept nogil:
    return fabs(real(x)) <= small and fabs(imag(x)) <= small


cdef inline int divide(scalar *numerator, double gap, double apart, double small, int degenerate,
                       int failure) noexcept nogil:
    """numerator := numerator / gap; where the gap counts as zero: zero, or the code of the option's answer."""
    if not fabs(gap) <= apart:
        numerator[0] = numerator[0] / gap
    elif degenerate == ZERO or is_rounding(numerator[0], small):
        numerator[0] = 0
    else:
        return failure if degenerate == RAISE else NONFINITE
    return 0
