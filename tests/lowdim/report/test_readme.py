"""The table in a README is the summary's."""

import pytest

from by_hand import read_study, write_results
from lowdim.report.readme import replaced, write_readme

PAGE = (
    "# Title\n\n<!-- results: structured_weights -->\nold\n<!-- end: structured_weights -->\nrest\n"
)


def test_the_table_is_written_between_its_marks_and_nowhere_else(tmp_path):
    study = read_study()
    run, tables = write_results(tmp_path / "results", study)
    page = tmp_path / "README.md"
    page.write_text(PAGE)
    write_readme(run, study, page)
    once = page.read_text()
    lines = once.splitlines()
    assert (lines[0], lines[-1], "old" in lines) == ("# Title", "rest", False)
    row = tables.row("kronecker", "test_accuracy")
    cell = f"{row['mean']:.2f} ({row['ci95_low']:.2f} to {row['ci95_high']:.2f})"
    (found,) = [line for line in lines if line.startswith("| Kronecker |")]
    assert found.split(" | ")[1:3] == ["310", cell]
    assert found.endswith("| 43.90 |")
    write_readme(run, study, page)
    assert page.read_text() == once


@pytest.mark.parametrize("text", ["", "\n".join(PAGE.splitlines()[::-1]), PAGE + PAGE])
def test_a_file_without_the_marks_is_left_alone_and_named(text):
    with pytest.raises(ValueError, match="<!-- results: structured_weights -->"):
        replaced(text, "structured_weights", "table")
