"""matkern's operations for PyTorch: reverse mode, forward mode, their compositions, and ``vmap``.

Each operation of `OPS` is a function of this module, with the same name and options. A first derivative runs the
kernel, once, also under ``vmap``; the kernels' own derivatives come from the plain formula, whose linear algebra is
this module again.

Inputs are strided CPU tensors of float32, float64, complex64 or complex128, of which mixed ones are promoted. Gradients
follow PyTorch's conventions, which are matkern's: the gradient of a Hermitian matrix is Hermitian.

What works: ``backward``, ``torch.autograd.grad``, dual numbers of ``torch.autograd.forward_ad``, and ``torch.func``:
``grad``, ``vjp``, ``jvp``, ``jacrev``, ``jacfwd``, ``hessian`` and ``vmap``, nested. What does not: forward mode over
forward mode over a gradient, and three forward modes (NotImplementedError); ``is_grads_batched`` of
``torch.autograd.grad``, whose batches are not those of ``torch.func`` (RuntimeError); ``torch.compile`` with
``fullgraph=True``.

Examples
--------
>>> import torch, matkern.torch
>>> a = torch.tensor([[2.0, 0.0], [0.0, 4.0]], requires_grad=True)
>>> matkern.torch.cholesky(a).diagonal().log().sum().backward()
>>> a.grad
tensor([[0.2500, 0.0000],
        [0.0000, 0.1250]])
"""

import functools
import inspect
import sys

import torch
from torch._functorch import eager_transforms
from torch.autograd import forward_ad

from .op import OPS, summed_to

__all__ = [*OPS]  # noqa: PLE0604 - the operations' names

_FLOATS = (torch.float32, torch.float64, torch.complex64, torch.complex128)
_INTEGERS = (torch.int32, torch.int64)


class _Namespace:
    """NumPy's names for the formulas: torch, but this module for linear algebra."""

    linalg = sys.modules[__name__]

    def __getattr__(self, name):
        return getattr(torch, name)

    @staticmethod
    def matmul(a, b):
        dtype = torch.promote_types(a.dtype, b.dtype)
        return torch.matmul(a.to(dtype), b.to(dtype))


_xp = _Namespace()


def _array(x):
    """A tensor's own memory as an array, where its strides and signs are what is in memory."""
    return None if x is None else x.detach().resolve_conj().resolve_neg().numpy()


def _pulled(formula, args, gs, needed):
    """Cotangents of those `args` that are needed, None for the rest, from cotangents of the formula's results."""
    at = [i for i, x in enumerate(args) if needed[i] and x is not None and x.dtype in _FLOATS]
    gs = {i: g for i, g in enumerate(gs) if g is not None}
    bars = [None] * len(args)
    if at and gs:
        function = _of(formula, args, at, {i: g.shape for i, g in gs.items()})
        results = torch.func.vjp(function, *[args[i] for i in at])[1](tuple(gs.values()))
        for i, g in zip(at, results, strict=True):
            bars[i] = g
    return bars


def _without_tangent(x):
    """A tensor below the level of the forward mode that is being run."""
    level = torch._C._functorch.maybe_current_level()
    return forward_ad.unpack_dual(x).primal if level is None else torch._C._functorch._unwrap_for_grad(x, level)


def _pushed(formula, args, ts, shapes):
    """Tangents of the formula's results, from those of `args`, None being zero.

    By the pullback of the pullback, which is linear in the cotangents: ``torch.func.jvp`` cannot run inside
    ``torch.autograd.forward_ad.dual_level``.
    """
    # what is saved still carries its tangents, which the engine would push forward again, without an end
    args = [None if x is None else _without_tangent(x) for x in args]
    at = [i for i, t in enumerate(ts) if t is not None]
    function, xs = _of(formula, args, at, dict(enumerate(shapes))), [args[i] for i in at]
    zeros = [torch.zeros_like(y) for y in function(*xs)]
    ts = tuple(_without_tangent(ts[i]) for i in at)
    return torch.func.vjp(lambda *gs: torch.func.vjp(function, *xs)[1](gs), *zeros)[1](ts)


def _of(formula, args, at, shapes):
    """The formula as a function of the `args` at some positions, to the results named in `shapes`, in these shapes."""

    def function(*xs):
        whole = list(args)
        for i, x in zip(at, xs, strict=True):
            whole[i] = x
        results = formula(*whole)
        return tuple(results[i].expand(shape) for i, shape in shapes.items())

    return function


