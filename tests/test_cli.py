"""The console command: what it prints, its exit status, and the demo on real data."""

import json
import re
import subprocess
import sys
from importlib.metadata import entry_points, version

import pytest
from autograd.extend import defvjp, primitive

import matkern as mk
from matkern.cli import DEMO_EXTRA, main


def test_is_the_entry_point():
    (entry,) = entry_points(group="console_scripts", name="matkern")
    assert entry.load() is main


def test_version(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"matkern {version('matkern')}\n"


@pytest.mark.parametrize(
    ("arguments", "mentioned"),
    [
        (["--help"], ["demo", "info", "--version"]),
        (["demo", "--help"], ["--months", "--forecast-years", "--iterations", "--output", "matkern[demo]"]),
        (["info", "--help"], ["--json"]),
    ],
)
def test_help(arguments, mentioned, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert [word for word in mentioned if word not in text] == []


def test_info(capsys):
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    mk.show_config()
    assert text == capsys.readouterr().out
    assert re.search(rf"^numpy: +{re.escape(version('numpy'))}$", text, re.MULTILINE)


def test_info_as_json(capsys):
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == mk.show_config(mode="dicts")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "{demo,info}"),
        (["frobnicate"], "demo"),
        (["demo", "--frobnicate"], "--frobnicate"),
        (["demo", "--months", "12"], "'12' is not an integer of at least 24"),
        (["demo", "--months", "many"], "'many' is not an integer"),
        (["demo", "--iterations", "0"], "'0' is not an integer of at least 1"),
        (["demo", "--forecast-years", "41"], "'41' is not an integer from 1 to 40"),
        (["demo", "--output", "co2.jpg"], "does not end in .png"),
        (["demo", "--output", "no/such/co2.png"], "there is no directory 'no/such'"),
    ],
)
def test_bad_arguments(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert said in capsys.readouterr().err


def test_output_that_is_a_directory(capsys, tmp_path):
    (tmp_path / "co2.png").mkdir()
    with pytest.raises(SystemExit) as exit_:
        main(["demo", "--output", str(tmp_path / "co2.png")])
    assert exit_.value.code == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("package", DEMO_EXTRA)
def test_missing_extra(package, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["demo"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    # others may be absent where the tests run without the extra: each that is absent is named
    assert re.fullmatch(rf"matkern demo lacks (.*, )?{package}(, .*)?: pip install 'matkern\[demo\]'\n", err)


def test_extras_are_imported_by_the_demo_only():
    code = "import sys, matkern.cli; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "matkern.cli" in modules
    assert {*DEMO_EXTRA, "pandas", "matkern.demo", "matkern.autograd"}.isdisjoint(modules)


@pytest.fixture(scope="module")
def extras():
    for package in DEMO_EXTRA:
        pytest.importorskip(package, reason="needs the packages of matkern[demo]")


@pytest.fixture(scope="module")
def demo(extras, tmp_path_factory):
    """A short run in a process of its own, as a user starts it: what it printed, and its directory."""
    directory = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "matkern", "demo", "--months", "120", "--iterations", "5", "--output", "co2.png"]
    return subprocess.run(command, capture_output=True, text=True, cwd=directory), directory


def test_demo_runs(demo):
    process, directory = demo
    assert process.stderr == ""
    assert process.returncode == 0
    assert [path.name for path in directory.iterdir()] == ["co2.png"]
    assert "\x1b" not in process.stdout  # plain lines where there is no terminal


def test_demo_draws(demo):
    from matplotlib.image import imread  # noqa: PLC0415 - of the extra

    image = imread(demo[1] / "co2.png")
    height, width, _ = image.shape
    assert width > 1200 and height > 700
    ink = (image[..., :3] < 0.9).any(axis=-1)
    for half in (ink[:, : width // 2], ink[:, width // 2 :], ink[: height // 2], ink[height // 2 :]):
        assert half.mean() > 0.02


def test_demo_checks_and_forecasts(demo):
    text = " ".join(demo[0].stdout.split())
    assert "120 to fit (1982-01 to 1991-12), 120 held out (to 2001-12)" in text
    before, after = map(float, re.search(r"Log marginal likelihood: (\S+) before, (\S+) after", text).groups())
    assert after > before + 1
    assert "passed passed" in text and "FAILED" not in text
    rmse, share = map(float, re.search(r"root mean square error (\S+) ppm; (\d+)% of", text).groups())
    assert 0.1 < rmse < 3  # the record rises by 15 ppm in those years
    assert share > 60
    ratios = re.findall(r"autograd, with \w+ (\S+) ms (\S+) (\S+) ms (\S+)", text)
    assert len(ratios) == 4
    assert all(float(x) > 0 for row in ratios for x in row)


def test_demo_finds_a_wrong_gradient(extras, capsys, monkeypatch, tmp_path):
    from matkern import demo  # noqa: PLC0415 - needs the extra

    @primitive
    def cholesky(a):
        return mk.cholesky(a)

    defvjp(cholesky, lambda L, a: lambda L_bar: 1.001 * mk.cholesky_vjp(L, L_bar))
    monkeypatch.setattr(demo, "MATKERN", demo.MATKERN._replace(cholesky=cholesky))
    monkeypatch.setattr(demo, "ROUNDS", 1)
    assert main(["demo", "--months", "24", "--iterations", "1", "--output", str(tmp_path / "co2.png")]) == 1
    assert "FAILED" in capsys.readouterr().out
