"""Tables of splits: read, checked and laid over bars."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.hourly_bars import NEW_YORK, session_stamps

from tsfm.data.ohlcv.corporate_actions import (
    in_words,
    listed_ratios,
    read_splits,
    snapped,
    split_table,
)
from tsfm.errors import DataError


@pytest.mark.parametrize("name", ["splits.csv", "splits.parquet"])
def test_files_by_ex_date_or_last_day(tmp_path: Path, name: str) -> None:
    ex_date = pl.DataFrame(
        {"symbol": ["B", "A"], "date": ["2020-08-31", "2014-06-09"], "ratio": [4.0, 6.999997]}
    )
    last_day = ex_date.rename({"date": "last_unsplit_date"}).with_columns(
        last_unsplit_date=pl.Series(["2020-08-30", "2014-06-08"])
    )
    expected = [("A", date(2014, 6, 8), 7.0), ("B", date(2020, 8, 30), 4.0)]
    for table in (ex_date, last_day):
        if name.endswith("csv"):
            table.write_csv(tmp_path / name)
        else:
            table.write_parquet(tmp_path / name)
        splits = read_splits(tmp_path / name)
        assert splits.rows() == expected
        assert split_table(splits).equals(splits)


def test_a_split_takes_effect_with_the_first_bar_after_its_last_day() -> None:
    ts = session_stamps(5, start="2023-01-04")
    stamps = ts.cast(pl.Int64).to_numpy()
    friday = split_table(
        pl.DataFrame(
            {
                "symbol": ["A"] * 4,
                "last_unsplit_date": ["1999-01-01", "2023-01-06", "2023-01-07", "2030-01-01"],
                "ratio": [9.0, 2.0, 1.5, 9.0],
            }
        )
    )
    ratios = listed_ratios(friday, stamps, NEW_YORK)
    monday = int(np.flatnonzero(ratios != 1)[0])
    assert ratios[monday] == 3.0
    assert (ratios != 1).sum() == 1
    assert ts.dt.convert_time_zone(NEW_YORK)[monday].isoformat() == "2023-01-09T09:00:00-05:00"


@pytest.mark.parametrize(
    ("measured", "meant", "words"),
    [
        (1.999996, 2.0, "2:1"),
        (1.249993, 1.25, "5:4"),
        (0.05, 0.05, "1:20"),
        (0.0999996, 0.1, "1:10"),
        (1.0713, 1.0713, "15:14"),
    ],
)
def test_ratios(measured: float, meant: float, words: str) -> None:
    assert snapped(measured) == pytest.approx(meant, rel=1e-12)
    assert in_words(snapped(measured)) == words


GOOD = {"symbol": ["A", "B"], "date": ["2020-08-31", "2020-09-01"], "ratio": ["2", "3"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"date": ["soon", "later"]}, "date or ratio cannot be read"),
        ({"ratio": ["two", "3"]}, "date or ratio cannot be read"),
        ({"ratio": ["2", "0"]}, r"is no split \[.*row 1\]"),
        ({"ratio": ["nan", "3"]}, r"is no split \[.*row 0\]"),
        ({"ratio": [None, "3"]}, r"is no split \[.*row 0\]"),
        ({"date": ["2020-08-31", None]}, r"is no split \[.*row 1\]"),
        ({"symbol": [None, "B"]}, r"is no split \[.*row 0\]"),
    ],
)
def test_wrong_tables(change: dict[str, list[str | None]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_table(pl.DataFrame(GOOD | change))


def test_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="splits cannot be read"):
        read_splits(tmp_path / "none.csv")
    (tmp_path / "noise.parquet").write_bytes(b"noise")
    with pytest.raises(DataError, match="splits cannot be read"):
        read_splits(tmp_path / "noise.parquet")
    (tmp_path / "bars.csv").write_text("ts,open\n1,2\n")
    with pytest.raises(DataError, match=r"columns ts, open are not those of splits"):
        read_splits(tmp_path / "bars.csv")
