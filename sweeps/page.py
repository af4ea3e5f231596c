"""A study's figures as one HTML file: Plotly's, alive, and readable without a network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.trial import FrozenTrial

from sweeps.figures import FEWEST_FOR_CONTOUR, MOST_OF_CONTOUR, MOST_PARALLEL, MOST_SLICES
from sweeps.findings import Findings
from tsfm.evaluation.plot_style import FAINT, INNER, MODEL

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLORS = {"PED-ANOVA": MODEL, "fANOVA": INNER}
MOST_CURVES = 200
MOST_IN_CONTOUR = 300
"""Trials: Plotly draws contours over every pair of their values."""


def page(findings: Findings) -> str:
    """The document; about 5 MB, most of them Plotly's own code."""
    from plotly.offline import get_plotlyjs

    parts = [_part(title, figure) for title, figure in figures(findings)]
    name = escape(findings.name)
    links = " · ".join(f'<a href="#{_anchor(title)}">{escape(title)}</a>' for title, _ in parts)
    body = "\n".join(html for _, html in parts) or "<p>No trial is complete.</p>"
    script = f"<script>{get_plotlyjs()}</script>" if parts else ""
    return _PAGE.format(name=name, links=links, script=script, body=body)


def figures(findings: Findings) -> Iterator[tuple[str, Figure]]:
    """Titles with figures, of those that these trials allow."""
    if not findings.complete:
        return
    from optuna import visualization as drawn

    study = findings.plain()
    several = len(findings.objectives) > 1
    names = [one.name for one in findings.ranking()]
    for order, objective in enumerate(findings.objectives):
        judged: dict[str, Any] = {"target_name": objective.metric}
        if several:
            judged["target"] = lambda one, order=order: one.values[order]
        of = f" of {objective.metric}" if several else ""
        yield f"History{of}", _history(findings, order)
        if findings.importances[order]:
            yield f"Importance{of}", _importance(findings, order)
        if names:
            shown = [one.name for one in findings.ranking(order)]
            if len(findings.complete) > 1:
                parallel = {"params": shown[:MOST_PARALLEL], **judged}
                yield (
                    f"Parallel coordinates{of}",
                    _made(drawn.plot_parallel_coordinate, study, **parallel),
                )
            yield (
                f"Slices{of}",
                _made(drawn.plot_slice, study, params=shown[:MOST_SLICES], **judged),
            )
            few = shown[:MOST_OF_CONTOUR]
            if len(few) > 1 and len(findings.complete) >= FEWEST_FOR_CONTOUR:
                thinned = findings.plain(_better(findings, order))
                yield f"Contours{of}", _made(drawn.plot_contour, thinned, params=few, **judged)
    if len(findings.objectives) in (2, 3):
        labels = [one.metric for one in findings.objectives]
        yield "Pareto front", _made(drawn.plot_pareto_front, study, target_names=labels)
    if not several and any(len(one.intermediate_values) > 1 for one in findings.trials):
        yield (
            "Validations",
            _made(
                drawn.plot_intermediate_values, findings.plain(_every(findings.trials, MOST_CURVES))
            ),
        )
    if any(one.datetime_start for one in findings.trials):
        yield "Timeline", _made(drawn.plot_timeline, study)


def _made(draw: Callable[..., Any], *args: Any, **options: Any) -> Figure:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure: Figure = draw(*args, **options)
    layout = {"template": "plotly_white", "title": None, "margin": {"t": 20}, "width": None}
    figure.update_layout(layout, autosize=True)
    return figure


def _history(findings: Findings, order: int) -> Figure:
    """Optuna's own takes numbers of trials for their places, and mistakes one for another where
    some are left out."""
    from plotly import graph_objects

    numbers = [one.number for one in findings.complete]
    best = np.minimum.accumulate(findings.losses(order)) * findings.sign(order)
    told = ["<br>".join(f"{k}: {v}" for k, v in one.params.items()) for one in findings.complete]
    figure = graph_objects.Figure(
        [
            graph_objects.Scatter(
                x=numbers, y=findings.values(order), mode="markers", name="complete", text=told,
                hovertemplate="trial %{x}: %{y}<br>%{text}<extra></extra>", marker_color=FAINT,
            ),
            graph_objects.Scatter(
                x=numbers, y=best, mode="lines", line_shape="hv", name="best so far",
                line_color=MODEL,
            ),
        ]
    )  # fmt: skip
    axes = {"xaxis_title": "trial", "yaxis_title": findings.objectives[order].metric}
    figure.update_layout(template="plotly_white", margin={"t": 20}, **axes)
    return figure


def _importance(findings: Findings, order: int) -> Figure:
    from plotly import graph_objects

    names = [one.name for one in reversed(findings.ranking(order))]
    bars = [
        graph_objects.Bar(
            y=names,
            x=[shares.get(name) for name in names],
            name=label,
            orientation="h",
            marker_color=COLORS[label],
            hovertemplate="%{y}: %{x:.1%}",
        )
        for label, shares in reversed(findings.importances[order].items())
    ]
    figure = graph_objects.Figure(bars)
    axis = {"tickformat": ".0%", "title": "importance", "range": [0, 1]}
    figure.update_layout(
        template="plotly_white", xaxis=axis, barmode="group", legend_traceorder="reversed",
        margin={"t": 20, "l": 180},
    )  # fmt: skip
    return figure


def _every(trials: Sequence[FrozenTrial], most: int) -> Sequence[FrozenTrial]:
    """Every n-th of too many trials."""
    return trials[:: -(-len(trials) // most) or 1]


def _better(findings: Findings, order: int) -> list[FrozenTrial]:
    """The better ones of too many complete trials."""
    best_first = np.argsort(findings.losses(order), kind="stable")[:MOST_IN_CONTOUR]
    return [findings.complete[int(place)] for place in best_first]


def _part(title: str, figure: Figure) -> tuple[str, str]:
    import plotly.io

    html = plotly.io.to_html(
        figure,
        full_html=False,
        include_plotlyjs=False,
        default_height="640px",
        config={"displaylogo": False, "responsive": True},
    )
    return title, f'<h2 id="{_anchor(title)}">{escape(title)}</h2>\n{html}'


def _anchor(title: str) -> str:
    return escape(title.lower().replace(" ", "-"))


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title><style>
body {{ font: 15px system-ui, sans-serif; margin: 2em auto; max-width: 1200px; padding: 0 1em }}
h2 {{ margin-top: 2em; border-bottom: 1px solid #ccc }} a {{ color: #0072B2 }}</style>
{script}<h1>{name}</h1><p>{links}</p>
{body}</html>
"""
