"""Glucose in mg/dL or mmol/L: the unit found from names and values, or refused; text to numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from tsfm.errors import DataError, one_of

if TYPE_CHECKING:
    import polars as pl

MG_DL, MMOL_L = "mg/dL", "mmol/L"
UNITS = (MG_DL, MMOL_L)
MG_DL_PER_MMOL_L = 18.016
"""Molar mass of glucose, 180.16 g/mol, by 10 dL/L."""

LOWEST, HIGHEST = 10.0, 1000.0
"""mg/dL; what lies outside is no glucose reading."""

_MARKS = {MG_DL: ("mgdl", "mgperdl"), MMOL_L: ("mmol", "_mm", "(mm)", " mm")}
_HIGHEST_MMOL, _LOWEST_MG = 27.0, 36.0
_MIXED_SHARE = 0.02
_ABSENT = ("", "na", "n/a", "nan", "null", "none", "-", "--")
_LOW_WORDS, _HIGH_WORDS = ("low", "lo", "urgent low"), ("high", "hi")


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A column of numbers read from cells.

    Attributes
    ----------
    values
        ``Float64``; null where there is none, ``-inf`` for LOW and ``inf`` for HIGH.
    unreadable
        ``Boolean``: cells that hold something else than a number.
    example
        The first of them, with its row counted from 0.
    """

    values: pl.Series
    unreadable: pl.Series
    example: str = ""


def read_numbers(cells: pl.Series) -> Numbers:
    """Numbers of a column: decimal commas and the words LOW and HIGH are understood."""
    import polars as pl

    if cells.dtype.is_numeric() or cells.dtype in (pl.Boolean, pl.Null):
        values = cells.cast(pl.Float64).fill_nan(None)
        infinite = values.is_infinite().fill_null(value=False)
        return Numbers(
            values=values.set(infinite, None),
            unreadable=infinite,
            example=f"infinity in row {infinite.arg_max()}" if infinite.any() else "",
        )
    text = cells.cast(pl.String).str.strip_chars()
    words = text.str.to_lowercase()
    text = text.set(words.is_in(_ABSENT), None)
    is_low, is_high = words.is_in(_LOW_WORDS), words.is_in(_HIGH_WORDS)
    plain = text.str.replace(r"^([+-]?\d+),(\d+)$", "$1.$2")
    values = plain.cast(pl.Float64, strict=False)
    values = values.set(is_low, -np.inf).set(is_high, np.inf)
    bad = (values.is_null() & text.is_not_null()) | (values.is_infinite() & ~(is_low | is_high))
    bad = bad.fill_null(value=False)
    row = bad.arg_max() if bad.any() else None
    return Numbers(
        values=values.set(bad, None).fill_nan(None),
        unreadable=bad,
        example="" if row is None else f"{text[row]!r} in row {row}",
    )


def named_units(column: str) -> str | None:
    """The unit that a column's name tells: ``bg_mM``, ``Glucose Value (mg/dL)``; else ``None``."""
    plain = column.lower().replace("/", "").replace("_per_", "per")
    squeezed = plain.replace("_", "").replace(" ", "").replace("-", "")
    if any(mark in squeezed for mark in _MARKS[MG_DL]):
        return MG_DL
    if "mmol" in squeezed or plain.endswith(_MARKS[MMOL_L][1:]) or plain == "mm":
        return MMOL_L
    return None


def detect_units(
    values: Float[np.ndarray, " reading"], *, where: str, column: str = "", units: str = "auto"
) -> str:
    """The unit of glucose readings, ``mg/dL`` or ``mmol/L``; never guessed against evidence.

    Parameters
    ----------
    values
        Readings; NaN and infinities are skipped.
    column
        Its name may tell the unit.
    units
        What the user says, or ``auto``. It is believed where values allow it.

    Raises
    ------
    DataError
        When name and values disagree, values could be either, or some rows are of each.
    """
    one_of("units", units, ("auto", *UNITS))
    finite = values[np.isfinite(values)]
    said = units if units != "auto" else named_units(column)
    remedy = "say units='mg/dL' or units='mmol/L', and correct rows of another unit"
    if not len(finite):
        return said or MG_DL
    median = float(np.median(finite))
    small = float(((finite > 0) & (finite < _HIGHEST_MMOL)).mean())
    large = float((finite >= 2 * _HIGHEST_MMOL).mean())
    if min(small, large) > _MIXED_SHARE:
        raise DataError(
            f"glucose looks mixed: {small:.0%} of the values as in mmol/L, {large:.0%} as in mg/dL",
            where=where,
            remedy=remedy,
        )
    seen = MMOL_L if median < _HIGHEST_MMOL else MG_DL if median > _LOWEST_MG else None
    if said is not None:
        if seen not in (None, said):
            raise DataError(
                f"glucose is said to be in {said}, but its median is {median:.3g}",
                where=where,
                remedy="correct the column's name or the units given",
            )
        return said
    if seen is None or (seen == MMOL_L and median < 1.5):
        raise DataError(
            f"the unit of glucose is unclear: its median is {median:.3g}",
            where=where,
            remedy=remedy,
        )
    return seen


def to_mg_dl(values: Float[np.ndarray, "*any"], units: str) -> Float[np.ndarray, "*any"]:
    """Readings in mg/dL; infinities (LOW, HIGH) stay.

    Raises
    ------
    ConfigError
        When the unit is not known.
    """
    one_of("units", units, UNITS)
    return values * MG_DL_PER_MMOL_L if units == MMOL_L else values


def from_mg_dl(values: Float[np.ndarray, "*any"], units: str) -> Float[np.ndarray, "*any"]:
    """The inverse of :func:`to_mg_dl`."""
    one_of("units", units, UNITS)
    return values / MG_DL_PER_MMOL_L if units == MMOL_L else values
