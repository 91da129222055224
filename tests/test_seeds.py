"""What was asked for, row by row: five documents describe the system, A to E, and each test is named after its row.

A: reverse rules of numpy.linalg in HIPS autograd. B: gradients of TensorFlow's linear algebra. C: gradient of the
matrix exponential. D: Jacobians with data and differentiation axes. E: backward of the packed LU. The rows' details are
tested elsewhere, too; here is what tells each row from its original.
"""

import numpy as np
import pytest
import scipy.linalg
from samples import adjoint, assert_near, general, hermitian, inner, normal, positive, tall, wide

import matkern as mk

DTYPES = ("float64", "complex128")


def difference(f, xs, ts, h=1e-5):
    """The derivative of f along ts, to about 1e-9."""
    y = [np.asarray(f(*[x + s * h * t for x, t in zip(xs, ts, strict=True)])) for s in (-2, -1, 1, 2)]
    return (y[0] - 8 * y[1] + 8 * y[2] - y[3]) / (12 * h)


def check(rng, name, inputs, f=None, **options):
    """The pullback of an operation, or of a function of its outputs, against differences along a random direction."""
    f = f or (lambda y: (y,))
    outputs, pull = mk.vjp(name, *inputs, **options)
    ys = f(outputs)
    gs = [None if y is None else normal(rng, np.shape(y), np.asarray(y).dtype) for y in ys]
    ts = [normal(rng, np.shape(x), x.dtype) for x in inputs]
    bars = pull(gs[0] if len(gs) == 1 else tuple(gs))
    function = mk.OPS[name].function
    want = sum(
        np.vdot(g, difference(lambda *xs, i=i: f(function(*xs, **options))[i], inputs, ts)).real
        for i, g in enumerate(gs)
        if g is not None
    )
    np.testing.assert_allclose(inner(bars, ts), want, rtol=1e-6, atol=1e-7)
    return bars


