# cython: language_level=3
"""What a family of kernels needs of the batch layer: the type of the function that does one matrix."""

from blas cimport c, d, s, z

# x: the operands in the order of the signature, each C-contiguous, NULL where an output is not wanted, or a cotangent
# or tangent, but never all of them, is zero.
# n: the core dimensions in the order of their first appearance. option: the index of each option's value.
# work: as many elements of the dtype as the kernel asked for. Returns 0, NONFINITE, the code of a failure, or one below
# NONFINITE, of which the kernel warns: the outputs stand.
ctypedef int (*matrix_function)(void **x, const Py_ssize_t *n, const int *option, void *work) noexcept nogil
ctypedef Py_ssize_t (*workspace_function)(const Py_ssize_t *n, const int *option) noexcept nogil

cdef enum:
    NONFINITE = -1          # no answer, and no error: the outputs of this matrix become NaN


# A matrix function is fused over the dtypes; these are its four.
ctypedef int (*matrix_s)(s **x, const Py_ssize_t *n, const int *option, s *work) noexcept nogil
ctypedef int (*matrix_d)(d **x, const Py_ssize_t *n, const int *option, d *work) noexcept nogil
ctypedef int (*matrix_c)(c **x, const Py_ssize_t *n, const int *option, c *work) noexcept nogil
ctypedef int (*matrix_z)(z **x, const Py_ssize_t *n, const int *option, z *work) noexcept nogil


cdef inline list dtypes(matrix_s in_s, matrix_d in_d, matrix_c in_c, matrix_z in_z):
    """The addresses of a matrix function for float32, float64, complex64 and complex128, as `Kernel` takes them."""
    return [<size_t> in_s, <size_t> in_d, <size_t> in_c, <size_t> in_z]
