"""Tables become panels: the three layouts, frequencies found or refused, clear errors."""

import json

import numpy as np
import pandas as pd
import pytest

from tsfm.data import csv
from tsfm.data.csv import build_panel, read_panel
from tsfm.data.panel import Panel
from tsfm.errors import ConfigError, DataError


@pytest.fixture
def wide():
    rng = np.random.default_rng(0)
    dates = pd.date_range("2024-01-01", periods=96, freq="h")
    return pd.DataFrame({"date": dates, "north": rng.normal(size=96), "south": rng.random(96)})


@pytest.fixture
def long():
    rng = np.random.default_rng(1)
    parts = [
        pd.DataFrame(
            {
                "item_id": name,
                "timestamp": pd.date_range(start, periods=bars, freq="D"),
                "price": rng.normal(size=bars),
                "volume": rng.random(bars),
                "promo": rng.integers(0, 2, bars),
            }
        )
        for name, start, bars in (("b", "2024-01-01", 60), ("a", "2024-01-20", 50))
    ]
    return pd.concat(parts, ignore_index=True)


def test_etth1_equals_plain_pandas(shared, tmp_path):
    source = shared / "data/lsf/ETTh1.csv"
    expected = pd.read_csv(source, parse_dates=["date"])
    variates = list(expected.columns[1:])
    panel = build_panel(source, tmp_path, layout="wide_multivariate", seasonality=24).train
    assert panel.path == tmp_path / "ETTh1"
    assert panel.info.freq == "h"
    assert panel.info.variates == tuple(variates)
    assert panel.item_ids == ("ETTh1",)
    one = panel.series(0)
    np.testing.assert_array_equal(one.target, expected[variates].to_numpy(np.float32).T)
    np.testing.assert_array_equal(panel.timestamps(0), expected["date"].to_numpy("M8[ns]"))
    univariate = read_panel(source, layout="wide").train
    assert univariate.item_ids == tuple(variates)
    np.testing.assert_array_equal(
        univariate.series(6).target[0], expected["OT"].to_numpy(np.float32)
    )


