"""matkern's operations for PyTorch: reverse mode, forward mode, their compositions, and ``vmap``.

Each operation of `OPS` is a function of this module, with the same name and options. A first derivative runs the
kernel, once, also under ``vmap``; the kernels' own derivatives come from the plain formula, whose linear algebra is
this module again.

Inputs are strided CPU tensors of float32, float64, complex64 or complex128, of which mixed ones are promoted. Gradients
follow PyTorch's conventions, which are matkern's: the gradient of a Hermitian matrix is Hermitian.

What works: ``backward``, ``torch.autograd.grad`` and dual numbers of ``torch.autograd.forward_ad``; ``grad``, ``vjp``,
``jvp``, ``jacrev``, ``jacfwd``, ``hessian`` and ``vmap`` of ``torch.func``, nested; ``is_grads_batched`` and
``vectorize`` of ``torch.autograd``; ``torch.compile`` with ``fullgraph=True`` and with dynamic shapes, of functions of
``torch.func``, too; ``torch.export``. What does not: forward mode over forward mode over a gradient, and three forward
modes (NotImplementedError); ``torch.jit.trace`` (NotImplementedError); forward mode of a graph that is exported or
compiled already, where PyTorch asks no operator for its tangents.

In a compiled program a matrix that fails is NaN, unless ``on_error="raise"`` is given.

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

import torch
from torch._functorch import eager_transforms
from torch.autograd import forward_ad

from .op import OPS, Namespace, Quiet, functions, summed_to

__all__ = [*OPS]  # noqa: PLE0604 - the operations' names

_FLOATS = frozenset((torch.float32, torch.float64, torch.complex64, torch.complex128))
_DTYPES = {
    "": _FLOATS,
    "real": frozenset((torch.float32, torch.float64)),
    "int": frozenset((torch.int32, torch.int64)),
}
_PLAIN = frozenset((torch.Tensor, torch.nn.Parameter, type(None)))

_library = torch.library.Library("matkern", "DEF")


class _Torch(Namespace):
    @staticmethod
    def matmul(a, b):
        dtype = torch.promote_types(a.dtype, b.dtype)
        return torch.matmul(a.to(dtype), b.to(dtype))


_xp = _Torch(torch, Quiet(globals()))


class _Map:
    """A kernel on tensors: ``run(arrays, wanted, options)`` gives the arrays that are named in `wanted`.

    It is an operator of PyTorch, too, ``torch.ops.matkern.<name>``, for programs that are traced.
    """

    def __init__(self, op, name, kernel, operands, run):
        self.op, self.kernel, self.operands, self.run = op, kernel, operands, run
        self.cores, self.kinds = op.forward.cores | kernel.cores, op.forward.kinds | kernel.kinds
        tensors = [f"Tensor{'?' * n.endswith(('_bar', '_dot'))} {n}" for n in operands]
        options = [_declared(key, values) for key, values in (op.options | {"on_error": ("raise", "nan")}).items()]
        _library.define(f"{name}({', '.join(tensors)}, *, str[] wanted, {', '.join(options)}) -> Tensor[]")
        _library.impl(name, self.called, "CPU")
        torch.library.register_fake(f"matkern::{name}", self.shaped, lib=_library)
        self.operator = getattr(torch.ops.matkern, name).default

    def __call__(self, tensors, wanted, options):
        if not torch._C._len_torch_dispatch_stack() and {*map(type, tensors)} <= _PLAIN:
            return self.computed(tensors, wanted, options)
        return tuple(self.operator(*tensors, wanted=wanted, **options))

    def computed(self, tensors, wanted, options):
        # a tensor's own memory, if that holds its entries and not their conjugates or negatives
        arrays = [None if x is None else x.numpy(force=True) for x in tensors]
        return tuple([torch.from_numpy(y) for y in self.run(arrays, wanted, options)])

    def called(self, *tensors, wanted, **options):
        """As an operator."""
        return [*self.computed(tensors, tuple(wanted), options)]

    def shaped(self, *tensors, wanted, **options):
        given = {n: x for n, x in zip(self.operands, tensors, strict=True) if x is not None}
        shapes = self.op.result_shapes(self.kernel, {n: x.shape for n, x in given.items()}, wanted)
        like = next(x for n, x in given.items() if not self.kinds[n])
        real = like.dtype.to_real()
        dtypes = {"": like.dtype, "real": real, "complex": real.to_complex(), "int": torch.int32}
        return [like.new_empty(shape, dtype=dtypes[self.kinds[n]]) for n, shape in zip(wanted, shapes, strict=True)]

    def vmapped(self, run, args, in_dims):
        """`run(*args)` with the mapped axes in front of all batch axes, for a kernel to broadcast."""
        cores = [len(self.cores[n]) for n in self.operands]
        batch = [
            x.ndim - (dim is not None) - core
            for x, core, dim in zip(args, cores, in_dims, strict=True)
            if x is not None
        ]
        aligned = []
        for x, core, dim in zip(args, cores, in_dims, strict=True):
            if x is not None and dim is not None:
                x = x.movedim(dim, 0)  # noqa: PLW2901
                x = x[(slice(None), *[None] * (max(batch) + 1 + core - x.ndim))]  # noqa: PLW2901
            aligned.append(x)
        results = run(*aligned)
        return results, (0,) * len(results)


def _declared(key, values):
    """An option in the declaration of an operator."""
    default = f'"{values[0]}"' if isinstance(values[0], str) else values[0]
    return f"{'bool' if values[0] in (False, True) else 'str'}{'?' * (None in values)} {key}={default}"


def _pulled(formula, args, gs, needed):
    """Cotangents of those `args` that are needed, None for the rest, from cotangents of the formula's results."""
    at = [i for i, x in enumerate(args) if needed[i] and x is not None and x.dtype in _FLOATS]
    gs = {i: g for i, g in enumerate(gs) if g is not None}
    bars = [None] * len(args)
    if at and gs:
        function, xs = _of(formula, args, at, {i: g.shape for i, g in gs.items()}), [args[i] for i in at]
        # in plain reverse mode torch.func stays out: it does not bear the hooks of saved tensors
        plain = not torch._C._are_functorch_transforms_active() and forward_ad._current_level < 0
        through = _pullback_of_engine if plain else _pullback_of
        for i, g in zip(at, through(function, xs, [*gs.values()]), strict=True):
            bars[i] = g
    return bars


