"""The shim for TensorFlow: every transform of the table, eager and in graphs, and what TensorFlow surrounds it with."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from samples import SAMPLES, VECTORS, assert_near, function_options, general, hermitian, normal, positive
from transforms import check_options_by_position, kernel_calls, table

import matkern as mk

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
import matkern.tensorflow as mtf  # noqa: E402 - after the skip


def tensors(xs):
    return [*map(tf.convert_to_tensor, xs)]


# the table of transforms


def by_tape(f, xs, gs):
    xs = tensors(xs)
    with tf.GradientTape() as tape:
        tape.watch(xs)
        ys = f(*xs)
    return tape.gradient(ys, xs, output_gradients=tensors(gs))


def by_jacobian(f, x, pfor=True):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape(persistent=not pfor) as tape:
        tape.watch(x)
        y = f(x)
    return tape.jacobian(y, x, experimental_use_pfor=pfor)


def in_a_loop(f, x):
    return by_jacobian(f, x, pfor=False)


def pairing(gs, ts):
    """Re <gradient, tangent>, whose own gradient is the Hessian times the tangent."""
    return sum(tf.reduce_sum(tf.math.real(tf.math.conj(g) * t)) for g, t in zip(gs, ts, strict=True))


def gradient_of_gradient(f, xs, gs, ts):
    xs = tensors(xs)
    with tf.GradientTape() as outer:
        outer.watch(xs)
        first = pairing(by_tape(f, xs, gs), ts)
    return outer.gradient(first, xs)


def by_hessian(f, x, gs):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as outer:
        outer.watch(x)
        (first,) = by_tape(f, [x], gs)
    return outer.jacobian(first, x)


def in_function(run):
    """A transform with everything inside a tf.function, tensors its arguments."""

    def compiled(f, *args):
        return tf.function(lambda *args: run(f, *args))(*tf.nest.map_structure(tf.constant, args))

    return compiled


def of_function(run):
    """A transform of a tf.function."""
    return lambda f, *args: run(tf.function(f), *args)


def of_unknown_batch(run):
    """The same with an unknown first axis; all static sizes else are kept."""

    def compiled(f, *args):
        def traced(*args):
            ys = run(f, *args)
            for y in ys:
                assert y.shape[0] is None and None not in y.shape[1:]
            return ys

        specs = tf.nest.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype), args)
        return tf.function(traced, input_signature=specs)(*args)

    return compiled


def mapped(over):
    """A transform of one matrix, over the batch."""

    def run_over(run):
        def whole(f, *args):
            first = run(f, *tf.nest.map_structure(lambda x: tf.constant(x[0]), args))
            signature = [tf.TensorSpec(y.shape, y.dtype) for y in first]
            one = lambda args: [*run(f, *args)]
            args = tf.nest.map_structure(tf.constant, args)
            return over(one, args, fn_output_signature=signature) if over is tf.map_fn else over(one, args)

        return whole

    return run_over


def value(f, xs):
    return f(*tensors(xs))


TRANSFORMS = {
    "value": ("value", value),
    "value in function": ("value", in_function(value)),
    "value of unknown batch": ("value", of_unknown_batch(value)),
    "tape": ("gradient", by_tape),
    "tape in function": ("gradient", in_function(by_tape)),
    "tape of unknown batch": ("gradient", of_unknown_batch(by_tape)),
    "jacobian": ("jacobian", by_jacobian),
    "gradient of gradient": ("second", gradient_of_gradient),
    "gradient of gradient of unknown batch": ("second", of_unknown_batch(gradient_of_gradient)),
}
# slow, and the same for all operations: on two of them
SLOW = {
    "map_fn": ("value", mapped(tf.map_fn)(value)),
    "vectorized_map": ("value", mapped(tf.vectorized_map)(value)),
    "tape around function": ("gradient", of_function(by_tape)),
    "vectorized_map of tape": ("gradient", mapped(tf.vectorized_map)(by_tape)),
    "jacobian in function": ("jacobian", in_function(by_jacobian)),
    "jacobian in a loop": ("jacobian", in_a_loop),
    "jacobian in a loop in function": ("jacobian", in_function(in_a_loop)),
    "gradient of gradient in function": ("second", in_function(gradient_of_gradient)),
    "gradient of gradient of function": ("second", of_function(gradient_of_gradient)),
    "hessian": ("hessian", by_hessian),
    "hessian in function": ("hessian", in_function(by_hessian)),
}
FRAMEWORK = SimpleNamespace(shim=mtf, array=tf.convert_to_tensor, by_triangle=True)
PLAIN = list({(s.name, s.label): s for s in SAMPLES if s.options.get("triangle") is None}.values())

test_transform = table(FRAMEWORK, TRANSFORMS)


@pytest.mark.parametrize("transform", SLOW)
@pytest.mark.parametrize("sample", [next(s for s in SAMPLES if s.name == n) for n in ("solve", "eigh")], ids=str)
def test_slow_transform(rng, transform, sample):
    dtype = "complex128" if SLOW[transform][0] in ("value", "second") else "float64"
    table(FRAMEWORK, SLOW)(rng, transform, sample, dtype)


EAGER_AND_FUNCTION = pytest.mark.parametrize("run", [lambda f: f, tf.function], ids=["eager", "function"])


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
@pytest.mark.parametrize("sample", PLAIN, ids=str)
def test_second_derivative_in_single_precision(rng, sample, dtype):
    """It stays in its dtype, and near that in double precision."""
    inputs = sample.draw(rng, (2,), 3, dtype)
    names = dict(zip(sample.op.inputs, inputs, strict=False))
    wide = {n: x.astype(np.result_type(x, np.float64)) if x.dtype.kind in "fc" else x for n, x in names.items()}
    differentiable = [n for n in names if n in sample.op.differentiable_inputs]

    def second(names):
        def loss(*xs):
            given = names | dict(zip(differentiable, xs, strict=True))
            ys = getattr(mtf, sample.name)(*given.values(), **function_options(sample))
            ys = (ys,) if len(sample.op.outputs) == 1 else ys
            free = {n for n in VECTORS if dtype == "complex64"}  # phases have no loss
            name = next(n for n in sample.op.differentiable_outputs if n not in free)
            y = ys[sample.op.outputs.index(name)]
            return (tf.reduce_sum(tf.math.real(y) ** 3),)

        xs = [names[n] for n in differentiable]
        return gradient_of_gradient(loss, xs, [np.ones((), xs[0].real.dtype)], [np.ones_like(x) for x in xs])

    for x, y, n in zip(second(names), second(wide), differentiable, strict=True):
        assert x.dtype == names[n].dtype
        assert np.abs(x - y.numpy()).max() <= 1e-3 * max(1.0, np.abs(y).max())  # eps, and conditions of 10 cubed


def derivative(f):
    def of(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = f(x)
        return tape.gradient(y, x)

    return of


def tangent(f):
    def of(x):
        with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as accumulator:
            y = f(x)
        return accumulator.jvp(y)

    return of


def root(x):
    """As Cholesky of a 1x1."""
    return mtf.cholesky(tf.reshape(x, (1, 1)))[0, 0]


def reciprocal(x):
    return mtf.solve(tf.reshape(x, (1, 1)), tf.ones((1, 1), x.dtype))[0, 0]


@pytest.mark.parametrize("at", ["", "0", "0123"])
@pytest.mark.parametrize(("f", "want"), [(root, 3 / 8 * 2.0**-2.5), (reciprocal, -6 * 2.0**-4)])
def test_third_derivative(f, want, at):
    """With a tf.function around any of the levels."""
    for level in "0123":
        f = derivative(f) if level != "0" else f
        f = tf.function(f) if level in at else f
    np.testing.assert_allclose(f(tf.constant(2.0, tf.float64)), want, rtol=1e-12)


@pytest.mark.parametrize("at", ["", "0", "1", "2", "012"])
@pytest.mark.parametrize("modes", ["f", "fr", "rf"])
def test_forward_mode_says_that_it_cannot(modes, at):
    f = tf.function(root) if "0" in at else root
    for level, mode in enumerate(modes, 1):
        f = {"f": tangent, "r": derivative}[mode](f)
        f = tf.function(f) if str(level) in at else f
    with pytest.raises(NotImplementedError, match="cholesky: there is no forward mode"):
        f(tf.constant(2.0))


class TestConventions:
    """The same gradients as tf.linalg."""

    @pytest.mark.parametrize("dtype", ["float64", "complex128"])
    @pytest.mark.parametrize("name", ["solve", "cholesky"])
    def test_of(self, rng, name, dtype):
        a = positive(rng, (2,), 4, dtype)
        xs = [a, normal(rng, (2, 4, 3), dtype)] if name == "solve" else [a]
        gs = [normal(rng, xs[-1].shape, dtype)]
        ours, theirs = (by_tape(lambda *xs, m=m: (getattr(m, name)(*xs),), xs, gs) for m in (mtf, tf.linalg))
        for x, y in zip(ours, theirs, strict=True):
            assert_near(x.numpy(), y.numpy())

    @pytest.mark.parametrize("dtype", ["float64", "complex128"])
    def test_of_eigenvalues(self, rng, dtype):
        a, w_bar = hermitian(rng, (), 4, dtype), normal(rng, (4,), "float64")
        (got,) = by_tape(lambda a: (mtf.eigh(a)[0],), [a], [w_bar])
        (want,) = by_tape(lambda a: (tf.math.real(tf.linalg.eigh(a)[0]),), [a], [w_bar])
        assert_near(got.numpy(), want.numpy())

    @EAGER_AND_FUNCTION
    def test_unused_eigenvectors_cause_no_nan(self, run):
        got = run(lambda a: by_tape(lambda a: (mtf.eigh(a).eigenvalues,), [a], [np.ones(3)])[0])(tf.eye(3))
        assert_near(got.numpy(), np.eye(3, dtype="float32"))

    def test_gauge(self, rng):
        """A loss that depends on the phases of eigenvectors: an error in eager mode, projected in a function."""
        a, g = hermitian(rng, (), 3, "complex128"), normal(rng, (3, 3), "complex128")
        gradient = lambda a: by_tape(lambda a: (mtf.eigh(a).eigenvectors,), [a], [g])[0]
        with pytest.raises(ValueError, match="phase"):
            gradient(a)
        want = mk.vjp("eigh", a, gauge="ignore", triangle="L")[1]((None, g))[0]
        assert_near(tf.function(gradient)(a).numpy(), want)


# what surrounds an operation, against tf.linalg in the same surroundings


def repeated(m, a):
    """With a tensor that comes twice: as both inputs, and as the cotangent."""
    return tf.reduce_sum(by_tape(lambda x: (m.solve(x, tf.sin(a)),), [a], [a])[0] ** 2) + tf.reduce_sum(m.solve(a, a))


def loop(m, a):
    step = lambda i, y: (i + 1, m.cholesky(tf.matmul(y, y, transpose_b=True) + a))
    return tf.reduce_sum(tf.sin(tf.while_loop(lambda i, _: i < 3, step, (0, a))[1]))


def persistent(m, a):
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(a)
        x = m.cholesky(a)
        y, z = tf.reduce_sum(x**3), tf.reduce_sum(tf.sin(x))
    return tf.reduce_sum(tape.gradient(y, a) ** 2) + tf.reduce_sum(tape.gradient(z, a) ** 2)


def jacobian_in_a_loop(m, a):
    return tf.reduce_sum(tf.sin(in_a_loop(m.cholesky, a[0])))


def batch_jacobian(m, a):
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(a)
        x = m.cholesky(a)
    return tf.reduce_sum(tf.sin(tape.batch_jacobian(x, a, experimental_use_pfor=False)))


SURROUNDINGS = {
    "while_loop": loop,
    "cond": lambda m, a: tf.cond(tf.reduce_sum(a) > 0, lambda: tf.reduce_sum(m.cholesky(a)), lambda: a[0, 0, 0]),
    "scan": lambda m, a: tf.reduce_sum(tf.sin(tf.scan(lambda c, x: m.cholesky(x) + c, a, tf.zeros_like(a[0])))),
    "map_fn": lambda m, a: tf.reduce_sum(tf.sin(tf.map_fn(m.cholesky, a))),
    "recompute_grad": lambda m, a: tf.reduce_sum(tf.recompute_grad(lambda a: tf.sin(m.cholesky(a)))(a)),
    "gather": lambda m, a: tf.reduce_sum(tf.gather(m.cholesky(a), [0, 0, 1]) ** 3),  # its cotangents are IndexedSlices
    "gather of gradient": lambda m, a: tf.reduce_sum(
        tf.gather(derivative(lambda a: tf.reduce_sum(m.cholesky(a) ** 3))(a), [0, 0, 1]) ** 2
    ),
    "repeated": repeated,
    "persistent": persistent,
    "jacobian in a loop": jacobian_in_a_loop,
    "batch_jacobian in a loop": batch_jacobian,
}


def in_surroundings(m, name, order):
    f = lambda a: SURROUNDINGS[name](m, a)
    for _ in range(order):
        f = derivative(f)
    return f


@pytest.mark.parametrize(
    ("name", "order", "run"),
    [(name, 1, run) for name in SURROUNDINGS for run in (lambda f: f, tf.function)]
    + [(name, 2, tf.function) for name in ("while_loop", "gather", "repeated")],
)
def test_surroundings(rng, name, order, run):
    a = tf.constant(positive(rng, (2,), 2, "float64"))
    want = in_surroundings(tf.linalg, name, order)(a).numpy()
    assert_near(run(in_surroundings(mtf, name, order))(a).numpy(), want, multiple=1e5)  # conditions of 10, cubed


def test_second_derivatives_that_tensorflow_lacks(rng):
    """Of any tf.custom_gradient in a tf.function: if this fails, the module's docstring can say less."""
    a = tf.constant(positive(rng, (2,), 2, "float64"))
    with pytest.raises(NotImplementedError, match="recompute_grad tried to transpose grad"):
        tf.function(in_surroundings(mtf, "recompute_grad", 2))(a)
    with pytest.raises(AssertionError):
        tf.function(in_surroundings(mtf, "cond", 2))(a)


