"""Norms of vectors and of matrices."""

import math
import operator

from ..calls import apply, jvp, vjp
from ..kernels import norm as kernels
from ..op import ROW, SAME, Layout, Op, View
from .algebra import adjoint, matmul

__all__ = ["norm", "norm_jvp", "norm_vjp"]

# ord for two axes -> the kernel's kind
MATRIX_NORMS = {
    "fro": "entries",
    "nuc": "nuc",
    1: "1",
    -1: "-1",
    math.inf: "inf",
    -math.inf: "-inf",
    2: "2",
    -2: "-2",
}
# kind -> that of the transpose, where it is another one
TRANSPOSED = {"1": "inf", "inf": "1", "-1": "-inf", "-inf": "-1"}


class Axes(Layout):
    """The axes that the norm takes become a matrix: two as they are, others as its only row."""

    options = ("ord", "axis", "keepdims")

    def numbers(self, options):
        order = _number(options.get("ord"))
        return {"p": order if isinstance(order, float) else 2.0}

    def views(self, op, inputs, options):
        x, order, axis = inputs[0], _number(options.get("ord")), options.get("axis")
        axes = tuple(range(x.ndim)) if axis is None else _axes(axis, x.ndim)
        kind = "entries" if order is None else _kind(order, len(axes))
        if "kind" in options:
            raise TypeError("norm has no option 'kind'; it has ord, axis, keepdims")
        if axes != tuple(sorted(axes)):  # of the transpose
            axes, kind = axes[::-1], TRANSPOSED.get(kind, kind)
        view = _flat(x) if axis is None and kind == "entries" else _moved(axes, x.ndim)
        result = _kept(axes, x.ndim) if options.get("keepdims") else SAME
        options = {key: value for key, value in options.items() if key not in self.options}
        return options | {"kind": kind}, {"x": view, "norm": result}


def _number(order):
    """`ord` as a float, if it is a number; compilers of frameworks have integers of their own."""
    if order is None or isinstance(order, str | bool):
        return order
    try:
        return float(order)
    except (TypeError, ValueError):
        return order


def _axes(axis, ndim):
    """The axes, from 0."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    try:
        axes = [operator.index(i) for i in axes]
    except TypeError:
        axes = []
    if len(axes) not in (1, 2):
        raise TypeError(f"norm: axis must be None, an integer or a pair of integers, got {axis!r}")
    if not all(-ndim <= i < ndim for i in axes):
        raise ValueError(f"norm: axis {axis!r} is out of bounds for an array of {ndim} dimensions")
    axes = tuple(i % ndim for i in axes)
    if len(set(axes)) < len(axes):
        raise ValueError(f"norm: axis {axis!r} names one axis twice")
    return axes


def _kind(order, count):
    """The kernel's name of a norm over so many axes."""
    number = isinstance(order, float) and not math.isnan(order)
    if count == 1 and number:
        return "entries"
    if count == 2 and (number or isinstance(order, str)) and order in MATRIX_NORMS:
        return MATRIX_NORMS[order]
    known = {1: "a number", 2: f"one of {', '.join(map(repr, MATRIX_NORMS))}"}.get(
        count, "left out, or axis name one or two"
    )
    raise ValueError(f"norm: ord for {count} ax{'i' if count == 1 else 'e'}s must be None or {known}, got {order!r}")


def _moved(axes, ndim):
    """The axes last; one of them as a row."""
    at = tuple(i - ndim for i in axes)
    last = tuple(range(-len(at), 0))
    if at == last:
        return SAME if len(at) == 2 else ROW
    if len(at) == 2:
        return View(lambda xp, x: xp.moveaxis(x, at, last), lambda xp, x: xp.moveaxis(x, last, at), SAME.core)
    return View(
        lambda xp, x: xp.moveaxis(x, at[0], -1)[..., None, :],
        lambda xp, x: xp.moveaxis(x[..., 0, :], -1, at[0]),
        ROW.core,
    )


def _flat(array):
    """All axes as a row."""
    ndim = array.ndim
    return View(
        lambda xp, x: xp.reshape(x, (*x.shape[: x.ndim - ndim], 1, -1 if x.ndim == ndim else math.prod(array.shape))),
        lambda xp, x: xp.reshape(x, (*x.shape[:-2], *array.shape)),
        lambda core: tuple(array.shape),
    )


def _kept(axes, ndim):
    """Axes of length 1 in the result."""
    kept = (..., *(None if i in axes else slice(None) for i in range(ndim)))
    gone = (..., *(0 if i in axes else slice(None) for i in range(ndim)))
    return View(lambda xp, y: y[gone], lambda xp, y: y[kept], lambda core: (1,) * len(axes))


def norm(x, ord=None, axis=None, keepdims=False, *, on_error="raise", out=None):
    """Compute a norm of vectors or of matrices.

    Parameters
    ----------
    x : array_like
        The entries.
    ord : {None, number, inf, -inf, "fro", "nuc"}, optional
        Along one axis, the p of the p-norm (sum |x|^p)^(1/p): inf is the largest, -inf the smallest modulus, 0 how
        many are not zero. For two axes "fro" (Frobenius), "nuc" (the sum of the singular values), 1 or -1 (the largest
        or smallest sum of moduli in a column), inf or -inf (in a row), 2 or -2 (the largest or smallest singular
        value). None: the 2-norm of the entries.
    axis : int, pair of int, or None, optional
        Along which axes: one of vectors, or those of the rows and the columns of matrices, in either order. None: all,
        of which there are one or two unless `ord` is None.
    keepdims : bool, optional
        Leave the axes in the result, with length 1.
    on_error : {"raise", "nan"}, optional
        For a matrix whose singular values do not converge: raise, or make its norm NaN.
    out : ndarray, optional
        Where to put the result.

    Returns
    -------
    ndarray
        Real, in the precision of `x` (float64 for integers), of the shape of `x` without the axes. The largest of no
        numbers and their sum are zero, the smallest is infinite.

    Raises
    ------
    numpy.linalg.LinAlgError
        If singular values do not converge. A matrix with NaN or infinities gives NaN instead.
    ValueError, TypeError
        For axes, shapes, dtypes and options that do not fit.

    See Also
    --------
    norm_vjp, norm_jvp : its derivatives.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.norm(np.array([[3.0, 4.0], [5.0, 12.0]]), axis=1)
    array([ 5., 13.])
    >>> mk.norm(np.diag([3.0, 4.0]), "nuc")
    array(7.)
    """
    options = {"ord": ord, "axis": axis, "keepdims": keepdims}
    operands = {"x": x} | OP.layout.numbers(options)
    return apply(OP, kernels.norm, operands, options | {"on_error": on_error}, ("norm",), out)


