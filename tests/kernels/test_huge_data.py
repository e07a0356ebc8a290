"""Contiguous data of more than 2^31 elements are read and written where they lie.

What is read is memory that nobody has written: the system shows one page of zeros everywhere. What
is written is one block that is mapped many times in a row, so that only its last copy stays.
"""

import ctypes
import mmap
import os
import sys
from contextlib import suppress

import numpy as np
import pytest
import torch

from kernels.tolerances import assert_agrees
from lowdim_kernels import SparsePattern, kron_matmul, masked_matmul
from lowdim_kernels.kronecker_cpu import product_on_cpu as kron_product
from lowdim_kernels.masked_cpu import product_on_cpu as masked_product

WIDTH, ROWS = 1024, 2**21 + 64
BLOCK_BYTES = 2**26
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="maps memory as Linux does")


def unwritten(rows, width):
    """Return zeros that take no memory until they are written."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    space = mmap.mmap(-1, 4 * rows * width, flags=flags)
    with suppress(OSError, AttributeError):  # large pages, where there are any, are quicker to show
        space.madvise(mmap.MADV_HUGEPAGE)
    return torch.from_numpy(np.frombuffer(space, np.float32)).view(rows, width)


def with_last(last, rows=ROWS):
    """Return zeros that end in the given rows."""
    data = unwritten(rows, last.shape[1])
    data[-len(last) :] = last
    return data


def kron_of(values):
    return lambda x, a: kron_matmul(x, [values, a])


def masked_of(pattern):
    return lambda x, values: masked_matmul(x, values, pattern)


def cases():
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(1, WIDTH // 16, generator=generator)
    pattern = SparsePattern.random(2, WIDTH, 0.01, generator)
    return {
        "kron": (kron_of(first), torch.randn(16, 16, generator=generator)),
        "masked": (masked_of(pattern), torch.randn(pattern.nnz, generator=generator)),
    }


@linux_only
@pytest.mark.parametrize("operation", ["kron", "masked"])
def test_products_and_gradients_read_rows_past_two_to_the_31st(operation):
    function, weight = cases()[operation]
    last = torch.randn(5, WIDTH)
    huge = with_last(last)
    assert huge.numel() > 2**31
    weight.requires_grad_()
    y, expected = function(huge, weight), function(last, weight)
    assert torch.equal(y[-5:], expected)
    assert not y[:-5].any()
    g = torch.randn(expected.shape)
    (own,) = torch.autograd.grad(expected, weight, g)
    (gradient,) = torch.autograd.grad(y, weight, with_last(g))
    assert_agrees(gradient, own)


class Repeated:
    """Memory in which one block is mapped again and again."""

    def __init__(self, size):
        self.count = -(-size // BLOCK_BYTES)
        self.map = ctypes.CDLL(None, use_errno=True).mmap
        self.map.restype = ctypes.c_void_p
        self.map.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        self.space = mmap.mmap(-1, self.count * BLOCK_BYTES)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.space))
        block = os.memfd_create("block")
        os.ftruncate(block, BLOCK_BYTES)
        kinds = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | 0x10
        for k in range(self.count):
            place = self.address + k * BLOCK_BYTES
            assert self.map(place, BLOCK_BYTES, *kinds, block, 0) == place
        os.close(block)


@linux_only
@pytest.mark.parametrize("operation", ["kron", "masked"])
def test_products_write_rows_past_two_to_the_31st(operation, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    factors = [torch.randn(WIDTH // 16, 1), torch.randn(16, 16, generator=generator)]
    pattern = SparsePattern.random(WIDTH, 16, 0.01, generator)
    values = torch.randn(pattern.nnz, generator=generator)
    index = pattern.tensors().values()
    product = {
        "kron": lambda x: kron_product(x, factors),
        "masked": lambda x: masked_product(False, x, values, None, *index),
    }[operation]
    last = torch.randn(5, 16)
    x, expected = with_last(last), product(last)
    memory = Repeated(4 * ROWS * WIDTH)
    floats = (ctypes.c_float * (ROWS * WIDTH)).from_address(memory.address)
    target = torch.from_numpy(np.ctypeslib.as_array(floats)).view(ROWS, WIDTH)
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda *_, **__: target)
    assert torch.equal(product(x)[-5:], expected)