@EAGER_AND_FUNCTION
@pytest.mark.parametrize(
    "f", [lambda a: tf.vectorized_map(mtf.cholesky, a), lambda a: by_jacobian(mtf.cholesky, a)], ids=["map", "jacobian"]
)
def test_vectorization_that_loses_derivatives_says_so(f, run):
    """Of TensorFlow's: a gradient through it would be zero."""
    g = tf.autograph.experimental.do_not_convert(derivative(lambda a: tf.reduce_sum(f(a))))
    with pytest.raises(LookupError, match="loses custom"):
        run(g)(tf.eye(2, batch_shape=[2]))


@pytest.mark.parametrize("options", [{}, {"run_eagerly": True}], ids=str)
def test_keras(rng, options):
    """Two steps of training, as with tf.linalg."""

    class Layer(tf.keras.layers.Layer):
        def __init__(self, m):
            super().__init__()
            self.m, self.w = m, self.add_weight(shape=(3, 3), initializer=tf.keras.initializers.Orthogonal(seed=1))

        def call(self, x):
            a = tf.eye(3) + tf.matmul(self.w, self.w, transpose_b=True)
            return self.m.solve(self.m.cholesky(a), x[..., None])[..., 0]

    x, y = normal(rng, (8, 3), "float32"), normal(rng, (8, 3), "float32")
    weights = []
    for m in (mtf, tf.linalg):
        model = tf.keras.Sequential([tf.keras.Input((3,)), Layer(_broadcasting(m))])
        model.compile("sgd", "mse", jit_compile=False, **options)
        before = model.get_weights()[0]
        model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
        weights.append(model.get_weights()[0])
        assert np.abs(weights[-1] - before).max() > 1e-3
    assert_near(*weights)


