"""Kernels by themselves, for the scripts beside this file: operands for them, and times in interleaved rounds."""

import statistics
import time

import numpy as np
from matkern.kernels import gufunc

from matkern.calls import Call


def draw(case, batch, n, dtype):
    """A call of the operation, cotangents and tangents by name."""
    rng = np.random.default_rng(1)
    call = Call(case.op, case.inputs(batch, n, dtype), case.options)
    op, values = call.op, call.values

    def like(names):
        return {k: np.asarray(rng.standard_normal(values[k].shape), values[k].dtype) for k in names}

    bars, dots = like(op.differentiable_outputs), like(op.differentiable_inputs)
    bars = {k: g * values[k] if values[k].dtype.kind == "c" else g for k, g in bars.items()}  # no part along phases
    return call, bars, dots


def runs(case, batch, n, dtype):
    """Forward pass, pullback and pushforward: name -> a function that runs the kernel."""
    call, bars, dots = draw(case, batch, n, dtype)
    op = call.op
    return {
        "forward": lambda: op.run_forward(call.columns, call.options),
        "pullback": lambda: op.run_pullback(call.values, bars, call.options),
        "pushforward": lambda: op.run_pushforward(call.values, dots, call.options),
    }


def with_lanes(choice, limit, run):
    """`run` with that instruction set, and lanes for matrices up to the limit: with 1, for none but numbers."""

    def call():
        gufunc.set_lanes(choice, limit)
        run()

    return call


def interleaved(functions, rounds=5, seconds=0.01, pause=0.0):
    """Seconds per call, a list for each function with an item per round; each call has another function before it."""
    times = [[] for _ in functions]
    for _ in range(rounds):
        for function, taken in zip(functions, times, strict=True):
            time.sleep(pause)
            function()
            start, count = time.perf_counter(), 0
            while time.perf_counter() - start < seconds:
                function()
                count += 1
            taken.append((time.perf_counter() - start) / count)
    return times


def median_ratio(times):
    """Of the first function's times to the second's."""
    return statistics.median(a / b for a, b in zip(*times, strict=True))
