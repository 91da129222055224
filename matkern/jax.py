"""matkern's operations for JAX: one XLA custom call each, under every transform.

Each operation of `OPS` is a function of this module, with the same name and options. It, its pullback and its
pushforward are primitives of JAX, the latter two each other's transposes: a first derivative runs the kernel, mapped or
not, inside the compiled program and on its buffers; the kernels' own derivatives come from the plain formula, whose
linear algebra is this module again.

As in JAX, a matrix that has no factorisation gives NaN, gradients are the conjugates of matkern's, and the part of a
cotangent along the free phases of eigenvectors is dropped. CPU alone: on another platform a program does not compile.
"""

import functools
import inspect
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import NamedSharding, PartitionSpec

from . import __version__
from .kernels.xla import handler
from .op import OPS, Namespace, functions, summed_to

__all__ = [*OPS]  # noqa: PLE0604 - the operations' names

# The name holds the version: a compiled program that outlives the process has indices of this version's kernels.
TARGET = f"matkern_{__version__}"
jax.ffi.register_ffi_target(TARGET, handler(), platform="cpu")

DTYPES = {np.dtype(t): i for i, t in enumerate((np.float32, np.float64, np.complex64, np.complex128))}


_xp = Namespace(jnp, sys.modules[__name__])


class _Map:
    """A kernel as a primitive. Parameters: `names` of the operands, `wanted` names of results, `options` as items."""

    def __init__(self, op, kernel):
        self.op, self.kernel = op, kernel
        self.cores, self.kinds = op.forward.cores | kernel.cores, op.forward.kinds | kernel.kinds
        self.primitive = Primitive(f"matkern_{kernel.name}_{op.name}")
        self.primitive.multiple_results = True
        self.primitive.def_impl(jax.jit(self.primitive.bind, static_argnames=("names", "wanted", "options")))
        self.primitive.def_abstract_eval(self.shapes)
        mlir.register_lowering(self.primitive, mlir.lower_fun(self.call, multiple_results=True), platform="cpu")
        batching.primitive_batchers[self.primitive] = self.batched

    def __call__(self, operands, wanted, options):
        """Name -> result, from name -> operand; None where nothing is given."""
        operands = {name: x for name, x in operands.items() if x is not None}
        results = self.primitive.bind(
            *_varying_alike(operands.values()),
            names=tuple(operands),
            wanted=tuple(wanted),
            options=tuple(sorted(options.items())),
        )
        return dict(zip(wanted, results, strict=True))

    def shapes(self, *operands, names, wanted, options):
        shapes = self.op.result_shapes(self.kernel, dict(zip(names, (x.shape for x in operands), strict=True)), wanted)
        like = next(x for n, x in zip(names, operands, strict=True) if not self.kinds[n])
        dtypes = _dtypes(like.dtype)
        # updates, to keep what the operand says of the manual axes of `shard_map`
        whole = [NamedSharding(like.sharding.mesh, PartitionSpec(*[None] * len(shape))) for shape in shapes]
        return [
            like.update(shape=shape, dtype=dtypes[self.kinds[n]], weak_type=False, sharding=sharding)
            for n, shape, sharding in zip(wanted, shapes, whole, strict=True)
        ]

    def call(self, *operands, names, wanted, options):
        """The custom call, with the operands that the kernel takes and the results that it cannot leave out."""
        kernel, given = self.kernel, dict(zip(names, operands, strict=True))
        results = [n for n in kernel.outputs if n in wanted or n not in kernel.optional]
        avals = self.shapes(*map(jax.typeof, operands), names=names, wanted=results, options=options)
        dtype = next(DTYPES[x.dtype] for n, x in given.items() if not self.kinds[n])
        present = sum(1 << i for i, n in enumerate(kernel.inputs + kernel.outputs) if n in given or n in results)
        chosen = dict(options)
        indices = [values.index(chosen.get(key, values[0])) for key, values in kernel.options.items()]
        out = jax.ffi.ffi_call(TARGET, [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals])(
            *[given[n] for n in kernel.inputs if n in given],
            kernel=np.int64(kernel.index),
            dtype=np.int64(dtype),
            present=np.int64(present),
            options=np.array(indices, np.int64),
        )
        return [out[results.index(n)] for n in wanted]

    def batched(self, operands, dims, *, names, **params):
        """One call for the whole batch: the mapped axis first, then axes of length 1 so that batches stay aligned."""
        ndims = [
            np.ndim(x) - len(self.cores[n]) - (d is not None) for x, d, n in zip(operands, dims, names, strict=True)
        ]
        aligned = [
            x if d is None else jnp.expand_dims(jnp.moveaxis(x, d, 0), tuple(range(1, 1 + max(ndims) - ndim)))
            for x, d, ndim in zip(operands, dims, ndims, strict=True)
        ]
        results = self.primitive.bind(*aligned, names=names, **params)
        return results, [0] * len(results)


def _varying_alike(operands):
    """Operands that vary over the same manual axes of `shard_map`, which a primitive of several needs."""

    def manual_axes(x):
        aval = jax.typeof(x)
        return aval.mat.varying if hasattr(aval, "mat") else getattr(aval, "vma", frozenset())

    operands = [*operands]
    axes = [manual_axes(x) for x in operands]
    every = frozenset().union(*axes)
    if all(own == every for own in axes):
        return operands
    vary = functools.partial(jax.lax.pcast, to="varying") if hasattr(jax.lax, "pcast") else jax.lax.pvary
    return [vary(x, tuple(sorted(every - own))) for x, own in zip(operands, axes, strict=True)]


def _zero(aval):
    return ad.Zero(aval.to_tangent_aval())


def _given(tangents):
    return [i for i, t in enumerate(tangents) if type(t) is not ad.Zero]


