"""Eigenvalues and singular values of large matrices: the reductions of src/tridiagonal.pxd and src/bidiagonal.pxd."""

import numpy as np
import pytest
import scipy.linalg
from samples import DTYPES, adjoint, normal

import matkern as mk


def powers(dtype):
    """Of two, whose squares over- and underflow in that precision."""
    return (-100, 100) if np.finfo(dtype).bits == 32 else (-800, 800)


def hermitian(kind, n, dtype):
    rng = np.random.default_rng(n)
    a = normal(rng, (n, n), dtype)
    if kind == "of rank 5":
        a = a[:, :5] @ adjoint(a[:, :5])
    elif kind == "of repeated eigenvalues":
        q = np.linalg.qr(a)[0]
        a = q * (np.arange(n) // 7) @ adjoint(q)
    elif kind == "diagonal":
        a = np.diag(np.arange(n) % 11)
    elif kind == "graded":
        a = a * np.logspace(0, -30, n) * np.logspace(0, -30, n)[:, None]
    elif kind == "small":
        a = a * 2.0 ** powers(dtype)[0]
    elif kind == "large":
        a = a * 2.0 ** powers(dtype)[1]
    elif kind == "zero":
        a = np.zeros((n, n))
    return (a + adjoint(a)).astype(dtype)


def with_imaginary_diagonal(a):
    """The same Hermitian matrix: that part of it is not read."""
    if not np.iscomplexobj(a):
        return a
    return a + 1j * np.diag(np.full(len(a), np.finfo(a.dtype).max))


def off(got, want, n):
    """The largest difference in units of sqrt(n) eps, with rounding's own errors of about one."""
    return np.abs(got - want).max() / (np.sqrt(n) * np.finfo(got.dtype).eps)


def same_norm(values, a):
    """Frobenius's norm is that of the values."""
    unit = np.abs(a).max() or 1
    want = np.linalg.norm(a / unit)
    return abs(np.linalg.norm(values / unit) - want) <= 10 * np.sqrt(len(a)) * np.finfo(a.dtype).eps * want


KINDS = ("random", "of rank 5", "of repeated eigenvalues", "diagonal", "graded", "small", "large", "zero")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "uplo"), [(400, "L"), (417, "U")])
def test_eigh(any_lanes, dtype, n, uplo):
    for kind in KINDS:
        a = hermitian(kind, n, dtype)
        half = with_imaginary_diagonal(np.tril(a) if uplo == "L" else np.triu(a))
        w, v = mk.eigh(half, UPLO=uplo)
        size = np.abs(w).max() or 1
        assert same_norm(w, a), kind
        assert (np.diff(w) >= 0).all(), kind
        assert off(adjoint(v) @ v, np.eye(n), n) < 10, kind
        assert off((a / size) @ v, v * (w / size), n) < 10, kind


@pytest.mark.parametrize("dtype", DTYPES)
def test_eigvalsh(any_lanes, dtype):
    a = hermitian("random", 1003, dtype)
    w = mk.eigvalsh(a)
    want = scipy.linalg.eigvalsh(a)
    size = np.abs(want).max()
    assert off(w / size, want / size, len(a)) < 10


def rectangular(kind, m, n, dtype):
    rng = np.random.default_rng(m + n)
    a = normal(rng, (m, n), dtype)
    if kind == "of rank 3":
        a = a[:, :3] @ normal(rng, (3, n), dtype)
    elif kind == "of repeated values":
        a = np.eye(m, n) * (np.arange(n) // 7)
    elif kind == "graded":
        a = a * np.logspace(0, -60, m)[:, None]
    elif kind == "small":
        a = a * 2.0 ** powers(dtype)[0]
    elif kind == "large":
        a = a * 2.0 ** powers(dtype)[1]
    elif kind == "zero":
        a = np.zeros((m, n))
    elif kind == "with a row of the smallest numbers":  # A times such a row has no digits left
        a[0] = np.arange(n) % 7 * np.finfo(dtype).smallest_subnormal
        a[:, 0] = 0
        a[0, 0] = 1
    elif kind == "small, with a row that is smaller":  # their product underflows
        a[1:, 0] = 0
        a[0, 1:] *= 2.0 ** (-70 if np.finfo(dtype).bits == 32 else -300)
        a = a * 2.0 ** (-33 if np.finfo(dtype).bits == 32 else -430)
    return a.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n"), [(200, 200), (217, 340), (340, 217), (200, 350)])
def test_svd(any_lanes, dtype, m, n):
    """The last shape is LAPACK's."""
    k = min(m, n)
    for kind in (
        "random", "of rank 3", "of repeated values", "graded", "small", "large", "zero",
        "with a row of the smallest numbers", "small, with a row that is smaller",
    ):  # fmt: skip
        a = rectangular(kind, m, n, dtype)
        u, s, vh = mk.svd(a, full_matrices=False)
        size = s.max() or 1
        assert same_norm(s, a), kind
        assert (np.diff(s) <= 0).all(), kind
        assert (s >= 0).all(), kind
        assert off(adjoint(u) @ u, np.eye(k), k) < 10, kind
        assert off(vh @ adjoint(vh), np.eye(k), k) < 10, kind
        assert off(u * (s / size) @ vh, a / size, k) < 10, kind
        values = mk.svdvals(a)
        assert off(s / size, values / size, k) < 10, kind


@pytest.mark.parametrize("function", [mk.eigh, mk.eigvalsh, mk.svd, mk.svdvals])
def test_the_number_of_threads_does_not_count(function):
    a = hermitian("random", 1003, "float64")
    options = {"full_matrices": False} if function is mk.svd else {}
    before, results = mk.get_num_threads(), []
    for threads in (1, 2, 5):
        mk.set_num_threads(threads)
        try:
            results.append(function(a, **options))
        finally:
            mk.set_num_threads(before)
    first, *others = [y if isinstance(y, tuple) else (y,) for y in results]
    values = next(x for x in first if x.ndim == 1)
    rounding = np.sqrt(len(a)) * np.finfo(float).eps * np.abs(values).max()
    gap = np.abs(np.diff(values)).min()
    for other in others:
        for x, y in zip(first, other, strict=True):
            # values move by rounding, unit vectors by that over the gap
            assert np.abs(x - y).max() <= 10 * rounding / (1 if x.ndim == 1 else gap)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite(bad):
    a = np.eye(420)
    a[300, 7] = bad
    assert np.isnan(mk.eigh(a).eigenvalues).all()
    assert np.isnan(mk.svd(a, full_matrices=False).U).all()
