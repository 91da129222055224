"""Derivatives of linear algebra: batched, compiled VJP and JVP kernels.

The functions have NumPy's and SciPy's names and options and take any batch of matrices. Each operation ``f`` has
``f_vjp`` and ``f_jvp``, from what the forward pass saved; `vjp`, `jvp` and `jacobian` do the saving.
"""

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

# A checkout has no compiled kernels beside this file: there the installed package takes its place, and what is
# imported below comes from that.
if not (Path(__file__).parent / "kernels").is_dir():
    _here = Path(__file__).resolve().parent.parent
    _spec = PathFinder.find_spec("matkern", [p for p in sys.path if Path(p).resolve() != _here])
    if _spec is None or _spec.loader is None:
        raise ImportError("matkern is not installed: run `pip install .` in the checkout")
    sys.modules["matkern"] = module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["matkern"])

from .blas import cython_modules

with cython_modules():
    from .calls import jvp, vjp
    from .config import get_num_threads, set_num_threads, show_config
    from .jacobians import jacobian
    from .op import OPS
    from .ops.cholesky import (
        cholesky,
        cholesky_jvp,
        cholesky_solve,
        cholesky_solve_jvp,
        cholesky_solve_vjp,
        cholesky_vjp,
    )
    from .ops.det import det, det_jvp, det_vjp, slogdet, slogdet_jvp, slogdet_vjp
    from .ops.eig import eig, eig_jvp, eig_vjp, eigvals, eigvals_jvp, eigvals_vjp
    from .ops.eigh import eigh, eigh_jvp, eigh_vjp, eigvalsh, eigvalsh_jvp, eigvalsh_vjp
    from .ops.expm import expm, expm_jacobian, expm_jvp, expm_vjp
    from .ops.inv import inv, inv_jvp, inv_vjp
    from .ops.lstsq import lstsq, lstsq_jvp, lstsq_vjp
    from .ops.lu import (
        lu,
        lu_factor,
        lu_factor_jvp,
        lu_factor_vjp,
        lu_jvp,
        lu_solve,
        lu_solve_jvp,
        lu_solve_vjp,
        lu_vjp,
    )
    from .ops.matmul import matmul, matmul_jvp, matmul_vjp
    from .ops.norm import norm, norm_jvp, norm_vjp
    from .ops.pinv import pinv, pinv_jvp, pinv_vjp
    from .ops.qr import qr, qr_jvp, qr_vjp
    from .ops.solve import solve, solve_jvp, solve_vjp
    from .ops.svd import svd, svd_jvp, svd_vjp, svdvals, svdvals_jvp, svdvals_vjp
    from .ops.triangular import solve_triangular, solve_triangular_jvp, solve_triangular_vjp

__version__ = "0.1.0"

__all__ = [
    "OPS",
    "cholesky",
    "cholesky_jvp",
    "cholesky_solve",
    "cholesky_solve_jvp",
    "cholesky_solve_vjp",
    "cholesky_vjp",
    "det",
    "det_jvp",
    "det_vjp",
    "eig",
    "eig_jvp",
    "eig_vjp",
    "eigh",
    "eigh_jvp",
    "eigh_vjp",
    "eigvals",
    "eigvals_jvp",
    "eigvals_vjp",
    "eigvalsh",
    "eigvalsh_jvp",
    "eigvalsh_vjp",
    "expm",
    "expm_jacobian",
    "expm_jvp",
    "expm_vjp",
    "get_num_threads",
    "inv",
    "inv_jvp",
    "inv_vjp",
    "jacobian",
    "jvp",
    "lstsq",
    "lstsq_jvp",
    "lstsq_vjp",
    "lu",
    "lu_factor",
    "lu_factor_jvp",
    "lu_factor_vjp",
    "lu_jvp",
    "lu_solve",
    "lu_solve_jvp",
    "lu_solve_vjp",
    "lu_vjp",
    "matmul",
    "matmul_jvp",
    "matmul_vjp",
    "norm",
    "norm_jvp",
    "norm_vjp",
    "pinv",
    "pinv_jvp",
    "pinv_vjp",
    "qr",
    "qr_jvp",
    "qr_vjp",
    "set_num_threads",
    "show_config",
    "slogdet",
    "slogdet_jvp",
    "slogdet_vjp",
    "solve",
    "solve_jvp",
    "solve_triangular",
    "solve_triangular_jvp",
    "solve_triangular_vjp",
    "solve_vjp",
    "svd",
    "svd_jvp",
    "svd_vjp",
    "svdvals",
    "svdvals_jvp",
    "svdvals_vjp",
    "vjp",
]