def _broadcasting(m):
    """tf.linalg.solve does not broadcast."""
    if m is mtf:
        return m
    solve = lambda a, b: m.solve(tf.broadcast_to(a, [tf.shape(b)[0], 3, 3]), b)
    return SimpleNamespace(solve=solve, cholesky=m.cholesky)


def test_data(rng):
    a = positive(rng, (5,), 3, "float64")
    data = tf.data.Dataset.from_tensor_slices(a).batch(2).map(mtf.cholesky, num_parallel_calls=2)
    assert data.element_spec.shape.as_list() == [None, 3, 3]
    assert_near(np.concatenate(list(data)), np.linalg.cholesky(a))


# kernel calls and memory


@EAGER_AND_FUNCTION
def test_a_gradient_is_two_kernel_calls(monkeypatch, rng, run):
    calls = kernel_calls(monkeypatch)
    a, b = general(rng, (5,), 4, "float64"), normal(rng, (5, 4, 2), "float64")
    run(lambda a, b: by_tape(lambda a, b: (mtf.solve(a, b),), [a, b], [np.ones((5, 4, 2))]))(*tensors([a, b]))
    assert calls == ["solve forward", "solve pullback"]
    calls.clear()
    run(lambda a: by_jacobian(lambda a: mtf.solve(a, b[0]), a))(a[0])
    assert sorted(calls) == ["solve forward"] + 8 * ["solve pullback"]


