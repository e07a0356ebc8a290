"""Curves of a replica as a table in long form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lowdim.engine.job import Curve

if TYPE_CHECKING:
    import pandas as pd


CURVE_COLUMNS = ["arm", "seed", "epoch", "step", "split", "metric", "index", "value"]


def curve_frame(curves: Curve, times: Curve, names: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row a reading: the given names, epoch, step, split, metric, index, value.

    A curve (points, indices) gives a row for every index.
    """
    import pandas as pd

    frames = []
    for (split, metric), values in curves.items():
        table = np.asarray(values).reshape(len(values), -1)
        points, indices = table.shape
        frames.append(
            pd.DataFrame(
                {
                    **names,
                    "epoch": np.repeat(times[split, metric][:, 0], indices),
                    "step": np.repeat(times[split, metric][:, 1], indices),
                    "split": split,
                    "metric": metric,
                    "index": np.tile(np.arange(indices, dtype=np.int32), points),
                    "value": table.reshape(-1).astype(np.float64),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)
