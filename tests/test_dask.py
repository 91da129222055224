"""Dask arrays: every function lazy and chunk by chunk, on two worker processes, against NumPy's arrays."""

import inspect
import multiprocessing
import pickle
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from samples import SAMPLES, assert_near, draw_cotangents, draw_tangents, hermitian, normal, positive

import matkern as mk
from matkern.calls import Call
from matkern.op import RECORDS

dask = pytest.importorskip("dask", reason="Dask is not installed")
da = pytest.importorskip("dask.array", reason="Dask's arrays are not installed")
distributed = pytest.importorskip("distributed", reason="Dask's workers are not installed")

BUDGET = 600e6  # bytes for each worker
KERNELS = {k.name: k for op in RECORDS.values() for k in (op.forward, op.pullback, op.pushforward)}


@pytest.fixture(scope="module")
def client():
    """Two workers; each with one thread of matkern's, since they share the machine's CPUs."""
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "120s", "distributed.comm.timeouts.tcp": "120s"}),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            memory_limit=BUDGET,
            dashboard_address=None,
            env={"MATKERN_NUM_THREADS": "1"},
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client
    assert not multiprocessing.active_children()


def lazy(x, chunk=2):
    """A Dask array of a batch in chunks of 2 or so."""
    return None if x is None else da.from_array(x, chunks=(chunk, *x.shape[1:]))


def flat(*results):
    return [x for r in results for x in (r if isinstance(r, tuple) else (r,))]


def drawn(rng, sample, dtype):
    """Inputs of a batch of 5, and name -> array for all that the functions take, in small letters."""
    inputs = sample.draw(rng, (5,), 4, dtype)
    forward = Call(sample.name, inputs, sample.options)
    values = forward.values | dict(zip(sample.op.inputs, forward.inputs, strict=True)) | forward.outputs
    cotangents = draw_cotangents(rng, sample, {n: values[n] for n in sample.op.outputs})
    tangents = dict(zip(sample.op.inputs, draw_tangents(rng, sample, inputs), strict=False))
    values |= {n: None for n in sample.op.pullback.inputs if n.endswith("_bar")}
    values |= {f"{n}_bar": g for n, g in cotangents.items()} | {f"{n}_dot": t for n, t in tangents.items()}
    return inputs, {n.lower(): x for n, x in values.items()}


