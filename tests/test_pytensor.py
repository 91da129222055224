"""The shim for PyTensor: every transform of the table, shapes and batches, kernel calls, modes, and what it refuses."""

import copy
import functools
import inspect
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("pytensor", reason="pytensor is not installed")

import pytensor
import pytensor.sparse
import pytensor.tensor as pt
from pytensor.compile.debug.debugmode import DebugMode
from pytensor.compile.mode import Mode
from pytensor.gradient import (
    DisconnectedInputError,
    NullTypeGradError,
    hessian,
    hessian_vector_product,
    jacobian,
    pushforward,
    verify_grad,
)
from pytensor.graph.replace import vectorize_graph
from pytensor.graph.rewriting.utils import rewrite_graph
from samples import SAMPLES, assert_near, general, normal, positive
from transforms import check_options_by_position, kernel_calls, table

import matkern as mk
import matkern.pytensor as mpt

PLAIN = Mode(linker="py", optimizer="merge")  # nothing to compile, and little to rewrite
OPTIMISED = Mode(linker="py", optimizer="fast_run")
# of complex variables PyTensor has no gradients
PLAIN_SAMPLES = [s for s in SAMPLES if not s.options and s.op.forward.kinds[s.op.outputs[0]] != "complex"]
numba_warns = pytest.mark.filterwarnings("ignore:Numba will use object mode to run .* perform method:UserWarning")


def variable(x, static=True):
    return pt.tensor(dtype=x.dtype, shape=x.shape if static else (None,) * x.ndim)


def computed(outputs, inputs, values, mode=PLAIN):
    return pytensor.function(inputs, outputs, mode=mode, on_unused_input="ignore")(*values)


# the table of transforms; PyTensor has no gradients of complex variables


def loss(ys, gs):
    return sum((g * y).sum() for g, y in zip(gs, ys, strict=True))


def by_value(f, xs):
    inputs = [*map(variable, xs)]
    return computed(list(f(*inputs)), inputs, xs)


def by_grad(f, xs, gs):
    inputs = [*map(variable, xs)]
    return computed(pytensor.grad(loss(f(*inputs), gs), inputs), inputs, xs)


def by_pushforward(direct):
    def run(f, xs, ts):
        inputs = [*map(variable, xs)]
        return computed(pushforward(list(f(*inputs)), inputs, ts, use_op_pushforward=direct), inputs, xs)

    return run


def by_jacobian(f, x):
    a = variable(x)
    return computed(jacobian(f(a), a, vectorize=True), [a], [x])


def reverse_over_reverse(f, xs, gs, ts):
    inputs = [variable(x, static=False) for x in xs]
    grads = pytensor.grad(loss(f(*inputs), gs), inputs)
    return computed(pytensor.grad(loss(grads, ts), inputs, disconnected_inputs="ignore"), inputs, xs)


def forward_over_reverse(direct):
    def run(f, xs, gs, ts):
        inputs = [variable(x, static=False) for x in xs]
        grads = pytensor.grad(loss(f(*inputs), gs), inputs)
        dots = pushforward(grads, inputs, ts, disconnected_outputs="ignore", use_op_pushforward=direct)
        return computed(dots, inputs, xs)

    return run


def reverse_over_forward(f, xs, gs, ts):
    inputs = [*map(variable, xs)]
    dots = pushforward(list(f(*inputs)), inputs, ts, use_op_pushforward=True)
    return computed(pytensor.grad(loss(dots, gs), inputs, disconnected_inputs="ignore"), inputs, xs)


def by_hessian(f, x, gs):
    a = variable(x)
    return computed(jacobian(pytensor.grad(loss(f(a), gs), a), a, vectorize=True), [a], [x])


TRANSFORMS = {
    "value": ("value", by_value),
    "grad": ("gradient", by_grad),
    "pushforward": ("tangent", by_pushforward(direct=False)),
    "direct pushforward": ("tangent", by_pushforward(direct=True)),
    "jacobian": ("jacobian", by_jacobian),
    "grad of grad": ("second", reverse_over_reverse),
    "pushforward of grad": ("second", forward_over_reverse(direct=False)),
    "direct pushforward of grad": ("second", forward_over_reverse(direct=True)),
    "grad of pushforward": ("second", reverse_over_forward),
    "hessian": ("hessian", by_hessian),
}

