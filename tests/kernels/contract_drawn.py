"""What every operation keeps to for shapes that Hypothesis draws."""

from typing import ClassVar

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels.cases import Case
from kernels.contract import OperationContract


class DrawnContract(OperationContract):
    """The contract, and values and gradients at any shape of `drawn`."""

    drawn: ClassVar[st.SearchStrategy[Case]]

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data(), seed=st.integers(0, 99))
    def test_any_shape_agrees_with_the_reference(self, data, seed):
        # Sums of one element may cancel: what a formula gets wrong is far larger than this.
        case = data.draw(self.drawn)
        self.check_against_reference(case, torch.float64, "numba", seed, steps=1000)
