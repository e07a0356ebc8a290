"""What every operation keeps to, on each backend and in each dtype.

A test class derives from `OperationContract` and names its `cases` (small enough for gradgradcheck
come first), its `edges` (empty and size-one axes) and a Hypothesis strategy of cases.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import grad, hessian, jacrev, jvp, vmap
from torch.utils.checkpoint import checkpoint

from kernels.cases import Case
from kernels.tolerances import assert_agrees
from lowdim_kernels import using_backend

DTYPES = [torch.float32, torch.float64]
BACKENDS = ["reference", "numba"]
REPLICAS = 3


def value_and_gradients(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], constants: Sequence[Tensor] = ()
) -> list[Tensor]:
    """Return the value, and the gradient of each input for a fixed weighting of the value."""
    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    value = function(*leaves, *constants)
    return [value, *torch.autograd.grad(value, leaves, weighting(value))]


def weighting(value: Tensor) -> Tensor:
    """Return numbers without structure, the same in every dtype."""
    return (
        torch.linspace(0.3, 7.7, value.numel(), dtype=torch.float64).cos().to(value).view_as(value)
    )


def scalar(function: Callable[..., Tensor], constants: Sequence[Tensor]) -> Callable[..., Tensor]:
    """Return a loss that is not linear in the operation's value."""

    def loss(*inputs: Tensor) -> Tensor:
        value = function(*inputs, *constants)
        return (weighting(value) * value.sin()).sum()

    return loss


def assert_all_agree(actual: Sequence[Tensor], expected: Sequence[Tensor], steps: int = 1) -> None:
    names = ["value", *(f"gradient {k}" for k in range(len(expected)))]
    for name, a, e in zip(names, actual, expected, strict=False):
        assert_agrees(a, e, name, steps=steps)


def with_odd_strides(t: Tensor) -> Tensor:
    """Return the same numbers, every second one of a buffer laid out backwards."""
    axes = list(range(t.dim()))[::-1]
    spread = t.new_full([2 * n for n in t.permute(axes).shape], float("nan"))
    view = spread[tuple(slice(None, None, 2) for _ in axes)].permute(axes)
    return view.copy_(t)


def far_apart(t: Tensor, path: Path) -> Tensor:
    """Return the same numbers with 2^31 elements from one replica to the next, in a sparse file."""
    stride = 2**31 + 8
    space = np.memmap(path, np.float32, "w+", shape=(len(t) - 1) * stride + t[0].numel())
    own = t[0].contiguous().stride()
    view = torch.from_numpy(space).as_strided(t.shape, (stride, *own))
    return view.copy_(t)


