"""The shim for PyTorch: every transform of the table, PyTorch's own gradient checks, and what it refuses."""

import concurrent.futures
import functools
import itertools
import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from samples import (
    SAMPLES,
    assert_near,
    draw_cotangents,
    general,
    hermitian,
    normal,
    positive,
)
from transforms import check_options_by_position, kernel_calls, table

import matkern as mk
from matkern.calls import Call

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch.autograd import forward_ad  # noqa: E402

import matkern.torch as mt  # noqa: E402 - after the skip

# autograd's forward mode loads decompositions of PyTorch's own that way
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.*is deprecated:DeprecationWarning")


def tensors(xs):
    return tuple(torch.as_tensor(x) for x in xs)


# the table of transforms


def tracked(xs):
    return tuple(torch.as_tensor(x).clone().requires_grad_() for x in xs)


def detached(ys):
    return [y.detach().resolve_conj() for y in ys]


def real_loss(f, gs):
    gs = tensors(gs)
    return lambda *xs: sum((g.conj() * y).real.sum() for g, y in zip(gs, f(*xs), strict=True))


def numbers(xs):
    return tuple(range(len(xs)))


def by_autograd(f, xs, gs):
    xs = tracked(xs)
    return torch.autograd.grad(f(*xs), xs, tensors(gs))


def by_func_grad(f, xs, gs):
    return detached(torch.func.grad(real_loss(f, gs), numbers(xs))(*tensors(xs)))


def by_vmap_of_grad(f, xs, gs):
    grad = lambda xs, gs: torch.func.grad(real_loss(f, gs), numbers(xs))(*xs)
    return detached(torch.vmap(grad)(tensors(xs), tensors(gs)))


def by_func_jvp(f, xs, ts):
    return torch.func.jvp(f, tensors(xs), tensors(ts))[1]


def by_dual_numbers(f, xs, ts):
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(x, t) for x, t in zip(tensors(xs), tensors(ts), strict=True)]
        return [forward_ad.unpack_dual(y).tangent for y in f(*duals)]


def by_vmap_of_jvp(f, xs, ts):
    return torch.vmap(lambda xs, ts: torch.func.jvp(f, xs, ts)[1])(tensors(xs), tensors(ts))


def double_backward(f, xs, gs, ts):
    xs = tracked(xs)
    grads = torch.autograd.grad(real_loss(f, gs)(*xs), xs, create_graph=True)
    return [x.resolve_conj() for x in torch.autograd.grad(grads, xs, tensors(ts))]


def jvp_of_grad(f, xs, gs, ts):
    grad = torch.func.grad(real_loss(f, gs), numbers(xs))
    return detached(torch.func.jvp(grad, tensors(xs), tensors(ts))[1])


def dual_numbers_of_grad(f, xs, gs, ts):
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(x, t) for x, t in zip(tracked(xs), tensors(ts), strict=True)]
        grads = torch.autograd.grad(real_loss(f, gs)(*duals), duals, create_graph=True)
        return detached(forward_ad.unpack_dual(g).tangent for g in grads)


def dual_numbers_of_func_grad(f, xs, gs, ts):
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(x, t) for x, t in zip(tensors(xs), tensors(ts), strict=True)]
        grads = torch.func.grad(real_loss(f, gs), numbers(xs))(*duals)
        return detached(forward_ad.unpack_dual(g).tangent for g in grads)


def grad_of_jvp(f, xs, gs, ts):
    pushed = lambda *xs: torch.func.jvp(real_loss(f, gs), xs, tensors(ts))[1]
    return detached(torch.func.grad(pushed, numbers(xs))(*tensors(xs)))


def compiled(f, **options):
    torch.compiler.reset()  # each test compiles the same functions for other operations
    return torch.compile(f, fullgraph=True, **options)


def traced(f, **options):
    """Compiled but for the generation of code, which takes long."""
    return compiled(f, backend="aot_eager", **options)


def by_compiled_grad(f, xs, gs):
    return detached(traced(torch.func.grad(real_loss(f, gs), numbers(xs)))(*tensors(xs)))