@EAGER_AND_FUNCTION
def test_no_memory_is_shared_with_what_is_changed_later(rng, run):
    a, b = general(rng, (16,), 8, "float64"), normal(rng, (16, 8, 8), "float64")
    want = mk.vjp("solve", a, b)[1](np.ones_like(b))
    x, y, v = a.copy(), b.copy(), tf.Variable(b)
    f = run(mtf.solve)
    with tf.GradientTape() as tape:
        tape.watch(v)
        result = f(x, v)
    seen = result.numpy().copy()
    x[:], y[:] = 0, 0
    v.assign_add(v)
    np.asarray(mtf.solve(a, b))
    assert_near(seen, np.linalg.solve(a, b))
    assert_near(result.numpy(), seen)
    assert_near(tape.gradient(result, v, output_gradients=np.ones_like(b)).numpy(), want[1])
    assert_near(v.numpy(), 2 * b)


@EAGER_AND_FUNCTION
def test_inputs_that_are_no_tensors(rng, run):
    a, b = general(rng, (), 3, "float64"), normal(rng, (3, 2), "float64")
    want = np.linalg.solve(a, b)
    read_only = a.copy()
    read_only.flags.writeable = False
    for x in (read_only, a.astype(">f8"), np.asfortranarray(a), tf.Variable(a)):
        assert_near(run(mtf.solve)(x, b).numpy(), want)
    got = mtf.solve(a, [[0.1], [0.1], [0.1]])  # Python's numbers take the dtype beside them, from the start
    assert got.dtype == tf.float64
    assert_near(got.numpy(), np.linalg.solve(a, np.full((3, 1), 0.1)))
    assert mtf.solve(a.astype("float32"), [[1], [1], [1]]).dtype == tf.float32