@pytest.mark.parametrize("dtype", DTYPES)
class TestA:
    def test_A1_det(self, rng, dtype):
        check(rng, "det", [general(rng, (3,), 4, dtype)])
        u = np.linalg.qr(normal(rng, (4, 4), dtype))[0]
        a = (u * [3, 2, 1, 0]) @ adjoint(u)  # singular: the adjugate is 6 u v^H, and the original's gradient inf
        (bar,) = mk.vjp("det", a)[1](np.ones((), dtype))
        assert_near(bar, 6 * u[:, 3:] @ adjoint(u[:, 3:]))

    def test_A2_slogdet(self, rng, dtype):
        a = general(rng, (3,), 4, dtype)
        if dtype == "float64":  # the sign's cotangent is ignored
            _, pull = mk.vjp("slogdet", a)
            np.testing.assert_array_equal(pull((np.ones(3), np.ones(3)))[0], pull((None, np.ones(3)))[0])
            check(rng, "slogdet", [a], lambda y: (None, y[1]))
        else:
            check(rng, "slogdet", [a], tuple)

    def test_A3_inv(self, rng, dtype):
        a = general(rng, (3,), 4, dtype)
        check(rng, "inv", [a])
        x, g = mk.inv(a), normal(rng, a.shape, dtype)
        np.testing.assert_array_equal(mk.inv_vjp(x, g), mk.vjp("inv", a)[1](g)[0])  # from the output alone

    @pytest.mark.parametrize("matrix", [general, tall, wide])
    def test_A4_pinv(self, rng, dtype, matrix):
        check(rng, "pinv", [matrix(rng, (3,), 4, dtype)])
        a = normal(rng, (6, 2), dtype) @ normal(rng, (2, 4), dtype)
        t = normal(rng, (6, 6), dtype) @ a + a @ normal(rng, (4, 4), dtype)  # along these the rank stays 2
        _, dot = mk.jvp("pinv", (a,), (t,))
        want = difference(lambda x: np.linalg.pinv(x, rcond=1e-6), [a], [t])
        np.testing.assert_allclose(dot, want, atol=1e-6 * np.abs(want).max())
        g = normal(rng, dot.shape, dtype)
        np.testing.assert_allclose(inner(mk.vjp("pinv", a)[1](g), [t]), inner([g], [dot]), rtol=1e-9)

    def test_A5_solve(self, rng, dtype):
        a = general(rng, (2, 1), 4, dtype)
        check(rng, "solve", [a, normal(rng, (3, 4, 2), dtype)])  # what is broadcast gets the sum
        check(rng, "solve", [a, normal(rng, (4,), dtype)])

    @pytest.mark.parametrize("order", [None, 2, 3, 1, np.inf, -np.inf, 0.5])
    @pytest.mark.parametrize("axis", [0, -1])
    @pytest.mark.parametrize("keepdims", [False, True])
    def test_A6_norm_of_vectors(self, rng, dtype, order, axis, keepdims):
        x = normal(rng, (3, 4), dtype)
        x *= 1 + 0.5 / np.abs(x)
        check(rng, "norm", [x], ord=order, axis=axis, keepdims=keepdims)
        zero = np.zeros((3, 4), dtype)
        np.testing.assert_array_equal(mk.norm_vjp(zero, mk.norm(zero, order, axis), order, axis), 0)
        np.testing.assert_array_equal(mk.norm_jvp(x, zero, order, axis), 0)

    @pytest.mark.parametrize("order", [None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf])
    @pytest.mark.parametrize("axis", [(0, 2), (2, 0), (-2, -1)])
    def test_A6_norm_of_matrices(self, rng, dtype, order, axis):
        check(rng, "norm", [normal(rng, (3, 2, 4), dtype)], ord=order, axis=axis)

    @pytest.mark.parametrize("UPLO", ["L", "U"])
    def test_A7_eigh(self, rng, dtype, UPLO):
        """Through w and V exp(-w) V^H, whose phases do not matter; gradients lie in the triangle that is read."""
        a, m = hermitian(rng, (), 4, dtype), normal(rng, (4, 4), dtype)

        def function(x):
            w, v = mk.eigh(x, UPLO=UPLO)
            return np.vdot(m, (v * np.exp(-w)) @ adjoint(v)).real + (w**3).sum()

        (w, v), pull = mk.vjp("eigh", a, UPLO=UPLO, triangle=UPLO)
        w_bar = 3 * w**2 - np.exp(-w) * np.einsum("ji,jk,ki->i", v.conj(), (m + adjoint(m)) / 2, v).real
        (bar,) = pull((w_bar, (m + adjoint(m)) @ v * np.exp(-w)))
        assert (np.triu(bar, 1) == 0).all() if UPLO == "L" else (np.tril(bar, -1) == 0).all()
        t = normal(rng, (4, 4), dtype)
        np.testing.assert_allclose(inner([bar], [t]), difference(function, [a], [t]), rtol=1e-6)
        for repeated in (np.eye(3, dtype=dtype), np.zeros((3, 3), dtype)):
            assert_near(mk.vjp("eigh", repeated)[1]((np.ones(3), None))[0], np.eye(3, dtype=dtype))

    def test_A8_eig(self, rng, dtype):
        """Through w and |V|, which tells how vectors are normalised and not their phases."""
        a = general(rng, (), 4, dtype)
        a[0, 1], a[1, 0] = 2, -2  # a pair of complex eigenvalues of the real matrix
        m, k = normal(rng, (4,), "complex128"), rng.standard_normal((4, 4))
        (w, v), pull = mk.vjp("eig", a)
        assert w.dtype == v.dtype == np.complex128
        assert_near(np.linalg.norm(v, axis=0), np.ones(4))
        (bar,) = pull((m, k * v / np.abs(v)))
        assert bar.dtype == a.dtype

        def function(x):
            w2, v2 = mk.eig(x)
            order = np.abs(w[:, None] - w2).argmin(1)
            return np.vdot(m, w2[order]).real + (k * np.abs(v2[:, order])).sum()

        t = normal(rng, (4, 4), dtype)
        np.testing.assert_allclose(inner([bar], [t]), difference(function, [a], [t]), rtol=1e-6)

    def test_A9_cholesky(self, rng, dtype):
        a = positive(rng, (3,), 4, dtype)
        L, pull = mk.vjp("cholesky", a)
        g = normal(rng, L.shape, dtype)
        (bar,) = pull(g)
        np.testing.assert_array_equal(bar, adjoint(bar))
        t = normal(rng, a.shape, dtype)
        t = t + adjoint(t)
        np.testing.assert_allclose(inner([bar], [t]), inner([g], [difference(mk.cholesky, [a], [t])]), rtol=1e-6)

    @pytest.mark.parametrize("matrix", [general, tall, wide])
    def test_A10_svd(self, rng, dtype, matrix):
        """Values alone, and through U sqrt(S) Vh, whose phases do not matter: the complex diagonal term is in it."""
        a = matrix(rng, (), 4, dtype)
        check(rng, "svdvals", [a])
        m = normal(rng, a.shape, dtype)
        (u, s, vh), pull = mk.vjp("svd", a)
        root = np.sqrt(s)
        s_bar = np.einsum("ij,ik,kj->k", m.conj(), u, vh).real / (2 * root)
        (bar,) = pull((m @ adjoint(vh) * root, s_bar, root[:, None] * (adjoint(u) @ m)))

        def function(x):
            u, s, vh = mk.svd(x)
            return np.vdot(m, (u * np.sqrt(s)) @ vh).real

        t = normal(rng, a.shape, dtype)
        np.testing.assert_allclose(inner([bar], [t]), difference(function, [a], [t]), rtol=1e-6)


