"""Optimisers: pure update rules with an optional replica axis, schedules, and LRG-Adam."""

from lowdim.optim.lrg_adam import LrgAdam
from lowdim.optim.lrg_optimizer import LRGAdam
from lowdim.optim.proximal import ProximalSgd
from lowdim.optim.rules import Adam, Rule, Sgd
from lowdim.optim.schedules import SCHEDULES, rate_factor

RULES: dict[str, type[Rule]] = {
    "adam": Adam,
    "sgd": Sgd,
    "proximal_sgd": ProximalSgd,
    "lrg_adam": LrgAdam,
}

__all__ = [
    "RULES",
    "SCHEDULES",
    "Adam",
    "LRGAdam",
    "LrgAdam",
    "ProximalSgd",
    "Rule",
    "Sgd",
    "rate_factor",
]
