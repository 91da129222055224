# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""How NumPy's inner loop and XLA call a kernel: their pointers, sizes and strides become a batch of batch.pxd."""

from cpython.exc cimport PyErr_SetString
from libc.stdint cimport int64_t
from numpy cimport npy_intp

from batch cimport (
    FINE, MAX_BATCH, MAX_OPTIONS, NO_MEMORY, TOO_LARGE, Batch, Failures, Loop, Refusal, coalesce, go, itemsize)


cdef extern from *:
    """
    #include <cfenv>
    static inline void clear_float_status() { std::feclearexcept(FE_ALL_EXCEPT); }
    """
    void clear_float_status() noexcept nogil


cdef extern from "xla.hpp" namespace "matkern":
    cdef struct Buffer:
        void *data
        const int64_t *dims
        int ndim


cdef inline void fail(const char *message) noexcept nogil:
    """Set an exception, for which NumPy looks after a loop."""
    with gil:
        PyErr_SetString(ValueError, message)


cdef inline void gufunc_loop(char **args, const npy_intp *dimensions, const npy_intp *steps,
                             void *data) noexcept nogil:
    """NumPy's inner loop: one batch axis, core strides behind the batch strides."""
    cdef Batch b
    cdef Failures failures
    cdef const Loop *loop = <const Loop*> data
    cdef int k, j, at = loop.nop
    cdef Refusal refusal
    b.loop = loop
    b.failures = &failures
    b.cautions = NULL
    b.ndim = 1
    b.shape[0] = dimensions[0]
    for k in range(loop.ndim):
        if k != loop.least:
            dimensions += 1
            b.n[k] = dimensions[0]
    if loop.least >= 0:
        b.n[loop.least] = min(b.n[loop.m], b.n[loop.n])
        if b.n[loop.least] != b.n[loop.declared]:
            fail(b"this gufunc is for matrices of the other shape: tall (min=n) or wide (min=m)")
            return
    for k in range(loop.nop):
        b.data[k] = args[k]
        b.strides[k][0] = steps[k]
        b.core_strides[k][0] = b.core_strides[k][1] = 0
        for j in range(loop.operand[k].ndim):
            b.core_strides[k][j + 2 - loop.operand[k].ndim] = steps[at]
            at += 1
    refusal = go(&b)
    clear_float_status()
    if refusal != FINE:
        fail(b"too large for the 32-bit integers of BLAS and LAPACK, or no memory for the workspace")


cdef inline const char *run_on_buffers(const Loop *its_loop, int64_t present, const int64_t *options, int n_options,
                                       const Buffer *buffers, int n_buffers) noexcept nogil:
    """Run a kernel over dense row-major buffers; those of the outputs have the shape of the whole batch."""
    cdef Batch b
    cdef Failures failures
    cdef Loop loop = its_loop[0]
    cdef int k, j, axis, core, offset, given = 0
    cdef int64_t size
    cdef Py_ssize_t stride
    cdef Refusal refusal
    if n_options > MAX_OPTIONS:
        return b"matkern: too many options"
    for j in range(n_options):
        loop.option[j] = <int> options[j]
    b.loop = &loop
    b.failures = &failures
    b.cautions = NULL
    b.ndim = -1
    for j in range(loop.ndim):
        b.n[j] = -1
    for k in range(loop.nop):                       # core dimensions, and the batch from the first output
        b.data[k] = NULL
        if not present >> k & 1:
            if k < loop.nin and not loop.operand[k].follows:
                return b"matkern: an operand is missing"
            continue
        if given == n_buffers:
            return b"matkern: too few buffers"
        core = loop.operand[k].ndim
        offset = buffers[given].ndim - core
        if offset < 0 or offset > MAX_BATCH:
            return b"matkern: a buffer has too few axes, or too many"
        for j in range(core):
            size = buffers[given].dims[offset + j]
            if b.n[loop.operand[k].dim[j]] < 0:
                b.n[loop.operand[k].dim[j]] = size
            elif b.n[loop.operand[k].dim[j]] != size:
                return b"matkern: core dimensions do not agree"
        if k >= loop.nin and b.ndim < 0:
            b.ndim = offset
            for axis in range(offset):
                b.shape[axis] = buffers[given].dims[axis]
        given += 1
    if given != n_buffers or b.ndim < 0:
        return b"matkern: too many buffers"
    if loop.least >= 0 and b.n[loop.least] < 0:     # only an output that is not wanted has it
        b.n[loop.least] = min(b.n[loop.m], b.n[loop.n])
    if loop.least >= 0 and b.n[loop.least] != min(b.n[loop.m], b.n[loop.n]):
        return b"matkern: core dimensions do not agree"
    given = 0
    for k in range(loop.nop):
        for axis in range(b.ndim):
            b.strides[k][axis] = 0
        b.core_strides[k][0] = b.core_strides[k][1] = 0
        if not present >> k & 1:
            continue
        b.data[k] = <char*> buffers[given].data
        stride = itemsize(loop.operand[k].kind, loop.dtype)
        core = loop.operand[k].ndim
        offset = buffers[given].ndim - core
        for j in range(core - 1, -1, -1):
            b.core_strides[k][j + 2 - core] = stride
            stride *= buffers[given].dims[offset + j]
        for axis in range(offset - 1, -1, -1):
            j = axis + b.ndim - offset              # right-aligned
            size = buffers[given].dims[axis]
            if j < 0 or (size != b.shape[j] and (size != 1 or k >= loop.nin)):
                return b"matkern: batch dimensions do not agree"
            if size != 1:
                b.strides[k][j] = stride
            stride *= size
        if k >= loop.nin and offset != b.ndim:
            return b"matkern: batch dimensions do not agree"
        given += 1
    coalesce(&b)
    refusal = go(&b)
    if refusal == TOO_LARGE:
        return b"matkern: the matrices are too large for the 32-bit integers of BLAS and LAPACK"
    if refusal == NO_MEMORY:
        return b"matkern: no memory for the workspace"
    return NULL