@EAGER_AND_FUNCTION
@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float64", "complex64")])
def test_mixed_dtypes_and_broadcasting(rng, dtypes, run):
    a, b = general(rng, (1,), 4, dtypes[0]), normal(rng, (3, 1, 4, 2), dtypes[1])
    dtype = np.result_type(*dtypes)
    got = run(mtf.solve)(a, b)
    assert got.dtype == dtype
    assert_near(got.numpy(), np.linalg.solve(a.astype(dtype), b))
    gs = run(lambda a, b: by_tape(lambda a, b: (mtf.solve(a, b),), [a, b], [np.ones(b.shape, dtype)]))(*tensors([a, b]))
    assert [g.shape for g in gs] == [a.shape, b.shape]
    assert [g.dtype for g in gs] == [*dtypes]
    want = mk.vjp("solve", a.astype(dtype), b)[1](np.ones(b.shape, dtype))
    for g, w, x in zip(gs, want, (a, b), strict=True):
        assert_near(g.numpy(), (w if np.iscomplexobj(x) else w.real).astype(x.dtype))


@EAGER_AND_FUNCTION
def test_vectors(rng, run):
    a, b = general(rng, (3,), 4, "float64"), normal(rng, (4,), "float64")
    got = run(lambda b: by_tape(lambda b: (mtf.solve(a, b),), [b], [np.ones((3, 4))])[0])(b)
    assert_near(got.numpy(), np.linalg.inv(a).sum((0, 1)))


@EAGER_AND_FUNCTION
def test_lu_solve_with_its_factorisation(rng, run):
    """Pivots have no derivative, of whatever integer dtype."""
    a, b = tensors((general(rng, (2,), 3, "float64"), normal(rng, (2, 3, 2), "float64")))

    def loss(a):
        lu, piv = mtf.lu_factor(a)
        return tf.reduce_sum(mtf.lu_solve(lu, tf.cast(piv, tf.int64), b)) + tf.cast(tf.reduce_sum(piv), tf.float64)

    want = derivative(lambda a: tf.reduce_sum(mtf.solve(a, b)))(a)
    assert_near(run(derivative(loss))(a).numpy(), want.numpy())
    assert run(derivative(lambda a: tf.cast(mtf.lu_factor(a).piv, tf.float64)))(a) is None


