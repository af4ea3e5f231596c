"""Features of bars: causal, one value per bar; indicators by polars, all else by NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from jaxtyping import Float

from tsfm.data.ohlcv.bar_columns import BarColumns
from tsfm.data.ohlcv.calendar_features import calendar_features
from tsfm.data.ohlcv.features_config import CalendarConfig, FeatureConfig
from tsfm.data.ohlcv.indicators import indicator, warm_up
from tsfm.data.ohlcv.observed import Observed, bounds, finished
from tsfm.data.ohlcv.transforms import market_feature, transform, transform_warm_up
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
        past, known = self.arrays(bars, market)
        columns = dict(zip(self.names, (*past, *known), strict=True))
        return bars.select("symbol", "ts").hstack(pl.DataFrame(columns, nan_to_null=True))

    def arrays(
        self, bars: pl.DataFrame, market: Market | None = None
    ) -> tuple[Float[np.ndarray, "past bar"], Float[np.ndarray, "known bar"]]:
        """:meth:`compute` as two ``float32`` arrays, :attr:`past` and :attr:`known`; NaN where
        unknown."""
        seen = Observed.of(bars)
        past = np.empty((len(self.past), len(seen)), np.float32)
        made = {**self._indicated(seen), **self._transformed(seen, market)} if self.past else {}
        for row, name in zip(past, self.past):
            row[:] = finished(made.pop(name), seen, self.warm_ups[name])
        if seen.rows is not None:
            whole = np.full((len(self.past), len(bars)), np.nan, np.float32)
            whole[:, seen.rows] = past
            past = whole
        return past, self._known(bars)

    def _indicated(self, bars: Observed) -> dict[str, np.ndarray]:
        raw = {key: value for entry in self._indicators for key, value in entry.raw.items()}
        if not raw:
            return {}
        lengths = [stop - first for first, stop in bars.spans]
        group = pl.Series("_group", np.repeat(np.arange(len(lengths), dtype=np.uint32), lengths))
        table = bars.values.with_columns(group)
        table = table.with_columns(value.over("_group").alias(key) for key, value in raw.items())
        columns = table.select(
            value.cast(pl.Float32).alias(name)
            for entry in self._indicators
            for name, value in entry.columns.items()
        )
        made = {name: columns[name].to_numpy() for name in columns.columns}
        if not bars.traded.all():
            for entry in self._indicators:
                for name in entry.columns if entry.uses_volume else ():
                    made[name] = np.where(bars.traded, made[name], np.float32(np.nan))
        return made

    def _transformed(self, bars: Observed, market: Market | None) -> dict[str, np.ndarray]:
        columns, beside = BarColumns(bars), self.config.market
        made = {entry.name: transform(entry, columns) for entry in self.config.transforms}
        if market is None:
            return made | dict.fromkeys(beside.names, np.full(len(bars), np.nan, np.float32))
        if self.needs_market:
            own, basket = market.pair(bars, columns["return"])
            columns.add({"own": own, "basket": basket})
            with np.errstate(divide="ignore", invalid="ignore"):
                for name in beside.features:
                    made[f"{name}_{beside.window}"] = market_feature(name, beside.window, columns)
            made |= market.ranked(bars)
        return made

    def _known(self, bars: pl.DataFrame) -> Float[np.ndarray, "known bar"]:
        made = np.empty((len(self.known), len(bars)), np.float32)
        if self.known:
            stamps = bars["ts"].dt.epoch("us").to_numpy()
            for first, stop in bounds(bars):
                made[:, first:stop] = _known(stamps[first:stop].tobytes(), self.config.calendar)
        return made

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
