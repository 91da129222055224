# cython: language_level=3, cdivision=True
# distutils: language = c++
"""The batch layer: a function that does one matrix becomes a kernel over any batch, and a NumPy gufunc.

The loop over the batch is in batch.pxd, how NumPy and XLA enter it in calls.pxd.

`Kernel` reads a signature with names, "lu(n,n), piv:int(n), x(n,k?), x_bar(n,k?) -> a_bar(n,n), b_bar(n,k?)",
and from it checks and converts the operands, broadcasts their batch axes, allocates the outputs and runs
the matrix function over the batch, whatever its strides, in parallel. `:real` and `:complex` are real and complex
numbers in the precision of the others, `:int` a C int; a single number per matrix, `x:real()`, takes the precision of
the others; `k?` is absent when one of its operands is a plain vector; `min` is the smaller of `m` and `n`. What ends in
`_bar` or `_dot` is a cotangent or a tangent: it may be None, and takes the dtype of the rest.

Each kernel is also one `numpy.ufunc` per combination of its options, for arrays that bring their own
`__array_ufunc__`; a matrix that fails is NaN there. Dask arrays go through `matkern.dask`.
"""

import itertools
import re
import warnings

import numpy as np

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_New
from libc.limits cimport INT_MAX
from libc.stdint cimport int64_t
from libc.stdlib cimport malloc
from libc.string cimport memset

from batch cimport (
    COMPLEX, FINE, INTEGER, MAX_BATCH, MAX_CORE, MAX_DIMS, MAX_OPERANDS, MAX_OPTIONS, REAL, SCALAR, TOO_LARGE, Batch,
    Failures, Kind, Loop, Operand, Refusal, coalesce, go, itemsize, lane_kernel, lane_variant, lane_variants,
    set_lane_limit, set_lane_variant)
from calls cimport Buffer, gufunc_loop, run_on_buffers
from gufunc cimport matrix_function, workspace_function

cnp.import_array()
cnp.import_ufunc()


cdef extern from "parallel.hpp" namespace "matkern":
    void c_set_num_threads "matkern::set_num_threads" (int threads)
    int c_get_num_threads "matkern::get_num_threads" ()
    void c_set_blas "matkern::set_blas" (void (*set)(int) noexcept nogil, int (*get)() noexcept nogil)


cdef extern from "numpy/arrayobject.h":
    object PyDataMem_SetHandler(object handler)
    object PyDataMem_GetHandler()
    void *PyDataMem_DefaultHandler


cdef extern from *:
    """
    #include "memory.hpp"

    static PyDataMem_Handler large_results = {
        "matkern", 1,
        {nullptr, matkern::allocate, matkern::allocate_zeros, matkern::reallocate, matkern::release}};
    """
    void *large_results
    size_t LEAST_LARGE "matkern::LEAST_LARGE"


cdef extern from *:
    """
    #include "lanes/lanes.hpp"
    #include "parallel.hpp"

    static const matkern_level3 lent = {
        matkern::share, matkern::product_fits, matkern::own_product, matkern::small_system,
        matkern::mirror, matkern::skew_quotients, matkern::sum_of_squares,
        matkern::has_gemv, matkern::gemv, matkern::hemv};
    """
    const void *c_level3 "&lent"


cdef enum:
    MAX_KERNELS = 1000

# An index of a dtype has bit 0 for double precision and bit 1 for complex, so that `|` promotes.
cdef int[4] SCALAR_TYPES = [cnp.NPY_FLOAT, cnp.NPY_DOUBLE, cnp.NPY_CFLOAT, cnp.NPY_CDOUBLE]

KINDS = {"": SCALAR, "real": REAL, "complex": COMPLEX, "int": INTEGER}

cdef int typenum(Kind kind, int dtype) noexcept nogil:
    if kind == INTEGER:
        return cnp.NPY_INT
    return SCALAR_TYPES[dtype & 1 if kind == REAL else dtype | 2 if kind == COMPLEX else dtype]