def test_date_offset_and_normalize_as_uni2ts(shared, tmp_path):
    source = shared / "data/lsf/ETTh1.csv"
    built = build_panel(
        source,
        tmp_path,
        layout="wide_multivariate",
        name="etth1",
        date_offset="2017-10-23 23:00:00",
        normalize=True,
    )
    frame = pd.read_csv(source, parse_dates=["date"], index_col="date")
    train = frame.loc[:"2017-10-23 23:00:00"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["etth1", "etth1_eval"]
    assert list(built.train.lengths) == [len(train)]
    assert list(built.evaluation.lengths) == [len(frame)]
    expected = (frame - train.mean()) / train.std(ddof=0)
    np.testing.assert_allclose(
        built.evaluation.series(0).target, expected.to_numpy().T, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(
        built.train.series(0).target, built.evaluation.series(0).target[:, : len(train)]
    )
    scales = Panel.open(tmp_path / "etth1").info.provenance["normalization"]["etth1"]
    np.testing.assert_allclose(scales["OT"], [train["OT"].mean(), train["OT"].std(ddof=0)])


def test_statistics_come_from_training_rows_only(wide):
    options = {"layout": "wide", "name": "x", "date_offset": "2024-01-02", "normalize": True}
    moved = wide.copy()
    moved.loc[48:, ["north", "south"]] *= 1000
    first, second = (read_panel(frame, **options) for frame in (wide, moved))
    assert first.train.fingerprint == second.train.fingerprint
    assert first.train.info == second.train.info
    assert first.evaluation.fingerprint != second.evaluation.fingerprint


def test_a_date_without_time_includes_its_whole_day(wide):
    built = read_panel(wide, layout="wide", name="x", date_offset="2024-01-02")
    assert list(built.train.lengths) == [48, 48]
    exact = read_panel(wide, layout="wide", name="x", date_offset="2024-01-02 00:00")
    assert list(exact.train.lengths) == [25, 25]
    stamp = read_panel(wide, layout="wide", name="x", date_offset=pd.Timestamp("2024-01-02"))
    assert list(stamp.train.lengths) == [25, 25]


def test_long_files_with_several_values(long, tmp_path):
    long.to_csv(tmp_path / "shop.csv", index=False)
    long.to_parquet(tmp_path / "shop.parquet")
    panels = [
        read_panel(
            tmp_path / f"shop.{kind}",
            layout="long",
            values=["volume", "price"],
            known_covariates=["promo"],
        ).train
        for kind in ("csv", "parquet")
    ]
    assert panels[0].fingerprint == panels[1].fingerprint
    panel = panels[0]
    assert panel.item_ids == ("b", "a")
    assert panel.info.variates == ("volume", "price")
    assert panel.info.freq == "D"
    for k, item_id in enumerate(panel.item_ids):
        rows = long[long["item_id"] == item_id]
        one = panel.series(k)
        expected = rows[["volume", "price"]].to_numpy(np.float32).T
        np.testing.assert_array_equal(one.target, expected)
        np.testing.assert_array_equal(one.known_covariates[0], rows["promo"].to_numpy(np.float32))
        assert one.start == rows["timestamp"].iloc[0]


def test_interleaved_items_are_taken_apart(long):
    mixed = long.sort_values(["timestamp", "item_id"]).reset_index(drop=True)
    a, b = (read_panel(f, layout="long", name="x").train for f in (long, mixed))
    assert a.select(["a", "b"]).fingerprint == b.select(["a", "b"]).fingerprint
    assert a.info.variates == ("price", "volume", "promo")


@pytest.mark.parametrize(
    "freq",
    ["s", "15min", "h", "D", "B", "W-SUN", "W-WED", "MS", "ME", "QS-JAN", "QE-DEC", "YS-JAN"],
)
@pytest.mark.parametrize("with_gaps", [False, True])
def test_frequencies_are_found(freq, with_gaps):
    dates = pd.date_range("2020-03-02", periods=40, freq=freq)
    kept = np.ones(40, bool)
    if with_gaps:
        kept[[5, 6, 20]] = False
    values = np.random.default_rng(0).normal(size=40)
    frame = pd.DataFrame({"date": dates, "x": values})[kept]
    panel = read_panel(frame, layout="wide", name="x").train
    np.testing.assert_array_equal(panel.timestamps(0), dates.to_numpy("M8[ns]"))
    expected = np.where(kept, values, np.nan).astype(np.float32)
    np.testing.assert_array_equal(panel.series(0).target[0], expected)
    assert panel.info.provenance["filled_rows"] == (~kept).sum()


def test_irregular_rows_need_a_calendar(make_panel):
    office = make_panel(1, 140, explicit=True).timestamps(0)
    frame = pd.DataFrame({"timestamp": office, "item_id": "desk", "x": np.arange(140.0)})
    with pytest.raises(DataError, match=r"item 'desk'.*calendar="):
        read_panel(frame, layout="long", name="x")
    panel = read_panel(frame, layout="long", name="x", calendar="office").train
    assert (panel.info.freq, panel.info.calendar) == (None, "office")
    np.testing.assert_array_equal(panel.timestamps(0), office)
    filled = read_panel(frame, layout="long", name="x", freq="h").train
    assert int(np.isfinite(filled.series(0).target).sum()) == 140
    assert filled.lengths[0] > 500


def test_items_must_agree_in_frequency(long):
    daily = long[long["item_id"] == "a"]
    sparse = long[long["item_id"] == "b"].iloc[::2]
    with pytest.raises(DataError, match="'a' has D, 'b' has 2D"):
        read_panel(pd.concat([daily, sparse]), layout="long", name="x")
    with pytest.raises(DataError, match="not dates of frequency '2D'"):
        read_panel(long.drop(index=3), layout="long", name="x", freq="2D")


@pytest.mark.parametrize(
    ("change", "options", "reason"),
    [
        (lambda f: f, {"values": ["east"]}, r"column 'east' is missing.*north, south"),
        (lambda f: f, {"time_column": "when"}, "column 'when' is missing"),
        (lambda f: f.iloc[::-1], {}, "not sorted: 2024-01-04 22:00:00 follows"),
        (lambda f: f.iloc[[0, 1, 1, 2]], {}, "2024-01-01 01:00:00 is repeated"),
        (lambda f: f.assign(north=1.0), {}, r"'value' is constant \(1\).*item 'north'"),
        (lambda f: f.assign(south=np.nan), {}, r"no observed value.*item 'south'"),
        (lambda f: f.iloc[:10], {"min_length": 11}, "10 rows, fewer than min_length=11"),
        (lambda f: f.iloc[:2], {}, "three rows"),
        (lambda f: f.iloc[:0], {}, "no rows"),
        (lambda f: f[["date"]], {}, "no value column"),
        (lambda f: f.assign(north="high"), {}, "holds 'high' at row 0"),
        (lambda f: f.assign(north=f["date"]), {}, "holds '2024-01-01"),
        (lambda f: f.assign(date="yesterday"), {}, "timestamps are not dates"),
        (lambda f: f.assign(date=range(len(f))), {}, "timestamps are numbers"),
        (lambda f: f.assign(date=f["date"].dt.tz_localize("UTC")), {}, "time zone UTC"),
        (lambda f: f.assign(date=f["date"].where(f.index != 3)), {}, "row 3 has no timestamp"),
        (lambda f: f, {"freq": "7min"}, "not dates of frequency '7min'"),
        (lambda f: f, {"date_offset": "2023-01-01"}, "leaves 0 rows to train on"),
        (lambda f: f, {"date_offset": "2025-01-01"}, "96 rows to train on and 0"),
        (lambda f: f.assign(north=np.r_[[np.nan] * 48, f["north"][48:]]),
         {"date_offset": "2024-01-02"}, "training part"),
        (lambda f: f.assign(north=np.r_[[1.0] * 48, f["north"][48:]]),
         {"date_offset": "2024-01-02", "normalize": True}, "cannot be normalized"),
        (lambda f: f.assign(north=np.inf), {}, "infinite|constant"),
    ],
)  # fmt: skip
def test_bad_tables_are_told_and_nothing_is_left(wide, tmp_path, change, options, reason):
    with pytest.raises(DataError, match=reason):
        build_panel(change(wide), tmp_path, layout="wide", name="x", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("column", ["item_id", "timestamp"])
def test_long_tables_need_their_columns(long, column):
    with pytest.raises(DataError, match=f"column '{column}' is missing"):
        read_panel(long.drop(columns=column), layout="long", name="x")


def test_constant_series_may_be_allowed(wide):
    panel = read_panel(
        wide.assign(north=2.0), layout="wide", name="x", allow_constant=True, normalize=True
    ).train
    assert (panel.series(0).target == 0).all()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"layout": "tall"}, "wide, wide_multivariate, long"),
        ({}, "layout"),
        ({"layout": "wide", "freq": "fortnight"}, "not known to pandas"),
        ({"layout": "wide", "date_offset": "someday"}, "not a date"),
        ({"layout": "wide", "min_length": 0}, "min_length"),
        ({"layout": "wide", "known_covariates": ["south"]}, "no covariates"),
        ({"layout": "wide", "colour": "red"}, "colour"),
        ({"layout": "wide", "name": ""}, "name="),
    ],
)
def test_bad_options_are_told(wide, tmp_path, options, reason):
    with pytest.raises(ConfigError, match=reason):
        build_panel(wide, tmp_path, **({"name": "x"} | options))
    assert list(tmp_path.iterdir()) == []


