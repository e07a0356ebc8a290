"""What the study of non-linear factorisations draws: the generic pictures, ranks and gradients."""

from __future__ import annotations

from lowdim.drawing.convergence import convergence
from lowdim.drawing.layer_spectra import layer_spectra
from lowdim.drawing.rates import rates
from lowdim.drawing.size import by_size

_FACTORISED = ("lowrank_r4", "nlmf", "nlmf_centred", "nlmf_residual")

PICTURES = (
    convergence(),
    by_size(),
    rates(),
    layer_spectra(),
    convergence(
        "effective_rank",
        title="Effective rank of the weights",
        split="weights",
        metrics=("fc1_effective_rank", "fc2_effective_rank"),
    ),
    convergence(
        "first_energy",
        title="Energy in the first singular value",
        split="weights",
        metrics=("fc1_first_energy", "fc2_first_energy"),
    ),
    convergence(
        "gradient_norms",
        title="Gradient norms of the factors and of phi",
        split="weights",
        metrics=("fc1_u_gradient_norm", "fc1_v_gradient_norm", "fc1_phi_gradient_norm"),
        arms=_FACTORISED,
    ),
)
