"""matkern's operations for TensorFlow: eager and in ``tf.function``, reverse mode of any order, on the CPU.

Each operation of `OPS` is a function of this module, with the same name and options, of tensors, variables, arrays or
lists. A first derivative runs the kernel, once; the kernels' own derivatives come from the plain formula, whose linear
algebra is this module again. It computes the cotangents of all inputs, as TensorFlow does not say which are wanted.

Inputs are dense, of float32, float64, complex64 or complex128, of which mixed ones are promoted. Gradients follow
TensorFlow's conventions, which are matkern's; what has an option ``UPLO`` gets its gradient with respect to the entries
of the triangle that is read, as ``tf.linalg.eigh`` does.

``inv``, ``solve`` and ``solve_triangular`` also take ``adjoint``, as in ``tf.linalg``: whether A^H stands for A.

A matrix that fails raises an error in eager mode and is NaN in a ``tf.function``, where the part of a cotangent along
the free phases of eigenvectors is dropped, too; the options ``on_error`` and ``gauge`` choose. Static shapes are kept;
the rank of every input must be known in a ``tf.function``, for second derivatives the sizes of the matrices, too.

What works: ``tf.GradientTape``, nested, its ``jacobian`` and ``batch_jacobian``, ``tf.map_fn``, ``tf.vectorized_map``,
``tf.while_loop``, ``tf.cond``, ``tf.scan``, ``tf.data``, ``tf.recompute_grad``, Keras. Jacobians and maps run a kernel
once for each row; a batch runs it once. What does not:

- ``tf.autodiff.ForwardAccumulator``: custom gradients have no hook for a forward rule (NotImplementedError).
- ``jit_compile=True``: XLA has no Python callbacks (InvalidArgumentError).
- Derivatives of what ``tf.vectorized_map`` or ``jacobian`` gives: their vectorization loses custom gradients
  (LookupError). Use ``tf.map_fn``, or ``experimental_use_pfor=False``.
- Second derivatives of a ``tf.cond`` or a ``tf.recompute_grad`` in a ``tf.function``: they fail in TensorFlow with any
  custom gradient (AssertionError, NotImplementedError).
- A SavedModel cannot hold kernels, and TensorFlow has no hook to refuse to save one: it runs in the process that saved
  it, and raises in another.

Examples
--------
>>> import tensorflow as tf, matkern.tensorflow
>>> a = tf.Variable([[2.0, 0.0], [0.0, 4.0]])
>>> with tf.GradientTape() as tape:
...     loss = tf.reduce_sum(tf.math.log(tf.linalg.diag_part(matkern.tensorflow.cholesky(a))))
>>> print(tape.gradient(loss, a).numpy())
[[0.25  0.   ]
 [0.    0.125]]
"""

import functools
import inspect
import os

import numpy as np
import tensorflow as tf

from .op import OPS, Namespace, Quiet, functions

__all__ = [*OPS]  # noqa: PLE0604 - the operations' names

_FLOATS = (tf.float32, tf.float64, tf.complex64, tf.complex128)
_ADJOINT = ("inv", "solve", "solve_triangular")  # what tf.linalg computes of the adjoint, too
_REMEDIES = {
    tf.SparseTensor: "make it dense by tf.sparse.to_dense({})",
    tf.RaggedTensor: "make it dense by {}.to_tensor()",
}
# A SavedModel names the functions that it calls by their number in the process: another process has others there.
_PROCESS = int.from_bytes(os.urandom(7), "little")


class _TensorFlow(Namespace):
    arange = staticmethod(tf.range)  # of int32, as permutations are

    @staticmethod
    def abs(x):
        """In the dtype of x: TensorFlow does not multiply real with complex numbers."""
        return _as(tf.abs(x), x.dtype)


_xp = _TensorFlow(tf.experimental.numpy, Quiet(globals()))


def _as(x, dtype):
    """A floating or complex tensor in the dtype, which is not a smaller one."""
    if dtype.is_complex and not x.dtype.is_complex:
        x = tf.cast(x, dtype.real_dtype)
        return tf.complex(x, tf.zeros_like(x))  # the gradient of a cast would warn of the imaginary part it discards
    return tf.cast(x, dtype)


def _common_dtype(xs):
    return tf.as_dtype(np.result_type(*[x.dtype.as_numpy_dtype for x in xs if not x.dtype.is_integer]))


def _dtypes(dtype):
    """The dtype of an operand by its kind, in a call of this dtype."""
    complex_dtype = tf.complex128 if dtype.real_dtype == tf.float64 else tf.complex64
    return {"": dtype, "real": dtype.real_dtype, "complex": complex_dtype, "int": tf.int32}


def _promoted(xs):
    """Tensors in their common dtype; integers as they are."""
    dtype = _common_dtype(xs)
    return [x if x.dtype.is_integer else _as(x, dtype) for x in xs]


