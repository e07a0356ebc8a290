"""The operations on a GPU: the contract that the CPU's kernels keep to, and what is CUDA's own.

Takes torch, numpy, numba, cupy and pytest alone.
"""

from dataclasses import replace

import pytest
import torch

from kernels.cases import KRON_CASES, KRON_EDGES, MASKED_CASES, MASKED_EDGES, Case
from kernels.contract import OperationContract
from kernels.derivatives import assert_all_agree, value_and_gradients
from kernels.nlmf_cases import NLMF_CASES, NLMF_EDGES
from kernels.svd_cases import (
    LOW_RANK_CASES,
    LOW_RANK_EDGES,
    TRIPLETS_CASES,
    TRIPLETS_EDGES,
)
from kernels.tolerances import assert_agrees
from lowdim_kernels import using_backend

pytestmark = pytest.mark.gpu
HALVES = [torch.float16, torch.bfloat16]


def on_gpu(cases: list[Case]) -> list[Case]:
    """Return the cases with their tensors on the GPU."""
    return [replace(case, device="cuda") for case in cases]


class GpuContract(OperationContract):
    """The contract, and streams, graphs, devices and small element types."""

    backends = ("reference", "cuda")

    def test_a_backend_asked_for_by_name_runs_or_raises(self):
        case = self.cases[0]
        inputs, constants = case.inputs(), case.constants()
        with using_backend("numba"), pytest.raises(RuntimeError, match="'numba' works on cpu"):
            case.function(*inputs, *constants)

    def test_autocast_computes_in_float32_and_returns_gradients_as_given(self):
        case = self.cases[0]
        inputs, constants = case.inputs(torch.float32), case.constants()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            value, *gradients = value_and_gradients(case.function, inputs, constants)
        assert value.dtype == torch.bfloat16
        assert all(t.dtype == torch.float32 for t in gradients)

    def test_a_side_stream_is_the_one_that_works(self, case):
        inputs, constants = case.inputs(torch.float32), case.constants()
        expected = value_and_gradients(case.function, inputs, constants)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(100_000_000)  # what was launched elsewhere would be done by now
            moved = [t * 1 for t in inputs]
            actual = value_and_gradients(case.function, moved, constants)
        torch.cuda.current_stream().wait_stream(stream)
        assert all(torch.equal(a, e) for a, e in zip(actual, expected, strict=True))

    def test_a_graph_replays_it_on_new_numbers(self):
        case = self.cases[0]
        inputs, constants = case.inputs(torch.float32), case.constants()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), torch.no_grad():
            case.function(*inputs, *constants)  # compiles
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph), torch.no_grad():
            value = case.function(*inputs, *constants)
        for t, new in zip(inputs, case.inputs(torch.float32, seed=7)):
            t.copy_(new)
        graph.replay()
        assert_agrees(value, case.reference(*[t.double() for t in inputs], *constants))

    def test_each_device_runs_its_own(self):
        case = self.cases[0]
        last = f"cuda:{torch.cuda.device_count() - 1}"
        elsewhere = replace(case, device=last)
        inputs, constants = elsewhere.inputs(), elsewhere.constants()
        value = case.function(*inputs, *constants)
        assert str(value.device) == last
        assert_agrees(value.cpu(), case.function(*case.inputs(), *case.constants()).cpu())


class HalfContract(GpuContract):
    """Small element types in and out, sums in float32."""

    @pytest.mark.parametrize("dtype", HALVES)
    def test_small_element_types_agree_with_the_reference(self, case, dtype):
        inputs, constants = case.inputs(dtype), case.constants()
        expected = value_and_gradients(case.reference, [t.double() for t in inputs], constants)
        actual = value_and_gradients(case.function, inputs, constants)
        assert all(t.dtype == dtype for t in actual)
        assert_all_agree(actual, expected)


class TestKronMatmul(HalfContract):
    cases = on_gpu(KRON_CASES)
    edges = on_gpu(KRON_EDGES)


class TestMaskedMatmul(HalfContract):
    cases = on_gpu(MASKED_CASES)
    edges = on_gpu(MASKED_EDGES)


class TestNlmfWeight(HalfContract):
    cases = on_gpu(NLMF_CASES)
    edges = on_gpu(NLMF_EDGES)


class TestLowRank(GpuContract):
    cases = on_gpu(LOW_RANK_CASES)
    edges = on_gpu(LOW_RANK_EDGES)


class TestTriplets(GpuContract):
    cases = on_gpu(TRIPLETS_CASES)
    edges = on_gpu(TRIPLETS_EDGES)
