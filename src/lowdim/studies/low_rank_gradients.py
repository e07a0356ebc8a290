"""What the study of low-rank gradients draws."""

from __future__ import annotations

from lowdim.drawing.convergence import convergence
from lowdim.drawing.over_hyper import over_hyper
from lowdim.drawing.rates import rates
from lowdim.drawing.size import by_size

TUNED = ("adam", "lrg_flat", "lrg_matrix")
OTHERS = ("lrg_flat_momentum", "lrg_matrix_feedback", "sgd", "muon", "galore", "dion")
SWEPT = tuple(f"lrg_flat_{rank}" for rank in ("rank1", "rank2", "rank5", "rank10")) + tuple(
    f"lrg_flat_{rank}" for rank in ("rank20", "rank50", "full")
)

PICTURES = (
    convergence(
        "convergence_comparison",
        title="Convergence of tuned optimisers",
        metrics=("loss", "accuracy"),
        arms=(*TUNED, *OTHERS),
    ),
    over_hyper(
        "loss_by_rank",
        title="Loss against rank",
        hyper="rank",
        metrics=("best_loss", "final_loss", "test_accuracy"),
        swept=SWEPT,
        tuned=("lrg_flat", "lrg_matrix"),
        without="adam",
    ),
    convergence(
        "energy_kept",
        title="Energy of the gradient that truncation keeps",
        split="weights",
        metrics=("energy_kept",),
        arms=("lrg_flat", "lrg_matrix", *SWEPT),
    ),
    convergence(
        "stable_rank",
        title="Stable rank of the gradient",
        split="weights",
        metrics=("stable_rank", "stable_rank_of_layers"),
        arms=TUNED,
    ),
    convergence(
        "gradient_noise",
        title="What truncation does to the direction of a batch's gradient",
        split="weights",
        metrics=("cosine_of_batch", "cosine_gain"),
        arms=(*TUNED, "lrg_flat_rank1", "lrg_flat_rank5", "lrg_flat_rank20"),
    ),
    by_size(
        "cost_benefit",
        title="Cost against benefit",
        metric="best_loss",
        size="step_over_adam",
        arms=(*TUNED, *OTHERS, *SWEPT),
    ),
    rates(),
    rates("best_ranks", title="Best ranks and loss over rank", hyper="rank"),
)
