"""How far a kernel may be from its float64 reference: relative to the norm of what is expected."""

import torch
from torch import Tensor

# An input shares the row of its float64 reference, so this is rounding of the kernel alone.
RELATIVE = {torch.float32: 2e-6, torch.float64: 2e-14, torch.float16: 3e-3, torch.bfloat16: 2e-2}


def assert_agrees(
    actual: Tensor, expected: Tensor, what: str = "result", *, steps: int = 1
) -> None:
    """Raise unless the norm of the difference is within the dtype's tolerance, `steps` times."""
    assert actual.shape == expected.shape, f"{what}: {actual.shape} is not {expected.shape}"
    wide = expected.detach().double()
    error = (actual.detach().double() - wide).norm()
    bound = steps * RELATIVE[actual.dtype] * wide.norm()
    assert error <= bound, f"{what}: error {error:.2e} exceeds {bound:.2e}"