# the table knows triangles by the option UPLO alone: for Cholesky's, see TestConventions
SHIM = SimpleNamespace(**vars(mpt) | {"cholesky": functools.partial(mpt.cholesky, triangle=None)})

FRAMEWORK = SimpleNamespace(shim=SHIM, array=pt.as_tensor, by_triangle=True, kinds="f", of_complex=("value",))
test_transform = table(FRAMEWORK, TRANSFORMS)


class TestConventions:
    @pytest.mark.parametrize(
        ("name", "ours", "theirs"),
        [
            ("cholesky", {}, {}),
            ("cholesky", {"upper": True}, {"lower": False}),
            ("eigh", {}, {}),
            ("eigh", {"UPLO": "U"}, {"lower": False}),
            ("eigvalsh", {}, {}),
        ],
    )
    def test_gradients_are_pytensor_s_own(self, rng, name, ours, theirs):
        """Also second ones, but of eigenvectors: PyTensor's own are NaN."""
        value = positive(rng, (), 3, "float64")
        a, g = pt.matrix("a"), normal(rng, (3, 3), "float64")
        results = []
        for module, options in ((mpt, ours), (pt.linalg, theirs)):
            y = getattr(module, name)(a, **options)
            y = y[1] ** 2 if name == "eigh" else y
            first = pytensor.grad((g[: y.type.ndim + 1] * y).sum(), a)
            second = [] if name == "eigh" else [pytensor.grad((g.T * first).sum(), a)]
            results.append(computed([first, *second], [a], [value]))
        for got, want in zip(*results, strict=True):
            assert_near(got, want)

    @pytest.mark.parametrize("sample", PLAIN_SAMPLES, ids=str)
    def test_verify_grad(self, rng, sample):
        """PyTensor's own check, by differences in each entry, of what is not symmetric, too."""
        values = sample.draw(rng, (), 3, "float64")
        constants = {i: x for i, x in enumerate(values) if x.dtype.kind == "i"}

        def function(*xs):
            inputs = list(xs)
            for i, x in constants.items():
                inputs.insert(i, x)
            ys = getattr(mpt, sample.name)(*inputs)
            ys = dict(zip(sample.op.outputs, ys if isinstance(ys, tuple) else (ys,), strict=True))
            return pt.concatenate([(ys[n] ** 2).ravel() for n in sample.op.differentiable_outputs])

        verify_grad(function, [x for x in values if x.dtype.kind == "f"], rng=rng, mode=PLAIN)

    def test_solve_with_a_positive_matrix(self, rng):
        a = pt.matrix("a")
        cost = (normal(rng, (3, 2), "float64") * mpt.solve(a, normal(rng, (3, 2), "float64"), assume_a="pos")).sum()
        got = computed(pytensor.grad(cost, a), [a], [positive(rng, (), 3, "float64")])
        assert_near(got, got.T)

    def test_dtypes(self, rng):
        values = general(rng, (), 3, "float32"), normal(rng, (3, 2), "float64")
        a, b = map(variable, values)
        x = mpt.solve(a, b)
        graphs = [x, *pytensor.grad(x.sum(), [a, b])]
        got = computed(graphs, [a, b], values)
        assert [y.dtype for y in graphs] == [y.dtype for y in got] == ["float64", "float32", "float64"]
        want = mk.vjp("solve", *values)[1](np.ones((3, 2)))
        assert_near(got[1], want[0])
        assert_near(got[2], want[1])
        for direct in (False, True):
            y = pushforward(mpt.cholesky(a), a, a, use_op_pushforward=direct)
            assert y.dtype == computed(y, [a], [np.eye(3, dtype="float32")]).dtype == "float32"
        assert mpt.eigvalsh(pt.matrix(dtype="complex64")).dtype == "float32"
        assert mpt.lu_factor(a).piv.dtype == computed(mpt.lu_factor(a).piv, [a], values[:1]).dtype == "int32"

    @pytest.mark.parametrize("dtype", ["bool", "int8", "uint64"])
    def test_integers_are_float64(self, dtype):
        a = pt.matrix("a", dtype=dtype)
        assert mpt.cholesky(a).dtype == "float64"
        assert_near(computed(mpt.cholesky(a), [a], [np.eye(2, dtype=dtype)]), np.eye(2))
        assert_near(computed(mpt.cholesky([[4, 0], [0, 9]]), [], []), np.diag([2.0, 3.0]))

    @pytest.mark.parametrize("dtype", ["uint8", "int64"])
    def test_pivots_are_any_integers(self, rng, dtype):
        lu, piv = mk.lu_factor(normal(rng, (3, 3), "float64"))
        assert_near(computed(mpt.lu_solve(lu, piv.astype(dtype), lu), [], []), mk.lu_solve(lu, piv, lu))

    def test_complex_has_values_and_tangents_but_no_gradients(self, rng):
        value, t = positive(rng, (2,), 3, "complex128"), positive(rng, (2,), 3, "complex128")
        a = variable(value)
        y = mpt.cholesky(a)
        dot = pushforward(y, a, t, use_op_pushforward=True)
        for x, want in zip(computed([y, dot], [a], [value]), mk.jvp("cholesky", [value], [t]), strict=True):
            assert_near(x, want)
        with pytest.raises(NullTypeGradError, match="no gradients of complex variables"):
            pytensor.grad(mpt.eigvalsh(a).sum(), a)
        with pytest.raises(NullTypeGradError, match="no gradients of complex variables"):
            pushforward(dot, a, t)
        with pytest.raises(NotImplementedError, match="cholesky: PyTensor has no second derivatives of complex"):
            pushforward(dot, a, t, use_op_pushforward=True)


