"""Update rules written on a tape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lowdim.engine.job import Replica
from lowdim.engine.seeds import generator
from lowdim.engine.taping import UntapeableError
from lowdim.optim import Adam, AdamW, LrgAdam, Rule, Sgd

if TYPE_CHECKING:
    from lowdim_kernels.tape import Tape

_NOISE = ".noise"


def record_rule(tape: Tape, rule: Rule, replica: Replica) -> None:
    """Record the update that ends a step; UntapeableError for what has no form on the tape."""
    if type(rule) is Sgd:
        tape.sgd()
    elif type(rule) in (Adam, AdamW):
        tape.adam()
    elif type(rule) is LrgAdam:
        _truncate(tape, rule, replica)
        tape.adam()
    else:
        raise UntapeableError(f"the rule {type(rule).__name__} has no form on the tape")


def noise_of(program: Any, seed: int) -> dict[str, np.ndarray]:
    """Return the random numbers that a truncation starts from, by their names in the state."""
    stream = generator(seed, "truncation")
    return {
        name: torch.randn(view.rows, view.columns, generator=stream).numpy()
        for name, view in program.kept.items()
        if name.endswith(_NOISE)
    }


def _truncate(tape: Tape, rule: LrgAdam, replica: Replica) -> None:
    """Record the truncation of the gradients to the replica's rank.

    The tape iterates on subspaces, to an error of about 0.5 % above the least one.
    """
    from lowdim_kernels.tape import truncation

    given = {"energy", "rank_end", "rank_steps"} & set(replica.hyper)
    projection = rule.projection
    if rule.project != "grad" or projection.error_feedback or given or "rank" not in replica.hyper:
        raise UntapeableError("LRG-Adam has a form on the tape for gradients cut to a fixed rank")
    if projection.method not in ("auto", "iterate"):
        raise UntapeableError(f"truncation by {projection.method} has no form on the tape")
    rank = int(replica.hyper["rank"])
    if rank < 1:
        raise UntapeableError(f"a rank of {rank} has no form on the tape")
    if projection.mode == "flat":
        if rank < truncation.flat_side(tape):
            truncation.truncate_flat(tape, rank)
        return
    for name, parameter in tape.parameters.items():
        if len(parameter.shape) < 2 or rank >= min(parameter.shape):
            continue
        try:
            truncation.truncate(tape, name, parameter.gradient, parameter.gradient, rank)
        except ValueError as error:
            raise UntapeableError(str(error)) from None
