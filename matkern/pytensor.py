"""matkern's operations for PyTensor 3: pullbacks, pushforwards, and derivatives of them.

Each operation of `OPS` is a function of this module, with the same name and options. One node works on a whole batch,
also after ``vectorize_graph``. A first derivative runs the kernel, once; the kernels' own derivatives come from the
plain formula, whose linear algebra is this module again. No static shape has to be known.

Gradients follow PyTensor's conventions: those of ``cholesky``, ``eigh`` and ``eigvalsh`` are with respect to the
entries of the triangle that is read, and batch axes of inputs broadcast only if their static size is 1. That of
``solve`` with ``assume_a="pos"`` is Hermitian. A matrix that fails is NaN, as in PyTensor's own operations, unless
``on_error="raise"`` is given.

Complex inputs have values and, by ``pushforward(..., use_op_pushforward=True)``, tangents, but no gradients: PyTensor
has none of complex variables. What also does not work: a third derivative by ``use_op_pushforward``, which PyTensor's
``matmul`` lacks (NotImplementedError), and backends that do not call Python, such as JAX. Numba calls the kernels in
object mode, and says so in a warning.

Examples
--------
>>> import pytensor, pytensor.tensor as pt, matkern.pytensor
>>> a = pt.matrix("a")
>>> log_determinant = 2 * pt.log(pt.diagonal(matkern.pytensor.cholesky(a))).sum()
>>> gradient = pytensor.function([a], pytensor.grad(log_determinant, a), mode="FAST_COMPILE")
>>> gradient([[2.0, 0.0], [0.0, 4.0]])
array([[0.5 , 0.  ],
       [0.  , 0.25]])
"""

import functools
import inspect

import numpy as np
import pytensor.tensor as pt
from pytensor import gradient
from pytensor.gradient import DisconnectedType, disconnected_type, grad_not_implemented
from pytensor.graph.basic import Apply
from pytensor.graph.null_type import NullType
from pytensor.graph.op import Op
from pytensor.graph.replace import _vectorize_node, _vectorize_not_needed, graph_replace
from pytensor.graph.rewriting.basic import node_rewriter
from pytensor.tensor.extra_ops import broadcast_shape
from pytensor.tensor.rewriting.basic import register_specialize

from .op import OPS, RECORDS, Namespace, functions

__all__ = [*OPS]  # noqa: PLE0604 - the operations' names

_DTYPES = ("float32", "float64", "complex64", "complex128")


class _Range:
    """Whole numbers that == compares one by one; PyTensor's variables it compares as objects."""

    __hash__ = None

    def __init__(self, n):
        self.numbers = pt.arange(n)

    def __eq__(self, other):
        return pt.eq(other, self.numbers)


class _Linalg:
    """This module for the formulas, to which the gradient of what has no ``UPLO`` is Hermitian."""

    def __getattr__(self, name):
        options = RECORDS[name].options
        hermitian = {"triangle": None} if "triangle" in options and "UPLO" not in options else {}
        return functools.partial(globals()[name], **hermitian)


class _PyTensor(Namespace):
    arange = _Range

    @staticmethod
    def real(x):
        return x  # formulas get real variables alone, of which pt.real has no gradient


_xp = _PyTensor(pt, _Linalg())


