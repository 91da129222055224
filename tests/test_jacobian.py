"""`mk.jacobian`: its shapes and axes, and its columns against pushforwards."""

import numpy as np
import pytest
from samples import DTYPES, SAMPLES, assert_near, draw_tangents, forward, general, normal, positive

import matkern as mk
from matkern.elementwise import DERIVATIVES, HOLOMORPHIC


def contracted(jacobian, tangent, batch_ndim):
    """J t, matrix by matrix, for the Jacobian whose data are all batch axes."""
    core = tangent.shape[batch_ndim:]
    size = int(np.prod(core))
    j = jacobian.reshape(*jacobian.shape[: jacobian.ndim - len(core)], size)
    t = tangent.reshape(*tangent.shape[:batch_ndim], *(1,) * (j.ndim - 1 - batch_ndim), size)
    return (j * t).sum(-1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_columns(rng, sample, dtype):
    inputs = sample.draw(rng, (2, 3), 3, dtype)
    tangents = draw_tangents(rng, sample, inputs)
    for argnum, (name, x) in enumerate(zip(sample.op.inputs, inputs, strict=False)):
        if name not in sample.op.differentiable_inputs:
            continue
        if x.dtype.kind == "c" and not sample.op.holomorphic(name, sample.options):
            with pytest.raises(ValueError, match=f"{sample.op.name} is not a holomorphic function of a complex {name}"):
                mk.jacobian(sample.name, *inputs, argnum=argnum, **sample.options)
            continue
        j = mk.jacobian(sample.name, *inputs, argnum=argnum, **sample.options)
        only = [t if i == argnum else None for i, t in enumerate(tangents)]
        _, dots = mk.jvp(sample.name, inputs, only, **sample.options)
        outputs = forward(sample, inputs)
        several = len(outputs) > 1
        for k, (n, y) in enumerate(outputs.items()):
            block, dot = (j[k], dots[k]) if several else (j, dots)
            if n not in sample.op.differentiable_outputs:
                assert block is None
                continue
            assert block.shape == y.shape + inputs[argnum].shape[2:]
            assert_near(contracted(block, tangents[argnum], 2), dot)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_both_ways_agree(rng, dtype):
    """With one right-hand side the solution has fewer entries than the matrix: cotangents. With many, tangents."""
    a, b = general(rng, (2,), 4, dtype), normal(rng, (2, 4, 6), dtype)
    by_tangents = mk.jacobian("solve", a, b)  # 16 entries against 24
    by_cotangents = mk.jacobian("solve", a, b[..., :1])  # 16 against 4
    assert_near(by_tangents[:, :, :1], by_cotangents)


def test_data_ndim(rng):
    a, b = general(rng, (2, 3), 4, "float64"), normal(rng, (2, 3, 4, 1), "float64")
    data = mk.jacobian("solve", a, b)
    assert data.shape == (2, 3, 4, 1, 4, 4)
    np.testing.assert_array_equal(mk.jacobian("solve", a, b, data_ndim=2), data)
    one = mk.jacobian("solve", a, b, data_ndim=1)
    whole = mk.jacobian("solve", a, b, data_ndim=0)
    assert one.shape == (2, 3, 4, 1, 3, 4, 4)
    assert whole.shape == (2, 3, 4, 1, 2, 3, 4, 4)
    for i, j, k, l in np.ndindex(2, 3, 2, 3):
        np.testing.assert_array_equal(whole[i, j, :, :, k, l], data[i, j] if (i, j) == (k, l) else 0 * data[i, j])
        np.testing.assert_array_equal(one[i, j, :, :, l], data[i, j] if j == l else 0 * data[i, j])


def test_an_input_that_broadcasts(rng):
    """Data: a Jacobian for each entry. No data: one for the input as it is."""
    a, b = general(rng, (1,), 3, "float64"), normal(rng, (4, 3, 2), "float64")
    t = normal(rng, a.shape, "float64")
    _, dot = mk.jvp("solve", (a, b), (t, None))
    data = mk.jacobian("solve", a, b)
    assert data.shape == (4, 3, 2, 3, 3)
    assert_near(np.einsum("bikjl,jl->bik", data, t[0]), dot)
    whole = mk.jacobian("solve", a, b, data_ndim=0)
    assert whole.shape == (4, 3, 2, 1, 3, 3)
    np.testing.assert_array_equal(whole[:, :, :, 0], data)
    whole = mk.jacobian("solve", a[0], b, data_ndim=0)
    np.testing.assert_array_equal(whole, data)


def test_vectors(rng):
    a, b = general(rng, (), 3, "float64"), normal(rng, (3,), "float64")
    assert_near(mk.jacobian("solve", a, b, argnum=1), np.linalg.inv(a))
    x = mk.solve(a, b)
    assert_near(mk.jacobian("solve", a, b), -np.einsum("ij,k->ijk", np.linalg.inv(a), x))
    assert mk.jacobian("solve", general(rng, (2,), 3, "float64"), b, argnum=1).shape == (2, 3, 3)


def test_a_real_matrix_and_a_complex_right_hand_side(rng):
    a, b = general(rng, (), 3, "float64"), normal(rng, (3, 1), "complex128")
    got, want = mk.jacobian("solve", a, b), mk.jacobian("solve", a.astype(complex), b)
    assert_near(got, want)


def test_empty():
    assert mk.jacobian("cholesky", np.zeros((0, 2, 2))).shape == (0, 2, 2, 2, 2)
    assert mk.jacobian("cholesky", np.zeros((3, 0, 0))).shape == (3, 0, 0, 0, 0)
    assert mk.jacobian("solve", np.eye(2), np.ones((2, 0))).shape == (2, 0, 2, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"argnum": 2}, "argnum must be an integer from 0 to 1, got 2"),
        ({"argnum": 1.0}, "argnum must be an integer"),
        ({"data_ndim": 2}, "data_ndim must be an integer from 0 to 1, got 2"),
        ({"data_ndim": True}, "data_ndim must be an integer"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        mk.jacobian("solve", np.eye(2)[None], np.ones((1, 2, 1)), **options)


def test_pivots_have_no_jacobian():
    with pytest.raises(ValueError, match="lu_solve: piv has no derivative"):
        mk.jacobian("lu_solve", *mk.lu_factor(np.eye(2)), np.ones(2), argnum=1)


def test_a_known_one(rng):
    """d log det A / dA = A^-1 for Hermitian A, through the Cholesky factor's diagonal."""
    a = positive(rng, (), 3, "float64")
    j = mk.jacobian("cholesky", a)
    L = mk.cholesky(a)
    assert_near(2 * sum(j[i, i] / L[i, i] for i in range(3)), np.linalg.inv(a))


# ---- element-wise functions

DOMAINS = {  # where a ufunc's inputs are drawn, if not in (0.2, 0.9)
    np.arccosh: (1.2, 2),
    np.floor: (1.2, 1.8),
    np.ceil: (1.2, 1.8),
    np.trunc: (1.2, 1.8),
    np.rint: (1.1, 1.4),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("ufunc", DERIVATIVES, ids=lambda f: f.__name__)
def test_derivatives_of_ufuncs(rng, ufunc, dtype):
    """Against differences of fourth order in double precision, and along 1 and i for holomorphic functions."""
    xs = [rng.uniform(*DOMAINS.get(ufunc, (0.2, 0.9)), (3, 4)) for _ in range(ufunc.nin)]
    if dtype == "complex128":
        xs = [x + 1j * rng.uniform(0.1, 0.3, x.shape) for x in xs]
        if ufunc not in HOLOMORPHIC:
            with pytest.raises(ValueError, match="is not a holomorphic function"):
                mk.jacobian(ufunc, *xs)
            return
        try:
            ufunc(*xs)
        except TypeError:  # not of complex numbers
            with pytest.raises(TypeError, match="not supported for the input types"):
                mk.jacobian(ufunc, *xs)
            return
    for i in range(ufunc.nin):

        def at(s, i=i, step=1):
            moved = [x + s * 1e-3 * step * (j == i) for j, x in enumerate(xs)]
            return ufunc(*moved) / step

        j = mk.jacobian(ufunc, *(x.astype(dtype) for x in xs), argnum=i)
        assert j.dtype == (np.float64 if ufunc is np.float_power and dtype == "float32" else dtype)
        assert j.shape == (3, 4)
        for step in (1, 1j) if dtype == "complex128" else (1,):
            want = (at(-2, step=step) - 8 * at(-1, step=step) + 8 * at(1, step=step) - at(2, step=step)) / 12e-3
            np.testing.assert_allclose(j, want, rtol=1e-5 if dtype == "float32" else 1e-8, atol=1e-8)


def test_ufuncs_at_their_edges():
    np.testing.assert_array_equal(mk.jacobian(np.absolute, [0.0, -2.0]), [0, -1])
    np.testing.assert_array_equal(mk.jacobian(np.maximum, [1.0, 2.0, np.nan], [1.0, 1.0, 1.0]), [0.5, 1, np.nan])
    np.testing.assert_array_equal(mk.jacobian(np.power, [0.0, 0.0, 2.0], [2.0, 0.0, 0.0], argnum=0), 0)
    np.testing.assert_array_equal(mk.jacobian(np.power, [0.0, 1.0], [2.0, 3.0], argnum=1), 0)
    np.testing.assert_array_equal(mk.jacobian(np.hypot, 0.0, 0.0), 0)
    np.testing.assert_array_equal(mk.jacobian(np.logaddexp, [1e4, -np.inf], [-1e4, -np.inf]), [1, 0.5])
    np.testing.assert_array_equal(mk.jacobian(np.sqrt, 0), np.inf)
    np.testing.assert_array_equal(mk.jacobian(np.exp, 0), 1)
    np.testing.assert_allclose(mk.jacobian(np.arctan2, 1e-200, 1e-200), 5e199)


@pytest.mark.parametrize("data_ndim", [0, 1, 2])
def test_a_ufunc_s_input_that_broadcasts(rng, data_ndim):
    x, y = rng.standard_normal((3, 1)), rng.standard_normal(4)
    j = mk.jacobian(np.multiply, x, y, argnum=0, data_ndim=data_ndim)
    assert j.shape == {0: (3, 4, 3, 1), 1: (3, 4, 1), 2: (3, 4)}[data_ndim]
    want = np.einsum("ac,b->abc", np.eye(3), y)[..., None]
    if data_ndim == 1:
        want = np.broadcast_to(y[None, :, None], (3, 4, 1))
    elif data_ndim == 2:
        want = np.broadcast_to(y, (3, 4))
    np.testing.assert_array_equal(j, want)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: mk.jacobian(np.gcd, 1, 2),
            ValueError,
            "the derivative of gcd is not known; known are those of absolute",
        ),
        (lambda: mk.jacobian(np.exp, 1, 2), TypeError, "exp takes 1 inputs, got 2"),
        (lambda: mk.jacobian(np.exp, 1, where=True), TypeError, "exp has no option 'where' here"),
        (lambda: mk.jacobian(np.add, 1, 2, argnum=2), ValueError, "add: argnum must be an integer from 0 to 1, got 2"),
        (lambda: mk.jacobian(np.exp, [1], data_ndim=2), ValueError, "data_ndim must be an integer from 0 to 1, got 2"),
    ],
)
def test_ufuncs_messages(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- memory


def test_what_is_larger_than_memory_is_refused_with_its_size():
    with pytest.raises(
        MemoryError, match=r"inv: the Jacobian of shape \(2, 3000, 3000, 3000, 3000\) takes 1,20\d,\d+\.\d GiB"
    ):
        mk.jacobian("inv", np.stack([np.eye(3000)] * 2))
    with pytest.raises(MemoryError, match=r"exp: the Jacobian of shape \(3000000, 3000000\) takes"):
        mk.jacobian(np.exp, np.zeros(3000000), data_ndim=0)


@pytest.mark.parametrize(("name", "n"), [("inv", 40), ("det", 60)])
def test_blocks(rng, monkeypatch, name, n):
    """What is stacked at a time is bounded, and makes no difference."""
    a = general(rng, (3,), n, "float64") / 2
    whole = mk.jacobian(name, a)
    monkeypatch.setattr("matkern.jacobians.BLOCK", 100_000)
    stacked = []
    for way in ("run_pullback", "run_pushforward"):
        original = getattr(mk.op.Op, way)

        def noted(*args, original=original):
            result = original(*args)
            stacked.append(result[0].nbytes)
            return result

        monkeypatch.setattr(mk.op.Op, way, noted)
    np.testing.assert_array_equal(mk.jacobian(name, a), whole)
    assert max(stacked) <= max(100_000, a.nbytes) and (len(stacked) > 100) == (name == "inv")
