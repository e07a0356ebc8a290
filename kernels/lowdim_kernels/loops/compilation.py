"""How the loops compile: on first use, without the GIL, cached where a folder can be written."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from numba import cfunc, njit, typeof, types
from numba import config as _numba_config
from numba.extending import intrinsic

from lowdim_kernels.cache_folder import cache_folder

config: Any = _numba_config
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}
PART_OPTIONS = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def kernel(function: Callable[..., Any]) -> Any:
    """Return the function compiled on its first call, NaN and infinity kept."""
    try:
        with _own_cache():
            return njit(cache=True, nogil=True, **OPTIONS)(function)
    except RuntimeError:  # no folder for the cache
        return njit(nogil=True, **OPTIONS)(function)


def part(function: Callable[..., Any]) -> Any:
    """Return the function for other kernels to call: what Python would call it by is left out.

    The entry points of a kernel take Numba a third of the time that a small function does.
    """
    try:
        with _own_cache():
            return njit(cache=True, nogil=True, **PART_OPTIONS)(function)
    except RuntimeError:
        return njit(nogil=True, **PART_OPTIONS)(function)


@contextmanager
def _own_cache() -> Iterator[None]:
    """Let Numba cache in a folder that belongs to the loops' source as it is.

    Numba renews a cached function when its own file changes, but not when a function that it
    calls does, from another file; machine code of two versions would then be mixed.
    """
    before = config.CACHE_DIR
    config.CACHE_DIR = str(Path(before or cache_folder("numba")) / f"lowdim-{_source_digest()}")
    try:
        yield
    finally:
        config.CACHE_DIR = before


@cache
def _source_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


class Callee:
    """A large kernel that other kernels call by its address, as they would be compiled with it.

    `parameters` are Numba's types of what follows the tag. Python asks for `address(tag)` and
    hands it to a kernel, where `call(address, tag, ...)` runs the function.
    """

    def __init__(self, function: Callable[..., Any], *parameters: Any) -> None:
        self.function = function
        self.parameters = parameters
        self.call: Any = intrinsic(self._typed_call())
        self._compiled: dict[type, Any] = {}

    def address(self, tag: Any) -> int:
        """Return the address of the function for the tag's type, compiled on first use."""
        compiled = self._compiled.get(type(tag))
        if compiled is None:
            signature = types.void(typeof(tag), *self.parameters)
            try:
                with _own_cache():
                    compiled = cfunc(signature, cache=True, **OPTIONS)(self.function)
            except RuntimeError:
                compiled = cfunc(signature, **OPTIONS)(self.function)
            self._compiled[type(tag)] = compiled
        return compiled.address  # type: ignore[return-value]

    def _typed_call(self) -> Callable[..., Any]:
        parameters = self.parameters

        def call(typing_context, address, tag, arguments):
            signature = types.void(types.intp, tag, types.Tuple(parameters))

            def generate(context, builder, _, values):
                from llvmlite import ir

                kinds = [context.get_value_type(t) for t in (tag, *parameters)]
                kind = ir.FunctionType(ir.VoidType(), kinds).as_pointer()
                unpacked = [builder.extract_value(values[2], k) for k in range(len(parameters))]
                builder.call(builder.inttoptr(values[0], kind), [values[1], *unpacked])
                return context.get_dummy_value()

            return signature, generate

        return call


def _pointer(typing_context, address, tag):
    """Return an integer address as a pointer to elements of the tag's type."""
    kind = types.CPointer(tag)

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(kind))

    return kind(address, tag), generate


# Typed as what a kernel sees: the typing context is not an argument there.
pointer: Any = intrinsic(_pointer)
