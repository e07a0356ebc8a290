"""Runs the package's CUDA sources on the CPU, unmodified, compiled by g++ (see on_cpu.hpp)."""

import ctypes
import hashlib
import mmap
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from torch import Tensor

from lowdim_kernels.backends import DEVICE_OF_BACKEND, using_backend
from lowdim_kernels.cache_folder import cache_folder
from lowdim_kernels.cuda.launcher import Launch, Program, launcher, source_of

HEADER = Path(__file__).with_name("on_cpu.hpp")
KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\('
)
SWITCH = re.compile(r"\b(__syncthreads(?:_or)?\(|__syncwarp\(|INSIDE\()")
# Threads one after the other, the other way round, and in shuffled orders.
ORDERS = (0, 1, 2, 3)
PAGE, FORBIDDEN_BYTES, ALIGNMENT = mmap.PAGESIZE, 1 << 20, 16
NOTHING = 0
LARGEST_COPY = 1 << 28
_libc = ctypes.CDLL(None, use_errno=True)

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None or platform.machine() != "x86_64",
    reason="the sources are compiled by g++ on x86-64",
)


class KernelError(RuntimeError):
    """A kernel wrote outside its arrays, or its threads did not meet at a barrier."""


class Switch(NamedTuple):
    """A barrier or a bound check: the file of the package, and the line."""

    file: str
    line: int


def switches(name: str) -> list[Switch]:
    """Return the barriers and bound checks of `<name>.cu` and of what it includes."""
    found, file, line = [], "", 0
    for text in source_of(name).splitlines():
        begins = re.fullmatch(r'#line (\d+) "(.+)"', text)
        if begins:
            file, line = begins[2], int(begins[1])
            continue
        if SWITCH.search(text.split("//")[0]) and not text.startswith("#define"):
            found.append(Switch(file, line))
        line += 1
    return found


@contextmanager
def running_on_cpu(order: int = 0, *, switched_off: Switch | None = None) -> Iterator[None]:
    """Run launches on CPU tensors, threads in that order, one switch without effect."""
    token = launcher.set(partial(_interpret, order, switched_off))
    try:
        yield
    finally:
        launcher.reset(token)


@contextmanager
def cuda_kernels_chosen() -> Iterator[None]:
    """Choose the backend "cuda" for all operations, and let it serve tensors of the CPU."""
    served = DEVICE_OF_BACKEND["cuda"]
    DEVICE_OF_BACKEND["cuda"] = "cpu"
    try:
        with using_backend("cuda"):
            yield
    finally:
        DEVICE_OF_BACKEND["cuda"] = served


def unnoticed(name: str, run: Callable[[], None]) -> list[Switch]:
    """Return the barriers and checks of `<name>.cu` that `run` does without in every order.

    `run` launches the source's kernels and raises where a result is wrong.
    """
    return [s for s in switches(name) if all(_passes(run, order, s) for order in ORDERS)]


def _passes(run: Callable[[], None], order: int, switched_off: Switch) -> bool:
    try:
        with running_on_cpu(order, switched_off=switched_off):
            run()
    except (KernelError, AssertionError):
        return False
    return True


def _interpret(order: int, switched_off: Switch | None, what: Launch) -> None:
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
    file, line = (switched_off.file, switched_off.line) if switched_off else ("", 0)
    error = function(len(values), pointers, grid, what.threads, shared, order, line, file.encode())
    if error:
        raise KernelError(f"{what.program.name}.cu, {what.kernel}: {error.decode()}")
    for number, tensor in enumerate(tensors):
        if not tensor.give_back():
            raise KernelError(
                f"{what.program.name}.cu, {what.kernel}: wrote outside tensor {number}"
            )


class _Guarded:
    """A copy of a tensor's memory, written back at the end.

    It ends less than 16 bytes before a page that can't be touched, and begins after another; what
    else is on its own pages is NaN. What is too large to copy is used where it lies.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride()))
        self.size = (reach + 1) * tensor.element_size() if tensor.numel() else 0
        self.address = tensor.data_ptr()
        self.copied = self.size <= LARGEST_COPY
        if not self.copied:
            return
        pages = -(-(self.size + ALIGNMENT) // PAGE) * PAGE
        self.space = mmap.mmap(-1, pages + 2 * FORBIDDEN_BYTES)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.space))
        self.first, self.pages = self.base + FORBIDDEN_BYTES, pages
        ctypes.memset(self.first, 0xFF, pages)
        end = self.first + pages - self.size
        self.address = end - (end - tensor.data_ptr()) % ALIGNMENT
        ctypes.memmove(self.address, tensor.data_ptr(), self.size)
        self._forbid_surroundings()

    def give_back(self) -> bool:
        """Write the tensor's memory back; return whether what lies around it is untouched."""
        if not self.copied:
            return True
        ctypes.memmove(self.tensor.data_ptr(), self.address, self.size)
        before, after = self.address - self.first, self.address + self.size
        around = ctypes.string_at(self.first, before)
        around += ctypes.string_at(after, self.first + self.pages - after)
        return not around.strip(b"\xff")

    def _forbid_surroundings(self) -> None:
        for start in (self.base, self.first + self.pages):
            address, size = ctypes.c_void_p(start), ctypes.c_size_t(FORBIDDEN_BYTES)
            if _libc.mprotect(address, size, NOTHING):
                raise OSError(ctypes.get_errno(), "mprotect")


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
