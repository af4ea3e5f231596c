"""Pictures of a study: PNG for a report, readable as thumbnails; :mod:`sweeps.page` has them live.

Colours are ranks, not values: one diverged trial among hundreds then hides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from sweeps.axes import Scale
from sweeps.findings import Findings
from tsfm.evaluation.plot_style import FAINT, INK, INNER, MODEL, OTHERS, figure_grid, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES, MOST_SLICES, MOST_OF_CONTOUR, MOST_PARALLEL = 300, 12, 4, 9
FEWEST_FOR_CONTOUR, MANY = 8, 200
RANKS = "YlGnBu"
"""Pale is worst, dark is best."""

GOLD = OTHERS[0]


def history(findings: Findings) -> Figure | None:
    """Every trial by its number, and the best so far."""
    if not findings.complete:
        return None
    count = len(findings.objectives)
    with figure_grid(count, 1, title="Trials and the best so far", size=(8.2, 4.0)) as (made, grid):
        for order, axis in enumerate(grid[:, 0]):
            values, numbers = findings.values(order), [one.number for one in findings.complete]
            losses = findings.losses(order)
            best = np.minimum.accumulate(losses) * findings.sign(order)
            axis.scatter(numbers, values, s=26, color=FAINT, label="complete", zorder=2)
            axis.step(numbers, best, where="post", color=MODEL, label="best so far", zorder=3)
            _numbered(axis)
            axis.set_xlim(-0.5 - 0.02 * findings.last, findings.last + 0.5 + 0.02 * findings.last)
            limits = Scale.of_values(values).limit(axis, "y")
            _outside(axis, numbers, values, limits)
            _strokes(axis, findings, TrialState.PRUNED, "pruned", OTHERS[3])
            _strokes(axis, findings, TrialState.FAIL, "failed", "#AA3377")
            winner = int(np.argmin(losses))
            axis.scatter(
                numbers[winner], values[winner], marker="*", s=190, color=GOLD,
                edgecolor="white", label="best", zorder=4,
            )  # fmt: skip
            axis.set(ylabel=findings.objectives[order].metric)
        grid[-1, 0].set_xlabel("trial")
        legend_below(made, grid[0, 0], columns=3)
        return made


def learning_curves(findings: Findings) -> Figure | None:
    """What trials reported at each validation, and where pruned ones were stopped."""
    told = [one for one in findings.trials if len(one.intermediate_values) > 1]
    if not told or len(findings.objectives) > 1:
        return None
    shown = _thinned(told, findings)
    winners = {one.number for one in findings.best}
    with figure_grid(1, 1, title="Validations of every trial", size=(8.2, 4.4)) as (made, grid):
        axis = grid[0, 0]
        everything = [value for one in shown for value in one.intermediate_values.values()]
        for one in shown:
            steps, values = zip(*sorted(one.intermediate_values.items()))
            pruned = one.state == TrialState.PRUNED
            if one.number in winners:
                axis.plot(steps, values, color=GOLD, lw=3, zorder=4, label="best")
                continue
            color, name = (OTHERS[3], "pruned") if pruned else (MODEL, "complete")
            if one.state == TrialState.FAIL:
                color, name = "#AA3377", "failed"
            axis.plot(steps, values, color=color, lw=1.0, alpha=0.5, zorder=2, label=name)
            if pruned:
                axis.plot(steps[-1], values[-1], "o", color=color, ms=4, zorder=3)
        Scale.of_values(np.array(everything, dtype=float)).limit(axis, "y")
        axis.set(xlabel="validation", ylabel=findings.objectives[0].metric)
        _numbered(axis)
        legend_below(made, axis)
        return made


def importance(findings: Findings) -> Figure | None:
    """Shares of the parameters, per objective."""
    if not any(findings.importances):
        return None
    count = len(findings.objectives)
    height = 1.0 + 0.46 * len(findings.varied)
    with figure_grid(count, 1, title="What mattered", size=(8.2, height)) as (made, grid):
        for order, (axis, found) in enumerate(zip(grid[:, 0], findings.importances)):
            names = [one.name for one in reversed(findings.ranking(order))]
            thickness = 0.8 / len(found)
            for place, (label, shares) in enumerate(found.items()):
                at = np.arange(len(names)) + (len(found) - 1) / 2 * thickness - place * thickness
                widths = [shares.get(name, 0.0) for name in names]
                color = (MODEL, INNER)[place]
                meaning = {"PED-ANOVA": "being in the best tenth", "fANOVA": "share of variance"}
                axis.barh(
                    at, widths, height=thickness, color=color, label=f"{meaning[label]} ({label})"
                )
                for y, width, name in zip(at, widths, names):
                    told = f"{width:.0%}" if name in shares else "conditional: not told"
                    axis.text(width + 0.01, y, told, va="center", fontsize=10, color=INK)
            axis.set_yticks(np.arange(len(names)), [_short(name) for name in names])
            axis.set(xlim=(0, 1.12), title=findings.objectives[order].metric)
            axis.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
        grid[-1, 0].set_xlabel("importance")
        legend_below(made, grid[0, 0], columns=2)
        return made


def parallel_coordinates(findings: Findings) -> Figure | None:
    """One line per trial through its parameters, the better the darker and on top."""
    shown = findings.ranking()[:MOST_PARALLEL]
    if len(findings.complete) < 2 or not shown:
        return None
    scales = [Scale.of_parameter(one, findings.complete) for one in shown]
    scales.append(Scale.of_values(findings.values(), name=findings.objectives[0].metric))
    at = np.arange(len(scales))
    ranks = findings.ranks()
    drawn = np.unique(np.linspace(0, len(ranks) - 1, MOST_LINES).round().astype(int))
    order = np.argsort(ranks, kind="stable")[drawn]
    width = max(8.2, 1.75 * len(scales))
    with figure_grid(1, 1, title="Parameters of every trial", size=(width, 4.6)) as (made, grid):
        axis = grid[0, 0]
        heights = np.array(
            [
                [*(s.place(t.params.get(s.name)) for s in scales[:-1]), scales[-1].place(v)]
                for t, v in zip(findings.complete, findings.values())
            ],
            dtype=float,
        )
        colors = _colors(ranks)
        for index in order:
            line = heights[index]
            there = np.isfinite(line)
            axis.plot(
                at[there], line[there], color=colors[index], lw=0.6 + 1.6 * ranks[index] ** 12,
                alpha=0.3 + 0.6 * ranks[index] ** 6,
            )  # fmt: skip
        winners = [
            findings.complete.index(one) for one in findings.best if one in findings.complete
        ]
        for index in winners[:1] if len(findings.objectives) == 1 else []:
            there = np.isfinite(heights[index])
            axis.plot(at[there], heights[index][there], color=GOLD, lw=3, label="best")
            axis.legend(loc="upper left", bbox_to_anchor=(0, 1.12))
        _rulers(axis, scales)
        _ranks_bar(made, axis, findings)
        return made


def slices(findings: Findings) -> Figure | None:
    """The objective against each parameter, later trials darker."""
    shown = findings.ranking()[:MOST_SLICES]
    if len(findings.complete) < 2 or not shown:
        return None
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    values, values_scale = findings.values(), Scale.of_values(findings.values())
    rng = np.random.default_rng(0)
    title = f"{findings.objectives[0].metric} by parameter (later trials darker)"
    size = (max(3.4, 8.2 / columns), 3.0)
    with figure_grid(rows, columns, title=title, size=size, sharey=True) as (made, grid):
        age = _colors(np.arange(len(values)) / max(len(values) - 1, 1), "Blues")
        winner = int(np.argmin(findings.losses()))
        for axis, one in zip(grid.flat, shown):
            scale = Scale.of_parameter(one, findings.complete)
            at = np.array([scale.position(t.params.get(one.name)) for t in findings.complete])
            if scale.categories:
                at = at + rng.uniform(-0.18, 0.18, len(at))
            there = np.isfinite(at)
            axis.scatter(
                at[there], values[there], s=24, color=age[there], edgecolor="white", lw=0.3
            )
            axis.scatter(at[winner], values[winner], marker="*", s=190, color=GOLD, ec="white")
            scale.limit(axis, "x")
            values_scale.limit(axis, "y")
            axis.set_xlabel(_short(one.name))
        for axis in grid.flat[len(shown) :]:
            axis.set_visible(False)
        for row in grid[:, 0]:
            row.set_ylabel(findings.objectives[0].metric)
        return made


def contours(findings: Findings) -> Figure | None:
    """The rank of trials smoothed over pairs of the most important parameters."""
    shown = findings.ranking()[:MOST_OF_CONTOUR]
    if len(findings.complete) < FEWEST_FOR_CONTOUR or len(shown) < 2:
        return None
    pairs = list(combinations([Scale.of_parameter(one, findings.complete) for one in shown], 2))
    columns = min(3, len(pairs))
    ranks = findings.ranks()
    title = "Where good trials lie (dark: best, star: the best)"
    size = (4.1, 3.5) if columns > 1 else (7.0, 4.6)
    with figure_grid(-(-len(pairs) // columns), columns, title=title, size=size) as (made, grid):
        for axis, (x, y) in zip(grid.flat, pairs):
            at = np.array(
                [(x.position(t.params.get(x.name)), y.position(t.params.get(y.name)))
                 for t in findings.complete]
            )  # fmt: skip
            there = np.isfinite(at).all(axis=1)
            _smoothed(axis, x, y, at[there], ranks[there])
            faded = 0.5 if len(at) < MANY else 0.15
            axis.scatter(*at[there].T, s=9, color=INK, alpha=faded, lw=0)
            winner = at[int(np.argmin(findings.losses()))]
            axis.scatter(*winner, marker="*", s=230, color=GOLD, ec="white", zorder=4)
            x.limit(axis, "x")
            y.limit(axis, "y")
            axis.set(xlabel=_short(x.name), ylabel=_short(y.name))
        for axis in grid.flat[len(pairs) :]:
            axis.set_visible(False)
        return made


def pareto_front(findings: Findings) -> Figure | None:
    """Pairs of objectives, the trials that no other beats in all of them in front."""
    count = len(findings.objectives)
    if count < 2 or not findings.complete:
        return None
    pairs = list(combinations(range(count), 2))[:6]
    columns = min(3, len(pairs))
    size = (8.2, 5.0) if len(pairs) == 1 else (4.6, 4.0)
    title = f"Pareto front: {len(findings.best)} of {len(findings.complete)} trials"
    with figure_grid(-(-len(pairs) // columns), columns, title=title, size=size) as (made, grid):
        winners = {one.number for one in findings.best}
        front = np.array([one.number in winners for one in findings.complete])
        for axis, (first, second) in zip(grid.flat, pairs):
            x, y = findings.values(first), findings.values(second)
            axis.scatter(x[~front], y[~front], s=28, color=FAINT, label="dominated")
            along = np.argsort(x[front])
            if count == 2:
                rising = findings.objectives[first].direction == "maximize"
                where: Any = "pre" if rising else "post"
                axis.step(x[front][along], y[front][along], where=where, color=MODEL, lw=1.5)
            axis.scatter(x[front], y[front], s=60, color=MODEL, ec="white", label="front", zorder=3)
            Scale.of_values(x).limit(axis, "x")
            Scale.of_values(y).limit(axis, "y")
            for order, name in ((first, "x"), (second, "y")):
                better = "less" if findings.objectives[order].direction == "minimize" else "more"
                axis.set(
                    **{f"{name}label": f"{findings.objectives[order].metric} ({better} is better)"}
                )
        if len(findings.best) <= 12 and len(pairs) == 1:
            for one in findings.best:
                grid[0, 0].annotate(
                    f"#{one.number}", (one.values[0], one.values[1]), xytext=(6, 6),
                    textcoords="offset points", fontsize=11,
                )  # fmt: skip
        for axis in grid.flat[len(pairs) :]:
            axis.set_visible(False)
        legend_below(made, grid[0, 0])
        return made


FIGURES: dict[str, Callable[[Findings], "Figure | None"]] = {
    "history": history,
    "importance": importance,
    "learning_curves": learning_curves,
    "pareto_front": pareto_front,
    "parallel_coordinates": parallel_coordinates,
    "slices": slices,
    "contours": contours,
}


def _short(name: str) -> str:
    return name if len(name) <= 24 else name.rpartition(".")[2][:24]


def _colors(shares: np.ndarray, name: str = RANKS) -> np.ndarray:
    import matplotlib as mpl

    return np.asarray(mpl.colormaps[name](0.25 + 0.75 * shares))


def _numbered(axis: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))


def _strokes(axis: Axes, findings: Findings, state: TrialState, label: str, color: str) -> None:
    """Trials without a value, as strokes along the bottom."""
    numbers = [one.number for one in findings.trials if one.state == state]
    if numbers:
        axis.plot(
            numbers, [0.015] * len(numbers), "|", ms=11, mew=1.8, color=color, alpha=0.9,
            label=f"{label} ({len(numbers)})", transform=axis.get_xaxis_transform(), clip_on=False,
        )  # fmt: skip


def _outside(
    axis: Axes, numbers: list[int], values: np.ndarray, limits: tuple[float, float]
) -> None:
    """Values beyond the axis, as arrows at its edge."""
    for beyond, marker, at in (
        (values > limits[1], "^", 0.985),
        (values < limits[0], "v", 0.05),
    ):
        if beyond.any():
            axis.plot(
                np.array(numbers)[beyond], [at] * int(beyond.sum()), marker, color=FAINT, ms=7,
                transform=axis.get_xaxis_transform(), label=f"beyond ({int(beyond.sum())})",
            )  # fmt: skip


def _thinned(trials: list[FrozenTrial], findings: Findings) -> list[FrozenTrial]:
    """Evenly drawn where they are too many, the best always among them."""
    if len(trials) <= MOST_LINES:
        return trials
    chosen = {int(index) for index in np.linspace(0, len(trials) - 1, MOST_LINES)}
    winners = {one.number for one in findings.best}
    return [one for place, one in enumerate(trials) if place in chosen or one.number in winners]


def _rulers(axis: Axes, scales: list[Scale]) -> None:
    """A vertical ruler with its ticks for each coordinate."""
    axis.set(xlim=(-0.5, len(scales) - 0.5), ylim=(-0.04, 1.04))
    axis.set_yticks([])
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.set_xticks(np.arange(len(scales)), [_short(one.name) for one in scales], fontsize=12)
    axis.tick_params(axis="x", length=0, pad=8)
    for place, scale in enumerate(scales):
        axis.axvline(place, color=INK, lw=1, zorder=5)
        for height, label in scale.ticks():
            axis.text(
                place + 0.03, height, label, fontsize=10, va="center", zorder=6,
                bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
            )  # fmt: skip


def _ranks_bar(figure: Figure, axis: Axes, findings: Findings) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap

    colors = ListedColormap(_colors(np.linspace(0, 1, 64)))
    bar = figure.colorbar(ScalarMappable(cmap=colors), ax=axis, pad=0.01, fraction=0.03)
    values = findings.values()[np.argsort(findings.ranks())]
    marks = np.quantile(np.arange(len(values)), [0, 0.5, 1]).round().astype(int)
    told = zip(("worst", "median", "best"), values[marks])
    bar.set_ticks([0, 0.5, 1], labels=[f"{name}\n{value:.4g}" for name, value in told])


def _smoothed(axis: Axes, x: Scale, y: Scale, at: np.ndarray, ranks: np.ndarray) -> None:
    """Kernel regression (Nadaraya & Watson) of ranks on the unit square; categories stay apart."""
    across = [scale.grid() for scale in (x, y)]
    squares = np.zeros((len(across[1]), len(across[0]), len(at)))
    for order, (scale, points) in enumerate(zip((x, y), across)):
        width = 0.05 / max(len(scale.categories), 1) if scale.categories else 0.35 * len(at) ** -0.2
        distance = (scale.unit(points)[:, None] - scale.unit(at[:, order])[None]) / width
        squares += (distance**2)[None, :, :] if order == 0 else (distance**2)[:, None, :]
    nearest = squares.min(axis=2)
    weights = np.exp(-0.5 * (squares - nearest[..., None]))
    level = (weights * ranks).sum(axis=2) / weights.sum(axis=2)
    level = np.where(nearest > 16, np.nan, level)
    if x.categories or y.categories:
        axis.pcolormesh(*across, level, cmap=RANKS, vmin=-0.2, vmax=1, shading="nearest")
    else:
        axis.contourf(*across, level, levels=np.linspace(0, 1, 11), cmap=RANKS, vmin=-0.2, vmax=1)