def _function(op):
    """The operation as a function of JAX's arrays, from three primitives."""
    forward, pullback, pushforward = (_Map(op, kernel) for kernel in (op.forward, op.pullback, op.pushforward))
    kept = op.forward.outputs
    saved = len(op.saved)

    def forward_jvp(primals, tangents, *, names, wanted, options):
        options = dict(options)
        values = dict(zip(names, primals, strict=True))
        values |= forward(values, kept, options)
        dots = {f"{n}_dot": None if type(t) is ad.Zero else t for n, t in zip(names, tangents, strict=True)}
        dots = {f"{n}_dot": dots[f"{n}_dot"] for n in op.differentiable_inputs}
        moving = [f"{n}_dot" for n in wanted if n in op.differentiable_outputs]
        results = {}
        if moving and any(t is not None for t in dots.values()):
            results = pushforward({n: values[n] for n in op.saved} | dots, moving, options)
        outputs = [values[n] for n in wanted]
        return outputs, [results.get(f"{n}_dot", _zero(jax.typeof(y))) for n, y in zip(wanted, outputs, strict=True)]

    def linear(this, transposed, by_formula, suffix, results):
        """The rules of a map that is linear in the operands behind what is saved."""

        def jvp(primals, tangents, *, names, wanted, options):
            out = this.primitive.bind(*primals, names=names, wanted=wanted, options=options)
            moving = _given(tangents)
            if all(i >= saved for i in moving):
                operands = dict(zip(names[:saved], primals[:saved], strict=True))
                operands |= {names[i]: tangents[i] for i in moving}
                dots = this(operands, wanted, dict(options))
                return out, list(dots.values())

            def formula(*moved):
                operands = list(primals)
                for i, x in zip(moving, moved, strict=True):
                    operands[i] = x
                values = dict(zip(names[:saved], operands[:saved], strict=True))
                directions = {n[:-4]: x for n, x in zip(names[saved:], operands[saved:], strict=True)}
                got = dict(zip(results, by_formula(_xp, values, directions, dict(options)), strict=True))
                return [jnp.broadcast_to(got[n[:-4]], y.shape) for n, y in zip(wanted, out, strict=True)]

            return out, jax.jvp(formula, [primals[i] for i in moving], [tangents[i] for i in moving])[1]

        def transpose(cts, *operands, names, wanted, options):
            values = dict(zip(names[:saved], operands[:saved], strict=True))
            values |= {
                f"{n[:-4]}{suffix}": None if type(ct) is ad.Zero else jnp.conj(ct)
                for n, ct in zip(wanted, cts, strict=True)
            }
            places = [i for i, x in enumerate(operands) if ad.is_undefined_primal(x)]
            if all(type(ct) is ad.Zero for ct in cts):
                return [ad.Zero(operands[i].aval) if i in places else None for i in range(len(operands))]
            bars = transposed(values, [f"{names[i][:-4]}{suffix}" for i in places], dict(options))
            back = [None] * len(operands)
            for i, bar in zip(places, bars.values(), strict=True):
                back[i] = jnp.conj(summed_to(bar, operands[i].aval.shape))
            return back

        ad.primitive_jvps[this.primitive] = jvp
        ad.primitive_transposes[this.primitive] = transpose

    ad.primitive_jvps[forward.primitive] = forward_jvp
    linear(pullback, pushforward, op.pull_by_formula, "_dot", op.differentiable_inputs)
    linear(pushforward, pullback, op.push_by_formula, "_bar", op.differentiable_outputs)

    @functools.wraps(op.function)
    def function(*inputs, **options):
        inputs, options = op.arguments(inputs, options)
        if "on_error" in options:
            raise TypeError(f"{op.name}: under JAX what fails is NaN, there is no option 'on_error'")
        if "gauge" in op.options:
            options.setdefault("gauge", "ignore")
        inputs = _promoted(op, [jnp.asarray(x) for x in inputs])
        inputs, options, finish = op.arranged(jnp, inputs, options)
        return op.returned(finish(forward(dict(zip(op.inputs, inputs, strict=True)), op.outputs, options)))

    parameters = inspect.signature(op.function).parameters.values()
    function.__module__ = __name__  # where pickle finds it
    function.__signature__ = inspect.Signature([p for p in parameters if p.name not in ("out", "on_error")])
    return function


def _promoted(op, inputs):
    """The inputs in one of the four dtypes, integers as floating point."""
    kinds = op.forward.kinds
    dtype = jnp.result_type(*[x for n, x in zip(op.inputs, inputs, strict=True) if not kinds[n]])
    dtype = jnp.result_type(float) if np.dtype(dtype).kind in "biu" else dtype
    for name, x in zip(op.inputs, inputs, strict=True):
        if kinds[name] == "int" and x.dtype.kind not in "iu":
            raise TypeError(f"{op.name}: {name} has dtype {x.dtype}; integers are needed")
        if kinds[name] == "real" and x.dtype.kind == "c":
            raise TypeError(f"{op.name}: {name} must be real, got dtype {x.dtype}")
        if not kinds[name] and np.dtype(dtype) not in DTYPES:
            raise TypeError(
                f"{op.name}: {name} has dtype {x.dtype}; float32, float64, complex64 and complex128 are supported: "
                "convert it with .astype(jnp.float32)"
            )
    dtypes = _dtypes(dtype)
    return [x.astype(dtypes[kinds[n]]) for n, x in zip(op.inputs, inputs, strict=True)]


def _dtypes(dtype):
    """The dtype of an operand by its kind, in a call of this dtype."""
    real = np.zeros((), dtype).real.dtype
    return {"": np.dtype(dtype), "real": real, "complex": np.result_type(real, np.complex64), "int": np.dtype(np.int32)}


globals().update(functions(_function))