def test_covariates_of_the_multivariate_layout(wide):
    panel = read_panel(wide, layout="wide_multivariate", name="x", past_covariates=["south"]).train
    assert panel.info.variates == ("north",)
    np.testing.assert_array_equal(
        panel.series(0).past_covariates[0], wide["south"].to_numpy(np.float32)
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist"),
        ("", "cannot be read"),
        ("date,x,x\n2024-01-01,1,2\n", "x are named twice"),
        ("date,x\n2024-01-01,1\n2024-01-02,1,2\n", "cannot be read"),
        ("date,x\n", "no rows"),
    ],
)
def test_bad_files_are_told(tmp_path, content, reason):
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=reason):
        read_panel(path, layout="wide")


def test_other_files_are_told(tmp_path):
    (tmp_path / "table.parquet").write_text("not parquet")
    with pytest.raises(DataError, match="cannot be read"):
        read_panel(tmp_path / "table.parquet", layout="wide")
    with pytest.raises(DataError, match=r"Give \.csv or \.parquet"):
        read_panel(tmp_path / "table.xlsx", layout="wide")


def test_missing_values_are_read_as_nan(tmp_path):
    rows = [
        "date,x",
        "2024-01-01,1",
        "2024-01-02,",
        "2024-01-03,NA",
        "2024-01-04,nan",
        "2024-01-05,5",
    ]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    target = read_panel(tmp_path / "t.csv", layout="wide").train.series(0).target[0]
    np.testing.assert_array_equal(target, np.array([1, np.nan, np.nan, np.nan, 5], np.float32))


