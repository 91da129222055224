"""The table of transforms: what every transform of a framework must give on every operation, by value.

`test_<framework>.py` lists its transforms in `TRANSFORMS`: by name, of what kind each is (a key of `KINDS`) and
how to run it. What a transform must give comes from the NumPy kernels, which other tests hold against formulas and
differences; second derivatives from differences of first ones. Gradients are compared in matkern's convention.
"""

import numpy as np
import pytest
from samples import (
    SAMPLES,
    VECTORS,
    adjoint,
    assert_near,
    draw_cotangents,
    forward,
    function_options,
    normal,
    phases,
    pullback,
    reordered,
)

import matkern as mk

N = 3


def _rows():
    """One row per operation and shape, and those whose options change what the shims have to do."""
    seen, rows = set(), []
    chosen = [{"upper": True}, {"UPLO": "U"}, {"trans": "C"}, {"assume_a": "pos"}, {"assume_a": "her"}]
    chosen += [{"lower": True, "trans": "T", "unit_diagonal": True}, {"lower": False}]
    chosen += [{"ord": 3, "axis": -1}, {"ord": "nuc", "axis": (-2, -1)}, {"ord": 2, "axis": (-2, -1)}]
    chosen += [{"ord": 1, "axis": (-1, -2), "keepdims": True}]
    modes = [("tall", "complete"), ("wide", "r")]
    for sample in SAMPLES:
        if sample.options.get("triangle") is not None:
            continue
        defaults = {k: values[0] for k, values in sample.op.options.items()}
        plain = {k: v for k, v in sample.options.items() if k != "triangle" and (k not in defaults or v != defaults[k])}
        if (sample.name, sample.label) not in seen or plain in chosen or (sample.label, plain.get("mode")) in modes:
            seen.add((sample.name, sample.label))
            rows.append(sample)
    return rows


class Problem:
    """One operation as a function of the inputs that have a derivative, to a tuple of the outputs that have one."""

    def __init__(self, rng, framework, sample, batch, dtype):
        self.framework, self.sample, self.op = framework, sample, sample.op
        self.all_inputs = sample.draw(rng, batch, N, dtype)
        names = self.op.inputs[: len(self.all_inputs)]
        self.argnums = [i for i, name in enumerate(names) if name in self.op.differentiable_inputs]
        self.inputs = [self.all_inputs[i] for i in self.argnums]
        if batch:  # what has no derivative is the same for the whole batch: maps close over it
            self.all_inputs = [x if i in self.argnums else x[0] for i, x in enumerate(self.all_inputs)]
        self.others = {i: framework.array(x) for i, x in enumerate(self.all_inputs) if i not in self.argnums}
        self.outputs = forward(sample, self.all_inputs)
        self.cotangents = draw_cotangents(rng, sample, self.outputs)
        self.tangents = [normal(rng, x.shape, x.dtype) for x in self.inputs]
        for i, x in enumerate(self.inputs):
            if x.ndim > 1 and x.shape[-1] == x.shape[-2] and np.allclose(x, adjoint(x)):
                self.tangents[i] += adjoint(self.tangents[i])  # a Hermitian input's tangent is Hermitian, too
        self.options = function_options(sample)

    @property
    def gs(self):
        """Cotangents, one for each output that has a derivative."""
        return [self.cotangents[name] for name in self.op.differentiable_outputs]

    def function(self, *xs):
        """The operation on the framework's arrays."""
        inputs = self.others | dict(zip(self.argnums, xs, strict=True))
        inputs = [inputs[i] for i in range(len(inputs))]
        ys = getattr(self.framework.shim, self.sample.name)(*inputs, **self.options)
        ys = (ys,) if len(self.op.outputs) == 1 else ys
        return tuple(y for n, y in zip(self.op.outputs, ys, strict=True) if n in self.op.differentiable_outputs)

    def of_first(self, x):
        """The operation as a function of its first input."""
        return self.function(x, *map(self.framework.array, self.inputs[1:]))

    @property
    def reading(self):
        """The option `triangle`, where the framework's gradients are with respect to the entries that are read."""
        reads = self.framework.by_triangle and "UPLO" in self.op.options
        return {"triangle": self.options.get("UPLO", "L")} if reads else {}

    def gradient(self, inputs):
        """Of Re sum(conj(g) y), by the NumPy kernels."""
        whole = list(self.all_inputs)
        for i, x in zip(self.argnums, inputs, strict=True):
            whole[i] = x
        cotangents = dict(self.cotangents)
        here, before = forward(self.sample, whole), self.outputs
        if "eigenvalues" in cotangents:  # nearby, LAPACK may give another order, and other signs
            w = before["eigenvalues"], here["eigenvalues"]
            cotangents, before = reordered(cotangents, *w), reordered(before, *w)
        for name, factor in phases(here, before).items():
            cotangents[name] = cotangents[name] * np.sign(factor.real)
        bars = pullback(self.sample, whole, cotangents, **self.reading)
        return [bars[i] for i in self.argnums]


