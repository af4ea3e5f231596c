"""An asset beside all others: the market's basket and cross-sectional ranks, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from tsfm.data.ohlcv.features import rank_inputs
from tsfm.data.ohlcv.features_config import FeatureConfig, MarketConfig
from tsfm.data.ohlcv.observed import bounds
from tsfm.data.ohlcv.ranks import RankTable, among, union

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

    def join(self, core: pl.DataFrame) -> pl.DataFrame:
        """Observed bars with what their market features are made of.

        ``_basket``: the mean return of the others that have one (a symbol's own is left out, else
        small markets would correlate with themselves); ``_own``: the symbol's, where the basket
        has one; and the ranks.
        """
        stamps = core["ts"].dt.epoch("us").to_numpy()
        times = self.basket["ts"].dt.epoch("us").to_numpy()
        own = core["_return"].fill_null(np.nan).to_numpy()
        sums = self.basket["total"].to_numpy(), self.basket["members"].to_numpy()
        total, members = np.full(len(own), np.nan), np.zeros(len(own))
        symbols = bounds(core)
        for first, stop in symbols:
            place, found = among(times, stamps[first:stop])
            total[first:stop][found], members[first:stop][found] = (v[place] for v in sums)
        others = members - 1
        paired = np.isfinite(own) & (others > 0)
        basket = np.divide(total - own, others, out=np.full(len(own), np.nan), where=paired)
        made = {"_basket": basket, "_own": np.where(paired, own, np.nan)}
        if self.ranks is not None:
            ranks = np.empty((len(stamps), len(self.ranks.columns)), np.float32)
            for first, stop in symbols:
                ranks[first:stop] = self.ranks.read(core["symbol"][first], stamps[first:stop])
            made |= {f"rank_{name}": ranks[:, k] for k, name in enumerate(self.ranks.columns)}
        return core.hstack(pl.DataFrame(made).fill_nan(None))


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
        values = rank_inputs(bars, self.config.ranks)
        stamps = values["ts"].dt.epoch("us").to_numpy()
        returns = values["_return"].fill_null(np.nan).to_numpy()
        symbols = bounds(values)
        self._widen(union([self._times, *(stamps[first:stop] for first, stop in symbols)]))
        for first, stop in symbols:
            place = np.searchsorted(self._times, stamps[first:stop])
            known = np.isfinite(returns[first:stop])
            self._total[place[known]] += returns[first:stop][known]
            self._members[place[known]] += 1
        if self._table is not None:
            self._table.add(values.drop("_return"))

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
