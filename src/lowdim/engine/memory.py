"""The memory that replicas in training take, known before the first of them starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from lowdim.data.task import Split, Task
from lowdim.engine.evaluate import piece_of
from lowdim.engine.fused import structures
from lowdim.engine.job import Program, Replica
from lowdim.engine.network import replica_losses
from lowdim.engine.seeds import built
from lowdim.engine.tape_program import Compiled, compiled
from lowdim.engine.taping import UntapeableError

# Tensors as large as the parameters that a step of the torch engine holds at once: parameters,
# gradient, moments, those of the step before, and what the rule makes on the way. And how often
# what the backward pass needs is there: kept, and once more as gradients.
_LIKE_PARAMETERS, _LIKE_SAVED = 16, 2
# What libraries take for themselves in a call of the torch engine.
_SCRATCH = 64 << 20
_FEW = (4, 8)


@dataclass(frozen=True)
class Need:
    """Bytes that one engine call takes, whatever it trains and for each replica of it.

    `is_one_program`: whether its replicas train as one, and not one after the other.
    """

    label: str
    call: int
    replica: int
    is_one_program: bool = True

    def of(self, replicas: int) -> int:
        """Return the bytes of a call that trains so many replicas at once."""
        return self.call + replicas * self.replica


def memory_need(
    label: str,
    program: Program,
    task: Task,
    replicas: Sequence[Replica],
    *,
    engine: str,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Need:
    """Return what training replicas of a program takes, beside the data, on the engine that will.

    The fused engine has one replica of a call at work and keeps its programs' workspaces; the
    torch engine has all of them at work. Probes are not counted.
    """
    if engine != "torch" and torch.device(device).type == "cpu":
        try:
            return _fused(label, program, task, replicas, dtype)
        except UntapeableError:
            pass
    module = built(program.build, replicas[0].seed)
    size = sum(p.numel() for p in module.parameters()) * dtype.itemsize
    moved = torch.device(device).type != "cpu" or dtype != task.train.inputs.dtype
    data = sum(_elements(s) for s in _splits(program, task)) * dtype.itemsize if moved else 0
    evaluation, step = _activations(program, task, module, dtype)
    return Need(label, data + evaluation + _SCRATCH, _LIKE_PARAMETERS * size + step)


def at_once(
    needs: Sequence[Need], allowed: int, *, threads: int, most: int
) -> tuple[int, list[int]]:
    """Return how many calls may run at once, and how many replicas each may train together.

    Every call gets an equal share of the bytes allowed; where a share is too small for one replica,
    fewer calls run. Raises ValueError where one replica by itself is too large.
    """
    for count in range(threads, 0, -1):
        share = allowed // count
        if all(need.of(1) <= share for need in needs):
            room = [(share - need.call) // max(need.replica, 1) for need in needs]
            return count, [min(most, one) for one in room]
    largest = max(needs, key=lambda need: need.of(1))
    raise ValueError(
        f"1 replica of {largest.label} needs {_gib(largest.of(1))} GiB ({largest.of(1):,} bytes) "
        f"to train, but {_gib(max(allowed, 0))} GiB ({max(allowed, 0):,} bytes) are allowed beside "
        f"the data"
    )


def task_bytes(task: Task) -> int:
    """Return the memory of a task's samples."""
    splits = (task.train, *task.held_out.values())
    return sum(t.untyped_storage().nbytes() for s in splits for t in (s.inputs, s.targets))


def _fused(
    label: str, program: Program, task: Task, replicas: Sequence[Replica], dtype: torch.dtype
) -> Need:
    module = built(program.build, replicas[0].seed)
    tapes = [
        compiled(program, task, module, replica, dtype) for replica in structures(replicas).values()
    ]
    workspaces = sum(t.training.workspace_bytes + t.evaluation.workspace_bytes for t in tapes)
    states = max(
        (2 * tape.training.state_size + tape.evaluation.state_size) * dtype.itemsize
        for tape in tapes
    )
    laid_out = sum(_laid_out(split, tapes[0], task) for split in _splits(program, task))
    result = sum(t.nbytes for t in (*module.parameters(), *module.buffers()))
    return Need(label, workspaces + states + laid_out, result, is_one_program=False)


def _laid_out(split: Split, tape: Compiled, task: Task) -> int:
    """Return the bytes of the copy of a split that a replica's programs read, if they need one."""
    lanes, size = tape.training.target.lanes, tape.dtype.itemsize
    if task.loss == "map_mse":
        return split.inputs.shape[-1] * (split.inputs.shape[-1] + lanes) * size
    read = [split.inputs] if task.loss == "cross_entropy" else [split.inputs, split.targets]
    widths = [(prod(t.shape[2:]), t.dtype.itemsize) for t in read]
    padded = [-(-width // lanes) * lanes for width, own in widths if width % lanes or own != size]
    return split.samples * sum(padded) * size


def _splits(program: Program, task: Task) -> list[Split]:
    return [task.train, *(task.held_out[name] for name in {*program.watch, *program.final})]


def _elements(split: Split) -> int:
    return split.inputs.numel() + split.targets.numel()


def _activations(
    program: Program, task: Task, module: nn.Module, dtype: torch.dtype
) -> tuple[int, int]:
    """Return what a piece of an evaluation holds, however many replicas share it, and a step."""
    module = module.to(dtype)
    if task.loss == "map_mse":
        return 0, _LIKE_SAVED * _saved(module, task, task.train.inputs.shape[-1], dtype)
    few, more = (_saved(module, task, count, dtype) for count in _FEW)
    each = max(more - few, 0) // (_FEW[1] - _FEW[0])
    once = max(few - _FEW[0] * each, 0)
    largest = max(split.samples for split in _splits(program, task))
    batch = min(program.batch_size or task.train.samples, task.train.samples)
    read = min(piece_of(task.train.inputs[0, 0].numel()), largest)
    # without a backward pass only two layers are there at a time
    return read * each // 2, _LIKE_SAVED * (once + batch * each)


def _saved(module: nn.Module, task: Task, samples: int, dtype: torch.dtype) -> int:
    """Return the bytes that a forward pass keeps for the backward one, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)
        return tensor

    held: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        if task.loss == "map_mse":
            module(torch.eye(samples, dtype=dtype))
        else:
            x, y = task.train.inputs[0, :samples].to(dtype), task.train.targets[0, :samples]
            y = y.to(dtype) if y.is_floating_point() else y
            replica_losses(task.loss, module(x)[None], y[None])
    return sum(kept.values())


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g}"
