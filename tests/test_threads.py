"""Threads: the same bits, BLAS's own left as they were, forks, calls from several Python threads."""

import concurrent.futures
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from samples import (
    DTYPES,
    SAMPLES,
    assert_near,
    by_formula,
    draw_cotangents,
    forward,
    general,
    normal,
    positive,
    pullback,
)

import matkern as mk


@pytest.fixture(autouse=True)
def two_threads():
    before = mk.get_num_threads()
    mk.set_num_threads(2)
    yield
    mk.set_num_threads(before)


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_bits_do_not_depend_on_threads_or_neighbours(rng, sample):
    inputs = sample.draw(rng, (64,), 24, "float64")
    g = draw_cotangents(rng, sample, forward(sample, inputs))
    many = pullback(sample, inputs, g)
    mk.set_num_threads(1)
    for a, b in zip(many, pullback(sample, inputs, g), strict=True):
        np.testing.assert_array_equal(a, b)
    mk.set_num_threads(2)
    # other matrices in the same lanes and threads; a batch of another size may go another way
    moved = pullback(
        sample, [np.roll(x, 5, 0) for x in inputs], {n: None if x is None else np.roll(x, 5, 0) for n, x in g.items()}
    )
    for a, b in zip(many, moved, strict=True):
        if a is not None:
            np.testing.assert_array_equal(np.roll(a, 5, 0), b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_one_large_matrix(rng, sample, dtype):
    """Products of this size are shared among the threads, in pieces that need not be alike."""
    mk.set_num_threads(3)
    n = 301
    inputs = [
        normal(rng, (*x.shape[:-1], n), dtype) if name == "b" else x
        for name, x in zip(sample.op.inputs, sample.draw(rng, (), n, dtype), strict=False)
    ]
    outputs = forward(sample, inputs)
    g = draw_cotangents(rng, sample, outputs)
    bars = [bar for bar in pullback(sample, inputs, g) if bar is not None]
    for bar, want in zip(bars, by_formula(sample, inputs, g, "cotangent"), strict=False):
        # normal equations, and their formula, square a condition of about 10
        assert_near(bar, want, multiple=1000 if sample.name == "lstsq" else 100)


def test_every_broadcast_is_one_parallel_batch(rng):
    """Each pattern's matrices run on several threads at once, found by who ran: CPU time above elapsed time would be
    a matter of luck, so the test takes the threads' own clocks."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.fail("needs two CPUs")
    patterns = [
        ((4000,), (4000,)),
        ((2000, 1), (2000, 2)),
        ((1, 2000), (2, 1)),
        ((2, 1, 500), (1, 4, 1)),
        ((4000,), ()),
    ]
    for first, second in patterns:
        a, b = general(rng, first, 32, "float64"), rng.standard_normal((*second, 32, 32))
        mk.solve(a, b)
        shares = []
        for _ in range(5):
            process, thread = os.times(), time.thread_time()
            mk.solve(a, b)
            spent = sum(os.times()[:2]) - sum(process[:2])
            shares.append((time.thread_time() - thread) / max(spent, 1e-9))
        assert min(shares) < 0.8, f"{first} with {second}: the calling thread did {min(shares):.0%} of the work"


def test_blas_threads_are_left_as_they_were(rng):
    threads = mk.show_config(mode="dicts")["blas threads"]
    for shape in ((200, 30, 30), (1, 500, 500), (3, 3)):
        mk.cholesky(positive(rng, shape[:-2], shape[-1], "float64"))
        assert mk.show_config(mode="dicts")["blas threads"] == threads


@pytest.mark.skipif(sys.platform != "linux", reason="matkern does so on Linux alone")
def test_a_worker_keeps_off_the_callers_core():
    """Else a thread that spins on the other core, as BLAS's do, leaves both of matkern's on one."""
    code = """if True:
        import os
        import numpy as np
        import matkern as mk

        mk.set_num_threads(2)
        a = np.eye(24) + np.zeros((1000, 1, 1))
        cores = os.sched_getaffinity(0)

        def lacking():
            allowed = [os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")]
            return [cores - some for some in allowed if some != cores]

        mk.inv(a)
        assert [len(some) for some in lacking()] == [1] * (len(cores) > 1), lacking()
        mk.set_num_threads(len(cores) + 1)      # more than there are cores: the system places them
        mk.inv(a)
        assert not lacking(), lacking()
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_calls_from_python_threads(rng):
    a = positive(rng, (300,), 20, "float64")
    want = mk.cholesky(a)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: mk.cholesky(a), range(64)):
            np.testing.assert_array_equal(got, want)
    threads = mk.show_config(mode="dicts")["blas threads"]
    assert threads is None or threads == mk.show_config(mode="dicts")["blas threads"]


def test_a_forked_child_computes(rng):
    code = """
import os, sys
import numpy as np, matkern as mk
mk.set_num_threads(2)
a = np.broadcast_to(np.eye(40) * 4, (500, 40, 40)).copy()
want = mk.cholesky(a)
mk.cholesky(np.eye(600))
before = mk.show_config(mode="dicts")["blas threads"]
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        good = np.array_equal(mk.cholesky(a), want) and mk.show_config(mode="dicts")["blas threads"] == before
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(not np.array_equal(mk.cholesky(a), want))
        os._exit(not (good and os.waitpid(grandchild, 0)[1] == 0))
    assert os.waitpid(pid, 0)[1] == 0
assert np.array_equal(mk.cholesky(a), want)
"""
    subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", code], check=True, timeout=60)


def test_a_fork_while_another_thread_computes():
    code = """
import os, threading
import numpy as np, matkern as mk
mk.set_num_threads(2)
threads = mk.show_config(mode="dicts")["blas threads"]
a = np.broadcast_to(np.eye(40) * 4, (200, 40, 40)).copy()
stop = threading.Event()
def work():
    while not stop.is_set():
        mk.cholesky(a)
t = threading.Thread(target=work)
t.start()
for _ in range(200):
    pid = os.fork()
    if pid == 0:
        mk.cholesky(a)
        os._exit(mk.show_config(mode="dicts")["blas threads"] != threads)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
t.join()
"""
    subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("threads", "error"),
    [(0, ValueError), (-1, ValueError), (10**6, ValueError), (1.5, TypeError), (True, TypeError), ("2", TypeError)],
)
def test_set_num_threads_refuses(threads, error):
    with pytest.raises(error, match="set_num_threads: threads must be"):
        mk.set_num_threads(threads)
    assert mk.get_num_threads() == 2