def _pullback_of(function, xs, gs):
    return torch.func.vjp(function, *xs)[1](tuple(gs))


def _pullback_of_engine(function, xs, gs):
    with torch.enable_grad():
        xs = [x.view_as(x) for x in xs]
        pairs = [*zip(function(*xs), gs, strict=True)]
    return _engine(pairs, xs)


def _engine(pairs, xs):
    """Cotangents of `xs`, from pairs of results and their cotangents, by autograd's engine."""
    pairs = [(y, g) for y, g in pairs if g is not None and y.requires_grad]
    if not pairs:
        return [None] * len(xs)
    ys, gs = zip(*pairs, strict=True)
    return torch.autograd.grad(ys, xs, gs, create_graph=torch.is_grad_enabled(), allow_unused=True)


def _without_tangent(x):
    """A tensor below the level of the forward mode that is being run."""
    level = torch._C._functorch.maybe_current_level()
    if level is None or not torch._C._functorch.is_functorch_wrapped_tensor(x):
        return forward_ad.unpack_dual(x).primal
    return torch._C._functorch._unwrap_for_grad(x, level)


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


def _in_any_vmap(rule):
    """A rule of an autograd.Function that also runs in the vmap of `torch.autograd`, which is not `torch.vmap`.

    It is that of ``is_grads_batched`` and ``vectorize``, and marks cotangents or tangents only.
    """

    @functools.wraps(rule)
    def of_batches(ctx, *gs):
        batched = torch._C._functorch.is_legacy_batchedtensor
        at = [i for i, g in enumerate(gs) if isinstance(g, torch.Tensor) and batched(g)]
        if not at:
            return rule(ctx, *gs)
        level = torch._C._vmapmode_increment_nesting() - 1
        torch._C._vmapmode_decrement_nesting()
        there = []

        def some(*mapped):
            whole = list(gs)
            for i, g in zip(at, mapped, strict=True):
                whole[i] = g
            results = rule(ctx, *whole)
            there.extend(y is not None for y in results)
            return tuple(y for y in results if y is not None)

        results = iter(torch.vmap(some)(*[torch._remove_batch_dim(gs[i], level, 1, 0) for i in at]))
        return tuple(torch._add_batch_dim(next(results), 0, level) if y else None for y in there)

    return of_batches


