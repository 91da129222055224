"""Compile src/*.pyx into matkern.kernels; everything else about the package is in pyproject.toml."""

import os
import platform
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

THREADS = os.cpu_count() or 1
SOURCES = {
    "gufunc": ["src/parallel.cpp", "src/memory.cpp", "src/lanes/dispatch.cpp"],
    "xla": ["src/xla_handler.cpp"],
}  # C++ beside a .pyx
XLA_HEADERS = Path(find_spec("jaxlib").origin).parent / "include"
HEADERS = [*Path("src").glob("*.pxd"), Path("src/level3.h")]
LANE_SOURCES = [f"src/lanes/{name}.cpp" for name in ("lanes", "gemm", "trsm", "gemv", "dense")]
LANES = {"baseline": (16, [])}  # instruction sets: bytes of a register, how to ask the compiler for it
if platform.machine() == "x86_64":
    LANES["avx2"] = (32, ["-mavx2", "-mfma"])
    LANES["avx512"] = (
        64,
        ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma", "-mprefer-vector-width=512"],
    )
# no -ffast-math: NaN and infinities count. An operand's bytes are moved as numbers of their size.
LANE_FLAGS = [
    "-std=c++17",
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-g0",
    "-fno-strict-aliasing",
    "-Wno-psabi",
    "-Wno-aggressive-loop-optimizations",
]


class ParallelBuildExt(build_ext):
    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or THREADS

    def build_extension(self, ext):
        if ext.name.endswith(".gufunc"):
            with ThreadPoolExecutor(THREADS) as pool:
                ext.extra_objects += chain.from_iterable(pool.map(self.lanes, LANES))
        super().build_extension(ext)

    def lanes(self, name):
        """The objects of src/lanes for one instruction set."""
        width, flags = LANES[name]
        folder = Path(self.build_temp, name).as_posix()
        made = self.compiler.object_filenames(LANE_SOURCES, output_dir=folder)
        parts = ["setup.py", "src/level3.h", *map(str, Path("src/lanes").iterdir())]
        if self.force or any(newer_group(parts, one) for one in made):
            self.compiler.compile(
                LANE_SOURCES,
                output_dir=folder,
                macros=[("LANES", f"lanes_{name}"), ("NAME", f'"{name}"'), ("BYTES", width)],
                extra_postargs=LANE_FLAGS + flags,
            )
        return made


def extension(pyx):
    extra = SOURCES.get(pyx.stem, [])
    return Extension(
        f"matkern.kernels.{pyx.stem}",
        [pyx.as_posix(), *extra],
        include_dirs=["src", numpy.get_include(), *([XLA_HEADERS.as_posix()] if pyx.stem == "xla" else [])],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"), ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION")],
        depends=[p.as_posix() for p in [*HEADERS, *(Path("src").rglob("*.?pp") if extra else ())]],
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
