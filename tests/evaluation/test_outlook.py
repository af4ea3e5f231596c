"""What follows the last bar, and the last windows as a task."""

from __future__ import annotations

import weakref
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from support.scripted_forecasters import Joint, Recording

from tsfm.data.future_rows import origins
from tsfm.data.panel import Panel
from tsfm.errors import DataError
from tsfm.evaluation.backtest import backtest
from tsfm.evaluation.outlook import (
    corrected,
    expect_long_enough,
    forecast_panel,
    last_scales,
    recent_task,
)
from tsfm.evaluation.outlook_plot import outlook_chart, past_frame
from tsfm.models import model_class
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


def test_draws_of_earlier_series_are_not_held(make_panel, monkeypatch):
    monkeypatch.setattr("tsfm.evaluation.outlook.SERIES_AT_ONCE", 1)
    drawn, held = [], []

    class Drawing(Joint):
        def forecast(self, *asked):
            held.append(sum(ref() is not None for ref in drawn))
            found = super().forecast(*asked)
            drawn.extend((weakref.ref(found.samples), weakref.ref(found.distribution)))
            return found

    forecast = forecast_panel(Drawing(), make_panel(4, [60] * 4), 6)
    assert held == [0] * 4
    assert forecast.samples is None
    assert forecast.distribution is None


HORIZON, AHEAD = 6, 10
COVARIATES = {"past_covariates": ("visits",), "known_covariates": ("price", "holiday")}


@pytest.fixture(scope="module")
def planned(make_panel) -> Panel:
    """Two series, the last ten bars of which have no targets."""
    return without_ends(make_panel(2, [160, 130], missing=0.1, seasonality=7, **COVARIATES))


def without_ends(panel: Panel) -> Panel:
    series = []
    for one in panel:
        target = one.target.copy()
        target[:, -AHEAD:] = np.nan
        target[0, -AHEAD - 1] = 1.0
        series.append(replace(one, target=target))
    return Panel.from_series(series, panel.info)


def asked(panel: Panel) -> list:
    """Every context that a model is given: of the forecast, then of the last windows."""
    model, begins = Recording(), origins(panel)
    forecast_panel(model, panel, HORIZON, origins=begins)
    task, view = recent_task(
        panel.slice(0, begins), horizon=HORIZON, windows=3, context=40, history=90
    )
    backtest(model, task, view)
    return model.contexts


def test_covariates_that_a_model_is_given_are_the_tables_bar_by_bar(planned):
    (forecast, *recent) = asked(planned)
    assert sum(context.batch_size for context in recent) == 6
    stops = [planned.series(item).length - AHEAD for item in range(2)]
    for context in (forecast, *recent):
        assert context.past_covariate_names == ("visits",)
        for row, item_id in enumerate(context.item_ids):
            item = planned.item(item_id)
            series, stamps = planned.series(item), planned.timestamps(item)
            origin = int(np.searchsorted(stamps, context.future_timestamps[row, 0]))
            assert origin == stops[item] if context is forecast else origin < stops[item]
            first = context.length - min(context.length, origin)
            held = slice(origin - context.length + first, origin + HORIZON)
            np.testing.assert_array_equal(
                context.known_covariates[row, first:], series.known_covariates[:, held].T
            )
            np.testing.assert_array_equal(
                context.past_covariates[row, first:],
                series.past_covariates[:, held.start : origin].T,
            )


@given(st.data())
def test_nothing_depends_on_covariates_that_are_not_known_yet(planned, data):
    before = asked(planned)
    bar = data.draw(st.integers(-AHEAD, -1))
    value = data.draw(st.sampled_from([np.nan, -1e6, 3.0]))
    changed = []
    for one in planned:
        past, known = one.past_covariates.copy(), one.known_covariates.copy()
        past[:, bar] = value
        if bar >= HORIZON - AHEAD:
            known[:, bar] = value
        changed.append(replace(one, past_covariates=past, known_covariates=known))
    after = asked(Panel.from_series(changed, planned.info))
    for one, other in zip(before, after, strict=True):
        for name in (field.name for field in fields(one)):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_the_answers_of_baselines_are_the_same_without_covariates(planned, make_panel):
    bare = without_ends(make_panel(2, [160, 130], missing=0.1, seasonality=7))
    bare = Panel.from_series(
        (replace(one, target=other.target) for one, other in zip(bare, planned, strict=True)),
        bare.info,
    )
    for name in ("random_walk", "auto_ets"):
        answers = []
        for panel in (planned, bare):
            task, view = recent_task(
                panel.slice(0, origins(panel)), horizon=HORIZON, windows=3, context=40, history=90
            )
            answers.append(backtest(model_class(name)(), task, view))
        np.testing.assert_array_equal(answers[0].quantiles, answers[1].quantiles)


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
