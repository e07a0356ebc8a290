"""Runs the package's CUDA sources on the CPU, unmodified, compiled by g++ (see on_cpu.hpp)."""

import ctypes
import hashlib
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lowdim_kernels.cache_folder import cache_folder
from lowdim_kernels.cuda.launcher import Launch, Program, launcher, source_of

HEADER = Path(__file__).with_name("on_cpu.hpp")
KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\('
)
SWITCH = re.compile(r"\b(__syncthreads(?:_or)?\(|__syncwarp\(|INSIDE\()")
# Threads one after the other, the other way round, and in shuffled orders.
ORDERS = (0, 1, 2, 3)
GUARD_BYTES = 1 << 18

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None or platform.machine() != "x86_64",
    reason="the sources are compiled by g++ on x86-64",
)


class KernelError(RuntimeError):
    """A kernel wrote outside its arrays, or its threads did not meet at a barrier."""


def switches(name: str) -> list[int]:
    """Return the lines of `<name>.cu` that hold a barrier or a bound check."""
    lines = source_of(name).split(f'#line 1 "{name}.cu"\n')[1].splitlines()
    code = [line.split("//")[0] for line in lines]
    return [n for n, line in enumerate(code, 1) if SWITCH.search(line)]


@contextmanager
def running_on_cpu(order: int = 0, *, switched_off: int = 0) -> Iterator[None]:
    """Run launches on CPU tensors, threads in that order, without the switch on one line."""
    token = launcher.set(partial(_interpret, order, switched_off))
    try:
        yield
    finally:
        launcher.reset(token)


def _interpret(order: int, switched_off: int, what: Launch) -> None:
    function = getattr(library_of(what.program), f"on_cpu_{what.kernel}")
    function.restype = ctypes.c_char_p
    tensors = [_Guarded(a) for a in what.arguments if isinstance(a, Tensor)]
    waiting = iter(tensors)
    values: list[Any] = []
    for argument in what.arguments:
        if isinstance(argument, Tensor):
            values.append(ctypes.c_void_p(next(waiting).address))
        elif isinstance(argument, float):
            values.append(ctypes.c_double(argument))
        else:
            values.append(ctypes.c_longlong(argument))
    pointers = (ctypes.c_void_p * len(values))(
        *[ctypes.cast(ctypes.byref(v), ctypes.c_void_p) for v in values]
    )
    grid = (ctypes.c_uint * 3)(*(*what.grid, 1, 1)[:3])
    shared = ctypes.c_size_t(what.shared_bytes)
    error = function(len(values), pointers, grid, what.threads, shared, order, switched_off)
    if error:
        raise KernelError(f"{what.program.name}.cu, {what.kernel}: {error.decode()}")
    for number, tensor in enumerate(tensors):
        if not tensor.give_back():
            raise KernelError(
                f"{what.program.name}.cu, {what.kernel}: wrote outside tensor {number}"
            )


class _Guarded:
    """A copy of a tensor's memory between guards of NaN, written back at the end."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride()))
        self.size = (reach + 1) * tensor.element_size() if tensor.numel() else 0
        self.space = torch.full((2 * GUARD_BYTES + self.size + 64,), 0xFF, dtype=torch.uint8)
        base = self.space.data_ptr() + GUARD_BYTES
        self.address = base + (tensor.data_ptr() - base) % 64
        ctypes.memmove(self.address, tensor.data_ptr(), self.size)

    def give_back(self) -> bool:
        ctypes.memmove(self.tensor.data_ptr(), self.address, self.size)
        first = self.address - self.space.data_ptr()
        guards = (self.space[:first], self.space[first + self.size :])
        return all(bool((guard == 0xFF).all()) for guard in guards)


@cache
def library_of(program: Program) -> ctypes.CDLL:
    """Return the compiled library of a program, from the cache folder where it is there."""
    source = source_of(program.name)
    exports = "\n".join(f"ON_CPU_EXPORT({name})" for name in KERNEL.findall(source))
    text = f'#include "{HEADER}"\n{source}\n{exports}\n'
    # Vector loads go through pointers of other types.
    options = ("-std=c++17", "-O2", "-shared", "-fPIC", "-fno-strict-aliasing", "-w")
    constants = tuple(f"-D{name}={value}" for name, value in program.constants)
    identity = repr((HEADER.read_text(), text, options, constants))
    key = hashlib.sha256(identity.encode()).hexdigest()[:24]
    folder = cache_folder("cuda_on_cpu")
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"{key}.so"
    if not library.exists():
        unfinished = folder / f"{key}.{id(text):x}.part"
        subprocess.run(
            ["g++", *options, *constants, "-x", "c++", "-", "-o", str(unfinished)],
            input=text,
            text=True,
            check=True,
        )
        unfinished.replace(library)
    return ctypes.CDLL(str(library))
