"""How a lake becomes a panel: checked before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tsfm.data.ohlcv.cleaning_config import CleaningConfig
from tsfm.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class BuilderConfig:
    """What :class:`tsfm.data.ohlcv.builder.IterativeFinancialDatasetBuilder` makes of a lake.

    Attributes
    ----------
    name
        Of the panel; empty: ``<asset class>_<freq>``.
    asset_class, freq
        Of the lake's instruments; may be left out where the lake has one of them only.
    symbols
        Only these; empty: all.
    assets_per_batch
        Assets in memory at a time, per worker.
    features
        ``default``, ``none``, a YAML file, or a mapping of the same shape.
    cleaning
        How bars are repaired.
    splits
        CSV or Parquet file of splits; empty: none at hand.
    min_bars
        Assets with fewer observed bars are left out.
    train_until
        Regimes and the choice of features are fitted on bars before this date (UTC).
    train_share
        Where no date is given: on this share of all bars, the earliest. Less than what training
        takes, since the date is estimated from the catalogue.
    fit_assets
        Assets that they are fitted on, drawn by ``seed``.
    workers
        Batches worked on at once; 0: as many as there are cores. The result does not depend on it.
    cache_bytes
        Cleaned bars kept in temporary files between the two passes that cross-asset features
        need; what does not fit is cleaned twice.
    keep_unfinished
        After an error or Ctrl-C, keep the finished batches so that the next start goes on there,
        as it does after a kill.
    overwrite
        Replace a panel that another build made.

    Raises
    ------
    ConfigError
        When a value is not allowed.
    """

    name: str = ""
    asset_class: str = ""
    freq: str = ""
    symbols: tuple[str, ...] = ()
    assets_per_batch: int = 10
    features: str | Mapping[str, Any] = "default"
    cleaning: CleaningConfig = field(default_factory=CleaningConfig)
    splits: str = ""
    min_bars: int = 64
    train_until: str = ""
    train_share: float = 0.6
    fit_assets: int = 20
    workers: int = 0
    cache_bytes: int = 2 << 30
    keep_unfinished: bool = False
    overwrite: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbols", tuple(self.symbols))
        least = {"assets_per_batch": 1, "min_bars": 2, "fit_assets": 1, "workers": 0, "seed": 0}
        for name, smallest in (least | {"cache_bytes": 0}).items():
            value = getattr(self, name)
            if int(value) != value or value < smallest:
                raise ConfigError(
                    f"{name}={value!r} is not a whole number of {smallest} or more",
                    where="building from a lake",
                )
        if not 0 < self.train_share < 1:
            raise ConfigError(
                f"train_share={self.train_share} lies outside (0, 1)",
                remedy="give for example 0.6, or a date as train_until",
            )
        if not self.features:
            raise ConfigError(
                "features is empty", remedy="give default, none or a YAML file of features"
            )
        if self.train_until:
            moment(self.train_until)
        if self.splits and not Path(self.splits).expanduser().is_file():
            raise ConfigError(
                f"splits={self.splits!r} is not a file",
                remedy="give a CSV or Parquet file with symbol, date and ratio",
            )


def moment(date: str) -> datetime:
    """A date in UTC.

    Raises
    ------
    ConfigError
        When it is none.
    """
    try:
        parsed = datetime.fromisoformat(date)
    except ValueError as error:
        raise ConfigError(
            f"train_until={date!r} is not a date", remedy="write it like 2020-12-31"
        ) from error
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
