"""Products of matrices and vectors."""

from ..calls import apply
from ..kernels import matmul as kernels
from ..op import COLUMN, NUMBER, ROW, Layout, Op
from .algebra import adjoint
from .algebra import matmul as product

__all__ = ["matmul", "matmul_jvp", "matmul_vjp"]


class Vectors(Layout):
    """NumPy's: a 1-D operand is a row on the left, a column on the right, and the product lacks that axis."""

    def views(self, op, inputs, options):
        for name, x in zip(op.inputs, inputs, strict=True):
            if x.ndim == 0:
                raise ValueError(f"{op.name}: {name} needs at least 1 dimension; multiply by a number with *")
        row, column = inputs[0].ndim == 1, inputs[1].ndim == 1
        if row and column:
            return options, {"a": ROW, "b": COLUMN, "x": NUMBER}
        return options, {"a": ROW, "x": ROW} if row else {"b": COLUMN, "x": COLUMN} if column else {}


def matmul(a, b, *, out=None):
    """Multiply matrices, X = A B.

    Parameters
    ----------
    a : array_like, shape (..., m, k) or (k,)
    b : array_like, shape (..., k, n) or (k,)
        The factors. Batch axes broadcast; a 1-D one is a vector, as for `numpy.matmul`.
    out : ndarray, optional
        Where to put the result.

    Returns
    -------
    ndarray, shape (..., m, n), without the axis of a vector
        X, in the wider dtype of `a` and `b` (float64 for integers).

    Raises
    ------
    ValueError, TypeError
        For shapes and dtypes that do not fit.

    See Also
    --------
    matmul_vjp, matmul_jvp : its derivatives.

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> mk.matmul(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 1.0]))
    array([3., 7.])
    """
    return apply(OP, kernels.matmul, {"a": a, "b": b}, {}, out=out)


def matmul_vjp(a, b, x_bar):
    """Pull a cotangent of the product back to its factors.

    Parameters
    ----------
    a : array_like, shape (..., m, k) or (k,)
    b : array_like, shape (..., k, n) or (k,)
        The factors.
    x_bar : array_like, shape (..., m, n), without the axis of a vector
        Cotangent of the product. Batch axes broadcast.

    Returns
    -------
    a_bar : ndarray, shape (..., m, k) or (..., k)
    b_bar : ndarray, shape (..., k, n) or (..., k)
        Both have the batch axes of all arguments together: sum over those along which `a` or `b` was broadcast
        (`vjp` does).

    Raises
    ------
    ValueError, TypeError
        For shapes and dtypes that do not fit.

    Notes
    -----
    A_bar = X_bar B^H, B_bar = A^H X_bar [1]_, section 2.2.2.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> a_bar, b_bar = mk.matmul_vjp(np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array(1.0))
    >>> a_bar, b_bar
    (array([3., 4.]), array([1., 2.]))
    """
    return apply(OP, kernels.matmul_vjp, {"a": a, "b": b, "x_bar": x_bar}, {})


def matmul_jvp(a, b, a_dot, b_dot):
    """Push tangents of the factors forward to the product.

    Parameters
    ----------
    a : array_like, shape (..., m, k) or (k,)
    b : array_like, shape (..., k, n) or (k,)
        The factors.
    a_dot, b_dot : array_like or None
        Their tangents, in their shapes; None is zero.

    Returns
    -------
    ndarray, shape (..., m, n), without the axis of a vector
        X_dot.

    Raises
    ------
    ValueError, TypeError
        For shapes and dtypes that do not fit.

    Notes
    -----
    X_dot = A_dot B + A B_dot [1]_, section 2.2.2.

    References
    ----------
    .. [1] M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
       differentiation, Advances in Automatic Differentiation (2008).

    Examples
    --------
    >>> import numpy as np, matkern as mk
    >>> float(mk.matmul_jvp(np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([1.0, 0.0]), None))
    3.0
    """
    return apply(OP, kernels.matmul_jvp, {"a": a, "b": b, "a_dot": a_dot, "b_dot": b_dot}, {})


def vjp_formula(xp, a, b, x_bar):
    return product(xp, x_bar, adjoint(xp, b)), product(xp, adjoint(xp, a), x_bar)


def jvp_formula(xp, a, b, a_dot, b_dot):
    return (product(xp, a_dot, b) + product(xp, a, b_dot),)


OP = Op(
    name="matmul",
    function=matmul,
    forward=kernels.matmul,
    pullback=kernels.matmul_vjp,
    pushforward=kernels.matmul_jvp,
    vjp_formula=vjp_formula,
    jvp_formula=jvp_formula,
    outputs=("x",),
    layout=Vectors(),
)