def by_compiled_vmap_of_grad(f, xs, gs):
    grad = lambda xs, gs: torch.func.grad(real_loss(f, gs), numbers(xs))(*xs)
    return detached(traced(torch.vmap(grad))(tensors(xs), tensors(gs)))


def by_compiled_jvp(f, xs, ts):
    return traced(lambda xs, ts: torch.func.jvp(f, xs, ts)[1])(tensors(xs), tensors(ts))


TRANSFORMS = {
    "compile": ("gradient", lambda f, xs, gs: by_autograd(compiled(f), xs, gs), "float64"),
    "compile, dynamic": ("gradient", lambda f, xs, gs: by_autograd(compiled(f, dynamic=True), xs, gs), "float64"),
    "compile of func.grad": ("gradient", by_compiled_grad),
    "compile of vmap of grad": ("gradient", by_compiled_vmap_of_grad, "float64"),
    "compile of jvp": ("tangent", by_compiled_jvp, "float64"),
    "value": ("value", lambda f, xs: detached(f(*tracked(xs)))),
    "value without grad": ("value", lambda f, xs: f(*tensors(xs))),
    "vmap": ("value", lambda f, xs: torch.vmap(f)(*tensors(xs))),
    "autograd.grad": ("gradient", by_autograd),
    "func.grad": ("gradient", by_func_grad),
    "vmap of grad": ("gradient", by_vmap_of_grad),
    "func.jvp": ("tangent", by_func_jvp),
    "dual numbers": ("tangent", by_dual_numbers),
    "vmap of jvp": ("tangent", by_vmap_of_jvp),
    "jacrev": ("jacobian", lambda f, x: torch.func.jacrev(f)(torch.as_tensor(x))),
    "jacfwd": ("jacobian", lambda f, x: torch.func.jacfwd(f)(torch.as_tensor(x))),
    "double backward": ("second", double_backward),
    "jvp of grad": ("second", jvp_of_grad),
    "dual numbers of grad": ("second", dual_numbers_of_grad),
    "dual numbers of func.grad": ("second", dual_numbers_of_func_grad),
    "grad of jvp": ("second", grad_of_jvp),
    "hessian": ("hessian", lambda f, x, gs: torch.func.hessian(real_loss(f, gs))(torch.as_tensor(x))),
}

test_transform = table(SimpleNamespace(shim=mt, array=torch.as_tensor, by_triangle=False), TRANSFORMS)


@pytest.mark.parametrize("modes", list(itertools.product("fr", repeat=3)), ids="".join)
def test_third_derivative(modes):
    """Of x^(3/2), through two operations: -3/8 x^(-3/2)."""
    y = lambda x: mt.solve(mt.cholesky(x.reshape(1, 1)), x.reshape(1, 1) ** 2)[0, 0]
    for mode in modes:
        y = torch.func.grad(y) if mode == "r" else lambda x, y=y: torch.func.jvp(y, (x,), (torch.ones_like(x),))[1]
    x = torch.tensor(2.0, dtype=torch.float64)
    if modes[1:] == ("f", "f"):
        with pytest.raises(NotImplementedError, match="forward mode over forward mode over another derivative"):
            y(x)
    else:
        assert_near(y(x), -3 / 8 * 2.0**-1.5)


# PyTorch's own checks


def of_checked_inputs(sample):
    """The operation on matrices of the kind that it reads, free of the phases of eigenvectors."""

    def function(*inputs):
        if sample.name in ("cholesky", "eigh", "eigvalsh") or sample.options.get("assume_a") in ("pos", "her"):
            # not .mH: a conjugate view of a complex matrix fails in batches of tangents, torch.linalg's, too
            inputs = ((inputs[0] + inputs[0].mT.conj_physical()) / 2, *inputs[1:])
        results = getattr(mt, sample.name)(*inputs, **sample.options)
        if sample.name == "eigh":
            w, v = results
            return w, (v * (-w).exp()[..., None, :]) @ v.mT.conj_physical()
        if sample.name == "eig":
            return results.eigenvalues, results.eigenvectors.abs() ** 2
        if sample.name == "svd":
            u, s, vh = results
            return u * vh[..., None, :, 0], s, vh * u[..., 0, :, None]
        results = (results,) if isinstance(results, torch.Tensor) else results
        return tuple(
            y for n, y in zip(sample.op.outputs, results, strict=True) if n in sample.op.differentiable_outputs
        )

    return function


