"""What every operation keeps to, on each backend and in each dtype.

A test class derives from `OperationContract` and names its `cases` (small enough for gradgradcheck
come first) and its `edges` (empty and size-one axes).
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import hessian, vmap

from kernels.contract_bits import BitContract
from kernels.contract_cases import DTYPES, CasesOfOperation
from kernels.contract_transforms import TransformContract
from kernels.derivatives import assert_all_agree, scalar, value_and_gradients, weighting
from kernels.tolerances import assert_agrees
from lowdim_kernels import using_backend


def with_odd_strides(t: Tensor) -> Tensor:
    """Return the same numbers, every second one of a buffer laid out backwards."""
    axes = list(range(t.dim()))[::-1]
    spread = t.new_full([2 * n for n in t.permute(axes).shape], float("nan"))
    view = spread[tuple(slice(None, None, 2) for _ in axes)].permute(axes)
    return view.copy_(t)


def far_apart(t: Tensor, path: Path) -> Tensor:
    """Return the same numbers with 2^31 elements from one replica to the next.

    On the CPU they lie in a sparse file.
    """
    stride = 2**31 + 8
    size = (len(t) - 1) * stride + t[0].numel()
    if t.is_cuda:
        space = t.new_empty(size)
    else:
        space = torch.from_numpy(np.memmap(path, np.float32, "w+", shape=size))
    view = space.as_strided(t.shape, (stride, *t[0].contiguous().stride()))
    return view.copy_(t)


class ValueContract(CasesOfOperation):
    """Values and derivatives are those of the reference, wherever numbers lie in memory."""

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_value_and_gradients_agree_with_the_float64_reference(self, case, dtype, backend):
        self.check_against_reference(case, dtype, backend)

    def test_empty_and_size_one_axes_agree_with_the_reference(self, edge, backend):
        self.check_against_reference(edge, torch.float64, backend)

    def check_against_reference(self, case, dtype, backend, seed=0, steps=1):
        inputs, constants = case.inputs(dtype, seed=seed), case.constants(seed=seed)
        expected = value_and_gradients(case.reference, case.inputs(seed=seed), constants)
        with using_backend(backend):
            actual = value_and_gradients(case.function, inputs, constants)
        assert all(t.dtype == dtype for t in actual)
        assert_all_agree(actual, expected, steps)

    def test_each_gradient_alone_equals_the_one_among_all(self, case):
        inputs, constants = case.inputs(), case.constants()
        _, *together = value_and_gradients(case.function, inputs, constants)
        for k, expected in enumerate(together):
            leaves = [t.clone().requires_grad_(j == k) for j, t in enumerate(inputs)]
            value = case.function(*leaves, *constants)
            (alone,) = torch.autograd.grad(value, leaves[k], weighting(value))
            assert_agrees(alone, expected, f"gradient {k}")

    def test_derivatives_agree_with_finite_differences(self, backend):
        case = self.cases[0]
        constants = case.constants()
        leaves = [t.requires_grad_() for t in case.inputs()]
        with using_backend(backend):
            function = lambda *inputs: case.function(*inputs, *constants)  # noqa: E731
            assert gradcheck(function, leaves, check_forward_ad=True)
            assert gradgradcheck(function, leaves)

    def test_second_derivatives_agree_with_the_reference(self):
        case = self.cases[0]
        inputs, constants = case.inputs(), case.constants()
        places = tuple(range(len(inputs)))
        actual = hessian(scalar(case.function, constants), places)(*inputs)
        expected = hessian(scalar(case.reference, constants), places)(*inputs)
        for row, (a, e) in enumerate(zip(actual, expected)):
            for column, (block, wanted) in enumerate(zip(a, e)):
                assert_agrees(block, wanted, f"block {row}, {column}", steps=20)

    def test_strides_do_not_matter(self, case):
        inputs, constants = case.inputs(), case.constants()
        expected = value_and_gradients(case.function, inputs, constants)
        odd = [with_odd_strides(t) for t in inputs]
        spread = [with_odd_strides(t.double()).int() if t.numel() else t for t in constants]
        spread = [torch.stack([t, t], -1)[..., 0] for t in spread]
        leaves = [t.detach().requires_grad_() for t in odd]
        value = case.function(*leaves, *spread)
        upstream = with_odd_strides(weighting(value))
        gradients = torch.autograd.grad(value, leaves, upstream)
        for a, e in zip([value, *gradients], expected):
            assert_agrees(a, e)

    def test_expanded_gradients_are_read_right(self, case):
        inputs, constants = case.inputs(), case.constants()
        leaves = [t.requires_grad_() for t in inputs]
        actual = torch.autograd.grad(case.function(*leaves, *constants).sum(), leaves)
        expected = torch.autograd.grad(case.reference(*leaves, *constants).sum(), leaves)
        assert_all_agree(actual, expected)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_memory_is_fully_written(self, case, dtype):
        inputs, constants = case.inputs(dtype), case.constants()
        filled = torch.utils.deterministic.fill_uninitialized_memory
        try:
            torch.utils.deterministic.fill_uninitialized_memory = True
            torch.use_deterministic_algorithms(True)
            assert torch.empty(1, dtype=dtype).isnan().all()
            results = value_and_gradients(case.function, inputs, constants)
        finally:
            torch.use_deterministic_algorithms(False)
            torch.utils.deterministic.fill_uninitialized_memory = filled
        assert all(t.isfinite().all() for t in results)

    def test_nan_is_not_hidden(self, case):
        inputs, constants = case.inputs(), case.constants()
        clean = case.function(*inputs, *constants)
        for k in range(len(inputs)):
            spoiled = [t.clone() for t in inputs]
            spoiled[k].flatten()[:] = torch.nan
            assert case.function(*spoiled, *constants).isnan().any(), f"NaN in input {k}"
        if case.by_rows:
            spoiled = inputs[0].clone()
            spoiled.flatten(0, -2)[1] = torch.nan
            value = case.function(spoiled, *inputs[1:], *constants).flatten(0, -2)
            assert value[1].isnan().any()
            others = torch.arange(len(value)) != 1
            assert torch.equal(value[others], clean.flatten(0, -2)[others])

    def test_elements_lie_right_past_two_to_the_31st(self, backend, tmp_path):
        case = self.cases[0]
        inputs, constants = self.replicas(case, torch.float32)
        expected = vmap(case.reference)(*inputs, *constants)
        with using_backend(backend):
            for k, t in enumerate(inputs):
                far = [*inputs[:k], far_apart(t, tmp_path / str(k)), *inputs[k + 1 :]]
                assert_agrees(vmap(case.function)(*far, *constants), expected, f"input {k}")

    def test_a_backend_asked_for_by_name_runs_or_raises(self):
        case = self.cases[0]
        inputs, constants = case.inputs(), case.constants()
        with using_backend("cuda"), pytest.raises(RuntimeError, match="'cuda' works on cuda"):
            case.function(*inputs, *constants)
        with using_backend("numba"), pytest.raises(TypeError, match="float32 or float64"):
            case.function(*[t.bfloat16() for t in inputs], *constants)


class OperationContract(ValueContract, TransformContract, BitContract):
    """The tests that each operation inherits."""
