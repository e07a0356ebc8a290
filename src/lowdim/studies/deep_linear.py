"""What theory says of the study of deep linear maps, and the figures that set runs beside it.

On samples with second moments X^T X / n = I / d the loss of a map A is ||A - A*||^2 / (m d), so
gradient descent at rate lr shrinks each error of a shallow map by 1 - 2 lr / (m d) a step. A
product W U that starts small and balanced learns each singular value s of A* along a sigmoid
(Saxe, McClelland and Ganguli 2014, eq. 6). Starts are random here: values are those expected for
normal entries, to leading order in a start much smaller than s and in d / n.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lowdim.config import ArmConfig
from lowdim.config.data import LinearMapData
from lowdim.config.model import LinearMapModel
from lowdim.config.training import SgdOptimiser
from lowdim.drawing.arms import by_arm
from lowdim.drawing.courses import Panel, courses
from lowdim.drawing.spectra import final_values

Expected = dict[str, np.ndarray]


@dataclass(frozen=True)
class Descent:
    """Plain gradient descent on a linear map (outputs, inputs) of known singular values.

    `deviation` is that of a start's normal entries: of A, or of W and U where there is a width.
    """

    outputs: int
    inputs: int
    samples: int
    values: np.ndarray
    rate: float
    deviation: float
    width: int | None = None
    decay: float = 0.0

    @property
    def pull(self) -> float:
        """The share 2 / (m d) of the error that the gradient is."""
        return 2 / (self.outputs * self.inputs)

    @property
    def off(self) -> tuple[int, int]:
        """Dimensions of outputs and inputs off the target's support."""
        rank = len(self.values)
        return self.outputs - rank, self.inputs - rank

    def after(self, steps: np.ndarray) -> Expected:
        """Return the errors (points,) and singular values (points, rank) after numbers of steps."""
        course = self._shallow(steps) if self.width is None else self._deep(steps, self.width)
        errors = [course[f"err_{part}"] for part in ("support", "null", "mixed")]
        whole = np.sqrt(np.square(errors).sum(0))
        return {**course, "rel_err": whole / np.sqrt(np.square(self.values).sum())}

    def _shallow(self, steps: np.ndarray) -> Expected:
        """A = left A_0 + (1 - left) reach A*, with left = (1 - lr (pull + decay))^steps.

        Mixed errors are dominated by what second moments that are not quite I / d, entries off by
        1 / sqrt(n), leak from the error on the support.
        """
        keep = 1 - self.rate * (self.pull + self.decay)
        left = keep**steps
        reach = self.pull / (self.pull + self.decay)
        missing = 1 - reach * (1 - left)
        rank, target = len(self.values), np.square(self.values).sum()
        fed = (1 - reach) * (1 - left) / (1 - keep) + reach * steps * keep ** (steps - 1)
        leak = (self.rate * self.pull * fed) ** 2 * target * self.off[1] / self.samples
        start = (left * self.deviation) ** 2
        return {
            "err_support": np.sqrt(target * missing**2 + rank**2 * start),
            "err_null": np.sqrt(np.prod(self.off) * start),
            "err_mixed": np.sqrt(rank * sum(self.off) * start + leak),
            "singular_values": (1 - missing)[:, None] * self.values,
        }

    def _deep(self, steps: np.ndarray, width: int) -> Expected:
        """Every mode grows as s / (1 + (s / a_0 - 1) exp(-2 pull s t)) in the time t = lr steps.

        Of a random start with entries of variance v a mode sees the balanced part, a_0 = width
        v / 2. Each grown mode claims a direction of the inner space: what the start has along it
        off the support dies out by `ebb`, what it has along the others stays, but for its own
        slow descent.
        """
        time = self.rate * steps[:, None]
        variance, rank = self.deviation**2, len(self.values)
        first = width * variance / 2
        ratio = self.values / first - 1
        decay = np.exp(-self.pull * self.values * time)
        modes = self.values / (1 + ratio * decay**2)
        ebb = decay**2 * modes / first
        idle = max(width - rank, 0)
        descent = np.exp(-2 * self.pull * variance * (sum(self.off) + 2 * idle) * time[:, 0])
        claimed = min(1, width / rank) * (ebb**2).sum(1)
        null = variance * np.sqrt(np.prod(self.off) * (idle * descent + claimed))
        arc = np.arctan(np.sqrt(ratio)) - np.arctan(np.sqrt(ratio) * decay)
        leak = (modes * ebb * first * ratio * arc**2).sum(1) * self.off[1]
        back = null**2 * ((modes / self.values) ** 2).sum(1)
        start = sum(self.off) * variance * (modes * ebb + first * decay**2).sum(1)
        return {
            "err_support": np.sqrt(np.square(self.values - modes).sum(1)),
            "err_null": null,
            "err_mixed": np.sqrt(start + (leak + back) / self.samples),
            "singular_values": modes,
        }