def _tracked(tensors):
    """Whether a derivative or a batch axis has to be followed."""
    return (
        torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or (torch.is_grad_enabled() and True in [x.requires_grad for x in tensors if x is not None])
    )


def _apply(function, wanted, options, tensors):
    """`function.apply`, if possible without its preparations for torch.func, which take longer than a small matrix."""
    if torch._C._are_functorch_transforms_active():
        return function.apply(wanted, options, *tensors)
    return super(torch.autograd.Function, function).apply(wanted, options, *tensors)


def _derivative(run, formula, modes):
    """A pullback or a pushforward, of what is saved and of cotangents or tangents, as an autograd.Function.

    `modes` says in how many nested forward modes it can be.
    """

    class Derivative(torch.autograd.Function):
        @staticmethod
        def forward(wanted, options, *args):
            return run(args, wanted, options)

        @staticmethod
        def setup_context(ctx, inputs, output):
            wanted, options, *args = inputs
            ctx.formula = functools.partial(formula, wanted, options)
            ctx.shapes = [y.shape for y in output]
            _save(ctx, args)

        @staticmethod
        @_in_any_vmap
        def backward(ctx, *gs):
            return None, None, *_pulled(ctx.formula, ctx.saved_tensors, gs, ctx.needs_input_grad[2:])

        @staticmethod
        @_in_any_vmap
        def jvp(ctx, _wanted, _options, *ts):
            if modes < eager_transforms.JVP_NESTING:  # the outer tangents would be lost without a word
                raise NotImplementedError(
                    f"{run.op.name}: forward mode over forward mode over another derivative is not supported; use "
                    "torch.func.grad, vjp or jacrev for the outermost derivative"
                )
            return _pushed(ctx.formula, ctx.saved_tensors, ts, ctx.shapes)

        @staticmethod
        def vmap(info, in_dims, wanted, options, *args):
            return run.vmapped(functools.partial(Derivative.apply, wanted, options), args, in_dims[2:])

    return Derivative


def _differentiate_operator(run, function, everything=None):
    """Give an operator that is in somebody's graph the derivatives of the autograd.Function of the same map.

    That one computes `everything`, or what is wanted.
    """

    def setup_context(ctx, inputs, keyword_only_inputs, output):
        ctx.keywords = keyword_only_inputs
        ctx.save_for_backward(*inputs)

    def backward(ctx, gs):
        options = dict(ctx.keywords)
        wanted = tuple(options.pop("wanted"))
        args = list(ctx.saved_tensors)
        at = [i for i, x in enumerate(args) if x is not None and x.requires_grad]
        with torch.enable_grad():
            for i in at:
                args[i] = args[i].view_as(args[i])
            names = everything or wanted
            ys = dict(zip(names, _apply(function, names, options, args), strict=True))
        grads = _engine([(ys[n], g) for n, g in zip(wanted, gs, strict=True)], [args[i] for i in at])
        bars = dict(zip(at, grads, strict=True))
        return tuple(bars.get(i) for i in range(len(args)))

    torch.library.register_autograd(run.operator, backward, setup_context=setup_context, lib=_library)


