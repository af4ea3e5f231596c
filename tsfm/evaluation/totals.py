"""Totals: window blocks added up over a whole task, a table at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tsfm.evaluation.gift import errors_of_sums
from tsfm.evaluation.metric_names import METRIC_NAMES
from tsfm.evaluation.metrics import LOSSES, finish
from tsfm.evaluation.tasks import Task
from tsfm.evaluation.window_blocks import BOTTOM, COUNTS, TOP, told


class Totals:
    """Sums of a task's tables of window blocks.

    Attributes
    ----------
    windows, seconds
        Answered so far, and the wall time of forecasting them.
    counts
        Bars ``observed``, ``scored``, ``nan``, ``infinite`` and ``crossed``.
    pit
        Scored bars below the lowest quantile, between each two, and above the highest.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.windows, self.seconds = 0, 0.0
        self.counts = dict.fromkeys(COUNTS, 0)
        self.pit = np.zeros(len(task.quantile_levels) + 1, np.int64)
        self._sums: dict[str, np.ndarray] = {}
        self._gift: dict[str, np.ndarray] = {}
        self._untold: set[str] = set()
        self._is_degenerate = False

    def add(self, table: pa.Table) -> None:
        """Add the rows of whole windows."""
        about, width = told(table), len(self.task.targets)
        self.windows += about["windows"]
        self.seconds += about["seconds"]
        self._is_degenerate |= about["is_degenerate"]
        for name in COUNTS:
            self.counts[name] += int(pc.sum(table[name]).as_py() or 0)
        flat = pc.list_flatten(table["pit"]).to_numpy()
        self.pit += flat.reshape(-1, len(self.pit)).sum(axis=0)
        for metric in METRIC_NAMES:
            parts = [table[f"{metric}{part}"] for part in (TOP, BOTTOM)]
            if parts[0].null_count:
                self._untold.add(metric)
                continue
            both = np.stack([part.to_numpy().reshape(-1, width).sum(axis=0) for part in parts])
            self._sums[metric] = self._sums.get(metric, 0) + both
        for name, pair in about["gift"].items():
            self._gift[name] = self._gift.get(name, 0) + np.array(pair)

    @property
    def missing(self) -> int:
        """Observed bars that the forecaster left without a finite forecast."""
        return self.counts["nan"] + self.counts["infinite"]

    def values(self, metric: str) -> np.ndarray:
        """The metric over all windows, by variate; NaN where nothing is scored."""
        top, bottom = self._sums.get(metric, np.zeros((2, len(self.task.targets))))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(finish(metric, np.where(bottom > 0, top / bottom, np.nan)))

    def errors(self) -> dict[str, float]:
        """Losses averaged over variates, ``calibration``, and GIFT-Eval's metrics over all bars.

        Metrics that some windows cannot tell are left out: they would be those of the others.
        """
        found = {}
        for metric in self._sums:
            if metric in LOSSES and metric not in self._untold:
                values = self.values(metric)
                known = np.isfinite(values)
                found[metric] = float(values[known].mean()) if known.any() else float("nan")
        if not self._is_degenerate:
            found["calibration"] = calibration_error(self.pit, self.task.quantile_levels)
        return found | errors_of_sums(self._gift)


def calibration_error(pit: Any, levels: tuple[float, ...]) -> float:
    """Mean absolute difference between levels and the shares of bars at most their quantiles."""
    counts = np.asarray(pit, float)
    if not counts.sum():
        return float("nan")
    shares = counts.cumsum()[:-1] / counts.sum()
    return float(np.abs(shares - np.asarray(levels)).mean())
