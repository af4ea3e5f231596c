"""Bars at the door."""

import numpy as np
import pandas as pd
import pytest

from tsfm.data.ohlcv.bars import COLUMNS, validate_bars
from tsfm.errors import DataError


@pytest.fixture
def bars() -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "item_id": ["A", "B"] * 4,
            "timestamp": np.repeat(pd.date_range("2024-01-01", periods=4, freq="h"), 2),
            "open": 10.0,
            "high": 12.0,
            "low": 9.0,
            "close": 11.0,
            "volume": [100, 0] * 4,
        }
    )
    return frame.set_index(pd.Index(range(50, 58)))


def test_valid_bars_pass_in_their_order(bars: pd.DataFrame) -> None:
    checked = validate_bars(bars.assign(exchange="X"))
    assert list(checked.columns) == list(COLUMNS)
    assert checked["item_id"].tolist() == ["A", "B"] * 4
    assert checked["volume"].dtype == float


def test_unobserved_prices_and_volumes_pass(bars: pd.DataFrame) -> None:
    bars.iloc[3, 2:7] = np.nan
    bars.iloc[4, 4] = np.nan
    assert validate_bars(bars).iloc[3, 2:7].isna().all()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("close", 0.0, "close 0.0 is not positive"),
        ("open", -1.0, "open -1.0 is not positive"),
        ("high", np.inf, "high inf is not finite"),
        ("volume", -3.0, "volume -3.0 is negative"),
        ("high", 10.5, "high is below open, low or close"),
        ("low", 10.5, "low is above open, high or close"),
        ("timestamp", pd.Timestamp("2023-12-31"), "not later than the item's previous"),
        ("timestamp", pd.Timestamp("2024-01-01 01:00"), "not later than the item's previous"),
    ],
)
def test_a_bad_bar_is_named(bars: pd.DataFrame, column: str, value: object, message: str) -> None:
    bars[column] = bars[column].astype(object if column == "timestamp" else float)
    bars.iloc[5, bars.columns.get_loc(column)] = value
    with pytest.raises(DataError, match=message) as raised:
        validate_bars(bars, where="file.csv")
    assert raised.value.where == "file.csv, item 'B', row 5"


def test_missing_columns_are_listed(bars: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="columns high, volume are missing"):
        validate_bars(bars.drop(columns=["high", "volume"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.iloc[:0], "there are no bars"),
        (lambda b: b.assign(timestamp=b["timestamp"].dt.tz_localize("UTC")), "time zone"),
        (lambda b: b.assign(timestamp="soon"), "timestamps are not dates"),
        (lambda b: b.assign(open="dear"), "column open does not hold numbers"),
        (lambda b: b.assign(item_id=None), "item_id or timestamp is empty"),
    ],
)
def test_frames_that_are_not_bars(bars: pd.DataFrame, change, message: str) -> None:
    with pytest.raises(DataError, match=message):
        validate_bars(change(bars))
