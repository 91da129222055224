"""SciPy's BLAS and LAPACK for Cython without the rest of `scipy.linalg`, which takes longer to import than NumPy."""

import sys
from contextlib import contextmanager
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path

MODULES = ("scipy.linalg.cython_blas", "scipy.linalg.cython_lapack")


@contextmanager
def cython_modules():
    """What is imported inside finds the two modules; afterwards SciPy is as if they had not been imported."""
    alone = () if "scipy.linalg" in sys.modules else MODULES
    try:
        for name in alone:
            folders = [str(Path(p) / "linalg") for p in find_spec("scipy").submodule_search_locations]
            spec = PathFinder.find_spec(name, folders)
            sys.modules[name] = module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
        yield
    finally:
        for name in alone:  # importing one again, with its parent, gives the same module
            sys.modules.pop(name, None)
