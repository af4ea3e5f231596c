"""Figures of judging, in the style of :mod:`tsfm.evaluation.plot_style`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsfm.errors import ConfigError, one_of
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.metrics import finish, per_bar
from tsfm.evaluation.plot_style import (
    FAINT,
    INK,
    MODEL,
    MOST_VARIATES,
    color_of,
    figure_grid,
    legend_below,
    quantile_bands,
)
from tsfm.models.base import Context, Forecast

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tsfm.data.panel import Panel


def fan_chart(
    context: Context,
    forecast: Forecast,
    actual: np.ndarray | None = None,
    *,
    history: int = 96,
    title: str = "",
) -> Figure:
    """Forecast fans after their pasts: a row per series, a column per variate.

    Parameters
    ----------
    actual
        What happened, ``[batch, horizon, variate]``.
    history
        Bars of the past that are shown.
    """
    rows, columns = context.batch_size, len(context.variate_names)
    with figure_grid(rows, columns, title=title, sharex=True) as (figure, axes):
        for row in range(rows):
            for column in range(columns):
                past = context.past[row, -history:, column]
                answer = None if actual is None else actual[row, :, column]
                _fan(axes[row, column], past, forecast, row, column, answer)
            axes[row, 0].set_ylabel(_row_name(context, row))
        for column, name in enumerate(context.variate_names):
            axes[0, column].set_title(name)
            axes[-1, column].set_xlabel("bars from the origin")
        legend_below(figure, axes[0, 0])
    return figure


def fan_chart_of(
    backtest: Backtest,
    panel: Panel,
    *,
    windows: int | Sequence[int] = 2,
    variates: Sequence[str] | None = None,
    history: int = 96,
    title: str | None = None,
) -> Figure:
    """Fans of some windows of a backtest: those given, or so many evenly spaced ones.

    Parameters
    ----------
    variates
        Targets to show, by default the first :data:`MOST_VARIATES`.

    Raises
    ------
    ConfigError
        When a window or variate does not exist.
    """
    count = len(backtest.origins)
    if isinstance(windows, int):
        middles = (np.arange(min(windows, count)) + 0.5) / min(windows, count)
        rows = (middles * count).astype(int).tolist()
    else:
        rows = list(windows)
    if not rows or not all(0 <= row < count for row in rows):
        raise ConfigError(f"windows={windows} of {count} cannot be drawn")
    task = backtest.task
    names = _shown(task.targets) if variates is None else tuple(variates)
    for name in names:
        one_of("variates", name, task.targets)
    columns = [task.targets.index(name) for name in names]
    pasts = [past for past, _ in task.crops(panel, max(history, task.context))]
    context = Context.from_windows([pasts[row] for row in rows], horizon=task.horizon)
    shown = Context(
        past=context.past[:, :, columns],
        variate_names=names,
        item_ids=context.item_ids,
        timestamps=context.timestamps,
    )
    forecast = Forecast(
        quantiles=backtest.quantiles[rows][:, :, columns],
        quantile_levels=task.quantile_levels,
        mean=backtest.mean[rows][:, :, columns],
    )
    actual = backtest.actual[rows][:, :, columns]
    title = f"{backtest.model} on {task.name}" if title is None else title
    return fan_chart(shown, forecast, actual, history=history, title=title)


def calibration(backtest: Backtest, *, title: str | None = None) -> Figure:
    """Reliability of the quantile levels, and the histogram of PIT values, per variate.

    A PIT value is known as far as the two levels around it; each bin's share is over its width,
    so that a calibrated forecaster has height 1.
    """
    levels = np.asarray(backtest.task.quantile_levels)
    title = f"{backtest.model} on {backtest.task.name}" if title is None else title
    with figure_grid(1, 2, title=title, size=(5.2, 4.4)) as (figure, axes):
        reliability, histogram = axes[0]
        reliability.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1.5)
        histogram.axhline(1, color=FAINT, linestyle="--", linewidth=1.5)
        edges = np.concatenate([[0], levels, [1]])
        for column, name in enumerate(_shown(backtest.task.targets)):
            scored = backtest.scored[:, :, column]
            if not scored.any():
                continue
            color = color_of(column)
            actual = backtest.actual[:, :, column][scored]
            below = (actual[:, None] <= backtest.quantiles[:, :, column][scored]).mean(axis=0)
            reliability.plot(levels, below, "o-", color=color, label=name, markersize=6)
            shares = np.diff(np.concatenate([[0], below, [1]])) / np.diff(edges)
            histogram.stairs(shares, edges, baseline=None, color=color, linewidth=2.5)
        reliability.set(title="Reliability", xlabel="quantile level", ylabel="observed share below")
        reliability.set(xlim=(0, 1), ylim=(0, 1))
        histogram.set(title="PIT histogram", xlabel="PIT", ylabel="density", xlim=(0, 1))
        histogram.set_ylim(0, max(2.0, 1.05 * histogram.dataLim.y1))
        legend_below(figure, reliability)
    return figure


def error_by_horizon(
    backtests: Sequence[Backtest], metric: str = "crps", *, title: str | None = None
) -> Figure:
    """Error at each step of the horizon, the first backtest's model beside the others.

    Raises
    ------
    ConfigError
        When there is no backtest, or the metric is unknown.
    """
    if not backtests:
        raise ConfigError("no backtest to draw", remedy="give the model's and the baselines'")
    targets = _shown(backtests[0].task.targets)
    title = backtests[0].task.name if title is None else title
    with figure_grid(1, len(targets), title=title, size=(4.2, 3.9)) as (figure, axes):
        for order, backtest in reversed(list(enumerate(backtests))):
            errors = _by_step(backtest, metric)
            for column in range(len(targets)):
                axes[0, column].plot(
                    np.arange(1, len(errors) + 1),
                    errors[:, column],
                    color=color_of(order),
                    linewidth=3.5 if order == 0 else 1.8,
                    label=backtest.model,
                )
        for axis, name in zip(axes[0], targets):
            axis.set(title=name, xlabel="bars ahead")
            axis.set_ylim(bottom=0)
            axis.margins(x=0.02)
        axes[0, 0].set_ylabel(metric.replace("_", " ").upper())
        legend_below(figure, axes[0, 0], order=[backtest.model for backtest in backtests])
    return figure


def skill_chart(comparison: pd.DataFrame, *, title: str | None = None) -> Figure:
    """Skill against every baseline with its interval: a column per task, from ``compare``.

    Raises
    ------
    ConfigError
        When the comparison is empty.
    """
    if comparison.empty:
        raise ConfigError("nothing to draw", remedy="compare a model with at least one baseline")
    tasks, variates, baselines = (
        list(dict.fromkeys(comparison[name])) for name in ("task", "variate", "baseline")
    )
    title = f"Skill of {comparison['model'].iloc[0]}" if title is None else title
    rows = comparison.groupby("variate", sort=False)["baseline"].unique()
    pairs = [(variate, name) for variate in variates for name in (*rows[variate], None)][:-1]
    size = (5.0, 1.2 + 0.3 * len(pairs))
    with figure_grid(1, len(tasks), title=title, size=size, sharex=True, sharey=True) as (
        figure,
        axes,
    ):
        lowest = max(float(np.nanmin(comparison[["low", "skill"]].to_numpy())), -1.0)
        for axis, task in zip(axes[0], tasks):
            axis.axvline(0, color=FAINT, linewidth=1.5)
            for row in comparison[comparison["task"] == task].itertuples():
                position = -pairs.index((row.variate, row.baseline))
                _whisker(axis, row, position, color_of(baselines.index(row.baseline) + 1), lowest)
            axis.set(title=task, xlabel="better →")
            axis.tick_params(axis="y", length=0)
            axis.locator_params(axis="x", nbins=5)
            axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        middles = [
            -np.mean([k for k, pair in enumerate(pairs) if pair[0] == variate and pair[1]])
            for variate in variates
        ]
        axes[0, 0].set_yticks(middles, variates)
        legend_below(figure, axes[0, 0], order=baselines)
    return figure


def _fan(
    axis: Axes,
    past: np.ndarray,
    forecast: Forecast,
    row: int,
    column: int,
    actual: np.ndarray | None,
) -> None:
    ahead = np.arange(1, forecast.horizon + 1)
    quantile_bands(axis, ahead, forecast.quantiles[row, :, column], forecast.quantile_levels)
    axis.plot(np.arange(1 - len(past), 1), past, color=INK, linewidth=1.3)
    axis.plot(ahead, forecast.median[row, :, column], color=MODEL, linewidth=2.2, label="median")
    if actual is not None:
        axis.plot(ahead, actual, color=INK, linewidth=1.3, label="actual")
    axis.axvline(0.5, color=FAINT, linewidth=1.2, linestyle="--")
    axis.margins(x=0.01)
    axis.locator_params(axis="y", nbins=4)


def _by_step(backtest: Backtest, metric: str) -> np.ndarray:
    terms = per_bar(backtest, metric)
    scored = np.isfinite(terms)
    counts = scored.sum(axis=0)
    if metric == "wql":
        counts = np.where(scored, np.abs(backtest.actual), 0.0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(finish(metric, np.where(scored, terms, 0.0).sum(axis=0) / counts))


def _whisker(axis: Axes, row: Any, position: float, color: str, lowest: float) -> None:
    """A dot with its interval; what lies below ``lowest`` is drawn as an arrow at the edge."""
    low, high = (max(value, lowest) for value in (row.low, row.high))
    axis.plot([low, high], [position, position], color=color, linewidth=2.5)
    marker = "o" if row.skill >= lowest else "<"
    axis.plot(
        max(row.skill, lowest), position, marker, color=color, markersize=9, label=row.baseline
    )


def _row_name(context: Context, row: int) -> str:
    name = context.item_ids[row]
    if context.timestamps is None:
        return name
    return f"{name}\n{pd.Timestamp(context.timestamps[row, -1]):%Y-%m-%d}"


def _shown(targets: tuple[str, ...]) -> tuple[str, ...]:
    """As many variates as a figure stays readable with."""
    return targets[:MOST_VARIATES]