def tensorflow_gradient(f, *xs):
    tf = pytest.importorskip("tensorflow", reason="the values to compare with are TensorFlow's")
    xs = [tf.constant(x) for x in xs]
    with tf.GradientTape() as tape:
        tape.watch(xs)
        y = f(tf, *xs)
        # every output counts, in a real loss
        ys = y if isinstance(y, tuple | list) else [y]
        value = tf.add_n(
            [tf.cast(tf.reduce_sum(tf.math.real(z * (1 + 0.3 * tf.math.conj(z)))), tf.float64) for z in ys]
        )
    return [np.asarray(y) for y in ys], [np.asarray(g) for g in tape.gradient(value, xs)]


def same_in_tensorflow(ours, theirs, *xs):
    """Values and gradients are those of TensorFlow's own operation."""
    mtf = pytest.importorskip("matkern.tensorflow", reason="the values to compare with are TensorFlow's")
    for got, want in zip(
        tensorflow_gradient(lambda tf, *xs: ours(mtf, *xs), *xs), tensorflow_gradient(theirs, *xs), strict=True
    ):
        for a, b in zip(got, want, strict=True):
            assert_near(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
class TestB:
    @pytest.mark.parametrize("adjoint", [False, True])
    def test_B1_matrix_inverse(self, rng, dtype, adjoint):
        a = general(rng, (2,), 4, dtype)
        same_in_tensorflow(lambda mtf, x: mtf.inv(x, adjoint=adjoint), lambda tf, x: tf.linalg.inv(x, adjoint), a)

    def test_B1_matrix_determinant(self, rng, dtype):
        a = general(rng, (2,), 4, dtype) / 2
        if dtype == "float64":  # of complex matrices TensorFlow's gradient lacks the conjugate of det(a)
            same_in_tensorflow(lambda mtf, x: mtf.det(x), lambda tf, x: tf.linalg.det(x), a)
        check(rng, "det", [a])

    def test_B2_cholesky(self, rng, dtype):
        a = positive(rng, (2,), 4, dtype)
        same_in_tensorflow(lambda mtf, x: mtf.cholesky(x), lambda tf, x: tf.linalg.cholesky(x), a)

    @pytest.mark.parametrize("adjoint", [False, True])
    def test_B3_matrix_solve(self, rng, dtype, adjoint):
        a, b = general(rng, (2,), 4, dtype), normal(rng, (2, 4, 3), dtype)
        same_in_tensorflow(
            lambda mtf, x, y: mtf.solve(x, y, adjoint=adjoint), lambda tf, x, y: tf.linalg.solve(x, y, adjoint), a, b
        )

    @pytest.mark.parametrize("matrix", [tall, wide])
    def test_B4_matrix_solve_ls(self, rng, dtype, matrix):
        a = matrix(rng, (2,), 4, dtype)
        b = normal(rng, (*a.shape[:-1], 3), dtype)
        for regularizer in (
            (0.0, 0.3) if dtype == "float64" else (0.0,)
        ):  # TensorFlow has no regularizer for complex ones
            same_in_tensorflow(
                lambda mtf, x, y, r=regularizer: mtf.lstsq(x, y, l2_regularizer=r),
                lambda tf, x, y, r=regularizer: tf.linalg.lstsq(x, y, l2_regularizer=r),
                a,
                b,
            )
        check(rng, "lstsq", [a, b])  # where the original refuses: no regularizer, and not the fast way
        check(rng, "lstsq", [a, b, np.array([0.1, 0.5])])  # the regularizer has a derivative
        low = normal(rng, (6, 2), dtype) @ normal(rng, (2, 4), dtype)
        t, y = normal(rng, (6, 6), dtype) @ low, normal(rng, (6, 1), dtype)  # along t the rank stays 2
        _, dot = mk.jvp("lstsq", (low, y), (t, None))
        want = difference(lambda x: np.linalg.pinv(x, rcond=1e-6) @ y, [low], [t])
        np.testing.assert_allclose(dot, want, atol=1e-6 * np.abs(want).max())

    @pytest.mark.parametrize("lower", [False, True])
    @pytest.mark.parametrize("adjoint", [False, True])
    def test_B5_matrix_triangular_solve(self, rng, dtype, lower, adjoint):
        a, b = general(rng, (2,), 4, dtype), normal(rng, (2, 4, 3), dtype)
        same_in_tensorflow(
            lambda mtf, x, y: mtf.solve_triangular(x, y, lower=lower, adjoint=adjoint),
            lambda tf, x, y: tf.linalg.triangular_solve(x, y, lower=lower, adjoint=adjoint),
            a,
            b,
        )

    def test_B6_self_adjoint_eig(self, rng, dtype):
        a = hermitian(rng, (2,), 4, dtype)
        same_in_tensorflow(lambda mtf, x: mtf.eigvalsh(x), lambda tf, x: tf.linalg.eigvalsh(x), a)
        same_in_tensorflow(
            lambda mtf, x: through_projectors(*mtf.eigh(x)), lambda tf, x: through_projectors(*tf.linalg.eigh(x)), a
        )


def through_projectors(w, v):
    """Functions of eigenvalues and eigenvectors that no phase changes."""
    tf = pytest.importorskip("tensorflow", reason="the values to compare with are TensorFlow's")
    w = tf.cast(w, v.dtype)
    return w, tf.matmul(v * tf.exp(-w)[..., None, :], v, adjoint_b=True)


class TestC:
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_C1_pullback_by_the_frechet_derivative(self, rng, dtype):
        """L(A^H, g), here from the exponential of the block matrix that matkern does without."""
        a, g = normal(rng, (3, 4, 4), dtype), normal(rng, (3, 4, 4), dtype)
        (bar,) = mk.vjp("expm", a)[1](g)
        for x, y, z in zip(a, g, bar, strict=True):
            block = np.block([[adjoint(x), y], [np.zeros_like(x), adjoint(x)]])
            assert_near(z, scipy.linalg.expm(block)[:4, 4:], multiple=1e3)

    def test_C2_jacobian_by_the_frechet_derivative(self, rng):
        """Column by column of the canonical basis in column-major order; `mk.jacobian` has the same in its own axes."""
        a = rng.standard_normal((3, 3))
        j = mk.expm_jacobian(a)
        for k in range(9):
            e = np.zeros(9)
            e[k] = 1
            want = scipy.linalg.expm_frechet(a, e.reshape(3, 3, order="F"), compute_expm=False)
            assert_near(j[:, k], want.ravel(order="F"), multiple=1e3)
        assert_near(j, mk.jacobian("expm", a).transpose(1, 0, 3, 2).reshape(9, 9), multiple=1e3)

    def test_C3_jacobian_by_najfeld_and_havel(self, rng):
        for a in (rng.standard_normal((3, 3)), np.zeros((3, 3)), np.eye(3, k=1)):
            assert_near(mk.expm_jacobian(a, method="najfeld-havel"), mk.expm_jacobian(a), multiple=1e3)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_C4_symmetric_by_eigh(self, rng, dtype):
        """Repeated eigenvalues included."""
        q = np.linalg.qr(normal(rng, (4, 4), dtype))[0]
        a = (q * [1, 1, 1, -2]) @ adjoint(q)
        a = (a + adjoint(a)) / 2
        g = normal(rng, (4, 4), dtype)
        (general_bar,) = mk.vjp("expm", a)[1](g)
        (bar,) = mk.vjp("expm", a, assume_a="her")[1](g)
        assert_near(bar, (general_bar + adjoint(general_bar)) / 2, multiple=1e3)


class TestD:
    def test_D1_data_ndim(self, rng):
        """The first axes are data: data axes + output axes + input axes."""
        a, b = general(rng, (5, 2), 3, "float64"), normal(rng, (5, 2, 3, 1), "float64")
        assert mk.jacobian("solve", a, b).shape == (5, 2, 3, 1, 3, 3)
        assert mk.jacobian("solve", a, b, data_ndim=1).shape == (5, 2, 3, 1, 2, 3, 3)
        assert mk.jacobian("solve", a, b, data_ndim=0).shape == (5, 2, 3, 1, 5, 2, 3, 3)

    @pytest.mark.parametrize("ufunc", [np.exp, np.log, np.sin, np.tanh])
    def test_D2_element_wise(self, rng, ufunc):
        """A diagonal in the full shape, data axes apart."""
        x = rng.uniform(0.5, 2, (4, 3, 2))
        slope = difference(ufunc, [x], [np.ones_like(x)])
        j = mk.jacobian(ufunc, x, data_ndim=1)
        assert j.shape == (4, 3, 2, 3, 2)
        want = np.einsum("dij,ik,jl->dijkl", slope, np.eye(3), np.eye(2))
        np.testing.assert_allclose(j, want, atol=1e-8)

    def test_D3_matmul(self, rng):
        """y.diffs[u][d, m1, p1, m2, n2] = delta(m1, m2) v[d, n2, p1], and its vector forms."""
        u, v = rng.standard_normal((5, 4, 3)), rng.standard_normal((5, 3, 2))
        j = mk.jacobian("matmul", u, v, data_ndim=1)
        assert j.shape == (5, 4, 2, 4, 3)
        np.testing.assert_array_equal(j, np.einsum("mM,dnp->dmpMn", np.eye(4), v))
        assert mk.jacobian("matmul", u[0], v[0, :, 0]).shape == (4, 4, 3)
        assert mk.jacobian("matmul", u[0, 0], v[0]).shape == (2, 3)
        np.testing.assert_array_equal(mk.jacobian("matmul", u[0, 0], v[0, :, 0]), v[0, :, 0])
        np.testing.assert_array_equal(mk.jacobian("matmul", u[0, 0], v[0, :, 0], argnum=1), u[0, 0])

    def test_D4_whole_jacobian(self, rng):
        u, v = rng.standard_normal((4, 3, 2)), rng.standard_normal((4, 2, 3))
        j = mk.jacobian("matmul", u, v, data_ndim=0)
        assert j.shape == (4, 3, 3, 4, 3, 2)
        np.testing.assert_array_equal(j, np.einsum("ab,mM,anp->ampbMn", np.eye(4), np.eye(3), v))

    def test_D5_the_cheaper_way(self, rng, monkeypatch):
        """One pass of stacked tangents or cotangents, whichever are fewer."""
        calls = []
        for way in ("run_pullback", "run_pushforward"):
            original = getattr(mk.op.Op, way)
            monkeypatch.setattr(mk.op.Op, way, lambda *a, original=original, way=way: calls.append(way) or original(*a))
        a = general(rng, (), 4, "float64")
        mk.jacobian("det", a)  # one output for 16 inputs
        mk.jacobian("solve", a, np.ones((4, 1)), argnum=1)  # 4 for 4
        mk.jacobian("matmul", np.ones((2, 1)), np.ones((1, 9)))  # 18 for 2
        assert calls == ["run_pullback", "run_pushforward", "run_pushforward"]


@pytest.mark.parametrize("dtype", DTYPES)
class TestE:
    def test_E1_packed_lu(self, rng, dtype):
        """A_bar = P L^-H (tril(L^H G, -1) + triu(G U^H)) U^-H; the pivots have no derivative."""
        a, g = general(rng, (), 4, dtype)[::-1], normal(rng, (4, 4), dtype)
        p, l, u = scipy.linalg.lu(a)
        middle = np.tril(adjoint(l) @ g, -1) + np.triu(g @ adjoint(u))
        want = p @ np.linalg.solve(adjoint(l), middle) @ np.linalg.inv(adjoint(u))
        _, pull = mk.vjp("lu_factor", a)
        assert_near(pull((g, None))[0], want)
        with pytest.raises(ValueError, match="piv has no derivative"):
            pull((g, np.ones(4)))

    def test_E2_forward_mode(self, rng, dtype):
        a, t = general(rng, (), 4, dtype)[::-1], normal(rng, (4, 4), dtype)
        _, (lu_dot, _) = mk.jvp("lu_factor", (a,), (t,))
        np.testing.assert_allclose(lu_dot, difference(lambda x: mk.lu_factor(x)[0], [a], [t]), atol=1e-8)

    @pytest.mark.parametrize("matrix", [tall, wide])
    def test_E3_beyond(self, rng, dtype, matrix):
        check(rng, "lu_factor", [matrix(rng, (2,), 3, dtype)], lambda y: (y[0], None))
        check(rng, "lu", [matrix(rng, (2,), 3, dtype)], lambda y: (None, y[1], y[2]))
        with pytest.raises(np.linalg.LinAlgError, match="has a zero pivot"):
            mk.vjp("lu_factor", np.zeros((2, 2), dtype))[1]((np.ones((2, 2)), None))
