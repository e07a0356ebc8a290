"""Train what is planned and not yet kept, many replicas at once on several threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from lowdim.config import RunConfig, UserError
from lowdim.data.task import Task
from lowdim.engine import OnEpoch, Program, ReplicaResult, train
from lowdim.engine.memory import at_once, memory_need
from lowdim.engine.pool import AT_ONCE, run_on_threads
from lowdim.progress import Progress
from lowdim.records import ReplicaRecord, ReplicaStore
from lowdim.studies.programs import PlannedReplica

# What a kill costs at most, as a share of the time so far and in seconds; against a file a replica.
_SHARE_LOST, _MOST_LOST_S = 0.1, 10.0
# Replicas that train one after the other go to a thread a few at a time, so that all end together.
_IN_A_ROW = 5

ToRecord = Callable[[PlannedReplica, ReplicaResult], ReplicaRecord]


@dataclass(frozen=True)
class Work:
    """Replicas of one arm that share a program and a task."""

    program: Program
    task: Task
    planned: Sequence[PlannedReplica]


def execute(
    work: Sequence[Work],
    store: ReplicaStore,
    run: RunConfig,
    to_record: ToRecord,
    progress: Progress,
    label: str,
    held_bytes: int = 0,
) -> None:
    """Train every planned replica that the store lacks, and keep each soon after it is done.

    Chunks go to `run.threads` threads, the longest first, each with one thread of its own; where
    `run.memory_gib`, less the `held_bytes` of the data, is too little for that, fewer replicas
    train at once. What is finished is kept as well when an error or Ctrl-C ends it early.
    Raises UserError before anything is trained where one replica by itself is too large, or where
    the device is not there.
    """
    if all(planned.key in store for item in work for planned in item.planned):
        threads, sizes = run.threads, [AT_ONCE for _ in work]
    else:
        threads, sizes = _room(work, run, held_bytes)
    chunks = [c for item, most in zip(work, sizes, strict=True) for c in _chunks(item, store, most)]
    chunks.sort(key=lambda chunk: -len(chunk.planned) * chunk.program.epochs)
    total = sum(len(item.planned) for item in work)
    lacking = sum(len(chunk.planned) for chunk in chunks)
    if lacking < total:
        progress.message(f"{label}: {total - lacking} of {total} replicas are kept from before")
    if not chunks:
        return
    epochs = sum(len(chunk.planned) * chunk.program.epochs for chunk in chunks)
    progress.start(lacking, epochs, label)
    lock = threading.Lock()
    keeper = _Keeper(store)

    def job(chunk: Work, between: OnEpoch) -> None:
        def on_epoch(epoch: int, replicas: int) -> None:
            between(epoch, replicas)
            with lock:
                progress.advance(replicas)

        together: list[ReplicaRecord] = []

        def on_result(number: int, result: ReplicaResult) -> None:
            record = to_record(chunk.planned[number], result)
            if result.engine == "torch":
                together.append(record)
                return
            with lock:
                keeper.add([record])

        train(
            chunk.program,
            chunk.task,
            [planned.replica for planned in chunk.planned],
            engine=run.engine,
            device=run.device,
            dtype=getattr(torch, run.precision),
            on_epoch=on_epoch,
            on_result=on_result,
        )
        with lock:
            keeper.add(together)

    try:
        run_on_threads([partial(job, chunk) for chunk in chunks], threads)
    finally:
        progress.close()
        keeper.close()


class _Keeper:
    """Passes finished replicas to a store, several at a time."""

    def __init__(self, store: ReplicaStore) -> None:
        self._store = store
        self._waiting: list[ReplicaRecord] = []
        self._began = self._wrote = time.monotonic()

    def add(self, records: Sequence[ReplicaRecord]) -> None:
        self._waiting += records
        now = time.monotonic()
        if now - self._wrote >= min(_SHARE_LOST * (now - self._began), _MOST_LOST_S):
            self.close()

    def close(self) -> None:
        self._store.add(self._waiting)
        self._waiting = []
        self._wrote = time.monotonic()


def _room(work: Sequence[Work], run: RunConfig, held_bytes: int) -> tuple[int, list[int]]:
    """Return how many chunks may train at once, and how many replicas each of an arm's may have."""
    if run.device != "cpu" and not torch.cuda.is_available():
        raise UserError(f"device: {run.device} is asked for, but torch sees no GPU; set cpu")
    needs = [
        memory_need(
            f"arm {item.planned[0].arm}",
            item.program,
            item.task,
            [planned.replica for planned in item.planned],
            engine=run.engine,
            device=run.device,
            dtype=getattr(torch, run.precision),
        )
        for item in work
    ]
    allowed = int(run.memory_gib * 2**30) - held_bytes
    try:
        threads, room = at_once(needs, allowed, threads=run.threads, most=AT_ONCE)
    except ValueError as error:
        raise UserError(
            f"memory_gib: {run.memory_gib:g} is too little: {error}; raise it"
        ) from None
    few = [
        size if need.is_one_program else min(size, _IN_A_ROW)
        for need, size in zip(needs, room, strict=True)
    ]
    return threads, few


def _chunks(item: Work, store: ReplicaStore, most: int) -> Iterator[Work]:
    """Cut an arm's replicas into pieces of at most so many and leave out what is kept.

    Where the cuts lie depends on the plan and the memory alone, and a chunk that trains as one
    program is kept whole or not at all, so a run that was cut short goes on to the very same
    results.
    """
    planned = list({planned.key: planned for planned in item.planned}.values())
    for start in range(0, len(planned), most):
        part = [one for one in planned[start : start + most] if one.key not in store]
        if part:
            yield Work(item.program, item.task, part)
