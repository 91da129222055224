"""Compile src/*.pyx into matkern.kernels; everything else about the package is in pyproject.toml."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

THREADS = os.cpu_count() or 1
SOURCES = {"gufunc": ["src/parallel.cpp"], "xla": ["src/xla_handler.cpp"]}  # C++ beside a .pyx
XLA_HEADERS = Path(find_spec("jaxlib").origin).parent / "include"


class ParallelBuildExt(build_ext):
    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or THREADS


def extension(pyx):
    extra = SOURCES.get(pyx.stem, [])
    return Extension(
        f"matkern.kernels.{pyx.stem}",
        [pyx.as_posix(), *extra],
        include_dirs=["src", numpy.get_include(), *([XLA_HEADERS.as_posix()] if pyx.stem == "xla" else [])],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"), ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION")],
        depends=[p.as_posix() for p in sorted(Path("src").iterdir()) if p.suffix != ".pyx"],
        extra_compile_args=["-std=c++17"] if extra else [],
    )


setup(
    ext_modules=cythonize(
        [extension(pyx) for pyx in sorted(Path("src").glob("*.pyx"))],
        include_path=["src"],
        build_dir="build/cython",
        nthreads=THREADS,
    ),
    cmdclass={"build_ext": ParallelBuildExt},
)
