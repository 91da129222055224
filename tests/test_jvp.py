"""Pushforwards: against the plain formula, differences, and high precision; and as adjoints of the pullbacks."""

import mpmath
import numpy as np
import pytest
from samples import (
    DTYPES,
    SAMPLES,
    adjoint,
    assert_near,
    by_formula,
    draw_cotangents,
    draw_tangents,
    forward,
    general,
    inner,
    normal,
    phases,
    pullback,
    reordered,
    tall,
    wide,
    with_rhs,
)

import matkern as mk


def pushed(sample, inputs, tangents):
    _, dots = mk.jvp(sample.name, inputs, tangents, **sample.options)
    return dict(zip(sample.op.outputs, dots if isinstance(dots, tuple) else (dots,), strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 7, 40, 100])
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_formula(rng, sample, n, dtype):
    inputs = sample.draw(rng, (2,), n, dtype)
    outputs = forward(sample, inputs)
    tangents = draw_tangents(rng, sample, inputs)
    got = pushed(sample, inputs, tangents)
    want = iter(by_formula(sample, inputs, dict(zip(sample.op.inputs, tangents, strict=False)), "tangent"))
    for name, y in outputs.items():
        assert got[name].dtype == y.dtype
        if name in sample.op.differentiable_outputs:
            assert_near(got[name], next(want))
        else:
            assert (got[name] == 0).all()


def aligned(outputs, reference):
    """Outputs in the order of other eigenvalues, and what is free as in others, to the pushforward's gauge."""
    if "eigenvalues" in outputs:
        outputs = reordered(outputs, outputs["eigenvalues"], reference["eigenvalues"])
    if "Q" in outputs:
        free = outputs["Q"][..., outputs["R"].shape[-1] :]
        u, _, vh = np.linalg.svd(adjoint(free) @ reference["Q"][..., outputs["R"].shape[-1] :])
        free[...] = free @ u @ vh
    return outputs | {n: factor * outputs[n] for n, factor in phases(outputs, reference).items()}


def entries_read(sample, tangents):
    """What a change of the whole array changes of what the operation reads, when a tangent counts by a triangle."""
    triangle = sample.options.get("triangle")
    if sample.name not in ("cholesky", "eigh", "eigvalsh"):
        return tangents
    (t,) = tangents
    if triangle is None:
        return [(t + adjoint(t)) / 2]
    part = np.tril(t, -1) if triangle == "L" else np.triu(t, 1)
    return [part + adjoint(part) + np.eye(t.shape[-1]) * t.real]


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.name != "lu_solve"], ids=str)
def test_differences(rng, sample, dtype):
    """Central differences: with a step of eps^(1/3) they are right to about eps^(2/3) of the values, 4e-11."""
    inputs = sample.draw(rng, (2,), 6, dtype)
    tangents = draw_tangents(rng, sample, inputs)
    got = pushed(sample, inputs, tangents)
    moves = entries_read(sample, tangents)
    if sample.options.get("assume_a") in ("pos", "her"):
        moves = [(moves[0] + adjoint(moves[0])) / 2, *moves[1:]]
    reference, h = forward(sample, inputs), np.finfo(float).eps ** (1 / 3)
    plus, minus = (
        aligned(
            forward(sample, [x if t is None else x + s * h * t for x, t in zip(inputs, moves, strict=True)]), reference
        )
        for s in (1, -1)
    )
    for name in sample.op.differentiable_outputs:
        assert_near(got[name], (plus[name] - minus[name]) / (2 * h), multiple=1, eps=1e-9)


def test_differences_of_lu_solve(rng):
    a, b = normal(rng, (5, 5), "float64") + 5 * np.eye(5), normal(rng, (5, 2), "float64")
    lu, piv = mk.lu_factor(a)
    t, s, h = normal(rng, (5, 5), "float64"), normal(rng, (5, 2), "float64"), 6e-6
    _, dot = mk.jvp("lu_solve", (lu, piv, b), (t, None, s))
    plus, minus = (mk.lu_solve(lu + e * h * t, piv, b + e * h * s) for e in (1, -1))
    assert_near(dot, (plus - minus) / (2 * h), multiple=1, eps=1e-9)