@pytest.mark.parametrize(("value", "threads"), [("3", 3), ("1", 1)])
def test_environment(value, threads):
    code = f"import matkern as mk; assert mk.get_num_threads() == {threads}"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"MATKERN_NUM_THREADS": value})


def test_environment_refused():
    run = subprocess.run(
        [sys.executable, "-c", "import matkern"],
        env=os.environ | {"MATKERN_NUM_THREADS": "many"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode and "MATKERN_NUM_THREADS must be an integer from 1 to 1024, got 'many'" in run.stderr


@pytest.mark.parametrize("call", ["solve_vjp", "eigh", "svdvals"])
def test_a_busy_core_slows_large_matrices_down_little(rng, call):
    """Another process keeps it: scipy.linalg.eigh, whose BLAS threads wait by spinning, is far above this bound."""
    a, b = general(rng, (), 500, "float64"), normal(rng, (500, 500), "float64")
    if call == "solve_vjp":
        pull = mk.vjp("solve", a, b)[1]
        run = lambda: pull(b)
    else:
        run = lambda: getattr(mk, call)(a)

    def percentiles():
        times = []
        for _ in range(40):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return np.percentile(times, [50, 90])

    percentiles()
    quiet, _ = percentiles()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            time.sleep(0.2)
            median, slow = percentiles()
        finally:
            other.kill()
    assert median <= 3 * quiet
    assert slow <= 3 * quiet + 0.01
