"""`lowdim run` brings every result up to date, does nothing twice, and survives being killed."""

import shutil
import signal
import time
from pathlib import Path

import psutil

import lowdim
from lowdim.cli.watch import is_alive

WAITED_FOR_S = 120
LONG = ("{epochs: 2,", "{epochs: 1000000,")


def times(project) -> dict[str, int]:
    return {
        str(path.relative_to(project.results)): path.stat().st_mtime_ns
        for path in sorted(project.results.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def wait_until(happened, what: str) -> None:
    end = time.monotonic() + WAITED_FOR_S
    while not happened():
        assert time.monotonic() < end, f"{what} did not happen in {WAITED_FOR_S} s"
        time.sleep(0.1)


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


def test_a_plain_snakemake_finds_nothing_to_do_either(finished):
    assert finished.outdated() == set()


def test_more_seeds_outdate_the_stages_that_use_them(finished):
    assert finished.outdated("--config", "seeds=3") == {
        "tune", "train", "analyse", "figures", "report",
    }  # fmt: skip


def test_code_that_decides_a_result_outdates_it_and_a_comment_does_not(
    finished, tmp_path, monkeypatch
):
    shutil.copytree(Path(lowdim.__file__).parent, tmp_path / "lowdim")
    rest = finished.environment.get("PYTHONPATH", "")
    monkeypatch.setitem(finished.environment, "PYTHONPATH", f"{tmp_path}:{rest}")
    summary = tmp_path / "lowdim" / "analyse" / "summary.py"
    summary.write_text(summary.read_text() + "\n# a remark\n")
    commented = finished.outdated()
    summary.write_text(summary.read_text() + "\nDIGITS = 3\n")
    changed = finished.outdated()
    assert commented == set()
    assert changed == {"analyse", "figures", "report"}


def test_a_damaged_result_is_noticed_said_and_made_again(finished):
    path = finished.results / "tiny" / "all" / "runs.csv"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    code, said = finished.call("lowdim", "run")
    assert code == 0, said
    assert f"{path.relative_to(finished.folder)} is damaged" in said
    assert path.read_bytes() == whole


def test_a_run_that_is_killed_ends_whole_and_the_next_one_goes_on(project):
    project.study.write_text(project.study.read_text().replace(*LONG))
    block = project.results / "tiny" / "all"
    with project.start("lowdim", "run") as first:
        wait_until((block / "logs" / "train.log").exists, "training")
        kept = (block / "tuned.json").stat().st_mtime_ns

        code, said = project.call("lowdim", "run")
        assert code == 2, said
        assert f"another run writes here, process {first.pid}" in said

        family = psutil.Process(first.pid).children(recursive=True)
        first.send_signal(signal.SIGKILL)
        wait_until(
            lambda: not any(is_alive(member.pid) for member in family), "the end of its stages"
        )
    project.study.write_text(project.study.read_text().replace(*reversed(LONG)))
    code, said = project.call("lowdim", "run")
    assert code == 0, said
    assert (block / "tuned.json").stat().st_mtime_ns == kept
    assert (project.results / "report.html").exists()


def test_a_run_whose_snakemake_is_killed_ends_and_the_next_one_goes_on(project):
    project.study.write_text(project.study.read_text().replace(*LONG))
    with project.start("lowdim", "run") as first:
        log = project.results / "tiny" / "all" / "logs" / "train.log"
        wait_until(log.exists, "training")
        family = psutil.Process(first.pid).children(recursive=True)
        family[0].kill()
        said, _ = first.communicate(timeout=WAITED_FOR_S)
        assert first.returncode != 0
        assert "the same command goes on there" in said
        wait_until(
            lambda: not any(is_alive(member.pid) for member in family), "the end of its stages"
        )
    assert any((project.folder / ".snakemake" / "locks").iterdir())
    project.study.write_text(project.study.read_text().replace(*reversed(LONG)))
    code, said = project.call("lowdim", "run")
    assert code == 0, said


def test_an_interrupted_run_says_how_to_go_on(project):
    project.study.write_text(project.study.read_text().replace(*LONG))
    with project.start("lowdim", "run") as run:
        wait_until((project.results / "tiny" / "all" / "logs" / "train.log").exists, "training")
        run.send_signal(signal.SIGTERM)
        said, _ = run.communicate(timeout=WAITED_FOR_S)
    assert run.returncode != 0
    assert "the same command goes on there" in said
    assert "Traceback" not in said