@EAGER_AND_FUNCTION
@pytest.mark.parametrize("shape", [(0, 0), (0, 2, 2), (2, 0, 0)])
def test_empty(shape, run):
    f = lambda a: tf.reduce_sum(mtf.solve(mtf.cholesky(a), a) ** 2)
    for _ in range(2):
        f = derivative(f)
        assert run(f)(tf.ones(shape)).shape == shape


# graphs


def spec(*shape, dtype=tf.float64):
    return tf.TensorSpec(shape, dtype)


def test_static_shapes_of_a_broadcast_input(rng):
    shapes = []

    @tf.function(input_signature=[spec(None, 3, 3), spec(3, 2)])
    def f(a, b):
        gs = by_tape(lambda a, b: (mtf.solve(a, b),), [a, b], [mtf.solve(a, b)])
        shapes.extend(g.shape.as_list() for g in gs)
        return gs

    a, b = general(rng, (5,), 3, "float64"), normal(rng, (3, 2), "float64")
    for size in (1, 5):
        want = mk.vjp("solve", a[:size], b)[1](np.linalg.solve(a[:size], b))
        for g, w in zip(f(a[:size], b), want, strict=True):
            assert_near(g.numpy(), w)
    assert shapes == [[None, 3, 3], [3, 2]]


@pytest.mark.parametrize("sample", PLAIN, ids=str)
def test_unknown_sizes(rng, sample):
    """A first derivative is right, a second one says what it needs."""
    inputs = sample.draw(rng, (2,), 3, "float64")
    specs = [spec(*[None] * x.ndim, dtype=x.dtype) for x in inputs]
    i = sample.op.inputs.index(sample.op.differentiable_inputs[0])

    def loss(*inputs):
        ys = getattr(mtf, sample.name)(*inputs, **function_options(sample))
        ys = (ys,) if len(sample.op.outputs) == 1 else ys
        return tf.reduce_sum(ys[sample.op.outputs.index(sample.op.differentiable_outputs[0])])

    def of(order):
        def f(*inputs):
            d = lambda x: loss(*inputs[:i], x, *inputs[i + 1 :])
            for _ in range(order):
                d = derivative(d)
            return d(inputs[i])

        return f

    want = of(1)(*tensors(inputs))
    assert_near(tf.function(of(1), input_signature=specs)(*inputs).numpy(), want.numpy())
    with pytest.raises(
        ValueError, match=f"{sample.op.name}: .*second derivative needs matrices of a known static size"
    ):
        tf.function(of(2), input_signature=specs)(*inputs)


@EAGER_AND_FUNCTION
def test_cotangents_of_another_dtype_or_an_unknown_shape(rng, run):
    a, b, g = (normal(rng, (2, 3, 3), "float32") for _ in range(3))

    def f(a, b):
        with tf.GradientTape() as tape:
            tape.watch(b)
            x = mtf.solve(a, b)
        return tape.gradient(x, b, output_gradients=tf.numpy_function(np.float64, [g], tf.float64))

    assert_near(run(f)(*tensors((a, b))).numpy(), mk.vjp("solve", a, b)[1](g)[1])


def test_failures_are_nan_in_a_function():
    a = np.stack([np.eye(2), -np.eye(2)])
    got = tf.function(mtf.cholesky)(a).numpy()
    assert_near(got[0], np.eye(2))
    assert np.isnan(got[1]).all()
    with pytest.raises(tf.errors.InvalidArgumentError, match="not positive definite"):
        tf.function(lambda a: mtf.cholesky(a, on_error="raise"))(a)
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        mtf.cholesky(a)
    assert np.isnan(mtf.cholesky(a, on_error="nan")[1]).all()


def test_xla_says_that_it_cannot():
    with pytest.raises(tf.errors.InvalidArgumentError, match="PyFunc"):
        tf.function(mtf.cholesky, jit_compile=True)(np.eye(2))


