"""Optimisers: pure update rules with an optional replica axis, and schedules."""

from lowdim.optim.rules import Adam, Rule, Sgd
from lowdim.optim.schedules import SCHEDULES, rate_factor

RULES: dict[str, type[Rule]] = {"adam": Adam, "sgd": Sgd}

__all__ = ["RULES", "SCHEDULES", "Adam", "Rule", "Sgd", "rate_factor"]