cdef object large_results_handler = PyCapsule_New(&large_results, "mem_handler", NULL)


cdef object new_result(int ndim, cnp.npy_intp *shape, int type_number, double size):
    """An array of numbers of so many bytes, whose entries are not set."""
    cdef int axis
    for axis in range(ndim):
        size *= shape[axis]
    if size < LEAST_LARGE:
        return cnp.PyArray_EMPTY(ndim, shape, type_number, 0)
    theirs = PyDataMem_GetHandler()
    if <void*> theirs != PyDataMem_DefaultHandler:          # somebody's own goes first
        return cnp.PyArray_EMPTY(ndim, shape, type_number, 0)
    PyDataMem_SetHandler(large_results_handler)
    try:
        return cnp.PyArray_EMPTY(ndim, shape, type_number, 0)
    finally:
        PyDataMem_SetHandler(theirs)


cdef Loop *kernel_loops[MAX_KERNELS]    # four for each kernel, one per dtype
cdef int kernel_count = 0


cdef const char *c_run_buffers(int64_t kernel, int dtype, int64_t present, const int64_t *options, int n_options,
                               const Buffer *buffers, int n_buffers) noexcept nogil:
    if kernel < 0 or kernel >= kernel_count or dtype < 0 or dtype > 3:
        return b"matkern: no such kernel"
    return run_on_buffers(&kernel_loops[kernel][dtype], present, options, n_options, buffers, n_buffers)


run_buffers = <size_t> <void*> c_run_buffers        # for the handler of xla_handler.cpp


cdef int raise_refusal(str name, Refusal refusal) except *:
    if refusal == TOO_LARGE:
        raise ValueError(f"{name}: the matrices are too large for the 32-bit integers of BLAS and LAPACK")
    raise MemoryError(f"{name}: no memory for the workspace")


# ---- the Python side

cpdef bint foreign(object x):
    """Whether x brings its own way to apply a gufunc. pandas applies one to its blocks, which lie transposed."""
    if cnp.PyArray_CheckExact(x) or isinstance(x, (np.generic, float, int, complex, list, tuple)):
        return False
    override = getattr(type(x), "__array_ufunc__", None)
    return (override is not None and override is not np.ndarray.__array_ufunc__
            and type(x).__module__.partition(".")[0] != "pandas")


def is_dask(x):
    """Whether x is a Dask array; does not import Dask."""
    return type(x).__module__.startswith("dask.array")


cdef int dtype_of(cnp.ndarray x):
    """The index of the dtype that x calls for, -1 if there is none."""
    cdef int dtype, number = cnp.PyArray_TYPE(x)
    for dtype in range(4):
        if number == SCALAR_TYPES[dtype]:
            return dtype
    if cnp.PyTypeNum_ISINTEGER(number) or cnp.PyTypeNum_ISBOOL(number):
        return 1
    return -1