def test_day_first_dates_need_a_format(wide):
    frame = wide.assign(date=wide["date"].dt.strftime("%d.%m.%Y %H:%M"))
    panel = read_panel(frame, layout="wide", name="x", date_format="%d.%m.%Y %H:%M").train
    assert panel.timestamps(0)[-1] == np.datetime64("2024-01-04T23")


def test_the_default_directory(wide, tmp_path, monkeypatch):
    monkeypatch.delenv("CUSTOM_DATA_PATH", raising=False)
    with pytest.raises(ConfigError, match="CUSTOM_DATA_PATH"):
        build_panel(wide, layout="wide", name="x")
    monkeypatch.setenv("CUSTOM_DATA_PATH", str(tmp_path))
    assert build_panel(wide, layout="wide", name="x").train.path == tmp_path / "x"


def test_existing_panels_are_kept_unless_overwritten(wide, tmp_path):
    options = {"layout": "wide", "name": "x", "date_offset": "2024-01-02"}
    build_panel(wide, tmp_path, **options)
    with pytest.raises(DataError, match="exists already"):
        build_panel(wide, tmp_path, **options)
    again = build_panel(wide.iloc[:72], tmp_path, overwrite=True, **options)
    assert list(again.evaluation.lengths) == [72, 72]


def test_when_the_second_panel_fails_the_first_is_removed(wide, tmp_path, monkeypatch):
    write = Panel.write

    def fail_second(path, *args, **kwargs):
        if str(path).endswith("_eval"):
            raise DataError("the disk is full")
        return write(path, *args, **kwargs)

    monkeypatch.setattr(csv.Panel, "write", fail_second)
    with pytest.raises(DataError, match="full"):
        build_panel(wide, tmp_path, layout="wide", name="x", date_offset="2024-01-02")
    assert list(tmp_path.iterdir()) == []


def test_where_it_came_from_is_recorded(wide, tmp_path):
    wide.to_csv(tmp_path / "w.csv", index=False)
    built = build_panel(tmp_path / "w.csv", tmp_path, layout="wide", licence="CC0-1.0")
    provenance = Panel.open(tmp_path / "w").info.provenance
    assert provenance == {
        "source": str(tmp_path / "w.csv"),
        "layout": "wide",
        "frequency": "inferred",
        "date_offset": None,
        "filled_rows": 0,
    }
    assert json.loads(built.train.info.to_json())["licence"] == "CC0-1.0"