def _traceable(op):
    """The operation as a function of tensors to a tuple of its outputs, which a compiler need not look into."""
    bars = tuple(f"{n}_bar" for n in op.differentiable_outputs)
    dots = tuple(f"{n}_dot" for n in op.differentiable_inputs)
    kept, saved = op.forward.outputs, len(op.saved)
    results = tuple(f"{n}_dot" for n in op.differentiable_outputs)

    def split(args, names):
        """What is saved, and cotangents or tangents, by name."""
        return dict(zip(op.saved, args[:saved], strict=True)), dict(zip(names, args[saved:], strict=True))

    def run_forward(inputs, wanted, options):
        return op.run_wanted(inputs, options, wanted)

    def run_pullback(args, wanted, options):
        return op.run_pullback(*split(args, op.differentiable_outputs), options, tuple([n[:-4] for n in wanted]))

    def run_pushforward(args, wanted, options):
        return op.run_pushforward(*split(args, op.differentiable_inputs), options)

    def pullback_formula(wanted, options, *args):
        gs = op.pull_by_formula(_xp, *split(args, op.differentiable_outputs), options)
        return tuple(g for n, g in zip(op.differentiable_inputs, gs, strict=True) if f"{n}_bar" in wanted)

    def pushforward_formula(wanted, options, *args):
        return op.push_by_formula(_xp, *split(args, op.differentiable_inputs), options)

    forward = _Map(op, op.name, op.forward, op.inputs, run_forward)
    pullback = _Map(op, f"{op.name}_vjp", op.pullback, op.saved + bars, run_pullback)
    pushforward = _Map(op, f"{op.name}_jvp", op.pushforward, op.saved + dots, run_pushforward)
    Pullback = _derivative(pullback, pullback_formula, 1)
    Pushforward = _derivative(pushforward, pushforward_formula, 2)

    class Operation(torch.autograd.Function):
        @staticmethod
        def forward(wanted, options, *inputs):
            return forward(inputs, wanted, options)

        @staticmethod
        def setup_context(ctx, inputs, output):
            _, ctx.options, *inputs = inputs
            ctx.shapes = [x.shape for x in inputs]
            values = dict(zip(op.inputs + kept, (*inputs, *output), strict=True))
            _save(ctx, [values[n] for n in op.saved])
            ctx.mark_non_differentiable(*[values[n] for n in kept if n not in op.differentiable_outputs])

        @staticmethod
        @_in_any_vmap
        def backward(ctx, *gs):
            needed = dict(zip(op.inputs, ctx.needs_input_grad[2:], strict=True))
            wanted = tuple(n for n in op.differentiable_inputs if needed[n])
            gs = dict(zip(kept, gs, strict=True))
            gs = [gs[n] for n in op.differentiable_outputs]
            back = {}
            if wanted and any(g is not None for g in gs):
                args, names = (*ctx.saved_tensors, *gs), tuple(f"{n}_bar" for n in wanted)
                run = (
                    functools.partial(_apply, Pullback, names, ctx.options)
                    if _tracked(args)
                    else (lambda args: pullback(args, names, ctx.options))
                )
                back = dict(zip(wanted, run(args), strict=True))
            shapes = zip(op.inputs, ctx.shapes, strict=True)
            return None, None, *[summed_to(back[n], shape) if n in back else None for n, shape in shapes]

        @staticmethod
        @_in_any_vmap
        def jvp(ctx, _wanted, _options, *ts):
            ts = [t for n, t in zip(op.inputs, ts, strict=True) if n in op.differentiable_inputs]
            pushed = _apply(Pushforward, results, ctx.options, (*ctx.saved_tensors, *ts))
            pushed = dict(zip(op.differentiable_outputs, pushed, strict=True))
            return tuple(pushed.get(n) for n in kept)

        @staticmethod
        def vmap(info, in_dims, wanted, options, *inputs):
            return forward.vmapped(functools.partial(Operation.apply, wanted, options), inputs, in_dims[2:])

    _differentiate_operator(forward, Operation, kept)
    _differentiate_operator(pullback, Pullback)
    _differentiate_operator(pushforward, Pushforward)
    kinds = op.forward.kinds
    floats = [i for i, n in enumerate(op.inputs) if not kinds[n]]
    numbers = [i for i, n in enumerate(op.inputs) if kinds[n] == "real"]
    dtypes = [_DTYPES[kinds[n]] for n in op.inputs]

    def traceable(*inputs, **options):
        if options or not op.plain or len(inputs) != len(op.inputs):
            inputs, options = op.arguments(inputs, options)
        if numbers:  # real ones beside the matrices, in their precision
            inputs = [
                torch.tensor(x, dtype=torch.float64) if i in numbers and isinstance(x, int | float) else x
                for i, x in enumerate(inputs)
            ]
        if torch._C._is_tracing():
            raise NotImplementedError(f"{op.name}: torch.jit.trace would make it a constant; use torch.export")
        for name, allowed, x in zip(op.inputs, dtypes, inputs, strict=True):
            if not (isinstance(x, torch.Tensor) and x.is_cpu and x.layout is torch.strided and x.dtype in allowed):
                _refuse(op, name, x)
        inputs = [torch._C._functorch.unwrap_if_dead(x) for x in inputs]  # of a transform that has ended
        if len(floats) > 1:
            dtype = functools.reduce(torch.promote_types, [inputs[i].dtype for i in floats])
            for i in floats:
                inputs[i] = inputs[i].to(dtype)
        for i in numbers:
            inputs[i] = inputs[i].to(inputs[floats[0]].dtype.to_real())
        inputs, options, finish = op.arranged(torch, inputs, options)
        if _tracked(inputs):
            values = dict(zip(kept, _apply(Operation, kept, options, inputs), strict=True))
        else:
            values = dict(zip(op.outputs, forward(inputs, op.outputs, options), strict=True))
        values = finish(values)
        return tuple([values[n] for n in op.outputs])

    return traceable


