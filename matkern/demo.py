"""The demo: a Gaussian process fitted to the monthly CO2 record of Mauna Loa.

The model is the one of [1]_, section 5.4.3: a long-term trend, a seasonal cycle that may change slowly, irregularities
of medium term, and noise, with 11 hyperparameters that maximise the marginal likelihood of the data. The gradient is
autograd's; what it needs of linear algebra are matkern's kernels.

References
----------
.. [1] C. E. Rasmussen and C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press (2006).
"""

import functools
import math
import statistics
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import autograd.numpy as anp
import autograd.scipy.linalg
import numpy as np
from autograd import value_and_grad
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from scipy.optimize import minimize
from statsmodels.datasets import co2

from . import autograd as matkern_autograd
from .config import show_config
from .ops.cholesky import cholesky
from .ops.eigh import eigvalsh
from .ops.triangular import solve_triangular

__all__ = ["Result", "run"]

Z95 = statistics.NormalDist().inv_cdf(0.975)  # half the width of a 95 % band, in standard deviations
BOUND = 100.0  # a hyperparameter stays within this factor of its start: the matrix stays positive definite
STEP = 2e-3  # of the finite differences, in the logarithm of a hyperparameter
ROUNDS = 11  # of the timing
BUSY = 2.0  # a median beyond this factor of the fastest tells of other work on the machine
PAUSE = 0.05  # seconds; for longer than a BLAS library's idle threads keep spinning


class Hyperparameter(NamedTuple):
    component: str
    name: str
    unit: str
    start: float


HYPERPARAMETERS = (
    Hyperparameter("long-term trend", "amplitude", "ppm", 50.0),
    Hyperparameter("long-term trend", "length scale", "years", 50.0),
    Hyperparameter("seasonal cycle", "amplitude", "ppm", 2.0),
    Hyperparameter("seasonal cycle", "decay time", "years", 100.0),
    Hyperparameter("seasonal cycle", "smoothness", "", 1.0),
    Hyperparameter("medium term", "amplitude", "ppm", 1.0),
    Hyperparameter("medium term", "length scale", "years", 1.0),
    Hyperparameter("medium term", "shape", "", 1.0),
    Hyperparameter("short term", "amplitude", "ppm", 0.2),
    Hyperparameter("short term", "length scale", "years", 0.1),
    Hyperparameter("white noise", "amplitude", "ppm", 0.2),
)


class LinearAlgebra(NamedTuple):
    """What the likelihood needs of linear algebra, with derivative rules for autograd."""

    name: str
    cholesky: object
    solve_lower: object


MATKERN = LinearAlgebra(
    "matkern", matkern_autograd.cholesky, functools.partial(matkern_autograd.solve_triangular, lower=True)
)
AUTOGRAD = (
    LinearAlgebra(
        "autograd, with solve_triangular",
        anp.linalg.cholesky,
        functools.partial(autograd.scipy.linalg.solve_triangular, lower=True),
    ),
    LinearAlgebra("autograd, with solve", anp.linalg.cholesky, anp.linalg.solve),
)


@dataclass(frozen=True)
class Series:
    """Monthly means: months counted from January of the year 0, and ppm of CO2."""

    month: np.ndarray
    ppm: np.ndarray

    @property
    def year(self):
        """The middle of each month, in years."""
        return (self.month + 0.5) / 12

    def where(self, chosen):
        return Series(self.month[chosen], self.ppm[chosen])


@dataclass(frozen=True)
class GradientCheck:
    """The largest relative error of a gradient beside finite differences, and what rounding allows."""

    error: float
    worst: int
    tolerance: float
    noise: float

    @property
    def passed(self):
        return bool(self.error <= self.tolerance)  # False for NaN


@dataclass(frozen=True)
class Result:
    """What a run of the demo found.

    Attributes
    ----------
    hyperparameters : ndarray, shape (11,)
        As fitted.
    log_likelihood_before, log_likelihood_after : float
        The log marginal likelihood at the start and at the fit.
    gradient_checks : tuple of GradientCheck
        At the start and at the fit.
    rmse : float
        Root mean square error of the forecast, in ppm.
    coverage : float
        The share of the held-out months within the forecast's 95 % band.
    seconds : dict
        What was timed -> name -> the times of all rounds.
    """

    hyperparameters: np.ndarray
    log_likelihood_before: float
    log_likelihood_after: float
    gradient_checks: tuple
    rmse: float
    coverage: float
    seconds: dict

    @property
    def gradient_is_right(self):
        """Whether every check of the gradient passed."""
        return all(check.passed for check in self.gradient_checks)


