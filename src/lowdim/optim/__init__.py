"""Optimisers: pure update rules with an optional replica axis, and schedules."""

from lowdim.optim.proximal import ProximalSgd
from lowdim.optim.rules import Adam, Rule, Sgd
from lowdim.optim.schedules import SCHEDULES, rate_factor

RULES: dict[str, type[Rule]] = {"adam": Adam, "sgd": Sgd, "proximal_sgd": ProximalSgd}

__all__ = ["RULES", "SCHEDULES", "Adam", "ProximalSgd", "Rule", "Sgd", "rate_factor"]