class TestKernelCalls:
    """The forward kernel once, and one derivative's once."""

    def test_of_a_gradient(self, monkeypatch, rng):
        calls = kernel_calls(monkeypatch)
        values = general(rng, (5,), 4, "float64"), normal(rng, (5, 4, 2), "float64")
        a, b = map(variable, values)
        x = mpt.solve(a, b)
        computed([x, *pytensor.grad(x.sum(), [a, b])], [a, b], values)
        assert calls == ["solve forward", "solve pullback"]

    def test_of_a_vectorized_gradient(self, monkeypatch, rng):
        """With the new axes in front of the batch axes that only other inputs have."""
        values = general(rng, (5,), 4, "float64"), normal(rng, (3, 4, 2), "float64")
        a, b, many = pt.matrix("a"), pt.tensor3("b"), pt.tensor3("many")
        x = mpt.solve(a, b)
        graphs = vectorize_graph([x, *pytensor.grad(x.sum(), [a, b])], {a: many})
        calls = kernel_calls(monkeypatch)
        got = computed(graphs, [many, b], values)
        assert calls == ["solve forward", "solve pullback"]
        assert_near(got[0], np.linalg.solve(values[0][:, None], values[1]))
        for i in range(5):
            want = mk.vjp("solve", values[0][i], values[1])[1](np.ones((3, 4, 2)))
            assert_near(got[1][i], want[0])
            assert_near(got[2][i], want[1])

    @pytest.mark.parametrize("direct", [False, True])
    def test_of_a_pushforward(self, monkeypatch, rng, direct):
        """Also through two pullbacks, of which the first is for nothing."""
        calls = kernel_calls(monkeypatch)
        value = positive(rng, (5,), 3, "float64")
        a = variable(value, static=False)
        dot = pushforward(mpt.cholesky(a), a, a, use_op_pushforward=direct)
        assert_near(computed(dot, [a], [value]), np.linalg.cholesky(value) / 2)
        assert calls == ["cholesky forward", "cholesky pushforward"]

    def test_of_a_jacobian(self, monkeypatch, rng):
        calls = kernel_calls(monkeypatch)
        value = positive(rng, (2,), 3, "float64")
        a = variable(value, static=False)
        computed(jacobian(mpt.cholesky(a), a, vectorize=True), [a], [value])
        assert calls == ["cholesky forward", "cholesky pullback"]

    def test_of_equal_nodes(self, monkeypatch):
        calls = kernel_calls(monkeypatch)
        a = pt.matrix("a")
        computed([mpt.cholesky(a), mpt.cholesky(a).sum(), mpt.cholesky(a, upper=False)], [a], [np.eye(2)])
        assert calls == ["cholesky forward"] * 2  # options are compared as they are written

    def test_of_constants_at_run_time(self, monkeypatch):
        b = pt.matrix("b")
        factor = mpt.cholesky(np.eye(2))
        function = pytensor.function([b], pytensor.grad(mpt.solve(factor, b).sum(), b), mode=OPTIMISED)
        calls = kernel_calls(monkeypatch)
        function(np.eye(2))
        assert "cholesky forward" not in calls

    def test_compute_no_eigenvectors_without_a_gradient(self, monkeypatch, rng):
        seen, run = [], mk.op.Op.run_wanted
        monkeypatch.setattr(mk.op.Op, "run_wanted", lambda self, *args: seen.append(args[-1]) or run(self, *args))
        a, value = pt.matrix("a"), positive(rng, (), 3, "float64")
        assert_near(computed(mpt.eigvalsh(a), [a], [value], mode=OPTIMISED), np.linalg.eigvalsh(value))
        assert [[*names] for names in seen] == [["eigenvalues"]]

    @pytest.mark.parametrize("wanted", [["a"], ["b"], ["a", "b"]])
    def test_compute_only_the_gradients_that_are_used(self, monkeypatch, rng, wanted):
        run, seen = mk.op.Op.run_pullback, []

        def spied(self, values, cotangents, options, wanted):
            seen.append(wanted)
            return run(self, values, cotangents, options, wanted)

        monkeypatch.setattr(mk.op.Op, "run_pullback", spied)
        values = general(rng, (), 3, "float64"), normal(rng, (3, 2), "float64")
        inputs = dict(zip("ab", map(variable, values), strict=True))
        cost = mpt.solve(*inputs.values()).sum()
        grads = pytensor.grad(cost, [inputs[n] for n in wanted])
        got = computed(grads, [*inputs.values()], values, OPTIMISED)
        assert seen == [wanted]
        for x, want in zip(got, computed(grads, [*inputs.values()], values), strict=True):
            assert_near(x, want)


