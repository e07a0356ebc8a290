"""The one pattern by which torch sees a kernel, and every private name of torch that it takes.

Bottom to top:
  kernels        one function a backend over plain tensors; they know nothing of derivatives
  kernel op      `lowdim::<name>_kernel`: chooses the backend; fake for tracing; no autograd
  Function       the derivative and batching rules, written with operations, so that they
                 differentiate again; all that eager autograd and torch.func see
                 (autograd_functions.py)
  graph op       `lowdim::<name>`: the same Function at the Autograd key; all that
                 torch.compile and torch.export see
  Operation()    a call picks between them
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.library import Library

from lowdim_kernels.autograd_functions import Saved as Saved
from lowdim_kernels.autograd_functions import functions_of
from lowdim_kernels.backends import BACKEND_OF_DEVICE, backend_for, chosen_backend

NAMESPACE = "lowdim"
_library = Library(NAMESPACE, "FRAGMENT")
_PLAIN = (Tensor, torch.nn.Parameter)
_transforms_active = torch._C._are_functorch_transforms_active
_autocast_anywhere = torch._C._is_any_autocast_enabled
_dispatch_modes = torch._C._len_torch_dispatch_stack
_key_included = torch._C._dispatch_tls_is_dispatch_key_included
_BATCHED_GRADIENTS: Any = torch._C._parse_dispatch_key("VmapMode")


class _Tags(dict):
    def __missing__(self, dtype: torch.dtype) -> Any:
        raise TypeError(f"kernels of the CPU take float32 or float64, got {dtype}")


# A kernel tells the element type of an address by the type of one scalar beside it.
TAG = _Tags({torch.float32: np.float32(0), torch.float64: np.float64(0)})


class Operation:
    """A kernel that torch differentiates, batches, traces and compiles; called like a function.

    `schema` is torch's: constants first, then tensors, one `Tensor[]` at most and last. Rules see
    arguments flat, the list's tensors at the end:

    allocate(*arguments)              the outputs, unwritten; also what tracing sees
    kernels {backend: function}       arguments to outputs
    vjp(saved, needed, gradients)     one gradient or None for every flat input
    jvp(saved, tangents)              one tangent for every output
    batch(size, in_dims, *flat)       (outputs, out_dims) with one more batch axis

    Gradients and tangents that are zero come as None. With `saves_outputs` the rules see them.
    """

    def __init__(
        self,
        name: str,
        schema: str,
        *,
        allocate: Callable[..., Any],
        kernels: dict[str, Callable[..., Any]],
        vjp: Callable[..., Sequence[Tensor | None]],
        jvp: Callable[..., Any],
        batch: Callable[..., tuple[Any, Any]],
        saves_outputs: bool = False,
    ) -> None:
        arguments, returns = schema.split("->")
        kinds = [a.split()[0] for a in arguments.strip().strip("()").split(",")]
        self.name = name
        self.kernels = kernels
        self.constants = sum(not kind.startswith("Tensor") for kind in kinds)
        self.single = returns.strip() == "Tensor"
        self.has_list = kinds[-1] == "Tensor[]"
        self.fixed = len(kinds) - self.has_list
        self.returns_list = returns.strip() == "Tensor[]"
        self._available = tuple(kernels)
        self._usual = kernels.get(BACKEND_OF_DEVICE["cpu"])
        self._rules, self._plain_rules = functions_of(self, vjp, jvp, batch, saves_outputs)
        self._kernel_op = self._define(f"{name}_kernel", schema, allocate)
        self._graph_op = self._define(name, schema, allocate)
        _library.impl(name, self._at_autograd_key, "Autograd")
        torch.library.register_vmap(
            f"{NAMESPACE}::{name}", self._batch_at_graph_op(batch), lib=_library
        )

    def __call__(self, *arguments: Any) -> Any:
        """Return the outputs, differentiable to any order, forwards and backwards."""
        if torch.compiler.is_compiling():
            return self._graph_op(*arguments)
        transformed = _transforms_active() or forward_ad._current_level >= 0
        if transformed or torch.is_grad_enabled():
            flat = (*arguments[:-1], *arguments[-1]) if self.has_list else arguments
            if transformed:
                return self._rules.apply(*flat)
            if _any_requires_grad(flat):
                return self._plain_rules.apply(*flat)
        return self.run(*arguments)

    def run(self, *arguments: Any) -> Any:
        """Return the outputs for inputs that nothing differentiates or batches."""
        first = arguments[self.constants]
        # The dispatcher costs more than a small kernel, and only a mode would see the call.
        if (
            type(first) in _PLAIN
            and first.is_cpu
            and not _dispatch_modes()
            and not _key_included(_BATCHED_GRADIENTS)
        ):
            if self._usual is not None and chosen_backend() is None:
                return self._usual(*arguments)
            return self._on_cpu(*arguments)
        return self._kernel_op(*arguments)

    def flat(self, arguments: Sequence[Any]) -> tuple[Any, ...]:
        """Return the arguments with the list's tensors at the end."""
        return (*arguments[:-1], *arguments[-1]) if self.has_list else tuple(arguments)

    def structured(self, flat: Sequence[Any]) -> tuple[Any, ...]:
        """Return the arguments as the schema has them."""
        return (*flat[: self.fixed], list(flat[self.fixed :])) if self.has_list else tuple(flat)

    @property
    def graph_op(self) -> Any:
        """The operator that torch.compile sees, for opcheck."""
        return self._graph_op

    def _define(self, name: str, schema: str, allocate: Callable[..., Any]) -> Any:
        _library.define(f"{name}{schema}", tags=(torch.Tag.pt2_compliant_tag,))
        _library.impl(name, self._on_cpu, "CPU")
        _library.impl(name, self._on_cuda, "CUDA")
        torch.library.register_fake(f"{NAMESPACE}::{name}", allocate, lib=_library)
        return getattr(getattr(torch.ops, NAMESPACE), name).default

    def _on_cpu(self, *arguments: Any) -> Any:
        return self.kernels[backend_for(self.name, "cpu", self._available)](*arguments)

    def _on_cuda(self, *arguments: Any) -> Any:
        return self.kernels[backend_for(self.name, "cuda", self._available)](*arguments)

    def _at_autograd_key(self, *arguments: Any) -> Any:
        if forward_ad._current_level >= 0:  # would drop the tangent without a word
            raise NotImplementedError(
                f"{self.name}: forward-mode derivatives inside torch.compile; call without it"
            )
        flat = self.flat(arguments)
        if torch.is_grad_enabled() and _any_requires_grad(flat):
            outputs = self._rules.apply(*flat)
            return list(outputs) if self.returns_list else outputs
        return self._kernel_op(*arguments)

    def _batch_at_graph_op(self, batch: Callable[..., tuple[Any, Any]]) -> Callable[..., Any]:
        def rule(info: Any, in_dims: Any, *arguments: Any) -> tuple[Any, Any]:
            outputs, dims = batch(info.batch_size, self.flat(in_dims), *self.flat(arguments))
            return (list(outputs), list(dims)) if self.returns_list else (outputs, dims)

        return rule


def autocast_together(*tensors: Tensor | None) -> list[Any]:
    """Return the tensors in the one dtype in which autocast would have an operation run.

    On the CPU that is float32 at least, on a GPU autocast's own dtype; unchanged outside autocast.
    """
    if not _autocast_anywhere():
        return list(tensors)
    first = next(t for t in tensors if t is not None)
    kind = first.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return list(tensors)
    present = [t for t in tensors if t is not None]
    dtype = torch.float32
    for tensor in present:
        dtype = torch.promote_types(dtype, tensor.dtype)
    if kind == "cuda" and dtype == torch.float32:
        dtype = torch.get_autocast_dtype(kind)
    return [None if t is None else t.to(dtype) for t in tensors]


def _any_requires_grad(flat: Sequence[Any]) -> bool:
    for t in flat:  # noqa: SIM110 - a generator would cost a microsecond
        if isinstance(t, Tensor) and t.requires_grad:
            return True
    return False
