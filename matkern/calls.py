"""Operations on NumPy's arrays: one kernel, a whole call and what it keeps, `vjp` and `jvp`."""

import math
from functools import cached_property

import numpy as np

from .kernels.gufunc import foreign, is_dask
from .op import OPS, SAME, Op, summed_to

__all__ = ["jvp", "vjp"]


def _find(op):
    if isinstance(op, Op):
        return op
    if isinstance(op, str) and op in OPS:
        return OPS[op]
    for known in OPS.values():
        if op is known.function:
            return known
    raise ValueError(f"unknown operation {op!r}; matkern has {', '.join(sorted(OPS))}")


def as_array(x):
    """A Dask array as it is, anything else as NumPy's."""
    if type(x) is np.ndarray:
        return x
    if not is_dask(x):
        return np.asarray(x)
    if any(map(math.isnan, x.shape)):
        raise ValueError(f"an array of shape {x.shape} needs a known shape: call its compute_chunk_sizes()")
    return x


def of_kind(g, dtype):
    """A cotangent in its input's dtype, of a real input the real part, of an integer one float64."""
    if type(g) is np.ndarray and g.dtype is dtype and g.flags.c_contiguous:  # as it nearly always is
        return g
    if dtype.kind != "c" and g.dtype.kind == "c":
        g = g.real
    if dtype.kind not in "fc":
        dtype = np.dtype(np.float64)
    if is_dask(g):
        return g.astype(dtype)
    # newbyteorder makes another object of a native dtype, too, with which NumPy misses its fast paths
    return np.asarray(g, order="C", dtype=dtype if dtype.isnative else dtype.newbyteorder("="))


def apply(op, kernel, operands, options, wanted=None, out=None):
    """A kernel on the function's arrays, by name; cotangents and tangents are laid out as what they belong to."""
    operands = {n: operands[n] for n in kernel.inputs}
    # a float stays one: NumPy's ufuncs give it the precision of what stands beside it
    operands = {
        n: x if x is None or foreign(x) or (type(x) is float and op.forward.kinds.get(n) == "real") else np.asarray(x)
        for n, x in operands.items()
    }
    options, views = op.layout.views(op, [operands[n] for n in op.inputs], options)

    def view(name):
        return views.get(name.removesuffix("_bar").removesuffix("_dot"), SAME)

    arrays = [None if x is None else view(n).there(np, x) for n, x in operands.items()]
    outputs = kernel.outputs if wanted is None else wanted
    where = view(outputs[0]).there(np, out) if isinstance(out, np.ndarray) else out
    results = kernel(*arrays, wanted=wanted, out=where, **options)
    if isinstance(out, np.ndarray):
        return out
    results = results if isinstance(results, tuple) else (results,)
    results = tuple(view(n).back(np, y) for n, y in zip(outputs, results, strict=True))
    return results if len(results) > 1 else results[0]


