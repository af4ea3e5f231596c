"""Sessions learnt from bars, and those of an exchange's calendar."""

import sys
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hourly_bars import NEW_YORK, session_stamps, stamps_of

from tsfm.data.ohlcv import exchange
from tsfm.data.ohlcv.sessions import Sessions
from tsfm.errors import ConfigError, DataError

REAL = Path(__file__).parents[4] / "shared" / "data" / "ohlcv" / "us_equity_hourly.parquet"


def missed(ts: pl.Series, freq: str, timezone: str) -> set[object]:
    """Bars expected by the learnt sessions, yet absent."""
    sessions = Sessions.learn(ts, freq, timezone=timezone)
    return set(sessions.expected(ts[0], ts[-1])) - set(ts)


def without(ts: pl.Series, places: Sequence[int]) -> pl.Series:
    return ts.filter(~pl.Series(np.isin(np.arange(len(ts)), places)))


def around_the_clock(freq: str = "1h", days: int = 200, timezone: str = "UTC") -> pl.Series:
    start = np.datetime64("2023-01-01", "us")
    local = start + np.arange(days * 24) * np.timedelta64(1, "h")
    if freq == "1d":
        local = local[::24]
    return stamps_of(local, timezone)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_dropped_bars_within_a_day_are_missed_and_no_others(data: st.DataObject) -> None:
    ts = session_stamps(90)
    days = data.draw(st.lists(st.integers(0, 89), min_size=1, max_size=12, unique=True))
    hours = st.integers(1, 5)
    places = [day * 7 + data.draw(hours) for day in days]
    assert missed(without(ts, places), "1h", NEW_YORK) == {ts[place] for place in places}


@pytest.mark.parametrize("timezone", [NEW_YORK, "UTC", "Asia/Tokyo"])
def test_daylight_saving_makes_no_gaps_in_whatever_zone_the_bars_were_dated(timezone: str) -> None:
    assert not missed(session_stamps(600), "1h", timezone)


def test_half_past_and_odd_first_bars() -> None:
    assert not missed(session_stamps(60, minute=30), "1h", NEW_YORK)
    late = session_stamps(60).dt.offset_by("7s")
    assert missed(without(late, [101]), "1h", NEW_YORK) == {late[101]}
    opening = session_stamps(60, hours=range(9, 10), minute=30)
    later = session_stamps(60, hours=range(10, 16))
    assert not missed(pl.concat([opening, later]).sort(), "1h", NEW_YORK)


@pytest.mark.parametrize(("before", "after"), [((9, 16), (4, 20)), ((4, 20), (9, 16))])
def test_a_change_of_hours_flags_nothing(before: tuple[int, int], after: tuple[int, int]) -> None:
    old = session_stamps(520, start="2020-01-06", hours=range(*before))
    new = session_stamps(520, start="2022-01-03", hours=range(*after))
    ts = pl.concat([old.filter(old < new[0]), new])
    assert not missed(ts, "1h", NEW_YORK)
    sessions = Sessions.learn(ts, "1h", timezone=NEW_YORK)
    assert "1 other timetables before" in sessions.facts["sessions"]


def test_a_holiday_is_no_gap_and_counted() -> None:
    ts = session_stamps(100)
    holiday = without(ts, range(210, 217))
    sessions = Sessions.learn(holiday, "1h", timezone=NEW_YORK)
    assert not missed(holiday, "1h", NEW_YORK)
    assert sessions.facts["weekdays without bars"] == "1"


def test_an_early_close_recurs_and_a_lost_afternoon_does_not() -> None:
    ts = session_stamps(250)
    afternoons = [day * 7 + hour for day in (30, 90, 150, 210) for hour in (4, 5, 6)]
    lost = [120 * 7 + 5, 120 * 7 + 6]
    assert missed(without(ts, afternoons + lost), "1h", NEW_YORK) == {ts[k] for k in lost}
    assert missed(without(ts, lost), "1h", NEW_YORK) == {ts[k] for k in lost}


def test_a_late_opening_recurs() -> None:
    ts = session_stamps(250)
    mornings = [day * 7 + hour for day in (30, 90, 150, 210) for hour in (0, 1)]
    assert not missed(without(ts, mornings), "1h", NEW_YORK)


@pytest.mark.parametrize("timezone", ["UTC", NEW_YORK])
@pytest.mark.parametrize("freq", ["1h", "1d"])
def test_a_market_that_never_closes_has_no_holidays(freq: str, timezone: str) -> None:
    ts = around_the_clock(freq, timezone=timezone)
    day = len(ts) // 2
    lost = range(day, day + (24 if freq == "1h" else 2))
    assert missed(without(ts, lost), freq, timezone) == {ts[k] for k in lost}
    assert Sessions.learn(without(ts, lost), freq, timezone=timezone).continuous


def test_currencies_from_sunday_to_friday_evening() -> None:
    ts = around_the_clock(days=364, timezone=NEW_YORK)
    local = ts.dt.convert_time_zone(NEW_YORK)
    into_week = (local.dt.weekday().cast(int) - 1) * 24 + local.dt.hour()
    week = ts.filter((into_week < 4 * 24 + 17) | (into_week >= 6 * 24 + 17))
    sessions = Sessions.learn(week, "1h", timezone=NEW_YORK)
    assert not sessions.continuous
    assert not missed(week, "1h", NEW_YORK)
    assert missed(without(week, [500, 1500]), "1h", NEW_YORK) == {week[500], week[1500]}


