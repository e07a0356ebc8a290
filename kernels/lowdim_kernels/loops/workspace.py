"""Scratch memory of the kernels: one block a thread, kept from call to call."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

ALIGNMENT = 4096
_FIRST_BYTES = 1 << 18


class _Workspace(threading.local):
    def __init__(self) -> None:
        self.grow(_FIRST_BYTES)

    def grow(self, size: int) -> None:
        self.block = np.zeros(size + ALIGNMENT, np.uint8)
        self.address = self.block.ctypes.data + (-self.block.ctypes.data) % ALIGNMENT
        self.size = size


_workspace = _Workspace()


def run(kernel: Callable[..., int], *arguments: Any) -> None:
    """Call a kernel with an aligned address and its bytes; it returns 0, or the bytes it needs."""
    needed = kernel(*arguments, _workspace.address, _workspace.size)
    if needed:
        _workspace.grow(needed)
        kernel(*arguments, _workspace.address, _workspace.size)


def space(needed: int) -> int:
    """Return the address of this thread's block, grown to the bytes needed at least."""
    if needed > _workspace.size:
        _workspace.grow(needed)
    return _workspace.address