class TestShapes:
    @pytest.mark.parametrize("static", [False, True])
    @pytest.mark.parametrize("sample", PLAIN_SAMPLES, ids=str)
    def test_are_known_without_running_a_kernel(self, monkeypatch, rng, sample, static):
        values = sample.draw(rng, (2, 1), 3, "float64")
        inputs = [variable(x, static) for x in values]
        ys = getattr(mpt, sample.name)(*inputs)
        ys = ys if isinstance(ys, tuple) else (ys,)
        xs = [x for n, x in zip(sample.op.inputs, inputs, strict=False) if n in sample.op.differentiable_inputs]
        cost = sum(y.sum() for y in ys if y.dtype == "float64")
        moving = [y for y in ys if y.dtype == "float64"]
        dots = pushforward(moving, xs, xs, use_op_pushforward=True, disconnected_outputs="ignore")
        everything = [*ys, *pytensor.grad(cost, xs), *dots]
        want = computed(everything, inputs, values)
        if static:
            assert [y.type.shape for y in everything] == [y.shape for y in want]
        calls = kernel_calls(monkeypatch)
        got = computed([y.shape for y in everything], inputs, values, OPTIMISED)
        assert [tuple(shape) for shape in got] == [y.shape for y in want]
        assert not calls

    def test_of_broadcast_inputs(self, rng):
        values = general(rng, (3, 1), 4, "float64"), normal(rng, (2, 4, 1), "float64")
        a, b = map(variable, values)
        x = mpt.solve(a, b)
        assert x.type.shape == (3, 2, 4, 1)
        grads = pytensor.grad(x.sum(), [a, b])
        assert [g.type.shape for g in grads] == [(3, 1, 4, 4), (2, 4, 1)]
        got = computed(grads, [a, b], values)
        want = mk.vjp("solve", *values)[1](np.ones((3, 2, 4, 1)))
        for x, y in zip(got, want, strict=True):
            assert_near(x, y)

    def test_of_a_vector(self, rng):
        values = general(rng, (3,), 4, "float64"), normal(rng, (4,), "float64")
        a, b = map(variable, values)
        x = mpt.solve(a, b)
        assert x.type.shape == (3, 4)
        got = computed([x, pytensor.grad(x.sum(), b)], [a, b], values)
        assert_near(got[0], mk.solve(*values))
        assert_near(got[1], mk.vjp("solve", *values)[1](np.ones((3, 4)))[1])

    def test_of_a_vectorized_vector(self, rng):
        """More axes of what was a vector are batch axes."""
        values = general(rng, (), 3, "float64"), normal(rng, (5, 3), "float64")
        a, b, many = pt.matrix("a"), pt.vector("b"), pt.matrix("many")
        x = vectorize_graph(mpt.solve(a, b), {b: many})
        assert_near(computed(x, [a, many], values), np.linalg.solve(values[0], values[1].T).T)

    @pytest.mark.parametrize("shape", [(0, 0), (0, 2, 2), (2, 0, 0)])
    def test_empty(self, shape):
        a = pt.tensor(shape=(None,) * len(shape))
        first = pytensor.grad(mpt.cholesky(a).sum() + mpt.eigh(a).eigenvectors.sum() + mpt.lu(a).u.sum(), a)
        graphs = [first, pytensor.grad(first.sum(), a)]
        assert [y.shape for y in computed(graphs, [a], [np.ones(shape)])] == [shape] * 2