def norm_vjp(x, norm_bar, ord=None, axis=None, keepdims=False, *, on_error="raise"):
    """Pull a cotangent of the norm back to the entries.

    Parameters
    ----------
    x : array_like
        The entries, of any shape (..., m, n) that `norm` takes.
    norm_bar : array_like
        Cotangent of the norm, in its shape.
    ord, axis, keepdims, on_error
        As for `norm`.

    Returns
    -------
    ndarray
        X_bar, in the shape of `x`. Zero where the norm or an entry on which it depends is zero; at another kink, where
        moduli, sums or singular values tie, the mean over the tie. Never NaN for finite entries.

    Raises
    ------
    numpy.linalg.LinAlgError, ValueError, TypeError
        As `norm`.

    Notes
    -----
    X_bar = norm_bar D, with D of the p-norm x/|x| (|x| / norm)^(p-1), of 1 and inf (also -1, -inf) x/|x| in the column
    or row of the extreme sum, of 2 (also -2) u v^H and of the nuclear norm U V^H for the singular vectors of singular
    values that are not zero [1]_, [2]_. Singular values count as tied, or as zero, within 4 sqrt(max(m, n)) eps s_1.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008), section 2.3.
    .. [2] G. A. Watson, Characterization of the subdifferential of some matrix norms, Linear Algebra and its
       Applications 170 (1992).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.norm_vjp(np.array([3.0, 4.0]), 1.0)
    array([0.6, 0.8])
    """
    return vjp("norm", x, ord=ord, axis=axis, keepdims=keepdims, on_error=on_error)[1](norm_bar)[0]


def norm_jvp(x, x_dot, ord=None, axis=None, keepdims=False, *, on_error="raise"):
    """Push a tangent of the entries forward to the norm.

    Parameters
    ----------
    x : array_like
        The entries, of any shape (..., m, n) that `norm` takes.
    x_dot : array_like
        Their tangent.
    ord, axis, keepdims, on_error
        As for `norm`.

    Returns
    -------
    ndarray
        norm_dot, in the shape of the norm.

    Raises
    ------
    numpy.linalg.LinAlgError, ValueError, TypeError
        As `norm`.

    Notes
    -----
    norm_dot = Re sum(conj(D) X_dot), with the D of `norm_vjp` [1]_.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008), section 2.3.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.norm_jvp(np.array([3.0, 4.0]), np.array([0.0, 1.0]))
    array(0.8)
    """
    return jvp("norm", (x,), (x_dot,), ord=ord, axis=axis, keepdims=keepdims, on_error=on_error)[1]


def _dual(xp, x, p, norm, dual, kind):
    """The norm's derivative as a smooth function of x near it: `dual` says which entries and singular values count."""
    if kind in ("nuc", "2", "-2"):
        u, _, vh = xp.linalg.svd(x, full_matrices=False)
        # 0 or 1 / (those that tie), but for rounding
        weights = xp.abs(xp.sum(xp.conj(u) * matmul(xp, dual, adjoint(xp, vh)), axis=-2))
        weights = xp.where(xp.real(weights) * 2 * u.shape[-1] > 1, weights, xp.zeros_like(weights))
        return matmul(xp, u * weights[..., None, :], vh)
    size = xp.abs(x)
    safe = xp.where(xp.real(size) <= 0, xp.ones_like(size), size)  # no ==, which PyTensor takes for that of objects
    sign = x / safe
    extreme = sign * xp.abs(dual)
    if kind != "entries":
        return extreme
    p, norm = p[..., None, None], norm[..., None, None]
    infinite, zero = xp.isinf(xp.real(p)), xp.real(norm) <= 0
    power = xp.where(infinite, xp.ones_like(p), p) - 1
    smooth = sign * (safe / xp.where(zero, xp.ones_like(norm), norm)) ** power
    flat = zero | (xp.real(xp.abs(p)) <= 0)
    return xp.where(flat, xp.zeros_like(smooth), xp.where(infinite, extreme, smooth))


def vjp_formula(xp, x, p, norm, dual, norm_bar, *, kind="entries"):
    return (norm_bar[..., None, None] * _dual(xp, x, p, norm, dual, kind),)


def jvp_formula(xp, x, p, norm, dual, x_dot, *, kind="entries"):
    return (xp.sum(xp.real(xp.conj(_dual(xp, x, p, norm, dual, kind)) * x_dot), axis=(-2, -1)),)


OP = Op(
    name="norm",
    function=norm,
    forward=kernels.norm,
    pullback=kernels.norm_vjp,
    pushforward=kernels.norm_jvp,
    vjp_formula=vjp_formula,
    jvp_formula=jvp_formula,
    outputs=("norm",),
    holomorphic=lambda name, options: False,
    layout=Axes(),
)