def test_trading_days_miss_nothing_over_weekends_and_holidays() -> None:
    days = session_stamps(300, hours=range(1))
    assert not missed(without(days, [40, 41, 200]), "1d", NEW_YORK)
    assert not missed(without(days, [40]), "B", NEW_YORK)


@pytest.mark.parametrize(("freq", "step"), [("W-MON", 7), ("MS", None)])
def test_weeks_and_months(freq: str, step: int | None) -> None:
    first = np.datetime64("2020-01-01" if step is None else "2020-01-06")
    local = (
        first.astype("M8[M]") + np.arange(30) if step is None else first + 7 * np.arange(30)
    ).astype("M8[us]")
    ts = stamps_of(local, "UTC")
    assert missed(without(ts, [12]), freq, "UTC") == {ts[12]}
    shifted = pl.concat([ts, ts[5:6] + timedelta(hours=3)]).sort()
    assert not missed(without(shifted, [12]), freq, "UTC")


def test_expected_is_cut_to_what_is_asked() -> None:
    ts = session_stamps(20)
    sessions = Sessions.learn(ts, "1h", timezone=NEW_YORK)
    assert sessions.expected(ts[3], ts[9]).to_list() == ts[3:10].to_list()
    assert sessions.expected("2030-01-01", "2031-01-01").is_empty()
    assert sessions.expected(ts[0], ts[-1]).dtype == pl.Datetime("us", "UTC")


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_bars_expect_themselves(count: int) -> None:
    ts = session_stamps(1)[:count]
    assert not missed(ts, "1h", NEW_YORK)


def test_wrong_arguments() -> None:
    ts = session_stamps(5)
    with pytest.raises(ConfigError, match="time zone 'Mars' is not known"):
        Sessions.learn(ts, "1h", timezone="Mars")
    with pytest.raises(ConfigError, match="frequency 'often' is not known"):
        Sessions.learn(ts, "often")
    with pytest.raises(DataError, match="no bars to learn"):
        Sessions.learn(ts.clear(), "1h")
    assert Sessions.of("none", ts, freq="1h") is None
    assert Sessions.of("learn", ts.clear(), freq="1h") is None


def test_an_exchange_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange.schedule.cache_clear()
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    with pytest.raises(ConfigError, match="pip install exchange_calendars, or give sessions=learn"):
        Sessions.named("XNYS", "1h")


def test_named_exchanges() -> None:
    pytest.importorskip("exchange_calendars")
    days = {"first": "2023-01-01", "last": "2023-12-31"}
    clock = Sessions.named("XNYS", "1h", **days)
    opening = Sessions.named("XNYS", "1h", **days, labels="open")
    day = [
        sessions.expected("2023-11-24", "2023-11-24T23:59").dt.convert_time_zone(NEW_YORK)
        for sessions in (clock, opening)
    ]
    assert day[0].dt.strftime("%H:%M").to_list() == ["09:00", "10:00", "11:00", "12:00"]
    assert day[1].dt.strftime("%H:%M").to_list() == ["09:30", "10:30", "11:30", "12:30"]
    assert clock.expected("2023-07-04", "2023-07-04T23:59").is_empty()
    tokyo = Sessions.named("XTKS", "1h", **days).expected("2023-06-01T00:00", "2023-06-01T12:00")
    assert tokyo.dt.convert_time_zone("Asia/Tokyo").dt.hour().to_list() == [9, 10, 11, 12, 13, 14]
    dates = Sessions.named("XNYS", "1d", **days).expected("2023-07-01", "2023-07-08")
    local = dates.dt.convert_time_zone(NEW_YORK).dt.date().to_list()
    assert local == [date(2023, 7, day) for day in (3, 5, 6, 7)]
    with pytest.raises(ConfigError, match="is no exchange that exchange_calendars knows"):
        Sessions.named("NOWHERE", "1h")
    with pytest.raises(ConfigError, match="has no sessions of an exchange"):
        Sessions.named("XNYS", "MS")


def test_learnt_sessions_agree_with_the_calendar_of_new_york() -> None:
    pytest.importorskip("exchange_calendars")
    if not REAL.exists():
        pytest.skip("the real bars are not beside this checkout")
    bars = pl.read_parquet(REAL, columns=["symbol", "ts"])
    for symbol in ("SPY", "IBM"):
        local = bars.filter(pl.col("symbol") == symbol)["ts"]
        ts = local.dt.replace_time_zone(NEW_YORK).dt.convert_time_zone("UTC").sort()
        learnt = Sessions.learn(ts, "1h", timezone=NEW_YORK)
        named = Sessions.of("XNYS", ts, freq="1h", timezone=NEW_YORK)
        assert named is not None
        ours, theirs = (set(one.expected(ts[0], ts[-1])) for one in (learnt, named))
        assert not theirs - ours
        assert len(ours - theirs) < 0.002 * len(theirs)
