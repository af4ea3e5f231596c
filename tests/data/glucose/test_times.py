"""Times as text, epochs and types."""

from datetime import date, datetime

import pandas as pd
import polars as pl
import pytest

from tsfm.data.glucose.times import on_steady_clock, read_times
from tsfm.errors import ConfigError, DataError

MOMENT = datetime(2024, 3, 1, 8, 5)


@pytest.mark.parametrize(
    ("cells", "absolute", "offset"),
    [
        (["2024-03-01 08:05:00"], False, 0),
        (["2024-03-01T08:05:00Z"], True, 0),
        (["2024-03-01T09:05:00+01:00"], True, 60),
        (["2024-03-01 02:35:00-05:30"], True, -330),
        ([1709280300], True, 0),
        ([1709280300000], True, 0),
        ([MOMENT], False, 0),
    ],
)
def test_each_way_of_writing_a_time(cells, absolute, offset):
    times = read_times(pl.Series(cells), where="x")
    assert times.stamps.to_list() == [MOMENT]
    assert (times.absolute, times.offset_minutes) == (absolute, offset)


def test_zones_of_typed_times():
    cells = pl.Series([MOMENT]).dt.replace_time_zone("America/New_York")
    times = read_times(cells, where="x")
    assert times.stamps.to_list() == [datetime(2024, 3, 1, 13, 5)]
    assert times.offset_minutes == -300
    assert read_times(pl.Series([date(2024, 3, 1)]), where="x").stamps[0] == datetime(2024, 3, 1)


@pytest.mark.parametrize("form", ["%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%d-%m-%Y %I:%M %p"])
def test_day_or_month_is_told_by_what_runs_on(form):
    stamps = pd.date_range("2024-05-03 10:00", periods=600, freq="5min")
    read = read_times(pl.Series(stamps.strftime(form).tolist()), where="x").stamps
    assert read.to_list() == stamps.to_pydatetime().tolist()


def test_what_is_no_time_is_refused():
    for cells, message in (
        ([12.5, 13.0], "neither seconds nor milliseconds"),
        (["1970-01-01 00:00:00"], "not believable"),
        (["soon", "later"], "cannot be read"),
        (["05/05/2024 10:00"], "could be"),
        (["2024-01-01T00:00:00Z", "2024-01-01T00:05:00"], "some have none"),
    ):
        with pytest.raises(DataError, match=message):
            read_times(pl.Series(cells), where="x")


def test_single_bad_times_are_counted():
    times = read_times(pl.Series(["2024-01-01 00:00", "?", None, "2024-01-01 00:05"]), where="x")
    assert (times.unreadable, times.stamps.null_count()) == (1, 2)


def test_an_unknown_zone_is_refused():
    with pytest.raises(ConfigError, match="Mars/Base"):
        on_steady_clock(pl.Series([MOMENT]), absolute=True, offset_minutes=0, timezone="Mars/Base")
