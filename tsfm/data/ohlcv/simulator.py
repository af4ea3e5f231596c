"""A seeded market simulator: bars of many assets with the stylised facts of real ones.

Returns are loadings on a market and a sector factor plus each asset's own risk. Every log
volatility is a sum of Ornstein–Uhlenbeck components with half-lives from hours to a year (their
sum has the long memory of real volatility: LeBaron 2001, Corsi 2009), driven by past returns
(leverage) and their size, shifted by Markov regimes, with jumps within sessions and overnight.
Volume follows volatility and the bar's range and has persistent components of its own (the
mixture-of-distributions hypothesis: Clark 1973, Tauchen and Pitts 1983). Highs and lows come from
a path within the bar. Parameters differ between assets, and
:func:`tsfm.data.ohlcv.facts.stylised_facts` lie within those of real bars (tested).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsfm.data.ohlcv.bars import COLUMNS
from tsfm.data.ohlcv.market import Draw, MarketConfig, clock, timestamps

if TYPE_CHECKING:
    from tsfm.data.ohlcv.preparation import BarPreparation
    from tsfm.data.panel import Panel, Series

__all__ = [
    "Market",
    "MarketConfig",
    "simulate_arrays",
    "simulate_bars",
    "simulate_panel",
]


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """Bars of a market as arrays.

    Attributes
    ----------
    item_ids
        Of the assets.
    timestamps
        ``datetime64[ns] [bar]``, the same for all assets.
    log_open, log_high, log_low, log_close, log_volume
        Natural logarithms, ``[asset, bar]``.
    """

    item_ids: tuple[str, ...]
    timestamps: np.ndarray
    log_open: Float[np.ndarray, "asset bar"]
    log_high: Float[np.ndarray, "asset bar"]
    log_low: Float[np.ndarray, "asset bar"]
    log_close: Float[np.ndarray, "asset bar"]
    log_volume: Float[np.ndarray, "asset bar"]


class Market:
    """A market whose factor paths are simulated once, and whose assets are made as they are read.

    Every factor and asset has a generator of its own, spawned from the seed: an asset's bars do
    not depend on threads, on the order of reading, or on how many other assets there are.
    """

    def __init__(self, config: MarketConfig) -> None:
        self.config = config
        self._draw = Draw(config=config)
        factors, volume, assets = np.random.SeedSequence(config.seed).spawn(3)
        self._factor_seeds, self._volume_seed, self._asset_entropy = (
            factors.spawn(1 + config.n_sectors),
            volume,
            assets,
        )

    @cached_property
    def timestamps(self) -> np.ndarray:
        """``datetime64[ns] [bar]``."""
        return timestamps(self.config)

    @cached_property
    def item_ids(self) -> tuple[str, ...]:
        width = len(str(self.config.n_assets - 1))
        return tuple(f"SIM{k:0{width}d}" for k in range(self.config.n_assets))

    def arrays(self, first: int = 0, stop: int | None = None) -> Arrays:
        """Bars of assets ``first`` to ``stop``, simulated by as many threads as there are cores."""
        stop = self.config.n_assets if stop is None else min(stop, self.config.n_assets)
        bars = np.empty((5, stop - first, self.config.n_bars))
        self._factors  # noqa: B018 - simulated once, before threads share them
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for _ in threads.map(self._fill, range(first, stop), bars.transpose(1, 0, 2)):
                pass
        names = ("log_open", "log_high", "log_low", "log_close", "log_volume")
        return Arrays(
            item_ids=self.item_ids[first:stop],
            timestamps=self.timestamps,
            **dict(zip(names, bars)),
        )

    def series(self, preparation: BarPreparation, *, chunk: int = 16) -> Iterator[Series]:
        """Panel series of all assets, ``chunk`` in memory at a time."""
        from tsfm.data.panel import Series

        for first in range(0, self.config.n_assets, chunk):
            bars = self.arrays(first, first + chunk)
            target = preparation.target(
                high=bars.log_high, low=bars.log_low, close=bars.log_close, volume=bars.log_volume
            )
            for item_id, values in zip(bars.item_ids, target):
                yield Series(item_id=item_id, target=values, timestamps=bars.timestamps)

    @cached_property
    def _clock(self):  # type: ignore[no-untyped-def]
        return clock(self.config)

    @cached_property
    def _factors(self) -> tuple[np.ndarray, ...]:
        """Steps, nights and volatilities of the factors, the market's deviation and volume."""
        from tsfm.data.ohlcv.market_kernels import simulate_components, simulate_factor

        config, n_factors = self.config, 1 + self.config.n_sectors
        steps = np.empty((n_factors, config.n_bars, config.n_steps))
        night, sigma, deviation = np.empty((3, n_factors, config.n_bars))
        for k, seed in enumerate(self._factor_seeds):
            rng = np.random.default_rng(seed)
            factor = self._draw.market(rng) if k == 0 else self._draw.sector(rng)
            simulate_factor(rng, self._clock, factor, steps[k], night[k], sigma[k], deviation[k])
        volume = np.empty(config.n_bars)
        persistence, spread = self._draw.common_volume()
        simulate_components(np.random.default_rng(self._volume_seed), persistence, spread, volume)
        return steps, night, sigma, deviation[0], volume

    def _fill(self, index: int, bars: Float[np.ndarray, "5 bar"]) -> None:
        from tsfm.data.ohlcv.market_kernels import round_prices, simulate_asset

        entropy = self._asset_entropy
        seed = np.random.SeedSequence(entropy.entropy, spawn_key=(*entropy.spawn_key, index))
        rng = np.random.default_rng(seed)
        asset = self._draw.asset(rng)
        steps, night, sigma, deviation, volume = self._factors
        simulate_asset(rng, self._clock, asset, steps, night, sigma, deviation, volume, bars)
        round_prices(bars, asset.grid)


