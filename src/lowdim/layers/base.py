"""What every structured layer has in common."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


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
def draw_normal(tensor: Tensor, variance: float, generator: torch.Generator | None) -> None:
    """Fill a tensor with zero-mean normals; a generator on another device draws there."""
    deviation = math.sqrt(variance)
    if generator is None or generator.device == tensor.device or tensor.is_meta:
        tensor.normal_(0.0, deviation, generator=None if tensor.is_meta else generator)
        return
    drawn = torch.empty(tensor.shape, dtype=tensor.dtype, device=generator.device)
    tensor.copy_(drawn.normal_(0.0, deviation, generator=generator))
