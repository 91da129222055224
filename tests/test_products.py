"""Products of one matrix in each variant of the instruction set, of small integers: nothing rounds, so they agree."""

import itertools

import numpy as np
import pytest
from samples import DTYPES, adjoint

import matkern as mk

SIZES = (1, 3, 4, 7, 8, 9, 15, 16, 17, 24, 25, 31, 33, 48, 50, 65)  # around registers, and the tiles made of them
BEYOND = 1000  # rows or columns: with some hundreds of the others, more than a variant takes on
BATCH = 2  # too few for lanes


pytestmark = pytest.mark.usefixtures("any_lanes")


def integers(rng, shape, dtype):
    x = rng.integers(-4, 5, shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.integers(-4, 5, shape)
    return x.astype(dtype)


def exact(a, b):
    """In double precision, which holds these numbers and their sums."""
    a_wide, b_wide = (x.astype(np.result_type(x, np.float64)) for x in (a, b))
    return (a_wide @ b_wide).astype(a.dtype)


def shapes(rng, count):
    every = list(itertools.product(SIZES, repeat=3))
    return [every[i] for i in rng.choice(len(every), count, replace=False)] + [
        (9, BEYOND, 250),
        (250, 40, BEYOND),
        (BEYOND, 250, 9),
        (701, 333, 402),  # blocks in each direction
        (32, 32, 2882),  # blocks of columns of which the last one would be less than a vector, in one dtype or another
        (40, 64, 5763),
        (33, 32, 11523),
        *itertools.permutations((33, 64, 80)),  # more rows than a cache holds of a column
        *itertools.permutations((33, 128, 80)),
    ]


@pytest.mark.parametrize("dtype", DTYPES)
class TestProduct:
    def test_and_with_adjoints(self, rng, dtype):
        """A B, G B^H and A^H G, into memory whose neighbours stay as they are."""
        for m, k, n in shapes(rng, 200):
            a, b, g = (integers(rng, (BATCH, *s), dtype) for s in ((m, k), (k, n), (m, n)))
            a_bar, b_bar = mk.matmul_vjp(a, b, g)
            np.testing.assert_array_equal(a_bar, exact(g, adjoint(b)))
            np.testing.assert_array_equal(b_bar, exact(adjoint(a), g))
            memory = np.full((BATCH + 2, m, n), np.nan, dtype)
            mk.matmul(a, b, out=memory[1:-1])
            np.testing.assert_array_equal(memory[1:-1], exact(a, b))
            assert np.isnan(memory[[0, -1]]).all()

    @pytest.mark.parametrize("lower", [True, False])
    @pytest.mark.parametrize("unit_diagonal", [True, False])
    def test_of_which_a_triangle_is_kept(self, rng, dtype, lower, unit_diagonal):
        """-X_bar X^H in a triangle, with or without its diagonal, is the cotangent of the identity in a system."""
        keep = np.tril if lower else np.triu
        beside = -1 if unit_diagonal else 0
        for n in (*SIZES, 129, BEYOND):
            for k in (2, 5, 250 if n == BEYOND else 40):
                x, x_bar = (integers(rng, (BATCH, n, k), dtype) for _ in "ab")
                eye = np.eye(n, dtype=dtype)
                a_bar, _ = mk.solve_triangular_vjp(eye, x, x_bar, lower=lower, unit_diagonal=unit_diagonal)
                want = keep(-exact(x_bar, adjoint(x)), beside if lower else -beside)
                np.testing.assert_array_equal(a_bar, want)

    def test_with_scaled_columns(self, rng, dtype):
        """U diag(S_bar) V^H is the cotangent of a matrix whose singular values alone are wanted."""
        for m, n in ((3, 7), (20, 20), (31, 33), (65, 70), (80, 128), (140, 150), (150, 140)):
            k = min(m, n)
            u, vh = integers(rng, (BATCH, m, k), dtype), integers(rng, (BATCH, k, n), dtype)
            s_bar = rng.integers(-4, 5, (BATCH, k)).astype(u.real.dtype)
            got = mk.svdvals_vjp(u, np.ones_like(s_bar), vh, s_bar)
            np.testing.assert_array_equal(got, exact(u * s_bar[:, None], vh))

    def test_mirrored(self, rng, dtype):
        """V diag(w_bar) V^H, of the eigenvalues alone, is Hermitian to the bit."""
        for n in (*SIZES, 128, 129, 180, 370):
            v = integers(rng, (BATCH, n, n), dtype)
            w_bar = rng.integers(-4, 5, (BATCH, n)).astype(v.real.dtype)
            got = mk.eigvalsh_vjp(np.arange(n).astype(w_bar.dtype), v, w_bar)
            np.testing.assert_array_equal(got, exact(v * w_bar[:, None], adjoint(v)))

    def test_quotients_by_gaps_of_eigenvalues(self, rng, dtype):
        """With a permutation for eigenvectors every entry of the cotangent is one quotient."""
        for n in (*SIZES, 40):
            v = np.eye(n, dtype=dtype)[:: rng.choice([1, -1])]
            w = 2.0 ** np.arange(n) / 2 ** (n // 2) if n < 20 else np.arange(n)
            w, m = w.astype(v.real.dtype), integers(rng, (n, n), dtype)
            got = v.T @ mk.eigh_vjp(w, v, None, v @ m, gauge="ignore") @ v
            upper = np.triu(m - adjoint(m), 1) / 2 / (w - w[:, None] + np.eye(n))
            rtol = 4 * np.finfo(dtype).eps  # three roundings
            np.testing.assert_allclose(got, (upper + adjoint(upper)).astype(dtype), rtol)

    def test_gaps_beyond_the_largest_number(self, rng, dtype):
        """Of single precision: double's are wider, and the quotients are not zero."""
        info = np.finfo(dtype)
        span = 1.6 if info.dtype == np.float32 else 0.8  # of the largest number
        for n in (9, 33):
            w = (np.linspace(-span / 2, span / 2, n) * info.max).astype(info.dtype)
            m = np.zeros((n, n), dtype)
            m[1:, 0] = info.max / 16
            got = mk.eigh_vjp(w, np.eye(n, dtype=dtype), None, m, gauge="ignore")
            gaps = np.linspace(0, span, n)[1:]
            np.testing.assert_allclose(got[1:, 0].real, -1 / 32 / gaps, 8 * n * info.eps)

    def test_sums_of_squares(self, rng, dtype):
        for m, n in ((1, 1), (3, 5), (4, 4), (5, 7), (20, 33), (65, 70)):
            a = integers(rng, (BATCH, m, n), dtype)
            squares = (a.real.astype(float) ** 2 + a.imag.astype(float) ** 2).sum((-2, -1))
            np.testing.assert_array_equal(mk.norm(a, axis=(-2, -1)), np.sqrt(squares).astype(a.real.dtype))

    def test_added_to_what_is_there(self, rng, dtype):
        """B2 - M B1, the second half of a system whose matrix is the identity with M below it."""
        for half, k in itertools.product((17, 24, 33, 50, 70), (1, 4, 8, 9, 17, 25, 40, 65)):
            a = np.eye(2 * half, dtype=dtype)
            a[half:, :half] = m = integers(rng, (half, half), dtype)
            b = integers(rng, (BATCH, 2 * half, k), dtype)
            x = mk.solve_triangular(a, b, lower=True)
            np.testing.assert_array_equal(x[:, :half], b[:, :half])
            np.testing.assert_array_equal(x[:, half:], b[:, half:] - exact(m, b[:, :half]))

    def test_added_within_wider_rows(self, rng, dtype):
        """B2 - B1 M, with M above the identity, whose rows push each other out of the cache: the tangent of Q = I."""
        for half in (40, 80, 128):
            r, q = np.eye(2 * half, dtype=dtype), np.eye(2 * half, dtype=dtype)
            r[:half, half:] = m = integers(rng, (half, half), dtype)
            b = integers(rng, (BATCH, 2 * half, 2 * half), dtype)
            c = b.copy()
            c[:, :, half:] -= exact(b[:, :, :half], m)
            low = np.tril(c, -1)
            q_dot, _ = mk.qr_jvp(q, r, b)
            np.testing.assert_array_equal(q_dot, low - adjoint(low) + 1j * c.imag * np.eye(2 * half))

    def test_system_of_powers_of_two(self, rng, dtype):
        """Substitution by sums of a few integers is exact, for each op."""
        for n, k in itertools.product((1, 2, 5, 16, 31, 32), (1, 2, 7, 8, 9, 16, 33, 130)):
            strict = np.tril(integers(rng, (n, n), dtype), -1) * (rng.random((n, n)) < 2 / n)
            a = (strict + np.diag(rng.choice([0.5, 1, 2, 4], n))).astype(dtype)
            x = integers(rng, (BATCH, n, k), dtype)
            for lower, trans in itertools.product((True, False), "NTC"):
                t = a if lower else a.T.copy()
                op = {"N": t, "T": t.T, "C": t.conj().T}[trans]
                got = mk.solve_triangular(t, exact(np.broadcast_to(op, (BATCH, n, n)), x), lower=lower, trans=trans)
                np.testing.assert_array_equal(got, x)

    def test_nan_stays_in_its_row_and_column(self, rng, dtype):
        for n in (20, 40):
            a, b = (integers(rng, (n, n), dtype) for _ in "ab")
            a[3, 5] = np.nan
            b[7, n - 1] = np.nan
            touched = np.zeros((n, n), bool)
            touched[3] = touched[:, n - 1] = True
            np.testing.assert_array_equal(np.isnan(mk.matmul(a, b)), touched)
