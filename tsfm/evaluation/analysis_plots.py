"""Figures of what is found inside a model, in the style of :mod:`tsfm.evaluation.plot_style`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsfm.evaluation.plot_style import FAINT, INK, MODEL, color_of, figure_grid, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FAMILIES = 7
_MOST_CURVES = 5
_WORST = -0.5
_TOP = 5.0
_SCORE_NAMES = {"silhouette": "silhouette", "neighbours": "neighbours", "probe": "linear probe"}


def embedding_chart(
    places: pd.DataFrame,
    table: pd.DataFrame,
    shares: Float[np.ndarray, " component"],
    *,
    title: str = "",
) -> Figure:
    """Windows on the first principal components by family, and the scores beside chance.

    Parameters
    ----------
    places
        Columns ``system, family, pc1, pc2``.
    table
        From :func:`tsfm.evaluation.embeddings.separability`, with ``of`` and ``representation``.
    shares
        Of the variance, by component.
    """
    with figure_grid(1, 2, title=title, size=(6.4, 5.2)) as (figure, axes):
        cloud, bars = axes[0]
        common = list(places["family"].value_counts().index[:_FAMILIES])
        for order, family in enumerate(common):
            part = places[places["family"] == family]
            cloud.scatter(part["pc1"], part["pc2"], s=26, color=color_of(order), label=family)
        rest = places[~places["family"].isin(common)]
        if len(rest):
            cloud.scatter(rest["pc1"], rest["pc2"], s=18, color=FAINT, label="others")
        centres = places.groupby("system")[["pc1", "pc2"]].mean()
        _name_systems(cloud, centres)
        cloud.set(xlabel=f"PC 1 ({shares[0]:.0%})", ylabel=f"PC 2 ({shares[1]:.0%})")
        cloud.set_title("Encoder states by family")
        _score_bars(bars, table)
        legend_below(figure, cloud, columns=4)
    return figure


def _name_systems(axis: Axes, centres: pd.DataFrame) -> None:
    """At their centres, those left out that would lie on another's."""
    wide, high = (np.ptp(bounds) for bounds in (axis.get_xlim(), axis.get_ylim()))
    taken: list[np.ndarray] = []
    for name, place in zip(centres.index, centres.to_numpy(float), strict=True):
        if all(np.abs(place - other) @ [1 / wide, 4 / high] > 0.25 for other in taken):
            axis.annotate(str(name), tuple(place), fontsize=10, color=INK, ha="center")
            taken.append(place)


def _score_bars(axis: Axes, table: pd.DataFrame) -> None:
    """Of systems: a bar per score and representation, and a line where chance ends."""
    part = table[table["of"] == table["of"].iloc[0]]
    scores = list(dict.fromkeys(part["score"]))
    kinds = list(dict.fromkeys(part["representation"]))
    width = 0.8 / len(kinds)
    for order, kind in enumerate(kinds):
        rows = part[part["representation"] == kind].set_index("score").loc[scores]
        middle = np.arange(len(scores)) + (order - (len(kinds) - 1) / 2) * width
        shade = MODEL if order == 0 else FAINT
        axis.bar(middle, rows["value"], 0.92 * width, color=shade)
        axis.hlines(
            rows["chance_high"], middle - width / 2, middle + width / 2, color=INK, lw=2, ls=":"
        )
        for x, value in zip(middle, rows["value"], strict=True):
            offset = (0, 3 if value >= 0 else -3)
            axis.annotate(
                f"{value:.2f}", (x, value), offset, textcoords="offset points", ha="center",
                va="bottom" if value >= 0 else "top", fontsize=11,
            )  # fmt: skip
    axis.set_xticks(range(len(scores)), [_SCORE_NAMES.get(score, score) for score in scores])
    axis.axhline(0, color=FAINT, lw=1)
    axis.margins(y=0.12)
    names = " / ".join(kinds)
    axis.set_title(f"{table['of'].iloc[0]}s apart: {names}; dotted: chance", fontsize=12)


