"""matkern's operations for HIPS autograd: reverse and forward mode, to any order.

Each operation of `OPS` is a function of this module, with the same name and options. A first derivative runs the
kernel; the kernels' own derivatives come from the plain formula, whose linear algebra is this module again.
`install` puts the operations under ``autograd.numpy.linalg``.

Gradients follow autograd's conventions: they are the conjugates of matkern's, and what has an option ``UPLO`` gets its
gradient with respect to the entries of the triangle that is read.
"""

import functools
import inspect
import types

import autograd.numpy as anp
import numpy as np
from autograd.builtins import SequenceBox, SequenceVSpace, make_sequence
from autograd.builtins import tuple as boxed_tuple
from autograd.core import make_jvp, make_vjp, primitive_jvps, primitive_vjps
from autograd.extend import defjvp_argnums, defvjp_argnums, primitive, vspace
from autograd.tracer import getval, isbox
from autograd.util import subvals

from .calls import as_array
from .op import OPS, Namespace, Quiet, functions, summed_to

__all__ = [*OPS, "install", "uninstall"]  # noqa: PLE0604 - the operations' names


_xp = Namespace(anp, Quiet(globals()))


def _derive(fun, by):
    """Give the primitive `fun` the derivatives of `by`, which computes the same in autograd's own operations."""

    def of_arguments(argnums, args, kwargs):
        return lambda xs: by(*subvals(args, zip(argnums, xs, strict=True)), **kwargs)

    def vjp(argnums, ans, args, kwargs):
        return make_vjp(of_arguments(argnums, args, kwargs), boxed_tuple([args[i] for i in argnums]))[0]

    def jvp(argnums, gs, ans, args, kwargs):
        push = make_jvp(of_arguments(argnums, args, kwargs), boxed_tuple([args[i] for i in argnums]))
        return push(boxed_tuple(gs))[1]

    defvjp_argnums(fun, vjp)
    defjvp_argnums(fun, jvp)


def _like(g, x):
    """A cotangent summed to its input's shape, and in its dtype."""
    g = summed_to(g, np.shape(x))
    if anp.iscomplexobj(g) and not anp.iscomplexobj(x):
        g = anp.real(g)
    dtype = np.result_type(vspace(x).dtype, np.float32)
    return g if g.dtype == dtype else g.astype(dtype)


def _array(x):
    """The input as an array or a box of one; a list may have boxes in it."""
    if isinstance(x, list | tuple):
        x = anp.array(x)
    return x if isinstance(x, anp.numpy_boxes.ArrayBox) else as_array(x)


def _register(result):
    """Make a namedtuple of results a container of autograd's, whose box has its names."""
    names = {name: property(lambda self, i=i: self[i]) for i, name in enumerate(result._fields)}
    type(f"{result.__name__}Box", (SequenceBox,), {"__slots__": (), **names}).register(result)
    type(f"{result.__name__}VSpace", (SequenceVSpace,), {"seq_type": result._make}).register(result)