PLAIN = list({(s.name, s.label): s for s in SAMPLES if s.options.get("triangle") is None}.values())


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("sample", PLAIN, ids=str)
def test_gradcheck(rng, sample, dtype):
    inputs = [torch.from_numpy(x) for x in sample.draw(rng, (), 2, dtype)]
    inputs = [x.requires_grad_() if x.is_floating_point() or x.is_complex() else x for x in inputs]
    function = of_checked_inputs(sample)
    batched = {"check_batched_grad": True, "fast_mode": True}
    assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True, check_batched_forward_grad=True, **batched)
    assert torch.autograd.gradgradcheck(function, inputs, check_fwd_over_rev=True, **batched)


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("sample", PLAIN, ids=str)
def test_opcheck(rng, sample, dtype):
    call = Call(sample.name, sample.draw(rng, (2,), 3, dtype), sample.options)
    op, inputs = call.op, dict(zip(call.op.inputs, call.columns, strict=True))
    bars = draw_cotangents(rng, sample, call.outputs)
    bars = [np.array(call.like("cotangent", n, bars[n], call.outputs[n])) for n in op.differentiable_outputs]
    dots = [normal(rng, inputs[n].shape, inputs[n].dtype) for n in op.differentiable_inputs]
    saved = [call.values[n] for n in op.saved]
    for name, args, wanted in (
        (op.name, [*inputs.values()], op.forward.outputs),
        (f"{op.name}_vjp", (*saved, *bars), op.pullback.outputs),
        (f"{op.name}_jvp", (*saved, *dots), [f"{n}_dot" for n in op.differentiable_outputs]),
    ):
        operator = getattr(torch.ops.matkern, name).default
        torch.library.opcheck(operator, tensors(args), {"wanted": [*wanted], **call.options})


# kernel calls and memory


def test_a_gradient_is_two_kernel_calls(monkeypatch, rng):
    calls = kernel_calls(monkeypatch)
    a, b = tensors((general(rng, (5,), 4, "float64"), normal(rng, (5, 4, 2), "float64")))
    torch.autograd.grad(mt.solve(a.requires_grad_(), b).sum(), a)
    assert calls == ["solve forward", "solve pullback"]
    a = a.detach()
    for function in (
        lambda: torch.func.grad(lambda a: mt.solve(a, b).sum())(a),
        lambda: torch.vmap(torch.func.grad(lambda a, b: mt.solve(a, b).sum(), (0, 1)))(a, b),
        lambda: torch.func.jacrev(lambda b: mt.solve(a[0], b))(b[0]),
    ):
        calls.clear()
        function()
        assert calls == ["solve forward", "solve pullback"]
    for function in (
        lambda: torch.func.jvp(lambda a: mt.solve(a, b), (a,), (a,)),
        lambda: torch.vmap(lambda a, b: torch.func.jvp(mt.solve, (a, b), (a, b)))(a, b),
        lambda: torch.func.jacfwd(lambda b: mt.solve(a[0], b))(b[0]),
    ):
        calls.clear()
        function()
        assert calls == ["solve forward", "solve pushforward"]


@pytest.mark.parametrize("track", [False, True])
def test_the_kernel_reads_a_tensor_s_own_memory(monkeypatch, rng, track):
    seen = []
    run = mk.op.Op.run_wanted
    monkeypatch.setattr(mk.op.Op, "run_wanted", lambda self, xs, *args: seen.extend(xs) or run(self, xs, *args))
    a = torch.from_numpy(positive(rng, (2,), 3, "float64")).mT.requires_grad_(track)
    mt.cholesky(a)
    assert seen[0].ctypes.data == a.data_ptr()