class TestMemory:
    """What is given is neither written to nor returned."""

    @pytest.mark.parametrize("n", [1, 3])
    @pytest.mark.parametrize("sample", PLAIN_SAMPLES, ids=str)
    def test_of_every_kernel(self, monkeypatch, rng, sample, n):
        perform, ran = mpt._Kernel.perform, []

        def checked(self, node, inputs, storage):
            before = copy.deepcopy(inputs)
            perform(self, node, inputs, storage)
            for x, old in zip(inputs, before, strict=True):
                np.testing.assert_array_equal(x, old)
                assert not any(np.may_share_memory(x, cell[0]) for cell in storage)
            ran.append(type(self))

        monkeypatch.setattr(mpt._Kernel, "perform", checked)
        values = sample.draw(rng, (2,), n, "float64")
        for x in values:
            x.flags.writeable = False
        inputs = [*map(variable, values)]
        ys = getattr(mpt, sample.name)(*inputs)
        ys = [y for y in (ys if isinstance(ys, tuple) else (ys,)) if y.dtype == "float64"]
        xs = [x for n, x in zip(sample.op.inputs, inputs, strict=False) if n in sample.op.differentiable_inputs]
        dots = pushforward(ys, xs, xs, use_op_pushforward=True, disconnected_outputs="ignore")
        computed([*pytensor.grad(sum(y.sum() for y in ys), xs), *dots], inputs, values)
        assert ran.count(mpt.Operation) == ran.count(mpt.Pullback) == ran.count(mpt.Pushforward) == 1

    @pytest.mark.filterwarnings("ignore:.*compiled function.*DebugMode:UserWarning")
    def test_under_debug_mode(self, rng):
        """It looks for undeclared views and writes, and compares before and after each rewrite."""
        values = positive(rng, (), 3, "float64"), normal(rng, (3, 2), "float64")
        a, b = map(variable, values)
        cost = mpt.solve(mpt.cholesky(a), b).sum() + mpt.lu_solve(*mpt.lu_factor(a), b).sum()
        mode = DebugMode(optimizer="fast_compile", check_c_code=False, require_matching_strides=False)
        got = computed(pytensor.grad(cost, [a, b]), [a, b], values, mode)
        for x, want in zip(got, computed(pytensor.grad(cost, [a, b]), [a, b], values), strict=True):
            assert_near(x, want)

    def test_borrowed(self, rng):
        """A shared variable that is updated from its own factor, and outputs that are not copied."""
        value = positive(rng, (), 3, "float64")
        want = np.linalg.cholesky(value)
        state = pytensor.shared(value, borrow=True)
        factor = mpt.cholesky(state)
        function = pytensor.function([], pytensor.Out(factor, borrow=True), updates={state: 4 * state}, mode=OPTIMISED)
        first = function()
        second = function()
        assert_near(first, want)
        assert_near(second, 2 * want)

    def test_of_a_mutable_input(self, rng):
        """PyTensor may write to it, and does not before the kernel has read it."""
        value = positive(rng, (), 3, "float64")
        a = pt.matrix("a")
        function = pytensor.function([pytensor.In(a, mutable=True)], [mpt.cholesky(a), a + 1], mode=OPTIMISED)
        got = function(value.copy())
        assert_near(got[0], np.linalg.cholesky(value))
        assert_near(got[1], value + 1)


