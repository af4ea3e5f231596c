"""Tables as they come: read, checked column by column, and taken apart into items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsfm.errors import DataError

_MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of one item, in the order of their increasing dates."""

    item_id: str
    dates: pd.DatetimeIndex
    names: tuple[str, ...]
    targets: Float[np.ndarray, "variate time"]
    covariates: Float[np.ndarray, "covariate time"]


def read_rows(
    source: str | Path | pd.DataFrame,
    *,
    layout: str,
    where: str,
    name: str,
    item_column: str = "item_id",
    time_column: str | None = None,
    values: Sequence[str] | None = None,
    covariates: Sequence[str] = (),
    date_format: str | None = None,
) -> Iterator[Rows]:
    """The items of a table; ``name`` is the item's of ``wide_multivariate``.

    Raises
    ------
    DataError
        When a column is missing, values are not numbers, or timestamps are not dates, unsorted or
        repeated.
    """
    frame = source if isinstance(source, pd.DataFrame) else read_table(Path(source))
    if frame.empty:
        raise DataError("the table has no rows", where=where)
    frame = frame.rename(columns=str)
    is_long = layout == "long"
    time_column = time_column or ("timestamp" if is_long else str(frame.columns[0]))
    keys = [item_column, time_column] if is_long else [time_column]
    _require(frame, [*keys, *(values or ()), *covariates], where)
    columns = [c for c in values or frame.columns if c not in keys and c not in covariates]
    if not columns:
        raise DataError(
            f"there is no value column beside {', '.join([*keys, *covariates])}", where=where
        )
    dates = _dates(frame[time_column], date_format, where)
    targets = _numbers(frame, columns, where)
    extra = _numbers(frame, list(covariates), where)
    names = ("value",) if layout == "wide" else tuple(columns)
    for item_id, rows in _items(frame, item_column, where) if is_long else [(name, None)]:
        index = dates if rows is None else dates[rows]
        _increasing(index, f"{where}, item {item_id!r}" if is_long else where)
        chosen = targets if rows is None else targets[:, rows]
        if layout == "wide":
            for column, line in zip(columns, chosen):
                yield Rows(
                    item_id=column, dates=index, names=names, targets=line[None], covariates=extra
                )
        else:
            covered = extra if rows is None else extra[:, rows]
            yield Rows(
                item_id=item_id, dates=index, names=names, targets=chosen, covariates=covered
            )


def read_table(path: Path) -> pd.DataFrame:
    """A CSV or Parquet file.

    Raises
    ------
    DataError
        When it is missing, of another kind, damaged, or names a column twice.
    """
    import polars as pl

    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise DataError(
            f"files of kind {suffix or 'without suffix'} are not read",
            where=str(path),
            remedy="give .csv or .parquet",
        )
    try:
        if suffix == ".parquet":
            return pl.read_parquet(path).to_pandas()
        header = pl.read_csv(path, has_header=False, n_rows=1, infer_schema=False).row(0)
        table = pl.read_csv(path, infer_schema_length=None, null_values=_MISSING)
    except FileNotFoundError as error:
        raise DataError("the file does not exist", where=str(path)) from error
    except (OSError, pl.exceptions.PolarsError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"the table cannot be read: {reason}",
            where=str(path),
            remedy="give a comma-separated file with one header line, or Parquet",
        ) from error
    repeated = sorted({str(column) for column in header if header.count(column) > 1})
    if repeated:
        raise DataError(f"columns {', '.join(repeated)} are named twice", where=str(path))
    return table.to_pandas()


def _require(frame: pd.DataFrame, columns: list[str], where: str) -> None:
    missing = [column for column in dict.fromkeys(columns) if column not in frame.columns]
    if missing:
        raise DataError(
            f"column {', '.join(map(repr, missing))} is missing",
            where=where,
            remedy=f"rename or choose from: {', '.join(frame.columns)}",
        )


def _items(frame: pd.DataFrame, column: str, where: str) -> Iterator[tuple[str, np.ndarray]]:
    if frame[column].isna().any():
        row = int(np.flatnonzero(frame[column].isna())[0])
        raise DataError(f"row {row} has no {column}", where=where)
    for item_id, rows in frame.groupby(column, sort=False).indices.items():
        yield str(item_id), np.sort(rows)


def _dates(column: pd.Series, date_format: str | None, where: str) -> pd.DatetimeIndex:
    here = f"{where}, column {column.name!r}"
    if pd.api.types.is_numeric_dtype(column):
        raise DataError(
            f"timestamps are numbers such as {column.iloc[0]}",
            where=here,
            remedy="name the column of dates with time_column, or convert them to dates",
        )
    try:
        index = pd.DatetimeIndex(pd.to_datetime(column, format=date_format))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"timestamps are not dates: {error}",
            where=here,
            remedy="write them like 2020-01-31 15:00:00, or give date_format",
        ) from error
    if index.tz is not None:
        raise DataError(
            f"timestamps have the time zone {index.tz}",
            where=here,
            remedy="convert to UTC or to local exchange time and drop the time zone",
        )
    if index.isna().any():
        raise DataError(f"row {int(np.flatnonzero(index.isna())[0])} has no timestamp", where=here)
    return index.as_unit("ns")


def _increasing(index: pd.DatetimeIndex, where: str) -> None:
    steps = np.diff(index.to_numpy()).astype(np.int64)
    if (steps > 0).all():
        return
    row = int(np.flatnonzero(steps <= 0)[0]) + 1
    if index.has_duplicates:
        repeated = index[index.duplicated()][0]
        raise DataError(
            f"timestamp {repeated} is repeated",
            where=where,
            remedy="keep one row of each date, or use the long layout when there are several items",
        )
    raise DataError(
        f"timestamps are not sorted: {index[row]} follows {index[row - 1]}",
        where=where,
        remedy="sort the rows by time",
    )


def _numbers(frame: pd.DataFrame, columns: list[str], where: str) -> np.ndarray:
    """``float64 [column, row]``."""
    numbers = np.empty((len(columns), len(frame)))
    for row, column in enumerate(columns):
        values = frame[column]
        if pd.api.types.is_datetime64_any_dtype(values):
            values = values.astype(str)
        converted = pd.to_numeric(values, errors="coerce")
        lost = np.flatnonzero(converted.isna() & values.notna())
        if len(lost):
            raise DataError(
                f"column {column!r} holds {values.iloc[lost[0]]!r} at row {lost[0]}",
                where=where,
                remedy="give numbers (empty where missing), or choose the columns with values=",
            )
        numbers[row] = converted.to_numpy(dtype=float, na_value=np.nan)
    return numbers
