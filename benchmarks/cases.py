"""What the harness measures: an operation at a shape, our function and what else there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

OURS = "lowdim"
FORWARD, BOTH = "forward", "forward+backward"
# relative to the norm of the float64 reference; peers sum in any order
ALLOWED = {torch.float32: 2e-5, torch.float64: 2e-13}


@dataclass(frozen=True)
class Bar:
    """How many times slower than ours the fastest of some peers must be at least."""

    at_least: float
    peers: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """One operation at one shape and pass.

    `runs` take nothing; the one named OURS is held against the others. `error(name, result)` says
    how far off a result is; a peer beyond `allowed` is shown and counts for no bar. `flops` and
    `moved` (bytes) are what no method can do without, the floor. `settings` says with which
    settings a run is timed, where it has any.
    """

    operation: str
    shape: str
    passes: str
    runs: Mapping[str, Callable[[], Any]]
    error: Callable[[str, Any], float]
    allowed: float
    flops: float
    moved: float
    dtype: torch.dtype = torch.float32
    bars: tuple[Bar, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A way to compute the operation, over inputs as this way keeps them.

    `gradients` brings the gradients of its inputs into the order and layout of the reference's
    inputs; None where they are those of another parametrisation.
    """

    function: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]
    gradients: Callable[[Sequence[Tensor]], Sequence[Tensor]] | None = list


@dataclass(frozen=True)
class Problem:
    """An operation at a shape, of which a forward and a forward+backward case are made.

    The first method is ours; `reference` is over the first method's inputs, in float64. `flops`
    and `moved` are of the forward pass and of both.
    """

    operation: str
    shape: str
    methods: Mapping[str, Method]
    reference: Callable[..., Tensor]
    flops: tuple[float, float]
    moved: tuple[float, float]
    bars: Mapping[str, tuple[Bar, ...]] = field(default_factory=dict)

    def cases(self) -> Iterator[Case]:
        """Yield the case of each pass."""
        first = next(iter(self.methods.values())).inputs
        wide = [t.double().requires_grad_() for t in first]
        value = self.reference(*wide)
        g = torch.randn(value.shape, generator=drawing(1)).to(first[0].dtype)
        gradients = torch.autograd.grad(value, wide, g.double())
        for k, passes in enumerate((FORWARD, BOTH)):
            runs = {
                name: _forward(method) if passes == FORWARD else _both(method, g)
                for name, method in self.methods.items()
            }
            yield Case(
                self.operation, self.shape, passes, runs,
                self._error(value.detach(), gradients), ALLOWED[g.dtype], self.flops[k],
                self.moved[k], g.dtype, tuple(self.bars.get(passes, ())),
            )  # fmt: skip

    def _error(
        self, value: Tensor, gradients: Sequence[Tensor]
    ) -> Callable[[str, Sequence[Tensor]], float]:
        def error(name: str, result: Sequence[Tensor]) -> float:
            actual, *own = result
            pairs = [(actual, value)]
            back = self.methods[name].gradients
            if own and back is not None:
                pairs += zip(back(own), gradients)
            return max(float((a.double() - b).norm() / b.norm()) for a, b in pairs)

        return error


def _forward(method: Method) -> Callable[[], Sequence[Tensor]]:
    return lambda: [method.function(*method.inputs)]


def _both(method: Method, g: Tensor) -> Callable[[], Sequence[Tensor]]:
    leaves = [t.detach().clone().requires_grad_() for t in method.inputs]

    def run() -> Sequence[Tensor]:
        y = method.function(*leaves)
        return [y.detach(), *torch.autograd.grad(y, leaves, g)]

    return run


def drawing(seed: int = 0) -> torch.Generator:
    """Return a source of random numbers on the device that is measured."""
    return torch.Generator(torch.get_default_device()).manual_seed(seed)


def on_gpu() -> bool:
    """Return whether a GPU is measured."""
    return torch.get_default_device().type == "cuda"


def bytes_of(*tensors: Tensor) -> int:
    """Return the bytes of the elements of all."""
    return sum(t.numel() * t.element_size() for t in tensors)
