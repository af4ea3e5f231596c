"""A lake's panels, one for each asset class and frequency: built once, kept in the cache."""

from __future__ import annotations

import os
import shutil
import warnings
from contextlib import suppress
from glob import escape
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import polars as pl
from filelock import FileLock, Timeout

from tsfm.data.cache import cache_directory
from tsfm.data.ohlcv.bars import COLUMNS
from tsfm.data.ohlcv.builder import BuilderConfig, IterativeFinancialDatasetBuilder
from tsfm.data.ohlcv.cleaning import clean
from tsfm.data.ohlcv.cleaning_config import CleaningConfig
from tsfm.data.ohlcv.lake import Instrument, Lake
from tsfm.data.ohlcv.progress_bar import progress_bar
from tsfm.data.origins import Origin, recorded_preparation
from tsfm.data.panel import Panel
from tsfm.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd

    from tsfm.data.sources import SourceConfig

KEPT = 3


def lake_origin(path: Path, config: SourceConfig, example_bars: int) -> Origin:
    """Panels of a lake, by ``config.asset_class``, ``config.freq`` and ``config.features``.

    They lie in :func:`tsfm.data.cache.cache_directory` and are built again when the lake's bars or
    the settings have changed; the ``KEPT`` last used of each are kept.

    Raises
    ------
    ConfigError
        When the lake has none of this asset class and frequency, or a feature is unknown.
    DataError
        When the lake cannot be read, or the panel cannot be written.
    """
    lake = Lake.open(path)
    namesakes = sum(Path(other).name == path.name for other in config.parts)
    label = path.name if namesakes < 2 else f"{path.parent.name}_{path.name}"
    kinds = _kinds(lake, config)
    panels = [_built(lake, label, kind, config) for kind in kinds]
    served = Instrument(
        asset_class=kinds[0].asset_class, freq=kinds[0].freq, symbol=panels[0].item_ids[0]
    )
    preparation = recorded_preparation(panels[0], config.variates)
    assert preparation is not None
    if config.variates:
        panels = [panel.variates(config.variates, others_as_past=True) for panel in panels]
    return Origin(
        panels=tuple(panels),
        preparation=preparation,
        example=latest_bars(lake, served, example_bars),
    )


def latest_bars(lake: Lake, instrument: Instrument, bars: int) -> pd.DataFrame:
    """The last bars of an instrument, cleaned, as users give them: naive dates, prices of today."""
    facts = lake.catalogue(instrument.asset_class, instrument.freq)
    row = facts.row(by_predicate=pl.col("symbol") == instrument.symbol, named=True)
    share = min(2 * bars / row["bars"], 1.0)
    start = row["last"] - (row["last"] - row["first"]) * share
    latest = lake.read(instrument, start=start).drop("symbol")
    cleaned = clean(latest, CleaningConfig(adjust="backward"), where=str(instrument))
    return (
        cleaned.bars.tail(bars)
        .with_columns(
            item_id=pl.lit(instrument.symbol),
            timestamp=pl.col("ts").dt.replace_time_zone(None).dt.cast_time_unit("ns"),
        )
        .select(COLUMNS)
        .to_pandas()
    )


class _Kind(NamedTuple):
    """What one panel is of."""

    asset_class: str
    freq: str


def _kinds(lake: Lake, config: SourceConfig) -> list[_Kind]:
    """Those asked for."""
    kinds = lake.catalogue().select("asset_class", "freq").unique().sort("asset_class", "freq")
    held = [_Kind(*row) for row in kinds.rows()]
    wanted = [
        kind
        for kind in held
        if config.asset_class in ("", kind.asset_class) and config.freq in ("", kind.freq)
    ]
    if not held:
        raise DataError(
            "the lake holds no bars", where=str(lake.path), remedy="ingest some bars first"
        )
    if not wanted:
        listed = ", ".join(f"{kind.asset_class}/{kind.freq}" for kind in held)
        raise ConfigError(
            f"the lake has no bars of data.asset_class={config.asset_class or 'any'}, "
            f"data.freq={config.freq or 'any'}",
            where=str(lake.path),
            remedy=f"choose from {listed}",
        )
    return wanted


def _built(lake: Lake, label: str, kind: _Kind, config: SourceConfig) -> Panel:
    """Open the panel if it is there, else build it; another process may be doing so."""
    name = f"{label}_{kind.asset_class}_{kind.freq}"
    settings = BuilderConfig(
        name=name,
        asset_class=kind.asset_class,
        freq=kind.freq,
        features=config.features,
        train_share=0.9 * (1 - config.validation_share - config.test_share),
        seed=config.seed,
        overwrite=True,
        keep_unfinished=True,
    )
    stem = f"{name}-{sha256(str(lake.path).encode()).hexdigest()[:8]}"
    builder = IterativeFinancialDatasetBuilder(lake, cache_directory() / "panels" / stem, settings)
    builder.out = builder.out.with_name(f"{stem}-{builder.digest}")
    builder.out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{builder.out}.lock"), progress_bar(f"building {name}") as progress:
        report = builder.build(progress)
        os.utime(builder.out)
    _forget(builder.out.parent, stem)
    for problem in report.problems:
        warnings.warn(f"{name}: {problem}", stacklevel=2)
    return report.panel


def _forget(directory: Path, stem: str) -> None:
    """Remove the panels of a lake that have not been used for longest, unless being built."""
    found = [path for path in directory.glob(f"{escape(stem)}-*/") if ".tmp-" not in path.name]
    for path in sorted(found, key=lambda path: path.stat().st_mtime)[:-KEPT]:
        lock = FileLock(f"{path}.lock", blocking=False)
        with suppress(Timeout), lock:
            shutil.rmtree(path, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)
