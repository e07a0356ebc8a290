"""End a stage by itself once the run that started it is gone."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import suppress

import psutil

RUN_PROCESS = "LOWDIM_RUN_PID"
_EVERY_S = 1.0


def announce_run() -> None:
    """Make this process the run on which the stages that it starts depend."""
    os.environ[RUN_PROCESS] = f"{os.getpid()}@{socket.gethostname()}"


def end_with_run() -> None:
    """Watch the run named in the environment, if it runs on this machine, from a thread.

    A run that was killed cannot stop its stages, and a stage that goes on would write beside
    those of the next run.
    """
    pid, _, host = os.environ.get(RUN_PROCESS, "").partition("@")
    if pid.isdigit() and host == socket.gethostname():
        threading.Thread(target=_watch, args=(int(pid),), daemon=True).start()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def signal_family(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and all that it started, as Ctrl-C on a terminal would."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.send_signal(number)


def _watch(pid: int) -> None:
    while is_alive(pid):
        time.sleep(_EVERY_S)
    os._exit(1)
