"""Ordinary series that ship with packages: climate, sales, economies, markets; no network needed.

All are in the public domain but the market's (see :mod:`tsfm.data.ohlcv.sample`). Five frequencies,
daily to yearly.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import numpy as np
import pandas as pd

from tsfm.data.panel import Panel
from tsfm.data.series import PanelInfo, Series

_ECONOMY = ("realgdp", "realcons", "realinv", "cpi", "m1", "unemp")


def ordinary_panels() -> tuple[Panel, ...]:
    """One panel for each frequency and kind; every series is an item of its own.

    Returns
    -------
    tuple
        Carbon dioxide (weekly, Mauna Loa), sea temperature (monthly, El Niño), orders of electrical
        equipment (monthly), sunspots (yearly), the United States' economy (quarterly) and daily
        ranges of stocks and indices.
    """
    return (
        _panel("carbon_dioxide", {"mauna_loa": _loaded("co2")["co2"]}, "W-SAT", 52),
        _panel("sea_temperature", {"nino": _months(_loaded("elnino"))}, "MS", 12),
        _panel("equipment_orders", {"europe": _loaded("elec_equip").iloc[:, 0]}, "MS", 12),
        _panel("sunspots", {"yearly": _years(_loaded("sunspots")["SUNACTIVITY"], 1700)}, "YS", 11),
        _panel("economy", _quarters(_loaded("macrodata")), "QS", 4),
        _daily_ranges(),
    )


def _loaded(name: str) -> pd.DataFrame:
    data: pd.DataFrame = import_module(f"statsmodels.datasets.{name}").load_pandas().data
    return data


def _months(table: pd.DataFrame) -> pd.Series[float]:
    """A row per year, a column per month."""
    values = table.drop(columns="YEAR").to_numpy(np.float64).ravel()
    return pd.Series(
        values, pd.date_range(f"{table['YEAR'].iloc[0]:.0f}", periods=len(values), freq="MS")
    )


def _years(values: pd.Series[float], first: int) -> pd.Series[float]:
    return values.set_axis(pd.date_range(f"{first}", periods=len(values), freq="YS"))


def _quarters(table: pd.DataFrame) -> dict[str, pd.Series[float]]:
    first = f"{table['year'].iloc[0]:.0f}"
    index = pd.date_range(first, periods=len(table), freq="QS")
    return {name: table[name].set_axis(index) for name in _ECONOMY}


def _panel(name: str, series: Mapping[str, pd.Series[float]], freq: str, seasonality: int) -> Panel:
    info = PanelInfo(
        name=name,
        variates=("value",),
        freq=freq,
        seasonality=seasonality,
        licence="public domain",
        provenance={"package": "statsmodels"},
    )
    items = [
        Series(
            item_id=item,
            target=values.to_numpy(np.float32)[None],
            start=pd.Timestamp(values.index[0]),
        )
        for item, values in series.items()
    ]
    return Panel.from_series(items, info)


def _daily_ranges() -> Panel:
    from tsfm.data.ohlcv.sample import sample_panel

    return sample_panel().variates(["log_range"])
