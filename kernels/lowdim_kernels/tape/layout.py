"""Where the segments of a workspace lie, and the parts that outlive a call."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# constants and tables are never written by a record
STATE_SEGMENTS = ("parameters", "first", "second", "previous", "tables", "kept")
SEGMENTS = (*STATE_SEGMENTS, "constants", "gradients", "scratch")
READ_ONLY = ("tables", "constants")
ALIGNMENT_BYTES = 64


@dataclass(frozen=True)
class Layout:
    """Start and size of every segment, in elements, in the order of SEGMENTS."""

    starts: dict[str, int]
    sizes: dict[str, int]

    @property
    def total(self) -> int:
        last = SEGMENTS[-1]
        return self.starts[last] + self.sizes[last]

    def segment_bytes(self, name: str, element_bytes: int) -> tuple[int, int]:
        """Return the first byte of a segment and one past its last."""
        start = self.starts[name] * element_bytes
        return start, start + self.sizes[name] * element_bytes


def laid_out(sizes: dict[str, int]) -> Layout:
    """Return the layout of segments of the given sizes, one after the other."""
    starts, start = {}, 0
    for name in SEGMENTS:
        starts[name] = start
        start += sizes.get(name, 0)
    return Layout(starts, {name: sizes.get(name, 0) for name in SEGMENTS})


def aligned_zeros(size: int, dtype: np.dtype | type | str) -> np.ndarray:
    """Return a vector of zeros that starts on a cache line."""
    dtype = np.dtype(dtype)
    raw = np.zeros(size * dtype.itemsize + ALIGNMENT_BYTES, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT_BYTES
    return raw[start : start + size * dtype.itemsize].view(dtype)