@pytest.mark.parametrize("matrix", [general, tall, wide])
def test_differences_along_a_regularizer_from_zero(rng, matrix):
    """From the right: it is never negative."""
    a, b = with_rhs(matrix)(rng, (2,), 6, "complex128")
    h = np.finfo(float).eps ** (1 / 3)
    x, dot = mk.jvp("lstsq", (a, b, np.zeros(2)), (None, None, np.ones(2)))
    one, two = (mk.lstsq(a, b, s * h * np.ones(2)) for s in (1, 2))
    assert_near(dot, (4 * one - two - 3 * x) / (2 * h), multiple=1, eps=1e-8)  # the third derivative is of size 100


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 3, 30, 70])
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_adjoint(rng, sample, n, dtype):
    """<g, J t> = <J* g, t> for any tangent, to rounding of the terms of the sums."""
    inputs = sample.draw(rng, (2,), n, dtype)
    g = draw_cotangents(rng, sample, forward(sample, inputs))
    tangents = draw_tangents(rng, sample, inputs)
    dots = pushed(sample, inputs, tangents)
    bars = pullback(sample, inputs, g)
    names = sample.op.differentiable_outputs
    left = inner([g[m] for m in names], [dots[m] for m in names])
    right = inner(bars, tangents)
    size = sum(np.abs(g[m] * dots[m]).sum() for m in names) + sum(
        np.abs(x * t).sum() for x, t in zip(bars, tangents, strict=True) if t is not None
    )
    assert abs(left - right) <= 20 * n * np.finfo(dtype).eps * size


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("shape", [(6, 6), (9, 6), (6, 9)])
def test_phases_of_singular_vectors_that_cancel_in_pairs(rng, shape, dtype):
    """A loss may depend on the phase of u_i against that of v_i: diagonals of U^H U_bar that are imaginary."""
    a, t = normal(rng, (2, *shape), dtype), normal(rng, (2, *shape), dtype)
    (u, s, vh), pull = mk.vjp("svd", a)
    phase = normal(rng, s.shape, s.dtype)
    g = 1j * phase[..., None, :] * u, None, 1j * phase[..., :, None] * vh  # of v the conjugate: minus
    _, dots = mk.jvp("svd", (a,), (t,))
    left, right = inner(g, dots), inner(pull(g), [t])
    want = sum((phase * (u.conj() * (t @ adjoint(vh))).sum(-2).imag / s).flat)
    size = sum(np.abs(x * y).sum() for x, y in zip(g, dots, strict=True) if x is not None)
    assert abs(left - right) <= 100 * np.finfo(dtype).eps * size
    assert abs(left - want) <= 100 * np.finfo(dtype).eps * size


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_stacked_and_missing_tangents(rng, sample):
    inputs = sample.draw(rng, (3,), 4, "float64")
    many = [draw_tangents(rng, sample, inputs) for _ in range(2)]
    stacked = [None if t[0] is None else np.stack(t) for t in zip(*many, strict=True)]
    got = pushed(sample, inputs, stacked)
    singles = [pushed(sample, inputs, t) for t in many]
    for name in sample.op.differentiable_outputs:
        np.testing.assert_array_equal(got[name], np.stack([s[name] for s in singles]))
    none = pushed(sample, inputs, [None] * len(inputs))
    for i, t in enumerate(many[0]):
        if t is not None:
            alone = pushed(sample, inputs, [t if j == i else None for j in range(len(inputs))])
            zeros = pushed(
                sample,
                inputs,
                [t if j == i else None if u is None else np.zeros_like(u) for j, u in enumerate(many[0])],
            )
            for name in sample.op.differentiable_outputs:
                assert_near(alone[name], zeros[name])
    assert all((y == 0).all() for y in none.values())


# ---- where double precision cannot judge


def hilbert(n):
    """Condition 5e5 at n = 5, 1.5e7 at 6."""
    return np.array([[1 / (i + j + 1) for j in range(n)] for i in range(n)])


def mp_derivative(function, matrices, tangents):
    """The derivative along the tangents, by differences of a step that 60 digits make exact to 20."""
    h = mpmath.mpf(10) ** -25
    a = function(
        [mpmath.matrix(m.tolist()) + h * mpmath.matrix(t.tolist()) for m, t in zip(matrices, tangents, strict=True)]
    )
    b = function(
        [mpmath.matrix(m.tolist()) - h * mpmath.matrix(t.tolist()) for m, t in zip(matrices, tangents, strict=True)]
    )
    return np.array(((a - b) / (2 * h)).tolist(), dtype=float)


@pytest.fixture
def digits():
    with mpmath.workdps(60):
        yield


