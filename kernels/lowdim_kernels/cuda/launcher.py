"""Compiles CUDA C++ through CuPy and launches it on torch's current stream and memory.

CuPy is imported on the first launch. It compiles a source once for a device and a set of constants
and keeps the machine code on disk (in `$CUPY_CACHE_DIR`). Nothing here waits for the GPU, so a
launch can be captured in a CUDA graph once it has been compiled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import torch
from torch import Tensor

_INCLUDE = re.compile(r'#include "(.+)"')
STORAGE = {
    torch.float32: "float",
    torch.float64: "double",
    torch.float16: "Float16",
    torch.bfloat16: "Bfloat16",
}


class Program(NamedTuple):
    """A source `<name>.cu` of this package with the constants that it is compiled for."""

    name: str
    constants: tuple[tuple[str, int | str], ...]

    def options(self) -> tuple[str, ...]:
        """Return the compiler's options."""
        return ("-std=c++17", *(f"-D{k}={v}" for k, v in self.constants))


class Launch(NamedTuple):
    """One kernel launch: tensors, ints and floats as the kernel's parameters."""

    program: Program
    kernel: str
    grid: tuple[int, ...]
    threads: int
    shared_bytes: int
    arguments: Sequence[Tensor | int | float]


# The tests put an interpreter here, which runs the same sources on the CPU.
launcher: ContextVar[Callable[[Launch], None] | None] = ContextVar("launcher", default=None)


def program(name: str, **constants: int | str) -> Program:
    """Return the program of `<name>.cu` for these constants."""
    return Program(name, tuple(sorted(constants.items())))


def storage_name(dtype: torch.dtype) -> str:
    """Return what the sources call a dtype, or raise TypeError."""
    if dtype not in STORAGE:
        raise TypeError(f"kernels of the GPU take {[str(d) for d in STORAGE]}, got {dtype}")
    return STORAGE[dtype]


def launch(
    source: Program,
    kernel: str,
    grid: tuple[int, ...],
    threads: int,
    arguments: Sequence[Tensor | int | float],
    *,
    shared_bytes: int = 0,
) -> None:
    """Launch a kernel on the current stream of the first tensor's device; does not wait for it.

    `grid` counts blocks, up to three axes, of `threads` threads along x. Tensors go as the address
    of their first element.
    Raises RuntimeError, saying what is missing, where CuPy or a GPU is.
    """
    order = Launch(source, kernel, grid, threads, shared_bytes, arguments)
    (launcher.get() or _on_gpu)(order)


def source_of(name: str) -> str:
    """Return the text of `<name>.cu`, the files that it includes put in their places."""
    folder = files("lowdim_kernels")
    lines: list[str] = []
    for number, line in enumerate(folder.joinpath(f"{name}.cu").read_text().splitlines(), 1):
        included = _INCLUDE.fullmatch(line)
        if included is None:
            lines.append(line)
            continue
        part = included[1]
        text = folder.joinpath(part).read_text()
        lines += [f'#line 1 "{part}"', text, f'#line {number + 1} "{name}.cu"']
    return "\n".join([f'#line 1 "{name}.cu"', *lines, ""])


def why_not() -> str | None:
    """Return why no kernel can be launched here, None where it can."""
    if not torch.cuda.is_available():
        return "torch sees no GPU"
    try:
        import cupy

        cupy.cuda.runtime.getDeviceCount()
    except ImportError:
        return "CuPy is not installed (extra cuda12 or cuda13)"
    except Exception as problem:  # a driver too old, a CuPy of another CUDA
        return f"CuPy can't use the GPU: {problem}"
    return None


def shared_limit(device: torch.device) -> int:
    """Return the most bytes of shared memory that a block can have on a device."""
    if device.type != "cuda":
        return 96 * 1024  # an interpreter on the CPU: any number that a GPU could have
    return _shared_limit(device.index)


@cache
def _shared_limit(index: int | None) -> int:
    return torch.cuda.get_device_properties(index).shared_memory_per_block_optin


def multiprocessors(device: torch.device) -> int:
    """Return how many multiprocessors a device has."""
    if device.type != "cuda":
        return 4
    return _multiprocessors(device.index)


@cache
def _multiprocessors(index: int | None) -> int:
    return torch.cuda.get_device_properties(index).multi_processor_count


def _on_gpu(order: Launch) -> None:
    device = next(t.device for t in order.arguments if isinstance(t, Tensor))
    if device.type != "cuda":
        reason = why_not() or f"CUDA kernels work on cuda, got {device}"
        raise RuntimeError(f"{order.program.name}: {reason}")
    with torch.cuda.device(device):
        kernel, stream_of = _compiled(order.program, order.kernel, device.index)
        arguments = tuple(map(_parameter, order.arguments))
        with stream_of(torch.cuda.current_stream(device).cuda_stream, device.index):
            kernel(order.grid, (order.threads,), arguments, shared_mem=order.shared_bytes)


def _parameter(argument: Tensor | int | float) -> int | float:
    """Return an argument as CuPy passes it on in 8 bytes."""
    if isinstance(argument, Tensor):
        return argument.data_ptr()
    return argument if isinstance(argument, float) else int(argument)


@cache
def _compiled(program: Program, kernel: str, index: int) -> tuple[Any, Any]:
    reason = why_not()
    if reason:
        raise RuntimeError(f"{program.name}: {reason}")
    import cupy

    function = _module(program, index).get_function(kernel)
    # Once for all launches, whatever each asks for: beyond 48 KiB it has to be allowed.
    function.max_dynamic_shared_size_bytes = _shared_limit(index)
    return function, cupy.cuda.ExternalStream


@cache
def _module(program: Program, index: int) -> Any:
    import cupy

    return cupy.RawModule(code=source_of(program.name), options=program.options())
