"""A user's table of series, however laid out, as rows of ``item_id``, ``timestamp`` and values."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tsfm.data import frequency
from tsfm.data.table import read_table
from tsfm.errors import DataError, one_of

if TYPE_CHECKING:
    from tsfm.data.panel import Panel

LAYOUTS = ("auto", "long", "wide", "wide_multivariate")
ITEM, TIME, VALUE = "item_id", "timestamp", "value"
ITEM_NAMES = (ITEM, "unique_id", "series_id", "symbol", "ticker", "item")
TIME_NAMES = (TIME, "ts", "datetime", "date", "time", "ds")
IRREGULAR = "irregular"


def read_long(
    path: str | Path,
    *,
    layout: str = "auto",
    columns: Sequence[str] = (),
    past: Sequence[str] = (),
    known: Sequence[str] = (),
    item_column: str = "",
    time_column: str = "",
    future: str | Path = "",
) -> pd.DataFrame:
    """Read a CSV or Parquet file.

    Parameters
    ----------
    layout
        ``long``: a row per item and time; ``wide``: a column per item; ``wide_multivariate``: one
        item, a column per variate. ``auto``: long where there is a column of items, else
        wide_multivariate where ``columns`` are given, else wide.
    columns
        That must be there, in any case of letters; by default all others are values.
    past, known
        Covariates that must be there as well; those of a wide table belong to all of its items.
    item_column, time_column
        By default one of :data:`ITEM_NAMES` and of :data:`TIME_NAMES` in any case of letters; of
        the wide layouts, the first column.
    future
        A second file of later rows, laid out as the first, with ``known`` at least.

    Returns
    -------
    pd.DataFrame
        ``item_id``, ``timestamp`` (naive) and the value columns, items in the file's order and
        each one's rows in the order of time.

    Raises
    ------
    DataError
        When the file is missing or damaged, a column is missing, or timestamps are not dates.
    """
    one_of("layout", layout, LAYOUTS)
    where = str(path)
    frame = read_table(Path(path)).rename(columns=str)
    if frame.empty:
        raise DataError("the table has no rows", where=where)
    item = _found(frame, item_column, ITEM_NAMES, where)
    time = _found(frame, time_column, TIME_NAMES, where)
    if layout == "auto":
        layout = "long" if item else "wide_multivariate" if columns else "wide"
    if layout == "long" and (item is None or time is None):
        what = "items" if item is None else "dates"
        raise DataError(
            f"no column of {what} among {', '.join(frame.columns)}",
            where=where,
            remedy=f"name it {ITEM if item is None else TIME}, or give "
            f"{'item' if item is None else 'time'}_column",
        )
    time = time or str(frame.columns[0])
    keys = {time: TIME} | ({item: ITEM} if item and layout == "long" else {})
    covariates = [*past, *known]
    frame = _renamed(frame, keys, (*columns, *covariates), where)
    if layout == "wide_multivariate" and item:
        frame = frame.drop(columns=item)
    if future:
        frame = pd.concat([frame, _later(future, frame, keys, known)], ignore_index=True)
    if layout == "wide":
        held = [name for name in frame.columns if name not in (TIME, *covariates)]
        frame = frame.melt(
            id_vars=[TIME, *covariates],
            value_vars=list(columns) or held,
            var_name=ITEM,
            value_name=VALUE,
        )
        frame = _trimmed(frame, at_end=not known)
    elif layout == "wide_multivariate":
        frame.insert(0, ITEM, Path(path).stem)
    return _ordered(frame, where)


def _renamed(
    frame: pd.DataFrame, keys: dict[str, str], wanted: Sequence[str], where: str
) -> pd.DataFrame:
    """With the names that are used here, of keys and of columns in other letters."""
    given = {name.lower(): name for name in frame.columns if name not in keys}
    missing = [name for name in wanted if name not in frame and name.lower() not in given]
    if missing:
        near = [close for name in missing for close in get_close_matches(name.lower(), given, n=1)]
        meant = f"did you mean {', '.join(given[name] for name in near)}? The" if near else "the"
        raise DataError(
            f"columns {', '.join(missing)} are missing",
            where=where,
            remedy=f"{meant} file has {', '.join(frame.columns)}",
        )
    cased = {given[name.lower()]: name for name in wanted if name not in frame}
    return frame.rename(columns=cased | keys)


def _later(
    path: str | Path, frame: pd.DataFrame, keys: dict[str, str], known: Sequence[str]
) -> pd.DataFrame:
    """The rows of a second file, of columns that the first one has."""
    later = read_table(Path(path)).rename(columns=str)
    later = _renamed(later, {}, [*keys, *known], str(path)).rename(columns=keys)
    return later[[name for name in frame.columns if name in later]]


def column_panel(
    frame: pd.DataFrame,
    name: str,
    *,
    columns: Sequence[str] = (),
    past: Sequence[str] = (),
    known: Sequence[str] = (),
    freq: str = "",
) -> Panel:
    """A panel of columns as they are, on the grid of their frequency.

    Parameters
    ----------
    frame
        As of :func:`read_long`.
    columns
        To forecast; by default all others that hold numbers.
    past, known
        Covariates that are known up to the last target, and later as well.
    freq
        A pandas alias; ``irregular`` keeps the timestamps as they are; empty: inferred.

    Raises
    ------
    DataError
        When no column holds numbers, a value is not one, or no frequency fits.
    """
    from tsfm.data.csv import read_panel
    from tsfm.data.ohlcv.calendar import infer_seasonality

    others = (ITEM, TIME, *past, *known)
    numbers = [
        str(column)
        for column in frame.columns
        if column not in others and pd.api.types.is_numeric_dtype(frame[column])
    ]
    _expect_numbers(frame, (*past, *known), name)
    if not (columns or numbers):
        raise DataError("no column holds numbers", where=name, remedy="give targets=")
    stamps = [rows.to_numpy() for _, rows in frame.groupby(ITEM, sort=False)[TIME]]
    dated = {"calendar": IRREGULAR} if freq == IRREGULAR else {"freq": freq} if freq else {}
    return read_panel(
        frame,
        layout="long",
        name=name,
        values=list(columns or numbers),
        past_covariates=past,
        known_covariates=known,
        allow_constant=True,
        seasonality=infer_seasonality(stamps),
        **dated,
    ).train


def _expect_numbers(frame: pd.DataFrame, covariates: Sequence[str], where: str) -> None:
    for column in covariates:
        if column not in frame:
            raise DataError(
                f"column {column} is missing",
                where=where,
                remedy=f"there are {', '.join(map(str, frame.columns))}",
            )
        values = frame[column]
        words = values[values.notna() & pd.to_numeric(values, errors="coerce").isna()]
        if len(words):
            kinds = words.astype(str).unique()
            raise DataError(
                f"covariate {column} holds words such as {kinds[0]!r}",
                where=where,
                remedy="give numbers: for words, a column of 0 and 1 for each of them",
            )
        if values.isna().all():
            raise DataError(
                f"covariate {column} is empty", where=where, remedy="fill it in, or leave it out"
            )


def _found(frame: pd.DataFrame, given: str, usual: Sequence[str], where: str) -> str | None:
    if given:
        if given not in frame:
            raise DataError(
                f"column {given!r} is missing",
                where=where,
                remedy=f"choose from: {', '.join(frame.columns)}",
            )
        return given
    lower = {name.lower(): str(name) for name in reversed(frame.columns)}
    return next((lower[name] for name in usual if name in lower), None)


def _trimmed(frame: pd.DataFrame, *, at_end: bool) -> pd.DataFrame:
    """Without the rows before an item's first value, and ``at_end`` those after its last one."""
    seen = frame[VALUE].notna()
    begun = seen.groupby(frame[ITEM]).cummax()
    if not at_end:
        return frame[begun]
    unended = seen[::-1].groupby(frame[ITEM][::-1]).cummax()[::-1]
    return frame[begun & unended]


def _ordered(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    if frame[ITEM].isna().any():
        row = int(np.flatnonzero(frame[ITEM].isna())[0])
        raise DataError(f"row {row} names no item", where=where, remedy="fill it in, or drop it")
    if pd.api.types.is_numeric_dtype(frame[TIME]):
        raise DataError(
            f"timestamps are numbers such as {frame[TIME].iloc[0]}",
            where=where,
            remedy="name the column of dates with time_column, or convert them to dates",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # dates written each in its own way
        stamps = frequency.naive_timestamps(frame[TIME], where)
    if np.isnat(stamps).any():
        row = int(np.flatnonzero(np.isnat(stamps))[0])
        raise DataError(f"row {row} has no date", where=where, remedy="fill it in, or drop it")
    item = pd.factorize(frame[ITEM])[0]
    values = frame.drop(columns=[ITEM, TIME]).reset_index(drop=True)
    keys = pd.DataFrame({ITEM: frame[ITEM].astype(str).to_numpy(object), TIME: stamps})
    ordered = pd.concat([keys, values], axis=1)
    return ordered.iloc[np.lexsort((stamps, item))].reset_index(drop=True)
