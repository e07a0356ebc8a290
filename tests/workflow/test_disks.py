"""A disk that is full or read-only: one line says so, nothing is lost, and the rest goes on."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from workflow.project import contents

STAGES = ("tune", "train")
NO_SPACE, READ_ONLY = "No space left on device", ("Read-only file system", "Permission denied")


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Mount a small file system on a new folder, or skip the test with the reason."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root on Linux can mount a file system for this")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Give a new folder in which nobody may write, not even root."""
    if os.geteuid() == 0:
        with mounted(folder, "size=64k", "ro"):
            yield
        return
    folder.mkdir(mode=0o555)
    yield


def fill(folder: Path) -> Path:
    """Leave no byte of a file system free."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return path


def assert_undisturbed(project, undisturbed) -> None:
    expected = contents(undisturbed.block)
    assert contents(project.block) == expected
    assert set(expected) == {"trials.csv", "tuned.json", "runs.csv", "curves.parquet"}


def test_a_full_disk_is_said_and_with_room_again_all_goes_on(project, lowdim, undisturbed):
    with mounted(project.results, "size=160k"):
        filler = fill(project.results)
        for command in (["run"], ["tune", "tiny", "--log", "results/tune.log"]):
            code, said = lowdim(project.folder, *command)
            assert code == 2
            assert f"cannot be written ({NO_SPACE}); free some space" in said
            assert said.splitlines()[-1].startswith("lowdim: results")
            assert "Traceback" not in said
        assert not list(project.results.rglob("*.part"))
        filler.unlink()
        for stage in STAGES:
            code, said = lowdim(project.folder, stage, "tiny")
            assert code == 0, said
        assert_undisturbed(project, undisturbed)


def test_a_read_only_results_folder_is_named_with_the_remedy(project, lowdim):
    with read_only(project.results):
        for command in (["run"], ["tune", "tiny"]):
            code, said = lowdim(project.folder, *command)
            assert code == 2
            assert any(f"cannot be written ({reason})" in said for reason in READ_ONLY)
            assert "key `results`" in said


def test_a_read_only_cache_costs_a_line_each_and_nothing_else(
    project, lowdim, undisturbed, monkeypatch, tmp_path
):
    cache = tmp_path / "read_only"
    monkeypatch.setenv("LOWDIM_CACHE", str(cache))
    monkeypatch.setenv("LOWDIM_TAPE_CACHE", str(cache))
    with read_only(cache):
        said = ""
        for stage in STAGES:
            code, told = lowdim(project.folder, stage, "tiny")
            assert code == 0, told
            said += told
    assert any(f"cannot keep data ({reason})" in said for reason in READ_ONLY)
    assert said.count("the tape library stays in memory") == 1
    assert_undisturbed(project, undisturbed)


def test_a_truncated_cache_is_rebuilt_and_said(project, lowdim, undisturbed, monkeypatch, tmp_path):
    own = tmp_path / "cache"
    shutil.copytree(undisturbed.environment["LOWDIM_CACHE"], own)
    kept = {path: path.read_bytes() for path in own.glob("*.npz")}
    assert kept
    for path, whole in kept.items():
        path.write_bytes(whole[: len(whole) // 2])
    monkeypatch.setenv("LOWDIM_CACHE", str(own))
    for stage in STAGES:
        code, said = lowdim(project.folder, stage, "tiny")
        assert code == 0, said
        assert ("is damaged and is built anew" in said) == (stage == "tune")
    assert_undisturbed(project, undisturbed)
