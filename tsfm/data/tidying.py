"""A user's rows set right where nothing has to be guessed, and refused with a reason otherwise."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from tsfm.data import frequency, regular
from tsfm.errors import DataError

EARLIEST, LATEST = pd.Timestamp("1700-01-01"), pd.Timestamp("2200-01-01")
LONGEST_GRID = 5_000_000
LISTED = 5
_LARGEST = float(np.finfo(np.float32).max)

Notes = dict[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class Tidied:
    """Rows that are safe to read, and what had to be done to them.

    Attributes
    ----------
    frame
        ``item_id`` (text), ``timestamp`` (naive) and the columns as ``float64``; item after item,
        each in the order of time.
    notes
        By item, in words; nothing of an item that was right.
    """

    frame: pd.DataFrame
    notes: Notes


def tidied(
    frame: pd.DataFrame, columns: Sequence[str], *, freq: str | None = None, where: str = "frame"
) -> Tidied:
    """Rows sorted, equal ones once, numbers read, gaps of a regular grid filled with NaN.

    Parameters
    ----------
    frame
        ``item_id``, ``timestamp`` and ``columns``; others are left out.
    freq
        The step that every item must have; without it timestamps are only put in order.

    Raises
    ------
    DataError
        Naming item, row and remedy: a column is missing, a value is no number, a date is none or
        far away, two rows of one time differ, or the timestamps do not fit ``freq``.
    """
    _expect_columns(frame, columns, where)
    items = _ids(frame["item_id"], where)
    stamps, was_zoned = _dates(frame["timestamp"], items, where)
    notes: Notes = {}
    codes, names = pd.factorize(items)
    if was_zoned:
        _note(notes, names, range(len(names)), "timestamps were taken to UTC and lost their zone")
    values = np.empty((len(columns), len(items)))
    for row, column in enumerate(columns):
        values[row] = _numbers(frame[column], column, items, where)
    endless = (np.abs(values) > _LARGEST).any(axis=0)
    if endless.any():
        values[np.abs(values) > _LARGEST] = np.nan
        _note(notes, names, np.unique(codes[endless]), "infinite values count as missing")
    order = np.lexsort((stamps, codes))
    _note_disorder(notes, names, codes, stamps)
    codes, stamps, values = codes[order], stamps[order], values[:, order]
    kept = _once(notes, names, codes, stamps, values, columns, where)
    codes, stamps, values = codes[kept], stamps[kept], values[:, kept]
    if freq is not None:
        codes, stamps, values = _on_grid(notes, names, codes, stamps, values, freq, where)
    made = {"item_id": names[codes], "timestamp": stamps}
    made |= {name: values[row] for row, name in enumerate(columns)}
    return Tidied(frame=pd.DataFrame(made, copy=False), notes=notes)


def listed(names: Sequence[object]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(shortened(str(name)) for name in names[:LISTED])
    return shown + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def shortened(text: str, length: int = 80) -> str:
    """Text that fits into a message."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _expect_columns(frame: pd.DataFrame, columns: Sequence[str], where: str) -> None:
    wanted = ("item_id", "timestamp", *columns)
    held = list(map(str, frame.columns))
    missing = [name for name in wanted if name not in held]
    if missing:
        raise DataError(
            f"columns {', '.join(missing)} are missing",
            where=where,
            remedy=f"give {', '.join(wanted)}; there are {listed(held) or 'none'}",
        )
    twice = [name for name in wanted if held.count(name) > 1]
    if twice:
        raise DataError(
            f"columns {', '.join(twice)} are named twice",
            where=where,
            remedy="give each column once",
        )
    if frame.empty:
        raise DataError("there are no rows", where=where, remedy="give each item's history")


