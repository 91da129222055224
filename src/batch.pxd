# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""One call of a kernel, laid out: how its matrices lie, which of them go through lanes, and the loop over them.

What gufunc.pyx does without Python.
"""

from libc.limits cimport INT_MAX
from libc.math cimport NAN
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from gufunc cimport NONFINITE, matrix_function, workspace_function


cdef extern from "parallel.hpp" namespace "matkern":
    ctypedef void (*Body)(void *context, int64_t first, int64_t last) noexcept nogil
    void run(int64_t items, double work, Body body, void *context) nogil


cdef extern from "memory.hpp" namespace "matkern":
    size_t LEAST_LARGE
    void *allocate(void *unused, size_t size) nogil
    void release(void *unused, void *block, size_t size) nogil


cdef extern from *:
    void prefetch "__builtin_prefetch"(const void *place) nogil


cdef extern from "lanes/lanes.hpp" namespace "matkern":
    ctypedef uint64_t (*LaneFunction)(void **x, const Py_ssize_t *n, const int *option, void *work) noexcept nogil
    cdef struct LaneKernel:
        LaneFunction run
        int most, few
        Py_ssize_t (*workspace)(const Py_ssize_t *n) noexcept nogil
    cdef struct LaneOperand:
        int size, parts
        bint integers
        Py_ssize_t rows, columns, row, column, spacing
        void *lanes
        Py_ssize_t room
    cdef struct LaneVariant:
        const char *name
        int bytes
        const LaneKernel *kernels
        void (*pack)(const LaneOperand *operand, int width, int blocks, char *first, char **each) noexcept nogil
        uint64_t (*unpack)(const LaneOperand *operand, int width, int count, char *first, char **each) noexcept nogil
    const LaneVariant *lane_variant() nogil
    const LaneVariant **lane_variants()
    void set_lane_variant(const LaneVariant *variant)
    int lane_kernel(const char *name, int dtype)
    int lane_limit() nogil
    void set_lane_limit(int limit)


cdef extern from *:
    """
    #include <mutex>

    struct Failures {                   // what went wrong in one call, gathered from its threads
        std::mutex mutex;
        int64_t first = -1, count = 0;  // the first matrix by its place in the batch, and how many
        int code = 0;                   // of the first
        bool memory = false;            // no room for a workspace

        void note(int64_t index, int its_code) {
            std::lock_guard<std::mutex> lock(mutex);
            if (first < 0 || index < first) { first = index; code = its_code; }
            ++count;
        }
    };
    """
    cdef cppclass Failures:
        int64_t first, count
        int code
        bint memory
        void note(int64_t index, int code) noexcept nogil


cdef enum:
    MAX_OPERANDS = 12
    MAX_GROUP = 64          # matrices that are packed at once: a bit for each
    GROUP_BYTES = 2048      # of an operand, as long as that is more than one block: what a call costs is shared
    MAX_CORE = 2            # axes of a matrix
    MAX_DIMS = 4            # letters in a signature
    MAX_OPTIONS = 4
    MAX_BATCH = 64          # NumPy's own limit
    LINE = 64               # bytes; operands packed in a workspace start on a cache line
    FETCHED_BYTES = 4096    # of a matrix, while the one before is worked on: of larger ones the CPU foresees rows
    LEAST_IN_LANES = 2      # matrices
    MOST_OF_FEW = 32        # rows, of matrices with a few columns
    WIDEST_GAIN = 32        # lanes are about WIDEST_GAIN / n times as fast when all are full
    CALL_WORK = 500         # what a few calls of BLAS cost for the smallest matrix, in flops

cdef enum Kind:             # of an operand
    SCALAR
    REAL
    COMPLEX
    INTEGER

cdef struct Operand:
    Kind kind
    bint follows            # a cotangent or a tangent
    int ndim
    int dim[MAX_CORE]       # which letter each core axis is

cdef struct Loop:           # a kernel for one dtype and one combination of options; `data` of a gufunc's loop
    matrix_function matrix
    workspace_function workspace
    int lanes               # the lane function's place in its table, -1: there is none
    int dtype
    int nin, nop, ndim
    int least               # which letter is `min`, -1 if there is none
    int m, n                # and those whose smaller it is
    int declared            # of a gufunc: m or n, whichever stands for `min` in its signature
    Operand operand[MAX_OPERANDS]
    int option[MAX_OPTIONS]

cdef struct Batch:          # one call
    const Loop *loop
    Failures *failures
    Failures *cautions                                     # NULL: nobody hears of them
    Py_ssize_t n[MAX_DIMS]
    char *data[MAX_OPERANDS]                               # NULL: absent, or not wanted
    Py_ssize_t core_strides[MAX_OPERANDS][MAX_CORE]
    int ndim                                               # of the batch
    Py_ssize_t shape[MAX_BATCH]
    Py_ssize_t strides[MAX_OPERANDS][MAX_BATCH]
    Py_ssize_t itemsize[MAX_OPERANDS]
    Py_ssize_t rows[MAX_OPERANDS]                          # of a core, 1 where it has no such axis
    Py_ssize_t columns[MAX_OPERANDS]
    bint packed[MAX_OPERANDS]                              # the core is not C-contiguous
    Py_ssize_t bytes                                       # of workspace, per thread
    const LaneVariant *variant                             # of lanes, NULL: one matrix after the other
    int width                                              # lanes
    int group                                              # blocks that are packed at once
    Py_ssize_t lane_bytes                                  # of workspace for them, per thread
    double work                                            # per matrix or block of lanes, for the cost model


cdef inline bint is_complex(Kind kind, int dtype) noexcept nogil:
    return kind == COMPLEX or (kind == SCALAR and dtype & 2)


cdef inline Py_ssize_t itemsize(Kind kind, int dtype) noexcept nogil:
    cdef Py_ssize_t real = 8 if dtype & 1 else 4
    if kind == INTEGER:
        return sizeof(int)
    return 2 * real if is_complex(kind, dtype) else real


# ---- one matrix after the other

ctypedef struct pair:
    uint64_t first, second

ctypedef fused item:
    uint32_t
    uint64_t
    pair


cdef inline void copy_items(item *unused, Py_ssize_t m, Py_ssize_t n, char *a, Py_ssize_t ra, Py_ssize_t ca,
                            char *out, Py_ssize_t ro, Py_ssize_t co) noexcept nogil:
    cdef Py_ssize_t i, j, i0, j0
    for i0 in range(0, m, 16):
        for j0 in range(0, n, 16):
            for i in range(i0, min(i0 + 16, m)):
                for j in range(j0, min(j0 + 16, n)):
                    (<item*> (out + i * ro + j * co))[0] = (<item*> (a + i * ra + j * ca))[0]


cdef inline void copy_core(Py_ssize_t size, Py_ssize_t m, Py_ssize_t n, char *a, Py_ssize_t ra, Py_ssize_t ca,
                           char *out, Py_ssize_t ro, Py_ssize_t co) noexcept nogil:
    """Copy an (m, n) matrix of `size`-byte items between any strides, tile by tile."""
    if size == 4:
        copy_items[uint32_t](NULL, m, n, a, ra, ca, out, ro, co)
    elif size == 8:
        copy_items[uint64_t](NULL, m, n, a, ra, ca, out, ro, co)
    else:
        copy_items[pair](NULL, m, n, a, ra, ca, out, ro, co)


cdef inline void fill_nan(Kind kind, int dtype, Py_ssize_t size, char *out) noexcept nogil:
    """NaN in every number; integers, which have none, become zero."""
    cdef Py_ssize_t i, count
    if kind == INTEGER:
        memset(out, 0, size * sizeof(int))
        return
    count = 2 * size if is_complex(kind, dtype) else size
    for i in range(count):
        if dtype & 1:
            (<double*> out)[i] = NAN
        else:
            (<float*> out)[i] = NAN


cdef inline void start(Batch *b, int64_t first, Py_ssize_t *index, char **p) noexcept nogil:
    """The operands of the matrix `first`, and its place in the batch."""
    cdef int k, axis
    for k in range(b.loop.nop):
        p[k] = b.data[k]
    for axis in range(b.ndim - 1, -1, -1):
        index[axis] = first % b.shape[axis]
        first //= b.shape[axis]
        for k in range(b.loop.nop):
            if p[k] is not NULL:
                p[k] += index[axis] * b.strides[k][axis]


cdef inline void advance(Batch *b, Py_ssize_t *index, char **p) noexcept nogil:
    """To the next matrix."""
    cdef int k, axis
    for axis in range(b.ndim - 1, -1, -1):
        index[axis] += 1
        for k in range(b.loop.nop):
            if p[k] is not NULL:
                p[k] += b.strides[k][axis]
        if index[axis] < b.shape[axis]:
            return
        for k in range(b.loop.nop):
            if p[k] is not NULL:
                p[k] -= b.shape[axis] * b.strides[k][axis]
        index[axis] = 0


cdef inline void fetch(Batch *b, char **p, const Py_ssize_t *lines) noexcept nogil:
    """Have the next matrix brought to the cache, while this one is worked on: the CPU foresees long rows alone."""
    cdef Py_ssize_t line
    cdef int k
    for k in range(b.loop.nin):
        for line in range(lines[k]):
            prefetch(p[k] + b.strides[k][b.ndim - 1] + line * LINE)


cdef inline void matrices(void *context, int64_t first, int64_t last) noexcept nogil:
    """Do the matrices first <= i < last of the batch."""
    cdef Batch *b = <Batch*> context
    cdef const Loop *loop = b.loop
    cdef char *p[MAX_OPERANDS]
    cdef void *x[MAX_OPERANDS]
    cdef Py_ssize_t index[MAX_BATCH]
    cdef int64_t i
    cdef Py_ssize_t size
    cdef Py_ssize_t lines[MAX_OPERANDS]     # of a matrix of each input that is fetched ahead
    cdef int k, code
    cdef bint large = b.bytes >= LEAST_LARGE
    cdef char *block = NULL
    cdef char *work = NULL
    if b.bytes:
        block = <char*> (allocate(NULL, b.bytes + LINE) if large else malloc(b.bytes + LINE))
        if block is NULL:
            b.failures.memory = True
            return
        work = block + LINE - <size_t> block % LINE
    start(b, first, index, p)
    for k in range(loop.nop):           # operands packed at the front of the workspace, the kernel's own after
        x[k] = p[k]
        if b.packed[k]:
            x[k] = work
            work += (b.rows[k] * b.columns[k] * b.itemsize[k] + LINE - 1) // LINE * LINE
        size = b.rows[k] * b.columns[k] * b.itemsize[k]
        lines[k] = 0
        if (size <= FETCHED_BYTES and b.data[k] is not NULL and not b.packed[k] and b.ndim > 0
                and b.strides[k][b.ndim - 1] != 0):
            lines[k] = (size + LINE - 1) // LINE

    for i in range(first, last):
        if i + 1 < last:
            fetch(b, p, lines)
        for k in range(loop.nop):
            if not b.packed[k]:
                x[k] = p[k]
            elif k < loop.nin:
                size = b.itemsize[k]
                copy_core(size, b.rows[k], b.columns[k], p[k], b.core_strides[k][0], b.core_strides[k][1],
                          <char*> x[k], b.columns[k] * size, size)
        code = loop.matrix(x, b.n, loop.option, work)
        if code > 0 and b.failures is not NULL:
            b.failures.note(i, code)
        elif code < NONFINITE and b.cautions is not NULL:
            b.cautions.note(i, code)
        for k in range(loop.nin, loop.nop):
            if x[k] is NULL:
                continue
            if code > 0 or code == NONFINITE:
                fill_nan(loop.operand[k].kind, loop.dtype, b.rows[k] * b.columns[k], <char*> x[k])
            if b.packed[k]:
                size = b.itemsize[k]
                copy_core(size, b.rows[k], b.columns[k], <char*> x[k], b.columns[k] * size, size,
                          p[k], b.core_strides[k][0], b.core_strides[k][1])
        advance(b, index, p)
    if large:
        release(NULL, block, 0)
    else:
        free(block)


# ---- one matrix to a lane

cdef inline Py_ssize_t lane_room(Batch *b, int k) noexcept nogil:
    """Bytes of a block of operand k in lanes, in whole cache lines."""
    return (b.rows[k] * b.columns[k] * b.itemsize[k] * b.width + LINE - 1) // LINE * LINE


cdef inline void lane_blocks(void *context, int64_t first, int64_t last) noexcept nogil:
    """Do the matrices of the blocks first <= i < last, each of as many matrices as there are lanes.

    The last block's free lanes hold a matrix of the batch. What a lane function leaves, `matrices` does.
    """
    cdef Batch *b = <Batch*> context
    cdef const Loop *loop = b.loop
    cdef const LaneVariant *variant = b.variant
    cdef char *p[MAX_OPERANDS]
    cdef void *x[MAX_OPERANDS]
    cdef LaneOperand operand[MAX_OPERANDS]
    cdef char *places[MAX_OPERANDS][MAX_GROUP]
    cdef char **each
    cdef bint fixed[MAX_OPERANDS]                           # the same matrix for the whole batch
    cdef bint regular                                       # the matrices lie at equal distances, one to each lane
    cdef Py_ssize_t index[MAX_BATCH]
    cdef int64_t start_block = first, items = 1
    cdef uint64_t again, left
    cdef int k, i, axis, count, blocks, block, width = b.width
    cdef char *memory = <char*> malloc(b.lane_bytes + LINE)
    cdef char *work
    if memory is NULL:
        b.failures.memory = True
        return
    work = memory + LINE - <size_t> memory % LINE
    for axis in range(b.ndim):
        items *= b.shape[axis]
    for k in range(loop.nop):
        operand[k].parts = 2 if is_complex(loop.operand[k].kind, loop.dtype) else 1
        operand[k].size = <int> (b.itemsize[k] // operand[k].parts)
        operand[k].integers = loop.operand[k].kind == INTEGER
        operand[k].rows, operand[k].columns = b.rows[k], b.columns[k]
        operand[k].row, operand[k].column = b.core_strides[k][0], b.core_strides[k][1]
        operand[k].spacing = b.strides[k][0]
        operand[k].room = lane_room(b, k)
        operand[k].lanes = NULL
        if b.data[k] is not NULL:
            operand[k].lanes = work
            work += operand[k].room * b.group
        fixed[k] = k < loop.nin
        for axis in range(b.ndim):
            fixed[k] = fixed[k] and b.strides[k][axis] == 0
    start(b, first * width, index, p)
    while first < last:
        blocks = <int> min(last - first, <int64_t> b.group)
        count = <int> min(items - first * width, <int64_t> blocks * width)
        regular = b.ndim == 1 and count == blocks * width
        if not regular:
            for i in range(count):
                for k in range(loop.nop):
                    places[k][i] = p[k]
                advance(b, index, p)
            for i in range(count, blocks * width):
                for k in range(loop.nop):
                    places[k][i] = places[k][0]
        for k in range(loop.nin):
            if operand[k].lanes is not NULL and (first == start_block or not fixed[k]):
                each = NULL
                if not regular:
                    each = places[k]
                variant.pack(&operand[k], width, 1 if fixed[k] else blocks, p[k], each)
        again = 0
        for block in range(blocks):
            for k in range(loop.nop):
                x[k] = operand[k].lanes
                if x[k] is not NULL and not fixed[k]:
                    x[k] = <char*> x[k] + block * operand[k].room
            left = variant.kernels[loop.lanes].run(x, b.n, loop.option, work)
            again |= (left & (<uint64_t> 1 << width) - 1) << block * width
        for k in range(loop.nin, loop.nop):
            if operand[k].lanes is not NULL:
                each = NULL
                if not regular:
                    each = places[k]
                again |= variant.unpack(&operand[k], width, count, p[k], each)
        if regular:
            for k in range(loop.nop):
                if p[k] is not NULL:
                    p[k] += count * b.strides[k][0]
        if count < MAX_GROUP:
            again &= (<uint64_t> 1 << count) - 1
        if again == ~<uint64_t> 0 >> MAX_GROUP - count:
            matrices(b, first * width, first * width + count)
        else:
            for i in range(count if again else 0):
                if again >> i & 1:
                    matrices(b, first * width + i, first * width + i + 1)
        first += blocks
    free(memory)


cdef inline bint in_lanes(Batch *b, int64_t items, Py_ssize_t largest) noexcept nogil:
    """Whether lanes are faster than the matrix function; if so, how they are laid out."""
    cdef const Loop *loop = b.loop
    cdef const LaneKernel *kernel
    cdef Py_ssize_t room = LINE, rooms = 0, least = largest
    cdef int k, most
    b.variant = lane_variant()
    if loop.lanes < 0 or b.variant is NULL or items < LEAST_IN_LANES:
        return False
    for k in range(loop.ndim):
        least = min(least, b.n[k])
    if least == 0:
        return False
    kernel = &b.variant.kernels[loop.lanes]
    most = lane_limit() or (MOST_OF_FEW if least <= kernel.few else kernel.most)
    b.width = b.variant.bytes // (8 if loop.dtype & 1 else 4)
    if largest > most or WIDEST_GAIN * items < b.width * largest:
        return False
    for k in range(loop.nop):
        room = max(room, lane_room(b, k))
        rooms += lane_room(b, k)
    b.group = <int> min(MAX_GROUP // b.width, max(1, GROUP_BYTES // room))
    b.lane_bytes = rooms * b.group
    if kernel.workspace is not NULL:
        b.lane_bytes += kernel.workspace(b.n) * itemsize(SCALAR, loop.dtype) * b.width
    return True


cdef enum Refusal:
    FINE
    TOO_LARGE               # for the 32-bit integers of BLAS or LAPACK
    NO_MEMORY


cdef inline Refusal go(Batch *b) noexcept nogil:
    """Lay out one call whose operands, core dimensions and batch are known, and run it."""
    cdef const Loop *loop = b.loop
    cdef Py_ssize_t items = 1, largest = 1, elements = 0, size, workspace
    cdef double room = 0
    cdef int k, axis
    for axis in range(b.ndim):
        items *= b.shape[axis]
    for k in range(loop.ndim):
        largest = max(largest, b.n[k])
    if largest > INT_MAX:
        return TOO_LARGE
    workspace = loop.workspace(b.n, loop.option) if loop.workspace is not NULL else 0
    if workspace < 0:
        return TOO_LARGE
    if items == 0:
        return FINE
    b.bytes = 0
    for k in range(loop.nop):
        b.itemsize[k] = itemsize(loop.operand[k].kind, loop.dtype)
        b.rows[k] = b.n[loop.operand[k].dim[0]] if loop.operand[k].ndim == 2 else 1
        b.columns[k] = b.n[loop.operand[k].dim[loop.operand[k].ndim - 1]] if loop.operand[k].ndim else 1
        size = b.rows[k] * b.columns[k]
        b.packed[k] = b.data[k] is not NULL and size > 0 and not (
            (b.columns[k] == 1 or b.core_strides[k][1] == b.itemsize[k])
            and (b.rows[k] == 1 or b.core_strides[k][0] == b.columns[k] * b.itemsize[k]))
        if b.data[k] is not NULL:
            elements += size
        if b.packed[k]:
            b.bytes += (size * b.itemsize[k] + LINE - 1) // LINE * LINE
            room += <double> size * b.itemsize[k]
    room += <double> workspace * itemsize(SCALAR, loop.dtype)
    if room > 4e18:
        return NO_MEMORY
    b.bytes += workspace * itemsize(SCALAR, loop.dtype)
    if in_lanes(b, items, largest):
        b.work = b.width * <double> elements * (largest + 16) / 2
        run((items + b.width - 1) // b.width, b.work, lane_blocks, b)
    else:
        b.work = CALL_WORK + <double> elements * largest
        run(items, b.work, matrices, b)
    return NO_MEMORY if b.failures is not NULL and b.failures.memory else FINE


cdef inline void coalesce(Batch *b) noexcept nogil:
    """Join batch axes that every operand walks in one stride, and drop axes of length 1."""
    cdef int k, axis, last = -1
    cdef bint joins
    for axis in range(b.ndim):
        if b.shape[axis] == 1:
            continue
        joins = last >= 0
        if joins:
            for k in range(b.loop.nop):
                joins = joins and b.strides[k][last] == b.shape[axis] * b.strides[k][axis]
        if joins:
            b.shape[last] *= b.shape[axis]
        else:
            last += 1
            b.shape[last] = b.shape[axis]
        for k in range(b.loop.nop):
            b.strides[k][last] = b.strides[k][axis]
    b.ndim = last + 1
