"""How a study was run, in words, from its resolved configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from lowdim.config import ArmConfig, Study
from lowdim.drawing.quantities import quantity

Flat = dict[str, str]
_OPTIMISERS = {
    "adam": "Adam",
    "sgd": "SGD",
    "proximal_sgd": "SGD with a proximal step",
    "lrg_adam": "LRG-Adam",
    "muon": "Muon",
    "galore": "GaLore",
    "dion": "Dion",
}


def protocol(study: Study) -> list[str]:
    """Return the protocol that all arms share, a sentence or two for each part of it."""
    arms = list(study.arms.values())
    parts: tuple[tuple[str, Callable[[ArmConfig], str]], ...] = (
        ("Data", _data),
        ("Network", _network),
        ("Optimiser", _optimiser),
        ("Training", _training),
        ("Tuning", _tuning),
    )
    lines = []
    for title, words in parts:
        texts = dict.fromkeys(words(arm) for arm in arms)
        said = next(iter(texts)) if len(texts) == 1 else "differs between arms; see the table."
        lines.append(f"{title}: {said}")
    if any(arm.costs for arm in arms):
        lines.append(
            "Costs: a step of one network, loss, gradients and update, in plain PyTorch on one "
            "thread (CPU time), whatever engine trained; medians, timed in turn with Adam's step."
        )
    lines.append(f"Seeds: {study.seeds} an arm, each with its own start, order and tuning.")
    return lines


def arms_table(study: Study) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of a table of what differs between arms."""
    parts: dict[str, Callable[[ArmConfig], str]] = {
        "weights": _weights,
        "data": _data,
        "network": _network,
        "optimiser": _optimiser,
        "training": _training,
        "tuning": _tuning,
    }
    texts = {title: [words(arm) for arm in study.arms.values()] for title, words in parts.items()}
    kept = [title for title, column in texts.items() if len(set(column)) > 1]
    labels = [arm.label for arm in study.arms.values()]
    rows = [[label, *(texts[t][i] for t in kept)] for i, label in enumerate(labels)]
    return ["arm", *kept], rows


def _data(arm: ArmConfig) -> str:
    told = arm.data.model_dump(mode="json")
    if told["name"] == "mnist1d":
        return (
            f"MNIST-1D, {told['samples']:,} samples of the published draw, four fifths to train "
            f"and one fifth to test, and two further draws: {told['monitor']:,} samples for curves "
            f"and {told['fresh']:,} for the accuracy on fresh data."
            f"{' Training samples are drawn anew for each seed.' if told['redraw'] else ''}"
            f"{_noise(told)}"
        )
    if told["name"] == "linear_map":
        return _linear_map(told)
    if told["name"] == "compressed":
        return _compressed(told)
    return _listed(told)


def _linear_map(told: dict[str, Any]) -> str:
    values = ", ".join(f"{value:g}" for value in told["singular_values"])
    moments = " Training uses their second moments." if told["statistics"] else ""
    return (
        f"{told['samples']:,} samples of a linear map from {told['inputs']} to {told['outputs']} "
        f"numbers with the singular values {values}, drawn anew for every seed, and "
        f"{told['monitor']:,} more for curves.{moments}"
    )


def _noise(told: dict[str, Any]) -> str:
    share = told.get("label_noise")
    return f" Of the training labels {100 * share:g} % are wrong." if share else ""


def _compressed(told: dict[str, Any]) -> str:
    source = {"mnist": "MNIST", "digits": "8×8 digits"}[told["source"]]
    count = f"{told['samples']:,} samples of " if told["samples"] else ""
    scaled = ", each divided by its deviation" if told["scale_features"] else ""
    transform = told["transform"].replace("_", " ")
    return f"{count}{source}, {transform} to {told['outputs']} numbers{scaled}."


def _network(arm: ArmConfig) -> str:
    told = arm.model.model_dump(mode="json")
    if told["name"] == "mlp":
        sizes = "-".join(map(str, told["sizes"]))
        return f"{sizes}, activation {told['activation']}."
    if told["name"] == "linear_map":
        return _map(told)
    return _listed(told)


def _map(told: dict[str, Any]) -> str:
    entries = f"entries of deviation {told['scale']:g}"
    if told["width"] is not None:
        return f"W U of width {told['width']}, {entries}."
    starts = {
        "normal": f"with {entries}",
        "zero": "at zero",
        "product": f"as a product of width {told['product_width']}, {entries}",
    }
    return f"one matrix, started {starts[told['start']]}."


def _weights(arm: ArmConfig) -> str:
    layers = arm.model.model_dump(mode="json").get("layers", [])
    return "; ".join(map(_layer, layers))


def _layer(told: dict[str, Any]) -> str:
    kind, rest = told["kind"], {k: v for k, v in told.items() if k != "kind" and v is not None}
    if kind == "kronecker" and "factors" in rest:
        factors = " ⊗ ".join(f"{out}×{inner}" for out, inner in rest["factors"])
        return f"Kronecker {factors}{_gain(rest)}"
    if kind in ("lowrank", "lowrank_diag"):
        plus = " + diagonal" if kind == "lowrank_diag" else ""
        return f"rank {rest['rank']}{plus}{_gain(rest)}"
    if kind == "nlmf":
        form = "U Vᵀ + φ(U Vᵀ)" if rest["residual"] else "φ(U Vᵀ)"
        start = f"{rest['start']} start{_gain(rest)}"
        return f"{form} of rank {rest['rank']}, φ 1-{rest['units']}-1 {rest['activation']}, {start}"
    if kind == "masked":
        return f"random mask, {100 * rest['density']:g} % kept{_gain(rest)}"
    return f"{kind} ({_pairs(rest)})" if rest else str(kind)


def _gain(told: dict[str, Any]) -> str:
    return "" if told.get("gain") in (None, 2.0) else f", Var(W) = {told['gain']:g}/fan_in"


def _optimiser(arm: ArmConfig) -> str:
    told = arm.optimiser.model_dump(mode="json", exclude_none=True)
    name = _OPTIMISERS.get(told.pop("name"), arm.optimiser.name)
    return f"{name} ({_pairs(told)})." if told else f"{name}."


def _training(arm: ArmConfig) -> str:
    told = arm.training
    batch = "all samples in each step" if told.batch_size == "full" else f"batch {told.batch_size}"
    return f"{told.epochs} epochs, {batch}, {told.schedule} learning rate."


def _tuning(arm: ArmConfig) -> str:
    told = arm.tuning
    if told is None:
        return "none."
    space = " and ".join(
        f"{quantity(name).label} in {part.low:g} to {part.high:g} ({part.scale})"
        for name, part in told.space.items()
    )
    return (
        f"for each seed {told.trials} trials of {told.epochs} epochs with the {space}, as "
        f"scrambled Sobol points; trained on {100 * (1 - told.validation):g} % of the training "
        f"samples, the best by validation {told.objective} on the rest; final runs train on all."
    )


def _listed(told: dict[str, Any]) -> str:
    name = told.pop("name")
    return f"{name} ({_pairs(told)})." if told else f"{name}."


def _pairs(told: dict[str, Any]) -> str:
    return ", ".join(
        f"{key.replace('_', ' ')} {value if isinstance(value, str) else json.dumps(value)}"
        for key, value in told.items()
        if value is not None and value != 0
    )
