"""The shim for HIPS autograd: values of first and second derivatives, both modes, and `install`."""

from types import SimpleNamespace

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from autograd.builtins import tuple as boxed_tuple
from autograd.extend import vspace
from autograd.numpy.linalg import cholesky as imported_before
from autograd.test_util import check_grads
from samples import SAMPLES, adjoint, assert_near, general, hermitian, normal, positive
from transforms import check_options_by_position, kernel_calls, table

import matkern as mk
import matkern.autograd as mag

FIRST = [s for s in SAMPLES if s.name != "lu_solve"]


def loss(sample, weights):
    """A real function of the inputs, free of the phases of eigenvectors, nonlinear in every output."""

    def function(*inputs):
        if sample.name in ("cholesky", "eigh", "eigvalsh") or sample.options.get("assume_a") in ("pos", "her"):
            first = (inputs[0] + anp.conj(anp.swapaxes(inputs[0], -1, -2))) / 2
            inputs = (first, *inputs[1:])
        options = {k: v for k, v in sample.options.items() if k != "triangle"}
        results = getattr(mag, sample.name)(*inputs, **options)
        if sample.name == "eigh":
            w, v = results
            results = (w, anp.matmul(v * anp.exp(-w)[..., None, :], anp.conj(anp.swapaxes(v, -1, -2))))
        elif sample.name == "eig":
            results = (results[0], anp.abs(results[1]) ** 2)
        elif sample.name == "svd":
            u, s, vh = results
            results = (u * vh[..., None, :, 0], s, vh * u[..., 0, :, None])
        elif sample.options.get("mode") == "complete":  # free of the basis that the trailing columns are
            (q, r), n = results, inputs[0].shape[-1]
            free = q[..., n:]
            projector = anp.matmul(free, anp.conj(anp.swapaxes(free, -1, -2)))
            results = (anp.concatenate([q[..., :n], projector[..., : free.shape[-1]]], -1), r)
        elif sample.op.result:
            named = enumerate(sample.op.outputs)
            results = [results[i] for i, name in named if name in sample.op.differentiable_outputs]
        else:
            results = (results,)
        return sum(
            anp.sum(anp.real(anp.conj(w) * y)) + 0.3 * anp.sum(anp.abs(y) ** 2)
            for w, y in zip(weights, results, strict=True)
        )

    return function


def weights_of(rng, sample, dtype, batch, n):
    inputs = sample.draw(rng, batch, n, dtype)
    outputs = mk.vjp(sample.name, *inputs, **sample.options)[0]
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return inputs, [
        normal(rng, y.shape, y.dtype)
        for name, y in zip(sample.op.outputs, outputs, strict=True)
        if name in sample.op.differentiable_outputs
    ]


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("mode", ["rev", "fwd"])
@pytest.mark.parametrize("sample", FIRST, ids=str)
def test_first_and_second_derivatives_against_differences(rng, sample, mode, dtype):
    if sample.options.get("triangle") is not None:
        sample = next(s for s in SAMPLES if s.name == sample.name)
    inputs, weights = weights_of(rng, sample, dtype, (2,), 3)
    check_grads(loss(sample, weights), modes=[mode], order=2)(*inputs)


@pytest.mark.parametrize("mode", ["rev", "fwd"])
def test_lu_solve_with_its_factorisation(rng, mode):
    a, b = general(rng, (2,), 3, "float64"), normal(rng, (2, 3, 2), "float64")
    check_grads(lambda a, b: mag.lu_solve(*mag.lu_factor(a), b), modes=[mode], order=2)(a, b)
    got = autograd.grad(lambda a: anp.sum(mag.lu_solve(*mag.lu_factor(a), b)))(a)
    assert_near(got, autograd.grad(lambda a: anp.sum(mag.solve(a, b)))(a))


def test_third_derivative():
    """Of sqrt, as Cholesky of a 1x1: 3/8 x^(-5/2)."""
    third = autograd.grad(autograd.grad(autograd.grad(lambda x: mag.cholesky(anp.reshape(x, (1, 1)))[0, 0])))
    np.testing.assert_allclose(third(2.0), 3 / 8 * 2.0**-2.5, rtol=1e-12)


