"""Threads, and what this installation computes with: `set_num_threads`, `get_num_threads`, `show_config`."""

import ctypes
import os
import platform
from importlib import import_module
from pathlib import Path

import numpy

from .kernels import gufunc

__all__ = ["get_num_threads", "set_num_threads", "show_config"]

# the BLAS library that SciPy's Cython interface links: a lookup goes on in what a library links
_LIBRARY = ctypes.CDLL(import_module("scipy.linalg.cython_blas").__file__)


# What OpenBLAS may be asked for (OPENBLAS_CORETYPE) where the CPU has an instruction set, the best first; the cores
# whose kernels use that set; and what bench/coretype.py measured of them.
_AVX512_CORES = ("skylakex", "cooperlake", "sapphirerapids")
_CORETYPES = {
    "avx512": ("SKYLAKEX", _AVX512_CORES, "1.4 to 1.9 times as fast as avx2's"),
    "avx2": ("HASWELL", ("haswell", "zen", *_AVX512_CORES), "3 times as fast as SSE's"),
}


def _blas_function(*names):
    """The first of these C functions in the BLAS library, or None."""
    for name in names:
        for spelled in (
            f"scipy_openblas_{name}",
            f"openblas_{name}",
            f"scipy_openblas_{name}64_",
            f"openblas_{name}64_",
        ):
            if hasattr(_LIBRARY, spelled):
                return getattr(_LIBRARY, spelled)
    return None


def _blas_text(name):
    function = _blas_function(name)
    if function is None:
        return None
    function.restype = ctypes.c_char_p
    return function().decode()


def _coretype_warning(core):
    """What to do if OpenBLAS takes this CPU for an older one, else None."""
    for instructions, (coretype, cores, gain) in _CORETYPES.items():
        if core is not None and instructions in gufunc.lane_choices() and core.lower() not in cores:
            return (
                f"OpenBLAS takes this CPU for {core}, though it has {instructions}: set the environment variable "
                f"OPENBLAS_CORETYPE={coretype} before Python starts (its products were measured to be {gain})"
            )
    return None


def _cpus():
    """How many CPUs this process may use: its affinity, and a container's quota."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cpus, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max": no quota
        return cpus


def set_num_threads(threads):
    """Set how many threads the kernels may use.

    Parameters
    ----------
    threads : int
        At least 1. A batch is shared among that many threads, of a large matrix its products. The BLAS library
        runs on one meanwhile.

    Raises
    ------
    TypeError, ValueError
        If `threads` is not a positive integer.

    Notes
    -----
    The default is the environment variable ``MATKERN_NUM_THREADS``, or the number of CPUs that the process may
    use. Results do not depend on it for batches of at least that many matrices; a single large matrix may
    differ by rounding.

    Examples
    --------
    >>> import matkern as mk
    >>> before = mk.get_num_threads()
    >>> mk.set_num_threads(1)
    >>> mk.get_num_threads()
    1
    >>> mk.set_num_threads(before)
    """
    if isinstance(threads, bool) or not hasattr(threads, "__index__"):
        raise TypeError(f"set_num_threads: threads must be an integer, got {threads!r}")
    if not 1 <= threads <= 1024:
        raise ValueError(f"set_num_threads: threads must be from 1 to 1024, got {threads}")
    gufunc.set_num_threads(threads)


def get_num_threads():
    """Return how many threads the kernels may use; see `set_num_threads`.

    Examples
    --------
    >>> import matkern as mk
    >>> mk.get_num_threads() >= 1
    True
    """
    return gufunc.get_num_threads()


def show_config(mode="stdout"):
    """Print or return the versions, the BLAS library and the threads that matkern computes with.

    Parameters
    ----------
    mode : {"stdout", "dicts"}, optional
        Print the configuration (default), or return it as a dictionary.

    Returns
    -------
    dict or None
        For ``mode="dicts"``: ``matkern``, ``numpy``, ``scipy`` and ``python`` (versions), ``blas`` (name and
        options of the library that SciPy brings), ``blas core`` (the CPU type that it detected), ``blas
        threads``, ``blas integers`` (bits), ``threads`` (of matkern), ``lanes``
        (the instruction set of small matrices, each in a lane of a register, and of small products; see Notes). What
        the library does not tell is None. ``warning`` says what to do if OpenBLAS takes the CPU for an older one, and
        is None, or not printed, if all is well.

    Raises
    ------
    ValueError
        If `mode` is neither.

    Notes
    -----
    The environment variable ``MATKERN_LANES``, read at import, chooses the instruction set: ``baseline``, ``avx2`` or
    ``avx512`` (x86-64 has all three, other processors the first), or ``off``. The default is the last that the CPU has.

    Examples
    --------
    >>> import matkern as mk
    >>> mk.show_config(mode="dicts")["blas integers"]
    32
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"show_config: mode must be 'stdout' or 'dicts', got {mode!r}")
    from importlib.metadata import version  # noqa: PLC0415 - it takes long to import

    threads = _blas_function("get_num_threads")
    core = _blas_text("get_corename")
    config = {
        "matkern": version("matkern"),
        "numpy": numpy.__version__,
        "scipy": version("scipy"),
        "python": platform.python_version(),
        "blas": _blas_text("get_config"),
        "blas core": core,
        "blas threads": None if threads is None else threads(),
        "blas integers": 8 * ctypes.sizeof(ctypes.c_int),
        "threads": get_num_threads(),
        "lanes": gufunc.lanes(),
        "warning": _coretype_warning(core),
    }
    if mode == "dicts":
        return config
    for key, value in config.items():
        if key == "warning" and value is None:
            continue
        print(f"{key + ':':<15}{'unknown' if value is None else value}")
    return None


def _start():
    """Give the kernels the BLAS library's threads to rule, and the default number of their own."""
    setter, getter = _blas_function("set_num_threads"), _blas_function("get_num_threads")
    if setter is not None and getter is not None:
        gufunc.set_blas(*(ctypes.cast(f, ctypes.c_void_p).value for f in (setter, getter)))
    text = os.environ.get("MATKERN_NUM_THREADS", "")
    if text and not (text.isdecimal() and 1 <= int(text) <= 1024):
        raise ImportError(f"MATKERN_NUM_THREADS must be an integer from 1 to 1024, got {text!r}")
    set_num_threads(int(text) if text else min(_cpus(), 1024))
    text = os.environ.get("MATKERN_LANES", "")
    if text:
        if text not in gufunc.lane_choices():
            raise ImportError(f"MATKERN_LANES must be one of {', '.join(gufunc.lane_choices())} here, got {text!r}")
        gufunc.set_lanes(text)


_start()
