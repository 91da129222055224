"""Derivatives of NumPy's element-wise functions, for their Jacobians."""

import numpy as np

__all__ = ["DERIVATIVES", "HOLOMORPHIC"]

LN2, LN10 = np.log(2.0), np.log(10.0)


def _constant(value):
    return lambda x, y: np.full_like(y, value)


def _tie(larger):
    """The derivative of a maximum: 1 where its argument is the larger, half at a tie, NaN beside a NaN."""
    return lambda a, b, y: np.where(np.isnan(y), y, np.where(a == b, 0.5, larger(a, b)))


def _power_of_exponent(a, b, y):
    # 0 ** b is constantly 0 for b > 0
    return y * np.log(np.where((a == 0) & (y == 0), 1, a))


def _share(a, b, y):
    """exp(a - y) for y = log(exp(a) + exp(b)), without inf - inf."""
    return np.where(a == b, 0.5, np.exp(np.minimum(a - np.where(a == b, 0, y), 0)))


# ufunc -> for each of its inputs the derivative, a function of the inputs and the result
DERIVATIVES = {
    np.negative: [_constant(-1)],
    np.positive: [_constant(1)],
    np.absolute: [lambda x, y: np.sign(x)],
    np.fabs: [lambda x, y: np.sign(x)],
    np.sign: [_constant(0)],
    np.floor: [_constant(0)],
    np.ceil: [_constant(0)],
    np.trunc: [_constant(0)],
    np.rint: [_constant(0)],
    np.conjugate: [_constant(1)],
    np.square: [lambda x, y: 2 * x],
    np.sqrt: [lambda x, y: 0.5 / y],
    np.cbrt: [lambda x, y: 1 / (3 * y * y)],
    np.reciprocal: [lambda x, y: -y * y],
    np.exp: [lambda x, y: y],
    np.exp2: [lambda x, y: y * LN2],
    np.expm1: [lambda x, y: np.exp(x)],
    np.log: [lambda x, y: 1 / x],
    np.log2: [lambda x, y: 1 / (x * LN2)],
    np.log10: [lambda x, y: 1 / (x * LN10)],
    np.log1p: [lambda x, y: 1 / (1 + x)],
    np.sin: [lambda x, y: np.cos(x)],
    np.cos: [lambda x, y: -np.sin(x)],
    np.tan: [lambda x, y: 1 + y * y],
    np.arcsin: [lambda x, y: 1 / np.sqrt((1 - x) * (1 + x))],
    np.arccos: [lambda x, y: -1 / np.sqrt((1 - x) * (1 + x))],
    np.arctan: [lambda x, y: 1 / (1 + x * x)],
    np.sinh: [lambda x, y: np.cosh(x)],
    np.cosh: [lambda x, y: np.sinh(x)],
    np.tanh: [lambda x, y: 1 / np.cosh(x) ** 2],
    np.arcsinh: [lambda x, y: 1 / np.sqrt(1 + x * x)],
    np.arccosh: [lambda x, y: 1 / (np.sqrt(x - 1) * np.sqrt(x + 1))],
    np.arctanh: [lambda x, y: 1 / ((1 - x) * (1 + x))],
    np.deg2rad: [_constant(np.pi / 180)],
    np.radians: [_constant(np.pi / 180)],
    np.rad2deg: [_constant(180 / np.pi)],
    np.degrees: [_constant(180 / np.pi)],
    np.add: [lambda a, b, y: np.ones_like(y), lambda a, b, y: np.ones_like(y)],
    np.subtract: [lambda a, b, y: np.ones_like(y), lambda a, b, y: -np.ones_like(y)],
    np.multiply: [lambda a, b, y: b, lambda a, b, y: a],
    np.divide: [lambda a, b, y: 1 / b, lambda a, b, y: -y / b],
    np.power: [lambda a, b, y: np.where(b == 0, 0, b * a ** np.where(b == 0, 1, b - 1)), _power_of_exponent],
    np.float_power: [lambda a, b, y: np.where(b == 0, 0, b * a ** np.where(b == 0, 1, b - 1)), _power_of_exponent],
    np.hypot: [lambda a, b, y: a / np.where(y == 0, 1, y), lambda a, b, y: b / np.where(y == 0, 1, y)],
    np.arctan2: [
        lambda a, b, y: b / np.hypot(a, b) / np.hypot(a, b),
        lambda a, b, y: -a / np.hypot(a, b) / np.hypot(a, b),
    ],
    np.maximum: [_tie(np.greater), _tie(np.less)],
    np.minimum: [_tie(np.less), _tie(np.greater)],
    np.logaddexp: [_share, lambda a, b, y: _share(b, a, y)],
    np.logaddexp2: [
        lambda a, b, y: _share(a * LN2, b * LN2, y * LN2),
        lambda a, b, y: _share(b * LN2, a * LN2, y * LN2),
    ],
}

# those that NumPy defines for complex numbers, too, but that are no holomorphic functions, are left out
HOLOMORPHIC = DERIVATIVES.keys() - {np.absolute, np.sign, np.conjugate, np.rint, np.maximum, np.minimum}
