"""The README's tables are written from the results."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pytest

from lowdim.config import load_study

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def readme():
    spec = importlib.util.spec_from_file_location("readme_tables", ROOT / "workflow" / "readme.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_readme_holds_the_marks_of_every_table_once(readme):
    text = (ROOT / "README.md").read_text()
    for study in readme.TABLES:
        assert "new table" in readme.replaced(text, study, "new table\n")


def test_only_what_stands_between_the_marks_changes(readme):
    text = "a\n<!-- results: nlmf -->\nold\n<!-- /results: nlmf -->\nb\n"
    found = readme.replaced(text, "nlmf", "new\n")
    assert found == text.replace("old", "new")


@pytest.mark.parametrize("text", ["", "<!-- results: nlmf -->\n"])
def test_a_file_without_the_marks_is_refused(readme, text):
    with pytest.raises(ValueError, match="marks of nlmf once, holds them 0 times"):
        readme.replaced(text, "nlmf", "new\n")


def test_every_row_is_an_arm_of_its_study(readme):
    for name, table in readme.TABLES.items():
        arms = load_study(name, folder=ROOT / "config" / "studies").arms
        keys = set(dict(table.rows))
        if name == "compressed_inputs":
            keys = {f"mnist_{key}_lr{rate}" for key in keys for rate in readme.RATES}
        assert keys <= set(arms)


def test_figures_are_those_of_the_results(readme):
    row = {"mean": 61.06, "ci95_low": 60.0, "ci95_high": 62.0, "published": 59.0}
    index = pd.MultiIndex.from_tuples([("a", "test_accuracy")], names=["arm", "metric"])
    runs = pd.DataFrame({"arm": ["a"] * 3 + ["b"] * 3, "e": [1.0, 2.0, 3.0, 1e-7, 2e-4, 0.5]})
    found = readme.Results(pd.DataFrame([row], index=index), runs)
    assert readme.with_interval("test_accuracy")(found, "a") == "61.1 (60.0 to 62.0)"
    assert readme.beside_published("test_accuracy", 1)(found, "a") == "61.1 (59.0)"
    assert readme.mean("test_accuracy")(found, "b") == ""
    assert readme.median("e")(found, "a") == "2.00"
    assert readme.median("e")(found, "b") == "2.0e-4 (1.0e-7 to 0.500)"
