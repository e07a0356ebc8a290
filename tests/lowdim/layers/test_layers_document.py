"""docs/layers.md: what it shows runs, and is as short as it says."""

import re
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[3] / "docs" / "layers.md"


@pytest.fixture
def programs():
    return re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


def test_every_program_of_the_document_runs(programs, capsys):
    names = {}
    for program in programs:
        exec(program, names)
    assert names["network"][0].effective_parameters == 230
    assert 0 < names["error"] < 1
    assert "kronecker" in capsys.readouterr().out


def test_the_first_program_is_of_ten_lines(programs):
    assert len(programs[0].strip().replace("\n\n", "\n").splitlines()) <= 10