def test_vmap_over_any_axes(rng):
    a, b = tensors((general(rng, (5,), 3, "float64"), normal(rng, (2, 3, 5, 2), "float64")))
    want = torch.linalg.solve(a[:, None], b.movedim(2, 0))
    assert_near(torch.vmap(mt.solve, (0, 2))(a, b), want)
    assert_near(torch.vmap(mt.solve, (0, 2), 1)(a, b), want.movedim(0, 1))
    assert_near(torch.vmap(lambda a: mt.solve(a, b[0, :, 0]))(a), torch.linalg.solve(a, b[0, :, 0]))
    assert_near(torch.vmap(lambda b: mt.solve(a[0], b))(b[0, :, :, 0].T), torch.linalg.solve(a[0], b[0, :, :, 0]).T)
    nested = torch.vmap(lambda a: torch.vmap(lambda b: mt.solve(a, b))(b.movedim(2, 0)[0]))(a)
    assert_near(nested, torch.linalg.solve(a[:, None], b[:, :, 0]))


def test_sums_over_what_was_broadcast(rng):
    for shape in ((4,), (4, 2), (1, 4, 2), (3, 1, 4, 2)):
        a, b = tensors((general(rng, (1,), 4, "float64"), normal(rng, shape, "float64")))
        g = torch.func.grad(lambda a, b: mt.solve(a, b).sum(), (0, 1))(a, b)
        column = (lambda x: x[..., None]) if len(shape) == 1 else lambda x: x
        want = torch.func.grad(lambda a, b: torch.linalg.solve(a, column(b)).sum(), (0, 1))(a, b)
        for x, y in zip(g, want, strict=True):
            assert_near(x, y)


def test_batched_gradients_of_autograd_are_one_kernel_call(monkeypatch, rng):
    """``is_grads_batched`` and ``vectorize`` have a vmap of their own, which is not `torch.vmap`."""
    calls = kernel_calls(monkeypatch)
    a, b = tensors((general(rng, (), 3, "float64"), normal(rng, (3, 2), "float64")))
    for strategy, pulled in (("reverse-mode", "pullback"), ("forward-mode", "pushforward")):
        jacobian = functools.partial(torch.autograd.functional.jacobian, vectorize=True, strategy=strategy)
        calls.clear()
        got = jacobian(mt.solve, (a, b))
        assert calls == ["solve forward", f"solve {pulled}"]
        for x, y in zip(got, jacobian(torch.linalg.solve, (a, b)), strict=True):
            assert_near(x, y)
    loss = lambda f: lambda a, b: (f(a, b) ** 3).sum()
    got, want = (
        torch.autograd.functional.hessian(loss(f), (a, b), vectorize=True) for f in (mt.solve, torch.linalg.solve)
    )
    for x, y in zip(itertools.chain(*got), itertools.chain(*want), strict=True):
        assert_near(x, y)


# programs that are traced


def log_prob(a, b, linalg=mt):
    x = linalg.solve(a, b)
    return (x * b).sum() + linalg.cholesky(a).diagonal(0, -2, -1).log().sum()


def test_a_dynamic_program_serves_all_sizes(rng):
    program = traced(log_prob, dynamic=True)
    torch._dynamo.utils.counters.clear()
    for batch, n in ((5, 3), (4, 3), (3, 7), (4, 2)):  # at first, no two sizes are the same
        a, b = tensors((positive(rng, (batch,), n, "float64"), normal(rng, (batch, n, 2), "float64")))
        got, want = (
            torch.autograd.grad(f(*xs), xs)
            for f, xs in (
                (program, tracked((a, b))),
                (functools.partial(log_prob, linalg=torch.linalg), tracked((a, b))),
            )
        )
        for x, y in zip(got, want, strict=True):
            assert_near(x, y)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_a_compiled_program_has_nan_for_what_fails(rng):
    a = torch.stack([torch.eye(2), -torch.eye(2)])
    got = compiled(mt.cholesky)(a)
    assert_near(got[0], np.eye(2, dtype="float32"))
    assert got[1].isnan().any()
    with pytest.raises(np.linalg.LinAlgError, match=r"matrix \[1\] of the batch is not positive definite"):
        compiled(lambda a: mt.cholesky(a, on_error="raise"))(a)


