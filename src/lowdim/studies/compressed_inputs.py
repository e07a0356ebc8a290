"""What the study of compressed inputs draws: training by rate, stability, size, what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from lowdim.config import ArmConfig, Study
from lowdim.config.data import CompressedData
from lowdim.drawing.against import Series, against
from lowdim.drawing.arms import by_arm
from lowdim.drawing.facets import Line, facets
from lowdim.drawing.images import kept_images
from lowdim.drawing.maps import Cells, stability_map
from lowdim.drawing.picture import Draw, Picture
from lowdim.drawing.tables import Tables

SOURCES = {"mnist": "MNIST", "digits": "8×8 digits"}
SCHEMES = {
    "dct": ("DCT", "#0072B2"),
    "gauss": ("Gaussian", "#D55E00"),
    "pca": ("PCA", "#009E73"),
    "dct_as_published": ("DCT as published", "#CC79A7"),
    "dct_zigzag": ("DCT, zig-zag", "#56B4E9"),
    "hadamard": ("Hadamard", "#E69F00"),
    "pixels": ("random pixels", "#8C6D31"),
    "none": ("all pixels", "#1a1a1a"),
}
_BANDS = {
    "low": ("DCT, lowest", "dct_zigzag", "#0072B2", "o"),
    "middle": ("DCT, middle", "dct_middle", "#56B4E9", "s"),
    "high": ("DCT, highest", "dct_high", "#009E73", "^"),
    "gauss": ("Gaussian", "gauss", "#D55E00", "D"),
}
_ABLATION_RATE = 0.01
# an arm is called stable if it is at most so many points below the best rate of its scheme
_STABLE_WITHIN = 1.0


def main_arms(study: Study, source: str) -> dict[str, ArmConfig]:
    """Return the arms that compare schemes and rates on a data set, by name."""
    return {
        name: arm
        for name, arm in study.arms.items()
        if name.startswith(f"{source}_") and "_lr" in name and not _data(arm).scale_features
    }


def _scheme(arm: ArmConfig) -> tuple[str, str]:
    """Return what the scheme of an arm is called, and its colour."""
    return SCHEMES[_data(arm).transform]


def _data(arm: ArmConfig) -> CompressedData:
    if not isinstance(arm.data, CompressedData):
        raise ValueError(f"arm {arm.label} must have compressed data, got {arm.data.name}")
    return arm.data


def _rate(arm: ArmConfig) -> str:
    return f"{arm.optimiser.learning_rate:g}"


def _by_rate(study: Study, source: str) -> Mapping[str, Sequence[Line]]:
    arms = main_arms(study, source)
    rates = sorted({_rate(arm) for arm in arms.values()}, key=float)
    return {
        f"rate {rate}": [
            Line(name, *_scheme(arm)) for name, arm in arms.items() if _rate(arm) == rate
        ]
        for rate in rates
    }


def _cells(study: Study) -> dict[str, Cells]:
    return {
        text: {
            (_scheme(arm)[0], _rate(arm)): name for name, arm in main_arms(study, source).items()
        }
        for source, text in SOURCES.items()
    }


def _dimensions(study: Study) -> list[Series]:
    """Return a series a band and network: MNIST at the one rate of the ablation, by size."""
    found = []
    for text, transform, colour, marker in _BANDS.values():
        for depth, words, dash in ((2, "", "-"), (1, ", linear", (0, (2, 1.5)))):
            kept = [n for n, arm in study.arms.items() if _is_cell(arm, transform, depth)]
            found.append(Series(f"{text}{words}", kept, colour, marker, dash))
    return [one for one in found if len(one.arms) > 1]


def _is_cell(arm: ArmConfig, transform: str, depth: int) -> bool:
    data = _data(arm)
    # at full size every band holds all coefficients
    whole = data.transform == "dct_zigzag" and data.outputs == 784 and transform.startswith("dct")
    return (
        data.source == "mnist"
        and (data.transform == transform or whole)
        and not data.scale_features
        and arm.optimiser.learning_rate == _ABLATION_RATE
        and len(getattr(arm.model, "layers", ())) == depth
    )


def _outputs(arm: ArmConfig) -> float:
    return float(_data(arm).outputs)


def _images(study: Study) -> dict[str, dict[str, str]]:
    """Return by data set and scheme the first arm that has it."""
    found: dict[str, dict[str, str]] = {}
    for source, text in SOURCES.items():
        for name, arm in main_arms(study, source).items():
            found.setdefault(text, {}).setdefault(_scheme(arm)[0], name)
    return found


def _accuracy(tables: Tables, *, source: str) -> Picture | None:
    """Draw test accuracies of all rates and schemes of a data set."""
    return by_arm(
        f"test_accuracy_{source}_across_runs",
        title=f"Test accuracy on {SOURCES[source]} by scheme and rate",
        metrics=("test_accuracy",),
        arms=list(main_arms(tables.study, source)),
    )(tables)


def _of_source(source: str) -> list[Draw]:
    columns = partial(_by_rate, source=source)
    name, what = SOURCES[source], f" on {SOURCES[source]}"
    return [
        facets(
            f"train_loss_{source}_across_runs",
            title=f"Training loss on {name}",
            columns=columns,
            split="train",
            metrics=("loss",),
            spread="standard error",
            what=what,
        ),
        facets(
            f"val_loss_{source}_across_runs",
            title=f"Validation loss on {name}",
            columns=columns,
            split="monitor",
            metrics=("loss",),
            spread="standard error",
            what=what,
        ),
        partial(_accuracy, source=source),
        facets(
            f"gradients_{source}",
            title=f"Gradients while training on {name}",
            columns=columns,
            split="train",
            metrics=("gradient_norm", "gradient_cosine"),
            by="step",
            what=f"{what}, averaged over windows of steps",
        ),
        facets(
            f"gradient_stats_{source}",
            title=f"Gradients of many batches at the same weights, {name}",
            columns=columns,
            split="weights",
            metrics=("mean_gradient_norm.fc1", "mean_gradient_norm.fc2", "signal_to_noise"),
            what=what,
        ),
    ]


STABILITY = stability_map(
    "stability_map",
    title="Accuracy and variance of the final loss by scheme and rate",
    groups=_cells,
    metrics=("test_accuracy", "final_loss_variance"),
    within=_STABLE_WITHIN,
    columns="rate",
)
BY_DIMENSION = against(
    "accuracy_by_dimension",
    title="Accuracy and convergence on MNIST against the size of the input",
    series=_dimensions,
    value=_outputs,
    axis="numbers kept",
    metrics=("test_accuracy", "epochs_to_95"),
)
KEPT = kept_images("kept_images", title="What is kept of real digits", rows=_images)

PICTURES: tuple[Draw, ...] = (
    *_of_source("mnist"),
    *_of_source("digits"),
    *(STABILITY, BY_DIMENSION, KEPT),
)