def test_hessian_of_log_det(rng):
    """log det A has the Hessian -A^-1 (x) A^-1 in symmetric directions."""
    a = positive(rng, (), 3, "float64")
    inverse = np.linalg.inv(a)
    hessian = autograd.hessian(lambda a: 2 * anp.sum(anp.log(anp.diagonal(mag.cholesky(a), axis1=-1, axis2=-2))))(a)
    t = normal(rng, (3, 3), "float64")
    t = t + t.T
    assert_near(np.einsum("ijkl,kl->ij", hessian, t), -inverse @ t @ inverse)


class TestConventions:
    """The same gradients as autograd's own rules, where those exist and are right."""

    @pytest.mark.parametrize("dtype", ["float64", "complex128"])
    def test_solve(self, rng, dtype):
        a, b, g = general(rng, (2,), 4, dtype), normal(rng, (2, 4, 3), dtype), normal(rng, (2, 4, 3), dtype)
        for argnum in (0, 1):
            got, want = (autograd.make_vjp(f, argnum)(a, b)[0](g) for f in (mag.solve, anp.linalg.solve))
            assert_near(got, want)

    def test_cholesky(self, rng):
        a, g = positive(rng, (2,), 4, "float64"), normal(rng, (2, 4, 4), "float64")
        got, want = (autograd.make_vjp(f)(a)[0](g) for f in (mag.cholesky, anp.linalg.cholesky))
        assert_near(got, want)

    @pytest.mark.parametrize("UPLO", ["L", "U"])
    @pytest.mark.parametrize("dtype", ["float64", "complex128"])
    def test_eigh_lies_in_the_triangle(self, rng, dtype, UPLO):
        """By differences of the entries that are read; autograd's own rule has the conjugate for complex ones."""
        a, w_bar = hermitian(rng, (), 4, dtype), normal(rng, (4,), "float64")
        f = lambda a: anp.sum(w_bar * mag.eigh(a, UPLO=UPLO)[0])
        got = autograd.grad(f)(a)
        keep = np.tril if UPLO == "L" else np.triu
        assert (got == keep(got)).all()
        t, h = keep(normal(rng, (4, 4), dtype)), 1e-6
        t -= 1j * np.diag(np.diag(t).imag) if dtype == "complex128" else 0
        want = (f(a + h * t) - f(a - h * t)) / (2 * h)
        assert abs(np.real(np.sum(got * t)) - want) <= 1e-8  # autograd: no conjugate in the pairing
        if dtype == "float64":
            assert_near(got, autograd.grad(lambda a: anp.sum(w_bar * anp.linalg.eigh(a, UPLO)[0]))(a))

    def test_unused_eigenvectors_cause_no_nan(self):
        assert_near(autograd.grad(lambda a: anp.sum(mag.eigh(a)[0] ** 2))(np.eye(3)), 2 * np.eye(3))

    def test_dtypes_and_shapes(self, rng):
        for dtype in ("float32", "complex64"):
            a, b = general(rng, (1,), 4, dtype), normal(rng, (3, 4, 1), "float32")
            for argnum, x in enumerate((a, b)):
                pull, y = autograd.make_vjp(mag.solve, argnum)(a, b)
                g = pull(vspace(y).ones())
                assert g.shape == x.shape and g.dtype == x.dtype

    def test_vectors(self, rng):
        a, b = general(rng, (3,), 4, "float64"), normal(rng, (4,), "float64")
        got = autograd.grad(lambda b: anp.sum(mag.solve(a, b)))(b)
        assert_near(got, adjoint(np.linalg.inv(a)).sum((0, 2)))

    def test_errors(self):
        with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
            mag.cholesky(-np.eye(2))
        with pytest.raises(TypeError, match="solve has no option 'lower'"):
            mag.solve(np.eye(2), np.ones(2), lower=True)
        with pytest.raises(TypeError, match="solve needs a, b; b is missing"):
            mag.solve(np.eye(2))


def test_a_gradient_is_two_kernel_calls(monkeypatch, rng):
    calls = kernel_calls(monkeypatch)
    a, b = general(rng, (5,), 4, "float64"), normal(rng, (5, 4, 2), "float64")
    autograd.grad(lambda ab: anp.sum(mag.solve(*ab)))((a, b))
    assert calls == ["solve forward", "solve pullback"]
    calls.clear()
    autograd.make_jvp(mag.cholesky)(np.eye(3))(np.eye(3))
    assert calls == ["cholesky forward", "cholesky pushforward"]


