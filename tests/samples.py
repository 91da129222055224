"""What the tests draw: rows of operations with options and inputs, and what they compare with.

A new operation gets its rows in `SAMPLES`; every property test runs over all of them.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

import matkern as mk
from matkern.calls import Call

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


def balanced(rng, batch, n, dtype):
    """A determinant of about 1."""
    a = normal(rng, (*batch, n, n), dtype) / (8 * np.sqrt(max(n, 1)))
    return (a + np.diag(np.exp(np.linspace(-0.7, 0.7, n)))).astype(dtype)


def apart(rng, batch, n, dtype):
    """Wide, the largest and the smallest singular value a half away from the others."""
    u, v = (np.linalg.qr(normal(rng, (*batch, n + k, n), dtype))[0] for k in (0, 3))
    s = np.linspace(1.5, 2.5, n)
    s[:1] -= 0.5
    s[-1:] += 0.5
    return ((u * s) @ adjoint(v)).astype(dtype)


def larger(rng, batch, n, dtype):
    """Norm about 15, real parts of the eigenvalues up to about 1: the exponential takes squarings, and is about 3."""
    a = 4 * normal(rng, (*batch, n, n), dtype) / (4 * np.sqrt(max(n, 1)))
    return (a + np.diag(np.linspace(-12, 0, n))).astype(dtype)


def tall(rng, batch, n, dtype):
    a = normal(rng, (*batch, n + 3, n), dtype) / (4 * np.sqrt(n + 1))
    a[..., :n, :] += np.diag(np.linspace(1, 3, n))
    return a.astype(dtype)


def wide(rng, batch, n, dtype):
    return np.ascontiguousarray(tall(rng, batch, n, dtype).swapaxes(-1, -2))


def positive(rng, batch, n, dtype):
    a = normal(rng, (*batch, n, n), dtype) / np.sqrt(max(n, 1))
    return (a @ adjoint(a) + np.eye(n)).astype(dtype)


def hermitian(rng, batch, n, dtype):
    """Eigenvalues about 4 / n apart, or more."""
    a = normal(rng, (*batch, n, n), dtype) / (8 * max(n, 1))
    return (a + adjoint(a) + np.diag(np.linspace(-2, 2, n))).astype(dtype)


def separate(rng, batch, n, dtype):
    """Not normal; real eigenvalues about 4 / n apart, or more."""
    a = np.diag(np.linspace(-2, 2, n)) + np.eye(n, k=1) * 2 / max(n, 1)
    return (normal(rng, (*batch, n, n), dtype) / (8 * max(n, 1)) + a).astype(dtype)


def oscillating(rng, batch, n, dtype):
    """Not normal; eigenvalues in pairs, conjugate ones of a real matrix, but for the last one of an odd size."""
    a = np.diag(np.linspace(1, 3, n))
    for i in range(0, n - 1, 2):
        a[i, i + 1], a[i + 1, i] = 2 + 4 * i / n, -1 - i / n
        a[i + 1, i + 1] = a[i, i]
    return (normal(rng, (*batch, n, n), dtype) / (8 * max(n, 1)) + a).astype(dtype)


def singular(rows=0, columns=0):
    """Matrices of n + rows by n + columns with singular values from 3 down to 1, evenly spaced."""

    def draw(rng, batch, n, dtype):
        m, k = n + rows, n + columns
        u, v = (np.linalg.qr(normal(rng, (*batch, size, min(m, k)), dtype)).Q for size in (m, k))
        return ((u * np.linspace(3, 1, min(m, k))) @ adjoint(v)).astype(dtype)

    return draw


def with_rtol(matrix):
    return lambda rng, batch, n, dtype: (
        matrix(rng, batch, n, dtype),
        np.full(batch, 0.01, np.dtype(dtype).char.lower()),
    )


def with_rhs(matrix, columns=3):
    def draw(rng, batch, n, dtype):
        a = matrix(rng, batch, n, dtype)
        return a, normal(rng, (*a.shape[:-1], columns), dtype)

    return draw


def factored(rng, batch, n, dtype):
    """A packed factorisation and right-hand sides."""
    return *mk.lu_factor(general(rng, batch, n, dtype)), normal(rng, (*batch, n, 2), dtype)


def cholesky_factor(lower):
    """A triangular factor, with something in the other triangle that is not read."""

    def draw(rng, batch, n, dtype):
        l = np.linalg.cholesky(positive(rng, batch, n, dtype)) + np.triu(normal(rng, (*batch, n, n), dtype), 1)
        return (l if lower else l.swapaxes(-1, -2)).astype(dtype)

    return draw


def regularized(matrix):
    """With right-hand sides and a regularizer for each matrix."""

    def draw(rng, batch, n, dtype):
        a, b = with_rhs(matrix)(rng, batch, n, dtype)
        return a, b, rng.uniform(0.1, 1, batch).astype(a.real.dtype)

    return draw


def vectors(rng, batch, n, dtype):
    """Entries of moduli from a half on: norms have kinks at zero."""
    x = normal(rng, (*batch, n + 3), dtype)
    return (x * (1 + 0.5 / np.abs(x))).astype(dtype)


def grids(rng, batch, n, dtype):
    return vectors(rng, (*batch, n), n, dtype)


def factors(rng, batch, n, dtype):
    return normal(rng, (*batch, n + 1, n), dtype), normal(rng, (*batch, n, 3), dtype)


def one(matrix):
    return lambda rng, batch, n, dtype: (matrix(rng, batch, n, dtype),)


def expm(a):
    """By a Taylor series and squarings: right to about |A| eps, where SciPy 1.17's is off by up to 500 n eps."""
    halvings = max(0, np.frexp(np.abs(a).sum(-2).max(initial=0))[1])
    small, x = a / 2.0**halvings, np.eye(a.shape[-1], dtype=a.dtype)
    for k in range(20, 0, -1):
        x = np.eye(a.shape[-1], dtype=a.dtype) + small @ x / k
    for _ in range(halvings):
        x = x @ x
    return x


