# cython: language_level=3
# distutils: language = c++
"""The address of the kernels' XLA FFI handler, as the capsule that `jax.ffi.register_ffi_target` takes."""

from cpython.pycapsule cimport PyCapsule_New

from matkern.kernels.gufunc import run_buffers


cdef extern from "xla.hpp":
    """
    static inline void *handler_of(size_t run) {
        return matkern::handler(reinterpret_cast<matkern::RunBuffers>(run));
    }
    """
    void *handler_of(size_t run)


def handler():
    return PyCapsule_New(handler_of(run_buffers), NULL, NULL)
