"""Kernels on Dask arrays: each function of matkern, given one, returns a lazy one, chunk by chunk over the batch.

There is nothing to import here: `Kernel` calls `apply`. Dask's own way to a gufunc, `__array_ufunc__`, is not enough:
it does not know of a right-hand side that may be a vector, of a cotangent of None or of matkern's dtypes, wants equal
chunks, turns errors into NaN and computes outputs that nobody asked for.
"""

import math
from functools import partial

import numpy as np
from dask.array import apply_gufunc, asarray, unify_chunks

__all__ = ["apply"]


def apply(kernel, operands, wanted, out, on_error, options):
    """Call a kernel lazily.

    Parameters
    ----------
    kernel : matkern.kernels.gufunc.Kernel
    operands : tuple of dask.array.Array, array_like or None
        With whole matrices in each chunk. Along the batch axes, chunks are made equal.
    wanted : tuple of str or None
        The outputs to compute.
    out : None
    on_error : {"raise", "nan"}
        To raise is to raise when it is computed.
    options : dict

    Returns
    -------
    dask.array.Array or tuple of dask.array.Arrays

    Raises
    ------
    ValueError, TypeError
        As the kernel does, at once, and for matrices cut into several chunks.
    """
    if out is not None:
        raise TypeError(f"{kernel.name}: out is not supported for Dask arrays")
    operands = [None if x is None else asarray(x) for x in operands]
    outline = kernel.outline([_stand_in(kernel, *pair) for pair in zip(kernel.inputs, operands, strict=True)], options)
    outputs = kernel.outputs if wanted is None else wanted
    given = {name: x for name, x in zip(kernel.inputs, operands, strict=True) if x is not None}
    arrays = _rechunked(kernel, outline, given)
    signature = "->".join(",".join(f"({','.join(outline[n][0])})" for n in names) for names in (given, outputs))
    metas = tuple(np.empty((0,) * len(outline[n][0]), outline[n][1]) for n in outputs)
    run = partial(_chunk, kernel, [x is not None for x in operands], wanted, on_error, options)
    # the token is what the dashboard and the progress bars show
    return apply_gufunc(run, signature, *arrays, meta=metas if len(metas) > 1 else metas[0], token=kernel.name)


def _chunk(kernel, present, wanted, on_error, options, *arrays):
    """The kernel on one chunk of each operand that is not None."""
    arrays = iter(arrays)
    operands = [next(arrays) if there else None for there in present]
    try:
        return kernel(*operands, wanted=wanted, on_error=on_error, **options)
    except np.linalg.LinAlgError as error:
        raise np.linalg.LinAlgError(f"{error} (the batch is one chunk of a Dask array)") from None


def _stand_in(kernel, name, x):
    """An array of this shape and dtype that takes no memory; a batch axis whose length Dask does not know is 1."""
    if x is None:
        return None
    unknown = [math.isnan(size) for size in x.shape]
    if any(unknown[max(0, x.ndim - len(kernel.cores[name])) :]):
        raise ValueError(
            f"{kernel.name}: {name} has shape {x.shape}; the size of its matrices must be known: call "
            f"{name}.compute_chunk_sizes()"
        )
    return np.broadcast_to(np.empty((), x.dtype), [1 if u else n for n, u in zip(x.shape, unknown, strict=True)])


def _rechunked(kernel, outline, arrays):
    """The arrays with the same chunks along their batch axes, as Dask does for `+`."""
    pairs = []
    for name, x in arrays.items():
        core = len(outline[name][0])
        chunks = x.chunks[x.ndim - core :]
        if any(len(sizes) > 1 for sizes in chunks):
            remedy = ", ".join(f"{axis}: -1" for axis in range(-core, 0))
            raise ValueError(
                f"{kernel.name}: each matrix must lie in one chunk, but those of {name} with shape {x.shape} are "
                f"cut into chunks {chunks}: use {name}.rechunk({{{remedy}}})"
            )
        # the batch axes are counted from the last, the core's axes are the array's own
        pairs += [x, (*range(core - x.ndim, 0), *((name, axis) for axis in range(core)))]
    return unify_chunks(*pairs)[1]