def expected(arm: ArmConfig, epochs: np.ndarray) -> Expected:
    """Return what theory says of an arm after given epochs, by metric; nothing where it is silent.

    It speaks of gradient descent at a constant rate without momentum, with weight decay on shallow
    maps alone.
    """
    rule, data, model = arm.optimiser, arm.data, arm.model
    if not (
        isinstance(rule, SgdOptimiser)
        and isinstance(data, LinearMapData)
        and isinstance(model, LinearMapModel)
    ):
        return {}
    if rule.learning_rate is None or rule.momentum or arm.training.schedule != "constant":
        return {}
    if model.width is not None and rule.weight_decay:
        return {}
    size = arm.training.batch_size
    steps = 1 if size == "full" else -(-data.samples // size)
    descent = Descent(
        data.outputs,
        data.inputs,
        data.samples,
        np.array(data.singular_values),
        rule.learning_rate,
        _deviation(model),
        model.width,
        rule.weight_decay,
    )
    return descent.after(epochs * steps)


def _deviation(model: LinearMapModel) -> float:
    if model.start == "product":
        return model.scale**2 * float(np.sqrt(model.product_width or 0))
    return 0.0 if model.start == "zero" else model.scale


_SLOW = ("h0_deep_r30", "h0_shallow", "h0_shallow_product", "h0_deep_r30_large")
_FAST = ("h0_deep_r30_lr5", "h0_shallow_lr5", "h0_shallow_product_lr5")
_WIDTHS = ("h0_deep_r5_lr5", "h0_deep_r10_lr5", "h0_deep_r30_lr5", "h0_deep_r100_lr5")
_ADAM = ("h1_deep_r5", "h1_deep_r50", "h1_deep_r100", "h1_deep_r500", "h1_shallow")
_COSINE = tuple(f"{arm}_cosine" for arm in _ADAM)
_GROUPS = {"Rate 0.5": _SLOW[:3], "Rate 5": _FAST, "Adam, constant rate": _ADAM}
PICTURES = (
    courses(
        "error_components",
        title="Components of the error",
        panels=[
            Panel(title, arms, metric)
            for metric in ("err_support", "err_null", "err_mixed")
            for title, arms in _GROUPS.items()
        ],
        columns=3,
        expected=expected,
    ),
    courses(
        "null_error_relative_to_start",
        title="Error off the support, relative to its start",
        panels=[
            Panel(title, arms, "err_null_relative_to_start")
            for title, arms in (
                ("Rate 0.5", _SLOW),
                ("Rate 5, by width", (*_WIDTHS, "h0_shallow_lr5")),
                ("Adam, constant rate", _ADAM),
                ("Adam, cosine", _COSINE),
            )
        ],
        columns=2,
        expected=expected,
    ),
    courses(
        "singular_values",
        title="Singular values over epochs",
        panels=[
            Panel(title, (arm,), "singular_values", tuple(range(6)), "linear")
            for title, arm in (
                ("Deep, r = 30, rate 5", "h0_deep_r30_lr5"),
                ("Shallow, rate 5", "h0_shallow_lr5"),
            )
        ],
        columns=2,
        expected=expected,
    ),
    final_values(
        "final_spectra",
        title="Final singular values by width",
        panels={
            "Rate 5": (*_WIDTHS, "h0_shallow_lr5"),
            "Adam, constant rate": _ADAM,
            "Adam, cosine": _COSINE,
        },
    ),
    by_arm(
        "errors_at_the_end",
        title="Errors at the end of training",
        metrics=["rel_err", "err_null", "err_null_relative_to_start"],
        middle="median",
    ),
)
