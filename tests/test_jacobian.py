"""`mk.jacobian`: its shapes and axes, and its columns against pushforwards."""

import numpy as np
import pytest
from samples import DTYPES, SAMPLES, assert_near, draw_tangents, forward, general, normal, positive

import matkern as mk


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
    for argnum, name in enumerate(sample.op.inputs):
        if name not in sample.op.differentiable_inputs:
            continue
        if dtype.startswith("complex") and not sample.op.holomorphic(name, sample.options):
            with pytest.raises(ValueError, match=f"{sample.name} is not a holomorphic function of a complex {name}"):
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
