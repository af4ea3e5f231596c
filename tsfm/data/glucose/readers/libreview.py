"""LibreView's CSV export: a line about the file, then rows of numbered record types."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tsfm.data.glucose.cgm_config import CgmConfig
from tsfm.data.glucose.columns import CARBOHYDRATES, GLUCOSE, INSULIN, TIME, Columns
from tsfm.data.glucose.readers.cells import first_lines, read_cells
from tsfm.data.glucose.readings import LONG_INSULIN, Readings, table_readings
from tsfm.data.glucose.units import named_units
from tsfm.errors import DataError

_STARTS = {
    TIME: "device timestamp",
    "type": "record type",
    GLUCOSE: "historic glucose",
    INSULIN: "rapid-acting insulin (units)",
    CARBOHYDRATES: "carbohydrates (grams)",
    LONG_INSULIN: "long-acting insulin",
}
_HISTORIC = "0"


def read(path: Path, config: CgmConfig, item_id: str) -> Iterator[Readings]:
    """The one person of a file; the name in its first line is not read.

    Glucose is what the sensor recorded by itself (record type 0, every 15 minutes; LibreView calls
    it historic); scans are further readings at times that the person chose, and are left out.

    Raises
    ------
    DataError
        When the header is not found, a column is missing or there is no historic reading.
    """
    import polars as pl

    lines = first_lines(path, 4)
    header = next((k for k, line in enumerate(lines) if "device timestamp" in line.lower()), None)
    if header is None:
        raise DataError(
            "no header with Device Timestamp is among the first lines",
            where=str(path),
            remedy="give an unchanged export of LibreView, in English",
        )
    table = read_cells(path, skip=header)
    found = {
        role: next((name for name in table.columns if name.lower().startswith(start)), None)
        for role, start in _STARTS.items()
    }
    missing = [role for role in (TIME, "type", GLUCOSE) if found[role] is None]
    if missing:
        raise DataError(
            f"no column is known as {', '.join(missing)}",
            where=str(path),
            remedy="give an unchanged export of LibreView, in English",
        )
    is_historic = pl.col(str(found["type"])).str.strip_chars() == _HISTORIC
    cells = table.select(
        pl.col(str(found[TIME])).alias(TIME),
        pl.when(is_historic).then(pl.col(str(found[GLUCOSE]))).alias(GLUCOSE),
        *(
            pl.col(str(found[role])).alias(role)
            for role in (INSULIN, CARBOHYDRATES, LONG_INSULIN)
            if found[role]
        ),
    ).filter(pl.any_horizontal(pl.exclude(TIME).is_not_null()))
    if cells.is_empty() or cells[GLUCOSE].null_count() == len(cells):
        raise DataError("there is no historic reading (record type 0)", where=str(path))
    yield from table_readings(
        cells,
        config,
        where=str(path),
        item_id=item_id,
        columns=Columns(roles={name: name for name in cells.columns}),
        units=named_units(str(found[GLUCOSE])) or "auto",
        facts={"format": "LibreView"},
    )