def call(function, values, options):
    """A public function on what its parameters name."""
    parameters = inspect.signature(function).parameters.values()
    names = [p.name.lower() for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    operands = [values[n] for n in names if n in values]
    return function(*operands, **{p.name: options[p.name] for p in parameters if p.name in options})


def functions(sample):
    return [getattr(mk, sample.name + suffix) for suffix in ("", "_vjp", "_jvp")]


def assert_same(lazies, wants):
    """Lazy results that declare what they become: NumPy's results in chunks."""
    assert len(lazies) == len(wants)
    for y, want in zip(lazies, wants, strict=True):
        assert isinstance(y, da.Array)
        assert y.shape == want.shape and y.dtype == y._meta.dtype == want.dtype
        assert y.chunks == ((2, 2, 1), *((n,) for n in want.shape[1:]))
    for got, want in zip(dask.compute(*lazies), wants, strict=True):
        assert type(got) is np.ndarray and got.dtype == want.dtype
        assert_near(got, want)


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
class TestEveryOperation:
    def test_functions(self, client, rng, sample):
        lazies, wants = [], []
        for dtype in ("float32", "complex128"):
            _, values = drawn(rng, sample, dtype)
            chunked = {n: lazy(x) for n, x in values.items()}
            for function in functions(sample):
                wants += flat(call(function, values, sample.options))
                result = call(function, chunked, sample.options)
                assert type(result) is type(call(function, values, sample.options)) or isinstance(result, da.Array)
                lazies += flat(result)
        assert_same(lazies, wants)

    def test_vjp_and_jvp(self, client, rng, sample):
        inputs, values = drawn(rng, sample, "complex64")
        cotangents = tuple(values[f"{n}_bar".lower()] for n in sample.op.outputs)
        tangents = tuple(values[f"{n}_dot"] for n, _ in zip(sample.op.inputs, inputs, strict=False))
        lazies, wants = [], []
        for found, of in ((wants, lambda x: x), (lazies, lazy)):
            x, g, t = (tuple(map(of, xs)) for xs in (inputs, cotangents, tangents))
            y, pullback = mk.vjp(sample.name, *x, **sample.options)
            found.extend(flat(y, pullback(g if len(g) > 1 else g[0]), *mk.jvp(sample.name, x, t, **sample.options)))
        assert [x is None for x in lazies] == [x is None for x in wants]
        assert_same([x for x in lazies if x is not None], [x for x in wants if x is not None])

    def test_nothing_is_computed_at_the_call(self, rng, sample):
        loads = []

        def load(block):
            loads.append(block)
            return block

        inputs, values = drawn(rng, sample, "float32")
        chunked = {n: lazy(x).map_blocks(load, meta=x[:0]) if np.ndim(x) else x for n, x in values.items()}
        results = flat(*(call(function, chunked, sample.options) for function in functions(sample)))
        names = sample.op.inputs[: len(inputs)]
        y, pullback = mk.vjp(sample.name, *(chunked[n.lower()] for n in names), **sample.options)
        results += flat(y, pullback(y if len(sample.op.outputs) == 1 else (None,) * len(sample.op.outputs)))
        assert not loads
        results[0].compute(scheduler="sync")
        assert len(loads) >= 3


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_matrices_cut_by_chunks_are_refused(kernel):
    """By the operation's and the argument's names, with a remedy that works."""
    for name in kernel.inputs:
        operands = [
            da.zeros((3, *(4 for _ in kernel.cores[n])), dtype="i4" if kernel.kinds[n] == "int" else "f8", chunks=-1)
            for n in kernel.inputs
        ]
        at = kernel.inputs.index(name)
        for axis in range(1, operands[at].ndim):
            cut = operands[at].rechunk({axis: 3})
            with pytest.raises(ValueError, match=f"^{kernel.name}: each matrix must .* {name} ") as e:
                kernel(*operands[:at], cut, *operands[at + 1 :])
            mended = eval(str(e.value).split(": use ")[1], {name: cut})
            kernel(*operands[:at], mended, *operands[at + 1 :])


class TestOperands:
    def test_numpy_and_dask_together(self, rng):
        a, b = positive(rng, (5,), 4, "float64"), normal(rng, (5, 4, 2), "float64")
        want = mk.solve(a, b)
        for x in (mk.solve(lazy(a), b), mk.solve(a, lazy(b)), mk.solve(lazy(a), b.tolist())):
            assert_same([x], [want])

    def test_chunks_that_differ(self, rng):
        a, b = positive(rng, (5,), 4, "float64"), normal(rng, (5, 4, 2), "float64")
        x = mk.solve(lazy(a, 2), lazy(b, 3))
        assert x.chunks[0] == (2, 1, 1, 1)
        assert_near(x.compute(), mk.solve(a, b))

    def test_batch_axes_broadcast(self, rng):
        a, b = positive(rng, (5, 1), 4, "float64"), normal(rng, (3, 4, 2), "float64")
        x = mk.solve(lazy(a), lazy(b))
        assert x.chunks == ((2, 2, 1), (2, 1), (4,), (2,))
        assert_near(x.compute(), mk.solve(a, b))
        (a_bar, b_bar), (a_want, b_want) = (
            mk.vjp("solve", of(a), of(b))[1](of(np.ones((5, 3, 4, 2)))) for of in (lazy, lambda x: x)
        )
        assert b_bar.shape == b.shape
        assert_near(a_bar.compute(), a_want)
        assert_near(b_bar.compute(), b_want)

    def test_a_right_hand_side_that_is_a_vector(self, rng):
        a, b = positive(rng, (5,), 4, "complex64"), normal(rng, (4,), "complex64")
        lu, piv = mk.lu_factor(a)
        x = mk.solve(a, b)
        for lazy_b in (b, da.from_array(b)):
            assert_same([mk.solve(lazy(a), lazy_b)], [x])
            assert_same([mk.lu_solve(lazy(lu), lazy(piv), lazy_b)], [mk.lu_solve(lu, piv, b)])
            assert_same(flat(mk.solve_vjp(lazy(lu), lazy(piv), lazy_b, b)), flat(mk.solve_vjp(lu, piv, b, b)))
            got, want = (mk.vjp("solve", of(a), c)[1](of(x)) for of, c in ((lazy, lazy_b), (lambda x: x, b)))
            assert_same([got[0]], [want[0]])
            assert_near(got[1].compute(), want[1])

    def test_cotangents_of_none(self, rng):
        for dtype in ("float32", "complex128"):
            w, v = mk.eigh(hermitian(rng, (5,), 4, dtype))
            for g in ((w, None), (None, v), (None, None)):
                got = mk.eigh_vjp(lazy(w), lazy(v), *map(lazy, g), gauge="ignore")
                assert_same([got], [mk.eigh_vjp(w, v, *g, gauge="ignore")])

    def test_dtypes_are_matkern_s(self, rng):
        a = np.round(100 * positive(rng, (5,), 4, "float64")).astype("int16")
        L = mk.cholesky(a)
        assert_same([mk.cholesky(lazy(a))], [L])
        assert_same([mk.cholesky_vjp(lazy(L), lazy(L * (1 + 1j)))], [mk.cholesky_vjp(L, L * (1 + 1j))])
        assert L.dtype == "float64" == mk.cholesky_vjp(L, L * 1j).dtype
        b = normal(rng, (5, 4, 2), "complex64")
        assert_same([mk.solve(lazy(L.astype("float32")), lazy(b))], [mk.solve(L.astype("float32"), b)])
        piv = np.broadcast_to(np.arange(4), (5, 4))  # int64, where the kernel's are int32
        assert_same(
            flat(mk.solve_vjp(lazy(L), lazy(piv), lazy(L), lazy(L), assume_a="pos")),
            flat(mk.solve_vjp(L, piv, L, L, assume_a="pos")),
        )

    def test_extra_axes_of_tangents(self, rng):
        """lu's permutation has tangent zero, in as many axes as the others."""
        a, t = positive(rng, (5,), 4, "float64"), normal(rng, (3, 5, 4, 4), "float64")
        got, want = mk.jvp("lu", (lazy(a),), (lazy(t),))[1], mk.jvp("lu", (a,), (t,))[1]
        for x, y in zip(got, want, strict=True):
            assert isinstance(x, da.Array) and x.dtype == y.dtype
            assert_near(x.compute(), y)

    def test_no_matrices_and_empty_ones(self, client):
        for batch in ((0,), (3,), (0, 3)):
            for n in (0, 2):
                a = da.zeros((*batch, n, n)) + np.eye(n)
                outputs = flat(mk.cholesky(a), mk.cholesky_vjp(a, a), mk.eigh(a), mk.lu(a), mk.solve(a, a[..., :1]))
                for x in dask.compute(*outputs):
                    assert x.shape[: len(batch)] == batch and x.shape[len(batch)] == n

    def test_chunks_of_unknown_length(self, rng):
        a = positive(rng, (5,), 4, "float64")
        keep = np.array([True, False, True, True, True])
        some = lazy(a)[lazy(keep)]
        assert np.isnan(some.shape[0])
        L = mk.cholesky(some)
        assert_near(L.compute(), mk.cholesky(a[keep]))
        assert_near(mk.cholesky_vjp(L, L).compute(), mk.cholesky_vjp(mk.cholesky(a[keep]), mk.cholesky(a[keep])))
        assert_near(mk.solve(some, some).compute(), np.broadcast_to(np.eye(4), (4, 4, 4)))
        assert_near(mk.solve(some, np.eye(4)).compute(), np.linalg.inv(a[keep]))
        with pytest.raises(ValueError, match=r"shape \(nan, 4, 4\).*compute_chunk_sizes"):
            mk.vjp("cholesky", some)
        unknown = lazy(a).map_blocks(lambda x: x, chunks=((2, 2, 1), (np.nan,), (np.nan,)), meta=a[:0])
        with pytest.raises(ValueError, match=r"cholesky: a has shape \(5, nan, nan\).*a\.compute_chunk_sizes\(\)"):
            mk.cholesky(unknown)


class TestErrors:
    @pytest.mark.parametrize(
        "wrong",
        [
            lambda a: mk.cholesky(a[:, :3]),
            lambda a: mk.cholesky(a[0, 0]),
            lambda a: mk.cholesky(a.astype("float16")),
            lambda a: mk.cholesky(a, upper=3),
            lambda a: mk.cholesky(a, on_error="ignore"),
            lambda a: mk.cholesky_vjp(a, a[:, :2, :2]),
            lambda a: mk.cholesky_vjp(None, a),
            lambda a: mk.solve(a, a[:3]),
            lambda a: mk.solve_vjp(a, a[:, 0], a, a),
            lambda a: mk.lu_vjp(a, a, a[..., :2, :], None, None),
            lambda a: mk.vjp("cholesky", a)[1](a[:3]),
            lambda a: mk.jvp("solve", (a, a), (a, a[:3])),
        ],
    )
    def test_are_numpy_s_at_the_call(self, rng, wrong):
        a = positive(rng, (5,), 4, "float64")
        with pytest.raises((ValueError, TypeError)) as want:
            wrong(a)
        with pytest.raises(want.type) as got:
            wrong(lazy(a))
        assert str(got.value) == str(want.value)

    def test_a_failing_matrix(self, client, rng):
        a = positive(rng, (5,), 4, "float64")
        a[3] = -np.eye(4)
        L = mk.cholesky(lazy(a))
        message = r"cholesky: matrix \[1\] of the batch is not positive definite.* is one chunk of a Dask array"
        for scheduler in ("sync", None):
            with pytest.raises(np.linalg.LinAlgError, match=message):
                L.compute(scheduler=scheduler)
        got = mk.cholesky(lazy(a), on_error="nan").compute()
        assert np.isnan(got[3]).all()
        assert_near(got[[0, 1, 2, 4]], mk.cholesky(a[[0, 1, 2, 4]]))

    def test_out_is_refused(self, rng):
        a = positive(rng, (5,), 4, "float64")
        with pytest.raises(TypeError, match="cholesky: out is not supported for Dask arrays"):
            mk.cholesky(lazy(a), out=np.empty_like(a))
        with pytest.raises(TypeError, match="cholesky: out must be an array, got Array"):
            mk.cholesky(a, out=lazy(a))

    def test_jacobian_is_refused(self, rng):
        a = positive(rng, (5,), 4, "float64")
        with pytest.raises(TypeError, match="jacobian takes no Dask arrays"):
            mk.jacobian("solve", a, lazy(a))
        mapped = lazy(a).map_blocks(
            partial(mk.jacobian, "cholesky"), dtype=float, new_axis=[3, 4], chunks=((2, 2, 1), 4, 4, 4, 4)
        )
        assert_near(mapped.compute(), mk.jacobian("cholesky", a))


class TestWhereItRuns:
    @pytest.mark.parametrize("scheduler", ["sync", "threads", "processes"])
    def test_schedulers(self, rng, scheduler):
        a = positive(rng, (50,), 4, "float64")
        L = mk.cholesky(lazy(a))
        got = dask.compute(L, mk.cholesky_vjp(L, L), scheduler=scheduler)
        for x, want in zip(got, (mk.cholesky(a), mk.cholesky_vjp(mk.cholesky(a), mk.cholesky(a))), strict=True):
            assert_near(x, want)

    def test_inside_a_function_of_chunks(self, client, rng):
        a = positive(rng, (5,), 4, "float64")
        assert_same([lazy(a).map_blocks(mk.cholesky, dtype=float)], [mk.cholesky(a)])

    def test_graphs_pickle_and_have_names(self, rng):
        """The same call has the same name, which Dask tells tasks apart by; others have others."""
        a = lazy(positive(rng, (5,), 4, "float64"))
        L = mk.cholesky(a)
        assert pickle.loads(pickle.dumps(L)).name == L.name == mk.cholesky(a).name
        assert len({L.name, mk.cholesky(a, upper=True).name, mk.cholesky(a, on_error="nan").name}) == 3
        assert any(str(key).startswith("('cholesky-") or "cholesky-" in str(key) for key in L.dask.layers)

    def test_a_worker_s_threads(self, client):
        """Dask's own OMP_NUM_THREADS says nothing to matkern; its variable does."""
        assert set(client.run(mk.get_num_threads).values()) == {1}
        client.run(mk.set_num_threads, 2)
        assert set(client.run(mk.get_num_threads).values()) == {2}
        client.run(mk.set_num_threads, 1)


# two million matrices

N, COUNT, CHUNK = 8, 2_000_000, 40_000


def covariances(block_info=None):
    """A chunk of A = X X^T + I, made where it is used."""
    first, last = block_info[None]["array-location"][0]
    x = np.random.default_rng(first).random((last - first, N, N))
    return x @ x.swapaxes(-1, -2) + np.eye(N)


def reciprocal_diagonal(L):
    """The gradient of the sum of log L_ii, which is log det A / 2."""
    return np.eye(N) / np.diagonal(L, axis1=-2, axis2=-1)[..., None]


def errors(a, L, a_bar):
    """The largest relative errors of L L^T = A and of A A_bar = I / 2 along a vector, and how many there are."""
    v = np.random.default_rng(len(a)).standard_normal(N)
    largest = lambda x: np.diagonal(x, axis1=-2, axis2=-1).max(-1)  # of a positive definite matrix
    forward = np.abs(np.einsum("bij,bj->bi", L, v @ L) - a @ v).max(-1) / largest(a)
    # I / 2 is what remains of much larger terms
    pullback = np.abs(np.einsum("bij,bj->bi", a, a_bar @ v) - v / 2).max(-1) / (largest(a) * largest(a_bar))
    inverse = np.linalg.inv(a[:10])
    few = np.abs(2 * a_bar[:10] - inverse).max((-2, -1)) / np.abs(inverse).max((-2, -1)) / np.linalg.cond(a[:10])
    return np.array([[forward.max(), pullback.max(), few.max(), np.abs(np.triu(L[:1000], 1)).max(), len(a)]])


def peak_memory():
    """In bytes, of this process; what getrusage gives is at least that of the parent at the fork."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024


def test_two_million_matrices(client, capsys):
    """1 GB, and 3 GB with factors and gradients, through workers of 600 MB: nothing is ever in one place."""
    a = da.map_blocks(covariances, chunks=((CHUNK,) * (COUNT // CHUNK), N, N), meta=np.empty((0, N, N)))
    assert a.nbytes > 1.5 * BUDGET
    before = set(client.scheduler_info()["workers"])
    L = mk.cholesky(a)
    a_bar = mk.cholesky_vjp(L, L.map_blocks(reciprocal_diagonal, meta=np.empty((0, N, N))))
    found = da.map_blocks(errors, a, L, a_bar, drop_axis=(1, 2), new_axis=1, chunks=(1, 5), meta=np.empty((0, 0)))
    future = client.compute(found)
    distributed.progress(future, notebook=False)
    found = future.result()
    percents = [int(p) for p in re.findall(r"\r\[#* *\] \| (\d+)% Completed", capsys.readouterr().out)]
    assert percents == sorted(percents) and percents[-1] == 100 and len(set(percents)) > 2
    forward, pullback, few, above, count = found.T
    assert count.sum() == COUNT and above.max() == 0
    for error in (forward, pullback, few):
        assert error.max() < 10 * N * np.finfo(float).eps
    assert set(client.scheduler_info()["workers"]) == before  # none was killed for its memory
    assert max(client.run(peak_memory).values()) < BUDGET
