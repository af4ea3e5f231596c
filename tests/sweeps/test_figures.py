"""Figures of studies: what is drawn of few, many, failed trials, and of several objectives."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest
from support.findings import CRPS, SIZE, SPEED, findings

from sweeps.figures import FIGURES, history, importance, pareto_front
from sweeps.page import figures, page

EVERYTHING = {"history", "importance", "learning_curves", "parallel_coordinates", "slices"} | {
    "contours"
}
ONE = {"lr": {"low": 1e-4, "high": 1e-2, "log": True}}


def drawn(found) -> set[str]:
    """Names of the figures that could be drawn, each rendered."""
    names = set()
    for name, draw in FIGURES.items():
        figure = draw(found)
        if figure is not None:
            figure.draw_without_rendering()
            names.add(name)
    return names


@pytest.mark.parametrize(
    ("found", "names"),
    [
        (findings(30, pruned=10, failed=3, diverged=2), EVERYTHING),
        (findings(1), {"history", "learning_curves"}),
        (findings(2), {"history", "learning_curves", "parallel_coordinates", "slices"}),
        (findings(0, failed=4), set()),
        (findings(0, pruned=3), {"learning_curves"}),
        (findings(0), set()),
        (findings(30, parameters=ONE), EVERYTHING - {"importance", "contours"}),
        (findings(30, (CRPS, SIZE)), EVERYTHING - {"learning_curves"} | {"pareto_front"}),
        (findings(30, (CRPS, SIZE, SPEED)), EVERYTHING - {"learning_curves"} | {"pareto_front"}),
        (findings(1, (CRPS, SIZE)), {"history", "pareto_front"}),
    ],
    ids=["many", "one", "two", "failed", "pruned", "none", "one parameter", "two objectives",
         "three objectives", "one trial of two objectives"],
)  # fmt: skip
def test_what_the_trials_allow_is_drawn(found, names):
    assert drawn(found) == names
    assert bool(page(found)) is True


def test_each_objective_has_its_own_history_and_importance():
    found = findings(40, (CRPS, SPEED))
    for draw in (history, importance):
        figure = draw(found)
        assert figure is not None
        assert len(figure.axes) == 2


def test_the_best_so_far_follows_the_objectives_direction():
    figure = history(findings(30, (CRPS, SPEED)))
    assert figure is not None
    falling, rising = (
        next(line for line in axis.lines if line.get_label() == "best so far").get_ydata()
        for axis in figure.axes
    )
    assert (falling[1:] <= falling[:-1]).all()
    assert (rising[1:] >= rising[:-1]).all()


def test_the_front_holds_the_trials_that_none_dominates():
    found = findings(40, (CRPS, SIZE))
    values = [tuple(one.values) for one in found.complete]
    free = [v for v in values if not any(w[0] <= v[0] and w[1] <= v[1] and w != v for w in values)]
    assert sorted(tuple(one.values) for one in found.best) == sorted(free)
    figure = pareto_front(found)
    assert figure is not None
    assert len(figure.axes[0].collections[-1].get_offsets()) == len(free)


def test_the_page_needs_no_network_and_names_its_study_safely():
    text = page(findings(12))
    assert "test &lt;study&gt;" in text
    assert "<study>" not in text
    assert not re.search(r"<(script|link)[^>]+(src|href)=.https?://", text)
    assert text.count("Plotly.newPlot(") >= 5


def test_trials_that_are_left_out_shift_no_other():
    found = findings(10)
    without = replace(found, trials=found.trials[3:])
    titles = dict(figures(without))
    points, best = titles["History"].data[:2]
    assert list(points.x) == list(range(3, 10))
    assert list(points.y) == [one.value for one in found.trials[3:]]
    assert list(best.y) == [min(points.y[: place + 1]) for place in range(7)]


def test_the_page_has_importance_of_every_objective():
    titles = [title for title, _ in figures(findings(40, (CRPS, SIZE, SPEED)))]
    assert titles.count("Pareto front") == 1
    for metric in (CRPS, "parameters", "tokens_per_second"):
        assert f"Importance of {metric}" in titles


def test_a_thousand_trials_are_drawn_in_seconds():
    found = findings(1000, reports=0)
    began = time.process_time()
    assert drawn(found) >= {"importance", "contours", "slices"}
    assert len(page(found)) < 12e6
    assert time.process_time() - began < 20
