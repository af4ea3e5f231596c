"""Frequency and seasonality learnt from timestamps."""

import numpy as np
import pandas as pd
import pytest

from tsfm.data.ohlcv.calendar import continue_calendar, infer_freq, infer_seasonality


def exchange_hours(days: int) -> np.ndarray:
    """Seven hourly bars on weekdays, four on every eighth."""
    dates = pd.bdate_range("2024-01-01", periods=days)
    return np.concatenate(
        [
            (day + pd.to_timedelta(range(9, 16 if k % 8 else 13), unit="h")).to_numpy()
            for k, day in enumerate(dates)
        ]
    )


def regular(freq: str, periods: int) -> np.ndarray:
    return pd.date_range("2024-01-01", periods=periods, freq=freq).to_numpy()


@pytest.mark.parametrize(
    ("stamps", "freq", "seasonality"),
    [
        (regular("h", 300), "h", 24),
        (regular("15min", 300), "15min", 96),
        (regular("D", 30), "D", 7),
        (regular("B", 30), "B", 5),
        (np.delete(regular("B", 60), [7, 21]), "B", 5),
        (regular("W-SUN", 30), "W-SUN", 52),
        (regular("MS", 30), "MS", 12),
        (exchange_hours(60), None, 7),
        (np.delete(regular("h", 900), slice(40, 60)), "h", 24),
        (regular("h", 1), None, 1),
    ],
)
def test_calendars(stamps: np.ndarray, freq: str | None, seasonality: int) -> None:
    assert infer_freq([stamps]) == freq
    assert infer_seasonality([stamps]) == seasonality


def test_one_irregular_series_makes_the_panel_irregular() -> None:
    assert infer_freq([regular("h", 100), exchange_hours(20)]) is None


def test_no_series() -> None:
    assert infer_freq([]) is None
    assert infer_seasonality([]) == 1


def forex_hours(weeks: int) -> np.ndarray:
    """Sunday evening to Friday evening."""
    stamps = pd.date_range("2024-01-01", periods=weeks * 168, freq="h")
    into_week = stamps.dayofweek * 24 + stamps.hour
    return stamps[(into_week < 117) | (into_week >= 165)].to_numpy()


@pytest.mark.parametrize(
    "stamps",
    [
        forex_hours(12),
        regular("h", 2000),
        regular("B", 80),
        regular("W-SUN", 30),
        exchange_hours(60)[~pd.DatetimeIndex(exchange_hours(60)).strftime("%d").isin(["17"])],
    ],
)
def test_a_weekly_timetable_is_continued(stamps: np.ndarray) -> None:
    horizon = len(stamps) // 4
    continued = continue_calendar(stamps[:-horizon], horizon)
    assert (np.diff(continued) > np.timedelta64(0)).all()
    assert continued[0] > stamps[-horizon - 1]
    times = pd.DatetimeIndex(continued)
    known = pd.DatetimeIndex(stamps)
    assert set(times.strftime("%a %H")) <= set(known.strftime("%a %H"))
    assert np.isin(continued, stamps).mean() > 0.85


def test_regular_calendars_are_continued_exactly() -> None:
    for stamps in (forex_hours(12), regular("15min", 3000), regular("B", 80)):
        padded = np.concatenate([np.full(9, np.datetime64("NaT"), "M8[ns]"), stamps[:-30]])
        np.testing.assert_array_equal(continue_calendar(padded, 30), stamps[-30:])


@pytest.mark.parametrize("stamps", [regular("h", 100), regular("MS", 40), regular("h", 0)])
def test_no_timetable(stamps: np.ndarray) -> None:
    assert continue_calendar(stamps, 5) is None
