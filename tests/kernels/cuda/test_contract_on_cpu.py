"""The contract of the operations, kept by the CUDA kernels as the CPU runs them."""

import pytest

from kernels.cases import KRON_CASES, KRON_EDGES, MASKED_CASES, MASKED_EDGES
from kernels.contract import OperationContract
from kernels.cuda.on_cpu import cuda_kernels_chosen, needs_compiler, running_on_cpu
from kernels.nlmf_cases import NLMF_CASES, NLMF_EDGES
from kernels.svd_cases import (
    LOW_RANK_CASES,
    LOW_RANK_EDGES,
    TRIPLETS_CASES,
    TRIPLETS_EDGES,
)

pytestmark = needs_compiler


class InterpretedContract(OperationContract):
    """The contract with the CUDA kernels in place of the CPU's."""

    backends = ("cuda",)

    @pytest.fixture(autouse=True)
    def cuda_kernels_on_cpu(self):
        with cuda_kernels_chosen(), running_on_cpu():
            yield

    # Of what the CPU's own kernels take; the CUDA kernels take more.
    test_a_backend_asked_for_by_name_runs_or_raises = None


class TestKronMatmul(InterpretedContract):
    cases = KRON_CASES[:3]
    edges = KRON_EDGES


class TestMaskedMatmul(InterpretedContract):
    cases = MASKED_CASES[:3]
    edges = MASKED_EDGES


class TestNlmfWeight(InterpretedContract):
    cases = NLMF_CASES[:2]
    edges = NLMF_EDGES


class TestLowRank(InterpretedContract):
    cases = LOW_RANK_CASES[:2]
    edges = LOW_RANK_EDGES


class TestTriplets(InterpretedContract):
    cases = TRIPLETS_CASES
    edges = TRIPLETS_EDGES