def test_saved_model(tmp_path):
    """It runs in its process alone, also when another has functions of the same numbers; there, devices are tried."""
    module = tf.Module()
    module.f = tf.function(mtf.cholesky, input_signature=[spec(None, 2, 2)])
    tf.saved_model.save(module, str(tmp_path / "here"))
    assert_near(tf.saved_model.load(str(tmp_path / "here")).f(4 * np.eye(2)[None]).numpy(), 2 * np.eye(2)[None])
    begin = """
import sys, numpy as np, tensorflow as tf, matkern.tensorflow as mtf
a = 4 * np.eye(2)[None]
"""
    save = """
module = tf.Module()
module.f = tf.function(mtf.cholesky, input_signature=[tf.TensorSpec((None, 2, 2), tf.float64)])
tf.saved_model.save(module, sys.argv[1])
"""
    load = """
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

def message():
    try:
        return str(tf.saved_model.load(sys.argv[1]).f(a))
    except tf.errors.OpError as error:
        return str(error)

assert "Could not find callback" in message(), message()
other = tf.function(lambda a: mtf.cholesky(a, upper=True))
other(a)
assert "a SavedModel cannot hold matkern's kernels" in message(), message()

with tf.device("CPU:1"):
    x = tf.constant(a)
assert x.device.endswith("CPU:1")
for f in (mtf.cholesky, tf.function(mtf.cholesky)):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = f(x)
    np.testing.assert_allclose(y, a / 2)
    np.testing.assert_allclose(tape.gradient(y, x, output_gradients=a), a / 4)
"""
    for code in (save, load):
        command = [sys.executable, "-c", begin + code, str(tmp_path / "there")]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr[-2000:]


# errors


@EAGER_AND_FUNCTION
@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (tf.zeros((2, 1), tf.bfloat16), TypeError, r"b has dtype bfloat16; .* by tf.cast\(b, tf.float32\)"),
        (tf.zeros((2, 1), tf.float16), TypeError, r"b has dtype float16; .* by tf.cast\(b, tf.float32\)"),
        (tf.zeros((2, 1), tf.int64), TypeError, r"b has dtype int64; .* by tf.cast\(b, tf.float64\)"),
        (tf.zeros((2, 1), tf.bool), TypeError, r"b has dtype bool; .* by tf.cast\(b, tf.float64\)"),
        (tf.sparse.eye(2), TypeError, r"b is a SparseTensor; make it dense by tf.sparse.to_dense\(b\)"),
        (tf.ragged.constant([[1.0], [2.0, 3.0]]), TypeError, r"b is a RaggedTensor; make it dense by b.to_tensor\(\)"),
        (None, ValueError, "b is no tensor and cannot be made one: "),
        (np.zeros((3, 1)), ValueError, "b.* shape .*3, 1"),
        (np.zeros(()), ValueError, r"b.* shape \(\)"),
        (np.zeros((3, 2, 1)), ValueError, r"do not broadcast: \(2,\) of a, \(3,\) of b"),
    ],
    ids=str,
)
def test_bad_input(run, x, error, match):
    a = np.stack([np.eye(2), np.eye(2)])
    with pytest.raises(error, match=rf"(?s)solve: .*{match}"):
        run(lambda: mtf.solve(a, x))()


def test_pivots_are_integers():
    for run in (lambda f: f, tf.function):
        with pytest.raises(TypeError, match="lu_solve: piv has dtype float64; integers are needed"):
            run(mtf.lu_solve)(np.eye(2), np.zeros(2), np.ones((2, 1)))
    with pytest.raises(ValueError, match="piv must hold integers from 0 to"):  # none is cut to 32 bits
        mtf.lu_solve(np.eye(2), np.array([0, 2**32 + 1]), np.ones((2, 1)))


def test_calls():
    for run in (lambda f: f, tf.function):
        with pytest.raises(TypeError, match="solve has no option 'lower'"):
            run(lambda: mtf.solve(np.eye(2), np.ones(2), lower=True))()
        with pytest.raises(TypeError, match="solve needs a, b; b is missing"):
            run(lambda: mtf.solve(np.eye(2)))()
    with pytest.raises(ValueError, match=r"cholesky: a has an unknown rank; give it by tf.ensure_shape"):
        tf.function(mtf.cholesky, input_signature=[tf.TensorSpec(None, tf.float64)])(np.eye(2))


@EAGER_AND_FUNCTION
def test_results_are_namedtuples(run):
    result = run(mtf.eigh)(np.eye(2))
    assert type(result) is mk.OPS["eigh"].result and result.eigenvalues is result[0]


def test_options_by_position():
    check_options_by_position(mtf, tf.constant)
