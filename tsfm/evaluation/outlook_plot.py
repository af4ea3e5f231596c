"""A series' own fan chart: dates below, the user's units beside, a panel for each variate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tsfm.data.quantiles import quantile_columns
from tsfm.evaluation.plot_style import (
    FAINT,
    INK,
    MODEL,
    MOST_VARIATES,
    figure_grid,
    legend_below,
    quantile_bands,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tsfm.data.panel import Panel
    from tsfm.data.preparation import Preparation

COLUMNS = 2
LARGE = 1e5


def past_frame(panel: Panel, item: int, bars: int, preparation: Preparation | None) -> pd.DataFrame:
    """The last bars of an item in the user's units: ``timestamp, variate, value``."""
    length = min(bars, int(panel.lengths[item]))
    window = panel.window(item, int(panel.lengths[item]) - length, length)
    names, stamps = window.variate_names, window.timestamps
    values = window.target.T.reshape(-1).astype(float)
    frame = pd.DataFrame(
        {
            "item_id": window.item_id,
            "step": np.repeat(np.arange(1 - length, 1), len(names)),
            "timestamp": pd.NaT if stamps is None else np.repeat(stamps, len(names)),
            "variate": np.tile(np.asarray(names, dtype=object), length),
            "mean": values,
            "q0.5": values,
        }
    )
    restored = preparation.restore(frame) if preparation else frame
    return restored.rename(columns={"q0.5": "value"})[["step", "timestamp", "variate", "value"]]


def outlook_chart(past: pd.DataFrame, forecast: pd.DataFrame, *, title: str = "") -> Figure:
    """The forecast fan of one item after its past.

    Parameters
    ----------
    past
        Of :func:`past_frame`.
    forecast
        The item's rows of a forecast's long frame, in the same units.
    """
    names = list(dict.fromkeys(forecast["variate"]))[:MOST_VARIATES]
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    size = (9.0, 4.0) if len(names) == 1 else (6.0, 3.1)
    with figure_grid(rows, columns, title=title, size=size) as (figure, axes):
        for axis, name in zip(axes.flat, names, strict=False):
            of = forecast["variate"] == name
            _draw(axis, past[past["variate"] == name], forecast[of])
            axis.set_title(name)
        for axis in axes.flat[len(names) :]:
            axis.set_visible(False)
        legend_below(figure, axes[0, 0])
    return figure


def _draw(axis: Axes, past: pd.DataFrame, forecast: pd.DataFrame) -> None:
    by = "step" if forecast["timestamp"].isna().any() or past["timestamp"].isna().any() else None
    seen, ahead = (frame[by or "timestamp"].to_numpy() for frame in (past, forecast))
    columns = quantile_columns(forecast, ())
    levels = list(columns.values())
    values = forecast[list(columns)].to_numpy(float)
    quantile_bands(axis, ahead, values, levels)
    axis.plot(seen, past["value"], color=INK, linewidth=1.5, label="past")
    middle = int(np.abs(np.asarray(levels) - 0.5).argmin())
    name = "median" if abs(levels[middle] - 0.5) < 1e-9 else f"quantile {levels[middle]:g}"
    axis.plot(ahead, values[:, middle], color=MODEL, linewidth=2.6, label=name)
    axis.axvline(seen[-1], color=FAINT, linewidth=1.2, linestyle="--")
    axis.margins(x=0.01)
    axis.locator_params(axis="y", nbins=5)
    if max(map(abs, axis.get_ylim())) >= LARGE:
        from matplotlib.ticker import EngFormatter

        axis.yaxis.set_major_formatter(EngFormatter(sep=""))
    if by:
        axis.set_xlabel("bars from the last one")
        return
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=6)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
