"""One record per operation, and what follows from the records: `OPS`, `vjp`, `jvp`, `jacobian`.

A record's three kernels name their operands, and the names say the rest: what a pullback takes besides
cotangents (`..._bar`) is what it needs saved of the forward pass, an output of the forward kernel that the
operation does not return is kept for that, and what has no `..._bar` or `..._dot` has no derivative.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from .kernels.gufunc import is_dask

__all__ = ["OPS", "Op", "jacobian", "jvp", "vjp"]


@dataclass(frozen=True)
class Op:
    """An operation of linear algebra with its derivatives.

    Attributes
    ----------
    name : str
    function : callable
        The public function, ``function(*inputs, **options)``.
    forward, pullback, pushforward : matkern.kernels.gufunc.Kernel
        Their operands are named: ``forward`` from the inputs to the outputs and what is kept for the
        derivatives; ``pullback`` from saved values and cotangents ``<output>_bar`` to ``<input>_bar``;
        ``pushforward`` from saved values and tangents ``<input>_dot`` to ``<output>_dot``.
    vjp_formula, jvp_formula : callable
        The same maps written plainly, ``vjp_formula(xp, ..., *, ...)`` to a tuple of input cotangents and
        ``jvp_formula(xp, ..., *, ...)`` to a tuple of output tangents, each for what has a derivative. They too are
        given what their parameters name: inputs, outputs, cotangents or tangents, then options. `xp` is a namespace
        with NumPy's names. They are the kernels' oracle, and what a framework differentiates for a second derivative.
    outputs : tuple of str
        Those outputs of ``forward`` that the function returns.
    result : type, optional
        The namedtuple of the outputs, if there are several.
    holomorphic : callable, optional
        ``holomorphic(name, options)``: whether the outputs are holomorphic functions of this complex input.
    """

    name: str
    function: Callable
    forward: object
    pullback: object
    pushforward: object
    vjp_formula: Callable
    jvp_formula: Callable
    outputs: tuple
    result: type | None = None
    holomorphic: Callable = lambda name, options: True

    def __post_init__(self):
        OPS[self.name] = self

    @cached_property
    def inputs(self):
        """Names of the inputs."""
        return self.forward.inputs

    @cached_property
    def saved(self):
        """Names of the inputs, outputs and kept values that the derivatives need, by kernel or by formula."""
        needed = {*self.pullback.inputs, *self.pushforward.inputs}
        needed.update(name for formula in (self.vjp_formula, self.jvp_formula) for name in _parameters(formula)[0])
        return tuple(n for n in self.forward.inputs + self.forward.outputs if n in needed)

    @cached_property
    def differentiable_inputs(self):
        """Names of the inputs that have a derivative."""
        return tuple(n for n in self.inputs if f"{n}_bar" in self.pullback.outputs)

    @cached_property
    def differentiable_outputs(self):
        """Names of the outputs that have a derivative."""
        return tuple(n for n in self.outputs if f"{n}_bar" in self.pullback.inputs)

    @cached_property
    def options(self):
        """Option -> its values, the default first; those of the derivatives included."""
        return self.forward.options | self.pullback.options | self.pushforward.options

    def vectors(self, ndims):
        """Names of the inputs and outputs that are vectors if the inputs have these numbers of dimensions.

        What may be a vector, the right-hand sides of a system, is one only if it is 1-D. The kernels' callers make it
        a column.
        """
        may = {n for n, core in self.forward.cores.items() if core[-1:] == ("k?",)}
        return may if any(n in may and ndim == 1 for n, ndim in zip(self.inputs, ndims, strict=True)) else set()

    def run_forward(self, inputs, options):
        """Name -> array for the inputs, the outputs and what is kept."""
        kept = self.forward.outputs
        return dict(zip(self.inputs + kept, (*inputs, *self.run_wanted(inputs, options, kept)), strict=True))

    def run_wanted(self, inputs, options, wanted):
        """Those outputs and kept values that are in `wanted`, in the order of ``forward.outputs``."""
        results = self.forward(*inputs, wanted=wanted, **self._for(self.forward, options))
        return results if isinstance(results, tuple) else (results,)

    def run_pullback(self, values, cotangents, options, wanted=None):
        """Input cotangents, in the order of ``pullback.outputs``, in the batch shape of everything together.

        `values` has what is saved, `cotangents` arrays or None by the names of outputs; `wanted` names the
        inputs whose cotangents are to be computed.
        """
        operands = [cotangents.get(n[:-4]) if n.endswith("_bar") else values[n] for n in self.pullback.inputs]
        wanted = None if wanted is None else tuple(f"{n}_bar" for n in wanted)
        results = self.pullback(*operands, wanted=wanted, **self._for(self.pullback, options))
        return results if isinstance(results, tuple) else (results,)

    def run_pushforward(self, values, tangents, options):
        """Tangents of the outputs that have one, in their order; `tangents` by the names of inputs."""
        operands = [tangents.get(n[:-4]) if n.endswith("_dot") else values[n] for n in self.pushforward.inputs]
        wanted = tuple(f"{n}_dot" for n in self.differentiable_outputs)
        results = self.pushforward(*operands, wanted=wanted, **self._for(self.pushforward, options))
        return results if isinstance(results, tuple) else (results,)

    def pull_by_formula(self, xp, values, cotangents, options):
        """What `run_pullback` computes, by the formula, for every input that has a derivative."""
        return self._by_formula(self.vjp_formula, xp, values, cotangents, "_bar", options)

    def push_by_formula(self, xp, values, tangents, options):
        """What `run_pushforward` computes, by the formula."""
        return self._by_formula(self.jvp_formula, xp, values, tangents, "_dot", options)

    def _by_formula(self, formula, xp, values, directions, suffix, options):
        operands, keywords = _parameters(formula)
        operands = [
            values[n] if not n.endswith(suffix) else self._or_zero(xp, n[:-4], directions.get(n[:-4]), values)
            for n in operands
        ]
        return formula(xp, *operands, **{k: v for k, v in options.items() if k in keywords})

    def _or_zero(self, xp, name, direction, values):
        """A cotangent or tangent for a formula: zeros for None, without batch axes."""
        if direction is not None:
            return direction
        cores, kinds = self.forward.cores, self.forward.kinds
        sizes = {c: size for n, x in values.items() for c, size in zip(cores[n][::-1], x.shape[::-1], strict=False)}
        dtype = next(x.dtype for n, x in values.items() if not kinds[n])
        return xp.zeros([sizes[c] for c in cores[name]], dtype=dtype)

    def result_shapes(self, kernel, shapes, wanted):
        """Shapes of one of the three kernels' results, from name -> shape of its operands; None is an unknown size.

        Raises ValueError if the shapes do not fit.
        """
        cores = self.forward.cores | kernel.cores
        all_shapes = ", ".join(f"{n}({', '.join(map(str, shape))})" for n, shape in shapes.items())
        sizes, batch = {}, ()
        for name, shape in shapes.items():
            core, ndim = cores[name], len(shape) - len(cores[name])
            if ndim < 0:
                raise ValueError(f"{kernel.name}: {name} needs at least {len(core)} dimensions, got shape {shape}")
            for letter, size in zip(core, shape[ndim:], strict=True):
                known = sizes.get(letter)
                if known is None:
                    sizes[letter] = size
                elif size is not None and size != known:
                    raise ValueError(
                        f"{kernel.name}: {name}({', '.join(core)}) has shape {shape}, but {letter} is {known} of "
                        f"{all_shapes}"
                    )
            padded = [1] * (ndim - len(batch)) + [*batch], [1] * (len(batch) - ndim) + [*shape[:ndim]]
            for x, y in zip(*padded, strict=True):
                if None not in (x, y) and x not in (y, 1) and y != 1:
                    own = ", ".join(f"{s[: len(s) - len(cores[n])]} of {n}" for n, s in shapes.items())
                    raise ValueError(f"{kernel.name}: the batch axes do not broadcast: {own}")
            batch = [y if x == 1 or (x is None and y != 1) else x for x, y in zip(*padded, strict=True)]
        if "m" in sizes and sizes.get("min") is None:
            sizes["min"] = None if None in (sizes["m"], sizes["n"]) else min(sizes["m"], sizes["n"])
        return [(*batch, *(sizes[letter] for letter in cores[n])) for n in wanted]

    def returned(self, values):
        """What the function returns, from a dictionary by name."""
        results = [values[n] for n in self.outputs]
        return self.result(*results) if self.result else results[0]

    def arguments(self, inputs, options):
        """The inputs in order and the options of a call, in which inputs may be named; raise if they do not fit."""
        if options:
            named = {n: x for n, x in options.items() if n in self.inputs[len(inputs) :]}
            inputs = (*inputs, *(named[n] for n in self.inputs if n in named))
            options = {key: value for key, value in options.items() if key not in named}
        if len(inputs) != len(self.inputs):
            raise TypeError(
                f"{self.name} takes {len(self.inputs)} inputs ({', '.join(self.inputs)}), got {len(inputs)}"
            )
        if options:
            self.check_options(options)
        return inputs, options

    def check_options(self, options):
        """Raise TypeError or ValueError for an option that no kernel has, or a value that it does not take."""
        for key in options:
            if key not in self.options and key != "on_error":
                known = ", ".join([*self.options, "on_error"])
                raise TypeError(f"{self.name} has no option {key!r}; it has {known}")
        for kernel in (self.forward, self.pullback, self.pushforward):
            kernel.check_options(self._for(kernel, options))

    @staticmethod
    def _for(kernel, options):
        return options and {k: v for k, v in options.items() if k in kernel.options or k == "on_error"}


@cache
def _parameters(formula):
    """A formula's operands and its options, by name."""
    parameters = list(inspect.signature(formula).parameters.values())[1:]
    operands = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
    return operands, tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


