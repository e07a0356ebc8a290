"""The environment is set up when it is missing or stale, and not otherwise."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """The module that sets .venv up, at work in a folder of its own with a finished .venv."""
    spec = importlib.util.spec_from_file_location("setting_up", ROOT / "workflow/environment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(module, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    module.stamp([]).write_text(module.key([]))
    return module


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_finished_environment_is_current(environment):
    assert environment.is_current([])


def test_an_environment_whose_python_is_gone_is_stale(environment):
    environment.PYTHON.unlink()
    assert not environment.is_current([])


def test_another_dependency_makes_it_stale(environment):
    edit(environment.ROOT / "pyproject.toml", '"numba>=', '"numba>1,>=')
    assert not environment.is_current([])


def test_another_setting_of_a_linter_does_not(environment):
    edit(environment.ROOT / "pyproject.toml", "line-length = 100", "line-length = 90")
    assert environment.is_current([])


def test_another_constraint_makes_it_stale(environment):
    edit(environment.ROOT / "constraints.txt", "numba==", "numba>=")
    assert not environment.is_current([])


def test_another_python_makes_it_stale(environment, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, sys.version_info[1] + 1, 0))
    assert not environment.is_current([])


def test_an_extra_is_installed_once_and_leaves_the_rest_current(environment):
    assert not environment.is_current(["bench"])
    environment.stamp(["bench"]).write_text(environment.key(["bench"]))
    assert environment.is_current(["bench"])
    assert environment.is_current([])


@pytest.mark.parametrize(
    ("cuda", "extra"), [("13.2", ["cuda13"]), ("12.8", ["cuda12"]), ("", []), ("11.8", [])]
)
def test_cupy_is_the_one_that_fits_pytorch(environment, monkeypatch, cuda, extra):
    def run(*arguments, **options):
        return subprocess.CompletedProcess(arguments, 0, stdout=f"{cuda}\n")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "platform", "linux")
    assert environment.cuda_extra() == extra


def test_a_machine_without_a_fitting_python_is_told_what_to_install():
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    process = subprocess.run(
        [make, "setup", "PYTHON="], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True
    )
    assert process.returncode == 2
    assert "make PYTHON=" in process.stderr
