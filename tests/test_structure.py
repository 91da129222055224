"""The project's shape: each operation has its parts, and what the documentation says runs."""

import doctest
import importlib
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matkern.kernels import gufunc
from samples import SAMPLES

import matkern as mk
from matkern.calls import Call

ROOT = Path(__file__).parents[1]
MODULES = ["matkern", *(m.name for m in pkgutil.walk_packages(mk.__path__, "matkern.") if m.name != "matkern.__main__")]
NEEDS = {
    "matkern.autograd": "autograd",
    "matkern.dask": "dask",
    "matkern.demo": "statsmodels",
    "matkern.jax": "jax",
    "matkern.pytensor": "pytensor",
    "matkern.tensorflow": "tensorflow",
    "matkern.torch": "torch",
}
PUBLIC = {name: getattr(mk, name) for name in mk.__all__ if callable(getattr(mk, name))}


@pytest.mark.parametrize("op", mk.OPS.values(), ids=lambda op: op.name)
class TestOperation:
    def test_has_public_functions(self, op):
        assert getattr(mk, op.name) is op.function
        names = {op.name, f"{op.name}_vjp", f"{op.name}_jvp"}
        assert names <= set(mk.__all__)
        assert names <= set(dir(mk))

    def test_has_a_test_of_its_equation(self, op):
        """The property tests take the forward pass for right: it has a test of its own."""
        assert f"def test_{op.name}(" in (ROOT / "tests" / "test_forward.py").read_text()

    def test_is_in_the_readme(self, op):
        assert f"`{op.name}(" in (ROOT / "README.md").read_text()

    def test_has_a_source_of_the_same_stem(self, op):
        stem = op.function.__module__.rsplit(".", 1)[1]
        assert (ROOT / "src" / f"{stem}.pyx").is_file() and (ROOT / "matkern" / "ops" / f"{stem}.py").is_file()

    def test_has_samples(self, op):
        assert any(s.name == op.name for s in SAMPLES)

    def test_has_a_benchmark(self, op):
        assert f'"{op.name}"' in (ROOT / "bench" / "cases.py").read_text()

    def test_names_agree(self, op):
        """The names of a record's operands are what everything is derived from."""
        known = op.forward.inputs + op.forward.outputs
        assert set(op.outputs) <= set(op.forward.outputs)
        assert set(op.saved) <= set(known)
        assert {n[:-4] for n in op.pullback.inputs if n.endswith("_bar")} <= set(known)
        assert tuple(f"{n}_bar" for n in op.differentiable_inputs) == op.pullback.outputs
        assert {n for n in op.pushforward.inputs if not n.endswith("_dot")} <= set(known)
        assert {n[:-4] for n in op.pushforward.inputs if n.endswith("_dot")} == set(op.differentiable_inputs)
        assert {f"{n}_dot" for n in op.differentiable_outputs} <= set(op.pushforward.outputs)

    def test_options_are_covered_by_samples(self, rng, op):
        for option, values in op.options.items():
            if option in ("degenerate", "gauge"):  # policies, in test_degenerate.py
                continue
            calls = [Call(s.name, s.draw(rng, (), 2, "float64"), s.options) for s in SAMPLES if s.name == op.name]
            drawn = {call.options.get(option, values[0]) for call in calls}
            assert drawn == set(values) or (op.name, option) == ("eigvalsh", "triangle")


@pytest.mark.parametrize("name", PUBLIC)
def test_docstring(name):
    """numpydoc's sections, and every parameter by its name."""
    doc = inspect.getdoc(PUBLIC[name])
    assert doc.split("\n")[0].endswith(".")
    assert "Examples\n--------" in doc
    described = re.findall(r"^([\w*, ]+?)(?: : .*)?$", doc.split("Parameters\n----------")[-1], re.M)
    described = {p.strip(" *") for line in described for p in line.split(",")}
    assert set(inspect.signature(PUBLIC[name]).parameters) <= described
    if name.endswith(("_vjp", "_jvp")):
        assert "Notes\n-----" in doc and "Raises\n------" in doc and "shape (..., " in doc


@pytest.mark.parametrize("module", MODULES)
def test_doctests(module):
    if module in NEEDS:
        pytest.importorskip(NEEDS[module], reason=f"{module} needs an extra that is not installed")
    results = doctest.testmod(importlib.import_module(module))
    assert results.failed == 0


def test_doctests_are_found():
    assert {"matkern.op", "matkern.ops.cholesky", "matkern.autograd", "matkern.cli"} <= set(MODULES)
    assert doctest.testmod(mk.ops.eigh).attempted >= 12


def test_every_family_has_an_operation():
    """A file whose operation is not registered, because `matkern/__init__.py` does not import it, is found here."""
    registered = {op.function.__module__.rsplit(".", 1)[1] for op in mk.OPS.values()}
    assert registered == {p.stem for p in (ROOT / "src").glob("*.pyx")} - {"gufunc", "xla"}
    assert registered == {p.stem for p in (ROOT / "matkern" / "ops").glob("*.py")} - {"__init__", "algebra"}


