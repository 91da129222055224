"""One record per operation, `OPS`, and what the frameworks make of it.

A record's three kernels name their operands, and the names say the rest: what a pullback takes besides
cotangents (`..._bar`) is what it needs saved of the forward pass, an output of the forward kernel that the
operation does not return is kept for that, and what has no `..._bar` or `..._dot` has no derivative.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np

__all__ = ["OPS", "RECORDS", "Layout", "Namespace", "Op", "Quiet", "View", "functions", "summed_to"]


@dataclass(frozen=True)
class View:
    """How a kernel sees an array of the function's: by other axes at the end.

    Attributes
    ----------
    there, back : callable
        ``there(xp, x)`` from the function's array to the kernel's, in any namespace, ``back(xp, x)`` from the kernel's.
        Both leave additional axes in front alone.
    core : callable
        From the shape of the kernel's core to that of the axes of the function's array which it stands for.
    """

    there: Callable
    back: Callable
    core: Callable


SAME = View(lambda xp, x: x, lambda xp, x: x, lambda core: core)
COLUMN = View(lambda xp, x: x[..., None], lambda xp, x: x[..., 0], lambda core: core[:-1])
ROW = View(lambda xp, x: x[..., None, :], lambda xp, x: x[..., 0, :], lambda core: core[1:])
NUMBER = View(lambda xp, x: x[..., None, None], lambda xp, x: x[..., 0, 0], lambda core: ())


class Layout:
    """How the inputs and options of a function become those of its kernels.

    This one makes a column of what may be a vector, the right-hand sides of a system, if it is 1-D.
    """

    options = ()
    """Names of the function's options that the kernels do not have."""

    def numbers(self, options):
        """Kernel input -> number, for those that the function takes as options."""
        return {}

    def views(self, op, inputs, options):
        """The kernels' options, and a view for each operand that needs one."""
        if op.systems and any(n in op.systems and x.ndim == 1 for n, x in zip(op.inputs, inputs, strict=True)):
            return options, dict.fromkeys(op.systems, COLUMN)
        return options, {}


