"""Optimisers: pure update rules with an optional replica axis, schedules, and LRG-Adam."""

from collections.abc import Callable

from lowdim.optim.dion import Dion
from lowdim.optim.galore import Galore
from lowdim.optim.lrg_adam import LrgAdam
from lowdim.optim.lrg_optimizer import LRGAdam
from lowdim.optim.muon import Muon
from lowdim.optim.proximal import ProximalSgd
from lowdim.optim.rules import Adam, AdamW, Rule, Sgd
from lowdim.optim.schedules import SCHEDULES, rate_factor

RULES: dict[str, Callable[..., Rule]] = {
    "adam": Adam,
    "adamw": AdamW,
    "sgd": Sgd,
    "proximal_sgd": ProximalSgd,
    "lrg_adam": LrgAdam,
    "muon": Muon,
    "galore": Galore,
    "dion": Dion,
}

__all__ = [
    "RULES",
    "SCHEDULES",
    "Adam",
    "AdamW",
    "Dion",
    "Galore",
    "LRGAdam",
    "LrgAdam",
    "Muon",
    "ProximalSgd",
    "Rule",
    "Sgd",
    "rate_factor",
]