def koopman_chart(
    table: pd.DataFrame, eigenvalues: pd.DataFrame, stride: int, *, title: str = ""
) -> Figure:
    """R² by steps ahead, of the system's state and of the components; eigenvalues of one step.

    Parameters
    ----------
    table
        ``of, representation, step, value, low, high``.
    eigenvalues
        ``representation, real, imaginary``.
    """
    names = {"encoder": "encoder", "delays": "delay coordinates", "still": "standing still"}
    with figure_grid(1, 3, title=title, size=(4.3, 4.1)) as (figure, axes):
        for axis, of, label in zip(
            axes[0], ("state", "latent"), ("R² of the system's state", "R² of the components")
        ):
            part = table[table["of"] == of]
            for order, (kind, name) in enumerate(names.items()):
                rows = part[part["representation"] == kind]
                _banded(axis, rows, "step", "value", order, name, scale=stride)
            axis.set_xscale("log", base=2)
            ticks = stride * np.unique(part["step"])
            axis.set_xticks(ticks, list(map(str, ticks)))
            axis.minorticks_off()
            axis.set(xlabel="bars ahead", ylim=(_WORST, 1.05))
            axis.set_title(label)
            axis.axhline(0, color=FAINT, lw=1)
        plane = axes[0, 2]
        circle = np.exp(2j * np.pi * np.linspace(0, 1, 200))
        plane.plot(circle.real, circle.imag, color=FAINT, lw=1.2)
        for order, kind in ((1, "delays"), (0, "encoder")):
            part = eigenvalues[eigenvalues["representation"] == kind]
            plane.plot(part["real"], part["imaginary"], ".", ms=4, alpha=0.5, color=color_of(order))
        plane.set(xlabel="real", ylabel="imaginary", aspect="equal")
        plane.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3))
        plane.set_title("Eigenvalues of one step")
        legend_below(figure, axes[0, 0], columns=3)
    return figure


def token_chart(
    tables: Mapping[str, pd.DataFrame],
    similar: Float[np.ndarray, "token token"] | None,
    *,
    title: str = "",
) -> Figure:
    """Errors by place, kind and local rate; the similarity of states, where there are some."""
    with figure_grid(2, 2, title=title, size=(5.0, 3.9)) as (figure, axes):
        place, kind, rate, alike = axes.flat
        _banded(place, tables["token_places"], "bars_seen", "error", 0, "")
        place.set(xlabel="bars seen", ylabel="error / attractor", ylim=(0, None))
        place.set_title("Error of the next token")
        rows = tables["token_kinds"]
        position = np.arange(len(rows))
        kind.bar(position, rows["error"], 0.6, color=MODEL)
        bounds = np.abs(rows[["low", "high"]].to_numpy().T - rows["error"].to_numpy())
        if np.isfinite(bounds).all():
            kind.errorbar(position, rows["error"], bounds, fmt="none", color=INK, capsize=5)
        kind.set_xticks(position, list(rows["kind"]))
        kind.set_title("… by what the token does")
        if len(tables["token_rates"]):
            _banded(rate, tables["token_rates"], "rate", "error", 0, "", marker="o")
        rate.set(xlabel="local rate of divergence / λ", ylabel="error / attractor", ylim=(0, None))
        rate.set_title("… by how fast neighbours part")
        if similar is None:
            alike.axis("off")
            alike.set_title("(the model has no encoder)")
        else:
            most = float(np.abs(similar).max()) or 1.0
            image = alike.imshow(similar, cmap="RdBu_r", vmin=-most, vmax=most)
            alike.set(xlabel="token", ylabel="token")
            alike.set_title("Cosine between states")
            figure.colorbar(image, ax=alike, shrink=0.85)
    return figure


def precision_chart(
    table: pd.DataFrame,
    curves: Mapping[tuple[str, int, float], pd.DataFrame],
    model: str,
    exact: float,
    *,
    title: str = "",
) -> Figure:
    """Valid times by context and precision as a map, valid times by context, and error growth.

    Parameters
    ----------
    table
        ``model, context, rtol, valid_time, low, high``; rows of ``integration`` have no context.
    curves
        Errors over Lyapunov times, by model, context and precision.
    exact
        The precision of the trajectories that are forecast in the other two figures.
    """
    with figure_grid(1, 3, title=title, size=(4.8, 4.3)) as (figure, axes):
        grid, times, growing = axes[0]
        own = table[table["model"] == model]
        cells = own.pivot_table(index="context", columns="rtol", values="valid_time")
        cells = cells[sorted(cells.columns, reverse=True)]
        _heat(grid, cells)
        names = [name for name in dict.fromkeys(table["model"]) if name != "integration"]
        for order, name in enumerate(names):
            rows = table[(table["model"] == name) & (table["rtol"] == exact)]
            _banded(times, rows, "context", "valid_time", order, name)
        integration = table[table["model"] == "integration"].sort_values("rtol")
        top = 1.6 * float(table.loc[table["model"] != "integration", "valid_time"].max())
        for rtol, valid in integration[["rtol", "valid_time"]].to_numpy(float):
            if valid <= top:
                times.axhline(valid, color=FAINT, ls="--", lw=1.4)
                times.annotate(
                    f"equations at rtol {rtol:g}", (1, valid), fontsize=10,
                    xycoords=("axes fraction", "data"), ha="right", va="bottom", color="#6b6b6b",
                )  # fmt: skip
        times.set_xscale("log", base=2)
        lengths = np.unique(own["context"])
        times.set_xticks(lengths, list(map(str, lengths)))
        times.minorticks_off()
        times.set(xlabel="bars of context", ylabel="Lyapunov times", ylim=(0, None))
        times.set_title("Valid prediction time")
        _growth(growing, curves, model)
        handles, labels = times.get_legend_handles_labels()
        more, others = growing.get_legend_handles_labels()
        figure.legend(handles + more, labels + others, loc="outside lower center", ncols=5)
    return figure