def _refuse(op, name, x):
    """Raise TypeError or ValueError for an input that is not what a kernel can read."""
    what = f"{op.name}: {name}"
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{what} must be a torch.Tensor, got {type(x).__name__}; torch.as_tensor makes one of it")
    if x.layout != torch.strided:
        raise TypeError(f"{what} has the layout {x.layout}; make it dense by {name}.to_dense()")
    if not x.is_cpu:
        raise ValueError(f"{what} is on the device {x.device}; matkern computes on the CPU: move it by {name}.cpu()")
    if op.forward.kinds[name] == "real" and x.dtype.is_complex:
        raise TypeError(f"{what} must be real, got dtype {x.dtype}")
    if op.forward.kinds[name] == "int":
        raise TypeError(f"{what} has dtype {x.dtype}; integers are needed, as lu_factor returns them")
    remedy = "float32" if x.dtype.is_floating_point else "float64"
    raise TypeError(
        f"{what} has dtype {x.dtype}; matkern has float32, float64, complex64 and complex128: convert it by "
        f"{name}.to(torch.{remedy})"
    )


def _function(op):
    """The operation as a function of tensors."""
    traceable, result = torch.compiler.allow_in_graph(_traceable(op)), op.result

    @functools.wraps(op.function)
    def function(*inputs, **options):
        if torch.compiler.is_compiling():  # a graph cannot raise
            options.setdefault("on_error", "nan")
        outputs = traceable(*inputs, **options)
        return outputs[0] if result is None else result(*outputs)

    parameters = inspect.signature(op.function).parameters.values()
    function.__module__ = __name__  # where pickle finds it
    function.__signature__ = inspect.Signature([p for p in parameters if p.name != "out"])
    return function


globals().update(functions(_function))
