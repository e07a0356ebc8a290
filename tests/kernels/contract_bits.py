"""Results of every operation are the same to the last bit, whatever runs beside them."""

import pytest
import torch
from torch.func import vmap

from kernels.contract_cases import DTYPES, CasesOfOperation
from kernels.derivatives import assert_all_agree, value_and_gradients, weighting
from lowdim_kernels import threads


class BitContract(CasesOfOperation):
    """Bits do not depend on the run, on threads, or on replicas beside."""

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
    def test_bits_do_not_change_by_the_number_of_threads(self, case, dtype, monkeypatch):
        # Small calls are not worth a second thread; these are to be cut all the same.
        monkeypatch.setattr(threads, "LEAST_FLOPS", 1)
        monkeypatch.setattr(threads, "PART_FLOPS", 1)
        inputs, constants = self.replicas(case, dtype)
        before, results = torch.get_num_threads(), []
        try:
            for count in (1, 2, 3, 8):
                torch.set_num_threads(count)
                together = value_and_gradients(vmap(case.function), inputs, constants)
                own = [t[0] for t in inputs], [t[0] for t in constants]
                results.append([*together, *value_and_gradients(case.function, *own)])
        finally:
            torch.set_num_threads(before)
        for other in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
        wide = [t.double() for t in inputs]
        assert_all_agree(results[0], value_and_gradients(vmap(case.reference), wide, constants))

    def test_bits_do_not_change_by_how_many_replicas_there_are(self):
        case = self.cases[0]
        many = [torch.stack(t) for t in zip(*(case.inputs(seed=r) for r in range(17)))]
        constants = [torch.stack([t] * 17) for t in case.constants()]
        together = vmap(case.function)(*many, *constants)
        for count in (1, 2, 5, 9, 16):
            some = [t[:count] for t in (*many, *constants)]
            assert torch.equal(vmap(case.function)(*some), together[:count])