def _function(op):
    """The operation as a function of autograd's arrays.

    Three primitives of arrays: the operation with what its derivatives need, its pullback, its pushforward. The
    arguments of the latter two are flat: what is saved, then cotangents or tangents.
    """
    kept = op.forward.outputs
    differentiable = [kept.index(name) for name in op.differentiable_outputs]
    saved = len(op.saved)

    def named(args, names):
        return dict(zip(op.saved, args[:saved], strict=True)), dict(zip(names, args[saved:], strict=True))

    @primitive
    def forward(*inputs, **options):
        values = op.run_forward(inputs, options)
        return tuple(values[name] for name in kept)

    @primitive
    def pullback(*args, wanted, **options):
        return op.run_pullback(*named(args, op.differentiable_outputs), options, wanted)

    @primitive
    def pushforward(*args, **options):
        return op.run_pushforward(*named(args, op.differentiable_inputs), options)

    def pullback_formula(*args, wanted, **options):
        results = op.pull_by_formula(_xp, *named(args, op.differentiable_outputs), options)
        return boxed_tuple([g for name, g in zip(op.differentiable_inputs, results, strict=True) if name in wanted])

    def pushforward_formula(*args, **options):
        return boxed_tuple(op.push_by_formula(_xp, *named(args, op.differentiable_inputs), options))

    def values_of(args, ans):
        values = dict(zip(op.inputs, args, strict=True)) | {name: ans[i] for i, name in enumerate(kept)}
        return [values[name] for name in op.saved]

    def vjp(argnums, ans, args, kwargs):
        wanted = tuple(op.inputs[i] for i in argnums if op.inputs[i] in op.differentiable_inputs)
        values = values_of(args, ans)

        def pull(g):
            bars = pullback(*values, *[anp.conj(g[i]) for i in differentiable], wanted=wanted, **kwargs)
            bars = {name: bars[i] for i, name in enumerate(wanted)}
            return [
                _like(anp.conj(bars[op.inputs[i]]), args[i]) if op.inputs[i] in bars else vspace(args[i]).zeros()
                for i in argnums
            ]

        return pull

    def jvp(argnums, gs, ans, args, kwargs):
        dots = {op.inputs[i]: g for i, g in zip(argnums, gs, strict=True)}
        dots = [dots.get(name) for name in op.differentiable_inputs]
        results = pushforward(*values_of(args, ans), *dots, **kwargs)
        return boxed_tuple(
            [
                results[differentiable.index(i)] if i in differentiable else vspace(ans[i]).zeros()
                for i in range(len(kept))
            ]
        )

    defvjp_argnums(forward, vjp)
    defjvp_argnums(forward, jvp)
    _derive(pullback, pullback_formula)
    _derive(pushforward, pushforward_formula)

    @functools.wraps(op.function)
    def function(*inputs, **options):
        inputs, options = op.arguments(inputs, options)
        inputs = [_array(x) for x in inputs]
        inputs, options, finish = op.arranged(anp, inputs, options)
        if not any(map(isbox, inputs)):
            results = op.run_wanted(inputs, options, op.outputs)
            return op.returned(finish(dict(zip(op.outputs, results, strict=True))))
        if "UPLO" in op.options:
            options.setdefault("triangle", options.get("UPLO", "L"))
        ans = forward(*inputs, **options)
        results = finish({name: ans[kept.index(name)] for name in op.outputs})
        return make_sequence(op.result._make, *results.values()) if op.result else op.returned(results)

    parameters = inspect.signature(op.function).parameters.values()
    function.__module__ = __name__  # where pickle finds it
    function.__signature__ = inspect.Signature([p for p in parameters if p.name != "out"])
    return function


for _op in OPS.values():
    if _op.result is not None:
        _register(_op.result)
globals().update(functions(_function))


# What install() replaced: the functions under autograd.numpy.linalg, and the rules of autograd's primitives.
_installed = types.SimpleNamespace(functions={}, vjps={}, jvps={})


def install():
    """Put matkern's operations under ``autograd.numpy.linalg``.

    Every function there that matkern has is replaced by matkern's, with NumPy's arguments and any of matkern's
    options by keyword, but for ``lstsq``, of which NumPy returns more. What matkern lacks, as the full matrices of an
    ``svd`` that is not square, stays as it is. A function that a program took out of ``autograd.numpy.linalg`` by name
    before keeps its own forward pass and gets matkern's rules, which then factor once more. Calling it twice is calling
    it once.

    See Also
    --------
    uninstall

    Examples
    --------
    >>> import autograd, autograd.numpy as anp
    >>> import numpy as np, matkern.autograd
    >>> loss = lambda a: anp.sum(anp.log(anp.diag(anp.linalg.cholesky(a))))
    >>> matkern.autograd.install()
    >>> autograd.grad(loss)(np.diag([2.0, 4.0]))
    array([[0.25 , 0.   ],
           [0.   , 0.125]])
    >>> matkern.autograd.uninstall()
    """
    for name in OPS.keys() - _OTHERWISE:
        theirs = getattr(anp.linalg, name, None)
        if theirs is None or name in _installed.functions:
            continue
        function = _with_signature_of(name, globals()[name])
        _installed.functions[name] = theirs
        _installed.vjps[theirs] = primitive_vjps.get(theirs)
        _installed.jvps[theirs] = primitive_jvps.get(theirs)
        _derive(theirs, lambda *args, ours=function, **kwargs: _as_boxed(ours(*args, **kwargs)))
        setattr(anp.linalg, name, _or_theirs(theirs, function, _BEYOND[name]) if name in _BEYOND else function)


