"""The shim for JAX: the table of transforms, one custom call in the compiled program, bad input."""

import functools
import os
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest
from samples import assert_near, general, normal, positive
from transforms import check_options_by_position, table

import matkern as mk

jax = pytest.importorskip("jax", reason="jax is not installed: pip install 'matkern[frameworks]'")

import jax.numpy as jnp  # noqa: E402

import matkern.jax as mj  # noqa: E402


@pytest.fixture(autouse=True)
def double_precision():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


# the table of transforms; JAX's gradients are conjugates of matkern's


def real_loss(f, gs):
    return lambda xs: sum(jnp.sum(jnp.real(jnp.conj(g) * y)) for g, y in zip(gs, f(*xs), strict=True))


def grad(f, xs, gs, through=lambda f: f):
    return [jnp.conj(g) for g in through(jax.grad(real_loss(f, gs)))(tuple(xs))]


def mapped_grad(f, xs, gs):
    one = lambda xs, gs: jax.grad(real_loss(f, gs))(xs)
    return [jnp.conj(g) for g in jax.vmap(one)(tuple(xs), tuple(gs))]


def last_axis_grad(f, xs, gs):
    """Mapped over the last axis, which the batching rule moves."""
    last = lambda xs: tuple(jnp.moveaxis(x, 0, -1) for x in xs)
    one = lambda xs, gs: jax.grad(real_loss(f, gs))(xs)
    return [jnp.conj(jnp.moveaxis(g, -1, 0)) for g in jax.vmap(one, -1, -1)(last(xs), last(gs))]


def scanned_grad(f, xs, gs):
    def step(carry, slice_):
        return carry, jax.grad(real_loss(f, slice_[1]))(slice_[0])

    return [jnp.conj(g) for g in jax.lax.scan(step, 0, (tuple(xs), tuple(gs)))[1]]


def jvp(f, xs, ts):
    return jax.jvp(f, tuple(xs), tuple(ts))[1]


def mapped_jvp(f, xs, ts):
    return jax.vmap(lambda xs, ts: jax.jvp(f, xs, ts)[1])(tuple(xs), tuple(ts))


def linearize(f, xs, ts):
    return jax.linearize(f, *xs)[1](*ts)


def reverse_over_reverse(f, xs, gs, ts):
    def pairing(xs):
        return sum(jnp.sum(jnp.real(g * t)) for g, t in zip(jax.grad(real_loss(f, gs))(xs), ts, strict=True))

    return [jnp.conj(g) for g in jax.grad(pairing)(tuple(xs))]


def forward_over_reverse(f, xs, gs, ts):
    return [jnp.conj(g) for g in jax.jvp(jax.grad(real_loss(f, gs)), (tuple(xs),), (tuple(ts),))[1]]


def reverse_over_forward(f, xs, gs, ts):
    pushed = lambda xs: jax.jvp(real_loss(f, gs), (xs,), (tuple(ts),))[1]
    return [jnp.conj(g) for g in jax.grad(pushed)(tuple(xs))]


def mapped_second(f, xs, gs, ts):
    one = lambda xs, gs, ts: tuple(forward_over_reverse(f, xs, gs, ts))
    return jax.vmap(one)(tuple(xs), tuple(gs), tuple(ts))


def compiled(run):
    """In one program: operation by operation JAX takes twice as long."""
    return lambda f, xs, *directions: jax.jit(functools.partial(run, f))(xs, *directions)


TRANSFORMS = {
    "value": ("value", lambda f, xs: f(*xs)),
    "jit": ("value", lambda f, xs: jax.jit(f)(*xs)),
    "vmap": ("value", lambda f, xs: jax.vmap(f)(*xs)),
    "grad": ("gradient", grad),
    "jit of grad": ("gradient", functools.partial(grad, through=jax.jit)),
    "grad of checkpoint": ("gradient", lambda f, xs, gs: grad(jax.checkpoint(f), xs, gs)),
    "vmap of grad": ("gradient", compiled(mapped_grad)),
    "vmap of grad, last axis": ("gradient", compiled(last_axis_grad)),
    "scan of grad": ("gradient", scanned_grad),
    "jvp": ("tangent", jvp),
    "vmap of jvp": ("tangent", compiled(mapped_jvp)),
    "linearize": ("tangent", linearize),
    "jacrev": ("jacobian", lambda f, x: jax.jit(jax.jacrev(f))(x)),
    "jacfwd": ("jacobian", lambda f, x: jax.jit(jax.jacfwd(f))(x)),
    "grad of grad": ("second", compiled(reverse_over_reverse)),
    "jvp of grad": ("second", compiled(forward_over_reverse)),
    "grad of jvp": ("second", compiled(reverse_over_forward)),
    "vmap of jvp of grad": ("second", compiled(mapped_second)),
    "hessian": ("hessian", compiled(lambda f, x, gs: jax.hessian(lambda x: real_loss(f, gs)((x,)))(x))),
}