class _Kernel(Op):
    """A kernel on batches, by the names of its operands and results.

    The inputs of a node all have as many batch axes, so that further ones are in front of all of them.
    """

    __props__ = ("name", "options", "operands", "results")

    def __init__(self, name, options, operands, results):
        self.name, self.options, self.operands, self.results = name, tuple(options), tuple(operands), tuple(results)

    def __str__(self):
        return f"{type(self).__name__}{{{self.name}}}"

    @property
    def record(self):
        return RECORDS[self.name]  # not an attribute: nodes are pickled, kernels are not

    def core(self, operand):
        """The letters of an operand's last axes."""
        return [letter.rstrip("?") for letter in self.record.forward.cores[_owner(operand)]]

    def kind(self, operand):
        return self.record.forward.kinds[_owner(operand)]

    def make_node(self, *inputs):
        inputs = dict(zip(self.operands, map(pt.as_tensor, inputs), strict=True))
        shapes = {name: x.type.shape for name, x in inputs.items()}
        shapes = self.record.result_shapes(self.kernel, shapes, self.results)
        batch = len(shapes[0]) - len(self.core(self.results[0]))
        padded = [pt.shape_padleft(x, batch - x.type.ndim + len(self.core(name))) for name, x in inputs.items()]
        dtype = np.result_type(*[x.dtype for name, x in inputs.items() if not self.kind(name)])
        real = np.empty(0, dtype).real.dtype
        complex_dtype = np.result_type(real, np.complex64)
        dtypes = {"": dtype.name, "real": real.name, "complex": complex_dtype.name, "int": "int32"}
        outputs = [
            pt.tensor(dtype=dtypes[self.kind(name)], shape=shape)
            for name, shape in zip(self.results, shapes, strict=True)
        ]
        return Apply(self, padded, outputs)

    def _batch_ndim(self, node):
        return node.inputs[0].type.ndim - len(self.core(self.operands[0]))

    def infer_shape(self, fgraph, node, shapes):
        batch, sizes = self._batch_ndim(node), {}
        for name, shape in zip(self.operands, shapes, strict=True):
            sizes |= zip(self.core(name), shape[batch:], strict=True)
        if "m" in sizes:
            sizes.setdefault("min", pt.minimum(sizes["m"], sizes["n"]))
        common = broadcast_shape(*(shape[:batch] for shape in shapes), arrays_are_shapes=True)
        return [(*common, *(sizes[c] for c in self.core(name))) for name in self.results]

    def perform(self, node, inputs, output_storage):
        # gradients are summed over the axes that broadcast, which the graph must therefore know
        for i in range(self._batch_ndim(node)):
            if len({x.shape[i] for x in inputs}) > 1:
                for name, x, variable in zip(self.operands, inputs, node.inputs, strict=True):
                    if x.shape[i] == 1 != variable.type.shape[i]:
                        raise ValueError(
                            f"{self.name}: {name} has shape {x.shape} and broadcasts along axis {i}, which the graph "
                            f"does not know: make it pytensor.tensor.specify_broadcastable({name}, {i})"
                        )
        results = self.run(dict(zip(self.operands, inputs, strict=True)))
        for storage, y in zip(output_storage, results, strict=True):
            storage[0] = y


_vectorize_node.register(_Kernel)(_vectorize_not_needed)


class Operation(_Kernel):
    """An operation, with what its derivatives need kept."""

    @property
    def kernel(self):
        return self.record.forward

    def run(self, values):
        return self.record.run_wanted([values[n] for n in self.operands], dict(self.options), self.results)

    def connection_pattern(self, node):
        record = self.record
        return [
            [x in record.differentiable_inputs and y in record.differentiable_outputs for y in self.results]
            for x in self.operands
        ]

    def _derivative(self, kernel, inputs, outputs, given):
        values = dict(zip(self.operands + self.results, (*inputs, *outputs), strict=True))
        if not values.keys() >= {*self.record.saved}:  # a rewrite left out what nothing used
            op = type(self)(self.name, self.options, self.operands, self.record.forward.outputs)
            values |= zip(op.results, op(*inputs, return_list=True), strict=True)
        return kernel.of(self.name, self.options, [values[name] for name in self.record.saved], given)

    def pullback(self, inputs, outputs, cotangents):
        differentiable = self.record.differentiable_inputs
        if _is_complex(inputs):
            return [
                _not_complex(self, i, x) if name in differentiable else disconnected_type()
                for i, (name, x) in enumerate(zip(self.operands, inputs, strict=True))
            ]
        given = _connected(self.results, cotangents, self.record.differentiable_outputs)
        bars = self._derivative(Pullback, inputs, outputs, given)
        return [
            _summed_to(x, bars[name]) if name in differentiable else disconnected_type()
            for name, x in zip(self.operands, inputs, strict=True)
        ]

    def pushforward(self, inputs, outputs, tangents):
        given = _connected(self.operands, tangents, self.record.differentiable_inputs)
        dots = self._derivative(Pushforward, inputs, outputs, given) if given else {}
        return [dots[name] if name in dots else disconnected_type() for name in self.results]