def _ids(column: pd.Series, where: str) -> np.ndarray:
    """Text, ``[row]``."""
    values = column.to_numpy(object)
    if pd.api.types.infer_dtype(values, skipna=False) == "string":
        return values
    bad = pd.isna(column).to_numpy() | np.fromiter(
        (isinstance(value, (list, dict)) for value in values), bool, len(values)
    )
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"item_id {shortened(repr(values[row]))} is no name",
            where=f"{where}, row {row}",
            remedy="give every row the name of its series",
        )
    return column.astype(str).to_numpy(object)


def _dates(column: pd.Series, items: np.ndarray, where: str) -> tuple[np.ndarray, bool]:
    """``datetime64[ns] [row]``, and whether they had a time zone."""
    remedy = "give dates such as 2024-01-31 or 2024-01-31T15:00:00"
    if pd.api.types.is_numeric_dtype(column):
        raise DataError(
            f"timestamps are numbers ({column.iloc[0]!r}), whose unit is not known",
            where=where,
            remedy=remedy,
        )
    dates = _parsed(column)
    if dates is None or dates.isna().any():
        text = column.map(str).where(column.notna())
        dates = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)
        if dates.isna().any():
            row = int(dates.isna().to_numpy().argmax())
            raise DataError(
                f"{shortened(repr(column.iloc[row]))} is no date",
                where=f"{where}, item {items[row]!r}, row {row}",
                remedy=remedy,
            )
    zoned = getattr(dates.dtype, "tz", None) is not None
    if zoned:
        dates = dates.dt.tz_convert("UTC").dt.tz_localize(None)
    astray = ((dates < EARLIEST) | (dates > LATEST)).to_numpy()
    if astray.any():
        row = int(astray.argmax())
        raise DataError(
            f"the date {dates.iloc[row]} lies outside {EARLIEST.year} to {LATEST.year}",
            where=f"{where}, item {items[row]!r}, row {row}",
            remedy=remedy,
        )
    return dates.to_numpy("datetime64[ns]"), zoned


