"""Values with their gradients, and losses, by which two functions are compared."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kernels.tolerances import assert_agrees


def value_and_gradients(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], constants: Sequence[Tensor] = ()
) -> list[Tensor]:
    """Return the value, and the gradient of each input for a fixed weighting of the value."""
    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    value = function(*leaves, *constants)
    return [value, *torch.autograd.grad(value, leaves, weighting(value))]


def weighting(value: Tensor) -> Tensor:
    """Return numbers without structure, the same in every dtype."""
    return (
        torch.linspace(0.3, 7.7, value.numel(), dtype=torch.float64).cos().to(value).view_as(value)
    )


def scalar(function: Callable[..., Tensor], constants: Sequence[Tensor]) -> Callable[..., Tensor]:
    """Return a loss that is not linear in the operation's value."""

    def loss(*inputs: Tensor) -> Tensor:
        value = function(*inputs, *constants)
        return (weighting(value) * value.sin()).sum()

    return loss


def assert_all_agree(actual: Sequence[Tensor], expected: Sequence[Tensor], steps: int = 1) -> None:
    names = ["value", *(f"gradient {k}" for k in range(len(expected)))]
    for name, a, e in zip(names, actual, expected, strict=False):
        assert_agrees(a, e, name, steps=steps)