README = (ROOT / "README.md").read_text()
PLAIN, *EXAMPLES = re.split(r"^##+ (?=autograd|PyTorch|JAX|TensorFlow|PyTensor|Dask|Speed)", README, flags=re.M)


def run_examples(text, name):
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, 0)
    results = doctest.DocTestRunner().run(test)
    assert results.attempted >= 5 and results.failed == 0


def test_readme():
    run_examples(PLAIN, "README.md")


@pytest.mark.parametrize("text", EXAMPLES[:-1], ids=lambda text: text.split("\n")[0])
def test_readme_of_framework(text):
    framework = text.split("\n")[0].lower().replace("pytorch", "torch")
    pytest.importorskip(framework, reason=f"{framework} is not installed")
    code = "import sys, test_structure; test_structure.run_examples(sys.stdin.read(), 'README.md')"
    run = subprocess.run(
        [sys.executable, "-c", code], input=text, cwd=ROOT / "tests", capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_readme_s_table_of_transforms():
    """What a cell names is in the tests of that framework."""
    header, _, *rows = re.search(r"(?:^\|.*\n)+", PLAIN[PLAIN.index("## Frameworks") :], re.M)[0].splitlines()
    frameworks = [cell.strip().lower() for cell in header.split("|")[2:-1]]
    assert frameworks == ["autograd", "pytorch", "jax", "tensorflow", "pytensor"] and len(rows) > 10
    for row in rows:
        what, *cells = [cell.strip() for cell in row.split("|")[1:-1]]
        for framework, cell in zip(frameworks, cells, strict=True):
            tests = (ROOT / "tests" / f"test_{framework.replace('pytorch', 'torch')}.py").read_text()
            for name in re.findall("`([^`]+)`", cell):
                assert name.removesuffix("()") in tests, f"{what}: {framework} has no test of {name}"


def test_the_checkout_does_not_shadow_the_installed_package():
    code = "import matkern, matkern.op; print(matkern.__file__); print(matkern.op.__file__)"
    for option in ((), ("-P",)):
        run = subprocess.run(
            [sys.executable, *option, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for path in run.stdout.split():
            assert ROOT / "matkern" not in Path(path).parents  # a virtual environment may lie in the checkout


def test_import_is_light():
    code = """
import sys, matkern
heavy = {"autograd", "torch", "jax", "tensorflow", "pytensor", "dask", "matplotlib", "rich", "statsmodels", "pandas"}
heavy.add("scipy.linalg")
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("order", ["matkern, scipy.linalg", "scipy.linalg, matkern", "scipy, matkern"])
def test_scipy_is_whole_beside_matkern(order):
    """matkern loads two modules of SciPy by themselves, without their parent."""
    code = f"""
import numpy as np, {order}
import scipy.linalg.cython_blas, scipy.linalg.cython_lapack
assert scipy.linalg.cython_blas.__pyx_capi__ and scipy.linalg.cython_lapack.__pyx_capi__
a = np.diag([4.0, 9.0])
assert (scipy.linalg.cholesky(a) == matkern.cholesky(a)).all()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_compiled_module_brings_a_runtime_of_its_own():
    """Neither an OpenMP runtime nor a BLAS of ours: SciPy's is the one."""
    for path in Path(mk.__file__).parent.glob("kernels/*.so"):
        linked = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        assert not any(name in linked for name in ("gomp", "libomp", "openblas", "blas", "lapack")), linked


def test_show_config(capsys):
    mk.show_config()
    printed = capsys.readouterr().out
    config = mk.show_config(mode="dicts")
    for key, value in config.items():
        if key == "warning" and value is None:  # all is well
            assert key not in printed
            continue
        assert f"{key}:" in printed and str(value) in printed
    assert config["numpy"] == np.__version__ and config["blas integers"] == 32
    with pytest.raises(ValueError, match="mode must be 'stdout' or 'dicts', got 'json'"):
        mk.show_config(mode="json")


@pytest.mark.parametrize("has", gufunc.lane_choices()[:-1])
def test_show_config_warns_of_kernels_for_an_older_cpu(has):
    best = gufunc.lane_choices()[-2]
    core = {"baseline": "NEHALEM", "avx2": "HASWELL", "avx512": "SKYLAKEX"}[has]
    env = {**os.environ, "OPENBLAS_CORETYPE": core}
    command = [sys.executable, "-m", "matkern", "info", "--json"]
    config = json.loads(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)
    if has == best or (config["blas core"] or "").upper() != core:  # only OpenBLAS for x86-64 obeys
        assert config["warning"] is None
    else:
        wanted = {"avx2": "HASWELL", "avx512": "SKYLAKEX"}[best]
        assert f"for {config['blas core']}, though it has {best}" in config["warning"]
        assert f"OPENBLAS_CORETYPE={wanted} " in config["warning"]
