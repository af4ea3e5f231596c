"""Figures of glucose, in the style of :mod:`tsfm.evaluation.plot_style`; all axes in mg/dL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tsfm.data.glucose.units import to_mg_dl
from tsfm.errors import ConfigError, one_of
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.clinical import bar_minutes, glucose_of, reported_steps
from tsfm.evaluation.clinical_config import ClinicalConfig
from tsfm.evaluation.error_grids import EDGE, GRIDS, LETTERS, ZONES, lines_of, zones_of
from tsfm.evaluation.hypoglycaemia import Events
from tsfm.evaluation.plot_style import (
    FAINT,
    INK,
    INNER,
    MODEL,
    OUTER,
    color_of,
    figure_grid,
    legend_below,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tsfm.data.panel import Panel

TINTS = ("#f7fbf7", "#e3f0dc", "#fdeec2", "#f9cfa5", "#f0a899")
"""Of zones A to E, darker the worse, also in grey."""

TITLES = {
    "clarke": "Clarke error grid",
    "parkes_1": "Parkes error grid, type 1",
    "parkes_2": "Parkes error grid, type 2",
}
LABELS = {
    "rmse": "RMSE (mg/dL)",
    "mae": "MAE (mg/dL)",
    "crps": "CRPS (mg/dL)",
    "coverage_80": "coverage of the 80 % interval",
}
_MOST_POINTS = 4000
_DASHES = ((0, (7, 3)), "-", (0, (3, 1.5)), (0, (7, 2, 1.5, 2)), (0, (1.2, 1.2)), "-")
"""Of the lines beside the model's: what lies below shows, and print needs no colour."""

_RANGE = "#edf7ef"


