"""An operation's derivative and batching rules as torch's autograd Functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lowdim_kernels.backends import chosen_backend, using_backend

if TYPE_CHECKING:
    from lowdim_kernels.ops import Operation


class Saved(NamedTuple):
    """What a derivative rule sees: the flat inputs and, where asked for, the outputs."""

    inputs: tuple[Any, ...]
    outputs: tuple[Tensor, ...]


def functions_of(
    operation: Operation,
    vjp: Callable[..., Sequence[Tensor | None]],
    jvp_rule: Callable[..., Any],
    batch: Callable[..., tuple[Any, Any]],
    saves_outputs: bool,
) -> tuple[Any, Any]:
    """Return two autograd Functions: one of every rule, one that plain autograd runs faster."""
    constants = operation.constants

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> tuple[Any, ...]:
        tensors = inputs[constants:] if constants else inputs
        if constants:
            ctx.constants = inputs[:constants]
        ctx.backend = chosen_backend()
        if saves_outputs:
            tensors = (*tensors, *((output,) if operation.single else output))
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        return tensors

    def saved(ctx: Any) -> Saved:
        inputs, outputs = ctx.saved_tensors, ()
        if saves_outputs:
            count = len(ctx.needs_input_grad) - constants
            inputs, outputs = inputs[:count], inputs[count:]
        return Saved((*ctx.constants, *inputs) if constants else inputs, outputs)

    class Plain(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *flat: Any) -> Any:
            output = operation.run(*operation.structured(flat))
            keep(ctx, flat, output)
            return output if operation.single else tuple(output)

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor | None) -> Any:
            if gradients[0] is None and all(g is None for g in gradients):
                return (None,) * len(ctx.needs_input_grad)
            if ctx.backend is None:
                return tuple(vjp(saved(ctx), ctx.needs_input_grad, gradients))
            with using_backend(ctx.backend):
                return tuple(vjp(saved(ctx), ctx.needs_input_grad, gradients))

    class Rules(torch.autograd.Function):
        backward = Plain.backward

        @staticmethod
        def forward(*flat: Any) -> Any:
            output = operation.run(*operation.structured(flat))
            return output if operation.single else tuple(output)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            ctx.save_for_forward(*keep(ctx, inputs, output))

        @staticmethod
        def jvp(ctx: Any, *tangents: Tensor | None) -> Any:
            return jvp_rule(saved(ctx), tangents)

        @staticmethod
        def vmap(info: Any, in_dims: tuple[int | None, ...], *flat: Any) -> Any:
            return batch(info.batch_size, in_dims, *flat)

    for function in (Plain, Rules):
        function.__name__ = function.__qualname__ = operation.name
    return Rules, Plain
