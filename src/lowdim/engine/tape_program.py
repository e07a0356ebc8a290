"""The two programs of a network on the tape, training and evaluation, and their arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lowdim.data.task import Split, Task
from lowdim.engine.job import Program
from lowdim.engine.taping import UntapeableError, record_network
from lowdim.optim import Adam, Sgd

EVALUATION_BATCH = 256

_DTYPES = {torch.float32: "float32", torch.float64: "float64"}


@dataclass(frozen=True)
class Compiled:
    """Programs of lowdim_kernels.tape that train and evaluate one network."""

    training: Any
    evaluation: Any
    rule: Adam | Sgd
    real_targets: bool

    @property
    def dtype(self) -> np.dtype:
        return self.training.dtype

    def new_state(self, module: nn.Module) -> np.ndarray:
        """Return a replica's state with a network's parameters and tables in it."""
        states = self.training.new_states(1)
        for name, parameter in module.named_parameters():
            self.training.parameter_view(states, name)[0] = parameter.detach().numpy()
        for name in self.training.tables:
            self.training.set_table(states, name, module.get_buffer(name).numpy()[None])
        return states[0]

    def for_evaluation(self, state: np.ndarray) -> np.ndarray:
        """Return the state of the evaluating program that belongs to one of the training one."""
        states = self.evaluation.new_states(1)
        self.evaluation.take(states, self.training, state[None])
        return states[0]

    def parameters(self, state: np.ndarray, names: Sequence[str]) -> dict[str, Tensor]:
        """Return copies of the parameters by name."""
        view = self.training.parameter_view
        return {n: torch.from_numpy(np.array(view(state, n), order="C")) for n in names}

    def arrays(self, split: Split, data_set: int) -> tuple[np.ndarray, np.ndarray]:
        """Return samples and targets of a set as the programs take them."""
        place = data_set if split.sets > 1 else 0
        samples = self._rows(split.inputs[place])
        if self.real_targets:
            return samples, self._rows(split.targets[place])
        return samples, split.targets[place].numpy()

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

        if isinstance(self.rule, Adam):
            return adam_schedule(
                rates,
                first_step=done,
                betas=(hyper["beta1"], hyper["beta2"]),
                epsilon=hyper["epsilon"],
                weight_decay=hyper["weight_decay"],
                loss_scale=loss_scale,
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


def compiled(program: Program, task: Task, module: nn.Module, dtype: torch.dtype) -> Compiled:
    """Return the programs of a network; raises UntapeableError where there is no form for it."""
    rule = program.rule
    if type(rule) not in (Adam, Sgd):
        raise UntapeableError(f"the rule {type(rule).__name__} has no form on the tape")
    if dtype not in _DTYPES:
        raise UntapeableError(f"the tape computes in float32 or float64, not {dtype}")
    if any(not p.requires_grad for p in module.parameters()):
        raise UntapeableError("frozen parameters have no form on the tape")
    features = task.train.inputs[0, 0].numel()
    batch = min(program.batch_size or task.train.samples, task.train.samples)
    real = task.loss == "mse"
    training = _recorded(module, features, batch, real, dtype, program, trains=True)
    evaluation = _recorded(module, features, EVALUATION_BATCH, real, dtype, program, trains=False)
    names = {name for name, _ in module.named_parameters()}
    if set(training.parameters) != names:
        raise UntapeableError(f"only {sorted(training.parameters)} of {sorted(names)} are taped")
    return Compiled(training, evaluation, rule, real)  # type: ignore[arg-type]


def _recorded(
    module: nn.Module,
    features: int,
    batch: int,
    real: bool,
    dtype: torch.dtype,
    program: Program,
    *,
    trains: bool,
) -> Any:
    from lowdim_kernels.tape import Tape

    tape = Tape(batch=batch, dtype=_DTYPES[dtype])
    output = record_network(tape, module, features)
    if real:
        tape.squared_error(output)
    else:
        tape.cross_entropy(output)
    if trains:
        tape.backward()
        if program.step_metrics:
            tape.gradient_statistics()
        if isinstance(program.rule, Adam):
            tape.adam()
        else:
            tape.sgd()
    return tape.finish()