def test_a_compiled_program_says_what_it_cannot_take():
    with pytest.raises(Exception, match=r"solve: a has dtype torch.bfloat16; .* a\.to\(torch.float32\)"):
        traced(mt.solve)(torch.eye(2, dtype=torch.bfloat16), torch.eye(2))
    with pytest.raises(Exception, match=r"solve: b\(n, k\?\) has shape"):
        traced(mt.solve)(torch.eye(2), torch.ones(3, 1))


def test_export(rng):
    a, b = tensors((positive(rng, (2,), 3, "float64"), normal(rng, (2, 3, 1), "float64")))

    class Module(torch.nn.Module):
        def forward(self, a, b):
            return log_prob(a, b)

    batch = torch.export.Dim("batch")
    program = torch.export.export(Module(), (a, b), dynamic_shapes=({0: batch}, {0: batch}))
    assert {"matkern.solve.default", "matkern.cholesky.default"} <= {str(n.target) for n in program.graph.nodes}
    a, b = torch.cat([a, a]), torch.cat([b, b])
    assert_near(program.module()(a, b), log_prob(a, b))
    a.requires_grad_()
    assert_near(torch.autograd.grad(program.module()(a, b), a)[0], torch.autograd.grad(log_prob(a, b), a)[0])


def test_graph_of_gradients(rng):
    """A tracer of real tensors sees operators, not constants."""
    a = torch.from_numpy(positive(rng, (), 3, "float64"))
    graph = torch.fx.experimental.proxy_tensor.make_fx(torch.func.grad(lambda a: mt.cholesky(a).sum()))(a)
    want = torch.func.grad(lambda a: torch.linalg.cholesky(a).sum())
    assert_near(graph(2 * a), want(2 * a))
    second = torch.autograd.functional.jacobian(graph, a)
    assert_near(second, torch.autograd.functional.jacobian(lambda a: want((a + a.mT) / 2), a), 1e3)
    with pytest.raises(NotImplementedError, match=r"cholesky: .* would make it a constant"):
        torch.jit.trace(mt.cholesky, a)


# other places


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
def test_hessian_of_a_loss_of_one_output(rng, shape):
    """Its cotangent has a batch that the others have not."""
    a = torch.from_numpy(normal(rng, shape, "float64"))
    for i in (1, 2):
        loss = lambda a, lu=mt.lu, i=i: (lu(a)[i] ** 3).sum()
        want = torch.autograd.functional.hessian(lambda a, loss=loss: loss(a, torch.linalg.lu), a)
        assert_near(torch.func.hessian(loss)(a), want, 1e4)
        assert_near(torch.func.jacrev(torch.func.jacrev(loss))(a), want, 1e4)


@pytest.mark.parametrize("outer", ["reverse-mode", "forward-mode"])
@pytest.mark.parametrize("name", ["solve", "cholesky", "lu_factor"])
def test_vectorized_hessian(rng, name, outer):
    a = torch.from_numpy(positive(rng, (), 3, "float64"))
    inputs = {"solve": (torch.ones(3, 2, dtype=a.dtype),)}.get(name, ())
    loss = lambda a: (getattr(mt, name)(a, *inputs)[0] ** 3).sum()
    hessian = torch.autograd.functional.hessian(loss, a, vectorize=True, outer_jacobian_strategy=outer)
    assert_near(hessian.detach(), torch.autograd.functional.hessian(loss, a), 1e3)


def test_double_backward_under_hooks_of_saved_tensors(rng):
    a = torch.from_numpy(positive(rng, (), 3, "float64")).requires_grad_()

    def second(f):
        (g,) = torch.autograd.grad((f(a, a @ a) ** 2).sum(), a, create_graph=True)
        return torch.autograd.grad((g**2).sum(), a)[0]

    with torch.autograd.graph.save_on_cpu():
        assert_near(second(mt.solve), second(torch.linalg.solve), 1e4)