@pytest.mark.usefixtures("digits")
@pytest.mark.parametrize("n", [4, 6])
class TestHighPrecision:
    """Ill-conditioned matrices: a derivative of a factor or a solution is good to c n eps cond^2 at worst, as two
    inverses enter it; the tests ask for a tenth of that."""

    @staticmethod
    def assert_good(got, want, cond):
        assert np.abs(got - want).max() / np.abs(want).max() <= 0.1 * np.finfo(float).eps * cond**2

    def test_cholesky(self, rng, n):
        a, t = hilbert(n), rng.standard_normal((n, n))
        t = t + t.T
        want = mp_derivative(lambda ms: mpmath.cholesky(ms[0]), [a], [t])
        self.assert_good(mk.jvp("cholesky", (a,), (t,))[1], want, np.linalg.cond(a))

    def test_solve(self, rng, n):
        a, b, t, s = hilbert(n), np.ones((n, 1)), rng.standard_normal((n, n)), rng.standard_normal((n, 1))
        want = mp_derivative(lambda ms: mpmath.lu_solve(*ms), [a, b], [t, s])
        self.assert_good(mk.jvp("solve", (a, b), (t, s))[1], want, np.linalg.cond(a))

    @pytest.mark.parametrize("l", [0, 1e-3])
    def test_lstsq(self, rng, n, l):
        a, b = np.vstack([hilbert(n), np.eye(n) / n**3]), rng.standard_normal((2 * n, 1))
        t, s = rng.standard_normal((2 * n, n)), rng.standard_normal((2 * n, 1))

        def by_normal_equations(ms):
            return mpmath.lu_solve(ms[0].T * ms[0] + l * mpmath.eye(n), ms[0].T * ms[1])

        want = mp_derivative(by_normal_equations, [a, b], [t, s])
        self.assert_good(mk.jvp("lstsq", (a, b, l), (t, s, None))[1], want, np.linalg.cond(a))


@pytest.mark.usefixtures("digits")
def test_nearly_repeated_eigenvalues(rng):
    """Eigenvalues 1e-6 apart: V_dot is about 1e6, and good to eps / gap."""
    n, gap = 4, 1e-6
    q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    a = q @ np.diag([1, 1 + gap, 2, 3]) @ q.T
    a, t = (a + a.T) / 2, rng.standard_normal((n, n))
    t = t + t.T
    w, v = mk.eigh(a)

    def projector(ms):  # of the first eigenvector: it has no sign
        _, vectors = mpmath.eigsy(ms[0])
        return vectors[:, 0] * vectors[:, 0].T

    want = mp_derivative(projector, [a], [t])
    _, v_dot = mk.eigh_jvp(w, v, t)
    got = np.outer(v_dot[:, 0], v[:, 0]) + np.outer(v[:, 0], v_dot[:, 0])
    assert np.abs(got - want).max() / np.abs(want).max() <= 100 * n * np.finfo(float).eps / gap


@pytest.mark.parametrize("shapes", [((), (4,)), ((4,), ()), ((1,), (2, 4)), ((3, 1), (4,))])
def test_stacked_tangents_of_an_input_that_broadcasts(rng, shapes):
    """Extra axes go before the batch of the result, not before the input's own."""
    a, b = general(rng, shapes[0], 3, "float64"), normal(rng, (*shapes[1], 3, 2), "float64")
    for i, x in enumerate((a, b)):
        t = normal(rng, (4, *x.shape), "float64")
        got = mk.jvp("solve", (a, b), [t if j == i else None for j in range(2)])[1]
        want = [mk.jvp("solve", (a, b), [s if j == i else None for j in range(2)])[1] for s in t]
        np.testing.assert_array_equal(got, np.stack(want))


def test_stacked_tangents_of_an_output_without_a_derivative(rng):
    a = general(rng, (2,), 3, "float64")
    _, (p_dot, l_dot, _) = mk.jvp("lu", (a,), (normal(rng, (5, 2, 3, 3), "float64"),))
    assert p_dot.shape == l_dot.shape and (p_dot == 0).all()


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_small_tangents_lose_nothing(rng, sample):
    """A pushforward is linear: a power of two goes through it to the bit, however small."""
    inputs = sample.draw(rng, (2,), 40, "float64")
    tangents = draw_tangents(rng, sample, inputs)
    small = pushed(sample, inputs, [None if t is None else t * 2.0**-90 for t in tangents])
    for name, y in pushed(sample, inputs, tangents).items():
        if name in sample.op.differentiable_outputs:
            np.testing.assert_array_equal(small[name], y * 2.0**-90)
