"""What a launch says where it cannot be, and that the interpreter of the tests sees faults."""

import sys

import pytest
import torch

from kernels.cuda import on_cpu
from kernels.cuda.on_cpu import KernelError, needs_compiler, running_on_cpu
from lowdim_kernels.cuda import launcher
from lowdim_kernels.cuda.launcher import launch, program, storage_name


def launch_one(*arguments):
    launch(program("cuda/sum_of_parts", SCALAR="float"), "sum_of_parts", (1,), 256, arguments)


def test_without_a_gpu_a_launch_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="cuda/sum_of_parts: torch sees no GPU"):
        launch_one(torch.zeros(1))


def test_without_cupy_a_launch_says_what_to_install(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match=r"CuPy is not installed \(extra cuda12 or cuda13\)"):
        launch_one(torch.zeros(1))


def test_a_driver_too_old_is_told_in_its_own_words(monkeypatch):
    def fail():
        raise OSError("driver version is insufficient")

    cupy = type(sys)("cupy")
    cupy.cuda = type(sys)("cuda")
    cupy.cuda.runtime = type(sys)("runtime")
    cupy.cuda.runtime.getDeviceCount = fail
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(RuntimeError, match="can't use the GPU: driver version is insufficient"):
        launch_one(torch.zeros(1))


def test_an_element_type_without_kernels_is_refused_by_name():
    with pytest.raises(TypeError, match=r"got torch\.int32"):
        storage_name(torch.int32)


FAULTY = """
#include "cuda/prelude.cuh"
extern "C" __global__ void faulty(float* x, Index count, Index kind) {
  DYNAMIC_SHARED(float, memory);
  const int t = threadIdx.x;
  if (kind == 0) x[count + t] = 1;
  if (kind == 1) x[t] = x[count + 8 + t];
  if (kind == 2 && t < 4) __syncthreads();
  if (kind == 3) memory[t + 32] = 1;
  if (kind == 4) { memory[t] = t; x[t] = memory[31 - t]; }
  if (kind == 5) { memory[t] = t; __syncthreads(); x[t] = memory[31 - t]; }
}
"""


@pytest.fixture
def faulty(monkeypatch):
    read = launcher.source_of
    included = read("kronecker").split('#line 1 "cuda/prelude.cuh"')[1].split("#line")[0]
    text = FAULTY.replace('#include "cuda/prelude.cuh"', included)
    monkeypatch.setattr(on_cpu, "source_of", lambda name: text)

    def run(kind, order=0):
        x = torch.zeros(32)
        with running_on_cpu(order):
            launch(program("faulty"), "faulty", (1,), 32, [x, 32, kind], shared_bytes=128)
        return x

    return run


@needs_compiler
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (0, "outside"),
        (1, "far outside an array"),
        (2, "divergent barrier near line .*: 4 of 32"),
        (3, "beyond the shared memory asked for"),
    ],
)
def test_the_interpreter_reports_a_fault(faulty, kind, message):
    with pytest.raises(KernelError, match=message):
        faulty(kind)


@needs_compiler
@pytest.mark.parametrize("order", on_cpu.ORDERS)
def test_a_missing_barrier_shows_as_nan_in_every_order(faulty, order):
    assert faulty(4, order).isnan().any()
    assert torch.equal(faulty(5, order), torch.arange(31.0, -1, -1))