# For the formulas: NumPy, and for what it has not something plain.
PLAIN = SimpleNamespace(**vars(np) | {"linalg": SimpleNamespace(**vars(np.linalg) | {"expm": expm})})


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
    *(
        Sample("qr", one(draw), o, draw.__name__)
        for draw in (general, tall, wide)
        for o in combinations(mode=("reduced", "complete", "r"))
    ),
    *(Sample("lstsq", regularized(draw), label=draw.__name__) for draw in (general, tall, wide)),
    *(Sample("lstsq", with_rhs(draw), label=f"{draw.__name__}, not regularized") for draw in (tall, wide)),
    Sample("expm", one(general)),
    Sample("expm", one(larger), label="squarings"),
    Sample("expm", one(hermitian), {"assume_a": "her"}),
    *(Sample("eigh", one(hermitian), o) for o in combinations(UPLO=("L", "U"), triangle=(None, "L", "U"))),
    *(Sample("cholesky_solve", with_rhs(cholesky_factor(o["lower"])), o) for o in combinations(lower=(True, False))),
    Sample("inv", one(general)),
    Sample("det", one(balanced)),
    Sample("slogdet", one(general)),
    Sample("matmul", factors),
    *(Sample("norm", one(vectors), {"ord": o, "axis": -1}) for o in (None, 1, 0.5, 3, -2, np.inf, -np.inf, 0)),
    *(Sample("norm", one(grids), {"ord": o, "axis": (-2, -1)}) for o in ("fro", 1, -1, np.inf, -np.inf)),
    *(Sample("norm", one(apart), {"ord": o, "axis": (-2, -1)}) for o in ("nuc", 2, -2)),
    Sample("norm", one(grids), {"ord": 1, "axis": (-1, -2), "keepdims": True}),
    Sample("eig", one(separate)),
    Sample("eig", one(oscillating), {"gauge": "ignore"}, "pairs"),
    Sample("eigvals", one(separate)),
    Sample("eigvals", one(oscillating), label="pairs"),
    *(Sample("eigvalsh", one(hermitian), o) for o in combinations(UPLO=("L", "U"), triangle=(None, "L"))),
    *(Sample("svd", one(singular()), o) for o in combinations(full_matrices=(False, True))),
    Sample("svd", one(singular(rows=3)), label="tall"),
    Sample("svd", one(singular(columns=3)), label="wide"),
    Sample("svdvals", one(singular())),
    Sample("svdvals", one(singular(rows=3)), label="tall"),
    Sample("svdvals", one(singular(columns=3)), label="wide"),
    Sample("pinv", with_rtol(general)),
    Sample("pinv", with_rtol(tall), label="tall"),
    Sample("pinv", with_rtol(wide), label="wide"),
]


def function_options(sample):
    """The options that the function itself has."""
    op = mk.OPS[sample.name]
    known = {*sample.op.forward.options, *op.layout.options, *op.variants}
    return {k: v for k, v in sample.options.items() if k in known}