def uninstall():
    """Take matkern's operations out of ``autograd.numpy.linalg``: what was there before `install` is back.

    See Also
    --------
    install
    """
    for name, theirs in _installed.functions.items():
        setattr(anp.linalg, name, theirs)
        for table, before in ((primitive_vjps, _installed.vjps[theirs]), (primitive_jvps, _installed.jvps[theirs])):
            if before is None:
                table.pop(theirs, None)
            else:
                table[theirs] = before
    for table in vars(_installed).values():
        table.clear()


def _as_boxed(result):
    return boxed_tuple(list(result)) if isinstance(result, tuple) else result


_OTHERWISE = {"lstsq"}
"""What NumPy's function of the name returns is something else."""

# whether a call of NumPy's function asks for what matkern does not have, and autograd no derivative of
_BEYOND = {
    "qr": lambda a, mode="reduced": mode not in ("reduced", "complete", "r"),
    "svd": lambda a, full_matrices=True, compute_uv=True, hermitian=False: (
        compute_uv and full_matrices and np.shape(a)[-1] != np.shape(a)[-2]
    ),
}


def _or_theirs(theirs, ours, beyond):
    @functools.wraps(ours)
    def function(*args, **kwargs):
        return theirs(*args, **kwargs) if beyond(*args, **kwargs) else ours(*args, **kwargs)

    return function


def _with_signature_of(name, ours):
    """`ours`, called as NumPy's function may be: options by position, inputs by keyword, NumPy's defaults."""
    theirs, op = getattr(np.linalg, name), OPS[name]
    signature = inspect.signature(theirs)
    inputs = len([p for p in signature.parameters.values() if p.default is p.empty])
    defaults = {p.name: p.default for p in signature.parameters.values() if p.name in op.options}

    @functools.wraps(ours)
    def function(*args, **kwargs):
        names = list(signature.parameters)
        given = dict(zip(names, args, strict=False)) | kwargs
        if len(args) > len(names) or len(given) < len(args) + len(kwargs):
            signature.bind(*args, **kwargs)  # says what is wrong
        missing = [name for name in names[:inputs] if name not in given]
        if missing:
            raise TypeError(f"{theirs.__name__}() missing a required argument: {missing[0]!r}")
        given = defaults | given
        if isinstance(given.get("UPLO"), str):
            given["UPLO"] = given["UPLO"].upper()  # NumPy takes "l", too
        given.pop("hermitian", None)  # a faster way there, to the same
        if given.get("rcond") is not None:
            given["rtol"] = given["rcond"]  # its older name
        given.pop("rcond", None)
        if name == "pinv":
            given.setdefault("rtol", 1e-15)  # NumPy's, unless it is None
        a, *rest = [given.pop(name) for name in names[:inputs]]
        return _real_as_numpy(name, a, ours(a, *rest, **given))

    return function


def _real_as_numpy(name, a, results):
    """Eigenvalues and eigenvectors of real matrices as real arrays, where they are real."""
    if name not in ("eig", "eigvals") or anp.iscomplexobj(a):
        return results
    w = getval(results if name == "eigvals" else results[0])
    if np.imag(w).any():
        return results
    return anp.real(results) if name == "eigvals" else make_sequence(OPS[name].result._make, *map(anp.real, results))
