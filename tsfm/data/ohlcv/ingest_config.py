"""What an ingest must know that files do not tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tsfm.data.ohlcv.instrument import check_name
from tsfm.errors import ConfigError

CANONICAL = ("symbol", "ts", "open", "high", "low", "close", "volume")


@dataclass(frozen=True, kw_only=True)
class IngestConfig:
    """How bars are read from files into a lake.

    Attributes
    ----------
    asset_class
        Of all bars, such as ``equity``.
    freq
        Of all bars, such as ``1h``.
    columns
        The files' names of ``symbol, ts, open, high, low, close, volume`` where the usual ones
        (``Date``, ``timestamp``, ``Ticker``, ``o``, ``Vol`` …) are not theirs.
    timezone
        Of dates without an offset, such as ``America/New_York``; UTC where not given, which the
        report says.
    symbol
        Of files without a symbol column; by default a ``symbol=X`` directory's, else the file's
        name without suffix.
    date_format
        Of dates in text (``strftime``), where several would fit.
    delimiter
        Of CSV files; by default the one of ``, ; tab |`` that the first line has most of.
    strict
        Refuse at the first problem instead of naming and skipping it.
    batch_rows
        Rows in memory at a time; about 60 bytes each, three batches at once.

    Raises
    ------
    ConfigError
        When a column or time zone is unknown, or a number out of range.
    DataError
        When ``asset_class``, ``freq`` or ``symbol`` cannot name a directory.
    """

    asset_class: str
    freq: str
    columns: Mapping[str, str] = field(default_factory=dict)
    timezone: str | None = None
    symbol: str | None = None
    date_format: str | None = None
    delimiter: str | None = None
    strict: bool = False
    batch_rows: int = 1_000_000

    def __post_init__(self) -> None:
        check_name("asset_class", self.asset_class)
        check_name("freq", self.freq)
        if self.symbol is not None:
            check_name("symbol", self.symbol)
        unknown = [name for name in self.columns if name not in CANONICAL]
        if unknown:
            raise ConfigError(
                f"columns maps {', '.join(unknown)}, which bars do not have",
                remedy=f"map from {', '.join(CANONICAL)}, such as ts:Date,open:Open",
            )
        if self.timezone is not None:
            check_timezone(self.timezone)
        if self.batch_rows < 1:
            raise ConfigError(f"batch_rows={self.batch_rows} is not positive")
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise ConfigError(f"delimiter={self.delimiter!r} is not one character")

    @classmethod
    def from_text(cls, *, columns: str = "", **options: object) -> Self:
        """From a command line's words: ``columns="ts:Date,open:Open"``; empty ones are not given.

        Raises
        ------
        ConfigError
            When ``columns`` is written otherwise, or a column is named twice.
        """
        mapping: dict[str, str] = {}
        for pair in filter(None, (pair.strip() for pair in columns.split(","))):
            name, found, source = (word.strip() for word in pair.partition(":"))
            if not (name and found and source) or name in mapping:
                raise ConfigError(
                    f"columns={columns!r} cannot be read at {pair!r}",
                    remedy="write each column once, like ts:Date,open:Open",
                )
            mapping[name] = source
        given = {name: value for name, value in options.items() if value not in ("", None)}
        return cls(columns=mapping, **given)  # type: ignore[arg-type]


def check_timezone(name: str) -> None:
    """Raise :class:`ConfigError` unless ``name`` is a time zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            f"timezone={name!r} is not known",
            remedy="give a name such as America/New_York, Europe/London or UTC",
        ) from error
