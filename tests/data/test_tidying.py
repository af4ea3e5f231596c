"""A user's rows: set right where nothing is guessed, else refused with item, row and remedy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsfm.data import tidying
from tsfm.data.tidying import tidied
from tsfm.errors import DataError


def hours(bars: int) -> pd.DatetimeIndex:
    return pd.date_range("2024-01-01", periods=bars, freq="h")


def rows(bars: int = 6, items: tuple[str, ...] = ("A", "B")) -> pd.DataFrame:
    frames = [
        pd.DataFrame({"item_id": item, "timestamp": hours(bars), "x": np.arange(bars) + 10.0 * k})
        for k, item in enumerate(items)
    ]
    return pd.concat(frames, ignore_index=True)


def test_right_rows_stay_as_they_are():
    tidy = tidied(rows(), ["x"], freq="h")
    pd.testing.assert_frame_equal(tidy.frame, rows())
    assert tidy.notes == {}


@given(st.permutations(range(12)), st.lists(st.integers(0, 11), max_size=4))
def test_any_order_and_any_repetition_lead_to_the_same_rows(order, repeated):
    frame = rows()
    tidy = tidied(frame.iloc[[*order, *repeated]], ["x"], freq="h")
    found = tidy.frame.sort_values("item_id", kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(found, frame)
    dropped = sum(int(note.split()[0]) for told in tidy.notes.values() for note in told
                  if "repeated" in note)  # fmt: skip
    assert dropped == len(repeated)


def test_gaps_of_a_grid_become_unobserved_rows():
    tidy = tidied(rows().drop(index=[2, 3]), ["x"], freq="h")
    pd.testing.assert_series_equal(tidy.frame["timestamp"], rows()["timestamp"])
    assert tidy.frame["x"].isna().to_numpy().nonzero()[0].tolist() == [2, 3]
    assert tidy.notes == {"A": ["2 missing rows count as unobserved"]}
    assert len(tidied(rows().drop(index=[2, 3]), ["x"]).frame) == 10


def test_months_are_a_grid_too():
    stamps = pd.date_range("2020-01-01", periods=12, freq="MS")
    frame = pd.DataFrame({"item_id": "A", "timestamp": stamps, "x": 1.0})
    tidy = tidied(frame.drop(index=5), ["x"], freq="MS")
    assert tidy.frame["timestamp"].tolist() == stamps.tolist()
    assert np.isnan(tidy.frame["x"][5])


@pytest.mark.parametrize(
    ("stamps", "told"),
    [
        (lambda s: s.dt.strftime("%Y-%m-%dT%H:%M:%S"), None),
        (lambda s: s.dt.strftime("%Y-%m-%dT%H:%M:%SZ"), "UTC"),
        (lambda s: s.dt.tz_localize("UTC").dt.tz_convert("America/New_York"), "UTC"),
        (lambda s: s.dt.date.astype(str) + " " + s.dt.strftime("%H:%M"), None),
        (lambda s: [v.isoformat() + ("Z" if k % 2 else "+00:00") for k, v in enumerate(s)], "UTC"),
        (lambda s: [v.to_pydatetime() for v in s], None),
    ],
)
def test_dates_in_many_forms(stamps, told):
    frame = rows()
    frame["timestamp"] = pd.Series(stamps(frame["timestamp"]), dtype=None)
    tidy = tidied(frame, ["x"], freq="h")
    pd.testing.assert_series_equal(tidy.frame["timestamp"], rows()["timestamp"])
    assert (told is None) == (tidy.notes == {})


def test_numbers_as_text_whole_numbers_and_nothing_are_read():
    frame = rows().astype({"x": object})
    frame.loc[:4, "x"] = ["1.5", " 2 ", None, "", 7]
    tidy = tidied(frame, ["x"])
    np.testing.assert_array_equal(tidy.frame["x"][:5], [1.5, 2, np.nan, np.nan, 7])


def test_infinite_values_are_missing_and_told():
    frame = rows()
    frame.loc[[1, 2], "x"] = [np.inf, -1e300]
    tidy = tidied(frame, ["x"])
    assert tidy.frame["x"].isna().sum() == 2
    assert tidy.notes == {"A": ["infinite values count as missing"]}


def test_ids_become_text():
    frame = rows().assign(item_id=[7] * 6 + [8] * 6)
    assert tidied(frame, ["x"]).frame["item_id"].unique().tolist() == ["7", "8"]


def changed(row: int, column: str, value: object) -> pd.DataFrame:
    frame = rows().astype(object)
    values = [value if k == row else old for k, old in enumerate(frame[column])]
    frame[column] = pd.Series(values, dtype=object)
    return frame


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (rows().drop(columns="x"), r"columns x are missing.*give item_id, timestamp, x"),
        (rows().iloc[:0], "no rows"),
        (rows().rename(columns={"x": "y"}).assign(z=1), "x are missing.*there are item_id, times"),
        (pd.concat([rows(), rows()[["x"]]], axis=1), "x are named twice"),
        (changed(3, "x", "much"), r"column x holds 'much'.*item 'A', row 3"),
        (changed(7, "x", [1, 2]), r"x holds \[1, 2\].*item 'B', row 7"),
        (changed(7, "x", {"a": 1}), r"x holds \{'a': 1\}.*item 'B', row 7"),
        (changed(7, "x", 10**400), r"x holds 1000.*item 'B', row 7"),
        (changed(7, "x", "y" * 10_000), r"x holds 'yyyy.*…"),
        (changed(2, "item_id", None), "item_id None is no name.*row 2"),
        (changed(2, "item_id", ["A"]), r"item_id \['A'\] is no name.*row 2"),
        (changed(2, "timestamp", "yesterday"), "'yesterday' is no date.*item 'A', row 2"),
        (changed(2, "timestamp", None), "None is no date.*row 2"),
        (changed(2, "timestamp", "01/02/2024"), "'01/02/2024' is no date.*2024-01-31"),
        (changed(2, "timestamp", "9999-01-01"), "9999-01-01.*(no date|lies outside)"),
        (changed(2, "timestamp", "2250-01-01"), "2250-01-01 00:00:00 lies outside 1700 to 2200"),
        (rows().assign(timestamp=range(12)), "timestamps are numbers"),
        (changed(1, "timestamp", pd.Timestamp("2024-01-01")), "two rows of 2024.*x is 0 and 1"),
    ],
)  # fmt: skip
def test_what_would_have_to_be_guessed_is_refused(frame, told):
    with pytest.raises(DataError, match=f"(?i){told}"):
        tidied(frame, ["x"], freq="h")


@pytest.mark.parametrize(
    ("stamps", "told"),
    [
        (pd.date_range("2024-01-01", periods=12, freq="D"), "1 days 00:00:00 apart, 12 of the 265"),
        (hours(12) + pd.to_timedelta([*[0] * 7, 9, *[0] * 4], unit="min"),
         "1 timestamps are not dates of frequency 'h'"),
    ],
)  # fmt: skip
def test_another_step_than_the_models_is_refused(stamps, told):
    frame = pd.DataFrame({"item_id": "A", "timestamp": stamps, "x": 1.0})
    with pytest.raises(DataError, match=f"{told}.*item 'A'.*Give one row each h"):
        tidied(frame, ["x"], freq="h")


def test_a_grid_beyond_memory_is_refused(monkeypatch):
    monkeypatch.setattr(tidying, "LONGEST_GRID", 20)
    with pytest.raises(DataError, match="more than 20 rows"):
        tidied(rows(bars=12).drop(index=3), ["x"], freq="h")


def test_many_bad_items_are_counted_not_listed():
    assert tidying.listed([f"i{k}" for k in range(9)]) == "i0, i1, i2, i3, i4 and 4 more"
