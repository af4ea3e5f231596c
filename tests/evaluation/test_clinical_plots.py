from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure
from support.glucose_backtests import forecast_with, glucose_panel, glucose_task

from tsfm.data.panel import Panel
from tsfm.errors import ConfigError
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.clinical import error_by_minute
from tsfm.evaluation.clinical_config import ClinicalConfig
from tsfm.evaluation.clinical_plots import error_chart, event_chart, glucose_fans, grid_chart
from tsfm.evaluation.error_grids import GRIDS, lines_of, zones_of
from tsfm.evaluation.hypoglycaemia import hypoglycaemia

CONFIG = ClinicalConfig(replicates=50)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return glucose_panel(people=4)


@pytest.fixture(scope="module")
def results(panel: Panel) -> list[Backtest]:
    task = glucose_task(panel, horizon=24)
    return [forecast_with(panel, task, size, name=name) for size, name in ((8, "a"), (20, "bb"))]


def test_fans_show_the_range_the_past_and_what_happened(
    panel: Panel, results: list[Backtest]
) -> None:
    figure = glucose_fans(results[0], panel, CONFIG, windows=[3, 40], hours=2)
    first = figure.axes[0]
    lines = {round(float(line.get_ydata()[0])): line for line in first.get_lines()[:2]}
    assert set(lines) == {70, 180}
    past, actual, median = first.get_lines()[2:5]
    assert past.get_xdata()[0] == pytest.approx(-23 * 5 / 60)
    np.testing.assert_array_equal(actual.get_ydata(), results[0].actual[3, :, 0])
    np.testing.assert_allclose(median.get_ydata(), results[0].median[3, :, 0])
    assert median.get_xdata()[-1] == pytest.approx(2.0)
    assert first.get_title(loc="left").startswith(results[0].item_ids[3])
    assert len(first.collections) >= 2
    _inside(figure)
    assert len([axis for axis in glucose_fans(results[0], panel).axes if axis.get_visible()]) == 6
    for windows in ([], [9999], 0):
        with pytest.raises(ConfigError, match="cannot be drawn"):
            glucose_fans(results[0], panel, windows=windows)


@pytest.mark.parametrize("grid", GRIDS)
def test_grids_have_their_lines_tints_and_shares(grid: str, results: list[Backtest]) -> None:
    figure = grid_chart(results[1], CONFIG, grid=grid, minutes=(30, 60, 600))
    assert len(figure.axes) == 2
    axis = figure.axes[0]
    drawn = [line.get_xydata().tolist() for line in axis.get_lines()]
    assert all(np.array(line, float).tolist() in drawn for line in lines_of(grid))
    (image,) = axis.images
    edge = image.get_array().shape[0]
    x, y = np.array([75, 250, 30]), np.array([250, 100, 300])
    expected = zones_of(grid, x + 0.5, y + 0.5)
    assert image.get_array()[y, x].tolist() == expected.tolist()
    assert image.get_extent() == [0, edge, 0, edge]
    actual, median = results[1].actual[:, 5, 0], results[1].median[:, 5, 0]
    known = np.isfinite(actual)
    (points,) = axis.collections
    assert len(points.get_offsets()) == known.sum()
    share = (zones_of(grid, actual[known], median[known]) == 0).mean()
    assert f"A {share:.1%}" in axis.get_title(loc="left")
    _inside(figure)


def test_errors_have_a_line_and_a_band_per_model(results: list[Backtest]) -> None:
    tables = [error_by_minute(result, CONFIG) for result in results]
    (axis,) = error_chart(tables, CONFIG).axes
    front = axis.get_lines()[-1]
    assert front.get_label() == "a"
    np.testing.assert_array_equal(front.get_ydata(), tables[0]["value"])
    assert len(axis.collections) == 2
    near = error_chart([table[table["minutes"] <= 60] for table in tables], CONFIG)
    assert near.axes[0].get_xticks().tolist() == [15, 30, 45, 60]
    _inside(near)
    tables[1]["value"] *= 100
    (axis,) = error_chart(tables, CONFIG).axes
    assert axis.get_ylim()[1] >= tables[0]["value"].max()


def test_events_are_drawn_with_their_areas(panel: Panel, results: list[Backtest]) -> None:
    events = [hypoglycaemia(result, panel, CONFIG, limit=90) for result in results]
    figure = event_chart(events)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [label.split()[0] for label in labels] == ["a", "bb"]
    _inside(figure)


def test_what_cannot_be_drawn_is_refused(panel: Panel, results: list[Backtest]) -> None:
    with pytest.raises(ConfigError, match="no errors"):
        error_chart([])
    with pytest.raises(ConfigError, match="grid"):
        grid_chart(results[0], grid="isometric")
    with pytest.raises(ConfigError, match="minutes"):
        grid_chart(results[0], minutes=(7,))
    with pytest.raises(ConfigError, match="no events"):
        event_chart([hypoglycaemia(results[0], panel, CONFIG, limit=20)])


def _inside(figure: Figure) -> None:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    assert buffer.tell() > 1000
    assert not Gcf.get_all_fig_managers(), "a figure is registered with pyplot"
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert figure.bbox.x0 - 1 <= box.x0
        assert box.x1 <= figure.bbox.x1 + 1
