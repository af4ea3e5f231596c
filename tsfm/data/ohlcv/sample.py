"""Real daily bars that ship in Python packages: no network, licences known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from tsfm.data.ohlcv.bars import COLUMNS, PRICES, validate_bars

if TYPE_CHECKING:
    from tsfm.data.ohlcv.preparation import BarPreparation
    from tsfm.data.panel import Panel

LICENCE = (
    "Public domain (stocks: Quandl WIKI Prices; Kaggle, CC0); "
    "NCSA (indices: as distributed with arch)"
)
STOCKS = ("AAPL", "FB", "GOOG", "IBM")
LONG_STOCK = "MSFT"
INDICES = {"SP500": "sp500", "NASDAQ": "nasdaq"}


def sample_bars() -> pd.DataFrame:
    """Five US stocks and two indices (1999–2018), daily, free of split jumps.

    Four stocks span 2000–2013, MSFT 1986–2017. Prices as traded are multiplied by
    ``adj_close / close``, so that neither splits nor dividends leave a jump, and volumes divided by
    it, so that each bar's turnover stays what it was. The factor is one on an item's last bar: that
    one is as traded. MSFT comes so adjusted.

    Returns
    -------
    pd.DataFrame
        ``item_id, timestamp, open, high, low, close, volume``, 26,929 rows.
    """
    raw = pd.concat(
        [_stocks(), _long_stock(), *(_index(name) for name in INDICES)], ignore_index=True
    )
    factor = raw["adj_close"] / raw["close"]
    factor /= factor.groupby(raw["item_id"]).transform("last")
    adjusted = raw[list(PRICES)].mul(factor, axis=0)
    bars = raw.assign(**adjusted, volume=raw["volume"] / factor)
    return validate_bars(bars[list(COLUMNS)], where="sample bars")


def sample_panel(preparation: BarPreparation | None = None) -> Panel:
    """The sample bars as a panel, with provenance and licence.

    Parameters
    ----------
    preparation
        By default ``BarPreparation()``.
    """
    from tsfm.data.ohlcv.preparation import BarPreparation

    return (preparation or BarPreparation()).panel(
        sample_bars(), name="sample_bars", licence=LICENCE, provenance=_provenance()
    )


def _stocks() -> pd.DataFrame:
    from bokeh_sampledata import stocks

    several = stocks.data.rename(columns={"ticker": "item_id", "date": "timestamp"})
    return several[several["item_id"].isin(STOCKS)]


def _long_stock() -> pd.DataFrame:
    from pmdarima.datasets import load_msft

    bars = load_msft().rename(columns=str.lower).rename(columns={"date": "timestamp"})
    stamps = pd.to_datetime(bars["timestamp"])
    return bars.assign(item_id=LONG_STOCK, timestamp=stamps, adj_close=bars["close"])


def _index(item_id: str) -> pd.DataFrame:
    from importlib import import_module

    levels = import_module(f"arch.data.{INDICES[item_id]}").load().reset_index()
    named = levels.rename(columns=lambda name: name.lower().replace(" ", "_"))
    return named.rename(columns={"date": "timestamp"}).assign(item_id=item_id)


def _provenance() -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "adjustment": "prices × adj_close / close, volumes ÷ it, relative to the last bar",
        "sources": [
            {
                "items": list(STOCKS),
                "package": f"bokeh_sampledata {version('bokeh_sampledata')}",
                "origin": "Quandl WIKI Prices (archived copy), daily, unadjusted with adj_close",
                "address": "https://data.nasdaq.com/databases/WIKIP",
                "licence": "Public domain, as declared by the publisher",
            },
            {
                "items": [LONG_STOCK],
                "package": f"pmdarima {version('pmdarima')}",
                "origin": "Huge Stock Market Dataset, Kaggle, daily, adjusted",
                "address": "https://www.kaggle.com/borismarjanovic/"
                "price-volume-data-for-all-us-stocks-etfs",
                "licence": "CC0",
            },
            {
                "items": list(INDICES),
                "package": f"arch {version('arch')}",
                "origin": "index levels from Yahoo Finance, arch.data.sp500 and arch.data.nasdaq",
                "address": "https://github.com/bashtage/arch",
                "licence": "NCSA, the licence of the package that distributes them",
            },
        ],
    }
