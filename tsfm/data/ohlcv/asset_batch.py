"""One batch of assets on its way from the lake to the panel: read, cleaned, made into series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

import polars as pl
import pyarrow as pa

from tsfm.data import arrow
from tsfm.data.ohlcv.cleaning import clean
from tsfm.data.ohlcv.cleaning_config import CleaningConfig
from tsfm.data.ohlcv.cross_section import Market
from tsfm.data.ohlcv.feature_preparation import FeaturePreparation
from tsfm.data.ohlcv.lake import Instrument, Lake
from tsfm.data.ohlcv.observed import bounds
from tsfm.data.ohlcv.sessions import Sessions
from tsfm.data.series import PanelInfo
from tsfm.errors import DataError

PRICES = ("open", "high", "low", "close")
READING = Lock()
"""Small files are read one after the other: threads would take turns at every system call."""


@dataclass(frozen=True, kw_only=True)
class CleanBatch:
    """Some assets' bars, repaired, and what became of the others.

    Attributes
    ----------
    bars
        ``symbol, ts, open, high, low, close, volume`` of the assets kept.
    read
        Bars that were read.
    counts
        What cleaning found, by symbol and kind.
    dropped
        Why an asset was left out.
    problems
        What could not be read.
    """

    bars: pl.DataFrame
    read: int
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    problems: Sequence[str] = ()

    def entry(self) -> dict[str, Any]:
        """What is noted of it: JSON values."""
        return {
            "read": self.read,
            "bars": len(self.bars),
            "assets": self.bars["symbol"].n_unique(),
            "counts": self.counts,
            "dropped": self.dropped,
            "problems": list(self.problems),
        }


@dataclass(frozen=True, kw_only=True)
class Cleaner:
    """Reads batches of a lake and repairs them.

    Attributes
    ----------
    timezones
        Of every symbol's source.
    splits
        :func:`tsfm.data.ohlcv.corporate_actions.split_table` of all symbols; ``None`` without.
    min_bars
        Assets with fewer observed bars are left out.
    """

    lake: Lake
    config: CleaningConfig
    timezones: Mapping[str, str]
    splits: pl.DataFrame | None
    min_bars: int

    def batch(self, instruments: Sequence[Instrument]) -> CleanBatch:
        """Bars of some instruments.

        Raises
        ------
        DataError
            When cleaning is strict and there is something to repair or to leave out.
        """
        frames: list[pl.DataFrame] = []
        counts: dict[str, Mapping[str, int]] = {}
        dropped: dict[str, str] = {}
        problems: list[str] = []
        read = 0
        for instrument, bars in self._read(instruments, dropped, problems):
            read += len(bars)
            symbol = instrument.symbol
            cleaned = self._clean(instrument, bars)
            if cleaned.counts:
                counts[symbol] = dict(cleaned.counts)
            fault = _fault(cleaned.bars, self.min_bars)
            if fault:
                dropped[symbol] = fault
            else:
                same = len(cleaned.bars) == len(bars)
                names = bars["symbol"] if same else _repeated(symbol, cleaned.bars)
                frames.append(cleaned.bars.insert_column(0, names))
        bars = pl.concat(frames) if frames else pl.DataFrame(schema=_SCHEMA)
        return CleanBatch(bars=bars, read=read, counts=counts, dropped=dropped, problems=problems)

    def _read(
        self, instruments: Sequence[Instrument], dropped: dict[str, str], problems: list[str]
    ) -> list[tuple[Instrument, pl.DataFrame]]:
        """All at once; one by one where one of them is damaged."""
        try:
            with READING:
                together = self.lake.read(instruments)
        except DataError as error:
            if self.config.strict:
                raise
            if len(instruments) > 1:
                alone = (self._read([one], dropped, problems) for one in instruments)
                return [pair for pairs in alone for pair in pairs]
            dropped[instruments[0].symbol] = "cannot be read"
            problems.append(str(error))
            return []
        rows = bounds(together)
        return [(one, together[slice(*span)]) for one, span in zip(instruments, rows, strict=True)]

    def _clean(self, instrument: Instrument, bars: pl.DataFrame) -> Any:
        symbol = instrument.symbol
        sessions = Sessions.of(
            self.config.sessions,
            _observed(bars)["ts"],
            freq=instrument.freq,
            timezone=self.timezones.get(symbol, "UTC"),
        )
        own = None if self.splits is None else self.splits.filter(pl.col("symbol") == symbol)
        return clean(bars, self.config, sessions=sessions, splits=own, where=str(instrument))


@dataclass(frozen=True, kw_only=True)
class SeriesMaker:
    """Makes series of cleaned bars.

    Attributes
    ----------
    market
        Of all assets, where features need it.
    """

    preparation: FeaturePreparation
    info: PanelInfo
    market: Market | None

    def part(self, bars: pl.DataFrame) -> pa.Buffer | None:
        """The bars' series as :meth:`PanelWriter.append` takes them; ``None`` without bars."""
        if bars.is_empty():
            return None
        market = self.market
        if market is not None and market.ranks is not None:
            market = replace(market, ranks=copy(market.ranks))
        series = list(self.preparation.series(bars, market))
        return arrow.encode(series, self.info).serialize()


_SCHEMA = {
    "symbol": pl.String(),
    "ts": pl.Datetime("us", "UTC"),
    **dict.fromkeys((*PRICES, "volume"), pl.Float64()),
}


def _observed(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.drop_nulls("close") if bars["close"].null_count() else bars


def _repeated(symbol: str, bars: pl.DataFrame) -> pl.Series:
    return pl.repeat(symbol, len(bars), dtype=pl.String, eager=True).alias("symbol")


def _fault(bars: pl.DataFrame, min_bars: int) -> str | None:
    """Why an asset cannot be learnt from."""
    seen = len(bars) - bars["close"].null_count()
    if seen == 0:
        return "no bar is observed"
    if seen < min_bars:
        return f"too short: {seen} observed bars of {min_bars} wanted"
    if bars["high"].max() == bars["low"].min():
        return "the price never moves"
    return None
