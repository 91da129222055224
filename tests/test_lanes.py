"""Small matrices, one to a lane of a SIMD register: every variant that the CPU has against one matrix at a time."""

import os
import subprocess
import sys

import numpy as np
import pytest
from matkern.kernels import gufunc
from samples import (
    DTYPES,
    SAMPLES,
    adjoint,
    assert_near,
    draw_cotangents,
    draw_tangents,
    forward,
    normal,
    phases,
    positive,
    ungauged,
)

import matkern as mk
from matkern.calls import Call

VARIANTS = [name for name in gufunc.lane_choices() if name != "off"]
IN_LANES = [
    s for s in SAMPLES if {s.op.forward.name, s.op.pullback.name, s.op.pushforward.name} & set(gufunc.lane_kernels())
]
BATCH = 35  # two blocks of the widest register's single-precision lanes, and three more
LARGEST = 32  # in lanes here, wherever LAPACK begins to be faster


@pytest.fixture(params=VARIANTS)
def variant(request):
    before = gufunc.lanes()
    gufunc.set_lanes(request.param, LARGEST)
    yield request.param
    gufunc.set_lanes(before)


def one_at_a_time(function, *args, **options):
    before = gufunc.lanes()
    gufunc.set_lanes("off")
    try:
        return function(*args, **options)
    finally:
        gufunc.set_lanes(before, LARGEST)