class Call:
    """One forward pass: the inputs as arrays, what the kernels make of them, and views between the two."""

    def __init__(self, op, inputs, options):
        self.op, options = _find(op).variant(options)
        op = self.op
        self.given, self.wanted = op.inputs, op.differentiable_inputs
        if options or op.positional[: len(inputs)] != op.inputs:
            named = {*op.positional[: len(inputs)], *options}
            self.given = tuple([n for n in op.inputs if n in named])
            self.wanted = tuple([n for n in self.given if n in op.differentiable_inputs])
        inputs, options = op.arguments(inputs, options)
        self.inputs = [as_array(x) for x in inputs]
        self.options, self.views = op.layout.views(op, self.inputs, options)
        self.columns = [self.there(n, x) for n, x in zip(op.inputs, self.inputs, strict=True)]
        self.values = op.run_forward(self.columns, self.options)
        self.outputs = {n: self.back(n, self.values[n]) for n in op.outputs}

    @cached_property
    def batch(self):
        """The batch axes of all inputs together."""
        return max(
            [y.shape[: y.ndim - self.core_ndim(n)] for n, y in self.values.items() if n in self.op.outputs], key=len
        )

    def there(self, name, x):
        return self.views[name].there(np, x) if name in self.views else x

    def back(self, name, x):
        return self.views[name].back(np, x) if name in self.views else x

    def core_ndim(self, name):
        return len(self.op.forward.cores[name])

    def result(self):
        return self.op.returned(self.outputs)

    def like(self, what, name, g, x):
        """A cotangent or tangent `g` of the function's array `x` as the kernel's, with any extra leading axes."""
        g = as_array(g)
        if g.dtype.kind not in "biufc":
            raise TypeError(f"{self.op.name}: the {what} of {name} has dtype {g.dtype}; numbers are needed")
        if g.shape == x.shape:
            return self.there(name, g)
        try:
            shape = np.broadcast_shapes(g.shape, x.shape)
        except ValueError:
            shape = ()
        if shape[len(shape) - x.ndim :] != x.shape or len(shape) < x.ndim:
            raise ValueError(
                f"{self.op.name}: the {what} of {name} has shape {g.shape}, which does not broadcast to "
                f"(..., {', '.join(map(str, x.shape))})"
            )
        return self.there(name, np.broadcast_to(g, shape))

    def pullback(self, cotangents):
        """From cotangents of the outputs to those of the inputs that were given, in their shapes and dtypes.

        The cotangents' extra leading axes go first. None stands for zero, and for what has no derivative.
        """
        op, given = self.op, {}
        for n, g in zip(op.outputs, cotangents, strict=True):
            if g is not None:
                if n not in op.differentiable_outputs:
                    raise ValueError(f"{op.name}: {n} has no derivative: its cotangent must be None")
                given[n] = self.like("cotangent", n, g, self.outputs[n])
        bars = dict.fromkeys(self.given)
        results = op.run_pullback(self.values, given, self.options, self.wanted)
        for n, result in zip(self.wanted, results, strict=True):
            g, x = result, self.values[n]
            if g.shape != x.shape:
                g = summed_to(g, x.shape, g.ndim - len(self.batch) - self.core_ndim(n))
            bars[n] = of_kind(self.back(n, g), x.dtype)
        return tuple(bars.values())

    def pushforward(self, tangents):
        """Output name -> tangent; zeros where the output has no derivative."""
        op = self.op
        given = {}
        for n, tangent, x, column in zip(op.inputs, tangents, self.inputs, self.columns, strict=True):
            if tangent is None:
                continue
            if n not in op.differentiable_inputs:
                raise ValueError(f"{op.name}: {n} has no derivative: its tangent must be None")
            t = self.like("tangent", n, tangent, x)
            # extra axes go before the batch of the outputs, which may have more axes than the input's own
            extra = t.ndim - column.ndim
            missing = len(self.batch) - (column.ndim - self.core_ndim(n))
            given[n] = t[(slice(None),) * extra + (None,) * (missing if extra else 0)]
        results = op.run_pushforward(self.values, given, self.options)
        dots = {n: self.back(n, y) for n, y in zip(op.differentiable_outputs, results, strict=True)}
        n, y = next(iter(dots.items()))
        extra = y.shape[: y.ndim - self.outputs[n].ndim]
        zeros = {n: self.zeros(extra, y) for n, y in self.outputs.items() if n not in dots}
        return {n: (dots | zeros)[n] for n in op.outputs}

    @staticmethod
    def zeros(extra, y):
        """Zeros like `y` with extra leading axes."""
        if is_dask(y):
            return np.broadcast_to(np.zeros_like(y), extra + y.shape)
        return np.zeros(extra + y.shape, y.dtype)


