"""Jacobians of operations and of NumPy's element-wise functions."""

import contextlib
import math
import os
from pathlib import Path

import numpy as np

from .calls import Call
from .elementwise import DERIVATIVES, HOLOMORPHIC
from .kernels.gufunc import is_dask

__all__ = ["jacobian"]

BLOCK = 1 << 25  # bytes: tangents or cotangents are stacked up to about this much of results at a time


def jacobian(op, /, *inputs, argnum=0, data_ndim=None, **options):
    """Compute the Jacobian of an operation with respect to one of its inputs.

    Parameters
    ----------
    op : str, callable or numpy.ufunc
        A name in `OPS`, matkern's function of that name, or an element-wise function of NumPy's such as ``np.exp``.
    *inputs : array_like
        The operation's inputs, with any batch axes.
    argnum : int, optional
        Which input to differentiate with respect to.
    data_ndim : int, optional
        How many leading batch axes are data: each of their entries is a function of its own. The remaining
        batch axes are differentiated along with the matrices. None: all batch axes are data; 0: the whole
        Jacobian, which is block-diagonal in the batch. All axes of an element-wise function are batch axes.
    **options
        As for `vjp`.

    Returns
    -------
    ndarray or namedtuple of ndarrays
        One Jacobian for each output, of shape data axes + the output's other axes + the input's other axes;
        None for an output without a derivative. An input that broadcasts over data axes has its own
        Jacobian for each of their entries.

    Raises
    ------
    ValueError
        If the inputs are complex and the operation is not holomorphic, and as `vjp`.
    MemoryError
        If the Jacobian is larger than the machine's memory; the message has its shape and size.
    TypeError, numpy.linalg.LinAlgError
        As `vjp`.

    Notes
    -----
    The pushforward of as many tangents as the input has entries, or the pullback of as many cotangents as the outputs
    have, whichever is fewer, in blocks that take little memory beside the Jacobian. A Hermitian or triangular input is
    read as in the operation's gradient: a change of either of a Hermitian matrix's two mirrored entries counts half.

    The axes that `norm` takes come last here, and all others of its input are batch axes.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> A, b = np.array([[[2.0, 1.0], [1.0, 3.0]]] * 4), np.ones((4, 2, 1))
    >>> mk.jacobian("solve", A, b, argnum=1).shape       # a batch of 4: x is (2, 1), b is (2, 1)
    (4, 2, 1, 2, 1)
    >>> mk.jacobian("solve", A, b, argnum=1, data_ndim=0).shape
    (4, 2, 1, 4, 2, 1)
    >>> mk.jacobian(np.square, np.array([1.0, 2.0]), data_ndim=0)
    array([[2., 0.],
           [0., 4.]])
    """
    if any(map(is_dask, inputs)):
        raise TypeError("jacobian takes no Dask arrays: map it over their chunks with dask.array.map_blocks")
    if isinstance(op, np.ufunc):
        if options:
            raise TypeError(f"{op.__name__} has no option {next(iter(options))!r} here")
        return _of_ufunc(op, inputs, argnum, data_ndim)
    call = Call(op, inputs, options)
    op = call.op
    argnum = _integer(op.name, "argnum", argnum, -len(call.given), len(call.given) - 1) % len(call.given)
    name, x, column = op.inputs[argnum], call.inputs[argnum], call.columns[argnum]
    if name not in op.differentiable_inputs:
        raise ValueError(f"{op.name}: {name} has no derivative")
    if x.dtype.kind == "c" and not op.holomorphic(name, call.options):
        raise _not_holomorphic(op.name, name)
    data_ndim = _data_ndim(op.name, data_ndim, call.batch)

    split = column.ndim - call.core_ndim(name)
    batch_in, core_in = column.shape[:split], column.shape[split:]
    names = op.differentiable_outputs
    cores = {n: call.values[n].shape[len(call.batch) :] for n in names}
    size_in, sizes_out = math.prod(core_in), {n: math.prod(core) for n, core in cores.items()}

    def shape(n, core):
        return call.views[n].core(core) if n in call.views else core

    dtypes = {n: call.values[n].dtype for n in names}
    shapes = {n: _shape(call.batch, data_ndim, batch_in, shape(n, cores[n]), shape(name, core_in)) for n in names}
    _check_memory(op.name, shapes, dtypes)
    results = {n: np.zeros(shapes[n], dtypes[n]) for n in names}
    blocks = {n: _diagonal(results[n], call.batch, data_ndim, batch_in, sizes_out[n], size_in) for n in names}

    if sum(sizes_out.values()) < size_in and all(call.values[n].dtype.kind == column.dtype.kind for n in names):
        for n in names:
            for some in _ranges(sizes_out[n], blocks[n].nbytes // max(1, sizes_out[n])):
                cotangent = _basis(cores[n], some, len(call.batch), dtypes[n])
                (g,) = op.run_pullback(call.values, {n: cotangent}, call.options, (name,))
                rows = g.reshape(*g.shape[: g.ndim - len(core_in)], size_in).conj()
                blocks[n][..., some, :] = np.moveaxis(rows, 0, -2)
    else:
        largest = max(block.nbytes for block in blocks.values())
        for some in _ranges(size_in, largest // max(1, size_in)):
            tangents = dict.fromkeys(op.inputs) | {name: _basis(core_in, some, len(call.batch), np.float64)}
            for n, y in zip(names, op.run_pushforward(call.values, tangents, call.options), strict=True):
                columns = y.reshape(*y.shape[: y.ndim - len(cores[n])], sizes_out[n])
                blocks[n][..., some] = np.moveaxis(columns, 0, -1)
    return op.returned({n: results.get(n) for n in op.outputs})


def _of_ufunc(ufunc, inputs, argnum, data_ndim):
    name = ufunc.__name__
    if ufunc not in DERIVATIVES:
        known = ", ".join(sorted({f.__name__ for f in DERIVATIVES}))
        raise ValueError(f"the derivative of {name} is not known; known are those of {known}")
    if len(inputs) != ufunc.nin:
        raise TypeError(f"{name} takes {ufunc.nin} inputs, got {len(inputs)}")
    argnum = _integer(name, "argnum", argnum, -ufunc.nin, ufunc.nin - 1) % ufunc.nin
    inputs = [np.asarray(x) for x in inputs]
    inputs = [x.astype(np.float64) if x.dtype.kind in "biu" else x for x in inputs]
    if any(x.dtype.kind == "c" for x in inputs) and ufunc not in HOLOMORPHIC:
        raise _not_holomorphic(name, "input")
    y = ufunc(*inputs)
    data_ndim = _data_ndim(name, data_ndim, y.shape)
    shape = _shape(y.shape, data_ndim, inputs[argnum].shape, (), ())
    _check_memory(name, {"": shape}, {"": y.dtype})
    result = np.zeros(shape, y.dtype)
    with np.errstate(all="ignore"):  # an infinite derivative is an answer
        derivative = DERIVATIVES[ufunc][argnum](*inputs, y)
    _diagonal(result, y.shape, data_ndim, inputs[argnum].shape, 1, 1)[..., 0, 0] = derivative
    return result


def _integer(name, what, value, least, largest):
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= largest:
        raise ValueError(f"{name}: {what} must be an integer from {max(0, least)} to {largest}, got {value!r}")
    return int(value)


def _data_ndim(name, data_ndim, batch):
    return len(batch) if data_ndim is None else _integer(name, "data_ndim", data_ndim, 0, len(batch))


def _not_holomorphic(name, what):
    return ValueError(
        f"{name} is not a holomorphic function of a complex {what}, so it has no complex Jacobian; take jvp or vjp "
        "along the real and the imaginary directions"
    )


def _own(batch, data_ndim, batch_in):
    """The input's batch axes behind the data axes: aligned with the output's last, maybe fewer, maybe of length 1."""
    return batch_in[max(0, len(batch_in) - (len(batch) - data_ndim)) :]


def _shape(batch, data_ndim, batch_in, core_out, core_in):
    return (*batch, *core_out, *_own(batch, data_ndim, batch_in), *core_in)


def _diagonal(result, batch, data_ndim, batch_in, size_out, size_in):
    """The blocks of a Jacobian that are not zero, as a view of shape batch + (size_out, size_in)."""
    own = _own(batch, data_ndim, batch_in)
    whole = result.reshape(*batch, size_out, *own, size_in)  # of contiguous memory, thus a view
    strides = [*whole.strides[: len(batch)]]
    for i in range(1, len(own) + 1):
        if own[-i] != 1:
            strides[len(batch) - i] += whole.strides[-1 - i]
    strides += [whole.strides[len(batch)], whole.strides[-1]]
    return np.lib.stride_tricks.as_strided(whole, (*batch, size_out, size_in), strides)


def _basis(core, some, batch_ndim, dtype):
    """The unit arrays `some` of a core shape, stacked before the batch axes."""
    count, size = some.stop - some.start, math.prod(core)
    basis = np.zeros((count, size), dtype)
    basis[np.arange(count), np.arange(some.start, some.stop)] = 1
    return basis.reshape((count,) + (1,) * batch_ndim + core)


def _ranges(size, each):
    """Slices of range(size) for which `each` bytes per item are at most BLOCK."""
    step = max(1, BLOCK // max(1, each))
    return [slice(i, min(i + step, size)) for i in range(0, size, step)]


def memory():
    """Bytes that this process may have, as far as the system tells."""
    try:
        limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, OSError, ValueError):  # Windows
        return math.inf
    with contextlib.suppress(OSError, ValueError):  # not Linux, or no limit
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits)


def _check_memory(name, shapes, dtypes):
    size = sum(math.prod(shape) * np.dtype(dtypes[n]).itemsize for n, shape in shapes.items())
    if size > memory():
        whole = " and ".join(str(shape) for shape in shapes.values())
        raise MemoryError(
            f"{name}: the Jacobian of shape {whole} takes {size / 2**30:,.1f} GiB, and there are "
            f"{memory() / 2**30:,.1f} GiB of memory; with data_ndim=None it has the blocks of each matrix alone"
        )
