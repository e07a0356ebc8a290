"""Compile the tile library, or load it from the cache: llvmlite alone, no Numba, no torch."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .library_cache import cache_folder, cache_key, read_entry, write_entry
from .library_target import Target, host_target

_LOADED: dict[tuple[Target, str], Library] = {}
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Library:
    """The library in memory. `from_cache` says whether it was compiled by an earlier process."""

    target: Target
    address: int
    from_cache: bool
    run: Any
    engine: Any

    def interpret(
        self, workspace: int, records: np.ndarray, context: np.ndarray, steps: int
    ) -> int:
        """Run the records `steps` times and return how many steps were finished.

        Addresses are trusted: Program.run is the checked way. The GIL is let go meanwhile.
        """
        return self.run(workspace, records.ctypes.data, len(records), context.ctypes.data, steps)


def load_library(element: str = "float32", *, folder: Path | None = None) -> Library:
    """Return the library for this CPU, from memory, from `folder` or freshly compiled.

    folder: where object files are kept, by default `cache_folder()`.
    """
    return load_library_for(host_target(element), folder=folder)


def load_library_for(target: Target, *, folder: Path | None = None) -> Library:
    """Return the library for an explicit target, whose code this CPU must be able to run."""
    folder = cache_folder() if folder is None else Path(folder)
    with _LOCK:
        known = _LOADED.get((target, str(folder)))
        if known is None:
            known = _LOADED[target, str(folder)] = _load(target, folder)
        return known


def load_object(
    target: Target, key: str, compiled: Callable[[], bytes], *, folder: Path | None = None
) -> tuple[Any, bool]:
    """Return an engine with an object file, and whether the cache had it under this key."""
    import llvmlite.binding as llvm

    folder = cache_folder() if folder is None else folder
    machine = _machine(target, jit=True)
    payload = read_entry(folder, key)
    found = payload is not None
    if payload is None:
        payload = compiled()
        write_entry(folder, key, payload)
    # llvmlite's own memory manager keeps the sections together: code reaches its constants by 32
    # bits, and mapped one by one they can come to lie further apart in a large process.
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine, use_lmm=True)
    engine.add_object_file(llvm.ObjectFileRef.from_data(payload))
    engine.finalize_object()
    return engine, found


def compile_object(target: Target, text: Callable[[Target], str] | None = None) -> bytes:
    """Return the object file of the library, or of other IR, for any target LLVM knows."""
    import llvmlite.binding as llvm

    from .library_module import module_text

    machine = _machine(target, jit=False)
    # vectors and tiles are explicit: LLVM's module passes take as long as all else, for nothing
    return machine.emit_object(llvm.parse_assembly((text or module_text)(target)))


def _machine(target: Target, *, jit: bool) -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    if target.triple != llvm.get_process_triple():
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=2,
        reloc="pic" if not jit else "default",
        codemodel="jitdefault" if jit else "default",
        jit=jit,
    )


def _load(target: Target, folder: Path) -> Library:
    from .library_arrays import ENTRY

    key = cache_key(target)
    engine, found = load_object(target, key, lambda: compile_object(target), folder=folder)
    address = engine.get_function_address(ENTRY)
    run = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 5)(address)
    return Library(target, address, found, run, engine)
