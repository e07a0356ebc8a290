"""What is read of a replica while it trains: values with the epoch and step they belong to."""

from __future__ import annotations

from typing import Any

import numpy as np

from lowdim.engine.job import Curve


class Readings:
    """Values noted in time, by (split, metric)."""

    def __init__(self) -> None:
        self._points: dict[tuple[str, str], list[tuple[tuple[int, int], Any]]] = {}

    def note(self, epoch: int, step: int, pair: tuple[str, str], value: Any) -> None:
        """Note a scalar or a vector."""
        self._points.setdefault(pair, []).append(((epoch, step), value))

    def arrays(self) -> tuple[Curve, Curve]:
        """Return curves (points,) or (points, indices), and their times (points, 2)."""
        curves = {p: np.stack([value for _, value in own]) for p, own in self._points.items()}
        times = {
            p: np.array([time for time, _ in own], np.int32) for p, own in self._points.items()
        }
        return curves, times