class _Derivative(_Kernel):
    """A kernel that is linear in the cotangents or tangents behind what is saved."""

    @classmethod
    def of(cls, name, options, saved, given):
        """Cotangents of inputs or tangents of outputs, from those given, all by the names of what they belong to."""
        operands = (*RECORDS[name].saved, *(n + cls.suffix for n in given))
        targets = cls.targets(RECORDS[name])
        op = cls(name, options, operands, [n + cls.suffix for n in targets])
        return dict(zip(targets, op(*saved, *given.values(), return_list=True), strict=True))

    def _split(self, values):
        """What is saved, and what is given, by the names of what they belong to."""
        saved = len(self.record.saved)
        return {n: values[n] for n in self.operands[:saved]}, {_owner(n): values[n] for n in self.operands[saved:]}

    def _by_formula(self, inputs):
        """Variables like the inputs, and what the kernel computes from them in PyTensor's own operations."""
        variables = [x.type() for x in inputs]
        saved, given = self._split(dict(zip(self.operands, variables, strict=True)))
        results = self.formula(saved, given, dict(self.options))
        results = dict(zip(self.targets(self.record), results, strict=True))
        # copies: where one result is computed from another, the derivative of the one goes through the other
        return variables, [results[_owner(n)].copy() for n in self.results]

    def pullback(self, inputs, outputs, cotangents):
        if _is_complex(inputs):
            return [_not_complex(self, i, x) for i, x in enumerate(inputs)]
        saved = len(self.record.saved)
        given = _connected(self.results, cotangents, self.results)
        # what is linear has its transpose for a pullback
        back = {_owner(n): g for n, g in given.items()}
        back = self.transpose.of(self.name, self.options, inputs[:saved], back)
        linear = [_summed_to(x, back[_owner(n)]) for n, x in zip(self.operands[saved:], inputs[saved:], strict=True)]
        variables, results = self._by_formula(inputs)
        results = dict(zip(self.results, results, strict=True))
        pulled = gradient.pullback(
            [results[n] for n in given],
            wrt=variables[:saved],
            cotangents=list(given.values()),
            disconnected_inputs="ignore",
        )
        return graph_replace(pulled, dict(zip(variables, inputs, strict=True)), strict=False) + linear

    def pushforward(self, inputs, outputs, tangents):
        if _is_complex(inputs):
            raise NotImplementedError(f"{self.name}: PyTensor has no second derivatives of complex variables")
        variables, results = self._by_formula(inputs)
        given = _connected(variables, tangents, [x for x in variables if x.dtype in _DTYPES])
        pushed = gradient.pushforward(
            results, wrt=list(given), tangents=list(given.values()), disconnected_outputs="ignore"
        )
        return graph_replace(pushed, dict(zip(variables, inputs, strict=True)), strict=False)


class Pullback(_Derivative):
    """The pullback of an operation, from what is saved and cotangents."""

    @property
    def kernel(self):
        return self.record.pullback

    suffix = "_bar"

    @staticmethod
    def targets(record):
        return record.differentiable_inputs

    def run(self, values):
        return self.record.run_pullback(*self._split(values), dict(self.options), [_owner(n) for n in self.results])

    def formula(self, saved, given, options):
        return self.record.pull_by_formula(_xp, saved, given, options)


class Pushforward(_Derivative):
    """The pushforward of an operation, from what is saved and tangents."""

    @property
    def kernel(self):
        return self.record.pushforward

    suffix = "_dot"

    @staticmethod
    def targets(record):
        return record.differentiable_outputs

    def run(self, values):
        return self.record.run_pushforward(*self._split(values), dict(self.options))

    def formula(self, saved, given, options):
        return self.record.push_by_formula(_xp, saved, given, options)


