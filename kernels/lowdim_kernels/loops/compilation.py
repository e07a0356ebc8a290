"""How the loops compile: on first use, without the GIL, cached where a folder can be written."""

from collections.abc import Callable
from typing import Any

from numba import njit, types
from numba.extending import intrinsic


def kernel(function: Callable[..., Any]) -> Any:
    """Return the function compiled on its first call, NaN and infinity kept."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for the cache
        return njit(**options)(function)


def _pointer(typing_context, address, tag):
    """Return an integer address as a pointer to elements of the tag's type."""
    kind = types.CPointer(tag)

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(kind))

    return kind(address, tag), generate


# Typed as what a kernel sees: the typing context is not an argument there.
pointer: Any = intrinsic(_pointer)
