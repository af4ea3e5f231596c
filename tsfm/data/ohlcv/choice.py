"""What a build takes from a lake, and when training ends in it."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256

import numpy as np
import polars as pl

from tsfm.data.ohlcv.builder_config import BuilderConfig, moment
from tsfm.data.ohlcv.lake import Lake
from tsfm.errors import ConfigError, DataError


def chosen(lake: Lake, config: BuilderConfig) -> pl.DataFrame:
    """The catalogue's rows to build from: of one asset class and frequency."""
    catalogue = lake.catalogue(config.asset_class or None, config.freq or None)
    if config.symbols:
        unknown = sorted(set(config.symbols) - set(catalogue["symbol"]))
        if unknown:
            raise DataError(
                f"symbols {', '.join(unknown[:5])} are not in the lake",
                where=str(lake.path),
                remedy=f"choose some of its {len(catalogue)} instruments",
            )
        catalogue = catalogue.filter(pl.col("symbol").is_in(list(config.symbols)))
    kinds = catalogue.select("asset_class", "freq").unique().sort("asset_class", "freq").rows()
    if not kinds:
        wanted = "/".join(part for part in (config.asset_class, config.freq) if part)
        raise DataError(
            f"there are no bars of {wanted}" if wanted else "there are no bars",
            where=str(lake.path),
            remedy="ingest bars first, or correct asset_class and freq",
        )
    if len(kinds) > 1:
        listed = ", ".join("/".join(kind) for kind in kinds)
        raise ConfigError(
            f"the lake holds {listed}",
            where=str(lake.path),
            remedy="a panel is of one: choose by asset_class and freq",
        )
    return catalogue.sort("symbol")


def fingerprint(catalogue: pl.DataFrame) -> str:
    rows = catalogue.select("asset_class", "freq", "symbol", "timezone", "digest").rows()
    return sha256(repr(rows).encode()).hexdigest()


def train_until(catalogue: pl.DataFrame, config: BuilderConfig) -> datetime:
    """The date given, or one that leaves the wanted share of all bars before it.

    It is estimated from the catalogue, as if bars were spread evenly over each symbol's span.
    """
    if config.train_until:
        return moment(config.train_until)
    first, last = (
        catalogue.select(pl.col("first", "last").cast(pl.Int64)).to_numpy().T.astype(float)
    )
    bars = catalogue["bars"].to_numpy()
    length = np.maximum(last - first, 1.0)
    dates = np.linspace(first.min(), last.max(), 2001)
    before = [float((np.clip((date - first) / length, 0, 1) * bars).sum()) for date in dates]
    date = dates[np.searchsorted(before, config.train_share * bars.sum())]
    return datetime.fromisoformat(f"{np.datetime64(int(date), 'us')}+00:00")


def fitted_on(catalogue: pl.DataFrame, config: BuilderConfig) -> list[str]:
    """Symbols that regimes and selection are fitted on: at most half, so some can be held out."""
    symbols = catalogue["symbol"].to_list()
    count = min(config.fit_assets, max(len(symbols) // 2, 1))
    drawn = np.random.default_rng(config.seed).choice(len(symbols), count, replace=False)
    return [symbols[place] for place in sorted(drawn.tolist())]
