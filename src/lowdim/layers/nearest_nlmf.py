"""An element-wise network of a low-rank product near to a given matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from lowdim_kernels.nlmf import Activation, ElementwiseNetwork, nlmf_weight

_FUNCTIONS = {"silu": torch.nn.functional.silu, "relu": torch.relu, "tanh": torch.tanh}


def nearest_nonlinear(
    weight: Tensor,
    u: Tensor,
    v: Tensor,
    *,
    units: int,
    activation: Activation = "silu",
    residual: bool = False,
    steps: int = 50,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return U, V and phi (3 units + 1,) with phi(U V^T) near to a weight, a local optimum.

    It starts at the given U V^T, of which phi, fitted by least squares over fixed hidden units, is
    nearly the identity at worst (for two units and more), and goes on by L-BFGS on all of them.
    If `residual`, U V^T + phi(U V^T) is what is near.
    """
    product = u @ v.mT
    size = product.square().mean().sqrt()
    if size == 0:
        return u, v, weight.new_zeros(3 * units + 1)
    a1, b1 = (part.to(weight) for part in _hidden(units, activation))
    a1 = a1 / size
    target = weight - product if residual else weight
    a2, c = _outputs(product, target, a1, b1, activation)
    start = [u, v, a1, b1, a2, c]
    u, v, a1, b1, a2, c = _refined(weight, start, activation, residual, steps)
    return u, v, torch.cat([torch.stack([a1, b1, a2], 1).flatten(), c[None]])


def _hidden(units: int, activation: Activation) -> tuple[Tensor, Tensor]:
    """Return weights and biases of hidden units; the identity is in the span of the first two."""
    signs = torch.tensor([1.0, -1.0]).repeat(-(-units // 2))[:units].double()
    steps = torch.linspace(0, 2, -(-units // 2)).repeat_interleave(2)[:units].double()
    if activation == "tanh":
        signs[0] = 1e-3
    return signs, steps


def _outputs(
    product: Tensor, target: Tensor, a1: Tensor, b1: Tensor, activation: Activation
) -> tuple[Tensor, Tensor]:
    """Return the output weights and the constant that are best for given hidden units."""
    hidden = _FUNCTIONS[activation](product.reshape(-1, 1) * a1 + b1)
    table = torch.cat([hidden, torch.ones_like(hidden[:, :1])], 1)
    # shifted units are nearly dependent: without a cut-off their weights would cancel in rounding
    found = torch.linalg.lstsq(table, target.reshape(-1, 1), rcond=1e-6, driver="gelsd")
    best = found.solution[:, 0]
    return best[:-1], best[-1]


def _refined(
    weight: Tensor, start: list[Tensor], activation: Activation, residual: bool, steps: int
) -> list[Tensor]:
    """Return the nearest of all that L-BFGS came by, the start among them."""
    leaves = [part.detach().contiguous().clone().requires_grad_() for part in start]
    optimiser = torch.optim.LBFGS(
        leaves, max_iter=steps, history_size=20, line_search_fn="strong_wolfe"
    )
    scale = weight.square().sum()
    least, best = torch.inf, start

    def closure() -> Tensor:
        nonlocal least, best
        optimiser.zero_grad()
        u, v, *phi = leaves
        found = nlmf_weight(u, v, ElementwiseNetwork(*phi), activation=activation)
        found = found + u @ v.mT if residual else found
        error = (found - weight).square().sum() / scale
        if error.item() < least:
            least, best = error.item(), [leaf.detach().clone() for leaf in leaves]
        error.backward()
        return error

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[arg-type]
    return best
