"""Configuration is read strictly, and every complaint names file, key, value and remedy."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from lowdim.config import UserError, json_schemas, load_run, load_study, study_names
from lowdim.config.layers import LayerConfig
from lowdim.layers import LAYERS

ROOT = Path(__file__).parents[3]
STUDIES = ROOT / "config" / "studies"


@pytest.fixture
def spoilt(tmp_path):
    """Return a function that changes the first study and gives back the complaint."""
    raw = yaml.safe_load((STUDIES / "structured_weights.yaml").read_text())

    def complain(change) -> str:
        changed = copy.deepcopy(raw)
        change(changed)
        (tmp_path / "spoilt.yaml").write_text(yaml.safe_dump(changed))
        with pytest.raises(UserError) as caught:
            load_study("spoilt", folder=tmp_path)
        return str(caught.value)

    return complain


def _layer(study, **keys):
    study["arms"]["kronecker"]["model"]["layers"][0].update(keys)


BAD = {
    "unknown key": (
        lambda s: s.update(sedes=3),
        ["spoilt.yaml", "'sedes'", "did you mean 'seeds'", "hypotheses"],
    ),
    "unknown nested key": (
        lambda s: s["defaults"]["training"].update(epoch=3),
        ["training.epoch", "did you mean 'epochs'", "batch_size"],
    ),
    "negative rate": (
        lambda s: s["arms"]["dense"].update(optimiser={"learning_rate": -1}),
        ["arms.dense.optimiser.learning_rate", "greater than 0", "-1"],
    ),
    "infinite rate": (
        lambda s: s["arms"]["dense"].update(optimiser={"learning_rate": float("inf")}),
        ["arms.dense.optimiser.learning_rate", "finite"],
    ),
    "unknown layer": (
        lambda s: _layer(s, kind="kroneker"),
        ["arms.kronecker.model.layers.0", "'kroneker'", "'kronecker'", "'masked'"],
    ),
    "factors that do not fit": (
        lambda s: _layer(s, factors=[[3, 5], [10, 8]]),
        ["arms.kronecker", "layers.0", "multiply to 100x40", "'3x5'", "30x40"],
    ),
    "density above one": (
        lambda s: s["arms"]["sparse"]["model"]["layers"][0].update(density=1.2),
        ["arms.sparse.model.layers.0.density", "less than or equal to 1", "1.2"],
    ),
    "density of zero": (
        lambda s: s["arms"]["sparse"]["model"]["layers"][0].update(density=0),
        ["arms.sparse.model.layers.0.density", "greater than 0"],
    ),
    "range upside down": (
        lambda s: s["defaults"]["tuning"]["space"]["learning_rate"].update(low=2),
        ["tuning.space.learning_rate", "low must be below high", "2.0"],
    ),
    "rate neither given nor tuned": (
        lambda s: s["defaults"].update(tuning=None),
        ["arms.dense", "learning_rate must be set"],
    ),
    "tuned hyperparameter that the optimiser lacks": (
        lambda s: s["defaults"]["tuning"]["space"].update(rank={"low": 1, "high": 9}),
        ["tuning.space", "['rank']", "learning_rate"],
    ),
    "hypothesis on an arm that is not there": (
        lambda s: s["hypotheses"].append(
            {"name": "x", "statement": "", "contrasts": [{"metric": "m", "a": "up", "b": "dense"}]}
        ),
        ["hypotheses.x", "['up']", "dense"],
    ),
    "missing key": (lambda s: s.pop("question"), ["question is missing"]),
    "too few layers": (
        lambda s: s["arms"]["kronecker"]["model"]["layers"].pop(),
        ["layers must have 2 entries", "got 1"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_named_with_file_key_value_and_what_is_allowed(spoilt, case):
    change, expected = BAD[case]
    said = spoilt(lambda s: (s.setdefault("hypotheses", []), change(s)))
    assert "\n" not in said
    for part in expected:
        assert part in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a: [1", "not valid YAML"), ("- 1", "must be a mapping"), ("\x00", "spoilt.yaml")],
)
def test_a_file_that_is_no_mapping_is_named(tmp_path, text, expected):
    (tmp_path / "spoilt.yaml").write_text(text)
    with pytest.raises(UserError, match=expected):
        load_study("spoilt", folder=tmp_path)


def test_a_missing_study_is_named_with_those_there_are():
    with pytest.raises(UserError, match=r"structured_weight.yaml.*structured_weights"):
        load_study("structured_weight", folder=STUDIES)


@pytest.mark.parametrize("name", study_names(STUDIES))
@pytest.mark.parametrize("scale", ["smoke", "standard", "full"])
def test_every_study_is_valid_at_every_scale(name, scale):
    study = load_study(name, folder=STUDIES, scale=scale)
    assert study.question.endswith("?")
    assert study.arms


def test_a_study_has_a_title_and_by_default_its_name(tmp_path):
    text = (STUDIES / "nlmf.yaml").read_text()
    assert load_study("nlmf", folder=STUDIES).title == "Non-linear matrix factorisation"
    (tmp_path / "some_study.yaml").write_text(text.replace("\ntitle: Non-linear", "\n# Non-linear"))
    assert load_study("some_study", folder=tmp_path).title == "Some study"


def test_the_tracked_run_configuration_is_valid():
    run = load_run(ROOT / "config" / "config.yaml")
    assert set(run.studies) <= set(study_names(STUDIES))


def test_an_override_wins_over_the_file():
    run = load_run(ROOT / "config" / "config.yaml", {"scale": "smoke", "seeds": None})
    assert run.scale == "smoke"


def test_seeds_can_be_asked_for():
    assert load_study("structured_weights", folder=STUDIES, seeds=20).seeds == 20


def test_what_a_scale_overrides_wins_over_every_arm(tmp_path):
    raw = yaml.safe_load((STUDIES / "structured_weights.yaml").read_text())
    raw["arms"]["dense"]["training"] = {"epochs": 7}
    raw["scales"]["smoke"]["override"] = {"training": {"epochs": 3}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(raw))
    assert load_study("own", folder=tmp_path).arms["dense"].training.epochs == 7
    smoke = load_study("own", folder=tmp_path, scale="smoke")
    assert {arm.training.epochs for arm in smoke.arms.values()} == {3}


def test_every_layer_of_the_registry_can_be_configured():
    kinds = {option.model_fields["kind"].default for option in LayerConfig.__args__[0].__args__}
    assert kinds == set(LAYERS)


def test_a_label_decides_nothing_and_a_rate_range_does(tmp_path):
    raw = yaml.safe_load((STUDIES / "structured_weights.yaml").read_text())
    deciding = []
    for change in (
        lambda r: None,
        lambda r: r["arms"]["dense"].update(label="Other"),
        lambda r: r["defaults"]["tuning"].update(trials=11),
    ):
        own = copy.deepcopy(raw)
        change(own)
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
        deciding.append(load_study("own", folder=tmp_path).arms["dense"].deciding())
    assert deciding[0] == deciding[1] != deciding[2]


def test_schemas_refuse_unknown_keys():
    for schema in json_schemas().values():
        assert schema["additionalProperties"] is False