def test_functions_pickle_and_take_inputs_by_name(rng):
    a, b = tensors((general(rng, (), 3, "float64"), normal(rng, (3, 2), "float64")))
    assert pickle.loads(pickle.dumps(mt.solve)) is mt.solve
    assert_near(mt.solve(b=b, a=a), mt.solve(a, b))
    assert_near(mt.solve(a, b=b, trans="T"), mt.solve(a, b, trans="T"))
    with pytest.raises(TypeError, match="solve needs a, b; a is missing"):
        mt.solve(b=b)


def test_training(rng):
    """An optimizer, a checkpointed module and a hook: a covariance is fitted to samples of it."""
    want = torch.from_numpy(positive(rng, (), 3, "float64"))
    weight = torch.nn.Parameter(torch.eye(3, dtype=torch.float64))
    optimizer = torch.optim.LBFGS([weight], max_iter=100, line_search_fn="strong_wolfe")

    def loss(weight):
        a = weight @ weight.mT
        return mt.solve(a, want).trace() + 2 * mt.cholesky(a).diagonal().log().sum()

    def closure():
        optimizer.zero_grad()
        value = torch.utils.checkpoint.checkpoint(loss, weight, use_reentrant=False)
        value.backward()
        return value

    optimizer.step(closure)
    assert (weight @ weight.mT - want).abs().max() < 1e-4  # where an optimizer with its default tolerances ends


