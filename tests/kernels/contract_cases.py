"""The cases that an operation's tests run over, and in which dtypes and by which backends."""

from typing import ClassVar

import torch

from kernels.cases import Case

DTYPES = [torch.float32, torch.float64]
REPLICAS = 3


class CasesOfOperation:
    """Cases (small enough for gradgradcheck come first), edges (empty and size-one axes)."""

    cases: ClassVar[list[Case]]
    edges: ClassVar[list[Case]]
    backends: ClassVar[list[str]] = ["reference", "numba"]

    def replicas(self, case, dtype=torch.float64):
        """Return inputs and constants that differ by replica, stacked."""
        inputs = [case.inputs(dtype, seed=r) for r in range(REPLICAS)]
        constants = [case.constants(seed=r) for r in range(REPLICAS)]
        return [torch.stack(t) for t in zip(*inputs)], [torch.stack(t) for t in zip(*constants)]