COLUMNS = Layout()


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
    defaults : dict, optional
        Inputs at the end that may be left out or None, with the number that then stands for them.
    layout : Layout, optional
        For a function whose arrays or options are not those of the kernels.
    default_variant : dict, optional
        An option that selects a record, and its value that selects this one.
    variant_of : tuple, optional
        ``(name, option, value)`` of the operation and its option that selects this record.
    public : bool, optional
        Whether the record is an operation of its own, and not just a variant.
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
    defaults: dict = field(default_factory=dict)
    layout: Layout = COLUMNS
    default_variant: dict = field(default_factory=dict)
    variant_of: tuple | None = None
    public: bool = True
    variants: dict = field(init=False)  # option -> value -> record

    def __post_init__(self):
        object.__setattr__(self, "variants", {key: {value: self} for key, value in self.default_variant.items()})
        RECORDS[self.name] = self
        if self.public:
            OPS[self.name] = self
        if self.variant_of is not None:
            name, option, value = self.variant_of
            OPS[name].variants[option][value] = self

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

    @cached_property
    def systems(self):
        """Names of right-hand sides and solutions, which the function may take and return as vectors."""
        return tuple([n for n, core in self.forward.cores.items() if core[-1:] == ("k?",)])

    @cached_property
    def plain(self):
        """Whether the function's arrays and options always are the kernels'."""
        return self.layout is COLUMNS and not self.systems and not self.defaults

    def arranged(self, xp, inputs, options):
        """The kernels' inputs and options from the function's, and a map from the kernels' outputs to the function's.

        What is kept for the derivatives may be left out of the outputs, or be among them.
        """
        if self.plain:
            return inputs, options, lambda outputs: outputs
        options, views = self.layout.views(self, inputs, options)
        inputs = [views[n].there(xp, x) if n in views else x for n, x in zip(self.inputs, inputs, strict=True)]

        def finish(outputs):
            return {n: views[n].back(xp, y) if n in views else y for n, y in outputs.items()}

        return inputs, options, finish

    def variant(self, options):
        """The record that the options select, and the options without those that did."""
        chosen = self
        for key, records in self.variants.items():
            if key in options:
                value = options[key]
                if not isinstance(value, str | bool | np.bool_ | None) or value not in records:
                    raise ValueError(
                        f"{self.name}: {key} must be one of {', '.join(map(repr, records))}, got {value!r}"
                    )
                chosen = records[value]
                ours = self.options if chosen is not self else {}  # what the chosen one lacks says nothing there
                options = {k: v for k, v in options.items() if k != key and (k not in ours or k in chosen.options)}
        return chosen, options

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
        wanted = None if wanted in (None, self.differentiable_inputs) else tuple([f"{n}_bar" for n in wanted])
        results = self.pullback(*operands, wanted=wanted, **self._for(self.pullback, options))
        return results if isinstance(results, tuple) else (results,)

    def run_pushforward(self, values, tangents, options):
        """Tangents of the outputs that have one, in their order; `tangents` by the names of inputs."""
        operands = [tangents.get(n[:-4]) if n.endswith("_dot") else values[n] for n in self.pushforward.inputs]
        wanted = tuple([f"{n}_dot" for n in self.differentiable_outputs])
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

    @cached_property
    def positional(self):
        """Names of the function's parameters that may be given by position."""
        parameters = inspect.signature(self.function).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)

    def arguments(self, inputs, options):
        """The kernels' inputs, in order, and the options of a call of the function; raise if they do not fit.

        Inputs may be named, and options given by position where the function has them so; an input that is left out is
        a number.
        """
        if not (options or len(inputs) != len(self.inputs) or self.layout.options or self.defaults):
            return inputs, options
        given = dict(zip(self.positional, inputs, strict=False))
        both = given.keys() & options.keys()
        if len(inputs) > len(given) or both:
            what = f"got {len(inputs)}" if len(inputs) > len(given) else f"and {', '.join(both)} twice"
            raise TypeError(f"{self.name} takes {', '.join(self.positional)} by position, {what}")
        hidden = [key for key in options if key in self.inputs and key not in self.positional]
        if hidden:
            raise TypeError(f"{self.name} has no option {hidden[0]!r}")
        given |= options
        options = {key: value for key, value in given.items() if key not in self.inputs}
        self.check_options(options)
        numbers = self.defaults | self.layout.numbers(options)
        given |= {n: x for n, x in numbers.items() if given.get(n) is None}
        missing = [n for n in self.inputs if n not in given]
        if missing:
            needed = [n for n in self.inputs if n not in numbers]
            raise TypeError(f"{self.name} needs {', '.join(needed)}; {', '.join(missing)} is missing")
        return tuple(given[n] for n in self.inputs), options

    def check_options(self, options):
        """Raise TypeError or ValueError for an option that no kernel has, or a value that it does not take."""
        for key in options:
            if key not in self.options and key not in self.layout.options and key != "on_error":
                known = ", ".join([*self.variants, *self.options, *self.layout.options, "on_error"])
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

RECORDS: dict[str, Op] = {}
"""Every record by its name: the operations, and the variants of them that an option selects."""


class Namespace:
    """NumPy's names for the formulas: those of `arrays`, but `linalg` for linear algebra."""

    def __init__(self, arrays, linalg):
        self.arrays, self.linalg = arrays, linalg

    def __getattr__(self, name):
        return getattr(self.arrays, name)


class Quiet:
    """A shim's functions for the formulas: what fails there has failed before, and raised an error if it should."""

    def __init__(self, functions):
        self.functions = functions

    def __getattr__(self, name):
        return functools.partial(self.functions[name], on_error="nan")


def functions(make):
    """Name -> ``make(record)`` for every record; that of an operation with variants calls the one that is selected."""
    made = {name: make(op) for name, op in RECORDS.items()}

    def selecting(op):
        @functools.wraps(made[op.name])
        def function(*inputs, **options):
            chosen, options = op.variant(options)
            return made[chosen.name](*inputs, **options)

        return function

    return made | {name: selecting(op) for name, op in OPS.items() if op.variants}


def summed_to(g, shape, extra_ndim=0):
    """Sum a cotangent over the batch axes along which an input of this shape was broadcast, not the extra ones."""
    if g.shape[extra_ndim:] == shape:
        return g
    missing = g.ndim - extra_ndim - len(shape)
    axes = [*range(extra_ndim, extra_ndim + missing)]
    axes += [i for i, size in enumerate(shape, extra_ndim + missing) if size == 1 != g.shape[i]]
    return g.sum(axis=tuple(axes)).reshape(g.shape[:extra_ndim] + shape) if axes else g
