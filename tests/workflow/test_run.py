"""`lowdim run` brings every result up to date, does nothing twice, and repairs what is damaged."""

import shutil
from pathlib import Path

import lowdim
from workflow.project import contents


def times(project) -> dict[str, int]:
    return {
        str(path.relative_to(project.results)): path.stat().st_mtime_ns
        for path in sorted(project.results.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def test_a_run_leaves_every_result_a_report_and_its_provenance(finished):
    there = set(times(finished))
    block = {f"tiny/all/{name}" for name in ("trials.csv", "tuned.json", "runs.csv")}
    rest = {"tiny/all/curves.parquet", "tiny/summary.csv", "tiny/verdicts.json"}
    assert {*block, *rest, "report.html", "provenance.html"} <= there
    assert any(name.endswith(".svg") for name in there)


def test_a_second_run_does_nothing_and_says_so(finished):
    before = times(finished)
    code, said = finished.call("lowdim", "run")
    assert code == 0
    assert "nothing was to be done" in said
    assert times(finished) == before


def test_code_that_decides_a_result_outdates_it_and_a_comment_does_not(
    finished, tmp_path, monkeypatch
):
    shutil.copytree(Path(lowdim.__file__).parent, tmp_path / "lowdim")
    rest = finished.environment.get("PYTHONPATH", "")
    monkeypatch.setitem(finished.environment, "PYTHONPATH", f"{tmp_path}:{rest}")
    summary = tmp_path / "lowdim" / "analyse" / "summary.py"
    summary.write_text(summary.read_text() + "\n# a remark\n")
    _, commented = finished.call("lowdim", "plan")
    summary.write_text(summary.read_text() + "\nDIGITS = 3\n")
    _, changed = finished.call("lowdim", "plan")
    assert "nothing is to be done: every result is up to date" in commented
    assert "would run: analyse, figures of tiny" in changed


def test_truncated_results_are_found_said_and_made_again(finished, undisturbed):
    figure = next((finished.results / "tiny" / "figures").glob("*.svg"))
    names = ("tiny/all/trials.csv", "tiny/all/runs.csv", "tiny/all/curves.parquet", "report.html")
    damaged = [*(finished.results / name for name in names), figure]
    for path in damaged:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    code, said = finished.call("lowdim", "run")
    assert code == 0, said
    for path in damaged:
        assert f"{path.relative_to(finished.folder)} is damaged" in said
    assert contents(finished.results) == contents(undisturbed.results)