def simulate_arrays(config: MarketConfig) -> Arrays:
    """Bars as arrays: the fastest form."""
    return Market(config).arrays()


def simulate_bars(config: MarketConfig) -> pd.DataFrame:
    """Bars as a long frame.

    Returns
    -------
    pd.DataFrame
        ``item_id, timestamp, open, high, low, close, volume``, item after item.
    """
    bars = simulate_arrays(config)
    logs = (bars.log_open, bars.log_high, bars.log_low, bars.log_close, bars.log_volume)
    values = {name: np.exp(log).reshape(-1) for name, log in zip(COLUMNS[2:], logs)}
    return pd.DataFrame(
        {
            "item_id": np.repeat(np.array(bars.item_ids, object), config.n_bars),
            "timestamp": np.tile(bars.timestamps, config.n_assets),
            **values,
        }
    )


def simulate_panel(
    config: MarketConfig,
    preparation: BarPreparation | None = None,
    *,
    path: str | Path | None = None,
) -> Panel:
    """The market as a panel: what ``preparation`` makes of :func:`simulate_bars`, without a frame.

    Parameters
    ----------
    preparation
        By default ``BarPreparation()``.
    path
        Streamed to this new directory in bounded memory; in memory when not given.

    Raises
    ------
    DataError
        When ``path`` is taken or cannot be written.
    """
    from tsfm.data.ohlcv.preparation import BarPreparation
    from tsfm.data.panel import Panel

    preparation = preparation or BarPreparation()
    market = Market(config)
    info = preparation.info(
        {"all": market.timestamps},
        name=f"simulated_{config.freq}",
        licence="Apache-2.0",
        provenance={"simulator": "tsfm.data.ohlcv.simulator", **asdict(config)},
    )
    series = market.series(preparation)
    panel = Panel.from_series(series, info) if path is None else Panel.write(path, series, info)
    return preparation.asked(panel)
