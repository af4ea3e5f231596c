"""From a lake to a panel, some assets at a time: memory does not grow with the lake.

Where features need the other assets, a first pass over the lake collects the market (one row per
time, and ranks in temporary files); the second pass, or the only one, makes each batch of assets
into series and appends them to the panel. A finished batch is on the disk: a build that is killed
goes on after it. The result depends on neither batches nor workers nor kills.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm.data.ohlcv.bar_cache import BarCache
from tsfm.data.ohlcv.build_report import FILE_NAME, BuildReport
from tsfm.data.ohlcv.builder_config import BuilderConfig
from tsfm.data.ohlcv.choice import chosen, fingerprint, fitted_on, train_until
from tsfm.data.ohlcv.features_config import FeatureConfig
from tsfm.data.ohlcv.lake import Instrument, Lake
from tsfm.data.ohlcv.ordered import Made, in_order
from tsfm.data.ohlcv.workspace import Workspace, workspace
from tsfm.data.panel_state import read_state
from tsfm.data.panel_writer import PanelWriter
from tsfm.errors import DataError

if TYPE_CHECKING:
    import polars as pl

    from tsfm.data.ohlcv.asset_batch import CleanBatch, Cleaner
    from tsfm.data.ohlcv.cross_section import Market
    from tsfm.data.ohlcv.feature_preparation import FeaturePreparation
    from tsfm.data.series import PanelInfo

__all__ = ["BuilderConfig", "IterativeFinancialDatasetBuilder"]

Batch = tuple[Instrument, ...]
Progress = Callable[[int, int, str], None]

VERSION = 1
WITHOUT_EFFECT = ("workers", "cache_bytes", "keep_unfinished", "overwrite")
CALENDARS_LOOKED_AT = 8
LARGEST_KEPT = 31 << 20


class IterativeFinancialDatasetBuilder:
    """Builds a panel from a lake, batch of assets by batch of assets.

    Parameters
    ----------
    lake
        Or its path.
    out
        Directory of the panel to be; what is not finished lies beside it, in ``<out>.tmp-…``.
    config
        What to make of the lake.

    Raises
    ------
    DataError
        When there is no lake, or it has none of the instruments asked for.
    ConfigError
        When the lake has several asset classes or frequencies and none is chosen, or a feature is
        unknown.
    """

    def __init__(
        self, lake: Lake | str | Path, out: str | Path, config: BuilderConfig | None = None
    ) -> None:
        self.lake = lake if isinstance(lake, Lake) else Lake.open(lake)
        self.out = Path(out).expanduser().absolute()
        self.config = config or BuilderConfig()
        self.features = FeatureConfig.load(self.config.features)
        self.catalogue = chosen(self.lake, self.config)
        self.asset_class, self.freq = self.catalogue.row(0)[:2]

    def build(self, progress: Progress | None = None) -> BuildReport:
        """Build the panel, go on with a build that was killed, or open the one that is there.

        Temporary storage is removed at the end, after an error and after Ctrl-C; that of a killed
        build at the next start.

        Parameters
        ----------
        progress
            Called with bars done, bars in all (twice the lake's where two passes are needed), and
            the symbols at hand.

        Raises
        ------
        DataError
            When the output is taken, cannot be written or is being built by another process, no
            asset is left, or (strict) at the first bar that needs a repair.
        """
        begun = time.perf_counter()
        keep = self.config.keep_unfinished
        with workspace(self.out, self.digest, keep_unfinished=keep) as space:
            if self.out.exists():
                ready = self._ready()
                if ready is not None:
                    return ready
            try:
                return self._build(space, begun, progress or _silent)
            except OSError as error:
                raise DataError(
                    f"the panel cannot be written: {error.strerror or error}",
                    where=str(error.filename or self.out),
                    remedy="free space on the disk, or choose a place that can be written to",
                ) from error

    @cached_property
    def digest(self) -> str:
        """Of all that the result depends on: settings, features, splits and the lake's bars."""
        settings = asdict(self.config) | {"features": self.features.to_mapping()}
        for name in WITHOUT_EFFECT:
            del settings[name]
        if self.config.splits:
            settings["splits"] = sha256(
                Path(self.config.splits).expanduser().read_bytes()
            ).hexdigest()
        text = json.dumps([VERSION, settings, fingerprint(self.catalogue)], sort_keys=True)
        return sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def batches(self) -> list[Batch]:
        """Instruments in the order of their names."""
        instruments = tuple(map(self._instrument, self.catalogue["symbol"]))
        size = self.config.assets_per_batch
        return [instruments[k : k + size] for k in range(0, len(instruments), size)]

    def _instrument(self, symbol: str) -> Instrument:
        return Instrument(asset_class=self.asset_class, freq=self.freq, symbol=symbol)

    def _ready(self) -> BuildReport | None:
        """The report of this very build, finished before; ``None`` where it is to be replaced."""
        try:
            read_state(self.out)
            report = BuildReport.read(self.out)
            if report.digest == self.digest:
                return replace(report, notes=("it was built before: there was nothing to do",))
        except DataError:
            pass
        if not (self.config.overwrite and (self.out / FILE_NAME).exists()):
            raise DataError(
                "the path exists already, and is not what would be built",
                where=str(self.out),
                remedy="choose another, remove it, or give build.overwrite=true for a built panel",
            )
        return None

    def _build(self, space: Workspace, begun: float, progress: Progress) -> BuildReport:
        from tsfm.data.ohlcv.asset_batch import Cleaner, SeriesMaker
        from tsfm.data.ohlcv.feature_preparation import FeaturePreparation

        _keep_freed_memory()
        preparation = FeaturePreparation(
            **(space.record.get("preparation") or {"features": self.features})
        )
        cleaner = Cleaner(
            lake=self.lake,
            config=self.config.cleaning,
            timezones=dict(self.catalogue.select("symbol", "timezone").iter_rows()),
            splits=self._splits(),
            min_bars=self.config.min_bars,
        )
        two_passes = preparation.features.needs_market
        count = _Count(int(self.catalogue["bars"].sum()), progress, two_passes)
        cache = BarCache(space.scratch, self.config.cache_bytes)
        with ThreadPoolExecutor(self._workers) as threads:

            def clean(number: int) -> CleanBatch:
                return cleaner.batch(self.batches[number])

            def each(task: Callable[[int], Made], first: int = 0) -> Iterator[tuple[int, Made]]:
                return in_order(threads, task, range(first, len(self.batches)), self._workers)

            market: Market | None = None
            seen: dict[int, dict[str, Any]] = {}
            if two_passes:
                market = self._market(space, each(clean), cache, seen, count)
            if not space.record:
                space.begin(self._fit(preparation, cleaner, market))
            info = self._info(preparation, space)
            maker = SeriesMaker(preparation=preparation, info=info, market=market)

            def make(number: int) -> tuple[dict[str, Any], Any]:
                bars, entry = cache.take(number), seen.get(number)
                if bars is None or entry is None:
                    cleaned = clean(number)
                    bars, entry = cleaned.bars, cleaned.entry()
                return entry, maker.part(bars)

            marks = [tuple(entry["mark"]) for entry in space.done]
            writer = PanelWriter(space.panel, info, marks=marks)
            try:
                resumed = space.keep_batches(writer.kept)
                count.skip(sum(entry["read"] for entry in space.done))
                for number, (entry, part) in each(make, first=resumed):
                    if part is not None:
                        writer.append(part)
                    space.finish_batch({**entry, "mark": writer.mark})
                    count.add(entry["read"], self.batches[number])
                if not writer.item_ids:
                    raise self._nothing_left(space)
                writer.finish()
            finally:
                writer.close()
        return self._publish(space, preparation, begun, resumed)

    def _market(
        self,
        space: Workspace,
        cleaned: Iterator[tuple[int, CleanBatch]],
        cache: BarCache,
        seen: dict[int, dict[str, Any]],
        count: _Count,
    ) -> Market:
        """The first pass; bars are kept for the second as far as there is room."""
        from tsfm.data.ohlcv.cross_section import MarketBuilder

        builder = MarketBuilder(self.features.market, space.scratch / "market")
        for number, batch in cleaned:
            builder.add(batch.bars)
            seen[number] = batch.entry()
            if number >= len(space.done):
                cache.keep(number, batch.bars)
            count.add(batch.read, self.batches[number])
        return builder.finish()

    def _fit(
        self, preparation: FeaturePreparation, cleaner: Cleaner, market: Market | None
    ) -> dict[str, Any]:
        """What a new build goes by; regimes and selection are fitted where they are asked for."""
        import polars as pl

        record: dict[str, Any] = {"fitted_until": None, "fitted_on": []}
        if self.features.regimes is not None or self.features.selection is not None:
            until = train_until(self.catalogue, self.config)
            symbols = fitted_on(self.catalogue, self.config)
            bars = pl.concat(
                cleaner.batch([self._instrument(symbol)]).bars.filter(pl.col("ts") < until)
                for symbol in symbols
            )
            preparation.fit_bars(bars, market, until)
            record = {"fitted_until": until.isoformat(), "fitted_on": symbols}
        return record | {"preparation": preparation.state()}

    def _info(self, preparation: FeaturePreparation, space: Workspace) -> PanelInfo:
        """Frequency and season are learnt from some assets all over the lake."""
        step = -(-len(self.catalogue) // CALENDARS_LOOKED_AT)
        calendars = {}
        for symbol in self.catalogue["symbol"][::step]:
            try:
                stamps = self.lake.read(self._instrument(symbol), columns=["ts"])["ts"]
            except DataError:
                continue
            calendars[symbol] = stamps.dt.replace_time_zone(None).to_numpy().astype("M8[ns]")
        return preparation.info(
            calendars,
            name=self.config.name or f"{self.asset_class}_{self.freq}",
            provenance={
                "lake": str(self.lake.path),
                "lake_fingerprint": fingerprint(self.catalogue),
                "build": self.digest,
                "cleaning": asdict(self.config.cleaning),
                "splits": self.config.splits,
                "fitted_until": space.record["fitted_until"],
                "fitted_on": space.record["fitted_on"],
            },
        )

    def _splits(self) -> pl.DataFrame | None:
        from tsfm.data.ohlcv.corporate_actions import read_splits

        return read_splits(Path(self.config.splits).expanduser()) if self.config.splits else None

    def _publish(
        self, space: Workspace, preparation: FeaturePreparation, begun: float, resumed: int
    ) -> BuildReport:
        by_symbol = {symbol: n for entry in space.done for symbol, n in entry["counts"].items()}
        counts: Counter[str] = Counter()
        for kinds in by_symbol.values():
            counts.update(kinds)
        notes = []
        if resumed:
            notes.append(f"went on after {resumed} of {len(self.batches)} batches")
        if space.abandoned:
            notes.append("removed what another, unfinished build to this place had left")
        problems = [problem for entry in space.done for problem in entry["problems"]]
        if fingerprint(chosen(self.lake, self.config)) != fingerprint(self.catalogue):
            problems.append("the lake was written to meanwhile: build again to take that in")
        selection = preparation.selection
        values: dict[str, Any] = {
            "digest": self.digest,
            "assets": sum(entry["assets"] for entry in space.done),
            "bars": sum(entry["bars"] for entry in space.done),
            "counts": dict(counts.most_common()),
            "counts_by_symbol": by_symbol,
            "dropped": {s: why for entry in space.done for s, why in entry["dropped"].items()},
            "problems": tuple(problems),
            "past_covariates": preparation.past,
            "known_covariates": preparation.known,
            "selection": None if selection is None else selection.state(),
            "fitted_until": space.record["fitted_until"],
            "seconds": time.perf_counter() - begun,
            "resumed_batches": resumed,
            "notes": tuple(notes),
        }
        report = BuildReport(out=self.out, **values)
        (space.panel / FILE_NAME).write_text(json.dumps(report.to_dict(), indent=2))
        if self.out.exists():
            self.out.rename(space.path / "replaced")
        space.panel.rename(self.out)
        return report

    def _nothing_left(self, space: Workspace) -> DataError:
        dropped = [pair for entry in space.done for pair in entry["dropped"].items()]
        some = "; ".join(f"{symbol}: {why}" for symbol, why in dropped[:3])
        return DataError(
            f"none of {len(dropped)} assets is left ({some})",
            where=str(self.lake.path),
            remedy="look at the lake's quality report, or lower min_bars",
        )

    @property
    def _workers(self) -> int:
        free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return self.config.workers or free or 1


class _Count:
    """Bars done of all, over one or two passes."""

    def __init__(self, bars: int, progress: Progress, two_passes: bool) -> None:
        self._all, self._progress, self._done = bars * (1 + two_passes), progress, 0

    def add(self, bars: int, batch: Batch) -> None:
        self._done += bars
        symbols = batch[0].symbol + (f" … {batch[-1].symbol}" if len(batch) > 1 else "")
        self._progress(self._done, self._all, symbols)

    def skip(self, bars: int) -> None:
        self._done += bars


def _keep_freed_memory() -> None:
    """Let batches use the memory of those before.

    glibc gives every large array back to the system, whose pages are zeroed anew for the next one,
    unless a larger one was freed before (``M_MMAP_THRESHOLD`` in mallopt(3)).
    """
    import numpy as np

    for _ in range(2):
        np.empty(LARGEST_KEPT, np.uint8)


def _silent(done: int, total: int, symbols: str) -> None:
    """Nobody watches."""
