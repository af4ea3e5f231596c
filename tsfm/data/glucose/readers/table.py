"""Tables of readings as users have them: CSV, Parquet and frames, one person or many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm.data.glucose.cgm_config import CgmConfig
from tsfm.data.glucose.columns import ITEM
from tsfm.data.glucose.readers.cells import read_cells
from tsfm.data.glucose.readings import Readings, table_readings
from tsfm.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


def read(path: Path, config: CgmConfig, item_id: str) -> Iterator[Readings]:
    """The people of a CSV or Parquet file; also the harmonised ``timestamp, glucose_value_mg_dl``.

    Raises
    ------
    DataError
        When the file cannot be read; see :func:`~tsfm.data.glucose.readings.table_readings`.
    """
    import polars as pl

    if path.suffix.lower() != ".parquet":
        table = read_cells(path)
    else:
        try:
            table = pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            reason = (str(error).strip().splitlines() or ["damaged"])[0]
            raise DataError(f"the table cannot be read: {reason}", where=str(path)) from error
    yield from table_readings(table, config, where=str(path), item_id=item_id)


def read_frame(
    frame: pd.DataFrame | pl.DataFrame, config: CgmConfig, *, item_id: str = "person"
) -> Iterator[Readings]:
    """The people of one combined frame; a date index counts as a column."""
    yield from table_readings(
        as_polars(frame), config, where=f"frame {config.name}", item_id=item_id
    )


def read_people(frames: Mapping[str, Any], config: CgmConfig) -> dict[str, Readings]:
    """A frame by person; the keys are the ids, whatever the frames say of themselves.

    Raises
    ------
    DataError
        When there is none, or a frame holds several people.
    """
    if not frames:
        raise DataError("there is no person", where="dict of frames")
    people: dict[str, Readings] = {}
    for key, frame in frames.items():
        where, item_id = f"frame of {key!r}", str(key)
        found = list(table_readings(as_polars(frame), config, where=where, item_id=item_id))
        if len(found) > 1:
            names = ", ".join(one.item_id for one in found[:5])
            raise DataError(
                f"the frame of one person holds {len(found)}: {names}",
                where=where,
                remedy=f"give one frame per person, or correct its column of {ITEM}",
            )
        people[item_id] = replace(found[0], item_id=item_id, where=where)
    return people


def as_polars(frame: pd.DataFrame | pl.DataFrame) -> pl.DataFrame:
    """A frame of any kind; a named or dated index of pandas becomes columns.

    Raises
    ------
    DataError
        When it is no frame, or its cells have no common type.
    """
    import pandas as pd
    import polars as pl

    if isinstance(frame, pl.DataFrame):
        return frame
    if not isinstance(frame, pd.DataFrame):
        raise DataError(
            f"{type(frame).__name__} is no table", remedy="give a pandas or polars DataFrame"
        )
    named = [name for name in frame.index.names if name is not None]
    if named or isinstance(frame.index, pd.DatetimeIndex):
        frame = frame.reset_index(
            names=named or ["timestamp"], drop=bool(set(named) & set(frame.columns))
        )
    frame = frame.rename(columns=str)
    mixed = [column for column in frame.columns if frame[column].dtype == object]
    texts = {column: frame[column].map(_text, na_action="ignore") for column in mixed}
    return pl.from_pandas(frame.assign(**texts))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
