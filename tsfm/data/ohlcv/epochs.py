"""Dates written as numbers: epochs in some unit, or digits of a calendar date."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tsfm.errors import DataError

if TYPE_CHECKING:
    import polars as pl

_DIGITS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_UNITS = (("seconds", 0, 10**11, 10**6), ("milliseconds", 10**11, 10**14, 10**3),
          ("microseconds", 10**14, 10**17, 1), ("nanoseconds", 10**17, 2**63 - 1, 1))  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """What the numbers of a column mean.

    Attributes
    ----------
    name
        For the report.
    digits
        The ``strftime`` format of calendar digits; ``None`` for epochs.
    low, high
        Magnitudes of this meaning, ``[low, high)``.
    """

    name: str
    digits: str | None
    low: int
    high: int

    @classmethod
    def of(cls, numbers: pl.Series) -> NumberFormat:
        """By the median's magnitude: epochs since 1973 in one unit, or digits from 1900 to 2199.

        Raises
        ------
        DataError
            When there is no number.
        """
        middle = numbers.abs().median()
        if middle is None:
            raise DataError("no date can be read")
        for width, digits in _DIGITS.items():
            low, high = 1900 * 10 ** (width - 4), 2200 * 10 ** (width - 4)
            if low <= float(middle) < high:  # type: ignore[arg-type]
                return cls(name=f"digits {digits}", digits=digits, low=low, high=high)
        for name, low, high, _ in _UNITS:
            if low <= float(middle) < high:  # type: ignore[arg-type]
                return cls(name=f"{name} since 1970 UTC", digits=None, low=low, high=high)
        raise DataError(f"numbers such as {numbers[0]} are no dates")

    def read(self, numbers: pl.Series) -> pl.Series:
        """``Datetime("us")`` without time zone, null where a number has another magnitude."""
        import polars as pl

        inside = numbers.abs().is_between(self.low, self.high, closed="left")
        numbers = numbers.set(~inside.fill_null(True), None)
        if self.digits is not None:
            text = numbers.cast(pl.Int64).cast(pl.String)
            if self.digits == "%Y%m%d":
                return text.str.to_date(self.digits, strict=False).cast(pl.Datetime("us"))
            return text.str.to_datetime(self.digits, time_unit="us", strict=False)
        scale = next(scale for _, low, _, scale in _UNITS if low == self.low)
        if self.low == 10**17:
            return (numbers.cast(pl.Int64) // 1000).cast(pl.Datetime("us"))
        return (numbers * scale).round(0).cast(pl.Int64).cast(pl.Datetime("us"))