class TestPyTensorsOwnHelpers:
    """What is built of loops over gradients."""

    @pytest.fixture(autouse=True)
    def plain_loops(self):
        with pytensor.config.change_flags(mode="FAST_COMPILE", cxx=""):
            yield

    def test_hessian(self, rng):
        """Of log(det(B + v v^T)) = log(det B) + log(1 + v^T C v), C the inverse of B."""
        v, base, p, at = pt.vector("v"), positive(rng, (), 3, "float64"), *normal(rng, (2, 3), "float64")
        cost = 2 * pt.log(pt.diagonal(mpt.cholesky(base + v[:, None] * v))).sum()
        got = computed([hessian(cost, v), hessian_vector_product(cost, v, p)], [v], [at])
        c = np.linalg.inv(base)
        s = 1 + at @ c @ at
        want = 2 * c / s - 4 * np.outer(c @ at, c @ at) / s**2
        assert_near(got[0], want)
        assert_near(got[1], want @ p)

    def test_jacobian_by_scan(self, rng):
        a, value = pt.matrix("a"), positive(rng, (), 3, "float64")
        got = computed(jacobian(mpt.cholesky(a), a), [a], [value])
        assert_near(got, mk.jacobian("cholesky", value, data_ndim=0, triangle="L"))

    def test_gradient_of_a_scan(self, rng):
        """Of repeated factorisation, where each step's matrix depends on the last factor."""
        a, value = pt.matrix("a"), positive(rng, (), 3, "float64")
        step = lambda x: mpt.cholesky(x @ x.T + np.eye(3))
        by_scan = pytensor.scan(step, outputs_info=[a], n_steps=3, return_updates=False)[-1]
        unrolled = step(step(step(a)))
        got, want = computed([pytensor.grad(y.sum(), a) for y in (by_scan, unrolled)], [a], [value])
        assert_near(got, want)

    @pytest.mark.parametrize("phase", ["canonicalize", "specialize"])
    def test_gradient_of_a_rewritten_graph(self, rng, phase):
        """As PyMC takes it; second ones are of a node without what nothing used."""
        values = general(rng, (), 3, "float64"), normal(rng, (3, 2), "float64")
        a, b = map(variable, values)
        graphs = []
        for rewrite in (lambda y: y, lambda y: rewrite_graph(y, include=[phase], clone=True)):
            first = pytensor.grad(rewrite(mpt.solve(a, b).sum()), a)
            graphs += [first, *pytensor.grad(rewrite((first**2).sum()), [a, b])]
        got = computed(graphs, [a, b], values)
        for x, want in zip(got[3:], got[:3], strict=True):
            assert_near(x, want)


@pytest.mark.parametrize("modes", ["rrr", "frr", "rfr", "rrf", "fff", "drr", "rdr", "rrd"])
def test_third_derivative(modes):
    """Of x^(3/2), through two operations: -3/8 x^(-3/2). By gradients, pushforwards and direct pushforwards."""
    x = pt.scalar("x")
    matrix = x.reshape((1, 1))
    y = mpt.solve(mpt.cholesky(matrix), matrix**2)[0, 0]
    take = lambda y, mode: (
        pytensor.grad(y, x) if mode == "r" else pushforward(y, x, 1.0, use_op_pushforward=mode == "d")
    )
    for mode in modes[:2]:
        y = take(y, mode)
    if modes[2] == "d":
        with pytest.raises(NotImplementedError, match="pushforward not implemented for Matmul"):
            take(y, "d")
    else:
        assert_near(computed(take(y, modes[2]), [x], [2.0]), -3 / 8 * 2.0**-1.5)


