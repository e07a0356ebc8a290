"""Optimisers in a study's file: what makes the rule, what tuning may choose, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from lowdim.config import load_study
from lowdim.config.study import ArmConfig
from lowdim.config.training import OptimiserConfig
from lowdim.optim import RULES

STUDIES = Path(__file__).parents[3] / "config" / "studies"
OPTIMISER = TypeAdapter(OptimiserConfig)
NEEDED = {
    "proximal_sgd": {"nuclear_norm": 0.1},
    "lrg_adam": {"rank": 2},
    "galore": {"rank": 2},
    "dion": {"rank": 2},
}


def made(name, **keys):
    return OPTIMISER.validate_python({"name": name, **NEEDED.get(name, {}), **keys})


def arm(optimiser, space=None) -> ArmConfig:
    known = next(iter(load_study("structured_weights", folder=STUDIES).arms.values())).model_dump()
    tuning = known["tuning"]
    tuning["space"] = tuning["space"] if space is None else space
    return ArmConfig.model_validate({**known, "optimiser": optimiser, "tuning": tuning})


def test_every_rule_can_be_configured():
    names = {option.model_fields["name"].default for option in OptimiserConfig.__args__[0].__args__}
    assert names == set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_takes_its_options_and_knows_its_hyperparameters(name):
    config = made(name, learning_rate=0.1)
    rule = RULES[name](**config.options())
    known = {"learning_rate", "nuclear_norm", "rank", "energy", "rank_end", "rank_steps"}
    assert set(config.hyper()) <= set(rule.defaults) | known
    assert set(rule.defaults) <= set(config.hyper())


def test_a_mode_makes_the_rule_and_a_rank_is_its_hyperparameter():
    config = made("lrg_adam", mode="matrix", project="momentum", rank=7)
    assert config.hyper()["rank"] == 7
    assert "mode" not in config.hyper()
    rule = RULES["lrg_adam"](**config.options())
    assert (rule.projection.mode, rule.project) == ("matrix", "momentum")


def test_a_rank_may_be_tuned_in_place_of_being_given():
    whole = {"low": 2, "high": 32, "scale": "integer"}
    rate = {"low": 1e-5, "high": 1e-1}
    assert arm({"name": "lrg_adam"}, {"rank": whole, "learning_rate": rate}).tuning
    with pytest.raises(ValidationError, match=r"optimiser.rank or energy must be set"):
        arm({"name": "lrg_adam"}, {"learning_rate": rate})


def test_what_makes_a_rule_is_not_tuned():
    with pytest.raises(ValidationError, match=r"tuning.space must be among .*got \['mode'\]"):
        arm({"name": "lrg_adam", "rank": 2, "learning_rate": 0.1}, {"mode": {"low": 1, "high": 2}})
    with pytest.raises(ValidationError, match=r"tuning.space must be among"):
        arm({"name": "dion", "rank": 2, "learning_rate": 0.1}, {"rank": {"low": 1, "high": 9}})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"warm_start": True}, "warm_start serves method 'iterate', got 'auto'"),
        ({"rank_end": 5}, "rank_end and rank_steps must be given together"),
        ({"rank": 0}, "greater than or equal to 1"),
        ({"energy": 1.5}, "less than or equal to 1"),
        ({"mode": "rows"}, "'flat' or 'matrix'"),
    ],
)
def test_an_option_that_does_not_fit_is_named(keys, message):
    with pytest.raises(ValidationError, match=message):
        made("lrg_adam", **keys)