def _tensor(op, name, x, hint=None):
    """The input as a tensor that a kernel can read; TypeError or ValueError if there is none."""
    what = f"{op.name}: {name}"
    for kind, remedy in _REMEDIES.items():
        if isinstance(x, kind):
            raise TypeError(f"{what} is a {kind.__name__}; {remedy.format(name)}")
    try:
        x = tf.convert_to_tensor(x, dtype_hint=hint)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{what} is no tensor and cannot be made one: {error}") from error
    if op.forward.kinds[name] == "int":
        if not x.dtype.is_integer:
            raise TypeError(f"{what} has dtype {x.dtype.name}; integers are needed, as lu_factor returns them")
    elif op.forward.kinds[name] == "real" and x.dtype.is_complex:
        raise TypeError(f"{what} must be real, got dtype {x.dtype.name}")
    elif x.dtype not in _FLOATS:
        remedy = "float32" if x.dtype.is_floating else "float64"
        raise TypeError(
            f"{what} has dtype {x.dtype.name}; matkern has float32, float64, complex64 and complex128: convert it by "
            f"tf.cast({name}, tf.{remedy})"
        )
    if x.shape.rank is None:
        raise ValueError(f"{what} has an unknown rank; give it by tf.ensure_shape({name}, [None, ...])")
    return x


def _tensors(op, inputs):
    """The inputs as tensors in their common dtype."""
    given = dict(zip(op.inputs, inputs, strict=True))
    kinds = op.forward.kinds
    xs = {n: _tensor(op, n, x) for n, x in given.items() if hasattr(x, "dtype")}
    # Python's numbers take the dtype of what stands beside them
    floats = [x for n, x in xs.items() if not kinds[n]]
    hint = _dtypes(_common_dtype(floats)) if floats else {}
    xs = {n: xs[n] if n in xs else _tensor(op, n, x, hint.get(kinds[n])) for n, x in given.items()}
    dtype = _common_dtype([x for n, x in xs.items() if not kinds[n]])
    return [x if x.dtype.is_integer else _as(x, _dtypes(dtype)[kinds[n]]) for n, x in xs.items()]


def _shapes(op, kernel, operands, names):
    """Static shapes, in one call of the kernel, of the operands and results named."""
    return op.result_shapes(kernel, {n: tuple(x.shape.as_list()) for n, x in operands.items()}, names)


def _run(op, kernel, run, operands):
    """The kernel's outputs as tensors, by ``run(name -> array)``, which gives them as arrays, from its operands."""

    def on_arrays(*arrays):
        return run(dict(zip(operands, arrays, strict=True)))

    tensors = [*operands.values()]
    if tf.executing_eagerly():
        return [tf.convert_to_tensor(y) for y in on_arrays(*map(np.asarray, tensors))]

    def in_this_process(process, *arrays):
        if process != _PROCESS:
            raise RuntimeError(f"{op.name}: a SavedModel cannot hold matkern's kernels; build it in this process")
        return on_arrays(*arrays)

    shapes = _shapes(op, kernel, operands, kernel.outputs)
    kinds = op.forward.kinds | kernel.kinds
    dtypes = _dtypes(_common_dtype([x for n, x in operands.items() if not kinds[n]]))
    ys = tf.numpy_function(
        in_this_process,
        [tf.constant(_PROCESS, tf.int64), *tensors],
        [dtypes[kernel.kinds[n]] for n in kernel.outputs],
        stateful=False,
    )
    return [tf.ensure_shape(y, shape) for y, shape in zip(ys, shapes, strict=True)]


def _guarded(op, ys):
    """Results of a custom gradient; where TensorFlow's vectorization loses it, a derivative raises, and is not zero."""
    if tf.executing_eagerly():
        return ys
    message = (
        f"{op.name}: TensorFlow's vectorization loses custom gradients; use tf.map_fn for tf.vectorized_map, "
        "experimental_use_pfor=False for a jacobian"
    )
    return [tf.raw_ops.PreventGradient(input=y, message=message) for y in ys]


def _summed_to(g, x):
    """A cotangent summed over the axes along which its input was broadcast."""
    if g.shape.is_fully_defined() and g.shape == x.shape:
        return g
    axes = tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(g), s1=tf.shape(x)).r1
    return tf.reshape(tf.reduce_sum(g, axes), tf.shape(x))