OPS: dict[str, Op] = {}
"""Every operation by its name."""


def _find(op):
    if isinstance(op, Op):
        return op
    if isinstance(op, str) and op in OPS:
        return OPS[op]
    for known in OPS.values():
        if op is known.function:
            return known
    raise ValueError(f"unknown operation {op!r}; matkern has {', '.join(sorted(OPS))}")


def summed_to(g, shape, extra_ndim=0):
    """Sum a cotangent over the batch axes along which an input of this shape was broadcast, not the extra ones."""
    missing = g.ndim - extra_ndim - len(shape)
    axes = [*range(extra_ndim, extra_ndim + missing)]
    axes += [i for i, size in enumerate(shape, extra_ndim + missing) if size == 1 != g.shape[i]]
    return g.sum(axis=tuple(axes)).reshape(g.shape[:extra_ndim] + shape) if axes else g


def _array(x):
    """A Dask array as it is, anything else as NumPy's."""
    if not is_dask(x):
        return np.asarray(x)
    if any(map(math.isnan, x.shape)):
        raise ValueError(f"an array of shape {x.shape} needs a known shape: call its compute_chunk_sizes()")
    return x


def of_kind(g, dtype):
    """A cotangent in its input's dtype, of a real input the real part, of an integer one float64."""
    if dtype.kind != "c" and g.dtype.kind == "c":
        g = g.real
    if dtype.kind not in "fc":
        dtype = np.dtype(np.float64)
    if is_dask(g):
        return g.astype(dtype)
    # newbyteorder makes another object of a native dtype, too, with which NumPy misses its fast paths
    return np.ascontiguousarray(g, dtype=dtype if dtype.isnative else dtype.newbyteorder("="))


