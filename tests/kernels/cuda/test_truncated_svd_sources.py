"""The truncated SVD kernels' source: what of it is needed, and what it takes of GPUs."""

import pytest
import torch

from kernels.cuda.compilation import resources
from kernels.cuda.on_cpu import (
    ORDERS,
    cuda_kernels_chosen,
    needs_compiler,
    running_on_cpu,
    unnoticed,
)
from lowdim_kernels import svd_blocks
from lowdim_kernels.cuda.launcher import program
from lowdim_kernels.truncated_svd import low_rank, truncated_svd

pytestmark = needs_compiler


def matrix(m, n, *, seed=0, batch=1):
    return torch.randn(batch, m, n, generator=torch.Generator().manual_seed(seed))


def everything():
    """Return results of chosen kernels whose bits depend on every barrier and bound check."""
    with cuda_kernels_chosen():
        return [t.nan_to_num(7.0) for t in results_of_all_kernels()]


def results_of_all_kernels():
    single, double = matrix(29, 21), matrix(29, 23, seed=1, batch=4).double()
    deficient = matrix(29, 3) @ matrix(3, 21, seed=1)
    spoiled = single.clone()
    spoiled[0, -1, -1] = torch.nan
    results = []
    for g in (single, deficient, torch.zeros(1, 29, 21), spoiled):
        results += truncated_svd(g, 9, check=False)
        once = {"method": "iterate", "iterations": 1, "check": False}
        results += truncated_svd(g.mT, 9, oversample=9, **once)
        results += truncated_svd(g, 9, start=torch.eye(21, 4).expand(1, -1, -1), **once)
        results.append(low_rank(g, torch.tensor([3]), check=False))
    for g in (double[:1], torch.linalg.qr(double)[0]):
        results += truncated_svd(g, 9)
    results += [svd_blocks.inverse_factors(g.mT @ g) for g in (single, deficient)]
    return results


def test_every_barrier_and_bound_check_is_needed(monkeypatch):
    monkeypatch.setattr(svd_blocks, "MOST_CHUNK", 11)
    with running_on_cpu():
        wanted = everything()

    def same_bits():
        for result, other in zip(everything(), wanted, strict=True):
            assert torch.equal(result, other)

    for order in ORDERS:
        with running_on_cpu(order):
            same_bits()
    assert unnoticed("truncated_svd", same_bits) == []


def test_shared_memory_holds_sides_up_to_128_on_gpus_of_data_centres():
    for bytes_of_a_block in (163 * 1024, 227 * 1024):  # A100, H100
        assert svd_blocks._chunk(128, 128, 2, bytes_of_a_block) >= svd_blocks.LEAST_CHUNK
    assert svd_blocks._chunk(72, 72, 1, 227 * 1024) == 72
    assert not svd_blocks._chunk(200, 129, 1, 227 * 1024)
    assert svd_blocks.fits(torch.empty(1, 5000, 72))


# One block of 512 threads, or of 320, has all registers of a multiprocessor.
MOST_REGISTERS = {8: 128, 5: 168}


@pytest.mark.parametrize(
    ("architecture", "scalar", "elements"),
    [("sm_80", "float", 8), ("sm_90", "float", 5), ("sm_100", "double", 5)],
)
def test_kernels_compile_without_spills(architecture, scalar, elements):
    chosen = program("truncated_svd", SCALAR=scalar, ELEMENTS=elements)
    found = resources(chosen, architecture)
    assert set(found) == {"decompose", "iterate", "invert", "assemble"}
    for kernel, use in found.items():
        assert use.spilled_bytes == 0, kernel
        assert use.registers <= MOST_REGISTERS[elements], (kernel, use)
