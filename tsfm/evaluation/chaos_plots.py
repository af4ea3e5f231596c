"""Figures of dynamical systems, in the style of :mod:`tsfm.evaluation.plot_style`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsfm.errors import ConfigError
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.error_growth import ErrorGrowth
from tsfm.evaluation.plot_style import FAINT, INK, MODEL, color_of, figure_grid, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tsfm.evaluation.scaling import Scaling

_AHEAD = "#D55E00"
_TOP = 10.0
"""Errors beyond ten attractors are all the same."""

_LABELS = {"smape": "sMAPE (0–200)", "mae": "MAE", "rmse": "RMSE"}


def phase_portraits(
    true: Float[np.ndarray, "row time variate"],
    forecast: Float[np.ndarray, "row time variate"],
    *,
    names: Sequence[str] = (),
    rows: Sequence[str] = (),
    past: Float[np.ndarray, "row time variate"] | None = None,
    title: str = "",
) -> Figure:
    """True and forecast attractors: in 3-D and projected, a row per trajectory.

    Parameters
    ----------
    true, forecast
        Two variates or more, of which the first three are drawn; steps without a value are gaps.
    names
        Of the variates.
    rows
        Names of the trajectories.
    past
        What the forecaster saw, drawn faintly.

    Raises
    ------
    ConfigError
        When shapes differ or there are fewer than two variates.
    """
    true, forecast = np.asarray(true), np.asarray(forecast)
    if true.shape != forecast.shape or true.ndim != 3 or true.shape[2] < 2:
        raise ConfigError(
            f"trajectories of shapes {true.shape} and {forecast.shape} cannot be drawn",
            remedy="give both as [row, time, variate] with two variates or more",
        )
    width = min(true.shape[2], 3)
    names = tuple(names)[:width] or tuple(f"x{k}" for k in range(width))
    planes = [(0, 1), (0, 2), (1, 2)] if width == 3 else [(0, 1)]
    count = len(planes) + (width == 3)
    shape = (2, 2) if len(true) == 1 and count == 4 else (len(true), count)
    with figure_grid(*shape, title=title, size=(3.6, 3.4)) as (figure, axes):
        for row, cells in enumerate(axes.reshape(len(true), count)):
            curves = [] if past is None else [(past[row], FAINT, 0.8, "past")]
            curves += [(true[row], INK, 1.4, "true"), (forecast[row], MODEL, 1.5, "forecast")]
            if width == 3:
                place = cells[0].get_subplotspec()
                cells[0].remove()
                cells[0] = figure.add_subplot(place, projection="3d")
                _space(cells[0], curves, names)
            for axis, (one, other) in zip(cells[count - len(planes) :], planes):
                for states, shade, size, label in curves:
                    axis.plot(states[:, one], states[:, other], color=shade, lw=size, label=label)
                axis.plot(*true[row][0, [one, other]], "o", color=_AHEAD, ms=7, label="origin")
                axis.set(xlabel=names[one], ylabel=names[other])
                axis.locator_params(nbins=4)
            if rows:
                cells[0].set_title(rows[row])
        legend_below(figure, cells[-1], columns=4 if count > 1 else 2)
    return figure


def phase_portraits_of(
    backtest: Backtest, *, windows: Sequence[int] | int = 2, title: str | None = None
) -> Figure:
    """Portraits of some windows of a backtest: those given, or so many evenly spaced ones.

    Raises
    ------
    ConfigError
        When a window does not exist, or has fewer than two scored variates.
    """
    count = len(backtest.origins)
    if isinstance(windows, int):
        shown = np.linspace(0, count - 1, min(windows, count)).round().astype(int).tolist()
    else:
        shown = list(windows)
    if not shown or not all(0 <= window < count for window in shown):
        raise ConfigError(f"windows={windows} of {count} cannot be drawn")
    scored = backtest.scored[shown].any(axis=1).all(axis=0)
    columns = np.flatnonzero(scored)
    return phase_portraits(
        backtest.actual[shown][:, :, columns],
        backtest.median[shown][:, :, columns],
        names=[backtest.task.targets[column] for column in columns],
        rows=[backtest.item_ids[window] for window in shown],
        title=f"{backtest.model} on {backtest.task.name}" if title is None else title,
    )


def growth_chart(
    growths: Sequence[ErrorGrowth], *, threshold: float | None = 0.4, title: str = ""
) -> Figure:
    """Error growth on a logarithmic axis, with the slope of the Lyapunov exponent.

    The dashed line starts at the first model's first error and grows by e per Lyapunov time.

    Parameters
    ----------
    threshold
        Of the valid prediction time, drawn dotted.

    Raises
    ------
    ConfigError
        When there is nothing to draw.
    """
    if not growths:
        raise ConfigError("no error growth to draw", remedy="give at least one")
    with figure_grid(1, 1, title=title, size=(6.4, 4.5)) as (figure, axes):
        axis = axes[0, 0]
        for order, growth in reversed(list(enumerate(growths))):
            _band(axis, growth.times, growth, order, _name(growth))
        first = growths[0]
        slope = first.error[0] * np.exp(first.times - first.times[0])
        top = min(1.6 * max(float(np.nanmax(growth.error)) for growth in growths), _TOP)
        kept = slope <= top
        axis.plot(first.times[kept], slope[kept], "--", color=INK, lw=2, label="exp(λt)")
        if threshold is not None:
            axis.axhline(threshold, color=FAINT, ls=":", lw=1.8, label="valid until")
        axis.set_yscale("log")
        axis.set(xlabel="Lyapunov times", ylabel="error / attractor")
        axis.set_ylim(top=top)
        axis.margins(x=0.01)
        legend_below(
            figure, axis, order=[*map(_name, growths), "exp(λt)", "valid until"], columns=2
        )
    return figure


def horizon_chart(
    tables: Sequence[pd.DataFrame],
    *,
    metric: str = "smape",
    marks: Sequence[int] = (),
    title: str = "",
) -> Figure:
    """Errors by horizon with their intervals.

    Parameters
    ----------
    tables
        From :func:`tsfm.evaluation.error_growth.error_by_step`, one per model, the first in front.
    marks
        Steps to mark on the axis.

    Raises
    ------
    ConfigError
        When there is nothing to draw.
    """
    if not tables:
        raise ConfigError("no errors to draw", remedy="give the table of at least one model")
    names = [str(table["model"].iloc[0]) for table in tables]
    with figure_grid(1, 1, title=title, size=(6.4, 4.5)) as (figure, axes):
        axis = axes[0, 0]
        for order, table in reversed(list(enumerate(tables))):
            steps = table["step"].to_numpy()
            _band(axis, steps, table.rename(columns={"value": "error"}), order, names[order])
        axis.set_xscale("log", base=2)
        if marks:
            axis.set_xticks(list(marks), list(map(str, marks)))
            axis.minorticks_off()
        axis.set(xlabel="steps forecast", ylabel=_LABELS.get(metric, metric))
        axis.set_ylim(bottom=0)
        axis.margins(x=0.01)
        legend_below(figure, axis, order=names, columns=2)
    return figure


def scaling_chart(scalings: Sequence[Scaling], *, title: str = "") -> Figure:
    """Ratios of errors at growing scale with their intervals and power laws, a panel per pair.

    Raises
    ------
    ConfigError
        When there is nothing to draw.
    """
    if not scalings:
        raise ConfigError("no scales to draw", remedy="fit at least one pair")
    with figure_grid(1, len(scalings), title=title, size=(4.6, 4.0)) as (figure, axes):
        for axis, scaling in zip(axes[0], scalings):
            sizes = scaling.sizes
            bars = np.abs(np.stack([scaling.low, scaling.high]) - scaling.ratio)
            axis.errorbar(sizes, scaling.ratio, bars, fmt="o", color=MODEL, capsize=4, ms=8)
            wide = np.geomspace(sizes[0] / 2, sizes[-1] * 4, 50)
            axis.plot(wide, scaling.law(wide), "--", color=INK, lw=1.8, label="power law")
            axis.axhline(1, color=FAINT, lw=1.5, label="no difference")
            axis.set_xscale("log")
            axis.set(xlabel="systems × trajectories × steps", ylabel="ratio of errors")
            axis.set_title(f"{scaling.model} / {scaling.other}", fontsize=12)
        legend_below(figure, axes[0, 0], columns=2)
    return figure


def channel_attention_map(
    weights: Float[np.ndarray, "layer channel channel"],
    names: Sequence[str],
    *,
    groups: Sequence[tuple[str, int]] = (),
    titles: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """Attention between channels: a map per layer, rows attend to columns.

    Parameters
    ----------
    weights
        Mean over windows, patches and heads; rows sum to one.
    names
        Of the channels.
    groups
        Consecutive parts, such as ``[("driver", 3), ("response", 3)]``, parted by lines.
    titles
        Of the maps, by default the layers' numbers.

    Raises
    ------
    ConfigError
        When the weights are no square maps over the names, or the groups do not fill them.
    """
    weights = np.asarray(weights, dtype=np.float64)
    weights = weights[None] if weights.ndim == 2 else weights
    count = len(names)
    if weights.ndim != 3 or weights.shape[1:] != (count, count):
        raise ConfigError(
            f"weights of shape {weights.shape} are no maps over {count} channels",
            remedy="give [layer, channel, channel]",
        )
    if groups and sum(size for _, size in groups) != count:
        raise ConfigError(f"groups={list(groups)} do not add up to {count} channels")
    titles = tuple(titles) or tuple(f"layer {k + 1}" for k in range(len(weights)))
    most = float(weights.max())
    columns = {4: 2, 8: 4}.get(len(weights), len(weights))
    rows = len(weights) // columns
    with figure_grid(rows, columns, title=title, size=(3.6, 3.7)) as (figure, axes):
        for axis, weight, name in zip(axes.flat, weights, titles):
            image = axis.imshow(weight, cmap="Blues", vmin=0, vmax=most)
            axis.set_title(name)
            axis.set_xticks(range(count), names)
            axis.set_yticks(range(count), names)
            axis.tick_params(length=0)
            axis.spines[:].set_visible(False)
            for edge in np.cumsum([size for _, size in groups])[:-1] - 0.5:
                axis.axhline(edge, color=INK, lw=1.5)
                axis.axvline(edge, color=INK, lw=1.5)
        _group_names(axes, groups)
        figure.colorbar(image, ax=list(axes.flat), shrink=0.8, label="attention")
    return figure


def _space(axis: Any, curves: list[tuple[np.ndarray, str, float, str]], names: Any) -> None:
    for states, color, size, _ in curves:
        axis.plot(*states[:, :3].T, color=color, lw=size)
    axis.set(xlabel=names[0], ylabel=names[1], zlabel=names[2])
    axis.set(xticklabels=[], yticklabels=[], zticklabels=[])
    for part in (axis.xaxis, axis.yaxis, axis.zaxis):
        part.pane.set_visible(False)
        part.labelpad = -8
    axis.set_box_aspect((1, 1, 0.9), zoom=0.95)


def _band(axis: Axes, x: np.ndarray, table: Any, order: int, label: str) -> None:
    low, high, error = (np.asarray(getattr(table, name)) for name in ("low", "high", "error"))
    color = color_of(order)
    axis.fill_between(x, low, high, color=color, alpha=0.18, lw=0)
    axis.plot(x, error, color=color, lw=3.2 if order == 0 else 2.2, label=label)


def _name(growth: ErrorGrowth) -> str:
    return growth.model if np.isnan(growth.rate) else f"{growth.model} ({growth.rate:.1f} λ)"


def _group_names(axes: np.ndarray, groups: Sequence[tuple[str, int]]) -> None:
    """Under the lowest maps, and to the left of the first ones."""
    start = 0
    for name, size in groups:
        middle = start + size / 2 - 0.5
        for axis in axes[-1]:
            axis.annotate(
                name,
                (middle, 0),
                xytext=(0, -24),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                va="top",
            )
        for axis in axes[:, 0]:
            axis.annotate(
                name,
                (0, middle),
                xytext=(-34, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                va="center",
                rotation=90,
            )
        start += size