class _Call:
    """One forward pass: its inputs as arrays, plain vectors as columns, and what the kernels gave."""

    def __init__(self, op, inputs, options):
        self.op = op = _find(op)
        inputs, self.options = op.arguments(inputs, options)
        self.inputs = [_array(x) for x in inputs]
        self.vectors = op.vectors([x.ndim for x in self.inputs])
        columns = [self.column(n, x) for n, x in zip(op.inputs, self.inputs, strict=True)]
        self.values = op.run_forward(columns, self.options)
        self.outputs = {n: self.squeezed(n, self.values[n]) for n in op.outputs}

    def column(self, name, x):
        return x[..., None] if name in self.vectors else x

    def squeezed(self, name, x):
        return x[..., 0] if name in self.vectors else x

    def result(self):
        return self.op.returned(self.outputs)

    def like(self, what, name, g, x):
        """A cotangent or tangent `g` of the array `x` as an array in x's shape with extra leading axes."""
        g = _array(g)
        if g.dtype.kind not in "biufc":
            raise TypeError(f"{self.op.name}: the {what} of {name} has dtype {g.dtype}; numbers are needed")
        try:
            shape = np.broadcast_shapes(g.shape, x.shape)
        except ValueError:
            shape = ()
        if shape[len(shape) - x.ndim :] != x.shape or len(shape) < x.ndim:
            raise ValueError(
                f"{self.op.name}: the {what} of {name} has shape {g.shape}, which does not broadcast to "
                f"(..., {', '.join(map(str, x.shape))})"
            )
        return self.column(name, np.broadcast_to(g, shape))

    def pullback(self, cotangents, wanted=None):
        """Input name -> cotangent in the input's shape and dtype, with the cotangents' extra leading axes."""
        op = self.op
        given = {n: None if g is None else self.like("cotangent", n, g, self.outputs[n]) for n, g in cotangents.items()}
        wanted = op.differentiable_inputs if wanted is None else wanted
        results = op.run_pullback(self.values, given, self.options, wanted)
        batch = max(self.outputs[n].ndim - self.core_ndim(n) for n in op.outputs)
        bars = {}
        for n, result in zip(wanted, results, strict=True):
            g, x = self.squeezed(n, result), self.inputs[op.inputs.index(n)]
            bars[n] = of_kind(summed_to(g, x.shape, g.ndim - batch - self.core_ndim(n)), x.dtype)
        return bars

    def core_ndim(self, name):
        return len(self.op.forward.cores[name]) - (name in self.vectors)

    def pushforward(self, tangents):
        """Output name -> tangent; zeros where the output has no derivative."""
        op = self.op
        given = {
            n: None if t is None else self.like("tangent", n, t, x)
            for n, t, x in zip(op.inputs, tangents, self.inputs, strict=True)
        }
        for n in op.inputs:
            if given[n] is not None and n not in op.differentiable_inputs:
                raise ValueError(f"{op.name}: {n} has no derivative: its tangent must be None")
        # extra axes go before the batch of the outputs, which may have more axes than the input's own
        batch = max(self.outputs[n].ndim - self.core_ndim(n) for n in op.outputs)
        for n, x in zip(op.inputs, self.inputs, strict=True):
            if given[n] is not None:
                extra = given[n].ndim - self.column(n, x).ndim
                missing = batch - (x.ndim - self.core_ndim(n))
                given[n] = given[n][(slice(None),) * extra + (None,) * (missing if extra else 0)]
        results = op.run_pushforward(self.values, given, self.options)
        dots = {n: self.squeezed(n, y) for n, y in zip(op.differentiable_outputs, results, strict=True)}
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
    call = _Call(op, inputs, options)
    names = call.op.outputs

    def pullback(cotangents):
        if len(names) == 1:
            cotangents = (cotangents,)
        elif not isinstance(cotangents, tuple | list) or len(cotangents) != len(names):
            got = f"{len(cotangents)}" if isinstance(cotangents, tuple | list) else type(cotangents).__name__
            raise ValueError(
                f"{call.op.name}: the pullback takes a tuple of {len(names)} cotangents ({', '.join(names)}), got {got}"
            )
        for n, g in zip(names, cotangents, strict=True):
            if g is not None and n not in call.op.differentiable_outputs:
                raise ValueError(f"{call.op.name}: {n} has no derivative: its cotangent must be None")
        bars = call.pullback(dict(zip(names, cotangents, strict=True)))
        return tuple(bars.get(n) for n in call.op.inputs)

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
    call = _Call(op, inputs, options)
    return call.result(), call.op.returned(call.pushforward(tangents))


