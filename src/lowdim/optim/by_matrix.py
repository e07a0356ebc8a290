"""What update rules share that treat matrices in a way of their own and vectors by Adam."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor

from lowdim.optim.rules import Adam, Hyper, Params, State


class ByMatrix(ABC):
    """Matrices by the rule of a subclass, everything else by Adam at the same rate.

    Every tensor leads with the replica axis; one with more than two further axes is a matrix whose
    last axes are joined. What weight_decay does to matrices is up to the subclass.
    """

    elementwise = False
    defaults: Mapping[str, float] = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}

    def __init__(self) -> None:
        self.adam = Adam()

    @abstractmethod
    def init_matrix(self, matrix: Tensor) -> dict[str, Tensor]:
        """Return the state of matrices (R, m, n) before the first step, by name."""

    @abstractmethod
    def step_matrix(
        self, matrix: Tensor, g: Tensor, own: Mapping[str, Tensor], step: int, hyper: Hyper
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return matrices and their state after a step of number 0, 1, ..."""

    def init(self, params: Params) -> State:
        matrices, vectors = _parts(params)
        state = self.adam.init(vectors)
        for name, matrix in matrices.items():
            for key, tensor in self.init_matrix(matrix.flatten(2)).items():
                state.setdefault(key, {})[name] = tensor
        return state

    def update(
        self, params: Params, grads: Params, state: State, hyper: Hyper
    ) -> tuple[Params, State]:
        hyper = {**self.defaults, **hyper}
        matrices, vectors = _parts(params)
        new, after = self.adam.update(vectors, grads, state, {**hyper, "weight_decay": 0.0})
        for name, matrix in matrices.items():
            own = {key: part[name] for key, part in state.items() if _holds(part, name)}
            g = grads[name].flatten(2)
            stepped, own = self.step_matrix(matrix.flatten(2), g, own, state["step"], hyper)
            new[name] = stepped.view(matrix.shape)
            for key, tensor in own.items():
                after.setdefault(key, {})[name] = tensor
        return {name: new[name] for name in params}, after


def _parts(params: Params) -> tuple[Params, Params]:
    matrices = {name: p for name, p in params.items() if p.dim() > 2}
    return matrices, {name: p for name, p in params.items() if p.dim() <= 2}


def _holds(part: object, name: str) -> bool:
    return isinstance(part, dict) and name in part
