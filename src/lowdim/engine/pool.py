"""Several engine calls at once, on threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import torch

from lowdim.engine.job import OnEpoch

AT_ONCE = 50
"""The most replicas that one call trains: beyond, the time a replica-step takes is flat."""


class StoppedError(Exception):
    """Raised inside a job when another failed or the user wants to stop."""


def run_on_threads(jobs: Sequence[Callable[[OnEpoch], None]], threads: int) -> None:
    """Run every job, each handed a callback that it must call after every epoch.

    Each job computes on one thread. The first error, or Ctrl-C, stops the others at their next
    epoch and is raised again.
    """
    stop = threading.Event()

    def on_epoch(epoch: int, replicas: int) -> None:
        if stop.is_set():
            raise StoppedError

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = [pool.submit(job, on_epoch) for job in jobs]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        finally:
            torch.set_num_threads(before)