def jacobian(op, /, *inputs, argnum=0, data_ndim=None, **options):
    """Compute the Jacobian of an operation with respect to one of its inputs.

    Parameters
    ----------
    op : str or callable
        A name in `OPS`, or matkern's function of that name.
    *inputs : array_like
        The operation's inputs, with any batch axes.
    argnum : int, optional
        Which input to differentiate with respect to.
    data_ndim : int, optional
        How many leading batch axes are data: each of their entries is a function of its own. The remaining
        batch axes are differentiated along with the matrices. None: all batch axes are data; 0: the whole
        Jacobian, which is block-diagonal in the batch.
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
    TypeError, numpy.linalg.LinAlgError
        As `vjp`.

    Notes
    -----
    One pass of the pushforward with as many tangents as the input has entries, or of the pullback with as many
    cotangents as the outputs have, whichever is fewer. A Hermitian or triangular input is read as in the
    operation's gradient: a change of either of a Hermitian matrix's two mirrored entries counts half.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> A, b = np.array([[[2.0, 1.0], [1.0, 3.0]]] * 4), np.ones((4, 2, 1))
    >>> mk.jacobian("solve", A, b, argnum=1).shape       # a batch of 4: x is (2, 1), b is (2, 1)
    (4, 2, 1, 2, 1)
    >>> mk.jacobian("solve", A, b, argnum=1, data_ndim=0).shape
    (4, 2, 1, 4, 2, 1)
    """
    if any(map(is_dask, inputs)):
        raise TypeError("jacobian takes no Dask arrays: map it over their chunks with dask.array.map_blocks")
    call = _Call(op, inputs, options)
    op = call.op
    if isinstance(argnum, bool) or not isinstance(argnum, int | np.integer) or not -len(inputs) <= argnum < len(inputs):
        raise ValueError(f"{op.name}: argnum must be an integer from 0 to {len(inputs) - 1}, got {argnum!r}")
    name, x = op.inputs[argnum], call.inputs[argnum]
    if name not in op.differentiable_inputs:
        raise ValueError(f"{op.name}: {name} has no derivative")
    if x.dtype.kind == "c" and not op.holomorphic(name, options):
        raise ValueError(
            f"{op.name} is not a holomorphic function of a complex {name}, so it has no complex Jacobian; take jvp or "
            "vjp along the real and the imaginary directions"
        )
    core_in = x.shape[x.ndim - call.core_ndim(name) :]
    cores_out = {n: y.shape[y.ndim - call.core_ndim(n) :] for n, y in call.outputs.items()}
    batch = max((y.shape[: y.ndim - len(cores_out[n])] for n, y in call.outputs.items()), key=len)
    if data_ndim is None:
        data_ndim = len(batch)
    if isinstance(data_ndim, bool) or not isinstance(data_ndim, int | np.integer) or not 0 <= data_ndim <= len(batch):
        raise ValueError(f"{op.name}: data_ndim must be an integer from 0 to {len(batch)}, got {data_ndim!r}")

    size_in = int(np.prod(core_in, dtype=int))
    names = op.differentiable_outputs
    size_out = sum(int(np.prod(cores_out[n], dtype=int)) for n in names)
    if size_out < size_in and not any(call.outputs[n].dtype.kind != x.dtype.kind for n in names):
        blocks = _by_cotangents(call, name, cores_out, core_in, batch)
    else:
        blocks = _by_tangents(call, name, cores_out, core_in, batch)
    blocks = {
        n: _spread(j, batch, data_ndim, x.shape[: x.ndim - len(core_in)], cores_out[n], core_in)
        for n, j in blocks.items()
    }
    return op.returned({n: blocks.get(n) for n in op.outputs})


