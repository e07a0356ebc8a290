"""What the study of non-linear factorisations draws: the generic pictures, ranks and gradients."""

from __future__ import annotations

from lowdim.drawing.arms import by_arm
from lowdim.drawing.convergence import convergence
from lowdim.drawing.layer_spectra import layer_spectra
from lowdim.drawing.rates import rates
from lowdim.drawing.size import by_size

# Those of scale `standard`; further forms of phi and rates have a row each in `every_arm`.
_CORE = (
    *("dense", "lowrank_r8", "nlmf", "kronecker", "lowrank_r4", "nlmf_centred", "nlmf_residual"),
    *("dense_h23", "dense_h6"),
)
_FACTORISED = ("lowrank_r4", "nlmf", "nlmf_centred", "nlmf_residual")

PICTURES = (
    convergence(arms=_CORE),
    by_size(arms=_CORE),
    by_arm(
        "every_arm",
        title="Accuracy and rank of every arm",
        metrics=("fresh_accuracy", "fc1_effective_rank"),
    ),
    rates(),
    layer_spectra(arms=_CORE),
    convergence(
        "effective_rank",
        title="Effective rank of the weights",
        split="weights",
        metrics=("fc1_effective_rank", "fc2_effective_rank"),
        arms=_CORE,
    ),
    convergence(
        "first_energy",
        title="Energy in the first singular value",
        split="weights",
        metrics=("fc1_first_energy", "fc2_first_energy"),
        arms=_CORE,
    ),
    convergence(
        "gradient_norms",
        title="Gradient norms of the factors and of phi",
        split="weights",
        metrics=("fc1_u_gradient_norm", "fc1_v_gradient_norm", "fc1_phi_gradient_norm"),
        arms=_FACTORISED,
    ),
)