def vjp(op, /, *inputs, **options):
    """Compute an operation, and return its pullback: from cotangents of the outputs to those of the inputs.

    Parameters
    ----------
    op : str or callable
        A name in `OPS`, or matkern's function of that name.
    *inputs : array_like
        The operation's inputs, with any batch axes.
    **options
        The operation's options, and those of its derivative (`OPS[name].options`); ``on_error`` is "raise" or
        "nan".

    Returns
    -------
    outputs : ndarray or namedtuple of ndarrays
        What the operation returns.
    pullback : callable
        ``pullback(y_bar)``, for several outputs ``pullback((y_bar, z_bar))`` with None for an output that the
        loss does not use or that has no derivative. Each cotangent broadcasts to its output's shape; extra
        leading axes stand for several cotangents at once. Returns a tuple with an array for each input, in
        its shape and dtype behind the extra axes, None for an input without a derivative. It can be
        called again and again, and reuses the forward pass's factorisation; the arrays given to and returned
        by the operation must not have been written to in between.

    Raises
    ------
    ValueError, TypeError
        For an unknown operation or option, and for shapes and dtypes that do not fit.
    numpy.linalg.LinAlgError
        As the operation and its derivative do.

    Notes
    -----
    With the inner product <x, y> = Re(sum(conj(x) y)), the pullback of a function with derivative J is the
    adjoint J*: <y_bar, J t> = <J* y_bar, t> for every tangent t. It is the convention of PyTorch, TensorFlow
    and ChainRules.jl; JAX and autograd use the conjugate.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> A, b = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([1.0, 2.0])
    >>> x, pullback = mk.vjp("solve", A, b)
    >>> A_bar, b_bar = pullback(np.array([1.0, 0.0]))
    >>> np.round(b_bar, 12)          # the first row of the inverse
    array([ 0.6, -0.2])
    """
    call = Call(op, inputs, options)
    names = call.op.outputs

    def pullback(cotangents):
        if len(names) == 1:
            cotangents = (cotangents,)
        elif not isinstance(cotangents, tuple | list) or len(cotangents) != len(names):
            got = f"{len(cotangents)}" if isinstance(cotangents, tuple | list) else type(cotangents).__name__
            raise ValueError(
                f"{call.op.name}: the pullback takes a tuple of {len(names)} cotangents ({', '.join(names)}), got {got}"
            )
        return call.pullback(cotangents)

    return call.result(), pullback


def jvp(op, inputs, tangents, /, **options):
    """Compute an operation and the tangents of its outputs along tangents of its inputs.

    Parameters
    ----------
    op : str or callable
        A name in `OPS`, or matkern's function of that name.
    inputs : sequence of array_like
        The operation's inputs, with any batch axes.
    tangents : sequence of array_like or None
        One for each input, None for zero. Each broadcasts to its input's shape; extra leading axes stand for
        several tangents at once.
    **options
        As for `vjp`.

    Returns
    -------
    outputs : ndarray or namedtuple of ndarrays
        What the operation returns.
    output_tangents : ndarray or namedtuple of ndarrays
        Their derivatives along the tangents, zeros for an output without a derivative.

    Raises
    ------
    ValueError, TypeError, numpy.linalg.LinAlgError
        As `vjp`.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> A = np.array([[4.0, 2.0], [2.0, 5.0]])
    >>> L, L_dot = mk.jvp("cholesky", (A,), (A,))       # along A itself: L grows by half of itself
    >>> np.allclose(L_dot, L / 2)
    True
    """
    for what, given in (("inputs", inputs), ("tangents", tangents)):
        if not isinstance(given, tuple | list):
            raise TypeError(f"jvp: {what} must be a tuple or a list, got {type(given).__name__}")
    if len(tangents) != len(inputs):
        raise ValueError(f"jvp: {len(inputs)} inputs need as many tangents, got {len(tangents)}")
    call = Call(op, inputs, options)
    tangents = [*tangents, *[None] * (len(call.op.inputs) - len(tangents))]
    return call.result(), call.op.returned(call.pushforward(tangents))
