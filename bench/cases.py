"""What is timed: a row for each operation with how its inputs are drawn and how each rival computes it.

A rival's function takes the rival's module (of autograd `autograd.numpy`) and the inputs, and returns what matkern's
does. None: the rival does not have the operation, or not its derivative, or not for batches, or not reliably.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

import matkern as mk


@dataclass(frozen=True, eq=False)
class Case:
    op: str
    draw: Callable  # (rng, batch, n, dtype) -> a tuple of inputs; their precision does not matter
    torch: Callable
    jax: Callable | None
    autograd: Callable | None = None
    options: dict = field(default_factory=dict)  # of matkern's operation
    real_only: tuple = ()  # rivals whose derivative is wrong for complex inputs
    variant: str = ""

    @property
    def name(self):
        return self.op + self.variant

    def inputs(self, batch, n, dtype, seed=0):
        """Drawn, of that dtype but for integers."""
        xs = self.draw(np.random.default_rng(seed), batch, n, dtype)
        return [x if x.dtype.kind == "i" else np.ascontiguousarray(x, dtype) for x in xs]


def normal(rng, shape, dtype):
    x = rng.standard_normal(shape)
    return x + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else x


def hermitian(rng, batch, n, dtype, least=-1.0):
    """Eigenvalues evenly spaced from `least` to 3: even for large n no two are so close that rounding matters."""
    v = np.linalg.qr(normal(rng, (batch, n, n), dtype)).Q
    return (v * np.linspace(least, 3, n)) @ v.conj().swapaxes(-1, -2)


def singular(rng, batch, n, dtype):
    """Singular values evenly spaced from 1 to 3."""
    u, v = (np.linalg.qr(normal(rng, (batch, n, n), dtype)).Q for _ in range(2))
    return (u * np.linspace(1, 3, n)) @ v


def positive(*args):
    return hermitian(*args, least=1.0)


def lower(*args):
    return np.linalg.cholesky(positive(*args))


def general(rng, batch, n, dtype):
    """Close to a permutation: well conditioned, and rounding cannot make contenders choose different pivots."""
    return (2 * np.eye(n) + normal(rng, (batch, n, n), dtype) / (4 * np.sqrt(n)))[:, rng.permutation(n)]


def unit(rng, batch, n, dtype):
    """A determinant of about 1."""
    return general(rng, batch, n, dtype) / 2


def spread(rng, batch, n, dtype):
    """Triangular, so that no LAPACK changes the order of the eigenvalues, which are far enough apart; not normal."""
    return np.diag(np.linspace(-1, 3, n)) + np.triu(np.eye(n, k=1) + normal(rng, (batch, n, n), dtype) / 8, 1) / n


def one(matrix):
    return lambda *args: (matrix(*args),)


def factored(*args):
    return mk.lu_factor(general(*args))


def with_rhs(draw, columns=None):
    return lambda rng, batch, n, dtype: (*draw(rng, batch, n, dtype), normal(rng, (batch, n, columns or n), dtype))


SOLVE = Case(
    "solve",
    with_rhs(one(general)),
    autograd=lambda np, a, b: np.linalg.solve(a, b),
    torch=lambda torch, a, b: torch.linalg.solve(a, b),
    jax=lambda jax, a, b: jax.numpy.linalg.solve(a, b),
)

CASES = [
    Case(
        "cholesky",
        one(positive),
        autograd=lambda np, a: np.linalg.cholesky(a),
        torch=lambda torch, a: torch.linalg.cholesky(a),
        jax=lambda jax, a: jax.numpy.linalg.cholesky(a),
        real_only=("autograd",),
    ),
    Case(
        "solve_triangular",
        with_rhs(one(lower)),
        torch=lambda torch, a, b: torch.linalg.solve_triangular(a, b, upper=False),
        jax=lambda jax, a, b: jax.scipy.linalg.solve_triangular(a, b, lower=True),
        options={"lower": True},
    ),
    SOLVE,
    replace(SOLVE, draw=with_rhs(one(general), columns=1), variant="_1rhs"),
    Case(
        "lu_factor",
        one(general),
        torch=lambda torch, a: torch.linalg.lu_factor(a),
        jax=lambda jax, a: jax.scipy.linalg.lu_factor(a),
    ),
    Case(
        "lu",
        one(general),
        torch=lambda torch, a: torch.linalg.lu(a),
        jax=lambda jax, a: jax.vmap(jax.scipy.linalg.lu)(a),
    ),
    Case(
        "lu_solve",
        with_rhs(factored),
        torch=lambda torch, lu, piv, b: torch.linalg.lu_solve(lu, piv + 1, b),  # counts pivots from 1
        jax=None,  # its pullback never returns for batches of n = 100, with jaxlib 0.10.2 on two CPUs
    ),
    Case(
        "cholesky_solve",
        with_rhs(one(lower)),
        torch=lambda torch, l, b: torch.cholesky_solve(b, l),
        jax=lambda jax, l, b: jax.scipy.linalg.cho_solve((l, True), b),
    ),
    Case(
        "inv",
        one(general),
        autograd=lambda np, a: np.linalg.inv(a),
        torch=lambda torch, a: torch.linalg.inv(a),
        jax=lambda jax, a: jax.numpy.linalg.inv(a),
    ),
    Case(
        "det",
        one(unit),
        autograd=lambda np, a: np.linalg.det(a),
        torch=lambda torch, a: torch.linalg.det(a),
        jax=lambda jax, a: jax.numpy.linalg.det(a),
    ),
    Case(
        "slogdet",
        one(general),
        autograd=lambda np, a: np.linalg.slogdet(a),
        torch=lambda torch, a: torch.linalg.slogdet(a),
        jax=lambda jax, a: jax.numpy.linalg.slogdet(a),
        real_only=("autograd",),
    ),
    Case(
        "matmul",
        with_rhs(one(general)),
        autograd=lambda np, a, b: np.matmul(a, b),
        torch=lambda torch, a, b: torch.matmul(a, b),
        jax=lambda jax, a, b: jax.numpy.matmul(a, b),
    ),
    *(
        Case(
            "norm",
            one(general),  # autograd has no norms of batches
            torch=lambda torch, a, order=order: torch.linalg.norm(a, order, dim=(-2, -1)),
            jax=lambda jax, a, order=order: jax.numpy.linalg.norm(a, order, axis=(-2, -1)),
            options={"ord": order, "axis": (-2, -1)},
            variant=f"_{order}",
        )
        for order in ("fro", "nuc", 2)
    ),
    Case(
        "qr",
        one(general),
        torch=lambda torch, a: torch.linalg.qr(a),
        jax=lambda jax, a: jax.numpy.linalg.qr(a),
    ),
    Case(
        "lstsq",
        with_rhs(one(general), columns=3),
        torch=lambda torch, a, b: torch.linalg.lstsq(a, b, driver="gels").solution,
        jax=None,  # of one matrix alone
    ),
    Case(
        "expm",
        one(hermitian),
        torch=lambda torch, a: torch.linalg.matrix_exp(a),
        jax=lambda jax, a: jax.scipy.linalg.expm(a),
    ),
    Case(
        "eigh",
        one(hermitian),
        autograd=lambda np, a: np.linalg.eigh(a),
        torch=lambda torch, a: torch.linalg.eigh(a),
        jax=lambda jax, a: jax.numpy.linalg.eigh(a),
    ),
    Case(
        "eig",
        one(spread),
        autograd=lambda np, a: np.linalg.eig(a),
        torch=lambda torch, a: torch.linalg.eig(a),
        jax=None,  # 0.10.2 has no derivative of the eigenvectors
    ),
    Case(
        "eigvals",
        one(spread),
        autograd=lambda np, a: np.linalg.eig(a)[0],  # its eigvals has no derivative
        torch=lambda torch, a: torch.linalg.eigvals(a),
        jax=lambda jax, a: jax.numpy.linalg.eigvals(a),
    ),
    Case(
        "eigvalsh",
        one(hermitian),
        autograd=lambda np, a: np.linalg.eigh(a)[0],  # its eigvalsh has no derivative
        torch=lambda torch, a: torch.linalg.eigvalsh(a),
        jax=lambda jax, a: jax.numpy.linalg.eigvalsh(a),
    ),
    Case(
        "svd",
        one(singular),
        autograd=lambda np, a: np.linalg.svd(a, full_matrices=False),
        torch=lambda torch, a: torch.linalg.svd(a, full_matrices=False),
        jax=lambda jax, a: jax.numpy.linalg.svd(a, full_matrices=False),
    ),
    Case(
        "svdvals",
        one(singular),
        autograd=lambda np, a: np.linalg.svd(a, compute_uv=False),
        torch=lambda torch, a: torch.linalg.svdvals(a),
        jax=lambda jax, a: jax.numpy.linalg.svd(a, compute_uv=False),
    ),
    Case(
        "pinv",
        one(general),
        autograd=lambda np, a: np.linalg.pinv(a),
        torch=lambda torch, a: torch.linalg.pinv(a),
        jax=lambda jax, a: jax.numpy.linalg.pinv(a),
    ),
]

if differ := mk.OPS.keys() ^ {case.op for case in CASES}:
    raise LookupError(f"bench/cases.py and matkern.OPS do not have the same operations: {', '.join(sorted(differ))}")


def chosen(names):
    """The cases of comma-separated names, or all for none."""
    by_name = {case.name: case for case in CASES}
    wanted = [name for name in names.split(",") if name]
    if unknown := [name for name in wanted if name not in by_name]:
        raise SystemExit(f"there is no operation {', '.join(unknown)}; there are {', '.join(by_name)}")
    return [by_name[name] for name in wanted] or CASES