def differences(f, xs, ts, h=5e-4):
    """The derivative of the arrays f(xs) along ts, from differences of fourth order: errors of h^4 and eps / h."""
    at = lambda s: [np.asarray(y) for y in f([x + s * h * t for x, t in zip(xs, ts, strict=True)])]
    ys = [at(s) for s in (-2, -1, 1, 2)]
    return [(a - 8 * b + 8 * c - d) / (12 * h) for a, b, c, d in zip(*ys, strict=True)]


def value(problem, run):
    want = [problem.outputs[n] for n in problem.op.differentiable_outputs]
    return run(problem.function, problem.inputs), want


def gradient(problem, run):
    return run(problem.function, problem.inputs, problem.gs), problem.gradient(problem.inputs)


def tangent(problem, run):
    ts = [None] * len(problem.all_inputs)
    for i, t in zip(problem.argnums, problem.tangents, strict=True):
        ts[i] = t
    options = problem.sample.options | problem.reading
    dots = mk.jvp(problem.sample.name, problem.all_inputs, ts, **options)[1]
    want = dict(zip(problem.op.outputs, dots if isinstance(dots, tuple) else (dots,), strict=True))
    got = run(problem.function, problem.inputs, problem.tangents)
    return got, [want[n] for n in problem.op.differentiable_outputs]


def jacobian(problem, run):
    """Of the first output with respect to the first input."""
    options = problem.sample.options | problem.reading
    want = mk.jacobian(problem.sample.name, *problem.all_inputs, argnum=problem.argnums[0], data_ndim=0, **options)
    want = dict(zip(problem.op.outputs, want if isinstance(want, tuple) else (want,), strict=True))
    got = run(lambda x: problem.of_first(x)[0], problem.inputs[0])
    return [got], [want[problem.op.differentiable_outputs[0]]]


def second(problem, run):
    """The Hessian of the loss times a tangent."""
    got = run(problem.function, problem.inputs, problem.gs, problem.tangents)
    return got, differences(problem.gradient, problem.inputs, problem.tangents)


def hessian(problem, run):
    """With respect to the first input, times a tangent (a Hermitian one for a Hermitian input)."""
    got = np.asarray(run(problem.of_first, problem.inputs[0], problem.gs))
    ts = [problem.tangents[0], *(np.zeros_like(t) for t in problem.tangents[1:])]
    want = differences(lambda xs: problem.gradient(xs)[:1], problem.inputs, ts)
    return [np.tensordot(got, problem.tangents[0], problem.tangents[0].ndim)], want