def load_co2():
    """The monthly means of the weekly record that statsmodels has; months without data are left out."""
    monthly = co2.load_pandas().data["co2"].resample("MS").mean().dropna()
    return Series(np.asarray(12 * monthly.index.year + monthly.index.month - 1), monthly.to_numpy())


def split(record, months, forecast_years):
    """What is fitted, the last `months` before the cut or all, and what is held out beyond it."""
    cut = record.month[-1] - 12 * forecast_years
    first = cut - months + 1 if months else record.month[0]
    return record.where((record.month >= first) & (record.month <= cut)), record.where(record.month > cut)


def covariance(log_theta, lag):
    """Covariance of the CO2 concentration, without the noise, at two times that are `lag` years apart."""
    a1, l1, a2, l2, s2, a3, l3, s3, a4, l4, _ = [anp.exp(v) for v in log_theta]
    trend = a1**2 * anp.exp(-(lag**2) / (2 * l1**2))
    seasonal = a2**2 * anp.exp(-(lag**2) / (2 * l2**2) - 2 * np.sin(np.pi * lag) ** 2 / s2**2)
    medium = a3**2 * (1 + lag**2 / (2 * s3 * l3**2)) ** -s3
    short = a4**2 * anp.exp(-(lag**2) / (2 * l4**2))
    return trend + seasonal + medium + short


def log_likelihood_of(K, y, algebra):
    """log N(y; 0, K)."""
    L = algebra.cholesky(K)
    z = algebra.solve_lower(L, y)
    return -0.5 * anp.dot(z, z) - anp.sum(anp.log(anp.diag(L))) - 0.5 * len(y) * math.log(2 * math.pi)


class GaussianProcess:
    """The model of a series, less its mean."""

    def __init__(self, series):
        self.series = series
        self.mean = series.ppm.mean()
        self.y = series.ppm - self.mean
        self.lag = np.abs(series.month[:, None] - series.month)  # in months: whole numbers

    def covariance_matrix(self, log_theta):
        """Covariance of the observations.

        Months are evenly spaced: the covariance is computed once for each lag, and then copied into the matrix.
        """
        lags = np.arange(self.lag.max() + 1) / 12
        by_lag = covariance(log_theta, lags) + anp.exp(2 * log_theta[-1]) * (lags == 0)
        return anp.reshape(by_lag[self.lag.ravel()], self.lag.shape)  # flat: NumPy's add.at, the adjoint, is faster

    def log_likelihood(self, log_theta, algebra=None):
        """Log marginal likelihood of the series."""
        return log_likelihood_of(self.covariance_matrix(log_theta), self.y, algebra or MATKERN)

    def predict(self, log_theta, year):
        """Mean of the process at some times, and the standard deviation of an observation there."""
        log_theta = np.asarray(log_theta)
        L = cholesky(self.covariance_matrix(log_theta))
        cross = covariance(log_theta, np.abs(self.series.year[:, None] - year))
        weights = solve_triangular(L, cross, lower=True)
        mean = self.mean + solve_triangular(L, self.y, lower=True) @ weights
        variance = covariance(log_theta, np.zeros(1)) + np.exp(2 * log_theta[-1]) - np.sum(weights**2, axis=0)
        return mean, np.sqrt(variance)