@numba_warns
class TestModes:
    @pytest.mark.parametrize("mode", [None, "CVM", "FAST_COMPILE"])
    def test_run(self, rng, mode):
        """And give the error of a matrix that has no factorisation; functions are copied and pickled."""
        value = positive(rng, (2,), 3, "float64")
        a = pt.tensor3("a")
        factor = mpt.cholesky(a, on_error="raise")
        function = pytensor.function([a], [factor, pytensor.grad(factor.sum(), a)], mode=mode)
        want = mk.vjp("cholesky", value, triangle="L")
        for f in (function, copy.deepcopy(function), pickle.loads(pickle.dumps(function))):
            got = f(value)
            assert_near(got[0], want[0])
            assert_near(got[1], want[1](np.ones((2, 3, 3)))[0])
            with pytest.raises(np.linalg.LinAlgError, match=r"cholesky: .* not positive definite"):
                f(-value)

    @pytest.mark.parametrize("mode", ["JAX", "C"])
    def test_that_cannot_call_python(self, mode):
        if mode == "JAX":
            pytest.importorskip("jax", reason="jax is not installed")
        a = pt.matrix("a")
        with pytest.raises(NotImplementedError, match=r"Operation\{cholesky\}"):
            pytensor.function([a], mpt.cholesky(a), mode=mode)

    def test_numba_warns_of_object_mode(self):
        a = pt.matrix("a")
        with pytest.warns(UserWarning, match="object mode to run Operation{cholesky}'s perform method"):
            pytensor.function([a], mpt.cholesky(a), mode="NUMBA")


class TestErrors:
    @pytest.mark.parametrize(
        ("call", "error", "match"),
        [
            (lambda: mpt.solve(np.eye(2)), TypeError, "solve needs a, b; b is missing"),
            (lambda: mpt.solve(np.eye(2), np.eye(2), lower=True), TypeError, "solve has no option 'lower'"),
            (lambda: mpt.solve(np.eye(2), np.eye(2), trans="X"), ValueError, "trans"),
            (lambda: mpt.cholesky(np.eye(2), out=None), TypeError, "cholesky has no option 'out'"),
            (lambda: mpt.cholesky(pt.vector()), ValueError, "cholesky: a needs at least 2 dimensions, got shape"),
            (lambda: mpt.cholesky(np.ones((2, 3))), ValueError, r"cholesky: a\(n, n\) has shape \(2, 3\), but n is 2"),
            (lambda: mpt.solve(np.eye(2), np.eye(3)), ValueError, r"solve: b\(n, k\?\) has shape \(3, 3\), but n is 2"),
            (
                lambda: mpt.solve(np.ones((2, 1, 1)), np.ones((3, 1, 1))),
                ValueError,
                r"not broadcast: \(2,\) of a, \(3,\) of b",
            ),
            (lambda: mpt.cholesky(pt.matrix(dtype="float16")), TypeError, r"cholesky: a has .*16; .* a\.astype\("),
            (lambda: mpt.lu_solve(np.eye(2), np.ones(2), np.eye(2)), TypeError, "lu_solve: piv has dtype float64; int"),
            (
                lambda: mpt.solve(np.eye(2), pytensor.sparse.csr_matrix()),
                TypeError,
                r"solve: b is .*dense_from_sparse",
            ),
            (lambda: mpt.solve(np.eye(2), "b"), TypeError, "solve: b cannot be made a tensor variable"),
            (lambda: mpt.solve([[1, 2], [3]], np.eye(2)), TypeError, "solve: a cannot be made a tensor variable"),
        ],
    )
    def test_are_raised_when_the_graph_is_built(self, call, error, match):
        with pytest.raises(error, match=match):
            call()

    def test_of_a_matrix_without_a_factorisation(self):
        a = pt.tensor3("a")
        values = [np.stack([np.eye(2), -np.eye(2)])]
        with pytest.raises(np.linalg.LinAlgError, match=r"cholesky: .*1.* not positive definite"):
            computed(mpt.cholesky(a, on_error="raise"), [a], values)
        got = computed(mpt.cholesky(a), [a], values)
        assert_near(got[0], np.eye(2))
        assert np.isnan(got[1]).all()

    def test_nan_propagates(self):
        value = np.array([[4.0, 0.0], [np.nan, 4.0]])
        a = pt.matrix("a")
        for name in ("cholesky", "eigvalsh"):
            got = computed(getattr(mpt, name)(a), [a], [value])
            assert np.isnan(got).any()
            np.testing.assert_array_equal(got, getattr(mk, name)(value))

    @pytest.mark.parametrize(
        ("shapes", "match"),
        [
            (((2, 3, 3), (2, 4, 1)), "solve: b"),
            (((2, 3, 4), (2, 3, 1)), "solve: a"),
            (((2, 3, 3), (3, 3, 1)), "solve: .*broadcast"),
            (((1, 3, 3), (2, 3, 1)), r"solve: a has shape \(1, 3, 3\) .* along axis 0.*specify_broadcastable\(a, 0\)"),
        ],
    )
    def test_of_shapes_at_run_time(self, shapes, match):
        a, b = pt.tensor3("a"), pt.tensor3("b")
        values = [np.ones(shape) for shape in shapes]
        with pytest.raises(ValueError, match=match):
            computed(mpt.solve(a, b), [a, b], values)

    def test_specified_axes_broadcast(self, rng):
        values = general(rng, (1,), 3, "float64"), normal(rng, (2, 3, 1), "float64")
        a, b = pt.tensor3("a"), pt.tensor3("b")
        grad = pytensor.grad(mpt.solve(pt.specify_broadcastable(a, 0), b).sum(), a)
        assert_near(computed(grad, [a, b], values), mk.vjp("solve", *values)[1](np.ones((2, 3, 1)))[0])

    def test_what_has_no_derivative_is_disconnected(self, rng):
        value = general(rng, (), 3, "float64")
        a = pt.matrix("a")
        factors = mpt.lu_factor(a)
        for y in (factors.piv.astype("float64"), mpt.lu(a).p):
            with pytest.raises(DisconnectedInputError):
                pytensor.grad(y.sum(), a)
        solved = mpt.lu_solve(*factors, np.eye(3))
        with pytest.raises(DisconnectedInputError):
            pytensor.grad(solved.sum(), factors.piv)
        got = computed(pytensor.grad(solved.sum() + factors.piv.sum(), a), [a], [value])
        assert_near(got, mk.vjp("solve", value, np.eye(3))[1](np.ones((3, 3)))[0])