def test_workers_of_a_data_loader():
    """Forked after kernels ran here; in a process where no other framework's threads are in the way of a fork."""
    code = """
import torch, matkern.torch as mt

class Gradients(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        a = torch.eye(64) + i
        return torch.autograd.grad(mt.solve(a.requires_grad_(), torch.ones(64, 64)).sum(), a)[0]

want = torch.stack([Gradients()[i] for i in range(8)])
loader = torch.utils.data.DataLoader(Gradients(), batch_size=4, num_workers=2, multiprocessing_context="fork")
assert torch.equal(torch.cat([*loader]), want)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200)


def test_threads_of_the_engine(rng):
    """Backward passes of several threads at once."""
    a = torch.from_numpy(positive(rng, (50,), 8, "float64"))
    want = torch.autograd.grad(torch.linalg.cholesky(a.requires_grad_()).sum(), a)[0]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        gradient = lambda _: torch.autograd.grad(mt.cholesky(a).sum(), a)[0]
        for got in pool.map(gradient, range(20)):
            assert_near(got, want)


# kinds of tensors


def test_a_tensor_that_outlives_its_transform(rng):
    a, seen = torch.from_numpy(positive(rng, (), 3, "float64")), []
    torch.func.grad(lambda a: (seen.append(a), a.sum())[1])(a)
    assert_near(mt.cholesky(seen[0]), torch.linalg.cholesky(a))


def test_modes_of_pytorch(rng):
    a = torch.from_numpy(positive(rng, (), 3, "float64"))
    want = torch.linalg.cholesky(a)
    with torch.inference_mode():
        assert_near(mt.cholesky(a), want)
    with torch.no_grad():
        assert not mt.cholesky(a.clone().requires_grad_()).requires_grad
    with torch._subclasses.FakeTensorMode() as mode:
        assert mt.cholesky(mode.from_tensor(a)).shape == a.shape


def test_read_only_memory(rng):
    """Of an array that torch.from_dlpack takes: it is only read."""
    a = positive(rng, (), 3, "float64")
    before = a.copy()
    a.flags.writeable = False
    x = torch.from_dlpack(a).requires_grad_()
    (g,) = torch.autograd.grad(mt.cholesky(x).sum(), x)
    g.zero_()
    mt.cholesky(x.detach()).zero_()
    np.testing.assert_array_equal(a, before)


def test_mixed_dtypes_are_promoted(rng):
    a = torch.from_numpy(general(rng, (), 3, "float32")).requires_grad_()
    b = torch.from_numpy(normal(rng, (3, 2), "complex128")).requires_grad_()
    x = mt.solve(a, b)
    assert x.dtype == torch.complex128
    x.abs().sum().backward()
    assert a.grad.dtype == torch.float32 and b.grad.dtype == torch.complex128


@pytest.mark.parametrize("track", [False, True])
def test_views(rng, track):
    """Conjugate and negative views, strides, and views of a tensor that requires a gradient."""
    a = torch.from_numpy(general(rng, (2,), 4, "complex128")).requires_grad_(track)
    b = torch.from_numpy(normal(rng, (2, 4, 2), "complex128"))
    for x, y in (
        (a.conj(), b),
        (a.mH, b.conj()),
        (a, b.conj().imag),
        (a[:, ::2, ::2], b[:, ::2]),
    ):
        assert_near(
            mt.solve(x, y).detach(), np.linalg.solve(*(z.detach().resolve_conj().resolve_neg() for z in (x, y)))
        )


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (torch.eye(2, device="meta"), ValueError, r"solve: a is on the device meta; .* a\.cpu\(\)"),
        (
            torch.eye(2, dtype=torch.bfloat16),
            TypeError,
            r"solve: a has dtype torch.bfloat16; .* a\.to\(torch.float32\)",
        ),
        (torch.eye(2, dtype=torch.float16), TypeError, "solve: a has dtype torch.float16"),
        (torch.eye(2, dtype=torch.int64), TypeError, r"solve: a has dtype torch.int64; .* a\.to\(torch.float64\)"),
        (torch.eye(2).to_sparse(), TypeError, r"solve: a has the layout torch.sparse_coo; .* a\.to_dense\(\)"),
        (np.eye(2), TypeError, r"solve: a must be a torch.Tensor, got ndarray; torch.as_tensor"),
        ([[1.0]], TypeError, "solve: a must be a torch.Tensor, got list"),
    ],
)
def test_bad_input(x, error, match):
    with pytest.raises(error, match=match):
        mt.solve(x, torch.ones(2))


def test_errors():
    a = -torch.eye(2)
    for x in (a, a.clone().requires_grad_()):
        with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
            mt.cholesky(x)
        assert mt.cholesky(x, on_error="nan").isnan().any()
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        torch.vmap(mt.cholesky)(a[None])
    with pytest.raises(TypeError, match="solve has no option 'lower'"):
        mt.solve(a, a, lower=True)
    with pytest.raises(TypeError, match="solve needs a, b; b is missing"):
        mt.solve(a)
    with pytest.raises(ValueError, match="solve: a"):
        mt.solve(torch.ones(2, 3), a)
    with pytest.raises(TypeError, match=r"lu_solve: piv has dtype torch.float32; integers are needed"):
        mt.lu_solve(a, torch.ones(2), a)


def test_second_derivatives_of_what_failed_are_nan(rng):
    a = torch.from_numpy(positive(rng, (2,), 3, "float64"))
    a[1] = 0
    a.requires_grad_()
    for name in ("solve", "cholesky"):
        inputs = (a, torch.eye(3)) if name == "solve" else (a,)
        (g,) = torch.autograd.grad(getattr(mt, name)(*inputs, on_error="nan")[..., 0].sum(), a, create_graph=True)
        (second,) = torch.autograd.grad(g.sum(), a)
        assert second[0].isfinite().all() and second[1].isnan().all()


def test_results_are_namedtuples(rng):
    a = torch.from_numpy(hermitian(rng, (), 3, "float64"))
    for x in (a, a.clone().requires_grad_()):
        w, v = result = mt.eigh(x)
        assert result.eigenvalues is w and result.eigenvectors is v and type(result) is mk.OPS["eigh"].result
        assert w.requires_grad == x.requires_grad
    assert not mt.lu_factor(x).piv.requires_grad


def test_lu_solve_with_its_factorisation(rng):
    a, b = tensors((general(rng, (2,), 3, "float64"), normal(rng, (2, 3, 2), "float64")))
    got = torch.func.grad(lambda a: mt.lu_solve(*mt.lu_factor(a), b).sum())(a)
    assert_near(got, torch.func.grad(lambda a: mt.solve(a, b).sum())(a))


@pytest.mark.parametrize("shape", [(0, 0), (0, 2, 2), (2, 0, 0)])
def test_empty(shape):
    a = torch.ones(shape, requires_grad=True)
    mt.cholesky(a).sum().backward()
    assert a.grad.shape == shape


def test_options_by_position():
    check_options_by_position(mt, torch.from_numpy)