def fit(process, start, iterations, console):
    """Maximise the log marginal likelihood by L-BFGS-B, and show how it goes; SciPy's result."""
    objective = value_and_grad(lambda log_theta: -process.log_likelihood(log_theta))
    bounds = [(x - math.log(BOUND), x + math.log(BOUND)) for x in start]
    columns = (
        TextColumn("fitting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("log marginal likelihood {task.fields[value]:.3f}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("fitting", total=iterations, value=-objective(start)[0])
        done = 0

        def show(intermediate_result):
            nonlocal done
            done += 1
            progress.update(task, completed=done, value=-intermediate_result.fun)
            if not console.is_terminal and (done == 1 or done % 10 == 0):
                console.print(f"iteration {done:3}: log marginal likelihood {-intermediate_result.fun:.3f}")

        return minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            callback=show,
            options={"maxiter": iterations},
        )


def rounding_noise(function, x):
    """Standard deviation of a function's rounding error near x, from its sixth differences.

    On points this close the smooth part has none; each difference has the variance of one error times
    binomial(12, 6) (Hamming; More and Wild, Estimating computational noise, SIAM J. Sci. Comput. 2011).
    """
    direction = np.full(len(x), 1e-6 / math.sqrt(len(x)))
    values = [function(x + i * direction) for i in range(30)]
    return float(np.sqrt(np.mean(np.diff(values, 6) ** 2) / math.comb(12, 6)))


def check_gradient(function, gradient, x, terms):
    """Compare a gradient with central differences of fourth order.

    The differences err by about noise / h through rounding, and by terms h^4 through truncation: derivatives of a
    log-likelihood grow with the number of its terms. Ten times that is the tolerance. Errors are relative
    to the component, or to 1, the natural unit of a log-likelihood, where that is larger: at a maximum all components
    are close to zero.
    """
    noise = rounding_noise(function, x)
    steps = STEP * np.eye(len(x))
    one, two = (np.array([function(x + k * e) - function(x - k * e) for e in steps]) for k in (1, 2))
    expected = (8 * one - two) / (12 * STEP)
    errors = np.abs(gradient - expected) / np.maximum(1, np.abs(expected))
    return GradientCheck(float(errors.max()), int(errors.argmax()), 10 * (noise / STEP + terms * STEP**4), noise)


def time_in_turn(functions):
    """Name -> seconds of each function in each round; in a round they take turns."""
    seconds = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(ROUNDS):
        for name, function in functions.items():
            time.sleep(PAUSE)
            begin = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def time_gradients(process, log_theta):
    """Time a value with its gradient: with respect to the hyperparameters, and to the matrix alone."""
    K = process.covariance_matrix(log_theta)

    def whole(algebra):
        return functools.partial(value_and_grad(lambda x: process.log_likelihood(x, algebra)), log_theta)

    def of_matrix(algebra):
        return functools.partial(value_and_grad(lambda a: log_likelihood_of(a, process.y, algebra)), K)

    contenders = (MATKERN, *AUTOGRAD)
    return {
        "from the hyperparameters": time_in_turn({algebra.name: whole(algebra) for algebra in contenders}),
        "from the matrix: linear algebra alone": time_in_turn(
            {algebra.name: of_matrix(algebra) for algebra in contenders}
        ),
    }


def hyperparameter_table(start, fitted):
    table = Table(box=SIMPLE_HEAD, title="Hyperparameters", title_justify="left")
    for name, justify in (("component", "left"), ("", "left"), ("start", "right"), ("fitted", "right"), ("", "left")):
        table.add_column(name, justify=justify)
    component = None
    for parameter, before, after in zip(HYPERPARAMETERS, start, fitted, strict=True):
        at_bound = abs(math.log(after / before)) > math.log(BOUND) - 1e-6
        table.add_row(
            parameter.component if parameter.component != component else "",
            parameter.name,
            f"{before:.3g}",
            f"{after:.3g}",
            f"{parameter.unit} (at its bound)".strip() if at_bound else parameter.unit,
        )
        component = parameter.component
    return table


def check_table(checks, values, conditions):
    """One column for each point at which the gradient was checked."""
    table = Table(
        box=SIMPLE_HEAD,
        title=f"Gradient beside central differences, all {len(HYPERPARAMETERS)} components",
        title_justify="left",
    )
    table.add_column("", no_wrap=True)
    for where in ("start", "fit"):
        table.add_column(where)
    worst = [HYPERPARAMETERS[check.worst] for check in checks]
    eps = np.finfo(float).eps
    table.add_row("log marginal likelihood", *(f"{value:.3f}" for value in values))
    table.add_row("rounding error of it", *(f"{check.noise:.1e}" for check in checks))
    table.add_row("eps cond(K)", *(f"{eps * condition:.1e}" for condition in conditions))
    table.add_row("largest relative error", *(f"{check.error:.1e}" for check in checks))
    table.add_row("  found at", *(f"{p.component}, {p.name}" for p in worst))
    table.add_row("tolerance", *(f"{check.tolerance:.1e}" for check in checks))
    table.add_row("", *("passed" if check.passed else "FAILED" for check in checks))
    return table


def timing_table(seconds):
    """The median and the fastest of the rounds, each with its ratio to matkern's."""
    table = Table(box=SIMPLE_HEAD, title="Time of a value with its gradient", title_justify="left")
    table.add_column("")
    for name in ("median", "ratio", "fastest", "ratio"):
        table.add_column(name, justify="right")
    for what, by_name in seconds.items():
        table.add_row(what)
        for name, times in by_name.items():
            cells = []
            for of in (statistics.median, min):
                cells += [f"{1e3 * of(times):.1f} ms", f"{of(times) / of(by_name[MATKERN.name]):.1f}"]
            table.add_row(f"  {name}", *cells)
    return table


def plot(process, log_theta, held_out, output):
    """Draw the record, the fit and the forecast, and the residuals of both, into a PNG."""
    train = process.series
    cut, end = train.year[-1] + 1 / 24, held_out.year[-1]
    fitted_years = np.arange(train.year[0], cut, 1 / 48)
    future_years = np.append(np.arange(cut, end, 1 / 48), end)
    mean, sd = process.predict(log_theta, future_years)
    past = process.predict(log_theta, fitted_years)[0]
    errors = held_out.ppm - process.predict(log_theta, held_out.year)[0]
    residuals = train.ppm - process.predict(log_theta, train.year)[0]

    figure = Figure(figsize=(11, 6.4), dpi=150, layout="constrained")
    axes = figure.subplots(2, 2, sharex="col", height_ratios=(2.2, 1), width_ratios=(1.35, 1))
    train_style = {"ls": "", "marker": ".", "color": "0.35", "label": "monthly means, fitted"}
    held_style = {"ls": "", "marker": "o", "mfc": "none", "color": "tab:red", "label": "monthly means, held out"}
    for ax, size in ((axes[0, 0], 3), (axes[0, 1], 5)):
        band = ax.fill_between(future_years, mean - Z95 * sd, mean + Z95 * sd, color="tab:blue", alpha=0.25, lw=0)
        band.set_label("95 % band of an observation")
        ax.plot(train.year, train.ppm, ms=size, **train_style)
        ax.plot(held_out.year, held_out.ppm, ms=size - 1, mew=0.8, **held_style)
        ax.plot(fitted_years, past, color="tab:orange", lw=0.8, label="mean of the fit")
        ax.plot(future_years, mean, color="tab:blue", lw=1.2, label="mean of the forecast")
    left, right = axes[0]
    left.set_ylabel("CO$_2$ concentration (ppm)")
    left.set_title("The record", fontsize="medium")
    left.set_xlim(train.year[0] - 1, end + 1)

    shown = fitted_years >= cut - 2
    visible = np.concatenate([past[shown], mean - Z95 * sd, mean + Z95 * sd, held_out.ppm])
    right.set_ylim(visible.min() - 1, visible.max() + 1)
    right.set_xlim(cut - 2, end + 0.3)
    right.set_title("The forecast", fontsize="medium")

    below_left, below_right = axes[1]
    below_left.plot(train.year, residuals, ms=3, **train_style)
    below_left.set_title("Residuals of the fit", fontsize="medium")
    below_left.set_ylabel("observed \N{MINUS SIGN} mean (ppm)")
    below_right.set_title("Errors of the forecast, with its band", fontsize="medium")
    below_right.fill_between(future_years, -Z95 * sd, Z95 * sd, color="tab:blue", alpha=0.25, lw=0)
    below_right.plot(train.year, residuals, ms=5, **train_style)
    below_right.plot(held_out.year, errors, ms=4, mew=0.8, **held_style)
    for ax in axes.flat:
        ax.grid(alpha=0.25)
        ax.axvline(cut, color="0.5", lw=0.8, ls="--")
    for ax in axes[1]:
        ax.axhline(0, color="0.2", lw=0.8)
        ax.set_xlabel("year")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    entries = right.get_legend_handles_labels()
    figure.legend(*entries, loc="outside lower center", ncols=5, frameon=False, fontsize="small")
    figure.suptitle("Atmospheric CO$_2$ at Mauna Loa: Gaussian process fitted up to the dashed line, forecast beyond")
    figure.savefig(output, format="png")


def condition_number(K):
    eigenvalues = eigvalsh(K)
    return eigenvalues[-1] / eigenvalues[0]


def month_name(month):
    return f"{month // 12}-{month % 12 + 1:02}"


def run(*, months=None, forecast_years=10, iterations=200, output="matkern-co2.png"):
    """Fit, check, time, forecast, print and draw.

    Parameters
    ----------
    months : int, optional
        How many months before the forecast to fit to, at least 24; all by default.
    forecast_years : int, optional
        How many years at the end of the record to hold out, 1 to 40.
    iterations : int, optional
        How many iterations the optimiser may take.
    output : path_like, optional
        Where to save the picture, a PNG.

    Returns
    -------
    Result

    Examples
    --------
    >>> from matkern import demo
    >>> result = demo.run(months=120, iterations=5)     # doctest: +SKIP
    """
    console = Console(highlight=False)
    train, held_out = split(load_co2(), months, forecast_years)
    console.print(
        f"CO2 at Mauna Loa, monthly means: {len(train.month)} to fit ({month_name(train.month[0])} to "
        f"{month_name(train.month[-1])}), {len(held_out.month)} held out (to {month_name(held_out.month[-1])})"
    )

    process = GaussianProcess(train)
    start = np.log([parameter.start for parameter in HYPERPARAMETERS])
    optimum = fit(process, start, iterations, console)
    points = (start, optimum.x)
    values, gradients = zip(*(value_and_grad(process.log_likelihood)(x) for x in points), strict=True)
    console.print(hyperparameter_table(np.exp(start), np.exp(optimum.x)))
    console.print(
        f"Log marginal likelihood: {values[0]:.3f} before, {values[1]:.3f} after {optimum.nit} iterations and "
        f"{optimum.nfev} gradients ({'converged' if optimum.success else optimum.message.lower()})\n"
    )

    with console.status("checking the gradient"):
        checks = tuple(
            check_gradient(process.log_likelihood, gradient, x, len(train.month))
            for x, gradient in zip(points, gradients, strict=True)
        )
        conditions = [condition_number(process.covariance_matrix(x)) for x in points]
    console.print(check_table(checks, values, conditions))
    console.print(
        f"Differences of fourth order, step h = {STEP:g} in the logarithms; errors are relative to 1 where a component "
        "is smaller. Tolerance: 10 (rounding error / h + n h^4); the rounding error is measured, of the order of eps "
        "cond(K).\n"
    )

    mean, sd = process.predict(optimum.x, held_out.year)
    errors = held_out.ppm - mean
    rmse, coverage = float(np.sqrt(np.mean(errors**2))), float(np.mean(np.abs(errors) <= Z95 * sd))
    console.print(
        f"Forecast of {forecast_years} years: root mean square error {rmse:.2f} ppm; {coverage:.0%} of the held-out "
        "months are within the 95 % band (errors of neighbouring months are alike, so this share varies much from one "
        "hold-out to another)\n"
    )

    with console.status("timing"):
        seconds = time_gradients(process, optimum.x)
    console.print(timing_table(seconds))
    config = show_config(mode="dicts")
    console.print(
        f"n = {len(train.month)}, {ROUNDS} rounds in turn; matkern {config['matkern']}, autograd "
        f"{version('autograd')}, NumPy {config['numpy']}, SciPy {config['scipy']}, Python {config['python']}; threads: "
        f"matkern {config['threads']}, SciPy's BLAS {config['blas threads']}"
    )
    if any(statistics.median(t) > BUSY * min(t) for by_name in seconds.values() for t in by_name.values()):
        console.print("The machine was busy, medians are far from the fastest: time it again when it is quiet.")

    plot(process, optimum.x, held_out, output)
    console.print(f"\nPicture: {Path(output)}", soft_wrap=True)
    return Result(np.exp(optimum.x), float(values[0]), float(values[1]), checks, rmse, coverage, seconds)
