"""Task: a frozen question put to every forecaster alike."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from jaxtyping import Int

from tsfm.errors import ConfigError, DataError, one_of
from tsfm.evaluation.metric_names import DEFAULT_METRICS, METRIC_NAMES, interval_of, is_within
from tsfm.models.base import QUANTILE_LEVELS, Context

if TYPE_CHECKING:
    from tsfm.data.panel import Panel
    from tsfm.data.windows import Window

MODES = ("zero_shot", "fitted")
CLUSTERS = ("item_time", "item", "time_block")


@dataclass(frozen=True, kw_only=True)
class Task:
    """Which windows of which panel are forecast, from what, and how they are judged.

    Attributes
    ----------
    panel_fingerprint
        Of the only panel that the task may be asked of.
    targets
        Variates that are scored.
    past
        Other variates of the panel that forecasters see up to the origin.
    known
        Known covariates of the panel that forecasters see over context and horizon.
    context, horizon
        Bars.
    baseline_context
        Bars that statistical baselines see where the series reach back that far; also the history
        of MASE's scale. At least ``context``, which is its default.
    first_origin
        No bar before this timestamp is forecast.
    stride
        Bars between the origins of one item.
    max_windows
        Per item, evenly spaced among those that the stride gives.
    seasonality
        Bars in one season (1: none).
    mode
        ``"fitted"`` where the forecaster may have been trained on the panel's earlier bars.
    metrics
        Some of :data:`tsfm.evaluation.metric_names.METRIC_NAMES`.
    cluster
        What the bootstrap resamples: ``"item"`` (patient, system family), ``"time_block"`` (all
        items together) or both, ``"item_time"``.
    items
        Which items; by default all.

    Raises
    ------
    ConfigError
        When a field is out of its range.
    """

    name: str
    panel_fingerprint: str
    targets: tuple[str, ...]
    past: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    context: int
    horizon: int
    baseline_context: int | None = None
    first_origin: pd.Timestamp | str | None = None
    stride: int = 1
    max_windows: int | None = None
    seasonality: int = 1
    quantile_levels: tuple[float, ...] = QUANTILE_LEVELS
    mode: str = "fitted"
    metrics: tuple[str, ...] = DEFAULT_METRICS
    cluster: str = "item_time"
    items: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("targets", "past", "known", "metrics", "items"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))
        levels = tuple(float(level) for level in self.quantile_levels)
        object.__setattr__(self, "quantile_levels", levels)
        if self.first_origin is not None:
            object.__setattr__(self, "first_origin", pd.Timestamp(self.first_origin))
        if not self.targets or set(self.targets) & set(self.past):
            raise ConfigError(
                f"targets={self.targets}, past={self.past}",
                where=f"task {self.name}",
                remedy="name at least one target; a variate is either a target or past",
            )
        minima = {"context": 1, "horizon": 1, "stride": 1, "max_windows": 1, "seasonality": 1}
        for name, least in (minima | {"baseline_context": self.context}).items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(
                    f"{name}={value} is too small",
                    where=f"task {self.name}",
                    remedy=f"give at least {least}",
                )
        if not levels or any(b <= a for a, b in zip((0.0, *levels), (*levels, 1.0))):
            raise ConfigError(
                f"quantile_levels={levels} are not increasing inside (0, 1)",
                where=f"task {self.name}",
            )
        one_of("mode", self.mode, MODES)
        one_of("cluster", self.cluster, CLUSTERS)
        for metric in self.metrics:
            one_of("metrics", metric, METRIC_NAMES)
        self._check_interval(levels)

    def _check_interval(self, levels: tuple[float, ...]) -> None:
        for metric in self.metrics:
            if not is_within(metric, levels):
                ends = " and ".join(f"{end:g}" for end in interval_of(metric) or ())
                raise ConfigError(
                    f"quantile_levels={levels} do not reach {ends} for {metric}",
                    where=f"task {self.name}",
                    remedy="add the levels, or leave the metric out: tails are not guessed",
                )

    @property
    def history(self) -> int:
        """Bars before the origin that anything may look at."""
        return self.baseline_context or self.context

    @classmethod
    def on(cls, panel: Panel, **fields: Any) -> Self:
        """A task on a panel, with its fingerprint, variates and seasonality unless given.

        Raises
        ------
        ConfigError
            When a field is out of its range.
        """
        defaults: dict[str, Any] = {
            "name": panel.info.name,
            "targets": panel.info.variates,
            "seasonality": panel.info.seasonality,
        }
        return cls(panel_fingerprint=panel.fingerprint, **(defaults | fields))

    def windows(self, panel: Panel) -> list[tuple[int, int]]:
        """``(item, origin)`` of every window; the bar at the origin is the first one forecast.

        A window has its whole context and horizon inside the series, and a target that is observed
        at least once in each of them.

        Raises
        ------
        DataError
            When the panel is not the task's, or lacks an item or variate.
        """
        return [
            (item, origin) for item, origins in self.origins(panel) for origin in origins.tolist()
        ]

    def origins(self, panel: Panel) -> Iterator[tuple[int, Int[np.ndarray, " window"]]]:
        """The origins of every item's windows, item by item; see :meth:`windows`.

        Raises
        ------
        DataError
            When the panel is not the task's, or lacks an item or variate.
        """
        self._check(panel)
        asked = panel.variates(self.targets)
        wanted = None if self.items is None else set(self.items)
        for item in range(len(panel)):
            if wanted is None or panel.item_ids[item] in wanted:
                yield item, self._origins(asked, item)

    def crops(self, panel: Panel, history: int | None = None) -> Iterator[tuple[Window, Window]]:
        """The past and the answer of every window, in the order of :meth:`windows`.

        Parameters
        ----------
        history
            Bars of the past where the series reaches back that far; by default ``context``.
        """
        seen = self._view(panel)
        asked = panel.variates(self.targets)
        for item, origin in self.windows(panel):
            length = min(history or self.context, origin)
            past = seen.window(item, origin - length, length, self.horizon)
            yield self._with_known(past, panel), asked.window(item, origin, self.horizon)

    def contexts(
        self, panel: Panel, batch_size: int = 64, history: int | None = None
    ) -> Iterator[Context]:
        """What forecasters see, in batches, in the order of :meth:`windows`.

        Raises
        ------
        DataError
            When the panel is not the task's, or lacks an item or variate.
        """
        from tsfm.evaluation.crops import Crops, contexts

        return contexts(Crops(self, panel), batch_size, history)

    def save(self, path: str | Path) -> Path:
        """Write the task as JSON, all of it or nothing."""
        path = Path(path)
        record = asdict(self) | {"first_origin": self.first_origin and str(self.first_origin)}
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(record, indent=2))
        temporary.replace(path)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises
        ------
        ConfigError
            When the file is missing, damaged, or names unknown fields.
        """
        try:
            record = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"the task cannot be read: {error}", where=str(path)) from error
        known = {field.name for field in fields(cls)}
        required = {"name", "panel_fingerprint", "targets", "context", "horizon"}
        if not isinstance(record, dict) or not required <= set(record) <= known:
            raise ConfigError(
                "the file is not a task", where=str(path), remedy="give a file Task.save wrote"
            )
        return cls(**record)

    def _check(self, panel: Panel) -> None:
        if panel.fingerprint != self.panel_fingerprint:
            raise DataError(
                f"the panel has fingerprint {panel.fingerprint}, not {self.panel_fingerprint}",
                where=f"task {self.name}",
                remedy="ask it of the panel it was frozen on, or make a new task with Task.on",
            )
        held = {
            "items": panel.item_ids,
            "targets": panel.info.variates,
            "past": panel.info.variates,
            "known": panel.info.known_covariates,
        }
        for name, names in held.items():
            missing = sorted(set(getattr(self, name) or ()) - set(names))
            if missing:
                raise DataError(
                    f"{name} {missing} are not in panel {panel.info.name}",
                    where=f"task {self.name}",
                )
        if self.first_origin is not None and panel.timestamps(0) is None:
            raise DataError(
                f"first_origin={self.first_origin} but the panel has no timestamps",
                where=f"task {self.name}",
                remedy="leave first_origin out, or date the panel",
            )

    def _origins(self, asked: Panel, item: int) -> np.ndarray:
        """Of one item of a view of the targets; only bars that a window can hold are read."""
        first, last = self.context, int(asked.lengths[item]) - self.horizon
        if self.first_origin is not None and first <= last:
            first = max(first, asked.position(item, self.first_origin))
        origins = np.arange(first, last + 1, self.stride)
        if not len(origins):
            return origins
        begin, stop = first - self.context, int(origins[-1]) + self.horizon
        target = asked.window(item, begin, stop - begin).target
        observed = np.append(0, np.isfinite(target).any(axis=0).cumsum())
        seen = observed[origins - begin] > observed[origins - self.context - begin]
        answered = observed[origins + self.horizon - begin] > observed[origins - begin]
        origins = origins[seen & answered]
        if self.max_windows is None or len(origins) <= self.max_windows:
            return origins
        return origins[np.linspace(0, len(origins) - 1, self.max_windows).round().astype(int)]

    def _view(self, panel: Panel) -> Panel:
        return panel.variates((*self.targets, *self.past))

    def _with_known(self, window: Window, panel: Panel) -> Window:
        if window.known_covariates is None:
            return window
        rows = [panel.info.known_covariates.index(name) for name in self.known]
        known = window.known_covariates[rows] if rows else None
        return replace(window, known_covariates=known)


def task_digest(task: Task) -> str:
    """Of everything that a task asks, its panel's fingerprint included, but not of its name."""
    record = asdict(task) | {"name": "", "first_origin": str(task.first_origin)}
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
