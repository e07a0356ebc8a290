"""A grid of settings times seeds, trained as one program, without any workflow."""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lowdim.data.task import Split, Task
from lowdim.engine import OnEpoch, Probe, Program, Replica, ReplicaResult, train
from lowdim.engine.curves import curve_frame
from lowdim.engine.memory import Need, at_once, memory_need, task_bytes
from lowdim.engine.pool import AT_ONCE, run_on_threads
from lowdim.optim import RULES, Rule
from lowdim.progress import Progress, SilentProgress, progress_on

if TYPE_CHECKING:
    import pandas as pd

Data = Task | Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Sweep:
    """Tidy results: `runs`, one row a point and seed; `curves`, one row a reading."""

    runs: pd.DataFrame
    curves: pd.DataFrame


def sweep(
    network: Callable[[], nn.Module] | nn.Module,
    data: Data,
    grid: Mapping[str, Sequence[float]],
    *,
    seeds: int | Iterable[int] = 10,
    epochs: int = 10,
    batch_size: int | None = 64,
    optimiser: str | Rule = "adam",
    schedule: str = "constant",
    probes: Sequence[Probe] = (),
    engine: str = "auto",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    threads: int | None = None,
    memory_gib: float = 4.0,
    progress: bool = True,
) -> Sweep:
    """Return what every point of a grid reaches with every seed.

    `network` is a function that returns a fresh network, or a network, of which each seed gets a
    copy with `reset_parameters` called on every layer. `data` maps `train`, and any further names,
    to pairs (inputs, targets): integer targets mean cross-entropy, real ones the mean squared
    error. `grid` maps hyperparameters of the optimiser (`learning_rate` is needed) to the values to
    try. `batch_size` None takes all samples in every step. Fewer replicas train at once where all
    would take more than `memory_gib` beside the data.

    `runs` has the columns of the grid, `seed`, `<split>_loss` and `<split>_accuracy` (percent)
    after the last epoch, `train_loss` (mean over the last epoch), `diverged_epoch`, `engine`,
    `engine_reason` and `seconds`; `curves` has every split after every epoch.
    Raises ValueError for an empty grid, an unknown optimiser, data without `train`, or a memory too
    small for one replica.
    """
    import pandas as pd

    task = data if isinstance(data, Task) else as_task(data)
    rule = _rule(optimiser)
    points = _points(grid, rule)
    held_out = tuple(task.held_out)
    program = Program(
        build=partial(_fresh, network) if isinstance(network, nn.Module) else network,
        rule=rule,
        epochs=epochs,
        batch_size=batch_size,
        schedule=schedule,
        probes=tuple(probes),
        watch=held_out,
        final=held_out,
    )
    own_seeds = range(seeds) if isinstance(seeds, int) else list(seeds)
    replicas = [Replica(seed, point) for point in points for seed in own_seeds]
    told = progress_on() if progress else SilentProgress()
    on: dict[str, Any] = {"engine": engine, "device": device, "dtype": dtype}
    need = memory_need("the network", program, task, replicas, **on)
    count, most = _room(need, task, memory_gib, threads or torch.get_num_threads())
    results = _trained(partial(train, **on), program, task, replicas, count, most, told)
    named = [
        ({**{n: r.hyper[n] for n in grid}, "seed": r.seed}, result)
        for r, result in zip(replicas, results, strict=True)
    ]
    runs = pd.DataFrame([{**names, **_outcome(result)} for names, result in named])
    curves = [curve_frame(result.curves, result.times, names) for names, result in named]
    return Sweep(runs, pd.concat(curves, ignore_index=True))


def as_task(data: Mapping[str, tuple[Tensor, Tensor]]) -> Task:
    """Return a task of plain tensors: `train` and whatever else is to be evaluated."""
    if "train" not in data:
        raise ValueError(f"data must have an entry 'train', got {sorted(data)}")
    splits = {name: Split(x[None], y[None]) for name, (x, y) in data.items()}
    train_split = splits.pop("train")
    loss = "mse" if train_split.targets.is_floating_point() else "cross_entropy"
    return Task("data", loss, train_split, splits)  # type: ignore[arg-type]


def _trained(
    trainer: Callable[..., list[ReplicaResult]],
    program: Program,
    task: Task,
    replicas: Sequence[Replica],
    threads: int,
    most: int,
    progress: Progress,
) -> list[ReplicaResult]:
    """Train all replicas in chunks of so many on several threads, results in their order."""
    starts = range(0, len(replicas), most)
    found: dict[int, list[ReplicaResult]] = {}
    lock = threading.Lock()

    def job(start: int, between: OnEpoch) -> None:
        chunk = replicas[start : start + most]

        def on_epoch(epoch: int, replicas: int) -> None:
            between(epoch, replicas)
            with lock:
                progress.advance(replicas)

        found[start] = trainer(program, task, chunk, on_epoch=on_epoch)

    progress.start(len(replicas), len(replicas) * program.epochs, "sweep")
    try:
        run_on_threads([partial(job, start) for start in starts], threads)
    finally:
        progress.close()
    return [result for start in starts for result in found[start]]


def _room(need: Need, task: Task, memory_gib: float, threads: int) -> tuple[int, int]:
    """Return how many chunks train at once, and of how many replicas."""
    try:
        allowed = int(memory_gib * 2**30) - task_bytes(task)
        count, (most,) = at_once([need], allowed, threads=threads, most=AT_ONCE)
    except ValueError as error:
        raise ValueError(f"memory_gib={memory_gib:g} is too little: {error}") from None
    return count, most


def _points(grid: Mapping[str, Sequence[float]], rule: Rule) -> list[dict[str, float]]:
    known = {"learning_rate", *rule.defaults}
    if strange := set(grid) - known:
        raise ValueError(f"grid must name hyperparameters among {sorted(known)}, got {strange}")
    if "learning_rate" not in grid or not all(len(values) for values in grid.values()):
        raise ValueError("grid must give `learning_rate` and at least one value of everything")
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _rule(optimiser: str | Rule) -> Rule:
    if not isinstance(optimiser, str):
        return optimiser
    if optimiser not in RULES:
        raise ValueError(f"optimiser must be one of {sorted(RULES)}, got {optimiser!r}")
    return RULES[optimiser]()


def _fresh(network: nn.Module) -> nn.Module:
    """Return a copy of a network at a new start."""
    own = copy.deepcopy(network)
    for module in own.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    return own


def _outcome(result: ReplicaResult) -> dict[str, Any]:
    losses = result.curves.get(("train", "loss"))
    return {
        "train_loss": float("nan") if losses is None else float(losses[-1]),
        **{f"{split}_{metric}": value for (split, metric), value in result.metrics.items()},
        "diverged_epoch": result.diverged_epoch,
        "engine": result.engine,
        "engine_reason": result.engine_reason,
        "seconds": result.seconds,
    }