def _heat(axis: Axes, cells: pd.DataFrame) -> None:
    values = cells.to_numpy()
    image = axis.imshow(values, cmap="Blues", vmin=0, aspect="auto", origin="lower")
    for row, column in np.ndindex(values.shape):
        shade = "white" if values[row, column] > 0.6 * np.nanmax(values) else INK
        axis.text(
            column, row, f"{values[row, column]:.2f}", ha="center", va="center", color=shade,
            fontsize=11,
        )  # fmt: skip
    axis.set_xticks(range(cells.shape[1]), [f"{rtol:.0e}" for rtol in cells.columns], rotation=30)
    axis.set_yticks(range(cells.shape[0]), list(map(str, cells.index)))
    axis.set(xlabel="rtol of the trajectories", ylabel="bars of context")
    axis.set_title("Valid time by both")
    axis.spines[:].set_visible(False)
    assert image is not None


def _growth(axis: Axes, curves: Mapping[tuple[str, int, float], pd.DataFrame], model: str) -> None:
    own = [key for key in curves if key[0] == model]
    order = np.linspace(0, len(own) - 1, min(len(own), _MOST_CURVES)).round().astype(int)
    shades = np.linspace(0.35, 1.0, len(order))
    for shade, place in zip(shades, dict.fromkeys(order.tolist())):
        key = own[place]
        axis.plot(
            curves[key]["time"], curves[key]["error"], color=MODEL, alpha=float(shade), lw=2.4,
            label=f"{key[1]} bars",
        )  # fmt: skip
    loosest = max((key for key in curves if key[0] == "integration"), key=lambda key: key[2])
    for key in (key for key in curves if key[0] == "integration"):
        curve = curves[key]
        axis.plot(curve["time"], curve["error"], color=FAINT, lw=1.4, ls="--")
        middle = curve.iloc[len(curve) // 3]
        axis.annotate(f"{key[2]:.0e}", (middle["time"], middle["error"]), fontsize=10, color=INK)
    some = curves[loosest]
    slope = some["error"].min() * np.exp(some["time"] - some["time"].iloc[0])
    kept = slope < _TOP
    axis.plot(some["time"][kept], slope[kept], color=INK, lw=2, ls=":", label="exp(λt)")
    axis.set_yscale("log")
    axis.set(xlabel="Lyapunov times", ylabel="error / attractor", ylim=(None, _TOP))
    axis.set_title("Growth; dashed: the equations")


def retention_chart(changes: pd.DataFrame, overall: pd.DataFrame, *, title: str = "") -> Figure:
    """Changes of error by series with their intervals, a panel per metric.

    Parameters
    ----------
    changes
        ``series, metric, change, low, high``.
    overall
        ``metric, change, low, high``.
    """
    metrics = list(dict.fromkeys(changes["metric"]))
    series = list(dict.fromkeys(changes["series"]))
    size = (4.4, 1.4 + 0.42 * (len(series) + 1))
    with figure_grid(1, len(metrics), title=title, size=size, sharey=True) as (figure, axes):
        for axis, metric in zip(axes[0], metrics, strict=True):
            axis.axvline(0, color=FAINT, lw=1.5)
            for row in changes[changes["metric"] == metric].itertuples():
                _whisker(axis, row, -series.index(row.series), MODEL, "o")
            for row in overall[overall["metric"] == metric].itertuples():
                _whisker(axis, row, -len(series), INK, "D")
            axis.set(xlabel="change of error; worse →")
            axis.set_title(metric.upper())
            axis.xaxis.set_major_formatter(lambda value, _: f"{value:+.0%}")
            axis.locator_params(axis="x", nbins=5)
            axis.margins(y=0.08)
        axes[0, 0].set_yticks(-np.arange(len(series) + 1), [*series, "all"])
        assert figure is not None
    return figure


def _whisker(axis: Axes, row: Any, position: float, shade: str, marker: str) -> None:
    axis.plot([row.low, row.high], [position, position], color=shade, lw=2.5)
    axis.plot(row.change, position, marker, color=shade, ms=9)


def _banded(
    axis: Axes,
    rows: pd.DataFrame,
    x: str,
    y: str,
    order: int,
    label: str,
    *,
    scale: float = 1,
    marker: str = "",
) -> None:
    """A line with its interval."""
    across = scale * rows[x].to_numpy(float)
    shade = color_of(order)
    axis.fill_between(across, rows["low"], rows["high"], color=shade, alpha=0.18, lw=0)
    axis.plot(across, rows[y], color=shade, lw=3 if order == 0 else 2.2, marker=marker, label=label)
