"""The real bars that ship in packages."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from tsfm.data.ohlcv.sample import INDICES, LONG_STOCK, STOCKS, sample_bars, sample_panel

SPLITS = [("AAPL", "2000-06-21"), ("AAPL", "2005-02-28")]


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return sample_bars()


def test_items_and_spans(bars: pd.DataFrame) -> None:
    spans = bars.groupby("item_id")["timestamp"].agg(["min", "max", "size"])
    assert set(spans.index) == {*STOCKS, LONG_STOCK, *INDICES}
    assert spans["size"].sum() == 26_929
    assert spans.loc["SP500", "max"] == pd.Timestamp("2018-12-31")
    assert spans.loc["MSFT", "min"] == pd.Timestamp("1986-03-13")
    assert spans.loc["AAPL", "min"] == pd.Timestamp("2000-03-01")


@pytest.mark.parametrize(("item", "date"), SPLITS)
def test_splits_leave_no_jump(bars: pd.DataFrame, item: str, date: str) -> None:
    from bokeh_sampledata import stocks

    traded = stocks.data.query("ticker == @item").set_index("date")["close"]
    adjusted = bars[bars.item_id == item].set_index("timestamp")
    assert abs(np.log(traded).diff()[date]) > 0.5
    assert abs(np.log(adjusted["close"]).diff()[date]) < 0.11
    around = np.log(adjusted["volume"])[pd.Timestamp(date) - pd.Timedelta("40D") :][:50]
    assert around.diff().abs().max() < 2


def test_returns_are_those_of_the_adjusted_close(bars: pd.DataFrame) -> None:
    from bokeh_sampledata import stocks

    for item in STOCKS:
        rows, supplied = bars[bars.item_id == item], stocks.data.query("ticker == @item")
        np.testing.assert_allclose(
            np.diff(np.log(rows["close"])), np.diff(np.log(supplied["adj_close"])), atol=1e-9
        )
        np.testing.assert_allclose(
            rows["close"] * rows["volume"], supplied["close"] * supplied["volume"], rtol=1e-9
        )
        np.testing.assert_allclose(
            rows["high"] / rows["low"], supplied["high"] / supplied["low"], rtol=1e-9
        )


def test_the_long_stock_agrees_with_another_source(bars: pd.DataFrame) -> None:
    from bokeh_sampledata import stocks

    other = stocks.data.query("ticker == @LONG_STOCK").set_index("date")
    ours = bars[bars.item_id == LONG_STOCK].set_index("timestamp").loc[other.index]
    returns = np.log(ours["close"]).diff() - np.log(other["adj_close"]).diff()
    ranges = np.log(ours["high"] / ours["low"]) - np.log(other["high"] / other["low"])
    assert returns.abs().quantile(0.98) < 2e-3
    assert ranges.abs().quantile(0.98) < 2e-3
    assert abs(returns["2003-02-18"]) < 2e-3, "a split"


def test_the_panel_records_where_it_comes_from() -> None:
    panel = sample_panel()
    assert len(panel) == 7
    assert (panel.info.freq, panel.info.seasonality) == ("B", 5)
    assert "Public domain" in panel.info.licence
    named = {item for source in panel.info.provenance["sources"] for item in source["items"]}
    assert named == set(panel.item_ids)
    assert all(source["licence"] for source in panel.info.provenance["sources"])
    assert np.isfinite(panel.series(0).target[:, 1:]).all()
    assert panel.info.provenance["sources"][1]["licence"] == "CC0"


def test_making_the_sample_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tsfm.data.ohlcv.sample import sample_panel; sample_panel(); "
        "print([m for m in ('torch', 'lightning', 'mlflow') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
