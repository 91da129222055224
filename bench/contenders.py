"""From a point of the grid and a contender to functions without arguments, to be timed, and a check of the results."""

from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
from cases import Case

import matkern as mk


def as_tuple(x):
    return tuple(x) if isinstance(x, tuple | list) else (x,)


def alone(xs):
    """The only item of a sequence by itself, several as a tuple: so most functions take and return them."""
    return xs[0] if len(xs) == 1 else tuple(xs)


def differentiable(op, outputs):
    return [y for name, y in zip(op.outputs, as_tuple(outputs), strict=True) if name in op.differentiable_outputs]


def cotangents(outputs):
    """Those of a sum of weighted |output|^2, which does not see that contenders' eigenvectors differ in phase."""
    rng = np.random.default_rng(1)
    return [rng.standard_normal(y.shape).astype(y.real.dtype) * y for y in outputs]


class Contender:
    """An operation on given inputs in one library.

    `forward()` returns the outputs, `vjp()` the outputs and the pullback, `total(g)` the outputs and the pullback of
    g; all return when the work is done. What the pullback takes and returns is as `alone` has it.
    """

    name: str
    module: str
    shim = None  # matkern's module whose functions stand in for the library's linear algebra
    conjugates = False  # whether gradients are the conjugates of matkern's
    array = numpy = staticmethod(np.asarray)  # to the library's arrays, and from them

    def __init__(self, case, inputs):
        self.case, self.op, self.library = case, mk.OPS[case.op], import_module(self.module)
        self.namespace = self.library
        if self.shim:
            linalg = SimpleNamespace(linalg=import_module(self.shim))
            self.namespace = SimpleNamespace(linalg=linalg.linalg, numpy=linalg)
        self.inputs = [self.array(x) for x in inputs]

    def total(self, g):
        outputs, pullback = self.vjp()
        return outputs, pullback(g)

    def function(self, mode):
        """What is timed."""
        if mode == "forward":
            return self.forward
        outputs, pullback = self.vjp()
        outputs = [self.numpy(y) for y in differentiable(self.op, outputs)]
        g = self.given([self.array(self.conjugated(g)) for g in cotangents(outputs)])
        return (lambda: pullback(g)) if mode == "backward" else (lambda: self.total(g)[1])

    given = staticmethod(alone)  # from the cotangents of what has a derivative to what the pullback takes

    def results(self, mode, value):
        """What a timed function returned, as NumPy arrays: the outputs that have a derivative, or the gradients."""
        if mode == "forward":
            return [self.numpy(y) for y in differentiable(self.op, value)]
        return [self.conjugated(self.numpy(bar)) for bar in as_tuple(value) if bar is not None]

    def conjugated(self, x):
        return np.conj(x) if self.conjugates else x


class Matkern(Contender):
    name = module = "matkern"

    def forward(self):
        return self.op.function(*self.inputs, **self.case.options)

    def vjp(self):
        return mk.vjp(self.op, *self.inputs, **self.case.options)

    def given(self, gs):
        named = dict(zip(self.op.differentiable_outputs, gs, strict=True))
        return alone([named.get(name) for name in self.op.outputs])


class Autograd(Contender):
    name, module = "autograd", "autograd.numpy"
    conjugates = True

    def __init__(self, case, inputs):
        super().__init__(case, inputs)
        self.differentiated = import_module("autograd").make_vjp(self.compute, alone(range(len(inputs))))

    def compute(self, *inputs):
        return self.case.autograd(self.namespace, *inputs)

    def forward(self):
        return self.compute(*self.inputs)

    def vjp(self):
        pullback, outputs = self.differentiated(*self.inputs)
        return outputs, pullback


class Torch(Contender):
    name = module = "torch"

    def __init__(self, case, inputs):
        super().__init__(case, inputs)
        named = zip(self.op.inputs, self.inputs, strict=False)
        self.wanted = [x.requires_grad_() for name, x in named if name in self.op.differentiable_inputs]

    def array(self, x):
        return self.library.from_numpy(x)

    def numpy(self, x):
        return x.detach().numpy()

    def forward(self):
        with self.library.no_grad():
            return self.case.torch(self.namespace, *self.inputs)

    def vjp(self):
        outputs = self.case.torch(self.namespace, *self.inputs)
        used = differentiable(self.op, outputs)
        return outputs, lambda g: self.library.autograd.grad(used, self.wanted, g, retain_graph=True)


class Jax(Contender):
    name = module = "jax"
    conjugates = True

    def __init__(self, case, inputs):
        jax = import_module("jax")
        jax.config.update("jax_enable_x64", True)  # else float64 becomes float32
        super().__init__(case, inputs)

        def used_and_all(*inputs):
            outputs = case.jax(self.namespace, *inputs)
            return alone(differentiable(self.op, outputs)), outputs

        def differentiate(*inputs):
            _, pullback, outputs = jax.vjp(used_and_all, *inputs, has_aux=True)
            return outputs, pullback  # all outputs: the compiler leaves out what is not returned

        def pull(pullback, g):
            return [bar for bar in pullback(g) if bar.dtype != jax.dtypes.float0]  # that of integers

        def total(inputs, g):
            outputs, pullback = differentiate(*inputs)
            return outputs, pull(pullback, g)

        compiled = [jax.jit(f) for f in (used_and_all, differentiate, pull, total)]
        self.compute, self.differentiate, self.pull, self.compute_and_pull = compiled

    def array(self, x):
        return self.library.numpy.asarray(x)

    def forward(self):
        return self.library.block_until_ready(self.compute(*self.inputs))[1]

    def vjp(self):
        outputs, pullback = self.differentiate(*self.inputs)
        return outputs, lambda g: self.library.block_until_ready(self.pull(pullback, g))

    def total(self, g):
        return self.library.block_until_ready(self.compute_and_pull(self.inputs, g))


INSTALLED = {c.name: c for c in (Matkern, Autograd, Torch, Jax) if find_spec(c.module.partition(".")[0])}


@dataclass(frozen=True)
class Point:
    case: Case
    batch: int
    n: int
    dtype: str

    @property
    def name(self):
        return f"{self.case.name}-{self.batch}x{self.n}-{self.dtype}"

    def __repr__(self):
        return self.name


def inner(xs, ys):
    return sum(np.vdot(x, y).real for x, y in zip(xs, ys, strict=True))


@lru_cache(maxsize=1)  # the contenders at one point follow each other
def sample(point):
    """Inputs, tangents of those that have a derivative, and what `check` expects, by matkern's pushforward."""
    op = mk.OPS[point.case.op]
    inputs, another = (point.case.inputs(point.batch, point.n, point.dtype, seed) for seed in (0, 2))
    tangents = [t if name in op.differentiable_inputs else None for name, t in zip(op.inputs, another, strict=False)]
    outputs, dots = (differentiable(op, ys) for ys in mk.jvp(op, inputs, tangents, **point.case.options))
    g = cotangents(outputs)
    expected = {"forward": inner(g, outputs), "backward": inner(g, dots), "total": inner(g, dots)}
    return inputs, [t for t in tangents if t is not None], expected


def check(point, mode, results):
    """Assert that outputs have the loss, or gradients the slope, that is expected."""
    _, tangents, expected = sample(point)
    xs, ys = (cotangents(results), results) if mode == "forward" else (tangents, results)
    assert [x.shape for x in xs] == [y.shape for y in ys]
    scale = sum(np.linalg.norm(x) * np.linalg.norm(y) for x, y in zip(xs, ys, strict=True))
    assert abs(inner(xs, ys) - expected[mode]) <= np.sqrt(np.finfo(point.dtype).eps) * scale
