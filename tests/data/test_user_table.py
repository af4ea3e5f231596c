"""A user's tables in every layout, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsfm.data.user_table import column_panel, read_long
from tsfm.errors import DataError

DATES = pd.date_range("2024-01-01", periods=40, freq="D")


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"Date": DATES, "north": rng.normal(size=40), "south": np.arange(40.0)})
    table.loc[:4, "south"] = np.nan
    table.loc[7, "north"] = np.nan
    table.to_csv(tmp_path / "wide.csv", index=False)
    return tmp_path / "wide.csv"


def test_wide_columns_become_items_without_their_empty_ends(wide: Path):
    found = read_long(wide)
    assert list(found.columns) == ["item_id", "timestamp", "value"]
    lengths = found.groupby("item_id", sort=False).size()
    assert lengths.to_dict() == {"north": 40, "south": 35}
    assert found["value"].isna().sum() == 1
    assert found["timestamp"].dtype == "datetime64[ns]"


def test_asked_columns_of_a_wide_table_become_variates_of_one_item(wide: Path):
    found = read_long(wide, columns=["north", "south"])
    assert set(found["item_id"]) == {"wide"}
    assert {"north", "south"} <= set(found.columns)


def test_columns_are_found_in_any_case_of_letters(tmp_path: Path):
    frame = pd.DataFrame({"DateTime": DATES, "Open": 1.0, "Close": 2.0})
    frame.to_parquet(tmp_path / "bars.parquet")
    found = read_long(tmp_path / "bars.parquet", columns=["open", "close"])
    assert list(found.columns) == ["item_id", "timestamp", "open", "close"]


@pytest.fixture
def plans(tmp_path: Path) -> Path:
    """A wide table of two shops with a price known ten days longer."""
    table = pd.DataFrame({"Date": DATES, "north": 1.0, "south": 2.0, "Price": np.arange(40.0)})
    table.loc[30:, ["north", "south"]] = np.nan
    table.loc[:2, "south"] = np.nan
    table.to_csv(tmp_path / "plans.csv", index=False)
    return tmp_path / "plans.csv"


def test_a_wide_tables_covariate_belongs_to_all_items_and_keeps_their_future(plans: Path):
    found = read_long(plans, layout="wide", known=["price"])
    assert list(found.columns) == ["item_id", "timestamp", "price", "value"]
    assert found.groupby("item_id").size().to_dict() == {"north": 40, "south": 37}
    panel = column_panel(found, "plans", columns=["value"], known=["price"])
    assert panel.info.variates == ("value",)
    for item, first in ((0, 0), (1, 3)):
        series = panel.series(item)
        np.testing.assert_array_equal(series.known_covariates[0], np.arange(first, 40.0))
        assert np.isnan(series.target[0]).sum() == 10


def test_covariates_of_one_item_are_no_targets(plans: Path):
    found = read_long(plans, columns=["north"], past=["south"], known=["price"])
    panel = column_panel(found, "plans", past=["south"], known=["price"])
    assert panel.info.variates == ("north",)
    assert (panel.info.past_covariates, panel.info.known_covariates) == (("south",), ("price",))
    assert panel.item_ids == ("plans",)


def test_future_rows_of_a_second_file_are_those_of_one_file(plans: Path, tmp_path: Path):
    whole = read_long(plans, columns=["north"], known=["price"])
    table = pd.read_csv(plans)
    (tmp_path / "past").mkdir()
    table[:30].to_csv(tmp_path / "past" / "plans.csv", index=False)
    later = table[30:][["Price", "Date"]].rename(columns={"Date": "date"})
    later.to_parquet(tmp_path / "later.parquet")
    parts = read_long(
        tmp_path / "past" / "plans.csv", columns=["north"], known=["price"],
        future=tmp_path / "later.parquet",
    )  # fmt: skip
    pd.testing.assert_frame_equal(parts, whole)
    later.drop(columns="Price").to_parquet(tmp_path / "later.parquet")
    with pytest.raises(DataError, match=r"columns price are missing \[.*later"):
        read_long(plans, columns=["north"], known=["price"], future=tmp_path / "later.parquet")


def test_missing_columns_are_told_with_the_closest(plans: Path):
    with pytest.raises(
        DataError, match=r"columns prise are missing.*Did you mean Price\? The file"
    ):
        read_long(plans, columns=["north"], known=["prise"])


@pytest.mark.parametrize(
    ("values", "told"), [(["yes", "no"] * 20, "holds words such as 'yes'"), ([None] * 40, "empty")]
)
def test_covariates_that_are_no_numbers_are_refused(values: list, told: str):
    frame = pd.DataFrame({"item_id": "a", "timestamp": DATES, "x": 1.0, "plan": values})
    with pytest.raises(DataError, match=f"plan .*{told}"):
        column_panel(frame, "made", columns=["x"], known=["plan"])


def test_true_and_false_are_numbers():
    plan = pd.Series([True, None] * 20, dtype=object)
    frame = pd.DataFrame({"item_id": "a", "timestamp": DATES, "x": 1.0, "plan": plan})
    known = column_panel(frame, "made", columns=["x"], known=["plan"]).series(0).known_covariates
    np.testing.assert_array_equal(known[0], [1.0, np.nan] * 20)


def test_long_rows_are_put_in_order_items_as_they_come(tmp_path: Path):
    frame = pd.DataFrame(
        {"Symbol": ["B"] * 40 + ["A"] * 40, "ts": [*DATES, *DATES], "x": range(80)}
    )
    frame.sample(frac=1, random_state=1).sort_values("Symbol", ascending=False).to_csv(
        tmp_path / "long.csv", index=False
    )
    found = read_long(tmp_path / "long.csv")
    assert list(dict.fromkeys(found["item_id"])) == ["B", "A"]
    assert found["x"].tolist() == list(range(80))


def test_named_columns_of_items_and_dates(tmp_path: Path):
    pd.DataFrame({"shop": 3, "when": DATES, "x": 1.5}).to_csv(tmp_path / "a.csv", index=False)
    found = read_long(tmp_path / "a.csv", item_column="shop", time_column="when")
    assert set(found["item_id"]) == {"3"}


@pytest.mark.parametrize(
    ("change", "options", "told"),
    [
        ({"ts": range(40)}, {}, "timestamps are numbers"),
        ({"ts": "soon"}, {}, "not dates"),
        ({"ts": [None, *DATES[1:]]}, {}, "row 0 has no date"),
        ({"item_id": ["a"] * 39 + [None]}, {}, "row 39 names no item"),
        ({}, {"columns": ["open"]}, "columns open are missing"),
        ({}, {"item_column": "shop"}, "column 'shop' is missing"),
        ({"ts": [f"{d}+02:00" for d in DATES]}, {}, "time zone"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, change: dict, options: dict, told: str):
    frame = pd.DataFrame({"item_id": "a", "ts": DATES, "x": 1.0}).assign(**change)
    frame.to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(DataError, match=told):
        read_long(tmp_path / "bad.csv", **options)


def test_long_without_items_is_refused(wide: Path):
    with pytest.raises(DataError, match="no column of items among Date, north, south"):
        read_long(wide, layout="long")


def test_panel_of_columns_fills_gaps_and_knows_the_season(wide: Path):
    frame = read_long(wide).drop(index=[10, 11])
    panel = column_panel(frame, "wide")
    assert panel.item_ids == ("north", "south")
    assert panel.lengths.tolist() == [40, 35]
    assert np.isnan(panel.series(0).target[0, [7, 10, 11]]).all()
    assert (panel.info.freq, panel.info.seasonality) == ("D", 7)


def test_irregular_dates_are_refused_or_kept(tmp_path: Path):
    stamps = pd.to_datetime("2024-01-01") + pd.to_timedelta(np.arange(30) ** 2, unit="min")
    frame = pd.DataFrame({"item_id": "a", "timestamp": stamps, "x": np.arange(30.0), "note": "n"})
    with pytest.raises(DataError, match="no frequency fits"):
        column_panel(frame, "odd")
    kept = column_panel(frame, "odd", freq="irregular")
    assert kept.info.freq is None
    assert kept.info.variates == ("x",)
    with pytest.raises(DataError, match="'note' holds"):
        column_panel(frame, "odd", columns=["note"], freq="irregular")
    with pytest.raises(DataError, match="no column holds numbers"):
        column_panel(frame[["item_id", "timestamp", "note"]], "odd")
