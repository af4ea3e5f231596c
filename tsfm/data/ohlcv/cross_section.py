"""An asset beside all others: the market's basket and cross-sectional ranks, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from jaxtyping import Float

from tsfm.data.ohlcv.bar_columns import BarColumns
from tsfm.data.ohlcv.features_config import FeatureConfig, MarketConfig
from tsfm.data.ohlcv.observed import Observed, finished
from tsfm.data.ohlcv.ranks import RankTable, among, union
from tsfm.data.ohlcv.transforms import transform, transform_warm_up

if TYPE_CHECKING:
    from tsfm.data.ohlcv.lake import Instrument, Lake


@dataclass(frozen=True, kw_only=True, eq=False)
class Market:
    """What all symbols of one asset class and frequency did at each time.

    Attributes
    ----------
    basket
        ``ts``, ``total`` and ``members``: sum and number of the symbols' one-bar log returns.
    ranks
        Of every symbol, in temporary files; ``None`` where none are asked for.
    """

    basket: pl.DataFrame
    ranks: RankTable | None

    def pair(
        self, bars: Observed, returns: Float[np.ndarray, " bar"]
    ) -> tuple[Float[np.ndarray, " bar"], Float[np.ndarray, " bar"]]:
        """One-bar returns of the symbol itself and of the basket, NaN unless both are known.

        The basket's is the mean of the others that have one: a symbol's own is left out, else
        small markets would correlate with themselves.
        """
        times = self.basket["ts"].dt.epoch("us").to_numpy()
        sums = self.basket["total"].to_numpy(), self.basket["members"].to_numpy()
        total, members = np.full(len(bars), np.nan), np.zeros(len(bars))
        for first, stop in bars.spans:
            place, found = among(times, bars.stamps[first:stop])
            total[first:stop][found], members[first:stop][found] = (v[place] for v in sums)
        others = members - 1
        paired = np.isfinite(returns) & (others > 0)
        basket = np.full(len(bars), np.nan)
        np.divide(total - returns, others, out=basket, where=paired)
        return np.where(paired, returns, np.nan), basket

    def ranked(self, bars: Observed) -> dict[str, Float[np.ndarray, " bar"]]:
        """The ranks by the names of their features."""
        if self.ranks is None:
            return {}
        made = np.empty((len(self.ranks.columns), len(bars)), np.float32)
        for symbol, (first, stop) in zip(bars.symbols, bars.spans):
            made[:, first:stop] = self.ranks.read(symbol, bars.stamps[first:stop]).T
        return {f"rank_{name}": row for name, row in zip(self.ranks.columns, made)}


class MarketBuilder:
    """A market of bars that come symbols at a time.

    Parameters
    ----------
    config
        What is asked of the market.
    directory
        For temporary files, about 4 bytes per rank, symbol and time; needed as long as the market
        is used, removed by whoever made it.
    """

    def __init__(self, config: MarketConfig, directory: Path) -> None:
        self.config = config
        self._table = RankTable(directory, [r.name for r in config.ranks]) if config.ranks else None
        self._times = np.empty(0, np.int64)
        self._total = np.empty(0)
        self._members = np.empty(0, np.int32)

    def add(self, bars: pl.DataFrame) -> None:
        """Some symbols' whole series, as they go into :meth:`Features.compute`.

        Raises
        ------
        DataError
            When rows are not sorted or a symbol was added before.
        """
        seen = Observed.of(bars)
        columns = BarColumns(seen)
        returns = columns["return"]
        self._widen(union([self._times, *(seen.stamps[slice(*span)] for span in seen.spans)]))
        for first, stop in seen.spans:
            place, _ = among(self._times, seen.stamps[first:stop])
            known = np.isfinite(returns[first:stop])
            self._total[place] += np.where(known, returns[first:stop], 0)
            self._members[place] += known
        if self._table is not None:
            ranked = [
                finished(transform(rank, columns), seen, transform_warm_up(rank))
                for rank in self.config.ranks
            ]
            self._table.add(seen, np.array(ranked))

    def finish(self) -> Market:
        """The market of everything added."""
        if self._table is not None:
            self._table.rank(self._times)
        basket = pl.DataFrame(
            {
                "ts": pl.Series(self._times.view("M8[us]")).dt.replace_time_zone("UTC"),
                "total": self._total,
                "members": self._members,
            }
        )
        return Market(basket=basket, ranks=self._table)

    def _widen(self, times: np.ndarray) -> None:
        """Sums stay the same, whichever symbols come together: each is added by itself."""
        if len(times) == len(self._times):
            return
        place = np.searchsorted(times, self._times)
        total, members = np.zeros(len(times)), np.zeros(len(times), np.int32)
        total[place], members[place] = self._total, self._members
        self._times, self._total, self._members = times, total, members


def market_table(
    lake: Lake,
    instruments: Sequence[Instrument],
    config: FeatureConfig,
    *,
    directory: Path,
    prepare: Callable[[pl.DataFrame], pl.DataFrame] = lambda bars: bars,
    assets_per_batch: int = 10,
) -> Market:
    """The market of some instruments, read batch by batch.

    All instruments belong to it, also those held out: they are judged after the cutoff only, and a
    feature knows no other asset's later bars.

    Parameters
    ----------
    instruments
        Of one asset class and frequency.
    directory
        For temporary files; needed as long as the market is used.
    prepare
        From a batch's bars as they lie in the lake to those that features are made of (cleaning).

    Raises
    ------
    DataError
        When an instrument is not in the lake, or comes twice.
    """
    builder = MarketBuilder(config.market, directory)
    for first in range(0, len(instruments), assets_per_batch):
        builder.add(prepare(lake.read(instruments[first : first + assets_per_batch])))
    return builder.finish()
