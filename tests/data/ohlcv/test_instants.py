"""Dates: formats, offsets, epochs, clocks that change; checked against the standard library."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.data.ohlcv.ingest_config import IngestConfig
from tsfm.data.ohlcv.ingest_report import FileLog
from tsfm.data.ohlcv.instants import Instants, MixedTimezones
from tsfm.errors import DataError

NEW_YORK = "America/New_York"
MOMENTS = [datetime(2020, 1, 31, 9, 30), datetime(2020, 2, 1, 16, 0), datetime(2020, 7, 5, 0, 0)]


def reader(**options) -> tuple[Instants, FileLog]:
    log = FileLog(path="file")
    return Instants(IngestConfig(asset_class="e", freq="1h", **options), log), log


def batch(dates, **columns) -> pl.DataFrame:
    frame = pl.DataFrame({"ts": dates, **columns})
    return frame.with_row_index("row")


def read(dates, **options) -> list[datetime | None]:
    return reader(**options)[0].read(batch(dates)).to_list()


@pytest.mark.parametrize(
    "form",
    [
        "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y/%m/%d %H:%M", "%Y.%m.%d %H:%M", "%m/%d/%Y %H:%M",
        "%d/%m/%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%Y%m%d %H%M%S", "%Y%m%d %H:%M", "%d-%b-%Y %H:%M",
        "%m/%d/%Y %I:%M %p", "%Y-%m-%d %H:%M:%S.%f", "%Y%m%d%H%M%S", "%Y%m%d%H%M",
    ],
)  # fmt: skip
@pytest.mark.parametrize("timezone", ["UTC", NEW_YORK, "Asia/Kolkata"])
def test_formats_are_found(form, timezone):
    expected = [one.replace(tzinfo=ZoneInfo(timezone)).astimezone(UTC) for one in MOMENTS]
    assert read([one.strftime(form) for one in MOMENTS], timezone=timezone) == expected


@pytest.mark.parametrize(
    ("unit", "scale"),
    [("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9)],
)
@pytest.mark.parametrize("kind", [int, str])
def test_epochs_are_known_by_their_magnitude_and_said(unit, scale, kind):
    moments = [one.replace(tzinfo=UTC) for one in MOMENTS]
    numbers = [int(one.timestamp()) * scale for one in moments]
    instants, log = reader(timezone=NEW_YORK)
    wrong = 7 if unit != "seconds" else 10**14
    read = instants.read(batch([kind(one) for one in [*numbers, wrong]]))
    assert read.to_list() == [*moments, None]
    assert list(log.notes) == [f"dates are read as {unit} since 1970 UTC"]


def test_digits_of_a_calendar_are_not_epochs():
    instants, log = reader(timezone=NEW_YORK)
    assert instants.read(batch([20200131, 20200701, 20201399])).to_list() == [
        datetime(2020, 1, 31, 5, tzinfo=UTC),
        datetime(2020, 7, 1, 4, tzinfo=UTC),
        None,
    ]
    assert list(log.notes) == ["dates are read as digits %Y%m%d"]


def test_offsets_in_the_data_count():
    dates = ["2020-01-02T10:00:00-05:00", "2020-07-02 10:00:00-0400", "2020-07-02 10:00:00-04"]
    instants, _ = reader()
    assert [one.hour for one in instants.read(batch(dates))] == [15, 14, 14]
    assert instants.timezone == "-05:00/-04:00"
    instants, _ = reader(timezone=NEW_YORK)
    instants.read(batch(dates))
    assert instants.timezone == NEW_YORK
    instants, _ = reader()
    assert instants.read(batch(["2020-01-02 10:00:00 UTC", "2020-01-02T11:00:00Z"]))[1].hour == 11
    assert instants.timezone == "UTC"


def test_a_named_zone_in_the_data_counts():
    instants, _ = reader()
    read = instants.read(batch([f"2020-07-02 10:00:00 {NEW_YORK}"]))
    assert (read[0].hour, instants.timezone) == (14, NEW_YORK)
    aware = pl.Series([datetime(2020, 7, 2, 10)]).dt.replace_time_zone("Europe/London")
    instants, log = reader(timezone=NEW_YORK)
    assert instants.read(batch(aware))[0].hour == 9
    assert "Europe/London" in next(iter(log.notes))


@pytest.mark.parametrize(
    ("dates", "timezone", "row"),
    [
        (["2020-01-02 10:00:00", "2020-01-02 11:00:00", "2020-01-02 12:00:00Z"], None, 2),
        (["2020-01-02 10:00:00+01:00", None, "2020-01-02 12:00:00"], None, 2),
        (["2020-01-02 10:00:00+01:00", "2020-01-02 12:00:00-05:00"], None, 1),
        (["2020-01-02 10:00:00-05:00", "2020-01-02 12:00:00-04:00"], NEW_YORK, 1),
        (["2020-01-02 10:00:00 Europe/London", "2020-01-02 12:00:00 Asia/Tokyo"], None, 1),
    ],
)
def test_mixed_time_zones_are_refused_with_the_row(dates, timezone, row):
    with pytest.raises(MixedTimezones, match="mixed time zones") as caught:
        read(dates, timezone=timezone)
    assert caught.value.row == row


def test_a_mixture_is_seen_across_batches():
    instants, _ = reader()
    instants.read(batch(["2020-01-02 10:00:00Z"]))
    with pytest.raises(MixedTimezones):
        instants.read(batch(["2020-01-02 10:00:00"]))


def test_dates_without_a_zone_are_utc_and_that_is_said():
    instants, log = reader()
    assert instants.read(batch(["2020-01-02 10:00"]))[0].hour == 10
    assert list(log.notes) == ["dates have no time zone: they are read as UTC"]


def test_day_or_month_first_is_not_guessed():
    with pytest.raises(DataError, match=r"%m/%d/%Y or %d/%m/%Y"):
        read(["01/02/2020", "03/04/2020"])
    assert read(["01/02/2020"], date_format="%d/%m/%Y") == [datetime(2020, 2, 1, tzinfo=UTC)]
    assert read(["1 Feb 20 09h30"], date_format="%d %b %y %Hh%M") == [
        datetime(2020, 2, 1, 9, 30, tzinfo=UTC)
    ]
    with pytest.raises(DataError, match="date_format"):
        read(["01/02/2020 09"], date_format="%d/%m/%Y %H")


@pytest.mark.parametrize("dates", [["soon", "later"], [None, None], [True], ["12", "-7.5x"]])
def test_what_is_no_date_is_refused(dates):
    with pytest.raises(DataError, match=r"date"):
        read(dates)


def test_the_hour_that_clocks_repeat_is_read_in_order():
    hours = ["00:30", "01:00", "01:30", "01:00", "01:30", "02:00"]
    dates = [f"2020-11-01 {hour}" for hour in hours]
    instants, log = reader(timezone=NEW_YORK)
    rows = batch(dates, symbol=["A"] * 6, close=list(range(6)))
    read = instants.read(rows)
    assert read.dt.strftime("%H:%M").to_list() == [
        "04:30", "05:00", "05:30", "06:00", "06:30", "07:00",
    ]  # fmt: skip
    (note,) = log.notes.values()
    assert (note.row, "clocks repeat" in note.what) == (1, True)


def test_the_same_row_twice_in_the_repeated_hour_is_one_row():
    rows = batch(["2020-11-01 01:00"] * 3, symbol=["A", "A", "B"], close=[1, 1, 1])
    read = reader(timezone=NEW_YORK)[0].read(rows)
    assert read.dt.hour().to_list() == [5, 5, 5]


def test_the_hour_that_clocks_skip_does_not_exist():
    assert read(
        ["2021-03-14 01:30", "2021-03-14 02:30", "2021-03-14 03:30"], timezone=NEW_YORK
    ) == [
        datetime(2021, 3, 14, 6, 30, tzinfo=UTC),
        None,
        datetime(2021, 3, 14, 7, 30, tzinfo=UTC),
    ]


def test_date_and_time_columns_are_joined():
    rows = batch(["2020-01-02", "2020-01-03"], time_of_day=["09:30", "10:30"])
    assert [one.hour for one in reader()[0].read(rows)] == [9, 10]


@settings(max_examples=40, deadline=None)
@given(
    moments=st.lists(st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1)), min_size=1),
    timezone=st.sampled_from(["UTC", NEW_YORK, "Europe/London", "Asia/Tokyo", "Australia/Sydney"]),
)
def test_local_times_are_those_of_the_standard_library(moments, timezone):
    zone = ZoneInfo(timezone)
    local = [one.replace(tzinfo=zone) for one in dict.fromkeys(moments)]
    exist = [one.astimezone(UTC).astimezone(zone).replace(tzinfo=zone) == one for one in local]
    read_back = read([str(one.replace(tzinfo=None)) for one in local], timezone=timezone)
    assert read_back == [
        one.astimezone(UTC) if exists else None for one, exists in zip(local, exist)
    ]
