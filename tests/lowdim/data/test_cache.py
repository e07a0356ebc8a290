"""Arrays on disk: whole or not at all, rebuilt when damaged, usable without a folder."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from lowdim.data import cache_folder, cached_arrays


class Builder:
    """Makes arrays and counts how often it was asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"x": np.arange(6.0).reshape(2, 3), "y": np.array([1, 2])}


@pytest.fixture
def build():
    return Builder()


def fetch(build, folder, **arguments):
    return cached_arrays("numbers", arguments, build, folder=folder)


def only_file(folder):
    (path,) = folder.iterdir()
    return path


def test_arrays_are_built_once(build, tmp_path):
    first, second = fetch(build, tmp_path, a=1), fetch(build, tmp_path, a=1)
    assert build.calls == 1
    assert sorted(second) == ["x", "y"]
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert second["y"].dtype == first["y"].dtype


def test_other_arguments_are_another_file(build, tmp_path):
    fetch(build, tmp_path, a=1)
    fetch(build, tmp_path, a=2)
    assert build.calls == 2
    assert len(list(tmp_path.iterdir())) == 2


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def flip_a_number(path):
    """An archive that is sound in itself, with one number changed."""
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    arrays["x"][0, 0] += 1
    np.savez(path, **arrays)


def leave_the_checksum_out(path):
    np.savez(path, x=np.zeros(1))


@pytest.mark.parametrize("damage", [truncate, empty, flip_a_number, leave_the_checksum_out])
def test_a_damaged_file_is_rebuilt_with_a_warning(damage, build, tmp_path):
    whole = fetch(build, tmp_path)
    damage(only_file(tmp_path))
    with pytest.warns(RuntimeWarning, match="damaged and is built anew"):
        again = fetch(build, tmp_path)
    assert np.array_equal(again["x"], whole["x"])
    assert build.calls == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fetch(build, tmp_path)
    assert build.calls == 2


def test_a_folder_that_cannot_be_written_costs_one_warning(build, tmp_path):
    blocked = tmp_path / "a file"
    blocked.touch()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        arrays = fetch(build, blocked / "folder")
    assert arrays["x"].shape == (2, 3)
    (warning,) = seen
    assert "LOWDIM_CACHE" in str(warning.message)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_folder_still_serves_what_it_holds(build, tmp_path):
    fetch(build, tmp_path, a=1)
    tmp_path.chmod(0o555)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fetch(build, tmp_path, a=1)
    with pytest.warns(RuntimeWarning, match="LOWDIM_CACHE"):
        fetch(build, tmp_path, a=2)


def test_nothing_is_left_of_a_build_that_failed(tmp_path):
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(fail, tmp_path)
    assert not list(tmp_path.iterdir())


def test_two_processes_may_build_at_once(tmp_path):
    program = (
        "import sys, numpy as np\n"
        "from lowdim.data.cache import cached_arrays\n"
        "sys.stdin.readline()\n"
        "for k in range(40):\n"
        "    made = lambda: {'x': np.full((200, 200), float(k))}\n"
        "    assert (cached_arrays('n', {'k': k}, made, folder=sys.argv[1])['x'] == k).all()\n"
    )
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path)]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert len(list(tmp_path.iterdir())) == 40


def test_the_folder_is_the_argument_then_the_variable_then_the_platform_s(monkeypatch, tmp_path):
    monkeypatch.setenv("LOWDIM_CACHE", str(tmp_path / "variable"))
    assert cache_folder(tmp_path) == tmp_path
    assert cache_folder() == tmp_path / "variable"
    monkeypatch.delenv("LOWDIM_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "lowdim"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path.home() / "Library" / "Caches" / "lowdim"