def _parsed(column: pd.Series) -> pd.Series | None:
    """Dates of ISO 8601 (another order of day and month would be a guess); None: not all are."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return column
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            dates = pd.to_datetime(column, format="ISO8601")
    except (ValueError, TypeError, OverflowError, AttributeError, FutureWarning):
        return None
    return dates if pd.api.types.is_datetime64_any_dtype(dates) else None


def _numbers(
    column: pd.Series, name: str, items: np.ndarray, where: str
) -> Float[np.ndarray, " row"]:
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(np.float64, na_value=np.nan)
    try:
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    except (TypeError, ValueError, OverflowError):
        numbers = np.full(len(column), np.nan)
        for row, value in enumerate(column):
            try:
                numbers[row] = np.nan if value is None else float(value)
            except (TypeError, ValueError, OverflowError):
                continue
    text = column.astype(str).str.strip().str.lower()
    bad = np.isnan(numbers) & column.notna().to_numpy() & ~text.isin(["", "nan"]).to_numpy()
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"column {name} holds {shortened(repr(column.iloc[row]))}, which is no number",
            where=f"{where}, item {items[row]!r}, row {row}, {int(bad.sum())} such rows",
            remedy="give a number, or nothing (null, NaN) where none was observed",
        )
    return numbers


def _note(notes: Notes, names: np.ndarray, chosen: Sequence[int] | np.ndarray, text: str) -> None:
    for code in chosen:
        notes.setdefault(str(names[code]), []).append(text)


def _note_disorder(
    notes: Notes, names: np.ndarray, codes: Int[np.ndarray, " row"], stamps: np.ndarray
) -> None:
    grouped = np.argsort(codes, kind="stable")
    same = np.diff(codes[grouped]) == 0
    back = same & (np.diff(stamps[grouped]) < np.timedelta64(0))
    if back.any():
        disordered = np.unique(codes[grouped][1:][back])
        _note(notes, names, disordered, "rows were out of order and have been sorted by time")


def _once(
    notes: Notes,
    names: np.ndarray,
    codes: Int[np.ndarray, " row"],
    stamps: np.ndarray,
    values: Float[np.ndarray, "column row"],
    columns: Sequence[str],
    where: str,
) -> np.ndarray:
    """Which rows stay when those that say the same are told once."""
    again = np.r_[False, (np.diff(codes) == 0) & (np.diff(stamps) == np.timedelta64(0))]
    if not again.any():
        return ~again
    rows = np.flatnonzero(again)
    first, second = values[:, rows - 1], values[:, rows]
    differs = ~((first == second) | (np.isnan(first) & np.isnan(second)))
    if differs.any():
        column, k = np.argwhere(differs)[0]
        item = names[codes[rows[k]]]
        raise DataError(
            f"two rows of {stamps[rows[k]]} differ: {columns[column]} is "
            f"{first[column, k]:g} and {second[column, k]:g}",
            where=f"{where}, item {item!r}, {int(differs.any(axis=0).sum())} such times",
            remedy="keep one row of each item and time",
        )
    for code, count in zip(*np.unique(codes[again], return_counts=True), strict=True):
        _note(notes, names, [code], f"{count} repeated rows were dropped")
    return ~again


def _on_grid(
    notes: Notes,
    names: np.ndarray,
    codes: Int[np.ndarray, " row"],
    stamps: np.ndarray,
    values: Float[np.ndarray, "column row"],
    freq: str,
    where: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same with rows of NaN at the dates of ``freq`` that are missing."""
    step = frequency.step_nanoseconds(freq)
    bounds = np.flatnonzero(np.diff(codes, prepend=-1, append=-1))
    if step is not None:
        steps = np.diff(stamps.astype(np.int64))[np.diff(codes) == 0]
        if (steps == step).all():
            return codes, stamps, values
    made: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    total = 0
    for first, stop in pairwise(bounds):
        item = str(names[codes[first]])
        index = pd.DatetimeIndex(stamps[first:stop])
        total += _expect_step(index, freq, f"{where}, item {item!r}", total)
        try:
            expected = regular.grid(index, freq, f"{where}, item {item!r}")
        except DataError as error:
            raise DataError(
                error.what, where=error.where, remedy=f"give one row each {freq}, at its own times"
            ) from error
        filled = np.full((len(values), len(expected)), np.nan)
        filled[:, expected.searchsorted(index)] = values[:, first:stop]
        made.append((np.full(len(expected), codes[first]), expected.to_numpy(), filled))
        if len(expected) > len(index):
            missing = len(expected) - len(index)
            _note(notes, names, [codes[first]], f"{missing} missing rows count as unobserved")
    parts = zip(*made, strict=True)
    codes, stamps, values = (np.concatenate(part, axis=-1) for part in parts)
    return codes, stamps.astype("datetime64[ns]"), values


def _expect_step(index: pd.DatetimeIndex, freq: str, where: str, before: int) -> int:
    """The length of the item's grid; refused when most of it would be made up."""
    offset = frequency.to_offset(freq)
    typical = pd.Timestamp("2001-01-01") + 100 * offset - pd.Timestamp("2001-01-01")
    length = int((index[-1] - index[0]) / (typical / 100)) + 1
    commonest = pd.Series(np.diff(index.to_numpy())).mode()
    if len(index) >= 3 and length > 2 * len(index) + 2:
        raise DataError(
            f"rows are {pd.Timedelta(commonest.iloc[0])} apart, {len(index)} of the {length} that "
            f"{freq!r} has between {index[0]} and {index[-1]}",
            where=where,
            remedy=f"give one row each {freq}, or the rows after the last long gap only",
        )
    if before + length > LONGEST_GRID:
        raise DataError(
            f"filling the gaps makes more than {LONGEST_GRID} rows",
            where=where,
            remedy="give fewer items at once, or the rows after the last long gap only",
        )
    return length


def merged(*notes: Mapping[str, Sequence[str]]) -> Notes:
    """What several steps told of the same items."""
    told: Notes = {}
    for one in notes:
        for item, texts in one.items():
            told.setdefault(item, []).extend(texts)
    return told