test_transform = table(SimpleNamespace(shim=mj, array=jnp.asarray, by_triangle=False), TRANSFORMS)


def calls(f, *args):
    """Custom calls of matkern in the compiled program, which must hold no callback."""
    text = jax.jit(f).lower(*args).compile().as_text()
    assert "callback" not in text
    return text.count(f'custom_call_target="{mj.TARGET}"')


def test_a_first_derivative_is_one_kernel_call(rng):
    a, b = general(rng, (5,), 4, "float64"), normal(rng, (5, 4, 2), "float64")
    solve = lambda a, b: jnp.sum(mj.solve(a, b))
    assert calls(solve, a, b) == 1
    assert calls(jax.grad(solve, (0, 1)), a, b) == 2
    assert calls(jax.vmap(jax.grad(solve, (0, 1))), a, b) == 2
    assert calls(jax.vmap(jax.grad(solve, 1), (None, 0)), a[0], b) == 2
    assert calls(lambda a, t: jax.jvp(mj.cholesky, (a,), (t,)), a, a) == 2


def test_what_is_not_mapped_is_not_copied(rng):
    """A matrix with many right-hand sides goes into the call once."""
    a, b = general(rng, (), 4, "float64"), normal(rng, (50, 4, 2), "float64")
    jaxpr = str(jax.make_jaxpr(jax.vmap(mj.solve_triangular, (None, 0)))(a, b))
    assert "broadcast_in_dim" not in jaxpr
    assert_near(jax.vmap(mj.solve_triangular, (None, 0))(a, b), mk.solve_triangular(a, b))


@pytest.mark.parametrize("x64", [True, False])
def test_precision_follows_the_setting(rng, x64):
    jax.config.update("jax_enable_x64", x64)
    a = positive(rng, (), 3, "float64")
    assert mj.cholesky(a).dtype == (jnp.float64 if x64 else jnp.float32)
    assert mj.cholesky(jnp.eye(3, dtype=int)).dtype == (jnp.float64 if x64 else jnp.float32)
    assert mj.cholesky(a.astype("float32")).dtype == jnp.float32


def test_what_fails_is_nan(rng):
    a = positive(rng, (3,), 4, "float64")
    a[1] = -a[1]
    got = np.asarray(jax.jit(mj.cholesky)(a))
    assert np.isnan(got[1]).all()
    assert_near(got[[0, 2]], mk.cholesky(a[[0, 2]]))
    assert np.isnan(np.asarray(mj.solve(np.zeros((2, 2)), np.ones(2)))).all()


def run_alone(code, *args, **environment):
    """Run a program with settings of JAX that only a new process takes."""
    code = "import jax\njax.config.update('jax_enable_x64', True)\n" + textwrap.dedent(code)
    environment = os.environ | {"JAX_PLATFORMS": "cpu"} | environment
    run = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_several_devices():
    """Inside `shard_map` each device has its part of the batch, and what all share gets the sum."""
    run_alone(
        """
        import jax.numpy as jnp, numpy as np, matkern.jax as mj
        from jax.sharding import Mesh, PartitionSpec as P
        try:
            from jax import shard_map
        except ImportError:
            from jax.experimental.shard_map import shard_map

        rng = np.random.default_rng(0)
        x, b = rng.standard_normal((8, 3, 3)), rng.standard_normal((3, 2))
        a = x @ x.swapaxes(-1, -2) + np.eye(3)
        loss = lambda a, b: jnp.sum(mj.solve(a, b) ** 2) + jnp.sum(mj.eigh(a).eigenvalues ** 3)
        mesh = Mesh(np.array(jax.devices()), ("batch",))
        assert mesh.size == 4
        sharded = shard_map(
            lambda a, b: jax.lax.psum(loss(a, b), "batch"), mesh=mesh, in_specs=(P("batch"), P()), out_specs=P()
        )
        solve = jax.vmap(mj.solve, (0, None))
        mapped = shard_map(solve, mesh=mesh, in_specs=(P("batch"), P()), out_specs=P("batch"))
        second = lambda f: lambda a, b: jax.jvp(jax.grad(f, (0, 1)), (a, b), (a, b))[1]
        forward = lambda f: lambda a, b: jax.jvp(f, (a, b), (a, b))
        for got, want in (
            (sharded, loss),
            (jax.grad(sharded, (0, 1)), jax.grad(loss, (0, 1))),
            (forward(sharded), forward(loss)),
            (second(sharded), second(loss)),
            (mapped, solve),
        ):
            jax.tree.map(np.testing.assert_allclose, jax.jit(got)(a, b), jax.jit(want)(a, b))
        """,
        XLA_FLAGS="--xla_force_host_platform_device_count=4",
    )


