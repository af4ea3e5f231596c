"""Baselines that are fitted on panels join a task: each window by what was known before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np

from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.tasks import Task
from tsfm.models.base import Context, Forecast, Forecaster
from tsfm.models.marginals import JoinedMarginals
from tsfm.models.statistical import Baseline, SeasonalNaive

if TYPE_CHECKING:
    from tsfm.data.panel import Panel

REFITS = 3
"""Fits of a dated task that names no first origin."""


@runtime_checkable
class Fittable(Protocol):
    """A forecaster that is fitted on a panel."""

    fitted: Any

    def sized(
        self, *, context: int, horizon: int, season: int, levels: Sequence[float], available: int
    ) -> Self:
        """Unfitted, for questions of that size on series of that length."""

    def fit(self, panel: Panel) -> Self:
        """Estimate on all series of a panel."""


class Stage(NamedTuple):
    """A model for windows from a moment on; None where there was too little to fit one on."""

    since: np.datetime64 | None
    model: Forecaster | None


class Refitted(Forecaster):
    """Forecasts each window by the latest model whose training data end before it.

    Parameters
    ----------
    stages
        By their moments; a single one without a moment serves all.
    """

    name: ClassVar[str] = "refitted"

    def __init__(self, name: str, stages: Sequence[Stage], *, reads_history: bool) -> None:
        self.name = name  # type: ignore[misc]
        self.reads_history = reads_history  # type: ignore[misc]
        self.stages = list(stages)

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        places = self._stage_of(context)
        parts: list[tuple[np.ndarray, Forecast]] = []
        for place in np.unique(places):
            rows = np.flatnonzero(places == place)
            model = self.stages[place].model if place >= 0 else None
            model = model or SeasonalNaive(max_history=context.length)
            asked = context.rows(rows.tolist())
            parts.append((rows, model.forecast(asked, horizon, quantile_levels)))
        order = np.argsort(np.concatenate([rows for rows, _ in parts]))
        return Forecast(
            quantiles=np.concatenate([part.quantiles for _, part in parts])[order],
            quantile_levels=quantile_levels,
            mean=np.concatenate([part.mean for _, part in parts])[order],
            distribution=None
            if any(part.distribution is None for _, part in parts)
            else JoinedMarginals(
                parts=[(rows, part.distribution) for rows, part in parts if part.distribution]
            ),
        )

    def _stage_of(self, context: Context) -> np.ndarray:
        """Which stage serves each row; -1: none, its origin being earlier than all of them."""
        moments = [stage.since for stage in self.stages]
        if moments[0] is None:
            return np.zeros(context.batch_size, int)
        assert context.timestamps is not None
        following = context.future_timestamps
        origins = context.timestamps[:, -1] if following is None else following[:, 0]
        return np.searchsorted(np.asarray(moments, "datetime64[ns]"), origins, "right") - 1

    def save(self, directory: str | Path) -> Path:
        raise ConfigError(
            f"{self.name} was fitted for one task, several times",
            where=str(directory),
            remedy="fit it on a panel and save that",
        )

    @classmethod
    def load(cls, directory: str | Path, **config_overrides: Any) -> Self:  # noqa: ARG003
        raise ConfigError("a baseline fitted for a task is not kept", where=str(directory))

    def info(self) -> dict[str, Any]:
        """Of the last fit."""
        last = next((one.model for one in reversed(self.stages) if one.model is not None), None)
        return {"name": self.name, "parameters": 0} if last is None else last.info()


def prepared(model: Forecaster, task: Task, panel: Panel) -> Forecaster:
    """A baseline as a task asks it.

    Statistical ones look back at least as far as models do. Those fitted on panels are fitted on
    the bars before the task's first origin, of all items. Where the task names none, on those
    before the earliest window and again at later ones, :data:`REFITS` times in all, so that a
    window is forecast by a model that saw nothing from its own time on; undated series are cut at
    the earliest window's bar. Where too little was there to fit on, seasonal naive answers.
    """
    if isinstance(model, Baseline):
        return replace(model, max_history=max(model.max_history, task.context))
    if not isinstance(model, Fittable) or model.fitted is not None:
        return model
    view = panel.variates((*task.targets, *task.past))
    stages = [
        Stage(since, _fitted(model, task, view, since, bars)) for since, bars in cuts(task, panel)
    ]
    return Refitted(model.name, stages, reads_history=model.reads_history)


def cuts(task: Task, panel: Panel) -> list[tuple[np.datetime64 | None, int | None]]:
    """Where training data end: moments of dated panels, else a bar."""
    if task.first_origin is not None:
        return [(np.datetime64(task.first_origin, "ns"), None)]
    windows = task.windows(panel)
    if not windows:
        return [(None, task.context)]
    items, origins = np.asarray(windows).T
    if panel.timestamps(int(items[0])) is None:
        return [(None, int(origins.min()))]
    found = np.empty(len(items), "datetime64[ns]")
    for item in np.unique(items):
        stamps = panel.timestamps(int(item))
        assert stamps is not None
        found[items == item] = stamps[origins[items == item]]
    ordered = np.sort(found)
    places = np.arange(REFITS) * len(ordered) // REFITS
    return [(moment, None) for moment in np.unique(ordered[places])]


def _fitted(
    model: Forecaster, task: Task, panel: Panel, since: np.datetime64 | None, bars: int | None
) -> Forecaster | None:
    assert isinstance(model, Fittable)
    try:
        known = panel.between(stop=since) if bars is None else panel.slice(0, bars)
        sized = model.sized(
            context=task.context,
            horizon=task.horizon,
            season=task.seasonality,
            levels=task.quantile_levels,
            available=int(known.lengths.max()),
        )
        fitted: Forecaster = sized.fit(known)
    except DataError:
        return None
    return fitted