cdef class Kernel:
    """One map of one operation over batches of matrices.

    Parameters
    ----------
    name : str
    signature : str
        Named operands; see the top of this file.
    functions : list of int
        Addresses of the matrix functions for float32, float64, complex64 and complex128 (`gufunc.dtypes`).
    workspace : int, optional
        Address of a function from the core dimensions and the options to a number of elements; -1 if LAPACK's
        integers cannot hold a size.
    options : dict, optional
        The values that each option may take, the default first; the matrix function gets indices.
    failures : dict, optional
        What a matrix function's positive codes mean: an exception and the end of a sentence.
    optional : tuple of str, optional
        The outputs that the matrix function leaves out where they are NULL.
    caution : str, optional
        The end of a sentence, in which {} stands for -c: what a matrix function's codes c below NONFINITE warn of.
    """
    cdef readonly str name, signature, caution
    cdef readonly tuple inputs, outputs, optional
    cdef readonly int index             # for XLA
    cdef readonly dict options, failures
    cdef readonly dict cores            # operand -> its core's letters
    cdef readonly dict kinds            # operand -> a key of KINDS
    cdef dict indices, _gufuncs
    cdef tuple texts, defaults, letters
    cdef Loop loops[4]
    cdef bint flexible[MAX_DIMS]

    def __init__(self, str name, str signature, list functions, size_t workspace=0, dict options=None,
                 dict failures=None, tuple optional=(), str caution=""):
        cdef int k, j, dtype
        cdef Loop *loop
        self.name, self.signature, self.caution = name, signature, caution
        self.options, self.failures, self.optional = options or {}, failures or {}, optional
        self.indices = {key: {v: i for i, v in enumerate(values)} for key, values in self.options.items()}
        self.defaults = tuple([0] * len(self.options))
        sides = [re.findall(r"(\w+)(?::(int|real|complex))?\(([^)]*)\)", side) for side in signature.split("->")]
        if (len(sides) != 2 or len(functions) != 4 or any(
                ",".join(f"{o}{':' * bool(kind)}{kind}({core})" for o, kind, core in side) != text.replace(" ", "")
                for side, text in zip(sides, signature.split("->")))):
            raise ValueError(f"{name}: {signature!r} with {len(functions)} functions; a kernel has a signature like "
                             "'a(n,n), piv:int(n), w:real(n) -> b(n,k?)' and 4 functions")
        operands = sides[0] + sides[1]
        self.inputs, self.outputs = (tuple(o[0] for o in side) for side in sides)
        self.cores = {operand: tuple(core.split(",")) if core else () for operand, _, core in operands}
        self.kinds = {operand: kind for operand, kind, _ in operands}
        self.texts = tuple(f"({core})" for _, _, core in operands)
        follows = tuple(name.endswith(("_bar", "_dot")) for name in self.inputs)
        flexible = {letter.rstrip("?"): letter.endswith("?") for core in self.cores.values() for letter in core}
        letters = list(flexible)
        self.letters = tuple(letters)
        if (len(operands) > MAX_OPERANDS or len(letters) > MAX_DIMS or len(self.options) > MAX_OPTIONS
                or max(map(len, self.cores.values())) > MAX_CORE):
            raise ValueError(f"{name}: more operands, core axes, letters or options than a kernel can have")
        known = {letter.rstrip("?") for operand in self.inputs for letter in self.cores[operand]}
        if "min" in letters:
            known |= {"min"} if {"m", "n"} <= set(letters) else set()
        if not known.issuperset(letters):
            raise ValueError(f"{name}: no input tells {', '.join(sorted(set(letters) - known))} of {signature!r}")
        for j, letter in enumerate(letters):
            self.flexible[j] = flexible[letter]
        for dtype in range(4):
            loop = &self.loops[dtype]
            memset(loop, 0, sizeof(Loop))
            loop.matrix = <matrix_function> <size_t> functions[dtype]
            loop.workspace = <workspace_function> workspace
            loop.lanes = lane_kernel(name.encode(), dtype)
            loop.dtype = dtype
            loop.nin, loop.nop, loop.ndim = len(self.inputs), len(operands), len(letters)
            loop.least = loop.m = loop.n = -1
            if "min" in letters:
                loop.least, loop.m, loop.n = letters.index("min"), letters.index("m"), letters.index("n")
            for k, (operand, kind, core) in enumerate(operands):
                loop.operand[k].kind = KINDS[kind]
                loop.operand[k].follows = k < loop.nin and follows[k]
                core = [letters.index(c.rstrip("?")) for c in core.split(",") if c]
                loop.operand[k].ndim = len(core)
                for j, c in enumerate(core):
                    loop.operand[k].dim[j] = c
        global kernel_count
        if kernel_count == MAX_KERNELS:
            raise RuntimeError(f"{name}: more kernels than there is room for")
        self.index = kernel_count
        kernel_loops[kernel_count] = <Loop*> malloc(4 * sizeof(Loop))       # for as long as the process lives
        for dtype in range(4):
            kernel_loops[kernel_count][dtype] = self.loops[dtype]
        kernel_count += 1
        _kernels[name] = self
        self._gufuncs = {
            self._variant(values, least): self._gufunc(values, least)
            for values in itertools.product(*self.options.values())
            for least in (("m", "n") if "min" in letters else (None,))
        }

    def __repr__(self):
        return f"<kernel {self.name}: {self.signature}>"

    def __call__(self, *operands, tuple wanted=None, out=None, on_error="raise", **options):
        """Run the kernel; `wanted` names the outputs to compute (all of them if None)."""
        cdef Batch b
        cdef Failures failures, cautions
        cdef Loop loop
        cdef int k, j, axis, dtype, core, offset, index, nout
        cdef bint zero, vector[MAX_DIMS]
        cdef Py_ssize_t size
        cdef cnp.ndarray array
        cdef Refusal refusal
        cdef cnp.npy_intp shape[MAX_BATCH + MAX_CORE]

        if len(operands) != len(self.inputs):
            raise TypeError(f"{self.name} takes {', '.join(self.inputs)}, got {len(operands)} operands")
        if wanted == self.outputs:
            wanted = None
        elif wanted is not None and not set(wanted) <= set(self.outputs):
            raise ValueError(f"{self.name}: wanted must name some of {', '.join(self.outputs)}, got {wanted}")
        if on_error != "raise":
            self.check_options({"on_error": on_error})
        for x in operands:
            if foreign(x):
                if any(is_dask(x) for x in operands):
                    from matkern.dask import apply
                    return apply(self, operands, wanted, out, on_error, options)
                return self._foreign(operands, wanted, out, options)

        arrays = [x if x is None or cnp.PyArray_CheckExact(x) else np.asarray(x) for x in operands]
        dtype = self._dtype(arrays)
        loop = self.loops[dtype]
        for j, index in enumerate(self._option_indices(options)):
            loop.option[j] = index
        b.loop = &loop
        b.failures = &failures
        b.cautions = &cautions
        for k in range(loop.nin):
            if arrays[k] is not None:
                arrays[k] = self._converted(k, arrays[k], typenum(loop.operand[k].kind, dtype))

        b.ndim = self._dimensions(&loop, arrays, b.n, vector)

        # the batch
        for axis in range(b.ndim):
            b.shape[axis] = 1
        for k in range(loop.nin):
            b.data[k] = NULL
            if arrays[k] is None:
                for axis in range(b.ndim):
                    b.strides[k][axis] = 0
                continue
            array = arrays[k]
            core = self._core(&loop.operand[k], vector)
            offset = b.ndim - (array.ndim - core)
            for axis in range(b.ndim):
                size = array.shape[axis - offset] if axis >= offset else 1
                b.strides[k][axis] = array.strides[axis - offset] if size != 1 else 0
                if size != 1:
                    if b.shape[axis] != 1 and b.shape[axis] != size:
                        self._unbroadcastable(arrays, [self._core(&loop.operand[j], vector) for j in range(loop.nin)])
                    b.shape[axis] = size
            self._point(&b, k, array, core)
        batch = tuple([b.shape[axis] for axis in range(b.ndim)])

        # outputs
        nout = loop.nop - loop.nin
        results = []
        spare = []                          # what is not wanted, but that the matrix function needs to write to
        copies = []
        if out is not None and not isinstance(out, tuple):
            out = (out,)
        if out is not None and len(out) != (nout if wanted is None else len(wanted)):
            raise ValueError(f"{self.name}: out must hold {nout if wanted is None else len(wanted)} arrays, "
                             f"got {len(out)}")
        if out is not None:
            for j in range(1, len(out)):
                if any(x is not None and out[j] is not None and np.may_share_memory(x, out[j]) for x in out[:j]):
                    raise ValueError(f"{self.name}: arrays of out overlap")
        for k in range(loop.nin, loop.nop):
            b.data[k] = NULL
            for axis in range(b.ndim):
                b.strides[k][axis] = 0
            returned = wanted is None or self.outputs[k - loop.nin] in wanted
            if not returned and self.outputs[k - loop.nin] in self.optional:
                continue
            core = self._core(&loop.operand[k], vector)
            for axis in range(b.ndim):
                shape[axis] = b.shape[axis]
            for j in range(core):
                shape[b.ndim + j] = b.n[loop.operand[k].dim[j]]
            given = out[len(results)] if out is not None and returned else None
            if given is None:
                array = new_result(b.ndim + core, shape, typenum(loop.operand[k].kind, dtype),
                                   itemsize(loop.operand[k].kind, dtype))
            else:
                expected = tuple([shape[axis] for axis in range(b.ndim + core)])
                array = self._output(given, expected, typenum(loop.operand[k].kind, dtype), arrays + results)
                if array is not given:
                    copies.append((given, array))
            (results if returned else spare).append(array)
            for axis in range(b.ndim):
                b.strides[k][axis] = array.strides[axis]
            self._point(&b, k, array, core)

        zero = False
        for k in range(loop.nin):
            if loop.operand[k].follows:
                zero = arrays[k] is None
                if not zero:
                    break
        if zero:                            # every cotangent or tangent
            for array in results:
                array.fill(0)
        else:
            coalesce(&b)
            with nogil:
                refusal = go(&b)
            if refusal != FINE:
                raise_refusal(self.name, refusal)
        for given, array in copies:
            np.copyto(given, array, casting="same_kind")
        if failures.count and on_error == "raise":
            exception, what = self.failures[failures.code]
            raise exception(self._of_matrices(what, failures.first, failures.count, batch, "failed")
                            + "; on_error='nan' makes it NaN and keeps the others" * bool(batch))
        if cautions.count:
            warnings.warn(self._of_matrices(self.caution.format(-cautions.code), cautions.first, cautions.count, batch,
                                            "are like it"), RuntimeWarning, stacklevel=2)
        if out is not None:
            results = [result if given is None else given for given, result in zip(out, results)]
        return results[0] if len(results) == 1 else tuple(results)

    def check_options(self, dict options):
        """Raise TypeError or ValueError for an option or a value that the kernel does not have."""
        options = dict(options)
        on_error = options.pop("on_error", "raise")
        if on_error not in ("raise", "nan"):
            raise ValueError(f"{self.name}: on_error must be 'raise' or 'nan', got {on_error!r}")
        self._option_indices(options)

    def __reduce__(self):
        return _kernel_named, (self.name,)

    def outline(self, list arrays, dict options):
        """Check a call without making it; return operand -> its core's letters in this call and its dtype.

        `arrays` are NumPy's, or None. `k?` is left out where it is absent, and `min` is the letter that it stands for.
        """
        cdef Loop loop
        cdef Py_ssize_t n[MAX_DIMS]
        cdef bint vector[MAX_DIMS]
        cdef int k, j
        self._option_indices(options)
        loop = self.loops[self._dtype(arrays)]
        self._dimensions(&loop, arrays, n, vector)
        cores = [self._core(&loop.operand[k], vector) for k in range(loop.nop)]
        try:
            np.broadcast_shapes(*[a.shape[:a.ndim - core] for a, core in zip(arrays, cores) if a is not None])
        except ValueError:
            self._unbroadcastable(arrays, cores)
        letters = list(self.letters)
        if loop.least >= 0:
            letters[loop.least] = letters[loop.n if n[loop.m] >= n[loop.n] else loop.m]
        return {
            name: (tuple([letters[loop.operand[k].dim[j]] for j in range(cores[k])]),
                   cnp.PyArray_DescrFromType(typenum(loop.operand[k].kind, loop.dtype)))
            for k, name in enumerate(self.inputs + self.outputs)
        }

    # -- parts of a call

    cdef int _dtype(self, list arrays) except -1:
        """The index of the dtype that these operands call for together."""
        cdef int k, index, dtype = 0
        cdef const Operand *operand
        for k, array in enumerate(arrays):
            if array is None:
                if not self.loops[0].operand[k].follows:
                    raise TypeError(f"{self.name}: {self.inputs[k]} must be an array, got None")
                continue
            index = dtype_of(array)
            if index < 0 or (self.loops[0].operand[k].kind == INTEGER and array.dtype.kind not in "iu"):
                raise TypeError(f"{self.name}: {self.inputs[k]} has dtype {array.dtype}; " + (
                    "integers are needed" if self.loops[0].operand[k].kind == INTEGER
                    else "float32, float64, complex64, complex128 and integers are supported"))
            operand = &self.loops[0].operand[k]
            if operand.follows or operand.kind == INTEGER:
                continue
            if operand.kind == REAL and index & 2:
                raise TypeError(f"{self.name}: {self.inputs[k]} must be real, got dtype {array.dtype}")
            if operand.kind == SCALAR or operand.ndim:
                dtype |= index if operand.kind == SCALAR else index & 1
        return dtype

    cdef int _dimensions(self, const Loop *loop, list arrays, Py_ssize_t *n, bint *vector) except -1:
        """Fill in the core dimensions, and which letters are absent; return the number of batch axes.

        A letter with a question mark is absent if one of its operands lacks it.
        """
        cdef int k, j, core, offset, index, batch = 0
        cdef Py_ssize_t size
        cdef cnp.ndarray array
        for j in range(loop.ndim):
            n[j] = -1
            vector[j] = False
        for k in range(loop.nin):
            core = loop.operand[k].ndim
            if arrays[k] is not None and core and self.flexible[loop.operand[k].dim[core - 1]]:
                if cnp.PyArray_NDIM(arrays[k]) == core - 1:
                    vector[loop.operand[k].dim[core - 1]] = True
        for k in range(loop.nin):
            if arrays[k] is None:
                continue
            array = arrays[k]
            core = self._core(&loop.operand[k], vector)
            if array.ndim < core:
                raise ValueError(f"{self.name}: {self.inputs[k]}{self.texts[k]} needs at least {core} "
                                 f"dimension{'s' if core > 1 else ''}, got shape {self._shape(array)}")
            offset = array.ndim - core
            batch = max(batch, offset)
            for j in range(core):
                size = array.shape[offset + j]
                index = loop.operand[k].dim[j]
                if n[index] < 0:
                    n[index] = size
                elif n[index] != size:
                    self._mismatch(arrays, k, index, n[index])
        if loop.least >= 0:
            size = min(n[loop.m], n[loop.n])
            if n[loop.least] >= 0 and n[loop.least] != size:
                raise ValueError(f"{self.name}: {self.signature.split(' ->')[0]} call for min = {size}, the smaller of "
                                 f"m = {n[loop.m]} and n = {n[loop.n]}, but have {n[loop.least]}")
            n[loop.least] = size
        for j in range(loop.ndim):
            if vector[j]:
                n[j] = 1
        return batch

    cdef int _core(self, const Operand *operand, bint *vector) noexcept:
        """How many core axes the operand has in this call."""
        return operand.ndim - (1 if operand.ndim and vector[operand.dim[operand.ndim - 1]] else 0)

    cdef void _point(self, Batch *b, int k, cnp.ndarray array, int core) noexcept:
        """Where operand k starts, and the strides of its core as a matrix: a vector is a row or, for k?, a column."""
        cdef int j, ndim = b.loop.operand[k].ndim
        b.data[k] = <char*> cnp.PyArray_DATA(array)
        b.core_strides[k][0] = b.core_strides[k][1] = 0
        for j in range(core):
            b.core_strides[k][j + 2 - ndim] = array.strides[array.ndim - core + j]

    cdef tuple _option_indices(self, dict options):
        if not options:
            return self.defaults
        for key in options:
            if key not in self.options:
                raise TypeError(f"{self.name} has no option {key!r}"
                                + (f"; it has {', '.join(self.options)}" if self.options else ""))
        indices = []
        for key, values in self.indices.items():
            value = options.get(key, self.options[key][0])
            try:
                index = values[value]
            except (KeyError, TypeError):
                raise ValueError(f"{self.name}: {key} must be one of {', '.join(map(repr, self.options[key]))}, "
                                 f"got {value!r}") from None
            indices.append(index)
        return tuple(indices)

    cdef object _converted(self, int k, object array, int wanted):
        if cnp.PyArray_TYPE(array) == wanted and cnp.PyArray_ISBEHAVED_RO(array):
            return array
        if wanted == cnp.NPY_INT and array.dtype != np.intc and array.size and (
                array.min() < 0 or array.max() > INT_MAX):
            raise ValueError(f"{self.name}: {self.inputs[k]} must hold integers from 0 to {INT_MAX}, "
                             f"got {array.min()} to {array.max()}")
        if array.dtype.kind == "c" and wanted in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE):
            array = array.real
        return cnp.PyArray_FROMANY(array, wanted, 0, 0, cnp.NPY_ARRAY_ALIGNED | cnp.NPY_ARRAY_NOTSWAPPED
                                   | cnp.NPY_ARRAY_ENSUREARRAY | cnp.NPY_ARRAY_FORCECAST)

    cdef object _output(self, object given, tuple shape, int wanted, list others):
        """`given` if the kernel can write to it, a new array to be copied to it if not."""
        if not isinstance(given, np.ndarray):
            raise TypeError(f"{self.name}: out must be an array, got {type(given).__name__}")
        dtype = cnp.PyArray_DescrFromType(wanted)
        if given.shape != shape:
            raise ValueError(f"{self.name}: out has shape {given.shape}, the result {shape}")
        if not np.can_cast(dtype, given.dtype, "same_kind"):
            raise TypeError(f"{self.name}: the result's dtype {dtype} cannot be cast to out's {given.dtype}")
        if not given.flags.writeable:
            raise ValueError(f"{self.name}: out is read-only")
        if given.dtype == dtype and given.flags.carray and not any(
                x is not None and np.may_share_memory(x, given) for x in others):
            return given
        return np.empty(shape, dtype)

    def _shape(self, array):
        return tuple([array.shape[i] for i in range(array.ndim)])

    def _mismatch(self, list arrays, int k, int letter, Py_ssize_t expected):
        """Say which operands disagree on a core dimension."""
        name, text, shape = self.inputs[k], self.texts[k], self._shape(arrays[k])
        if text.count(self.letters[letter]) > 1 and self.letters[letter] in text:
            rows, columns = shape[-2:]
            if rows != columns:
                raise ValueError(f"{self.name}: {name} must be square in its last two axes, got shape {shape}")
        raise ValueError(
            f"{self.name}: {name}{text} has shape {shape}, but {self.letters[letter]} = {expected} of "
            + ", ".join(f"{self.inputs[i]}{self.texts[i]} with shape {self._shape(arrays[i])}" for i in range(k)
                        if arrays[i] is not None and self.letters[letter] in self.texts[i]))

    def _unbroadcastable(self, list arrays, list cores):
        batches = ", ".join(f"{self._shape(a)[:a.ndim - core]} of {name}"
                            for name, a, core in zip(self.inputs, arrays, cores) if a is not None)
        raise ValueError(f"{self.name}: the batch axes do not broadcast: {batches}")

    def _of_matrices(self, what, Py_ssize_t first, Py_ssize_t count, tuple batch, verb):
        """A sentence about the first of `count` matrices of a batch."""
        if not batch:
            return f"{self.name}: the matrix {what}"
        size = 1
        for extent in batch:
            size *= extent
        index = ", ".join(str(i) for i in np.unravel_index(first, batch))
        rest = f" ({count} of {size} matrices {verb})" if count > 1 else ""
        return f"{self.name}: matrix [{index}] of the batch {what}{rest}"

    # -- gufuncs

    def _variant(self, values, least=None):
        """The name of the gufunc for these values of the options, and for `min` being m or n."""
        parts = [f"{k}={v}" for k, v in zip(self.options, values)] + ([] if least is None else [f"min={least}"])
        return f"{self.name}({', '.join(parts)})"

    def _foreign(self, tuple operands, tuple wanted, out, dict options):
        indices = self._option_indices(options)
        values = [self.options[key][i] for key, i in zip(self.options, indices)]
        sizes = {}
        for name, x in zip(self.inputs, operands):
            if x is not None:
                sizes.update(zip(reversed(self.cores[name]), reversed(np.shape(x))))
        least = None if "min" not in self.letters else "n" if sizes["m"] >= sizes["n"] else "m"
        gufunc = self._gufuncs[self._variant(values, least)]
        zeros = [np.zeros([sizes[c] for c in self.cores[name]]) if x is None else x
                 for name, x in zip(self.inputs, operands)]
        results = gufunc(*zeros, **({} if out is None else {"out": out}))
        if not isinstance(results, tuple):
            return results
        results = [r for name, r in zip(self.outputs, results) if wanted is None or name in wanted]
        return results[0] if len(results) == 1 else tuple(results)

    def gufuncs(self):
        """Name -> numpy.ufunc, one for each combination of the options, and for `min` being m or n.

        They are to be attributes of the module that makes the kernel, by which NumPy pickles them.
        """
        return self._gufuncs

    cdef object _gufunc(self, tuple values, least):
        # What NumPy keeps pointers to lives as long as the process.
        cdef int nop = self.loops[0].nop, dtype, k, j
        cdef cnp.PyUFuncGenericFunction *loops = <cnp.PyUFuncGenericFunction*> malloc(4 * sizeof(void*))
        cdef void **data = <void**> malloc(4 * sizeof(void*))
        cdef char *types = <char*> malloc(4 * nop)
        cdef Loop *loop
        for dtype in range(4):
            loop = <Loop*> malloc(sizeof(Loop))
            loop[0] = self.loops[dtype]
            loop.declared = loop.m if least == "m" else loop.n
            for j, (key, value) in enumerate(zip(self.options, values)):
                loop.option[j] = self.indices[key][value]
            loops[dtype] = <cnp.PyUFuncGenericFunction> gufunc_loop
            data[dtype] = loop
            for k in range(nop):
                types[dtype * nop + k] = <char> typenum(loop.operand[k].kind, dtype)
        name = self._variant(values, least).encode()
        signature = re.sub(r"\w+(:\w+)?\(", "(", self.signature).replace(" ", "").replace("min", least or "").encode()
        _alive.append((name, signature))
        return cnp.PyUFunc_FromFuncAndDataAndSignature(
            loops, data, types, 4, len(self.inputs), len(self.outputs), cnp.PyUFunc_None, name, b"", 0, signature)


