"""The style that all figures share: colours, a grid of axes, one legend under them.

Figures are matplotlib objects without global state, readable as thumbnails.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, MODEL = "#222222", "#9a9a9a", "#0072B2"
OUTER, INNER = "#c9e1f0", "#86bcdc"
"""Bands around the model's line, the wide and the narrow one."""

OTHERS = (
    "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6b6b6b",
    "#661100", "#44AA99", "#332288",
)  # fmt: skip
"""Okabe & Ito's colours, then some of Tol's, told apart by colour-blind readers; blue is always the
model."""

MOST_VARIATES = 6
"""More columns than these are unreadable."""

_STYLE: Any = {
    "font.size": 13,
    "axes.titlesize": 14,
    "axes.labelsize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.titlelocation": "left",
    "axes.formatter.useoffset": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 2.0,
    "legend.frameon": False,
    "figure.dpi": 110,
    "svg.fonttype": "none",
}


def color_of(order: int) -> str:
    """Of the model (0) and of those beside it, over again after all are used."""
    return MODEL if order == 0 else OTHERS[(order - 1) % len(OTHERS)]


@contextmanager
def figure_grid(
    rows: int,
    columns: int,
    *,
    title: str = "",
    size: tuple[float, float] = (3.9, 2.7),
    sharex: bool = False,
    sharey: bool = False,
) -> Iterator[tuple[Figure, np.ndarray]]:
    """A figure and its axes ``[rows, columns]`` in the common style.

    Parameters
    ----------
    size
        Of one of the axes, in inches.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(columns * size[0], rows * size[1] + 0.9), layout="constrained")
        if title:
            figure.suptitle(title, fontsize=16, x=0.01, ha="left", weight="bold")
        yield figure, figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)


def quantile_bands(
    axis: Axes, at: np.ndarray, quantiles: np.ndarray, levels: Sequence[float]
) -> None:
    """The widest band around the median and the one a quarter of the levels further in.

    Parameters
    ----------
    at
        ``[horizon]``, where they are drawn.
    quantiles
        ``[horizon, level]``.
    """
    for low in range(len(levels) // 2):
        high = len(levels) - 1 - low
        if low in (0, len(levels) // 4) and levels[low] < 0.5 < levels[high]:
            axis.fill_between(
                at,
                quantiles[:, low],
                quantiles[:, high],
                color=OUTER if low == 0 else INNER,
                linewidth=0,
                label=f"{levels[high] - levels[low]:.0%} interval",
            )


def legend_below(figure: Figure, axis: Axes, order: Sequence[str] = (), columns: int = 6) -> None:
    """One legend of an axis's lines under all axes, each label once.

    Parameters
    ----------
    order
        Labels to show, first to last; by default all.
    columns
        Most labels in a row.
    """
    handles, labels = axis.get_legend_handles_labels()
    of = dict(zip(labels, handles))
    shown = [label for label in order or of if label in of]
    figure.legend(
        [of[label] for label in shown],
        shown,
        loc="outside lower center",
        ncols=max(1, min(len(shown), columns)),
    )
