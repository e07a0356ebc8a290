"""Which vectors and register tiles the library is built with, chosen by the CPU's features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

ELEMENT_BYTES = {"float32": 4, "float64": 8}


@dataclass(frozen=True)
class Target:
    """The machine, the element type and the register tiles of one compiled library.

    gemm_rows[v - 1] is the most rows of a gemm tile that is v vectors wide, dot_rows by
    dot_columns the largest tile of a dot. All of it enters the key of the cached object.
    """

    element: str
    lanes: int
    gemm_rows: tuple[int, ...]
    dot_rows: int
    dot_columns: int
    triple: str
    cpu: str
    features: str

    @property
    def element_bytes(self) -> int:
        return ELEMENT_BYTES[self.element]

    @property
    def vector_bytes(self) -> int:
        return self.lanes * self.element_bytes

    @property
    def is_x86(self) -> bool:
        return self.triple.startswith(("x86_64", "i686", "i386", "amd64"))

    @property
    def is_arm(self) -> bool:
        return self.triple.startswith(("aarch64", "arm64"))

    def has(self, feature: str) -> bool:
        return f"+{feature}" in self.features.split(",")


@cache
def host_target(element: str = "float32") -> Target:
    """Return the target of the CPU that this process runs on; LLVM is asked once."""
    import llvmlite.binding as llvm

    return choose_target(
        element,
        triple=llvm.get_process_triple(),
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
    )


def choose_target(element: str, *, triple: str, cpu: str, features: str) -> Target:
    """Return the target with tiles that fit the vector registers named by `features`.

    AVX-512VL has 32 registers of 64 bytes, AVX2 16 of 32 bytes, NEON 32 of 16 bytes; anything
    else gets 4 lanes and small tiles, which LLVM lowers to whatever the machine has.
    """
    if element not in ELEMENT_BYTES:
        raise ValueError(f"element must be one of {sorted(ELEMENT_BYTES)}, got {element!r}")
    named = set(features.split(","))
    gemm_rows: tuple[int, ...]
    if {"+avx512f", "+avx512vl", "+avx512dq"} <= named:
        vector_bytes, gemm_rows, dot = 64, (8, 8, 8, 6, 5), (5, 4)
    elif {"+avx2", "+fma"} <= named:
        vector_bytes, gemm_rows, dot = 32, (8, 6, 4), (3, 4)
    elif triple.startswith(("aarch64", "arm64")):
        vector_bytes, gemm_rows, dot = 16, (8, 8, 8, 6, 5), (5, 4)
    else:
        vector_bytes, gemm_rows, dot = 16, (6, 4), (2, 4)
    lanes = vector_bytes // ELEMENT_BYTES[element]
    if lanes < 4:
        # horizontal sums come four at a time, so a vector is two registers here
        lanes, gemm_rows, dot = 4, (4, 3, 2), (2, 4)
    return Target(
        element=element,
        lanes=lanes,
        gemm_rows=gemm_rows,
        dot_rows=dot[0],
        dot_columns=dot[1],
        triple=triple,
        cpu=cpu,
        features=features,
    )