def _basis(core, batch_ndim, dtype):
    """The unit arrays of a core shape, stacked before the batch axes."""
    size = int(np.prod(core, dtype=int))
    return np.eye(size, dtype=dtype).reshape((size,) + (1,) * batch_ndim + core)


def _by_tangents(call, name, cores_out, core_in, batch):
    """Output name -> Jacobian of shape batch + output core + input core."""
    values = dict.fromkeys(call.op.inputs)
    values[name] = call.column(name, _basis(core_in, len(batch), np.float64))
    results = call.op.run_pushforward(call.values, values, call.options)
    blocks = {}
    for n, result in zip(call.op.differentiable_outputs, results, strict=True):
        y = np.moveaxis(call.squeezed(n, result), 0, -1)
        blocks[n] = np.ascontiguousarray(np.broadcast_to(y, batch + cores_out[n] + y.shape[-1:])).reshape(
            batch + cores_out[n] + core_in
        )
    return blocks


def _by_cotangents(call, name, cores_out, core_in, batch):
    """Output name -> Jacobian of shape batch + output core + input core."""
    blocks = {}
    for n in call.op.differentiable_outputs:
        cotangent = call.column(n, _basis(cores_out[n], len(batch), call.outputs[n].dtype))
        (g,) = call.op.run_pullback(call.values, {n: cotangent}, call.options, (name,))
        g = np.moveaxis(call.squeezed(name, g).conj(), 0, len(batch))
        blocks[n] = np.ascontiguousarray(np.broadcast_to(g, batch + g.shape[len(batch) :])).reshape(
            batch + cores_out[n] + core_in
        )
    return blocks


def _spread(blocks, batch, data_ndim, batch_in, core_out, core_in):
    """Put the blocks of the batch axes that are no data on the diagonal: data + output axes + input axes."""
    rest_out = batch[data_ndim:]
    # the input's own batch axes behind the data axes; right-aligned with the output's, they may be fewer or of length 1
    rest_in = batch_in[max(0, len(batch_in) - len(rest_out)) :]
    if not rest_out:
        return blocks
    result = np.zeros(batch[:data_ndim] + rest_out + core_out + rest_in + core_in, blocks.dtype)
    grid = np.ogrid[tuple(slice(n) for n in rest_out)]
    grid_in = [0 if n == 1 else i for n, i in zip(rest_in, grid[len(rest_out) - len(rest_in) :], strict=True)]
    view = np.moveaxis(
        result,
        range(data_ndim + len(rest_out) + len(core_out), result.ndim - len(core_in)),
        range(data_ndim + len(rest_out), data_ndim + len(rest_out) + len(rest_in)),
    )
    view[(slice(None),) * data_ndim + (*grid, *grid_in)] = blocks
    return result
