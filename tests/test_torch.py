"""The shim for PyTorch: every transform of the table, PyTorch's own gradient checks, and what it refuses."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from samples import SAMPLES, assert_near, general, hermitian, normal, positive
from transforms import kernel_calls, table

import matkern as mk

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
    return lambda *xs: sum((g.conj() * y).real.sum() for g, y in zip(tensors(gs), f(*xs), strict=True))


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
    return torch.autograd.grad(grads, xs, tensors(ts))


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


TRANSFORMS = {
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
        with pytest.raises(NotImplementedError, match="forward mode over forward mode over a gradient"):
            y(x)
    else:
        assert_near(y(x), -3 / 8 * 2.0**-1.5)


# PyTorch's own checks


def of_checked_inputs(sample):
    """The operation on matrices of the kind that it reads, free of the phases of eigenvectors."""

    def function(*inputs):
        if sample.name in ("cholesky", "eigh", "eigvalsh") or sample.options.get("assume_a") == "pos":
            inputs = ((inputs[0] + inputs[0].mH) / 2, *inputs[1:])
        results = getattr(mt, sample.name)(*inputs, **sample.options)
        if sample.name == "eigh":
            w, v = results
            return w, (v * (-w).exp()[..., None, :]) @ v.mH
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
    assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


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
    run = mk.op.Op.run_forward
    monkeypatch.setattr(mk.op.Op, "run_forward", lambda self, xs, options: seen.extend(xs) or run(self, xs, options))
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


# kinds of tensors


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
    with pytest.raises(TypeError, match=r"solve takes 2 inputs \(a, b\), got 1"):
        mt.solve(a)
    with pytest.raises(ValueError, match="solve: a"):
        mt.solve(torch.ones(2, 3), a)
    with pytest.raises(TypeError, match=r"lu_solve: piv has dtype torch.float32; integers are needed"):
        mt.lu_solve(a, torch.ones(2), a)


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