def same(got, want):
    """Agree to rounding, which the two ways do differently."""
    for a, b in zip(got, want, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.dtype
            assert_near(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sample", IN_LANES, ids=str)
def test_agrees_with_one_matrix_at_a_time(variant, rng, sample, dtype):
    for n in (1, 2, 3, 4, 9, 19):  # of real matrices 2 to 4 are unrolled
        inputs = sample.draw(rng, (BATCH,), n, dtype)
        outputs, got = one_at_a_time(forward, sample, inputs), forward(sample, inputs)
        turns = phases(got, outputs)  # vectors are free up to these
        same([y * turns[k] if k in turns else y for k, y in got.items()], outputs.values())
        g = ungauged(sample, outputs, draw_cotangents(rng, sample, outputs))  # again: of 1 x 1 what is left is rounding
        dots = draw_tangents(rng, sample, inputs)
        dots += [None] * (len(sample.op.inputs) - len(dots))
        call = one_at_a_time(Call, sample.name, inputs, sample.options)
        g = [g.get(n) for n in sample.op.outputs]
        same(call.pullback(g), one_at_a_time(call.pullback, g))
        same(call.pushforward(dots).values(), one_at_a_time(call.pushforward, dots).values())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_a_bad_matrix_leaves_the_others_alone(variant, rng, dtype, bad):
    """To the bit, wherever it is; what it becomes itself is the same as alone."""
    a = positive(rng, (BATCH,), 5, dtype)
    b = normal(rng, (BATCH, 5, 2), dtype)
    good = [mk.cholesky(a), mk.solve(a, b), mk.inv(a)]
    for place in (0, 3, BATCH - 1):
        some = a.copy()
        some[place, 2, 2] = bad
        got = [mk.cholesky(some, on_error="nan"), mk.solve(some, b, on_error="nan"), mk.inv(some, on_error="nan")]
        others = np.arange(BATCH) != place
        for x, y in zip(got, good, strict=True):
            np.testing.assert_array_equal(x[others], y[others])
        alone = mk.cholesky(some[place], on_error="nan"), mk.solve(some[place], b[place], on_error="nan")
        for x, y in zip(got, alone, strict=False):
            np.testing.assert_array_equal(np.isfinite(x[place]), np.isfinite(y))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_blocks_that_are_packed_together(variant, rng, dtype, n):
    """Up to 64: whole groups and the last one, matrices beside each other and others, bad ones anywhere."""
    batch = 150
    a = positive(rng, (batch,), n, dtype)
    bad = [0, 7, 40, 63, 64, 130, 149]
    a[bad] *= -1
    two = np.stack([a, a], 1)  # of these every other one, and both
    want = one_at_a_time(mk.cholesky, a, on_error="nan")
    factor = np.nan_to_num(want, nan=1)
    both = mk.cholesky(two, on_error="nan")[:, 1]
    for got in mk.cholesky(a, on_error="nan"), mk.cholesky(two[:, 0], on_error="nan"), both:
        np.testing.assert_array_equal(np.isnan(got).any((-2, -1)), np.isin(np.arange(batch), bad))
        same([np.nan_to_num(got, nan=1)], [factor])
    with pytest.raises(np.linalg.LinAlgError, match=rf"matrix \[0\] .* \(7 of {batch} matrices"):
        mk.cholesky(a)
    g = normal(rng, (n, n), dtype)  # the same for all
    same([mk.cholesky_vjp(factor, g)], [one_at_a_time(mk.cholesky_vjp, factor, g)])
    same(mk.lu_factor(a), one_at_a_time(mk.lu_factor, a))  # integers, too
    piv = np.tile(np.arange(n), (batch, 1))
    piv[100] = 7  # all stays finite
    with pytest.raises(ValueError, match=r"matrix \[100\] .* row interchanges"):
        mk.solve_vjp(np.tile(np.eye(n, dtype=dtype), (batch, 1, 1)), piv, a, a)


def test_errors_name_the_matrix(variant, rng):
    a = positive(rng, (BATCH,), 4, "float64")
    a[[20, 30]] *= -1
    with pytest.raises(np.linalg.LinAlgError, match=rf"matrix \[20\] .* not positive definite \(2 of {BATCH} matrices"):
        mk.cholesky(a)
    a[7] = 0
    with pytest.raises(np.linalg.LinAlgError, match=r"matrix \[7\] .* is singular"):
        mk.solve(a, a)
    with pytest.raises(np.linalg.LinAlgError, match=r"matrix \[7\] .* is singular"):
        mk.inv(a)
    with pytest.raises(ValueError, match=r"matrix \[0\] .* row interchanges"):
        mk.solve_vjp(np.eye(4)[None].repeat(9, 0), np.full((9, 4), 7), np.eye(4), np.eye(4))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_wherever_a_matrix_lies(variant, rng, dtype):
    """In any lane, in the remainder, beside any neighbours."""
    a = positive(rng, (BATCH,), 6, dtype)
    order = rng.permutation(BATCH)
    for name in ("eigvalsh", "svdvals", "det", "expm"):
        np.testing.assert_array_equal(getattr(mk, name)(a[order]), getattr(mk, name)(a)[order])
    for name in ("cholesky", "inv"):
        (y,), pull = ([getattr(mk, name)(a)], lambda g, name=name, a=a: mk.vjp(name, a)[1](g)[0])
        np.testing.assert_array_equal(getattr(mk, name)(a[order]), y[order])
        np.testing.assert_array_equal(mk.vjp(name, a[order])[1](a[order])[0], pull(a)[order])
        few = getattr(mk, name)(a[:3])
        np.testing.assert_array_equal(few, y[:3])


def spectra(rng, n, dtype):
    """Hermitian matrices that are hard to diagonalise, or trivial."""
    x = normal(rng, (BATCH, n, n), dtype)
    q, _ = np.linalg.qr(x)
    small = 10.0 ** -np.arange(n)
    range_ = np.finfo(dtype)
    yield x + adjoint(x)
    yield (q * rng.integers(1, 3, (BATCH, 1, n))) @ adjoint(q)  # repeated
    yield x[..., :1] @ adjoint(x[..., :1])
    yield (x + adjoint(x)) * small * small[:, None]
    yield (q * 2.0 ** -np.arange(n)) @ adjoint(q)
    yield np.triu(np.tril(x + adjoint(x), 1), -1)
    yield np.eye(n) * rng.standard_normal((BATCH, 1, n))
    yield np.eye(n) * np.ones((BATCH, 1, 1))
    yield np.zeros((BATCH, n, n))
    yield (x + adjoint(x)) * (range_.max / 1e3)
    yield (x + adjoint(x)) * (range_.tiny * 1e3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_spectra(variant, rng, dtype):
    """As accurate as LAPACK: residual, orthogonality and values to a few n eps of the norm, and in order."""
    for n in (1, 2, 3, 5, 8, 16, 27):
        for matrix in spectra(rng, n, dtype):
            a = matrix.astype(dtype)
            level = max(np.abs(a).max(), np.finfo(dtype).tiny)
            values, vectors = mk.eigh(a)
            u, s, vh = mk.svd(a)
            unit, identity = a / level, np.eye(n)
            want = np.linalg.eigvalsh(unit), np.linalg.svd(unit, compute_uv=False)
            assert (np.diff(values) >= 0).all()
            assert (np.diff(s) <= 0).all()
            assert (s >= 0).all()
            for got, expected in (
                ((vectors * (values / level)[..., None, :]) @ adjoint(vectors), unit),
                (adjoint(vectors) @ vectors, identity),
                (values / level, want[0]),
                (mk.eigvalsh(a) / level, want[0]),
                ((u * (s / level)[..., None, :]) @ vh, unit),
                (adjoint(u) @ u, identity),
                (vh @ adjoint(vh), identity),
                (s / level, want[1]),
                (mk.svdvals(a) / level, want[1]),
            ):
                assert np.abs(got - expected).max() <= 10 * n * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_small_block_beside_a_large_one(variant, dtype):
    """Keeps its own relative accuracy."""
    a = np.zeros((9, 3, 3), dtype)
    a[:, 0, 0] = 1
    a[:, 1:, 1:] = np.array([[1, 0.9], [0.9, 1]]) * 1e-10
    near = {"rtol": 1e4 * np.finfo(dtype).eps}
    np.testing.assert_allclose(mk.eigvalsh(a), np.tile([1e-11, 1.9e-10, 1], (9, 1)), **near)
    np.testing.assert_allclose(mk.svdvals(a), np.tile([1, 1.9e-10, 1e-11], (9, 1)), **near)
    np.testing.assert_allclose(mk.pinv(a, rtol=0) @ a, np.tile(np.eye(3), (9, 1, 1)), atol=1e4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_the_imaginary_part_of_a_hermitian_diagonal(variant, dtype):
    """Does not count, however large, if it is finite."""
    a = np.tile(np.array([[2, 1], [1, 2]], dtype), (9, 1, 1))
    a[:, 0, 0] += 1e12j
    np.testing.assert_allclose(mk.eigvalsh(a), np.tile([1, 3], (9, 1)), rtol=100 * np.finfo(dtype).eps)
    a[4, 1, 1] = complex(2, np.inf)
    assert np.isnan(mk.eigvalsh(a)[4]).all()
    assert np.isfinite(mk.eigvalsh(a)[[3, 5]]).all()


def test_the_rank_of_a_pseudo_inverse_at_its_bound(variant):
    """The product of rtol and the largest singular value is not rounded to single precision."""
    a = np.tile(np.diag([3, 0.3]).astype("float32"), (9, 1, 1))
    np.testing.assert_array_equal(mk.pinv(a, np.float32(0.1)), one_at_a_time(mk.pinv, a, np.float32(0.1)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_spectrum_that_is_not_finite(variant, rng, dtype, bad):
    """A lane that stops early, or never would, does not change the others' bits."""
    a = positive(rng, (BATCH,), 6, dtype)
    good = *mk.eigh(a), *mk.svd(a), mk.eigvalsh(a), mk.svdvals(a)
    for place, value in ((0, bad), (20, bad), (20, 0)):
        some = a.copy()
        some[place] = value
        others = np.arange(BATCH) != place
        for x, y in zip((*mk.eigh(some), *mk.svd(some), mk.eigvalsh(some), mk.svdvals(some)), good, strict=True):
            np.testing.assert_array_equal(x[others], y[others])
            assert value == 0 or np.isnan(x[place]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [2, 3, 4, 5, 8])
def test_interchanges_of_any_rows(variant, rng, dtype, n):
    """Also with rows above, which no factorisation makes but LAPACK's laswp does."""
    lu = normal(rng, (BATCH, n, n), dtype) / (2 * n) + np.eye(n, dtype=dtype)  # well conditioned, so is each factor
    piv = rng.integers(0, n, (BATCH, n)).astype("int32")
    piv[0] = np.arange(n)[::-1]
    x, b = normal(rng, (BATCH, n, 3), dtype), normal(rng, (BATCH, n, 3), dtype)
    det = normal(rng, (BATCH,), dtype)
    for function, args in (
        (mk.solve_vjp, (lu, piv, x, b)),
        (mk.lu_factor_vjp, (lu, piv, lu)),
        (mk.lu_factor_jvp, (lu, piv, lu)),
        (mk.det_vjp, (lu, piv, det)),
        (mk.det_jvp, (lu, piv, lu)),
        (mk.slogdet_vjp, (det / abs(det), lu, piv, None, abs(det))),
        (mk.slogdet_jvp, (det / abs(det), lu, piv, lu)),
    ):
        got, want = function(*args), one_at_a_time(function, *args)
        same(got if isinstance(got, tuple) else (got,), want if isinstance(want, tuple) else (want,))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [None, "nuc", 1, -1, np.inf, -np.inf, 2, -2])
def test_norms_at_their_edges(variant, rng, dtype, order):
    """NaN in one part, ties of sums and of moduli, zeros and their signs, numbers whose squares are none."""
    a = np.repeat(normal(rng, (BATCH, 3, 1), dtype), 3, -1)
    if np.dtype(dtype).kind == "c":
        a[..., 1] = a[..., 0].imag + 1j * a[..., 0].real  # of the same modulus
    a[1, 0, 0] = np.nan
    a[2] = 0
    a[3, 1] = 0
    a[4] *= np.finfo(dtype).max / 1e3
    a[5] *= np.finfo(dtype).tiny
    for axis in (-1, (-2, -1)):
        if axis != -1 or order in (None, 1, -1, np.inf, -np.inf, 2):
            outputs, pull = mk.vjp("norm", a, ord=order, axis=axis)
            want, pull_alone = one_at_a_time(mk.vjp, "norm", a, ord=order, axis=axis)
            ones = np.ones_like(want)
            level = mk.norm(np.nan_to_num(a), axis=(-2, -1)).reshape(-1, *[1] * (want.ndim - 1))
            for got, alone, size in (outputs, want, level), (pull(ones)[0], one_at_a_time(pull_alone, ones)[0], 1):
                np.testing.assert_array_equal(np.isnan(got), np.isnan(alone))
                error = np.where(np.isnan(got), 0, np.abs(got - alone))
                # a sum of 9 moduli, of which a complex one is rounded 5 times
                assert (error <= 50 * np.finfo(dtype).eps * size).all()
            assert not np.signbit(outputs[outputs == 0]).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_determinants_of_two_rows(variant, rng, dtype):
    """Singular ones, and numbers whose product is none."""
    a = normal(rng, (BATCH, 2, 2), dtype)
    a[::2, 1] = 2 * a[::2, 0]
    a[7] = 0
    a[9] = [[0, 1], [0, 0]]
    cofactors = np.stack([a[:, 1, 1], -a[:, 1, 0], -a[:, 0, 1], a[:, 0, 0]], -1).reshape(a.shape).conj()
    assert_near(mk.vjp("det", a)[1](np.ones(BATCH, dtype))[0], cofactors)
    large = np.sqrt(np.finfo(dtype).max) * 2e3
    a = np.zeros((BATCH, 2, 2), dtype)
    a[::2] = np.diag([large, 1 / large])
    a[1::2, 0, 1], a[1::2, 1, 0] = large, 1 / large
    # two reciprocals and a product
    bar = mk.vjp("slogdet", a)[1]((None, np.ones(BATCH, a.real.dtype)))[0]
    np.testing.assert_allclose(bar, np.divide(1, a, out=np.zeros_like(a), where=a != 0), rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("far_from_normal", [False, True])
def test_exponentials_of_any_norm(variant, rng, dtype, far_from_normal):
    """A lane scales and squares for itself, and leaves out squarings that are needless; neighbours do not show."""
    n, order = 5, rng.permutation(BATCH)
    a = normal(rng, (BATCH, n, n), dtype) * np.geomspace(1e-9, 20, BATCH)[:, None, None] / n
    if far_from_normal:
        a = a + np.triu(1e3 * a, 1) - np.tril(a, -1)
    a = a.astype(dtype)
    e = normal(rng, a.shape, dtype)

    def run(a, e):
        return mk.expm(a), mk.expm_vjp(a, e), mk.expm_jvp(a, e)

    norms = mk.norm(a, axis=(-2, -1))
    for got, again, want in zip(run(a, e), run(a[order], e[order]), one_at_a_time(run, a, e), strict=True):
        np.testing.assert_array_equal(again, got[order])
        # conditioned by the norm, and better the more triangular
        error = mk.norm(got - want, axis=(-2, -1)) / mk.norm(want, axis=(-2, -1))
        assert (error <= 20 * n * np.finfo(dtype).eps * np.maximum(1, np.minimum(norms, 20))).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts(variant, rng, dtype):
    """Transposed and reversed matrices, broadcast operands, several batch axes, into an array of any strides."""
    a = positive(rng, (7, 5), 4, dtype)
    b = normal(rng, (5, 4, 3), dtype)
    want = one_at_a_time(mk.solve, a, b)
    assert_near(mk.solve(a, b), want)
    assert_near(mk.solve(np.asfortranarray(a), b[:, ::-1][:, ::-1]), want)
    assert_near(mk.solve(a.swapaxes(0, 1), b[:, None]), want.swapaxes(0, 1))
    assert_near(mk.solve(a, b[0]), one_at_a_time(mk.solve, a, b[0]))
    assert_near(mk.solve(a[0, 0], b), one_at_a_time(mk.solve, a[0, 0], b))
    assert_near(mk.solve(a[..., ::-1, :], b[:, ::-1]), want)
    out = np.zeros((7, 5, 3, 4), dtype).swapaxes(-1, -2)
    mk.solve(a, b, out=out)
    assert_near(out, want)
    x = normal(rng, (7, 5, 4), dtype)
    assert_near(mk.solve(a, x[..., None])[..., 0], np.linalg.solve(a, x[..., None])[..., 0])
    assert_near(mk.matmul(a, adjoint(a[0])), a @ adjoint(a[0]))


def test_empty(variant):
    assert mk.cholesky(np.zeros((9, 0, 0))).shape == (9, 0, 0)
    assert mk.cholesky(np.zeros((0, 4, 4))).shape == (0, 4, 4)
    np.testing.assert_array_equal(mk.matmul(np.ones((9, 3, 0)), np.ones((9, 0, 2))), np.zeros((9, 3, 2)))
    assert mk.solve(np.ones((9, 1, 1)), np.ones((9, 1, 0))).shape == (9, 1, 0)
    assert [x.shape for x in mk.eigh(np.ones((9, 0, 0)))] == [(9, 0), (9, 0, 0)]
    assert [x.shape for x in mk.svd(np.ones((9, 3, 0)))] == [(9, 3, 0), (9, 0), (9, 0, 0)]


def run(value):
    code = "import matkern as mk; print(mk.show_config(mode='dicts')['lanes'])"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MATKERN_LANES": value},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("value", [*gufunc.lane_choices(), ""])
def test_the_environment_chooses(value):
    assert run(value).stdout.strip() == (value or VARIANTS[-1])


def test_the_environment_names_what_there_is():
    failed = run("mmx")
    assert failed.returncode
    assert "MATKERN_LANES must be one of baseline" in failed.stderr
    assert "got 'mmx'" in failed.stderr
