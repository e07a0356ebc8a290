"""One run at a time in a results folder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from pathlib import Path

from lowdim.cli.watch import RUN_PROCESS, announce_run
from lowdim.config.errors import UserError

NAME = ".run.lock"


def hold(results: Path) -> int:
    """Return a file descriptor that holds the lock on a results folder until it is closed.

    The system lets go of it when the last process that has the descriptor ends, however it ends.
    Raises UserError if another run holds it or the folder cannot be written.
    """
    path = Path(results) / NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise _refused(results, error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        said = _holder(os.read(descriptor, 4096))
        os.close(descriptor)
        raise UserError(f"{results}: {said}") from None
    try:
        _sign(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise _refused(results, error) from None
    return descriptor


def hold_unless_held(results: Path) -> None:
    """Take the lock for the rest of this process, unless the run that started it holds it."""
    if RUN_PROCESS not in os.environ:
        hold(results)
        announce_run()


def _sign(descriptor: int) -> None:
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _refused(results: Path, error: OSError) -> UserError:
    return UserError(
        f"{results}: cannot be written ({error.strerror}); free some space or choose another "
        "folder with --set results=FOLDER or the key `results` in config/config.yaml"
    )


def _holder(text: bytes) -> str:
    try:
        who = json.loads(text)
        return (
            f"another run writes here, process {who['pid']} on {who['host']} since {who['since']};"
            f" wait until it ends, or stop it with `kill {who['pid']}`, then run again"
        )
    except (ValueError, KeyError, TypeError):
        return "another run that has just started writes here; wait until it ends"
