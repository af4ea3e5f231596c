"""Dexcom Clarity's CSV export: rows of several event types under one header."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tsfm.data.glucose.cgm_config import CgmConfig
from tsfm.data.glucose.columns import CARBOHYDRATES, GLUCOSE, INSULIN, TIME, Columns
from tsfm.data.glucose.readers.cells import read_cells
from tsfm.data.glucose.readings import LONG_INSULIN, Readings, table_readings
from tsfm.data.glucose.units import named_units
from tsfm.errors import DataError


def read(path: Path, config: CgmConfig, item_id: str) -> Iterator[Readings]:
    """The one person of a file; names and dates of birth in it are not read.

    ``EGV`` rows are glucose (LOW and HIGH at the sensor's limits), ``Insulin`` rows doses, told
    apart as fast- and long-acting, ``Carbs`` rows meals. Calibrations and alerts are left out.

    Raises
    ------
    DataError
        When a column is missing or there is no EGV row.
    """
    import polars as pl

    table = read_cells(path)
    found = {
        role: next((name for name in table.columns if name.lower().startswith(start)), None)
        for role, start in (
            (TIME, "timestamp"),
            ("type", "event type"),
            ("subtype", "event subtype"),
            (GLUCOSE, "glucose value"),
            (INSULIN, "insulin value"),
            (CARBOHYDRATES, "carb value"),
        )
    }
    missing = [role for role in (TIME, "type", GLUCOSE) if found[role] is None]
    if missing:
        raise DataError(
            f"no column is known as {', '.join(missing)}",
            where=str(path),
            remedy="give an unchanged export of Dexcom Clarity",
        )
    kind = pl.col(str(found["type"])).str.strip_chars().str.to_lowercase()
    subtype = pl.col(found["subtype"]).str.to_lowercase() if found["subtype"] else pl.lit("")
    is_long = subtype.fill_null("").str.contains("long")
    columns = {
        GLUCOSE: (GLUCOSE, kind == "egv"),
        INSULIN: (INSULIN, (kind == "insulin") & ~is_long),
        LONG_INSULIN: (INSULIN, (kind == "insulin") & is_long),
        CARBOHYDRATES: (CARBOHYDRATES, kind.is_in(["carbs", "carb", "meal"])),
    }
    cells = table.select(
        pl.col(str(found[TIME])).alias(TIME),
        *(
            pl.when(rows).then(pl.col(str(found[source]))).alias(role)
            for role, (source, rows) in columns.items()
            if found[source]
        ),
    ).filter(pl.any_horizontal(pl.exclude(TIME).is_not_null()))
    if GLUCOSE not in cells.columns or cells[GLUCOSE].null_count() == len(cells):
        raise DataError("there is no EGV row", where=str(path))
    yield from table_readings(
        cells,
        config,
        where=str(path),
        item_id=item_id,
        columns=Columns(roles={name: name for name in cells.columns}),
        units=named_units(str(found[GLUCOSE])) or "auto",
        facts={"format": "Dexcom Clarity"},
    )
