"""BrisT1D as Kaggle has it: five-minute rows of six hours' lags, with clock times but no dates.

``train.csv`` has ``id, p_num, time`` and, for every lag, ``bg-0:00`` (mmol/L), ``insulin-0:00``
(U), ``carbs-0:00`` (g), ``hr-0:00``, ``steps-0:00``, ``cals-0:00``, ``activity-0:00``; what each
row has at lag zero is the series. ``bg+1:00`` lies ahead and is not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tsfm.data.glucose.cgm_config import CgmConfig
from tsfm.data.glucose.columns import Columns
from tsfm.data.glucose.readers.cells import read_cells
from tsfm.data.glucose.readings import Readings, table_readings
from tsfm.data.glucose.units import MMOL_L
from tsfm.errors import DataError

if TYPE_CHECKING:
    import polars as pl

DAY_ZERO = datetime(2020, 1, 1)
COLUMNS = {
    "item_id": "p_num",
    "timestamp": "timestamp",
    "glucose": "bg-0:00",
    "insulin": "insulin-0:00",
    "carbohydrates": "carbs-0:00",
    "heart_rate": "hr-0:00",
    "steps": "steps-0:00",
    "calories": "cals-0:00",
}
_DATED = "the file has clock times only; days are counted from 2020-01-01, so that gaps of a day \
or more cannot be seen"


def read(path: Path, config: CgmConfig, item_id: str) -> Iterator[Readings]:
    """The people of ``train.csv``.

    Raises
    ------
    DataError
        When a column is missing, or the file is ``test.csv``, whose rows do not follow each other.
    """
    table = read_cells(path)
    needed = [COLUMNS[role] for role in ("item_id", "glucose")] + ["time"]
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise DataError(
            f"columns {', '.join(missing)} are missing", where=str(path), remedy="give train.csv"
        )
    if "bg+1:00" not in table.columns:
        raise DataError(
            "rows without bg+1:00 are single windows in random order, not series",
            where=str(path),
            remedy="give train.csv",
        )
    roles = {
        role: column
        for role, column in COLUMNS.items()
        if column in table.columns or role == "timestamp"
    }
    yield from table_readings(
        dated(table, str(path)),
        config,
        where=str(path),
        item_id=item_id,
        columns=Columns(roles=roles, unused=("id", "time", "all other lags")),
        units=MMOL_L,
        facts={"dates": _DATED},
    )


def dated(table: pl.DataFrame, where: str) -> pl.DataFrame:
    """The table with ``timestamp``: a new day wherever a person's clock goes back.

    Raises
    ------
    DataError
        When a clock time cannot be read.
    """
    import polars as pl

    clock = pl.col("time").str.to_time("%H:%M:%S", strict=False)
    table = table.with_columns(clock.alias("_clock"))
    if table["_clock"].null_count():
        row = int(table["_clock"].is_null().arg_max() or 0)
        raise DataError(f"time {table['time'][row]!r} in row {row} is no HH:MM:SS", where=where)
    days = (pl.col("_clock").diff() < pl.duration(seconds=0)).fill_null(value=False)
    midnight = pl.lit(DAY_ZERO).cast(pl.Datetime("us")) + pl.duration(days=days.cum_sum())
    stamps = midnight.dt.combine(pl.col("_clock")).over("p_num")
    return table.with_columns(stamps.alias("timestamp")).drop("_clock")
