"""Small projects: one that was never run, one that was run to its end."""

import fcntl
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from workflow.project import Project

# What starts the tests in the background may have them, and all they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder that all workers of this call of pytest have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def cache(shared) -> Path:
    """One data cache for all projects of these tests."""
    return shared / "cache"


@pytest.fixture(scope="session")
def new_project(cache):
    """A function from a folder to a project in it that was never run."""
    return lambda folder: Project(folder, cache)


@pytest.fixture
def project(tmp_path, cache) -> Project:
    """A project that was never run."""
    return Project(tmp_path, cache)


@pytest.fixture(scope="session")
def undisturbed(shared, cache) -> Project:
    """A project that one worker ran to its end without any mishap; tests only look at it."""
    done = shared / "undisturbed.done"
    with (shared / "undisturbed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        project = Project(shared / "undisturbed", cache)
        if not done.exists():
            code, output = project.call("lowdim", "run")
            assert code == 0, output
            done.touch()
    return project


@pytest.fixture(scope="module")
def finished(tmp_path_factory, undisturbed, cache) -> Project:
    """A copy of the undisturbed project; tests that share it leave it finished."""
    folder = tmp_path_factory.mktemp("finished") / "project"
    shutil.copytree(undisturbed.folder, folder)
    return Project(folder, cache)


@pytest.fixture
def lowdim(monkeypatch, capsys, cache):
    """Call the command line in this process; return exit code and what it said on both streams."""
    from lowdim.cli import main

    def call(folder: Path, *arguments: str) -> tuple[int, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("LOWDIM_CACHE", os.environ.get("LOWDIM_CACHE") or str(cache))
        monkeypatch.setattr(sys, "argv", ["lowdim", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return call
