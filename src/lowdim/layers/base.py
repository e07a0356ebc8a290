"""What every structured layer has in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lowdim.layers.nearest import relative_error

if TYPE_CHECKING:
    from lowdim_kernels.tape import Buffer, Parameter, Tape


class StructuredLinear(nn.Module, ABC):
    """A linear layer whose (out, in) weight is a function of fewer numbers.

    A subclass registers its own parameters, then says how they act (`multiply`), what matrix they
    stand for (`materialize`) and how they start (`reset_weight`). Biases start at zero.

    `gain` scales the start: the mean of E[W_ij^2] over the materialised weight is
    gain / in_features, so the default, 2, keeps the variance of activations through ReLU.
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        gain: float = 2.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if not (math.isfinite(gain) and gain > 0):
            raise ValueError(f"gain must be positive and finite, got {gain}")
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.gain = gain
        if bias:
            self.bias = nn.Parameter(torch.empty(out_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)

    @abstractmethod
    def multiply(self, x: Tensor) -> Tensor:
        """Return x W^T without forming W: x (..., in) -> (..., out)."""

    @abstractmethod
    def materialize(self) -> Tensor:
        """Return the (out, in) weight that the parameters stand for, differentiably."""

    @abstractmethod
    def reset_weight(self, generator: torch.Generator | None = None) -> None:
        """Draw the weight's parameters anew."""

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weight anew and set the bias to zero."""
        self.reset_weight(generator)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.in_features:
            raise ValueError(
                f"x must end in {self.in_features} (in_features), got {tuple(x.shape)}"
            )
        y = self.multiply(x)
        return y if self.bias is None else y + self.bias

    def record(self, tape: Tape, prefix: str, y: Buffer, x: Buffer) -> None:
        """Record y = W x + b and its gradients on a tape, parameters named from `prefix` on.

        Raises NotImplementedError where the structure has no such form; the layer then trains in
        plain PyTorch alone.
        """
        raise NotImplementedError(f"{type(self).__name__} has no form on the tape")

    @property
    def weight(self) -> Tensor:
        """The materialised weight, to be read: changing it does not change the layer."""
        return self.materialize()

    @property
    def effective_parameters(self) -> int:
        """The number of trainable scalars, biases included."""
        return sum(parameter.numel() for parameter in self.parameters())

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )

    @torch.no_grad()
    def _take_over(self, linear: nn.Linear, values: Mapping[str, Tensor]) -> float:
        """Put values into the parameters, take the rest from a dense layer, return the error."""
        for name, value in values.items():
            self.get_parameter(name).copy_(value)
        if self.bias is not None:
            self.bias.copy_(linear.bias)
            self.bias.requires_grad_(linear.bias.requires_grad)
        for name in values:
            self.get_parameter(name).requires_grad_(linear.weight.requires_grad)
        self.train(linear.training)
        return relative_error(linear.weight.double(), self.materialize().double())


def recorded_bias(tape: Tape, prefix: str, layer: nn.Module) -> Parameter | None:
    """Return a layer's bias as a parameter of a tape, or None where it has none."""
    bias = dict(layer.named_parameters(recurse=False)).get("bias")
    return None if bias is None else tape.parameter(f"{prefix}bias", tuple(bias.shape))


def like_dense(linear: nn.Linear) -> dict[str, Any]:
    """Return the arguments by which a layer has a dense one's sizes, bias, device and dtype.

    The generator is a throw-away, so the global one is not advanced by a start that is replaced.
    Raises TypeError unless it is a linear layer, ValueError for a weight that is not finite.
    """
    if not isinstance(linear, nn.Linear):
        raise TypeError(f"linear must be a torch.nn.Linear, got {type(linear).__name__}")
    if not linear.weight.isfinite().all():
        raise ValueError("linear must have a finite weight, got one with inf or nan")
    return {
        "in_features": linear.in_features,
        "out_features": linear.out_features,
        "bias": linear.bias is not None,
        "device": linear.weight.device,
        "dtype": linear.weight.dtype,
        "generator": torch.Generator(),
    }


@torch.no_grad()
def draw_normal(tensor: Tensor, variance: float, generator: torch.Generator | None) -> None:
    """Fill a tensor with zero-mean normals; a generator on another device draws there."""
    deviation = math.sqrt(variance)
    if generator is None or generator.device == tensor.device or tensor.is_meta:
        tensor.normal_(0.0, deviation, generator=None if tensor.is_meta else generator)
        return
    drawn = torch.empty(tensor.shape, dtype=tensor.dtype, device=generator.device)
    tensor.copy_(drawn.normal_(0.0, deviation, generator=generator))


@torch.no_grad()
def draw_uniform(tensor: Tensor, reach: Tensor, generator: torch.Generator | None) -> None:
    """Fill a tensor with uniforms within plus and minus `reach`; generators as in draw_normal."""
    if generator is None or generator.device == tensor.device or tensor.is_meta:
        tensor.uniform_(-1.0, 1.0, generator=None if tensor.is_meta else generator).mul_(reach)
        return
    drawn = torch.empty(tensor.shape, dtype=tensor.dtype, device=generator.device)
    tensor.copy_(drawn.uniform_(-1.0, 1.0, generator=generator)).mul_(reach)
