"""Ordinary series that ship with packages: climate, sales, economies, markets; no network needed.

Those of statsmodels are in the public domain; the market's are told in
:mod:`tsfm.data.ohlcv.sample`. Six frequencies, half-hourly to yearly.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd

from tsfm.data.locations import find
from tsfm.data.panel import Panel
from tsfm.data.series import PanelInfo, Series
from tsfm.errors import DataError

ETT_FILES = ("ETTh1.csv", "ETT-small/ETTh1.csv", "ett/ETTh1.csv")
ETT_TRAINED, ETT_VALIDATED, ETT_END = (months * 30 * 24 for months in (12, 16, 20))
_ECONOMY = ("realgdp", "realcons", "realinv", "cpi", "m1", "unemp")


def ordinary_panels() -> tuple[Panel, ...]:
    """One panel for each frequency and kind; every series is an item of its own.

    Returns
    -------
    tuple
        Electricity demand (half-hourly), carbon dioxide (weekly, Mauna Loa), sea temperature
        (monthly, El Niño), orders of electrical equipment (monthly), sunspots (yearly), the United
        States' economy (quarterly), daily ranges of stocks and indices, and the test part of ETTh1
        where ``LSF_PATH`` has it.

    Raises
    ------
    DataError
        When the file of ETTh1 cannot be read.
    """
    ett = next((found for name in ETT_FILES if (found := find(name)) is not None), None)
    return (
        _panel(
            "electricity_demand",
            {"england": _demand()},
            "30min",
            48,
            licence="GPL-3.0 (R's forecast)",
            package="pmdarima",
        ),
        _panel("carbon_dioxide", {"mauna_loa": _loaded("co2")["co2"]}, "W-SAT", 52),
        _panel("sea_temperature", {"nino": _months(_loaded("elnino"))}, "MS", 12),
        _panel("equipment_orders", {"europe": _loaded("elec_equip").iloc[:, 0]}, "MS", 12),
        _panel("sunspots", {"yearly": _years(_loaded("sunspots")["SUNACTIVITY"], 1700)}, "YS", 11),
        _panel("economy", _quarters(_loaded("macrodata")), "QS", 4),
        _daily_ranges(),
        *(() if ett is None else (_panel("ETTh1", _ett_test(ett), "h", 24, package=str(ett)),)),
    )


def _demand() -> pd.Series[float]:
    from pmdarima.datasets import load_taylor

    values = load_taylor()
    return pd.Series(values, pd.date_range("2000-06-05", periods=len(values), freq="30min"))


def _ett_test(path: Path) -> dict[str, pd.Series[float]]:
    """The standard test part, as long again before it, standardised by the training part."""
    try:
        values = pd.read_csv(path, parse_dates=["date"], index_col="date")
        train = values.iloc[:ETT_TRAINED]
        scaled = (values - train.mean()) / train.std(ddof=0)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"ETTh1 cannot be read: {error}",
            where=str(path),
            remedy="replace it, or unset LSF_PATH",
        ) from error
    part = scaled.iloc[2 * ETT_VALIDATED - ETT_END : ETT_END]
    return {str(name): part[name] for name in part.columns}


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


def _panel(
    name: str,
    series: Mapping[str, pd.Series[float]],
    freq: str,
    seasonality: int,
    *,
    licence: str = "public domain",
    package: str = "statsmodels",
) -> Panel:
    info = PanelInfo(
        name=name,
        variates=("value",),
        freq=freq,
        seasonality=seasonality,
        licence=licence,
        provenance={"package": package},
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