class OperationContract:
    """The tests that each operation inherits."""

    cases: ClassVar[list[Case]]
    edges: ClassVar[list[Case]]
    drawn: ClassVar[st.SearchStrategy[Case]]

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_value_and_gradients_agree_with_the_float64_reference(self, case, dtype, backend):
        self.check_against_reference(case, dtype, backend)

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_empty_and_size_one_axes_agree_with_the_reference(self, edge, backend):
        self.check_against_reference(edge, torch.float64, backend)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data(), seed=st.integers(0, 99))
    def test_any_shape_agrees_with_the_reference(self, data, seed):
        # Sums of one element may cancel: what a formula gets wrong is far larger than this.
        case = data.draw(self.drawn)
        self.check_against_reference(case, torch.float64, "numba", seed, steps=1000)

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

    @pytest.mark.parametrize("backend", BACKENDS)
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

    def test_opcheck_accepts_every_operator(self):
        case = self.cases[0]
        inputs, constants = [t.requires_grad_() for t in case.inputs()], case.constants()
        for operator, arguments in case.operators(inputs, constants):
            results = torch.library.opcheck(operator, arguments)
            assert set(results.values()) == {"SUCCESS"}, operator

    def replicas(self, case, dtype=torch.float64):
        """Return inputs and constants that differ by replica, stacked."""
        inputs = [case.inputs(dtype, seed=r) for r in range(REPLICAS)]
        constants = [case.constants(seed=r) for r in range(REPLICAS)]
        return [torch.stack(t) for t in zip(*inputs)], [torch.stack(t) for t in zip(*constants)]

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_vmap_gives_each_replica_its_own_matrices(self, case, backend):
        inputs, constants = self.replicas(case)
        with using_backend(backend):
            actual = value_and_gradients(vmap(case.function), inputs, constants)
        for r in range(REPLICAS):
            own = [t[r] for t in (*inputs, *constants)]
            leaves = [t.requires_grad_() for t in own[: len(inputs)]]
            value = case.reference(*leaves, *own[len(inputs) :])
            expected = torch.autograd.grad(value, leaves, weighting(actual[0])[r])
            assert_all_agree([t[r] for t in actual], [value, *expected])

    def test_vmap_shares_what_is_not_batched(self):
        case = self.cases[0]
        inputs, constants = self.replicas(case)
        for shared in range(len(inputs)):
            for only in (False, True):
                batched = [(k == shared) == only for k in range(len(inputs))]
                self.check_vmap(case, inputs, constants, batched, batch_constants=not only)
                self.check_vmap(case, inputs, constants, batched, batch_constants=False)

    def check_vmap(self, case, inputs, constants, batched, *, batch_constants):
        inputs = [t if b else t[0] for t, b in zip(inputs, batched)]
        constants = constants if batch_constants else [t[0] for t in constants]
        dims = [0 if b else None for b in batched] + [0 if batch_constants else None] * len(
            constants
        )
        places = tuple(range(len(inputs)))

        def results(function):
            def loss(*arguments):
                own = arguments[: len(inputs)]
                return scalar(function, arguments[len(inputs) :])(*own)

            return [
                vmap(function, tuple(dims))(*inputs, *constants),
                *vmap(grad(loss, places), tuple(dims))(*inputs, *constants),
            ]

        if any(d == 0 for d in dims):
            assert_all_agree(results(case.function), results(case.reference), steps=5)

    def test_vmap_takes_any_batch_axis_and_nests(self):
        case = self.cases[0]
        inputs, constants = self.replicas(case)
        expected = vmap(case.reference)(*inputs, *constants)
        last = [t.movedim(0, -1) for t in (*inputs, *constants)]
        assert_agrees(vmap(case.function, -1, -1)(*last).movedim(-1, 0), expected)
        twice = [torch.stack([t, t.flip(0)]) for t in (*inputs, *constants)]
        nested = vmap(vmap(case.function))(*twice)
        assert_agrees(nested, torch.stack([expected, expected.flip(0)]))
        outer = [torch.stack([inputs[0], inputs[0] + 1]), *inputs[1:], *constants]
        dims = (0, *[None] * (len(outer) - 1))
        nested = vmap(vmap(case.function), dims)(*outer)
        assert_agrees(nested, vmap(vmap(case.reference), dims)(*outer))

    def test_functional_transforms_agree_with_the_reference(self):
        case = self.cases[0]
        inputs, constants = case.inputs(), case.constants()
        tangents = case.inputs(seed=1)
        places = tuple(range(len(inputs)))

        def results(function):
            loss = scalar(function, constants)
            plain = lambda *arguments: function(*arguments, *constants)  # noqa: E731
            return [
                *grad(loss, places)(*inputs),
                *jacrev(plain, places)(*inputs),
                *jvp(plain, tuple(inputs), tuple(tangents)),
                *jvp(grad(loss, places), tuple(inputs), tuple(tangents))[1],
            ]

        assert_all_agree(results(case.function), results(case.reference), steps=5)

    def test_dual_numbers_carry_the_derivative(self):
        case = self.cases[0]
        inputs, constants, tangents = case.inputs(), case.constants(), case.inputs(seed=1)
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(t, d) for t, d in zip(inputs, tangents)]
            actual = forward_ad.unpack_dual(case.function(*duals, *constants)).tangent
        plain = lambda *arguments: case.reference(*arguments, *constants)  # noqa: E731
        assert_agrees(actual, jvp(plain, tuple(inputs), tuple(tangents))[1])

    @pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
    def test_compiles_as_one_graph(self, compiler):
        case = self.cases[0]
        inputs, constants = case.inputs(), case.constants()
        torch.compiler.reset()
        compiled = torch.compile(
            lambda *arguments: case.function(*arguments).exp(), fullgraph=True, backend=compiler
        )
        eager = lambda *arguments: case.function(*arguments).exp()  # noqa: E731
        actual = value_and_gradients(compiled, inputs, constants)
        assert_all_agree(actual, value_and_gradients(eager, inputs, constants), steps=5)

    def test_compiles_under_vmap(self):
        case = self.cases[0]
        inputs, constants = self.replicas(case)
        torch.compiler.reset()
        compiled = torch.compile(
            lambda *arguments: vmap(case.function)(*arguments), fullgraph=True, backend="aot_eager"
        )
        expected = value_and_gradients(vmap(case.reference), inputs, constants)
        assert_all_agree(value_and_gradients(compiled, inputs, constants), expected)

    def test_autocast_computes_in_float32_and_returns_gradients_as_given(self):
        case = self.cases[0]
        inputs, constants = case.inputs(torch.float32), case.constants()
        low = [t.bfloat16() for t in inputs]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value, *gradients = value_and_gradients(case.function, low, constants)
        assert value.dtype == torch.float32
        assert all(t.dtype == torch.bfloat16 for t in gradients)
        expected = value_and_gradients(case.reference, [t.double() for t in low], constants)
        assert_all_agree([value, *gradients], expected)

    def test_checkpoint_gives_the_same_gradients(self):
        case = self.cases[0]
        inputs, constants = case.inputs(), case.constants()
        again = lambda *a: checkpoint(case.function, *a, use_reentrant=False)  # noqa: E731
        expected = value_and_gradients(case.function, inputs, constants)
        for a, e in zip(value_and_gradients(again, inputs, constants), expected):
            assert torch.equal(a, e)

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

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_bits_do_not_change_by_run_or_by_replicas_beside(self, case, dtype):
        inputs, constants = self.replicas(case, dtype)
        first = value_and_gradients(vmap(case.function), inputs, constants)
        again = value_and_gradients(vmap(case.function), inputs, constants)
        assert all(torch.equal(a, b) for a, b in zip(first, again))
        leaves = [t[1].clone().requires_grad_() for t in inputs]
        value = case.function(*leaves, *(t[1] for t in constants))
        gradients = torch.autograd.grad(value, leaves, weighting(first[0])[1])
        for a, b in zip([value, *gradients], first):
            assert torch.equal(a, b[1])

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_bits_do_not_change_by_the_number_of_threads(self, case, dtype):
        inputs, constants = self.replicas(case, dtype)
        before, results = torch.get_num_threads(), []
        try:
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                results.append(value_and_gradients(vmap(case.function), inputs, constants))
        finally:
            torch.set_num_threads(before)
        for other in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))

    def test_bits_do_not_change_by_how_many_replicas_there_are(self):
        case = self.cases[0]
        many = [torch.stack(t) for t in zip(*(case.inputs(seed=r) for r in range(17)))]
        constants = [torch.stack([t] * 17) for t in case.constants()]
        together = vmap(case.function)(*many, *constants)
        for count in (1, 2, 5, 9, 16):
            some = [t[:count] for t in (*many, *constants)]
            assert torch.equal(vmap(case.function)(*some), together[:count])

    @pytest.mark.parametrize("backend", BACKENDS)
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

    def test_meta_tensors_give_the_shape(self, case):
        inputs, constants = case.inputs(), case.constants()
        expected = case.function(*inputs, *constants)
        value = case.function(*[t.to("meta") for t in (*inputs, *constants)])
        assert value.is_meta
        assert value.shape == expected.shape
