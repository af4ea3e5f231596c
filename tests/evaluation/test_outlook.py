"""What follows the last bar, and the last windows as a task."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tsfm.errors import DataError
from tsfm.evaluation.outlook import (
    corrected,
    expect_long_enough,
    forecast_panel,
    last_scales,
    recent_task,
)
from tsfm.evaluation.outlook_plot import outlook_chart, past_frame
from tsfm.models.statistical import SeasonalNaive


def test_forecast_begins_after_every_items_last_bar(make_panel):
    panel = make_panel(70, [100 + k for k in range(70)])
    done = []
    forecast = forecast_panel(
        SeasonalNaive(), panel, 6, progress=lambda k, of, name: done.append((k, of, name))
    )
    assert forecast.item_ids == panel.item_ids
    assert done == [(64, 70, "item-63"), (70, 70, "item-69")]
    for item in (0, 69):
        last = panel.timestamps(item)[-1]
        np.testing.assert_array_equal(
            forecast.timestamps[item], last + np.arange(1, 7) * np.timedelta64(1, "h")
        )
        expected = panel.series(item).target[:, -24:-18].T
        np.testing.assert_allclose(forecast.mean[item], expected, rtol=1e-6)


@pytest.mark.parametrize("lengths", [[400, 400], [300, 250, 400]])
def test_windows_end_with_the_series_whatever_their_lengths(make_panel, lengths: list[int]):
    panel = make_panel(len(lengths), lengths)
    task, view = recent_task(panel, horizon=10, windows=5, context=120, history=1000)
    windows = task.windows(view)
    assert task.context == min(lengths) - 50
    assert len(windows) == 5 * len(lengths)
    for item in range(len(lengths)):
        origins = [origin for i, origin in windows if i == item]
        assert [int(view.lengths[item]) - origin for origin in origins] == [50, 40, 30, 20, 10]


def test_short_series_shorten_the_context_and_shorter_ones_are_left_out(make_panel):
    panel = make_panel(3, [100, 140, 130], seasonality=7)
    task, view = recent_task(panel, horizon=10, windows=4, context=512, history=1000)
    assert (task.context, view.item_ids) == (100, ("item-1",))
    task, view = recent_task(panel, horizon=10, windows=4, context=80, history=1000, items=1)
    assert view.item_ids == ("item-1",)


def test_too_short_series_are_refused_with_the_bars_needed(make_panel):
    panel = make_panel(2, [60, 50], seasonality=24)
    with pytest.raises(DataError, match=r"4 windows of 10 bars need 65 bars.*has 60"):
        recent_task(panel, horizon=10, windows=4, context=100, history=1000)
    with pytest.raises(DataError, match=r"1 of 2 series have fewer than 55.*item-1 \(50\)"):
        expect_long_enough(panel, 55)
    expect_long_enough(panel, 50)


def test_scales_are_those_of_the_last_bars(make_panel):
    panel = make_panel(2, [200, 300], missing=0.1)
    for item, scale in enumerate(last_scales(panel, 100)):
        values = panel.series(item).target[:, -100:]
        expected = np.nanmean(np.abs(values[:, 24:] - values[:, :-24]), axis=1)
        np.testing.assert_allclose(scale, expected, rtol=1e-5)


def test_unknown_corrections_leave_quantiles_as_they_were(make_panel):
    panel = make_panel(1, 100)
    forecast = forecast_panel(SeasonalNaive(), panel, 3)
    other = forecast.quantiles + 1.0
    other[:, 0] = np.nan
    new = corrected(forecast, other).quantiles
    np.testing.assert_array_equal(new[:, 0], forecast.quantiles[:, 0])
    np.testing.assert_allclose(new[:, 1:], forecast.quantiles[:, 1:] + 1)


@pytest.mark.parametrize("freq", ["h", None])
def test_chart_shows_every_variate_with_its_past(make_panel, freq: str | None):
    panel = make_panel(1, 100, ("a", "b", "c"), freq=freq)
    frame = forecast_panel(SeasonalNaive(), panel, 5).to_frame()
    past = past_frame(panel, 0, 30, None)
    assert len(past) == 90
    np.testing.assert_allclose(
        past.loc[past["variate"] == "b", "value"], panel.series(0).target[1, -30:]
    )
    figure = outlook_chart(past, frame, title="item-0")
    FigureCanvasAgg(figure).draw()
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title(loc="left") or axis.get_title() for axis in shown] == ["a", "b", "c"]
    assert bool(shown[0].get_xlabel()) == (freq is None)