def glucose_fans(
    backtest: Backtest,
    panel: Panel,
    config: ClinicalConfig | None = None,
    *,
    windows: Sequence[int] | int = 6,
    hours: float = 3.0,
    title: str | None = None,
) -> Figure:
    """Fans of some windows with the target range: those given, or so many evenly spaced ones.

    Parameters
    ----------
    hours
        Of the past that are shown.

    Raises
    ------
    ConfigError
        When a window does not exist, or glucose is not a target.
    """
    config = config or ClinicalConfig()
    glucose = glucose_of(backtest, config)
    step = bar_minutes(glucose, config)
    shown = _chosen(glucose, windows)
    history = max(round(60 * hours / step), 1)
    pasts = [past.target[0] for past, _ in glucose.task.crops(panel, history)]
    columns = min(len(shown), 3)
    rows = -(-len(shown) // columns)
    title = f"{backtest.model} on {backtest.task.name}" if title is None else title
    with figure_grid(rows, columns, title=title, size=(4.3, 3.0), sharey=True) as (figure, axes):
        for axis, window in zip(axes.flat, shown):
            past = to_mg_dl(np.asarray(pasts[window][-history:], np.float64), config.units)
            _fan(axis, glucose, window, past, step / 60, config)
            axis.set_title(_window_name(glucose, window), fontsize=12)
        for axis in axes.flat[len(shown) :]:
            axis.set_visible(False)
        for axis in axes[:, 0]:
            axis.set_ylabel("mg/dL")
        for place, axis in enumerate(axes.flat):
            if len(shown) - columns <= place < len(shown):
                axis.set_xlabel("hours from the origin")
        legend_below(figure, axes[0, 0])
    return figure


def error_chart(
    tables: Sequence[pd.DataFrame],
    config: ClinicalConfig | None = None,
    *,
    metric: str = "rmse",
    title: str = "",
) -> Figure:
    """Errors along the horizon with their intervals over patients, a band per model.

    Parameters
    ----------
    tables
        From :func:`tsfm.evaluation.clinical.error_by_minute`, one per model, the first in front.

    Raises
    ------
    ConfigError
        When there is nothing to draw.
    """
    if not tables:
        raise ConfigError("no errors to draw", remedy="give the table of at least one model")
    config = config or ClinicalConfig()
    names = [str(table["model"].iloc[0]) for table in tables]
    longest = max(float(table["minutes"].max()) for table in tables)
    in_hours = longest > 2 * max(config.minutes)
    scale = 60.0 if in_hours else 1.0
    with figure_grid(1, 1, title=title, size=(6.6, 4.6)) as (figure, axes):
        axis = axes[0, 0]
        for order, table in reversed(list(enumerate(tables))):
            x = table["minutes"].to_numpy() / scale
            color = color_of(order)
            axis.fill_between(x, table["low"], table["high"], color=color, alpha=0.16, lw=0)
            axis.plot(x, table["value"], label=names[order], **_line(order))
        marks = [minutes / scale for minutes in config.minutes if minutes <= longest]
        if in_hours:
            axis.set_xlabel("hours ahead")
        else:
            axis.set_xticks(marks)
            axis.set_xlabel("minutes ahead")
        axis.set_ylabel(LABELS[metric])
        if metric == "coverage_80":
            axis.axhline(0.8, color=FAINT, ls="--", lw=1.5)
            axis.set_ylim(0, 1)
        else:
            axis.set_ylim(0, _top(tables))
        axis.margins(x=0.01)
        legend_below(figure, axis, order=names, columns=3)
    return figure


def grid_chart(
    backtest: Backtest,
    config: ClinicalConfig | None = None,
    *,
    grid: str = "clarke",
    minutes: Sequence[int] = (30, 60),
    title: str | None = None,
) -> Figure:
    """Median forecasts against what was measured, on an error grid, a panel per time.

    Every zone is tinted as the tables count it and drawn with its published lines; shares are in
    the title. Of many points an even choice is drawn; shares are of all.

    Raises
    ------
    ConfigError
        When the grid is unknown or no time is one of the task's.
    """
    one_of("grid", grid, GRIDS)
    config = config or ClinicalConfig()
    glucose = glucose_of(backtest, config)
    steps = reported_steps(glucose, config)
    times = [one for one in minutes if one in steps]
    if not times:
        raise ConfigError(
            f"minutes={tuple(minutes)} are none of {sorted(set(steps) - {0})}",
            where=f"task {backtest.task.name}",
            remedy="choose from those that the config reports",
        )
    name = f"{backtest.model} on {backtest.task.name}" if title is None else title
    with figure_grid(1, len(times), title=name, size=(5.0, 4.7)) as (figure, axes):
        for axis, time in zip(axes[0], times):
            actual = glucose.actual[:, steps[time], 0].ravel()
            median = glucose.median[:, steps[time], 0].ravel()
            known = np.isfinite(actual) & np.isfinite(median)
            shares = _grid(axis, grid, actual[known], median[known])
            when = f"{time} minutes ahead" if time else "whole horizon"
            told = "   ".join(f"{zone} {share:.1%}" for zone, share in zip(ZONES, shares))
            axis.set_title(f"{TITLES[grid]}, {when}\n{told}", fontsize=12.5)
            axis.set_xlabel("measured (mg/dL)")
        axes[0, 0].set_ylabel("forecast (mg/dL)")
    return figure


def event_chart(events: Sequence[Events], *, title: str | None = None) -> Figure:
    """Receiver operating and precision–recall curves of forecasters, the first in front.

    Raises
    ------
    ConfigError
        When no forecaster's windows have both events and none.
    """
    from sklearn.metrics import (
        average_precision_score,
        precision_recall_curve,
        roc_auc_score,
        roc_curve,
    )

    able = [one for one in events if one.happened.any() and not one.happened.all()]
    if not able:
        raise ConfigError("no events to draw", remedy="judge more windows or a higher limit")
    first = able[0]
    title = f"Below {first.limit:g} mg/dL, {first.task}" if title is None else title
    with figure_grid(1, 2, title=title, size=(5.0, 4.5)) as (figure, axes):
        ranking, precision = axes[0]
        labels: list[str] = []
        for order, one in reversed(list(enumerate(able))):
            style = _line(order)
            false, true, _ = roc_curve(one.happened, one.rank)
            area = roc_auc_score(one.happened, one.rank)
            average = average_precision_score(one.happened, one.rank)
            labels.insert(0, f"{one.model} ({area:.2f}, {average:.2f})")
            ranking.plot(false, true, label=labels[0], **style)
            held, found, _ = precision_recall_curve(one.happened, one.rank)
            precision.step(found, held, where="post", **style)
        ranking.plot([0, 1], [0, 1], color=FAINT, ls="--", lw=1.5)
        precision.axhline(first.happened.mean(), color=FAINT, ls="--", lw=1.5)
        ranking.set(xlabel="false alarms", ylabel="events foreseen", title="ROC (AUROC, AUPRC)")
        precision.set(xlabel="events foreseen", ylabel="alarms that are right")
        precision.set_title("Precision–recall")
        for axis in axes[0]:
            axis.set(xlim=(0, 1), ylim=(0, 1.02))
        legend_below(figure, ranking, order=labels, columns=2)
    return figure


def _line(order: int) -> dict[str, Any]:
    dashes = "-" if order == 0 else _DASHES[(order - 1) % len(_DASHES)]
    return {"color": color_of(order), "lw": 3.4 if order == 0 else 2.2, "ls": dashes}


def _fan(
    axis: Axes,
    glucose: Backtest,
    window: int,
    past: np.ndarray,
    step: float,
    config: ClinicalConfig,
) -> None:
    ahead = step * np.arange(1, glucose.task.horizon + 1)
    quantiles, levels = glucose.quantiles[window, :, 0], glucose.task.quantile_levels
    axis.axhspan(config.low, config.high, color=_RANGE, lw=0, zorder=0)
    for limit in (config.low, config.high):
        axis.axhline(limit, color="#3b8a52", lw=1.3, ls=(0, (4, 2)), zorder=1)
    for low in dict.fromkeys((0, len(levels) // 4)):
        high = len(levels) - 1 - low
        if low < high and not glucose.is_degenerate:
            axis.fill_between(
                ahead,
                quantiles[:, low],
                quantiles[:, high],
                color=OUTER if low == 0 else INNER,
                lw=0,
                alpha=0.9,
                label=f"{levels[high] - levels[low]:.0%} interval",
            )
    axis.plot(step * np.arange(1 - len(past), 1), past, color=INK, lw=1.6, label="measured")
    axis.plot(ahead, glucose.actual[window, :, 0], color=INK, lw=1.6)
    axis.plot(ahead, glucose.median[window, :, 0], color=MODEL, lw=2.6, label="forecast median")
    axis.axvline(step / 2, color=FAINT, lw=1.2, ls="--")
    axis.set_yticks([config.low, config.high, 300])
    axis.margins(x=0.01)


def _grid(axis: Axes, grid: str, actual: np.ndarray, median: np.ndarray) -> np.ndarray:
    """Draw one grid; the share of each zone."""
    from matplotlib.colors import ListedColormap

    edge = EDGE[grid]
    mesh = np.arange(0.5, edge, 1.0)
    tints = zones_of(grid, mesh[None, :], mesh[:, None])
    axis.imshow(
        tints,
        extent=(0, edge, 0, edge),
        origin="lower",
        cmap=ListedColormap(TINTS),
        vmin=-0.5,
        vmax=len(ZONES) - 0.5,
        interpolation="nearest",
        zorder=0,
    )
    drawn = np.linspace(0, len(actual) - 1, min(len(actual), _MOST_POINTS)).round().astype(int)
    x, y = actual[drawn], np.clip(median[drawn], 0, edge)
    axis.scatter(x, y, s=9, color=MODEL, alpha=0.35, lw=0, rasterized=True, zorder=2)
    for line in lines_of(grid):
        axis.plot(*np.array(line).T, color=INK, lw=1.3, zorder=3)
    axis.plot([0, edge], [0, edge], color=FAINT, lw=1.2, ls="--", zorder=1)
    shares = np.bincount(zones_of(grid, actual, median), minlength=len(ZONES)) / max(len(actual), 1)
    for name, across, up in LETTERS[grid]:
        axis.text(
            across,
            up,
            name,
            ha="center",
            va="center",
            weight="bold",
            fontsize=15,
            color=INK,
            zorder=4,
            bbox={"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 1.5},
        )
    ticks = [0, 70, 180, 300, 400, 550]
    axis.set_xticks([one for one in ticks if one <= edge])
    axis.set_yticks([one for one in ticks if one <= edge])
    axis.set(xlim=(0, edge), ylim=(0, edge), aspect="equal")
    return shares


def _chosen(glucose: Backtest, windows: Sequence[int] | int) -> list[int]:
    count = len(glucose.origins)
    if isinstance(windows, int):
        whole = np.flatnonzero(glucose.scored[:, :, 0].mean(axis=1) > 0.5)
        able = whole if len(whole) else np.arange(count)
        places = (np.arange(min(windows, len(able))) + 0.5) / max(min(windows, len(able)), 1)
        rows = able[(places * len(able)).astype(int)].tolist()
    else:
        rows = list(windows)
    if not rows or not all(0 <= row < count for row in rows):
        raise ConfigError(f"windows={windows} of {count} cannot be drawn")
    return rows


def _top(tables: Sequence[pd.DataFrame]) -> float:
    """As high as the first model's and most others': one that runs away does not flatten them."""
    highest = [float(np.nanmax(table["value"])) for table in tables]
    return 1.15 * max(highest[0], min(max(highest), 1.6 * float(np.median(highest))))


def _window_name(glucose: Backtest, window: int) -> str:
    stamp = glucose.timestamps[window, 0]
    when = "" if np.isnat(stamp) else f", {pd.Timestamp(stamp):%d %b %H:%M}"
    return f"{glucose.item_ids[window]}{when}"