def forward(sample, inputs):
    """Name -> output."""
    if sample.name == "eigvals":  # above n = 75 their order depends on whether LAPACK computes eigenvectors, too
        return {"eigenvalues": mk.eig(*inputs)[0]}
    result = mk.OPS[sample.name].function(*inputs, **function_options(sample))
    return dict(zip(sample.op.outputs, result if isinstance(result, tuple) else (result,), strict=True))


VECTORS = {"eigenvectors": -2, "U": -2, "Vh": -1}  # of eigh and svd, and the axis along which each lies


def ungauged(sample, outputs, cotangents):
    """Cotangents without what lies along free phases of complex vectors, or rotations of trailing columns of Q.

    Those of a pair of singular vectors are free together alone; here each goes, so that any may be left out.
    """
    for name, axis in VECTORS.items():
        v = outputs.get(name)
        if v is not None and v.dtype.kind == "c":
            g = cotangents[name]
            cotangents[name] = g - 1j * (v.conj() * g).sum(axis, keepdims=True).imag * v
    if sample.name == "qr" and "Q" in outputs:
        free = outputs["Q"][..., outputs["R"].shape[-1] :]
        g = cotangents["Q"][..., outputs["R"].shape[-1] :]
        skew = adjoint(free) @ g
        g -= free @ (skew - adjoint(skew)) / 2
    return cotangents


def phases(outputs, reference):
    """Name -> factors that turn vectors to the phases of others, as the pushforwards' gauges have it.

    v_i^H v_dot_i = 0 for eigenvectors, u_i^H u_dot_i + v_i^H v_dot_i = 0 for singular vectors.
    """
    along = {n: (reference[n].conj() * outputs[n]).sum(a, keepdims=True) for n, a in VECTORS.items() if n in outputs}
    if "U" in along:
        along["U"] = along["U"] + along["Vh"].conj().swapaxes(-1, -2)
        along["Vh"] = along["U"].conj().swapaxes(-1, -2)
    return {n: x.conj() / np.abs(x) for n, x in along.items()}


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
        for n, x in zip(sample.op.inputs, inputs, strict=False)
    ]


def pullback(sample, inputs, cotangents, **options):
    """Input cotangents through `mk.vjp`."""
    _, pull = mk.vjp(sample.name, *inputs, **sample.options | options)
    g = tuple(cotangents[n] for n in sample.op.outputs)
    return pull(g if len(g) > 1 else g[0])


def in_double(sample, inputs):
    """A forward pass, whose inputs and outputs are then those in double precision."""
    call = Call(sample.name, inputs, sample.options)
    for n, x in call.values.items():
        if n in (*call.op.inputs, *call.op.outputs) and x.dtype.kind in "fc":
            call.values[n] = x.astype(np.result_type(x, np.float64))
    return call


def reordered(arrays, w, order):
    """Name -> array, whose last axis goes with the eigenvalues `w`, in the order that these have in `order`."""
    place = np.abs(order[..., :, None] - w[..., None, :]).argmin(-1)
    np.testing.assert_array_equal(np.sort(place), np.broadcast_to(np.arange(w.shape[-1]), w.shape))
    return {
        n: np.take_along_axis(x, place[(..., *[None] * (x.ndim - w.ndim), slice(None))], -1) for n, x in arrays.items()
    }


def by_formula(sample, inputs, directions, kind):
    """Cotangents of the inputs, or tangents of the outputs, by the formula, for each that has a derivative."""
    call = in_double(sample, inputs)
    op, by_inputs = call.op, dict(zip(call.op.inputs, call.inputs, strict=True))
    if sample.name == "eigvals":  # the formulas have the order of NumPy's
        ours, theirs = call.outputs["eigenvalues"], np.linalg.eig(call.values["a"])[0]
    if kind == "cotangent":
        if sample.name == "eigvals":
            directions = reordered(directions, ours, theirs)
        arrays, run, names = call.outputs, op.pull_by_formula, op.differentiable_inputs
    else:
        arrays, run, names = by_inputs, op.push_by_formula, op.differentiable_outputs
    directions = {n: None if g is None else call.like(kind, n, g, arrays[n]) for n, g in directions.items()}
    results = [call.back(n, y) for n, y in zip(names, run(PLAIN, call.values, directions, call.options), strict=True)]
    if sample.name == "eigvals" and kind == "tangent":
        return [*reordered({"dot": results[0]}, theirs, ours).values()]
    return results


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
