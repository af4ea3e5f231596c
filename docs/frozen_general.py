"""How the panels of the suite ``general`` were made, once: they are never made again.

    pip install vega_datasets==0.9.0
    python docs/frozen_general.py FOLDER

Kept so that readers see what was done to the data; licences are in
``tsfm/evaluation/suites/LICENCES.md``. Another version of a package may give other values: then the
fingerprints in ``general.yaml`` refuse them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module, resources
from pathlib import Path

import numpy as np
import pandas as pd

from tsfm.data.panel import Panel
from tsfm.data.series import PanelInfo, Series

PUBLIC_DOMAIN = "public domain"
ECONOMY = ("realgdp", "realcons", "realinv", "cpi", "m1", "unemp")


def main(folder: Path) -> None:
    write(folder, "carbon_dioxide", {"mauna_loa": statsmodels("co2")["co2"]}, "W-SAT", 52)
    write(folder, "sea_temperature", {"nino": by_month(statsmodels("elnino"))}, "MS", 12)
    orders = statsmodels("elec_equip").iloc[:, 0]
    write(folder, "equipment_orders", {"europe": orders}, "MS", 12)
    sunspots = statsmodels("sunspots")["SUNACTIVITY"].set_axis(years(1700, 309))
    write(folder, "sunspots", {"yearly": sunspots}, "YS", 11)
    macro = statsmodels("macrodata")
    quarters = pd.date_range("1959", periods=len(macro), freq="QS")
    write(folder, "economy", {n: macro[n].set_axis(quarters) for n in ECONOMY}, "QS", 4)
    rates = bokeh("unemployment1948.csv").drop(columns="Annual")
    write(
        folder, "unemployment", {"us": by_month(rates.rename(columns={"Year": "YEAR"}))}, "MS", 12
    )
    weddings = bokeh("us_marriages_divorces.csv")
    index = years(int(weddings["Year"].iloc[0]), len(weddings))
    rates = {n: weddings[f"{n}_per_1000"].set_axis(index) for n in ("Marriages", "Divorces")}
    write(folder, "marriages", rates, "YS", 1)
    buoy = bokeh("sea_surface_temperature.csv.gz").set_index("time (UTC)").iloc[:, 0]
    buoy.index = pd.to_datetime(buoy.index).tz_localize(None)
    write(folder, "buoy", {"maine": buoy.resample("30min").mean()}, "30min", 48)
    write(folder, "air_temperature", {c: hourly(c) for c in ("seattle", "sf")}, "h", 24)
    weather = vega("seattle-weather.csv")
    kinds = ["temp_max", "temp_min", "wind", "precipitation"]
    together(folder, "weather", weather[kinds].set_axis(pd.to_datetime(weather["date"])), "D", 365)
    jobs = vega("us-employment.csv").set_index("month").drop(columns="nonfarm_change")
    jobs.index = pd.to_datetime(jobs.index)
    write(folder, "employment", {n: jobs[n] for n in jobs.columns}, "MS", 12)
    emitted = bokeh("emissions.csv.gz").pivot_table(
        index="year", columns="country", values="emissions"
    )
    emitted = emitted.loc[1950:2012].dropna(axis=1)
    largest = emitted.mean().sort_values(ascending=False, kind="stable").index[:40]
    kept = emitted[sorted(largest)].set_axis(years(1950, len(emitted)))
    write(folder, "emissions", {n: kept[n] for n in kept.columns}, "YS", 1)
    raw = package("arch.data.wti", "wti.csv.gz").set_index("Date").iloc[:, 0]
    oil = pd.to_numeric(raw, errors="coerce")
    oil.index = pd.to_datetime(oil.index)
    write(folder, "oil_price", {"wti": oil.asfreq("B")}, "B", 5)
    lines = package("bokeh_sampledata._data", "commits.txt.gz", header=None)
    moments = pd.to_datetime(lines.iloc[:, 1].str.strip(), utc=True, format="mixed")
    daily = pd.Series(1.0, moments.dt.tz_localize(None).dt.normalize()).groupby(level=0).sum()
    write(folder, "commits", {"one_user": daily.asfreq("D", fill_value=0.0)}, "D", 7)


def write(
    folder: Path, name: str, series: Mapping[str, pd.Series], freq: str, seasonality: int
) -> None:
    """A panel of univariate items."""
    items = []
    for item, values in series.items():
        known = values.loc[values.first_valid_index() : values.last_valid_index()]
        expected = pd.date_range(known.index[0], periods=len(known), freq=freq)
        assert (expected == known.index).all(), (name, item)
        target = known.to_numpy(np.float32)[None]
        items.append(Series(item_id=item.lower(), target=target, start=known.index[0]))
    Panel.write(folder / name, items, info(name, ("value",), freq, seasonality))


def together(folder: Path, name: str, table: pd.DataFrame, freq: str, seasonality: int) -> None:
    """A panel of one multivariate item."""
    item = Series(item_id=name, target=table.to_numpy(np.float32).T.copy(), start=table.index[0])
    Panel.write(folder / name, [item], info(name, tuple(table.columns), freq, seasonality))


def info(name: str, variates: tuple[str, ...], freq: str, seasonality: int) -> PanelInfo:
    licence = "free to use and redistribute" if name == "buoy" else PUBLIC_DOMAIN
    return PanelInfo(
        name=name,
        variates=variates,
        freq=freq,
        seasonality=seasonality,
        licence=licence,
        provenance={"made_by": "docs/frozen_general.py", "licences": "LICENCES.md"},
    )


def statsmodels(name: str) -> pd.DataFrame:
    return import_module(f"statsmodels.datasets.{name}").load_pandas().data


def bokeh(file: str) -> pd.DataFrame:
    return package("bokeh_sampledata._data", file)


def vega(file: str) -> pd.DataFrame:
    return package("vega_datasets._data", file)


def hourly(city: str) -> pd.Series:
    table = vega(f"{city}-temps.csv")
    values = table["temp"].set_axis(pd.to_datetime(table["date"]))
    return values[~values.index.duplicated()].asfreq("h")


def package(module: str, file: str, **options: object) -> pd.DataFrame:
    base, _, folder = module.partition("._data")
    root = resources.files(base) / ("_data" if folder == "" and "._data" in module else "")
    return pd.read_csv(str(root / file), encoding="utf-8-sig", **options)


def by_month(table: pd.DataFrame) -> pd.Series:
    """A row per year, a column per month."""
    values = table.drop(columns="YEAR").to_numpy(np.float64).ravel()
    first = f"{table['YEAR'].iloc[0]:.0f}"
    return pd.Series(values, pd.date_range(first, periods=len(values), freq="MS"))


def years(first: int, count: int) -> pd.DatetimeIndex:
    return pd.date_range(f"{first}", periods=count, freq="YS")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
