"""Memory: any strides, byte order, alignment, overlap and emptiness; nothing passed in is written to."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import DTYPES, SAMPLES, draw_cotangents, draw_tangents, forward, general, positive, pullback

import matkern as mk


def strided(x, kind):
    """The same values, laid out otherwise."""
    if kind == "fortran":
        return np.asfortranarray(x)
    if kind == "big-endian":
        return x.astype(x.dtype.newbyteorder(">"))
    if kind == "unaligned":
        raw = np.empty(x.nbytes + 1, np.uint8)
        out = raw[1:].view(x.dtype).reshape(x.shape)
        out[...] = x
        return out
    if kind == "swapped matrices":
        return np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2) if x.ndim > 1 else x
    if kind == "swapped batch":
        return np.ascontiguousarray(np.moveaxis(x, 0, 1)).swapaxes(0, 1) if x.ndim > 3 else x
    if kind == "sliced":
        big = np.zeros([2 * n + 1 for n in x.shape], x.dtype)
        out = big[tuple(slice(1, None, 2) for _ in x.shape)]
        out[...] = x
        return out
    if kind == "negative":
        flip = tuple(slice(None, None, -1) for _ in x.shape)
        return np.ascontiguousarray(x[flip])[flip]
    if kind == "read-only":
        out = x.copy()
        out.flags.writeable = False
        return out
    raise ValueError(kind)


KINDS = ("fortran", "big-endian", "unaligned", "swapped matrices", "swapped batch", "sliced", "negative", "read-only")


def everything(sample, inputs, g, tangents):
    """All three maps, flat."""
    results = [*forward(sample, inputs).values(), *pullback(sample, inputs, g)]
    _, dots = mk.jvp(sample.name, inputs, tangents, **sample.options)
    return [x for x in (*results, *(dots if isinstance(dots, tuple) else (dots,))) if x is not None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_layout_does_not_matter(rng, sample, kind):
    """Results have the same bits, and are C-contiguous."""
    for dtype in ("float32", "complex128"):
        inputs = sample.draw(rng, (2, 3), 5, dtype)
        g = draw_cotangents(rng, sample, forward(sample, inputs))
        t = draw_tangents(rng, sample, inputs)
        want = everything(sample, inputs, g, t)
        got = everything(
            sample,
            [strided(x, kind) for x in inputs],
            {n: None if x is None else strided(x, kind) for n, x in g.items()},
            [None if x is None else strided(x, kind) for x in t],
        )
        for a, b in zip(got, want, strict=True):
            assert a.flags.c_contiguous and a.dtype.isnative
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_nothing_is_written_to(rng, sample):
    inputs = sample.draw(rng, (2,), 5, "complex64")
    g = draw_cotangents(rng, sample, forward(sample, inputs))
    t = draw_tangents(rng, sample, inputs)
    given_ = [x for x in (*inputs, *g.values(), *t) if x is not None]
    before = [x.copy() for x in given_]
    for x in given_:
        x.flags.writeable = False
    everything(sample, inputs, g, t)
    for x, y in zip(given_, before, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("batch", [(0,), (2, 0), ()])
@pytest.mark.parametrize("n", [0, 3])
@pytest.mark.parametrize("sample", [s for s in SAMPLES if not s.label], ids=str)
def test_empty(rng, sample, batch, n):
    for dtype in DTYPES:
        inputs = sample.draw(rng, batch, n, dtype)
        outputs = forward(sample, inputs)
        g = draw_cotangents(rng, sample, outputs)
        for x, bar in zip(inputs, pullback(sample, inputs, g), strict=True):
            assert bar is None or (bar.shape == x.shape and bar.dtype == x.dtype)
        mk.jvp(sample.name, inputs, draw_tangents(rng, sample, inputs), **sample.options)


@pytest.mark.parametrize("name", ["solve", "solve_triangular", "lu_solve"])
def test_no_right_hand_sides_give_a_zero_gradient_of_the_matrix(name):
    a = np.eye(3) * 2
    inputs = (*mk.lu_factor(a), np.ones((3, 0))) if name == "lu_solve" else (a, np.ones((3, 0)))
    x, pull = mk.vjp(name, *inputs)
    assert x.shape == (3, 0)
    bars = pull(np.ones((3, 0)))
    np.testing.assert_array_equal(bars[0], np.zeros((3, 3)))
    assert bars[-1].shape == (3, 0)


@st.composite
def broadcast_pair(draw):
    """Two batch shapes that broadcast, and axes to permute each by in memory."""
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    shapes = []
    for _ in range(2):
        keep = draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
        skip = draw(st.integers(0, len(shape)))
        shapes.append(tuple(n if k else 1 for n, k in zip(shape, keep, strict=True))[skip:])
    orders = [draw(st.permutations(range(len(s) + 2))) for s in shapes]
    return shapes, orders


@settings(deadline=None, max_examples=200)
@given(pair=broadcast_pair(), seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(DTYPES), n=st.integers(1, 5))
def test_any_broadcast_of_any_memory_order(pair, seed, dtype, n):
    """Against the same, laid out and broadcast by NumPy beforehand."""
    (first, second), orders = pair
    rng = np.random.default_rng(seed)
    a, b = general(rng, first, n, dtype), rng.standard_normal((*second, n, 2)).astype(dtype)
    batch = np.broadcast_shapes(first, second)
    want = mk.solve(np.broadcast_to(a, (*batch, n, n)).copy(), np.broadcast_to(b, (*batch, n, 2)).copy())
    a, b = (np.ascontiguousarray(x.transpose(o)).transpose(np.argsort(o)) for x, o in zip((a, b), orders, strict=True))
    np.testing.assert_array_equal(mk.solve(a, b), want)


class TestOut:
    def test_is_used_and_returned(self, rng):
        a = positive(rng, (3,), 4, "float64")
        out = np.full((3, 4, 4), np.nan)
        assert mk.cholesky(a, out=out) is out
        np.testing.assert_array_equal(out, mk.cholesky(a))

    def test_may_be_the_input_or_overlap_it(self, rng):
        a = positive(rng, (4,), 3, "float64")
        want = mk.cholesky(a)
        same = a.copy()
        mk.cholesky(same, out=same)
        np.testing.assert_array_equal(same, want)
        room = np.concatenate((a, np.zeros((1, 3, 3))))
        mk.cholesky(room[:-1], out=room[1:])
        np.testing.assert_array_equal(room[1:], want)

    @pytest.mark.parametrize("kind", ["fortran", "big-endian", "unaligned", "sliced", "negative", "swapped matrices"])
    def test_may_have_any_layout(self, rng, kind):
        a = positive(rng, (2, 3), 4, "float32")
        out = strided(np.zeros_like(a), kind)
        mk.cholesky(a, out=out)
        np.testing.assert_array_equal(out, mk.cholesky(a))

    def test_may_be_wider(self, rng):
        a = positive(rng, (), 4, "float32")
        out = np.zeros((4, 4), np.complex128)
        mk.cholesky(a, out=out)
        np.testing.assert_array_equal(out, mk.cholesky(a))

    def test_several(self, rng):
        a = positive(rng, (2,), 4, "float64")
        out = np.zeros((2, 4)), np.zeros((2, 4, 4))
        w, v = mk.eigh(a, out=out)
        assert w is out[0] and v is out[1]
        np.testing.assert_array_equal(v, mk.eigh(a).eigenvectors)

    def test_none_is_a_new_array(self, rng):
        a = positive(rng, (2,), 4, "float64")
        v = np.zeros((2, 4, 4))
        results = mk.eigh(a, out=(None, v))
        assert results.eigenvectors is v
        np.testing.assert_array_equal(results.eigenvalues, mk.eigh(a).eigenvalues)

    def test_may_not_overlap_each_other(self, rng):
        o = np.zeros((4, 4))
        with pytest.raises(ValueError, match="arrays of out overlap"):
            mk.lu(np.eye(4), out=(np.zeros((4, 4)), o, o))

    @pytest.mark.parametrize(
        ("out", "error", "message"),
        [
            (np.zeros((2, 3, 4)), ValueError, r"out has shape \(2, 3, 4\), the result \(2, 4, 4\)"),
            (np.zeros((2, 4, 4), int), TypeError, "cannot be cast to out's int64"),
            (np.broadcast_to(0.0, (2, 4, 4)), ValueError, "out is read-only"),
            ([[0.0]], TypeError, "out must be an array, got list"),
            ((np.zeros((2, 4, 4)),) * 2, ValueError, "out must hold 1 arrays, got 2"),
        ],
    )
    def test_unfit(self, rng, out, error, message):
        with pytest.raises(error, match=message):
            mk.cholesky(positive(rng, (2,), 4, "float64"), out=out)
