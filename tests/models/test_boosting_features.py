"""Features beside a slow reading of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsfm.data.panel import Panel
from tsfm.data.series import PanelInfo, Series
from tsfm.models.boosting_features import Examples, Layout, calendar, seen, training_examples

LAYOUT = Layout(season=5, lags=3, averages=(4, 8))


def _examples(past: np.ndarray, step: np.ndarray) -> Examples:
    count = len(past)
    nothing = np.zeros(count)
    return Examples(past, step, nothing.astype(int), calendar(None, count), nothing, nothing)


def test_the_reach_covers_seasons_and_every_average():
    assert LAYOUT.reach == 7 * 5 + 1
    assert Layout(season=100, lags=3, averages=(4, 40)).reach == 501
    assert Layout(season=365, lags=3, averages=(4, 40)).reach == 731
    assert Layout(season=1, lags=3, averages=(4, 40)).reach == 40
    assert Layout(season=1, lags=9, averages=(4,)).reach == 10


@pytest.mark.parametrize("step", [1, 4, 5, 6, 13])
def test_features_and_simple_forecasts_beside_a_slow_reading(step):
    rng = np.random.default_rng(step)
    past = 100 + rng.standard_normal((1, LAYOUT.reach)).cumsum(axis=1)
    past[0, -6] = np.nan
    found = seen(_examples(past, np.array([step])), LAYOUT)
    values = pd.Series(past[0]).ffill().to_numpy()
    now = len(values) - 1
    scale = np.abs(np.diff(values)).mean()
    units = (values - values[-1]) / scale
    assert found.last[0] == values[-1]
    assert found.scale[0] == pytest.approx(scale)
    place = now + 1 + (step - 1) % 5 - 5
    seasons = 1 + (step - 1) // 5
    cycles = [units[place - 5 * k] for k in range(7)]
    moved = cycles[0] - seasons * units[now - 5]
    features = [step, 0, values[-1] / scale, *units[-4:-1], 35 / 36, 0]
    for bars in (4, 8):
        recent = units[-bars:]
        features += [recent.mean(), np.abs(np.diff(recent)).mean(), recent[0], recent.std()]
    features += [*cycles[:2], np.mean(cycles), np.std(cycles), moved, (step - 1) % 5]
    np.testing.assert_allclose(found.features[0, : len(features)], features, rtol=1e-4, atol=1e-5)
    assert np.isnan(found.features[0, len(features) :]).all()
    simple = [units[-2], units[-4:].mean(), units[-8:].mean(), -units[-8] / 7 * step]
    simple += [cycles[0], np.mean(cycles), moved]
    expected = [*simple, *(np.log(step) * np.array(simple))]
    np.testing.assert_allclose(found.bases[0], expected, rtol=1e-6, atol=1e-9)


def test_a_constant_past_and_a_short_one_are_in_units_of_something():
    past = np.full((3, LAYOUT.reach), np.nan)
    past[0] = 4.0
    past[1, -1] = 7.0
    past[2, -2:] = [1.0, 3.0]
    found = seen(_examples(past, np.array([1, 2, 3])), LAYOUT)
    np.testing.assert_array_equal(found.scale, [1, 1, 2])
    np.testing.assert_array_equal(found.last, [4, 7, 3])
    assert np.isfinite(found.bases).all()


def _panel(length: int = 40) -> Panel:
    series = []
    for item in range(3):
        values = 1000 * item + np.arange(2)[:, None] * 100 + np.arange(length, dtype=np.float32)
        values[1, 20:21] = np.nan
        start = pd.Timestamp("2024-01-31")
        series.append(Series(item_id=str(item), target=values.astype(np.float32), start=start))
    info = PanelInfo(name="p", variates=("a", "b"), freq="D", seasonality=5)
    return Panel.from_series(series, info)


def test_training_examples_are_places_of_the_panel():
    found = training_examples(_panel(), LAYOUT, horizon=6, max_rows=500, seed=0)
    assert 480 <= len(found.step) <= 500
    assert set(found.step) == set(range(1, 7))
    item, rest = np.divmod(found.outcome.astype(int), 1000)
    variate, bar = np.divmod(rest, 100)
    np.testing.assert_array_equal(variate, found.variate)
    assert len(set(zip(item.tolist(), variate.tolist(), strict=True))) == 6
    last = bar - found.step
    for k in range(len(bar)):
        for back in range(LAYOUT.reach):
            at = last[k] - back
            missing = at < 0 or (variate[k], at) == (1, 20)
            value = found.past[k, -1 - back]
            expected = 1000 * item[k] + 100 * variate[k] + at
            assert np.isnan(value) if missing else value == expected
    assert (bar[variate == 1] != 20).all()
    dates = pd.Timestamp("2024-01-31") + pd.to_timedelta(bar, "D")
    expected = np.stack([dates.month, dates.day, dates.dayofweek, dates.hour], axis=1)
    np.testing.assert_array_equal(found.calendar, expected)
    np.testing.assert_allclose(found.place, bar / 40)


def test_the_draw_depends_on_lengths_alone():
    panel = _panel()
    series = [
        Series(item_id=one.item_id, target=-np.nan_to_num(one.target), start=one.start)
        for one in panel
    ]
    other = Panel.from_series(series, panel.info)
    first, second = (training_examples(p, LAYOUT, 6, 100, 3) for p in (panel, other))
    kept = np.isin(second.place, first.place)
    assert kept.mean() > 0.9
    assert len(second.step) == 100


def test_series_too_short_hold_no_example():
    assert len(training_examples(_panel(4), LAYOUT, 6, 100, 0).step) == 0
