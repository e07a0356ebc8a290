"""The two programs of a network on the tape, training and evaluation, and their arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from lowdim.data.task import Split, Task
from lowdim.engine.job import Program, Replica
from lowdim.engine.taping import UntapeableError, record_network
from lowdim.engine.taping_rules import noise_of, record_rule
from lowdim.optim import AdamW, Rule, Sgd

if TYPE_CHECKING:
    from lowdim_kernels.tape import Tape

EVALUATION_BATCH = 256

_DTYPES = {torch.float32: "float32", torch.float64: "float64"}


@dataclass(frozen=True)
class Compiled:
    """Programs of lowdim_kernels.tape that train and evaluate one network."""

    training: Any
    evaluation: Any
    rule: Rule
    task: Task

    @property
    def dtype(self) -> np.dtype:
        return self.training.dtype

    @property
    def batch(self) -> int:
        """Samples of an evaluating step."""
        return self.evaluation.batch

    def new_state(self, module: nn.Module, replica: Replica) -> np.ndarray:
        """Return a replica's state with a network's parameters, tables and constants in it."""
        states = self.training.new_states(1)
        for name, parameter in module.named_parameters():
            self.training.parameter_view(states, name)[0] = parameter.detach().numpy()
        for name in self.training.tables:
            self.training.set_table(states, name, module.get_buffer(name).numpy()[None])
        for name, noise in noise_of(self.training, replica.seed).items():
            self.training.kept_view(states, name)[0] = noise
        self._put_moments(self.training, states, self.task.train, replica.data_set)
        return states[0]

    def for_evaluation(self, state: np.ndarray, split: Split, data_set: int) -> np.ndarray:
        """Return the state of the evaluating program that belongs to one of the training one."""
        states = self.evaluation.new_states(1)
        self.evaluation.take(states, self.training, state[None])
        self._put_moments(self.evaluation, states, split, data_set)
        return states[0]

    def parameters(self, state: np.ndarray, names: Sequence[str]) -> dict[str, Tensor]:
        """Return copies of the parameters by name."""
        view = self.training.parameter_view
        return {n: torch.from_numpy(np.array(view(state, n), order="C")) for n in names}

    def samples(self, split: Split) -> int:
        """Return how many samples a split has for the programs."""
        return split.inputs.shape[-1] if self.task.loss == "map_mse" else split.samples

    def arrays(self, split: Split, data_set: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return samples and targets of a set as the programs take them."""
        if self.task.loss == "map_mse":  # unit vectors, so that the outputs are the map itself
            return self._rows(torch.eye(split.inputs.shape[-1])), None
        place = _place(split, data_set)
        samples = self._rows(split.inputs[place])
        if self.task.loss == "mse":
            return samples, self._rows(split.targets[place])
        return samples, split.targets[place].numpy()

    def _put_moments(self, program: Any, states: np.ndarray, split: Split, data_set: int) -> None:
        if self.task.loss != "map_mse":
            return
        place = _place(split, data_set)
        factor, target = split.inputs[place].double(), split.targets[place].numpy()
        moments = factor.mT @ factor * (factor.shape[1] / factor.shape[0])
        size = len(target)
        program.kept_view(states, "map.target")[..., :size] = target.T
        program.kept_view(states, "map.moments")[..., :size, :size] = moments.numpy()

    def _rows(self, x: Tensor) -> np.ndarray:
        """Return rows padded to whole vectors; those that already are stay where they lie."""
        rows = x.flatten(1).numpy()
        lanes = self.training.target.lanes
        fits = rows.dtype == self.dtype and rows.shape[1] % lanes == 0
        if fits and rows.flags.c_contiguous and rows.ctypes.data % 64 == 0:
            return rows
        return self.training.padded_samples(rows)

    def schedule(
        self, hyper: Mapping[str, float], rates: np.ndarray, done: int, loss_scale: np.ndarray
    ) -> np.ndarray:
        """Return an epoch's schedule at given rates, `done` steps after the start."""
        from lowdim_kernels.tape import adam_schedule, sgd_schedule

        if not isinstance(self.rule, Sgd):
            return adam_schedule(
                rates,
                first_step=done,
                betas=(hyper["beta1"], hyper["beta2"]),
                epsilon=hyper["epsilon"],
                weight_decay=hyper["weight_decay"],
                decoupled=isinstance(self.rule, AdamW),
                loss_scale=loss_scale,
                rank=hyper.get("rank", 0.0),
                dtype=self.dtype,
            )
        return sgd_schedule(
            rates,
            momentum=hyper["momentum"],
            weight_decay=hyper["weight_decay"],
            loss_scale=loss_scale,
            dtype=self.dtype,
        )

    def evaluation_schedule(self, steps: int) -> np.ndarray:
        """Return a schedule that updates nothing and sums losses."""
        from lowdim_kernels.tape import evaluation_schedule

        return evaluation_schedule(steps, dtype=self.dtype)


def compiled(
    program: Program, task: Task, module: nn.Module, replica: Replica, dtype: torch.dtype
) -> Compiled:
    """Return the programs of a replica; raises UntapeableError where there is no form for it."""
    if dtype not in _DTYPES:
        raise UntapeableError(f"the tape computes in float32 or float64, not {dtype}")
    if task.loss == "map_mse" and program.batch_size is not None:
        raise UntapeableError("loss map_mse has no samples to draw from: batch_size must be None")
    if any(not p.requires_grad for p in module.parameters()):
        raise UntapeableError("frozen parameters have no form on the tape")
    features = task.train.inputs.shape[-1] if task.loss == "map_mse" else _features(task)
    samples = features if task.loss == "map_mse" else task.train.samples
    batch = min(program.batch_size or samples, samples)
    training = _recorded(module, features, batch, task, dtype)
    training.backward()
    if program.step_metrics:
        training.gradient_statistics()
    record_rule(training, program.rule, replica)
    if set(training.parameters) != (names := {name for name, _ in module.named_parameters()}):
        raise UntapeableError(f"only {sorted(training.parameters)} of {sorted(names)} are taped")
    whole = features if task.loss == "map_mse" else EVALUATION_BATCH
    evaluation = _recorded(module, features, whole, task, dtype)
    return Compiled(training.finish(), evaluation.finish(), program.rule, task)


def _recorded(module: nn.Module, features: int, batch: int, task: Task, dtype: torch.dtype) -> Tape:
    """Return a tape with a network's forward pass and its loss."""
    from lowdim_kernels.tape import Tape

    tape = Tape(batch=batch, dtype=_DTYPES[dtype])
    output = record_network(tape, module, features)
    losses = {"mse": tape.squared_error, "map_mse": tape.map_error}
    losses.get(task.loss, tape.cross_entropy)(output)
    return tape


def _features(task: Task) -> int:
    return task.train.inputs[0, 0].numel()


def _place(split: Split, data_set: int) -> int:
    return data_set if split.sets > 1 else 0