Pullback.transpose, Pushforward.transpose = Pushforward, Pullback


@register_specialize  # not before the last nodes that turn out equal are merged
@node_rewriter([Operation, Pullback])
def local_unused_results(fgraph, node):
    """What nothing uses is not computed: cotangents of constants, what is kept for derivatives that are not taken."""
    used = [(n, y) for n, y in zip(node.op.results, node.outputs, strict=True) if fgraph.clients[y]]
    if len(used) == len(node.outputs):
        return None
    op = type(node.op)(node.op.name, node.op.options, node.op.operands, [n for n, _ in used])
    return dict(zip([y for _, y in used], op(*node.inputs, return_list=True), strict=True))


def _owner(name):
    """The name of what a cotangent or tangent belongs to, any other name itself."""
    return name.removesuffix("_bar").removesuffix("_dot")


def _is_complex(variables):
    return any(x.dtype.startswith("complex") for x in variables)


def _not_complex(op, i, x):
    return grad_not_implemented(op, i, x, "PyTensor has no gradients of complex variables.")


def _connected(names, directions, differentiable):
    """Those cotangents or tangents, by name, that there are."""
    return {
        n: g
        for n, g in zip(names, directions, strict=True)
        if n in differentiable and not isinstance(g.type, DisconnectedType | NullType)
    }


def _summed_to(x, g):
    """A cotangent in the dtype of the variable x, summed over the axes along which that was broadcast."""
    axes = [i for i, (own, of_g) in enumerate(zip(x.type.shape, g.type.shape, strict=True)) if own == 1 != of_g]
    return g.sum(axis=axes, keepdims=True).astype(x.dtype) if axes else g.astype(x.dtype)


def _checked(op, name, x):
    """The input as a variable that a kernel can read, integers as float64 unless they are needed as such."""
    what = f"{op.name}: {name}"
    try:
        x = pt.as_tensor(x)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise TypeError(f"{what} cannot be made a tensor variable: {error}") from error
    if type(x.type) is not pt.TensorType:  # a sparse one is a subclass
        raise TypeError(f"{what} is a {x.type}; make it dense by pytensor.sparse.dense_from_sparse({name})")
    if op.forward.kinds[name] == "int":
        if x.dtype not in pt.type.integer_dtypes:
            raise TypeError(f"{what} has dtype {x.dtype}; integers are needed, as lu_factor returns them")
        return x
    if x.dtype in pt.type.discrete_dtypes:
        return x.astype("float64")
    if x.dtype not in _DTYPES:
        raise TypeError(
            f'{what} has dtype {x.dtype}; matkern has {", ".join(_DTYPES)}: convert it by {name}.astype("float32")'
        )
    return x


def _function(op):
    """The operation as a function of PyTensor's variables."""

    @functools.wraps(op.function)
    def function(*inputs, **options):
        inputs, options = op.arguments(inputs, options)
        options.setdefault("on_error", "nan")
        if "triangle" in op.options:
            upper = options.get("upper", False) or options.get("UPLO", "L") == "U"
            options.setdefault("triangle", "U" if upper else "L")
        inputs = [_checked(op, name, x) for name, x in zip(op.inputs, inputs, strict=True)]
        inputs, options, finish = op.arranged(pt, inputs, options)
        results = op.forward.outputs
        values = Operation(op.name, sorted(options.items()), op.inputs, results)(*inputs, return_list=True)
        return op.returned(finish(dict(zip(results, values, strict=True))))

    parameters = inspect.signature(op.function).parameters.values()
    parameters = [p.replace(default="nan") if p.name == "on_error" else p for p in parameters if p.name != "out"]
    function.__module__ = __name__  # where pickle finds it
    function.__signature__ = inspect.Signature(parameters)
    return function


globals().update(functions(_function))