@numba_warns
def test_log_probability(rng):
    """Of a Gaussian process with a mean, as PyMC writes it, beside PyTensor's own linear algebra, in its own mode."""
    times, data = np.linspace(0, 1, 8), rng.standard_normal(8)
    parameters = pt.vector("parameters")
    scale, length, noise = (pt.exp(parameters[i]) for i in range(3))

    def log_probability(cholesky, solve_triangular):
        gaps = times[:, None] - times
        covariance = scale**2 * pt.exp(-(gaps**2) / (2 * length**2)) + noise**2 * pt.eye(8)
        factor = cholesky(covariance)
        white = solve_triangular(factor, data - parameters[3], lower=True)
        normal = -(white**2).sum() / 2 - pt.log(pt.diagonal(factor)).sum() - 4 * np.log(2 * np.pi)
        return normal - (parameters**2).sum() / 2

    at = [np.array([0.1, -1.0, -0.5, 0.3])]
    results = []
    for shim, mode in ((mpt, None), (pt.linalg, PLAIN)):
        cost = log_probability(shim.cholesky, shim.solve_triangular)
        results.append(computed([cost, pytensor.grad(cost, parameters)], [parameters], at, mode))
    for got, want in zip(*results, strict=True):
        assert_near(got, want)


def test_operations_pickle():
    a = pt.matrix("a")
    for y in (mpt.cholesky(a, upper=True), pytensor.grad(mpt.cholesky(a).sum(), a)):
        again = pickle.loads(pickle.dumps(y.owner.op))
        assert again == y.owner.op and hash(again) == hash(y.owner.op)


def test_signatures():
    assert str(inspect.signature(mpt.cholesky)) == "(a, *, upper=False, on_error='nan')"
    assert mpt.solve.__name__ == "solve"


def test_options_by_position():
    check_options_by_position(mpt, pt.as_tensor, lambda y: y.eval())