@pytest.mark.parametrize("function", [mag.eigh, mag.lu, mag.lu_factor])
def test_several_outputs_are_traced_as_a_whole(rng, function):
    a = hermitian(rng, (), 3, "float64")
    pull, y = autograd.make_vjp(function)(a)
    assert isinstance(y, tuple) and type(y) is type(function(a))
    g = tuple(np.ones_like(x) for x in y)
    separately = sum(autograd.make_vjp(lambda a, i=i: function(a)[i])(a)[0](g[i]) for i in range(len(y)))
    assert_near(pull(g), separately)
    name = y._fields[0]
    assert_near(
        autograd.jacobian(lambda a: getattr(function(a), name))(a), autograd.jacobian(lambda a: function(a)[0])(a)
    )


class TestInstall:
    @pytest.fixture(autouse=True)
    def clean(self):
        yield
        mag.uninstall()

    @staticmethod
    def log_det(cholesky):
        return lambda a: anp.sum(anp.log(anp.diagonal(cholesky(a), axis1=-1, axis2=-2)))

    def test_puts_in_and_takes_out(self, monkeypatch, rng):
        a = positive(rng, (2,), 3, "float64")
        theirs = {name: getattr(anp.linalg, name) for name in ("cholesky", "solve", "eigh", "eigvalsh")}
        want = autograd.grad(self.log_det(anp.linalg.cholesky))(a)
        calls = kernel_calls(monkeypatch)
        mag.install()
        mag.install()
        f = self.log_det(lambda a: anp.linalg.cholesky(a))  # noqa: PLW0108 - looked up at each call
        assert_near(autograd.grad(f)(a), want)
        assert calls == ["cholesky forward", "cholesky pullback"]
        assert all(getattr(anp.linalg, name) is not function for name, function in theirs.items())
        mag.uninstall()
        mag.uninstall()
        assert all(getattr(anp.linalg, name) is function for name, function in theirs.items())
        calls.clear()
        assert_near(autograd.grad(f)(a), want)
        assert not calls

    def test_reaches_functions_imported_before(self, monkeypatch, rng):
        a = positive(rng, (2,), 3, "float64")
        want = autograd.grad(self.log_det(imported_before))(a)
        with pytest.raises(NotImplementedError):
            autograd.make_jvp(imported_before)(a)(a)
        mag.install()
        calls = kernel_calls(monkeypatch)
        assert_near(autograd.grad(self.log_det(imported_before))(a), want)
        assert calls == ["cholesky forward", "cholesky pullback"]
        assert_near(autograd.make_jvp(imported_before)(a)(a)[1], mk.cholesky(a) / 2)
        mag.uninstall()
        with pytest.raises(NotImplementedError):
            autograd.make_jvp(imported_before)(a)(a)

    def test_takes_numpy_s_arguments(self, rng):
        mag.install()
        a = hermitian(rng, (), 3, "float64")
        assert_near(anp.linalg.eigh(a, "U")[0], np.linalg.eigh(a, "U")[0])
        assert_near(anp.linalg.eigvalsh(a=a, UPLO="L"), np.linalg.eigvalsh(a))
        assert_near(anp.linalg.solve(b=np.ones(3), a=a), np.linalg.solve(a, np.ones(3)))
        assert_near(anp.linalg.cholesky(a @ a, upper=True), np.linalg.cholesky(a @ a, upper=True))
        for call in (lambda: anp.linalg.solve(a), lambda: anp.linalg.eigh(a, "U", 3), lambda: anp.linalg.eigh(a, a=a)):
            with pytest.raises(TypeError, match=r"missing a required argument|too many positional|multiple values"):
                call()

    def test_returns_what_numpy_does(self, rng):
        """Real eigenvalues as real arrays, NumPy's defaults, its older names, and what matkern does not have."""
        a, wide = general(rng, (), 3, "float64"), normal(rng, (2, 3), "float64")
        theirs = anp.linalg.lstsq
        mag.install()
        for x in (np.diag([1.0, 2.0]), np.array([[0.0, 1.0], [-1.0, 0.0]])):
            for ours, numpys in zip(anp.linalg.eig(x), np.linalg.eig(x), strict=True):
                assert ours.dtype == numpys.dtype
            assert anp.linalg.eigvals(x).dtype == np.linalg.eigvals(x).dtype
        assert autograd.grad(lambda x: anp.sum(anp.linalg.eig(x)[0]))(np.diag([1.0, 2.0])).dtype == np.float64
        for args in ((wide,), (wide, False), (a,)):  # vectors have either sign
            for ours, numpys in zip(anp.linalg.svd(*args), np.linalg.svd(*args), strict=True):
                assert_near(np.abs(ours), np.abs(numpys))
        s = autograd.grad(lambda x: anp.sum(anp.linalg.svd(x, compute_uv=False)))(wide)
        assert_near(s, mk.norm_vjp(wide, 1.0, "nuc"))
        assert_near(anp.linalg.pinv(a, 0.9, hermitian=False), np.linalg.pinv(a, 0.9))
        assert_near(anp.linalg.norm(wide, 1, 0), np.linalg.norm(wide, 1, 0))
        assert_near(anp.linalg.norm([1.0, 2.0]), np.linalg.norm([1.0, 2.0]))
        assert_near(anp.linalg.qr(wide.T, "complete")[1], np.linalg.qr(wide.T, "complete")[1])
        assert_near(anp.linalg.qr(a, mode="raw")[0], np.linalg.qr(a, mode="raw")[0])
        assert anp.linalg.lstsq is theirs
        with pytest.raises(ValueError, match="take full_matrices=False"):
            autograd.grad(lambda x: anp.sum(anp.linalg.svd(x)[1]))(wide)

    def test_gives_eigvalsh_the_derivative_that_autograd_lacks(self, rng):
        a = hermitian(rng, (), 3, "float64")
        mag.install()
        assert_near(autograd.grad(lambda a: anp.sum(anp.linalg.eigvalsh(a)))(a), np.eye(3))


