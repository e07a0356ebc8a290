"""What every operation keeps to under the transforms of torch."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, jacrev, jvp, vmap
from torch.utils.checkpoint import checkpoint

from kernels.contract_cases import REPLICAS, CasesOfOperation
from kernels.derivatives import assert_all_agree, scalar, value_and_gradients, weighting
from kernels.tolerances import assert_agrees
from lowdim_kernels import using_backend


class TransformContract(CasesOfOperation):
    """vmap, torch.func, forward mode, torch.compile, autocast, checkpoint, meta tensors."""

    def test_opcheck_accepts_every_operator(self):
        case = self.cases[0]
        inputs, constants = [t.requires_grad_() for t in case.inputs()], case.constants()
        for operator, arguments in case.operators(inputs, constants):
            results = torch.library.opcheck(operator, arguments)
            assert set(results.values()) == {"SUCCESS"}, operator

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

    def test_meta_tensors_give_the_shape(self, case):
        inputs, constants = case.inputs(), case.constants()
        expected = case.function(*inputs, *constants)
        value = case.function(*[t.to("meta") for t in (*inputs, *constants)])
        assert value.is_meta
        assert value.shape == expected.shape