def _save(ctx, tensors):
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)
    ctx.set_materialize_grads(False)


def _vmapped(run, cores, args, in_dims):
    """`run(*args)` with the mapped axes in front of all batch axes, for a kernel to broadcast."""
    batch = [
        x.ndim - (dim is not None) - core for x, core, dim in zip(args, cores, in_dims, strict=True) if x is not None
    ]
    aligned = []
    for x, core, dim in zip(args, cores, in_dims, strict=True):
        if x is not None and dim is not None:
            x = x.movedim(dim, 0)  # noqa: PLW2901
            x = x[(slice(None), *[None] * (max(batch) + 1 + core - x.ndim))]  # noqa: PLW2901
        aligned.append(x)
    results = run(*aligned)
    return results, (0,) * len(results)


def _checked(op, name, x):
    """The input as what a kernel can read; TypeError or ValueError if it is not."""
    what = f"{op.name}: {name}"
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{what} must be a torch.Tensor, got {type(x).__name__}; torch.as_tensor makes one of it")
    if x.layout != torch.strided:
        raise TypeError(f"{what} has the layout {x.layout}; make it dense by {name}.to_dense()")
    if x.device.type != "cpu":
        raise ValueError(f"{what} is on the device {x.device}; matkern computes on the CPU: move it by {name}.cpu()")
    if op.forward.kinds[name] == "int":
        if x.dtype not in _INTEGERS:
            raise TypeError(f"{what} has dtype {x.dtype}; integers are needed, as lu_factor returns them")
    elif x.dtype not in _FLOATS:
        remedy = "float32" if x.dtype.is_floating_point else "float64"
        raise TypeError(
            f"{what} has dtype {x.dtype}; matkern has float32, float64, complex64 and complex128: convert it by "
            f"{name}.to(torch.{remedy})"
        )


def _tracked(inputs):
    """Whether a derivative or a batch axis has to be followed."""
    return (
        torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or (torch.is_grad_enabled() and any(x.requires_grad for x in inputs))
    )


