"""Parameter groups of LRG-Adam: what they may hold and what the rule reads from them."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lowdim.optim.lrg_adam import LrgAdam
from lowdim.optim.lrg_projection import EVERYTHING, limit_at

NotFinite = Literal["raise", "skip", "propagate"]
NOT_FINITE: tuple[NotFinite, ...] = get_args(NotFinite)
_RULE = ("mode", "project", "method", "oversample", "iterations", "warm_start", "error_feedback")
_HYPER = {"learning_rate": "lr", "epsilon": "eps", "weight_decay": "weight_decay"}
_LIMIT = ("rank", "energy", "rank_end", "rank_steps")
# options of `torch.optim.Adam` that change its steps and that LRG-Adam does not have
_OF_ADAM_ALONE = ("amsgrad", "maximize", "decoupled_weight_decay")
_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}


def rule_options(group: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a group that make its update rule."""
    return {name: group[name] for name in _RULE}


def group_hyper(group: dict[str, Any]) -> dict[str, float]:
    """Return a group's hyperparameters as the rule calls them, tensors read as numbers."""
    hyper = {ours: float(group[theirs]) for ours, theirs in _HYPER.items()}
    hyper |= {"beta1": float(group["betas"][0]), "beta2": float(group["betas"][1])}
    limits = {name: group[name] for name in _LIMIT if group[name] is not None}
    if not {"rank", "energy"} & set(limits):
        limits["rank"] = EVERYTHING
    return hyper | limits


def named_with_gradient(group: dict[str, Any], place: int) -> dict[str, Tensor]:
    """Return a group's parameters that have a gradient; TypeError for a kind not served."""
    names = group.get("param_names") or [
        f"param_groups[{place}]['params'][{number}]" for number in range(len(group["params"]))
    ]
    found = {}
    for name, p in zip(names, group["params"], strict=True):
        if p.grad is None:
            continue
        if p.grad.layout != torch.strided:
            raise TypeError(f"LRGAdam takes no sparse gradients, got one for {name}")
        if p.is_complex():
            raise TypeError(f"LRGAdam takes real parameters, got {p.dtype} for {name}")
        found[name] = p
    return found


def check_group(group: dict[str, Any]) -> None:
    """Raise ValueError for an option of a parameter group that is out of range."""
    for name in ("lr", "eps", "weight_decay"):
        if not float(group[name]) >= 0:
            raise ValueError(f"{name} must be at least 0, got {group[name]}")
    if not all(0 <= float(beta) < 1 for beta in group["betas"]):
        raise ValueError(f"betas must be in [0, 1), got {group['betas']}")
    if group["energy"] is not None and not 0 < group["energy"] <= 1:
        raise ValueError(f"energy must be in (0, 1], got {group['energy']}")
    if group["nonfinite"] not in NOT_FINITE:
        raise ValueError(f"nonfinite must be one of {NOT_FINITE}, got {group['nonfinite']!r}")
    LrgAdam(**rule_options(group))
    limit_at(group_hyper(group), 0)
    plain = group["mode"] == "matrix" and group["project"] == "grad"
    if group["factored"] and (not plain or group["error_feedback"]):
        raise ValueError("factored=True serves mode 'matrix', project 'grad', no error_feedback")


def check_loaded(state_dict: dict[str, Any]) -> None:
    """Raise ValueError for a state whose later steps would not be those it was made with."""
    for place, group in enumerate(state_dict["param_groups"]):
        for name in _OF_ADAM_ALONE:
            plain = name == "decoupled_weight_decay" and not group.get("weight_decay")
            if group.get(name) and not plain:
                raise ValueError(
                    f"param_groups[{place}] of the state must have {name} False, which LRGAdam "
                    f"does not know, got {group[name]}"
                )
    for number, own in state_dict["state"].items():
        if own and (lacking := sorted(_MOMENTS - set(own))):
            raise ValueError(
                f"state[{number}] must be that of LRGAdam or torch.optim.Adam, got one without "
                f"{', '.join(lacking)}"
            )
