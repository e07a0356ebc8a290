"""Stages started in an instant: one process imports what they need and forks for each."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from workflow.project import Project, family

_SERVE = """
import os, sys
import lowdim.train, lowdim.tune
from lowdim.cli import main

for line in sys.stdin:
    child = os.fork()
    if not child:
        status = 1
        try:
            # An interrupt that comes before this, in the middle of the fork, would be swallowed.
            print(os.getpid(), flush=True)
            sys.argv = ["lowdim", *line.split()]
            main()
            status = 0
        except SystemExit as ended:
            status = ended.code or 0
        finally:
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Nursery:
    """Forks stages of a project; `said` is all that they wrote so far."""

    def __init__(self, process: subprocess.Popen, said: Path) -> None:
        self._process = process
        self._said = said

    @property
    def said(self) -> str:
        return self._said.read_text()

    def start(self, *arguments: str) -> psutil.Process:
        """Return the process of `lowdim ARGUMENTS`; `ended` must be called before the next."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(arguments) + "\n")
        self._process.stdin.flush()
        return psutil.Process(self._answer())

    def ended(self) -> int:
        """Return the exit code of the stage, once it has ended; -9 if it was killed."""
        return self._answer()

    def call(self, *arguments: str) -> float:
        """Run a stage to its good end and return the seconds that it took."""
        began = time.monotonic()
        self.start(*arguments)
        assert self.ended() == 0, self.said
        return time.monotonic() - began

    def killed(self, moment_s: float, *arguments: str) -> bool:
        """Return whether a stage was still at work when `kill -9` came, some seconds on."""
        stage = self.start(*arguments)
        time.sleep(moment_s)
        with suppress(psutil.NoSuchProcess):
            stage.kill()
        return self.ended() == -9

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


@contextmanager
def nursery(project: Project) -> Iterator[Nursery]:
    """Give what forks a project's stages; it and they end with the block."""
    said = project.folder / "said.txt"
    with said.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            cwd=project.folder,
            env=project.environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
        )
    try:
        yield Nursery(process, said)
    finally:
        for member in family(process.pid):
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.communicate()


def moments(seed: int, most_s: float) -> Iterator[float]:
    """Yield random times up to a most, the same shares of it for the same seed."""
    drawn: Any = random.Random(seed)
    while True:
        yield most_s * drawn.random()
