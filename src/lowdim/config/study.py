"""A study: its question, its hypotheses, and the arms that answer them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lowdim.config.base import Count, Positive, Strict
from lowdim.config.data import DataConfig
from lowdim.config.model import ModelConfig
from lowdim.config.training import OptimiserConfig, TrainingConfig, TuningConfig

ScaleName = Literal["smoke", "standard", "full"]
ProbeName = Literal[
    "linear_map_errors",
    "gradient_rank",
    "gradient_stats",
    "gradient_norms",
    "weight_spectra",
]
ErrorName = Literal["rel_err", "err_support", "err_null", "err_mixed"]
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.]*$")]


class Crossing(Strict):
    """Where an error of a linear map, or the loss on the monitor draw, first falls to `level`, and
    which other errors, or the epoch, are read there.

    Each of `read` gives a metric `<read>_at_<metric>_<level>`, interpolated in the logarithm
    between the readings around the crossing.
    """

    metric: ErrorName | Literal["loss"]
    level: Positive
    read: Annotated[list[ErrorName | Literal["epoch"]], Field(min_length=1)]


class Settling(Strict):
    """How a run settles: its loss over the `final_epochs`, and how soon it is how accurate.

    Gives the metrics `final_loss_variance`, the variance over those epochs of the loss on the
    monitor split, and `epochs_to_<share>`, the first time, between readings interpolated, at which
    the accuracy there is that share, in percent, of the best that the run reaches.
    """

    final_epochs: Annotated[int, Field(ge=2)]
    shares: Annotated[list[Annotated[int, Field(ge=1, le=100)]], Field(min_length=1)]


class ArmConfig(Strict):
    """All that decides the result of one arm but the seed.

    `probes` are functions of the weights, with the epochs between two readings. `costs` measures
    a step of one network in plain PyTorch. `seeds` is the most that the arm runs with where the
    study has more.
    """

    label: str
    data: DataConfig
    model: ModelConfig
    optimiser: OptimiserConfig
    training: TrainingConfig
    tuning: TuningConfig | None = None
    probes: dict[ProbeName, Count] = Field(default_factory=dict)
    crossings: list[Crossing] = Field(default_factory=list)
    costs: bool = False
    settling: Settling | None = None
    seeds: Count | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> ArmConfig:
        tuned = self.tuning.space if self.tuning else {}
        self.optimiser.check_whole(tuned)
        known = self.optimiser.tunable()
        if strange := set(tuned) - set(known):
            raise ValueError(f"tuning.space must be among {known}, got {sorted(strange)}")
        asked = {name for one in self.crossings for name in (one.metric, *one.read)}
        if asked - {"loss", "epoch"} and "linear_map_errors" not in self.probes:
            raise ValueError("crossings of errors need the probe linear_map_errors")
        return self

    def deciding(self) -> dict[str, Any]:
        """Return what decides the result of a seed, without what only names or counts."""
        return self.model_dump(mode="json", exclude={"label", "seeds"}, exclude_none=True)


class Contrast(Strict):
    """Arm `a` against arm `b` in one metric, paired over seeds.

    The estimate is the mean of a - b (of log10 a - log10 b where `scale` is log); `margin` is in
    the unit of that estimate. A negative margin states how much worse still counts as no worse.
    """

    metric: str
    a: Identifier
    b: Identifier
    direction: Literal["greater", "less", "different"] = "greater"
    margin: float = 0.0
    scale: Literal["linear", "log"] = "linear"


class Hypothesis(Strict):
    """A statement fixed before the run, and the contrasts, all or any, on which it stands."""

    name: Identifier
    statement: str
    contrasts: Annotated[list[Contrast], Field(min_length=1)]
    combine: Literal["all", "any"] = "all"


class Scale(Strict):
    """What a scale changes: the arms it keeps, the seeds, and overrides that win over any arm."""

    arms: list[Identifier] | None = None
    seeds: Count | None = None
    override: dict[str, Any] = Field(default_factory=dict)


class StudyFile(Strict):
    """A study as its YAML file writes it; arms hold only what differs from `defaults`.

    `title` heads it in the report; absent: the name of the file.
    """

    title: str | None = None
    question: str
    about: str = ""
    seeds: Count
    hypotheses: list[Hypothesis] = Field(default_factory=list)
    defaults: dict[str, Any]
    arms: Annotated[dict[Identifier, dict[str, Any] | None], Field(min_length=1)]
    scales: dict[ScaleName, Scale] = Field(default_factory=dict)
    published: dict[Identifier, dict[str, float]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_are_known(self) -> StudyFile:
        for key, scale in self.scales.items():
            if strange := set(scale.arms or ()) - set(self.arms):
                raise ValueError(
                    f"scales.{key}.arms must be among {sorted(self.arms)}, got {sorted(strange)}"
                )
        if strange := set(self.published) - set(self.arms):
            raise ValueError(
                f"published must name arms among {sorted(self.arms)}, got {sorted(strange)}"
            )
        for hypothesis in self.hypotheses:
            named = {arm for c in hypothesis.contrasts for arm in (c.a, c.b)}
            if strange := named - set(self.arms):
                raise ValueError(
                    f"hypotheses.{hypothesis.name} must compare arms among {sorted(self.arms)}, "
                    f"got {sorted(strange)}"
                )
        return self


class Study(Strict):
    """A study at one scale, every arm whole."""

    name: Identifier
    title: str
    question: str
    about: str
    scale: ScaleName
    seeds: Count
    hypotheses: list[Hypothesis]
    arms: dict[Identifier, ArmConfig]
    published: dict[Identifier, dict[str, float]]

    def seeds_of(self, arm: str) -> int:
        """Return how many seeds an arm runs with."""
        return min(self.seeds, self.arms[arm].seeds or self.seeds)
