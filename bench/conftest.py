"""Options, timing, and the table of ratios at the end."""

import statistics
import time
from argparse import ArgumentTypeError
from importlib.metadata import version

import pytest
from cases import CASES
from contenders import INSTALLED, sample

import matkern as mk

try:
    from threadpoolctl import threadpool_info
except ImportError:
    threadpool_info = list  # of nothing

GRID = "10000x2,10000x4,10000x8,4000x16,1000x32,250x64,60x128,10x256,4x512,1x1024"
PAUSE = 0.05  # seconds, in which the spinning threads of another library fall asleep
MEDIANS = pytest.StashKey[dict]()  # (point, mode) -> contender -> seconds


def grid(text):
    points = [point.split("x") for point in text.split(",")]
    return [(int(batch), int(n)) for batch, n in points]


def pytest_addoption(parser):
    group = parser.getgroup("matkern")
    group.addoption("--grid", type=grid, default=GRID, metavar="BATCHxN,...", help=f"default: {GRID}")

    def add(option, known, default):
        def some(text):
            if unknown := ", ".join(name for name in text.split(",") if name not in known):
                raise ArgumentTypeError(f"{unknown}: not among {', '.join(known)}")
            return text.split(",")

        what = f"of {', '.join(known)}; default: {default or 'all'}"
        group.addoption(option, type=some, default=default or ",".join(known), metavar="NAME,...", help=what)

    add("--dtypes", ["float32", "float64", "complex64", "complex128"], "float64")
    add("--ops", [case.name for case in CASES], None)
    add("--contenders", list(INSTALLED), None)


def pytest_configure(config):
    config.stash[MEDIANS] = {}


@pytest.fixture
def timed(benchmark, request, point, contender):
    """Time a mode of the contender and return the results; the table calls it what the test is called, or `label`."""

    def run(mode, label=None):
        running = contender(point.case, sample(point)[0])
        function = running.function(mode)
        function()  # compiles
        label = label or request.node.originalname.removeprefix("test_").replace("_", " ")
        benchmark.group = f"{label} {point.name}"
        benchmark.extra_info |= {"operation": point.case.name, "mode": label, "contender": contender.name}
        benchmark.extra_info |= {"batch": point.batch, "n": point.n, "dtype": point.dtype}
        time.sleep(PAUSE)
        value = benchmark(function)
        if benchmark.enabled:
            medians = request.config.stash[MEDIANS].setdefault((point, label), {})
            medians[contender.name] = benchmark.stats["median"]
        return running.results(mode, value)

    return run


def about():
    """What the figures depend on besides the machine: versions, BLAS, threads."""
    pools = [f"{pool.get('architecture', pool['internal_api'])} x{pool['num_threads']}" for pool in threadpool_info()]
    rivals = {name: version(name) for name in INSTALLED}
    return mk.show_config(mode="dicts") | rivals | {"thread pools": ", ".join(pools) or None}


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["matkern"] = about()


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, config):
    """Print, for each point at which matkern and a rival were timed, the best rival's time over matkern's."""
    rows = {key: times for key, times in config.stash[MEDIANS].items() if len(times) > 1 and "matkern" in times}
    if not rows:
        return
    terminalreporter.section("best rival / matkern (medians in us per matrix)")
    write = terminalreporter.write_line
    names = list(dict.fromkeys(name for times in rows.values() for name in times))
    write(f"{'point':<36}{'mode':<18}" + "".join(f"{name:>11}" for name in names) + f"{'ratio':>8}")
    ratios = {}
    for (point, mode), times in rows.items():
        ratio = min(time for name, time in times.items() if name != "matkern") / times["matkern"]
        ratios.setdefault(mode, []).append(ratio)
        cells = (f"{times[name] / point.batch * 1e6:.3f}" if name in times else "-" for name in names)
        write(f"{point.name:<36}{mode:<18}" + "".join(f"{cell:>11}" for cell in cells) + f"{ratio:>8.2f}")
    for mode, values in ratios.items():
        mean = statistics.geometric_mean(values)
        write(f"{mode}: geometric mean {mean:.2f}, least {min(values):.2f}, points {len(values)}")
    write("; ".join(f"{key} {value}" for key, value in about().items()))
