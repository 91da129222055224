"""What the examples claim."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def example():
    return runpy.run_path(str(EXAMPLES / "expm_jacobian.py"))


def test_C5_the_ways_side_by_side(example, capsys):
    """Two ways for a general matrix, three for symmetric ones, and every difference is rounding."""
    assert example["main"]()
    printed = capsys.readouterr().out
    assert printed.count("they agree to 1e-12") == 3 and "DIFFER" not in printed
    assert printed.count("  Frechet derivatives") == 6 and printed.count("  eigenvalues") == 4
    differences = [float(x) for x in re.findall(r"\d\.\de[+-]\d\d", printed)]
    assert len(differences) == 4 + 9 + 9 and max(differences) < 1e-12


def test_expm_jacobian_tells_a_difference(example, capsys, monkeypatch):
    monkeypatch.setitem(example["compare"].__globals__, "symmetric_part", lambda jacobian: jacobian)
    assert not example["compare"]("unprojected", np.diag([1.0, 2.0]))
    assert "THEY DIFFER" in capsys.readouterr().out
