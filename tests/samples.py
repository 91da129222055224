"""What the tests draw: rows of operations with options and inputs, and what they compare with.

A new operation gets its rows in `SAMPLES`; every property test runs over all of them.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

import matkern as mk

DTYPES = ("float32", "float64", "complex64", "complex128")
WIDE = {"float32": "float64", "float64": "float64", "complex64": "complex128", "complex128": "complex128"}


def normal(rng, shape, dtype):
    x = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.standard_normal(shape)
    return x.astype(dtype)


def adjoint(x):
    return x.conj().swapaxes(-1, -2)


def general(rng, batch, n, dtype):
    """Condition about 10, and far from a change of pivots."""
    return (normal(rng, (*batch, n, n), dtype) / (4 * np.sqrt(max(n, 1))) + np.diag(np.linspace(1, 3, n))).astype(dtype)


def tall(rng, batch, n, dtype):
    a = normal(rng, (*batch, n + 3, n), dtype) / (4 * np.sqrt(n + 1))
    a[..., :n, :] += np.diag(np.linspace(1, 3, n)).astype(dtype)
    return a


def wide(rng, batch, n, dtype):
    return np.ascontiguousarray(tall(rng, batch, n, dtype).swapaxes(-1, -2))


def positive(rng, batch, n, dtype):
    a = normal(rng, (*batch, n, n), dtype) / np.sqrt(max(n, 1))
    return (a @ adjoint(a) + np.eye(n)).astype(dtype)


def hermitian(rng, batch, n, dtype):
    """Eigenvalues about 4 / n apart, or more."""
    a = normal(rng, (*batch, n, n), dtype) / (8 * max(n, 1))
    return (a + adjoint(a) + np.diag(np.linspace(-2, 2, n))).astype(dtype)


def with_rhs(matrix, columns=3):
    return lambda rng, batch, n, dtype: (matrix(rng, batch, n, dtype), normal(rng, (*batch, n, columns), dtype))


def factored(rng, batch, n, dtype):
    """A packed factorisation and right-hand sides."""
    return *mk.lu_factor(general(rng, batch, n, dtype)), normal(rng, (*batch, n, 2), dtype)


def one(matrix):
    return lambda rng, batch, n, dtype: (matrix(rng, batch, n, dtype),)


@dataclass(frozen=True)
class Sample:
    """One operation with one set of options, and how to draw its inputs."""

    name: str
    draw: Callable = field(compare=False)  # (rng, batch, n, dtype) -> inputs
    options: dict = field(default_factory=dict)
    label: str = ""

    @property
    def op(self):
        """The record that the options select."""
        return mk.OPS[self.name].variant(self.options)[0]

    def __str__(self):
        parts = [self.name, self.label, *(f"{k}={v}" for k, v in self.options.items())]
        return " ".join(p for p in parts if p)


def combinations(**choices):
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


SAMPLES = [
    *(Sample("cholesky", one(positive), o) for o in combinations(upper=(False, True), triangle=(None, "L", "U"))),
    *(
        Sample("solve_triangular", with_rhs(general), o)
        for o in combinations(lower=(False, True), trans=("N", "T", "C"), unit_diagonal=(False, True))
    ),
    Sample("lu_factor", one(general)),
    Sample("lu_factor", one(tall), label="tall"),
    Sample("lu_factor", one(wide), label="wide"),
    Sample("lu", one(general)),
    Sample("lu", one(tall), label="tall"),
    Sample("lu", one(wide), label="wide"),
    Sample("lu_solve", factored),
    *(Sample("solve", with_rhs(general), o) for o in combinations(trans=("N", "T", "C"))),
    *(Sample("solve", with_rhs(positive), {"assume_a": "pos", **o}) for o in combinations(trans=("N", "T", "C"))),
    Sample("solve", with_rhs(general, 1), label="one column"),
    *(Sample("eigh", one(hermitian), o) for o in combinations(UPLO=("L", "U"), triangle=(None, "L", "U"))),
    *(Sample("eigvalsh", one(hermitian), o) for o in combinations(UPLO=("L", "U"), triangle=(None, "L"))),
]


def forward(sample, inputs):
    """Name -> output."""
    result = sample.op.function(*inputs, **{k: v for k, v in sample.options.items() if k in sample.op.forward.options})
    return dict(zip(sample.op.outputs, result if isinstance(result, tuple) else (result,), strict=True))


def ungauged(sample, outputs, cotangents):
    """Cotangents without what lies along the free phases of complex eigenvectors."""
    v = outputs.get("eigenvectors")
    if v is not None and v.dtype.kind == "c":
        g = cotangents["eigenvectors"]
        cotangents["eigenvectors"] = g - 1j * (v.conj() * g).sum(-2, keepdims=True).imag * v
    return cotangents


def draw_cotangents(rng, sample, outputs):
    """Name -> cotangent, None for an output without a derivative."""
    g = {
        n: normal(rng, y.shape, y.dtype) if n in sample.op.differentiable_outputs else None for n, y in outputs.items()
    }
    return ungauged(sample, outputs, g)


def draw_tangents(rng, sample, inputs):
    """One for each input, None for an input without a derivative."""
    return [
        normal(rng, x.shape, x.dtype) if n in sample.op.differentiable_inputs else None
        for n, x in zip(sample.op.inputs, inputs, strict=True)
    ]


def pullback(sample, inputs, cotangents, **options):
    """Input cotangents through `mk.vjp`."""
    _, pull = mk.vjp(sample.name, *inputs, **sample.options | options)
    g = tuple(cotangents[n] for n in sample.op.outputs)
    return pull(g if len(g) > 1 else g[0])


def in_double(sample, inputs, outputs, dtype):
    """Name -> input, output or what is kept, the first two in double precision."""
    values = sample.op.run_forward(inputs, {k: v for k, v in sample.options.items() if k in sample.op.forward.options})
    values |= {
        n: x.astype(WIDE[dtype]) if x.dtype.kind in "fc" else x for n, x in zip(sample.op.inputs, inputs, strict=True)
    }
    return values | {
        n: y.astype(np.result_type(y, np.float64)) if y.dtype.kind in "fc" else y for n, y in outputs.items()
    }


def pullback_by_formula(sample, inputs, outputs, cotangents, dtype):
    """Input cotangents of the formula, in double precision; it takes one of each output that has a derivative."""
    values = in_double(sample, inputs, outputs, dtype)
    return sample.op.pull_by_formula(np, values, cotangents, sample.options)


def inner(xs, ys):
    """Re(sum(conj(x) y)), over what is there."""
    return sum(np.vdot(x, y).real for x, y in zip(xs, ys, strict=True) if x is not None and y is not None)


def assert_near(got, want, multiple=100.0, eps=None):
    """Agree to `multiple` n eps of the largest entry: matrices here have conditions and gaps of about 10."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    if got.dtype.kind not in "fc":
        np.testing.assert_array_equal(got, want)
    elif got.size:
        eps = np.finfo(got.dtype).eps if eps is None else eps
        n = max(got.shape[-2:]) if got.ndim else 1
        error = np.abs(got - want).max() / max(1.0, np.abs(want).max())
        assert error <= multiple * n * eps, f"off by {error:.2g}, {error / (n * eps):.0f} n eps"