# the table of transforms; autograd's gradients are conjugates of matkern's


def real_loss(f, gs):
    return lambda xs: sum(anp.sum(anp.real(anp.conj(g) * y)) for g, y in zip(gs, f(*xs), strict=True))


def by_grad(f, xs, gs):
    return [np.conj(g) for g in autograd.grad(real_loss(f, gs))(tuple(xs))]


def by_make_jvp(f, xs, ts):
    return autograd.make_jvp(lambda xs: boxed_tuple(f(*xs)))(tuple(xs))(tuple(ts))[1]


def pairing(f, gs, ts):
    """Re <gradient, tangent>, whose own gradient is the Hessian times the tangent."""
    return lambda xs: sum(
        anp.sum(anp.real(g * t)) for g, t in zip(autograd.grad(real_loss(f, gs))(xs), ts, strict=True)
    )


def reverse_over_reverse(f, xs, gs, ts):
    return [np.conj(g) for g in autograd.grad(pairing(f, gs, ts))(tuple(xs))]


def forward_over_reverse(f, xs, gs, ts):
    return [np.conj(g) for g in autograd.make_jvp(autograd.grad(real_loss(f, gs)))(tuple(xs))(tuple(ts))[1]]


def reverse_over_forward(f, xs, gs, ts):
    pushed = lambda xs: autograd.make_jvp(real_loss(f, gs))(xs)(tuple(ts))[1]
    return [np.conj(g) for g in autograd.grad(pushed)(tuple(xs))]


TRANSFORMS = {
    "value": ("value", lambda f, xs: f(*xs)),
    "grad": ("gradient", by_grad),
    "make_jvp": ("tangent", by_make_jvp),
    "jacobian": ("jacobian", lambda f, x: autograd.jacobian(f)(x)),
    "grad of grad": ("second", reverse_over_reverse),
    "make_jvp of grad": ("second", forward_over_reverse),
    "grad of make_jvp": ("second", reverse_over_forward),
    "hessian": ("hessian", lambda f, x, gs: autograd.hessian(lambda x: real_loss(f, gs)((x,)))(x)),
}

test_transform = table(SimpleNamespace(shim=mag, array=np.asarray, by_triangle=True), TRANSFORMS)


def test_options_by_position():
    check_options_by_position(mag, np.asarray)
