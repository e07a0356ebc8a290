"""Compiles the CUDA sources for real GPUs where there is none, and reads the assembler's report.

Needs NVRTC alone, which torch's CUDA builds bring; no driver, no CuPy, no nvcc.
"""

import ctypes
import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from lowdim_kernels.cuda.launcher import Program, source_of

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
_REPORT = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
    r"(\d+) bytes spill loads.*?Used (\d+) registers",
    re.S,
)


class Resources(NamedTuple):
    """What a thread of a kernel takes."""

    registers: int
    stack_bytes: int
    spilled_bytes: int


@cache
def nvrtc() -> ctypes.CDLL:
    """Return NVRTC as the environment brings it, or skip the test."""
    found = importlib.util.find_spec("nvidia")
    for root in found.submodule_search_locations or () if found else ():
        for path in sorted(Path(root).rglob("libnvrtc.so.*")):
            if ".alt." not in path.name:
                return ctypes.CDLL(str(path))
    try:
        return ctypes.CDLL("libnvrtc.so")
    except OSError:
        pytest.skip("NVRTC is not installed")


def resources(program: Program, architecture: str) -> dict[str, Resources]:
    """Return what each kernel takes on an architecture; raises with the log where it won't do."""
    library, handle, size = nvrtc(), ctypes.c_void_p(), ctypes.c_size_t()
    source = source_of(program.name).encode()
    library.nvrtcCreateProgram(ctypes.byref(handle), source, b"kernel.cu", 0, None, None)
    options = (
        f"--gpu-architecture={architecture}",
        "--ptxas-options=-v",
        "-ftz=true",  # as CuPy compiles
        *program.options(),
    )
    flags = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
    failed = library.nvrtcCompileProgram(handle, len(flags), flags)
    library.nvrtcGetProgramLogSize(handle, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(handle, log)
    library.nvrtcDestroyProgram(ctypes.byref(handle))
    report = log.value.decode()
    if failed:
        raise RuntimeError(f"{program.name}.cu for {architecture}:\n{report}")
    return {
        name: Resources(int(registers), int(stack), int(stored) + int(loaded))
        for name, stack, stored, loaded, registers in _REPORT.findall(report)
    }
