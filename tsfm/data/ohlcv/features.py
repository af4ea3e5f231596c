"""Features of bars: causal polars expressions, one row per bar."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from tsfm.data.ohlcv.calendar_features import calendar_features
from tsfm.data.ohlcv.features_config import CalendarConfig, FeatureConfig, TransformConfig
from tsfm.data.ohlcv.indicators import Indicator, indicator, warm_up
from tsfm.data.ohlcv.observed import bounds, finished, observed
from tsfm.data.ohlcv.transforms import (
    BARS,
    LOGS,
    RETURN,
    Means,
    market_feature,
    transform,
    transform_warm_up,
)
from tsfm.errors import ConfigError

if TYPE_CHECKING:
    from tsfm.data.ohlcv.cross_section import Market


class Features:
    """What a :class:`FeatureConfig` makes of bars.

    A feature of a bar depends on that bar and earlier ones only. A bar without prices is
    unobserved: it has no past covariates, and windows count observed bars across it. At the start
    of a series values are null until they no longer depend on where it began (``warm_ups``).

    Raises
    ------
    ConfigError
        When TA-Lib cannot do what is asked of it, or two features have one name.
    """

    def __init__(self, config: FeatureConfig) -> None:
        self.config = config
        self._indicators = [indicator(entry) for entry in config.indicators]
        names = [*self._own, *config.market.names, *config.calendar.names]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ConfigError(
                f"features {', '.join(repeated)} are named twice",
                where=f"features {config.name}",
                remedy="remove one, or give it another name",
            )
        self.warm_ups: Mapping[str, int] = self._warm_ups()

    @cached_property
    def _own(self) -> list[str]:
        """Past covariates that need no other symbol."""
        made = [name for entry in self._indicators for name in entry.columns]
        return made + [entry.name for entry in self.config.transforms]

    @property
    def past(self) -> tuple[str, ...]:
        """Features known up to the present."""
        return (*self._own, *self.config.market.names)

    @property
    def known(self) -> tuple[str, ...]:
        """Features known ahead."""
        return self.config.calendar.names

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.past, *self.known)

    @property
    def warm_up(self) -> int:
        """Bars at the start of a series before every past feature has a value."""
        return max(self.warm_ups.values(), default=0)

    @property
    def needs_market(self) -> bool:
        return bool(self.config.market.names)

    def compute(self, bars: pl.DataFrame, market: Market | None = None) -> pl.DataFrame:
        """All features of some symbols' bars.

        Parameters
        ----------
        bars
            ``symbol, ts, open, high, low, close, volume``, sorted by symbol and time; prices and
            volume may be null.
        market
            Of the symbols and others beside; without it, market features are null.

        Returns
        -------
        pl.DataFrame
            ``symbol, ts`` and :attr:`names` (``Float32``), one row per bar in the same order; null
            where unknown.

        Raises
        ------
        DataError
            When a column is missing or of another type, or rows are not sorted.
        """
        core, place = observed(bars)
        past = self._past(core, market) if self.past else core.select()
        if place is not None:
            past = past.select(pl.all().gather(place))
        known = self._known(bars)
        keys = bars.select("symbol", "ts")
        return pl.concat([part for part in (keys, past, known) if part.width], how="horizontal")

    def _past(self, core: pl.DataFrame, market: Market | None) -> pl.DataFrame:
        core, means, beside = with_returns(core), Means(), self.config.market
        columns: dict[str, pl.Expr] = {}
        for entry in self._indicators:
            columns |= {name: _told(entry, value) for name, value in entry.columns.items()}
        columns |= {entry.name: transform(entry, means) for entry in self.config.transforms}
        if market is None:
            columns |= dict.fromkeys(beside.names, pl.lit(None, pl.Float32))
        elif self.needs_market:
            core = market.join(core)
            columns |= {name: pl.col(name) for name in beside.names}
            columns |= {
                f"{name}_{beside.window}": market_feature(name, beside.window, means)
                for name in beside.features
            }
        raw = {key: value for entry in self._indicators for key, value in entry.raw.items()}
        within = {key: value.over("_group") for key, value in raw.items()} | means.columns
        return stepwise(core, within).select(
            finished(columns[name], self.warm_ups[name]).alias(name) for name in self.past
        )

    def _known(self, bars: pl.DataFrame) -> pl.DataFrame:
        if not self.known:
            return pl.DataFrame()
        stamps = bars["ts"].dt.epoch("us").to_numpy()
        made = np.empty((len(self.known), len(stamps)), np.float32)
        for first, stop in bounds(bars):
            made[:, first:stop] = _known(stamps[first:stop].tobytes(), self.config.calendar)
        return pl.DataFrame(dict(zip(self.known, made))).fill_nan(None)

    def _warm_ups(self) -> dict[str, int]:
        made: dict[str, int] = {}
        for entry in self.config.indicators:
            made |= warm_up(entry)
        made |= {entry.name: transform_warm_up(entry) for entry in self.config.transforms}
        market = self.config.market
        made |= {f"{name}_{market.window}": market.window for name in market.features}
        return made | {f"rank_{rank.name}": transform_warm_up(rank) for rank in market.ranks}


@lru_cache(maxsize=1)
def _known(calendar: bytes, config: CalendarConfig) -> np.ndarray:
    """Symbols in a row often share one calendar."""
    return calendar_features(np.frombuffer(calendar, "M8[us]"), config)


def rank_inputs(bars: pl.DataFrame, ranks: tuple[TransformConfig, ...]) -> pl.DataFrame:
    """One-bar log returns and the transforms to be ranked.

    Parameters
    ----------
    bars
        As of :meth:`Features.compute`.

    Returns
    -------
    pl.DataFrame
        ``symbol, ts, _return`` (``Float64``) and the transforms' names (``Float32``), of observed
        bars.
    """
    core, means = with_returns(observed(bars)[0]), Means()
    values = [
        finished(transform(rank, means), transform_warm_up(rank)).alias(rank.name) for rank in ranks
    ]
    return stepwise(core, means.columns).select("symbol", "ts", "_return", *values)


def with_returns(core: pl.DataFrame) -> pl.DataFrame:
    """Observed bars with the log of their close and its change since the bar before."""
    close = core.with_columns(_log_close=LOGS["_log_close"])
    return close.with_columns(_return=RETURN)


def stepwise(core: pl.DataFrame, within: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """Columns of one bar, then those within a symbol; as one lazy query it takes twice as long."""
    logs = {name: value for name, value in LOGS.items() if name not in core.columns}
    return core.with_columns(**logs).with_columns(**BARS).with_columns(**within)


def _told(entry: Indicator, value: pl.Expr) -> pl.Expr:
    """Indicators of volume say nothing where none was ever traded, as of an index."""
    return pl.when(pl.col("_traded")).then(value) if entry.uses_volume else value