_alive = []
_kernels = {}


def _kernel_named(name):
    """A kernel, for pickle: importing this module imports them all."""
    return _kernels[name]


# ---- what blas.pxd is lent in other modules

level3 = <size_t> c_level3


# ---- threads


def set_num_threads(int threads):
    c_set_num_threads(threads)


def get_num_threads():
    return c_get_num_threads()


# ---- lanes

def lanes():
    """The instruction set of the lanes in use, "off" if there are none in use."""
    return "off" if lane_variant() is NULL else lane_variant().name.decode()


def lane_choices():
    """What `set_lanes` takes on this CPU."""
    names, i = [], 0
    while lane_variants()[i] is not NULL:
        names.append(lane_variants()[i].name.decode())
        i += 1
    return [*names, "off"]


def set_lanes(name, limit=0):
    """Choose the lanes; `limit` is a largest n in place of the measured ones."""
    choices = lane_choices()
    set_lane_limit(limit)
    set_lane_variant(lane_variants()[choices.index(name)])      # there is a NULL after the last


def lane_kernels():
    """Names of the kernels that have a lane function, for each of the four dtypes."""
    return [name for name in _kernels if lane_kernel(name.encode(), 0) >= 0]


def set_blas(size_t setter, size_t getter):
    """The addresses of the BLAS library's `void set_num_threads(int)` and `int get_num_threads(void)`."""
    c_set_blas(<void (*)(int) noexcept nogil> setter, <int (*)() noexcept nogil> getter)