def _differentiable(op, inputs, outputs, options):
    """The outputs of the forward kernel, computed already, as differentiable functions of the inputs."""

    @tf.custom_gradient
    def function(*inputs):
        def gradient(*bars):
            # tensors of the graph in which the gradient is taken, which may be another one
            xs, ys = [*map(tf.identity, inputs)], [*map(tf.identity, outputs)]
            # the outputs depend on the inputs here, too, which a second derivative has to see
            ys = _differentiable(op, xs, ys, options)
            values = dict(zip(op.inputs + op.forward.outputs, [*xs, *ys], strict=True))
            bars = dict(zip(op.forward.outputs, bars, strict=True))
            operands = {n: values[n] for n in op.saved}
            for n in op.differentiable_outputs:  # a cotangent may come as IndexedSlices, or without a static shape
                operands[f"{n}_bar"] = tf.ensure_shape(tf.cast(bars[n], values[n].dtype), values[n].shape)
            gs = dict(zip(op.differentiable_inputs, _pullback(op, operands, options), strict=True))
            return [_summed_to(gs[n], x) if n in gs else None for n, x in zip(op.inputs, inputs, strict=True)]

        return _guarded(op, outputs), gradient

    return function(*inputs)


def _pullback(op, operands, options):
    """Cotangents of the inputs that have one, from what is saved and the cotangents of the outputs that have one."""

    def split(values):
        return values, {n: values[f"{n}_bar"] for n in op.differentiable_outputs}

    def run(arrays):
        return op.run_pullback(*split(arrays), options)

    @tf.custom_gradient
    def function(*xs):
        def gradient(*gs):
            shapes = zip(taken, _shapes(op, op.pullback, taken, taken), strict=True)
            if any(None in shape[len(shape) - len(op.pullback.cores[n]) :] for n, shape in shapes):
                raise ValueError(
                    f"{op.name}: in a tf.function, a second derivative needs matrices of a known static size: give it "
                    "in an input_signature or by tf.ensure_shape"
                )
            copies = [*map(tf.identity, xs)]  # as in _differentiable, for a third derivative
            floats = [x for x in copies if not x.dtype.is_integer]
            with tf.GradientTape() as tape:
                tape.watch(floats)
                values = dict(zip(operands, _promoted(copies), strict=True))
                results = op.pull_by_formula(_xp, *split(values), options)
                # the formula works in the common dtype, where the gradient of a real input may be complex
                pairs = zip(results, gs, strict=True)
                results = [tf.math.real(y) if y.dtype.is_complex and not g.dtype.is_complex else y for y, g in pairs]
            bars = tape.gradient(results, floats, output_gradients=gs)
            if all(g is None for g in bars):  # in a ForwardAccumulator no tape records: its tangents would be lost
                raise NotImplementedError(f"{op.name}: there is no forward mode for TensorFlow; use tf.GradientTape")
            bars = iter(bars)
            return [None if x.dtype.is_integer else next(bars) for x in xs]

        given = dict(zip(operands, xs, strict=True))
        taken = {n: given[n] for n in op.pullback.inputs if n in given}
        return _guarded(op, _run(op, op.pullback, run, taken)), gradient

    return function(*operands.values())


def _function(op):
    """The operation as a function of tensors."""

    def run(arrays, options):
        values = op.run_forward([*arrays.values()], options)
        return [values[n] for n in op.forward.outputs]

    @tf.autograph.experimental.do_not_convert
    @functools.wraps(op.function)
    def function(*inputs, **options):
        eager = tf.executing_eagerly()
        if options.get("on_error") is None:
            options["on_error"] = "raise" if eager else "nan"
        adjoint = options.pop("adjoint", False) if op.name in _ADJOINT else False
        if adjoint and "trans" in options:
            raise TypeError(f"{op.name}: adjoint is TensorFlow's name for trans='C': give one of the two")
        if adjoint and "trans" in op.options:
            options["trans"] = "C"
        inputs, options = op.arguments(inputs, options)
        if "UPLO" in op.options:
            options.setdefault("triangle", options.get("UPLO", "L"))
        if "gauge" in op.options and not eager:
            options.setdefault("gauge", "ignore")
        inputs = _tensors(op, inputs)
        if adjoint and "trans" not in op.options:
            inputs = [tf.linalg.adjoint(inputs[0]), *inputs[1:]]
        inputs, options, finish = op.arranged(tf.experimental.numpy, inputs, options)
        outputs = _run(
            op, op.forward, functools.partial(run, options=options), dict(zip(op.inputs, inputs, strict=True))
        )
        outputs = _differentiable(op, inputs, outputs, options)
        return op.returned(finish(dict(zip(op.forward.outputs, outputs, strict=True))))

    parameters = inspect.signature(op.function).parameters.values()
    # tf.function passes the defaults that it sees here, and that of on_error depends on the mode
    parameters = [p.replace(default=None) if p.name == "on_error" else p for p in parameters if p.name != "out"]
    if op.name in _ADJOINT:
        parameters.append(inspect.Parameter("adjoint", inspect.Parameter.KEYWORD_ONLY, default=False))
    function.__module__ = __name__  # where pickle finds it
    function.__signature__ = inspect.Signature(parameters)
    return function


globals().update(functions(_function))
