"""The package as it is imported, and its own check of itself."""

import json
import subprocess
import sys
from types import FunctionType

import pytest
import torch

import lowdim_kernels
from lowdim_kernels import __main__ as self_check

IMPORT_S = 0.5
# Times the processor, not the clock: others may be at work on the machine.
TIMED_IMPORT = """
import json, sys, time, torch
began = time.process_time()
import lowdim_kernels
for name in lowdim_kernels.__all__:
    getattr(lowdim_kernels, name)
print(json.dumps([time.process_time() - began, "numba" in sys.modules]))
"""


def test_importing_every_public_name_is_quick_and_leaves_numba_alone():
    ran = subprocess.run([sys.executable, "-c", TIMED_IMPORT], stdout=subprocess.PIPE, check=True)
    seconds, numba_came_along = json.loads(ran.stdout)
    assert seconds < IMPORT_S
    assert not numba_came_along


def test_a_function_is_not_hidden_by_the_module_of_its_name():
    from lowdim_kernels.truncated_svd import truncated_svd

    assert isinstance(lowdim_kernels.truncated_svd, FunctionType)
    assert lowdim_kernels.truncated_svd is truncated_svd


def test_every_public_name_is_listed_and_an_unknown_one_is_named():
    assert set(dir(lowdim_kernels)) == set(lowdim_kernels.__all__)
    for name in lowdim_kernels.__all__:
        assert getattr(lowdim_kernels, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'kron'"):
        lowdim_kernels.kron


def test_the_self_check_has_a_line_for_each_operation_on_each_backend_here(capsys):
    assert self_check.main() == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("reference", "numba"):
        assert any(line.split()[:2] == [name, "available"] for line in lines)
    timed = {tuple(line.split()[:2]) for line in lines if " by " in line or " of " in line}
    for operation in ("kron_matmul", "masked_matmul", "low_rank", "nlmf_weight"):
        assert {(operation, "reference"), (operation, "numba")} <= timed


def test_the_self_check_fails_for_a_gradient_that_is_wrong(monkeypatch, capsys):
    class WrongGradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, gradient):
            return 2.001 * gradient

    wrong = self_check.Check("double", "3", [torch.ones(3)], WrongGradient.apply, lambda x: 2 * x)
    monkeypatch.setattr(self_check, "checks", lambda: [wrong])
    assert self_check.main() == 1
    assert "WRONG" in capsys.readouterr().out


def test_the_self_check_says_why_a_backend_cannot_run(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert self_check.why_not("cuda") == "torch sees no GPU"
    monkeypatch.setattr(self_check, "find_spec", lambda name: None)
    assert self_check.why_not("numba") == "numba is not installed"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert "CuPy is not installed" in self_check.why_not("cuda")