def test_a_compiled_program_outlives_its_process(tmp_path):
    """The next process takes it from JAX's cache."""
    code = """
        import sys, numpy as np, matkern.jax as mj
        jax.config.update("jax_compilation_cache_dir", sys.argv[1])
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        hits = []
        jax.monitoring.register_event_listener(lambda event, **_: hits.append("cache_hits" in event))
        f = jax.jit(jax.value_and_grad(lambda a: mj.cholesky(a).sum()))
        print(*f(np.diag([4.0, 9.0]))[1].ravel(), any(hits))
    """
    (want,) = mk.vjp("cholesky", np.diag([4.0, 9.0]))[1](np.tri(2))
    for hit in ("False", "True"):
        *got, found = run_alone(code, str(tmp_path)).split()
        assert found == hit
        assert_near(np.array(got, float).reshape(2, 2), want)


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 0), (0, 0)])
def test_empty(shape):
    a = np.zeros(shape)
    assert mj.cholesky(a).shape == shape
    assert jax.grad(lambda a: jnp.sum(mj.cholesky(a)))(a).shape == shape


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
def test_hessian_of_a_loss_of_one_output(rng, shape):
    """Its cotangent has a batch that the others have not."""
    a = normal(rng, shape, "float64")
    for i in (1, 2):
        loss = lambda a, i=i: jnp.sum(mj.lu(a)[i] ** 3)
        want = jax.jacfwd(jax.jacfwd(loss))(a)
        for got in (jax.hessian(loss)(a), jax.jacrev(jax.jacrev(loss))(a)):
            assert_near(got, want, 1e4)


def test_batches_broadcast_and_get_sums(rng):
    a, b = general(rng, (2, 1), 4, "float64"), normal(rng, (3, 4, 1), "float64")
    g = normal(rng, (2, 3, 4, 1), "float64")
    a_want, b_want = mk.vjp("solve", a, b)[1](g)
    a_bar, b_bar = jax.vjp(mj.solve, a, b)[1](jnp.asarray(g))
    assert_near(a_bar, a_want)
    assert_near(b_bar, b_want)


def test_vectors(rng):
    a, b = general(rng, (), 4, "float64"), normal(rng, (4,), "float64")
    assert_near(mj.solve(a, b), np.linalg.solve(a, b))
    assert jax.grad(lambda b: jnp.sum(mj.solve(a, b)))(b).shape == (4,)


def test_dtypes_mix(rng):
    a, b = general(rng, (), 4, "float32"), normal(rng, (4, 2), "complex128")
    got = jax.grad(lambda a: jnp.sum(jnp.abs(mj.solve(a, b))))(jnp.asarray(a))
    assert mj.solve(a, b).dtype == jnp.complex128 and got.dtype == jnp.float32


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: mj.cholesky(jnp.eye(2, dtype=jnp.bfloat16)), TypeError, "a has dtype bfloat16.*astype"),
        (lambda: mj.cholesky(jnp.ones((2, 3))), ValueError, r"a\(n, n\) has shape \(2, 3\)"),
        (lambda: mj.cholesky(jnp.ones(3)), ValueError, "a needs at least 2 dimensions"),
        (lambda: mj.solve(jnp.ones((2, 3, 3)), jnp.ones((4, 3, 1))), ValueError, "do not broadcast"),
        (lambda: mj.solve(jnp.eye(2)), TypeError, "solve needs a, b; b is missing"),
        (lambda: mj.solve(jnp.eye(2), jnp.ones(2), lower=True), TypeError, "solve has no option 'lower'"),
        (lambda: mj.cholesky(jnp.eye(2), on_error="nan"), TypeError, "under JAX what fails is NaN"),
        (lambda: mj.lu_solve(jnp.eye(2), jnp.ones(2), jnp.ones(2)), TypeError, "piv has dtype"),
    ],
)
def test_bad_input(call, error, said):
    with pytest.raises(error, match=said):
        call()


def test_options_by_position():
    check_options_by_position(mj, jnp.asarray)
