"""Whether data and factors fit each other."""

from collections.abc import Sequence
from math import prod

from torch import Tensor

from lowdim_kernels.replicas import check_replicas


def plainly_fits(x: Tensor, factors: Sequence[Tensor]) -> bool:
    """Return whether all is well and no replica there: the quick way past the checks."""
    width, dtype, device = 1, x.dtype, x.device
    for a in factors:
        if a.dtype != dtype or a.device != device or a.dim() != 2:
            return False
        width *= a.shape[1]
    return x.dim() > 0 and x.shape[-1] == width


def check_fit(x: Tensor, factors: Sequence[Tensor]) -> None:
    """Raise, naming what was expected and what came, where x and the factors do not fit."""
    for k, a in enumerate(factors):
        if a.dtype != x.dtype or a.device != x.device:
            raise TypeError(
                f"kron_matmul: factor {k} is {a.dtype} on {a.device}, x {x.dtype} on {x.device}"
            )
    check_replicas("kron_matmul", x, {f"factor {k}": (a, 2) for k, a in enumerate(factors)})
    width = prod([a.shape[-1] for a in factors])
    if x.dim() == 0 or x.shape[-1] != width:
        shapes = [tuple(a.shape) for a in factors]
        raise ValueError(
            f"kron_matmul: x must end in {width} to match factors {shapes}, got {tuple(x.shape)}"
        )