def _functions(op):
    """The operation with what its derivatives need, as an autograd.Function; inside it, its pullback and pushforward.

    The arguments of the latter two are flat: what is saved, then cotangents or tangents.
    """
    kept = op.forward.outputs
    differentiable = [kept.index(name) for name in op.differentiable_outputs]
    saved = len(op.saved)

    def core(names):
        return [len(op.forward.cores[name]) for name in names]

    def named(args, names):
        return dict(zip(op.saved, args[:saved], strict=True)), dict(zip(names, args[saved:], strict=True))

    def pullback_formula(options, wanted, *args):
        results = op.pull_by_formula(_xp, *named(args, op.differentiable_outputs), options)
        return tuple(g for name, g in zip(op.differentiable_inputs, results, strict=True) if name in wanted)

    def pushforward_formula(options, *args):
        return op.push_by_formula(_xp, *named(args, op.differentiable_inputs), options)

    class Pullback(torch.autograd.Function):
        @staticmethod
        def forward(options, wanted, *args):
            values, cotangents = named([_array(x) for x in args], op.differentiable_outputs)
            return tuple(torch.from_numpy(g) for g in op.run_pullback(values, cotangents, options, wanted))

        @staticmethod
        def setup_context(ctx, inputs, output):
            options, wanted, *args = inputs
            ctx.formula = functools.partial(pullback_formula, options, wanted)
            ctx.shapes = [g.shape for g in output]
            _save(ctx, args)

        @staticmethod
        def backward(ctx, *gs):
            return None, None, *_pulled(ctx.formula, ctx.saved_tensors, gs, ctx.needs_input_grad[2:])

        @staticmethod
        def jvp(ctx, _options, _wanted, *ts):
            if eager_transforms.JVP_NESTING > 1:  # the outer tangents would be lost without a word
                raise NotImplementedError(
                    f"{op.name}: forward mode over forward mode over a gradient is not supported; use torch.func.grad, "
                    "vjp or jacrev for the outermost derivative"
                )
            return _pushed(ctx.formula, ctx.saved_tensors, ts, ctx.shapes)

        @staticmethod
        def vmap(info, in_dims, options, wanted, *args):
            cores = core(op.saved + op.differentiable_outputs)
            return _vmapped(functools.partial(Pullback.apply, options, wanted), cores, args, in_dims[2:])

    class Pushforward(torch.autograd.Function):
        @staticmethod
        def forward(options, *args):
            values, tangents = named([_array(x) for x in args], op.differentiable_inputs)
            return tuple(torch.from_numpy(y) for y in op.run_pushforward(values, tangents, options))

        @staticmethod
        def setup_context(ctx, inputs, output):
            options, *args = inputs
            ctx.formula = functools.partial(pushforward_formula, options)
            ctx.shapes = [y.shape for y in output]
            _save(ctx, args)

        @staticmethod
        def backward(ctx, *gs):
            return None, *_pulled(ctx.formula, ctx.saved_tensors, gs, ctx.needs_input_grad[1:])

        @staticmethod
        def jvp(ctx, _options, *ts):
            return _pushed(ctx.formula, ctx.saved_tensors, ts, ctx.shapes)

        @staticmethod
        def vmap(info, in_dims, options, *args):
            cores = core(op.saved + op.differentiable_inputs)
            return _vmapped(functools.partial(Pushforward.apply, options), cores, args, in_dims[1:])

    class Operation(torch.autograd.Function):
        @staticmethod
        def forward(options, *inputs):
            values = op.run_forward([_array(x) for x in inputs], options)
            return tuple(torch.from_numpy(values[name]) for name in kept)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.options, *inputs = inputs
            ctx.shapes = [x.shape for x in inputs]
            values = dict(zip(op.inputs + kept, (*inputs, *output), strict=True))
            _save(ctx, [values[name] for name in op.saved])
            ctx.mark_non_differentiable(*[y for i, y in enumerate(output) if i not in differentiable])

        @staticmethod
        def backward(ctx, *gs):
            wanted = zip(op.inputs, ctx.needs_input_grad[1:], strict=True)
            wanted = tuple(name for name, needed in wanted if needed and name in op.differentiable_inputs)
            gs = [gs[i] for i in differentiable]
            bars = {}
            if wanted and any(g is not None for g in gs):
                bars = dict(zip(wanted, Pullback.apply(ctx.options, wanted, *ctx.saved_tensors, *gs), strict=True))
            shapes = zip(op.inputs, ctx.shapes, strict=True)
            return None, *[summed_to(bars[name], shape) if name in bars else None for name, shape in shapes]

        @staticmethod
        def jvp(ctx, _options, *ts):
            ts = [t for name, t in zip(op.inputs, ts, strict=True) if name in op.differentiable_inputs]
            dots = dict(zip(differentiable, Pushforward.apply(ctx.options, *ctx.saved_tensors, *ts), strict=True))
            return tuple(dots.get(i) for i in range(len(kept)))

        @staticmethod
        def vmap(info, in_dims, options, *inputs):
            return _vmapped(functools.partial(Operation.apply, options), core(op.inputs), inputs, in_dims[1:])

    return Operation


def _function(op):
    """The operation as a function of tensors."""
    operation = _functions(op)
    floats = [i for i, name in enumerate(op.inputs) if op.forward.kinds[name] != "int"]

    @functools.wraps(op.function)
    def function(*inputs, **options):
        if len(inputs) != len(op.inputs):
            raise TypeError(f"{op.name} takes {len(op.inputs)} inputs ({', '.join(op.inputs)}), got {len(inputs)}")
        op.check_options(options)
        for name, x in zip(op.inputs, inputs, strict=True):
            _checked(op, name, x)
        inputs = list(inputs)
        dtype = functools.reduce(torch.promote_types, [inputs[i].dtype for i in floats])
        for i in floats:
            inputs[i] = inputs[i].to(dtype)
        vectors = op.vectors([x.ndim for x in inputs])
        if vectors:
            inputs = [x[..., None] if name in vectors else x for name, x in zip(op.inputs, inputs, strict=True)]
        run = operation.apply if _tracked(inputs) else operation.forward
        values = dict(zip(op.forward.outputs, run(options, *inputs), strict=True))
        return op.returned({name: values[name][..., 0] if name in vectors else values[name] for name in op.outputs})

    parameters = inspect.signature(op.function).parameters.values()
    function.__signature__ = inspect.Signature([p for p in parameters if p.name != "out"])
    return function


for _op in OPS.values():
    globals()[_op.name] = _function(_op)