# kind -> what a transform gives and what it should, the batch of the inputs, the dtypes, the error allowed in units of
# eps: a few n eps times conditions of about 10, and for differences what their step leaves, about 1e-9
KINDS = {
    "value": (value, (2,), ("float32", "complex128"), 1e2),
    "gradient": (gradient, (2,), ("float64", "complex64"), 1e3),
    "tangent": (tangent, (2,), ("float64", "complex64"), 1e3),
    "jacobian": (jacobian, (), ("float64",), 1e3),
    "second": (second, (2,), ("float64", "complex128"), 1e7),
    "hessian": (hessian, (), ("float64",), 1e7),
}


# what frameworks give for complex outputs of real inputs: Jacobians only as pairs of real ones
OF_COMPLEX = [kind for kind in KINDS if kind != "jacobian"]


def kernel_calls(monkeypatch):
    """Names of the operations whose kernels ran, in order."""
    calls = []
    for what, method in (("forward", "wanted"), ("pullback", "pullback"), ("pushforward", "pushforward")):
        original = getattr(mk.op.Op, f"run_{method}")

        def counted(self, *args, original=original, what=what):
            calls.append(f"{self.name} {what}")
            return original(self, *args)

        monkeypatch.setattr(mk.op.Op, f"run_{method}", counted)
    return calls


def check_options_by_position(shim, array, asarray=np.asarray):
    """Options where NumPy's function has them; `array` makes the framework's from NumPy's, `asarray` goes back."""
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    calls = [(shim.norm, order, want) for order, want in ((1, 6), ("fro", 30**0.5), ("nuc", 34**0.5))]
    for function, option, want in (*calls, (shim.pinv, None, np.linalg.inv(x))):
        y = asarray(function(array(x), option))
        assert_near(y, np.asarray(want, y.dtype))


def table(framework, transforms):
    """A test of the framework's transforms.

    `framework` has its `shim`, `array` from NumPy's, and `by_triangle`, whether gradients of what is read from one
    triangle lie in it; `kinds`, if it is there, is "f" for real dtypes alone. `of_complex` has the kinds of
    transforms that it has for complex outputs, unless these are `OF_COMPLEX`. A transform has dtypes of its own if it
    names them.
    """
    rows = []
    for i, (name, (kind, _, *dtypes)) in enumerate(transforms.items()):
        known = [x for x in dtypes or KINDS[kind][2] if np.dtype(x).kind in getattr(framework, "kinds", "fc")]
        for j, sample in enumerate(_rows()):
            if sample.name in ("eig", "eigvals") and kind not in getattr(framework, "of_complex", OF_COMPLEX):
                continue
            if kind == "jacobian" and sample.options.get("mode") == "complete":  # of columns that are free
                continue
            if kind == "hessian" and sample.name == "matmul":  # zero
                continue
            dtype = known[(i + j) % len(known)]  # they take turns
            rows.append(pytest.param(name, sample, dtype, id=f"{name}-{sample}-{dtype}"))

    # of autograd, where a derivative is zero, as a bilinear function's second one is
    @pytest.mark.filterwarnings("ignore:Output seems independent of input")
    @pytest.mark.parametrize(("transform", "sample", "dtype"), rows)
    def test_transform(rng, transform, sample, dtype):
        kind, run, *_ = transforms[transform]
        reference, batch, _, multiple = KINDS[kind]
        problem = Problem(rng, framework, sample, batch, dtype)
        if kind in ("second", "hessian"):  # phases are free, and a basis
            if sample.options.get("mode") == "complete":
                problem.cotangents["Q"][..., N:] = 0
            for n, y in problem.outputs.items():
                if n in VECTORS and np.iscomplex(y).any():
                    problem.cotangents[n] = np.zeros_like(y)
        got, want = reference(problem, run)
        got, want = [*map(np.asarray, got)], [*map(np.asarray, want)]
        assert [x.shape for x in got] == [y.shape for y in want]
        assert [x.dtype for x in got] == [y.dtype for y in want]
        for x, y in zip(got, want, strict=True):
            error = np.abs(x - y).max() / max(1.0, np.abs(y).max())
            assert error <= multiple * np.finfo(y.dtype).eps, f"off by {error:.2g}"

    return test_transform
