"""Files of bars taken into a lake: checked at the door, the bad ones named, the rest processed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tsfm.data.ohlcv import bar_files
from tsfm.data.ohlcv.change import Change
from tsfm.data.ohlcv.ingest_config import IngestConfig
from tsfm.data.ohlcv.ingest_report import FileLog, IngestReport, Problem
from tsfm.data.ohlcv.instants import Instants, MixedTimezones
from tsfm.data.ohlcv.instrument import name_fault
from tsfm.data.ohlcv.part import COLUMNS, VALUES
from tsfm.data.ohlcv.schema import faults
from tsfm.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl

    from tsfm.data.ohlcv.lake import Lake

__all__ = ["IngestConfig", "IngestReport", "Problem", "ingest"]

Progress = Callable[[int, int, int], None]


def ingest(
    source: str | Path, lake: Lake, config: IngestConfig, progress: Progress | None = None
) -> IngestReport:
    """Take a file, or all files of bars below a directory, into a lake.

    Memory is bounded by ``config.batch_rows``, whatever the size of the files. Doing it again
    changes nothing; where files have the same bar, the last path's counts. Of a file that is
    refused half way (damaged, changing, of mixed time zones) the batches before that remain.

    Parameters
    ----------
    source
        CSV (also gzipped) or Parquet.
    progress
        Called with files done, files in all and rows read.

    Raises
    ------
    DataError
        When the source has no files of bars, the lake cannot be written, or (``strict``) at the
        first problem.
    ConfigError
        When the source and the lake lie one within the other.
    """
    source = Path(source).expanduser()
    _apart(source.resolve(), lake.path)
    files = bar_files.find(source)
    logs = []
    with ThreadPoolExecutor(1) as background:
        sink = _Sink(lake, config, background)
        for done, path in enumerate(files):
            log = FileLog(path=str(path))
            logs.append(log)
            for bars, timezone in _checked(path, config, log):
                if config.strict and log.problems:
                    break
                sink.add(bars, timezone)
                if progress is not None:
                    progress(done, len(files), sum(one.rows for one in logs))
            if config.strict and log.problems:
                first = log.problems[0]
                row = "" if first.row is None else f", row {first.row}"
                raise DataError(
                    first.what, where=f"{path}{row}", remedy="repair it, or ingest without strict"
                )
        sink.flush()
        change = sink.finish()
    if progress is not None:
        progress(len(files), len(files), sum(log.rows for log in logs))
    return IngestReport(
        files=sum(log.rows > 0 for log in logs),
        rows=sum(log.rows for log in logs),
        skipped=sum(log.skipped for log in logs),
        change=change,
        problems=tuple(problem for log in logs for problem in log.problems),
        notes=tuple(note for log in logs for note in log.notes.values()),
    )


class _Sink:
    """Collects bars of one time zone and writes them behind the reader's back."""

    def __init__(self, lake: Lake, config: IngestConfig, background: ThreadPoolExecutor) -> None:
        self._lake, self._config, self._background = lake, config, background
        self._bars: list[pl.DataFrame] = []
        self._timezone = "UTC"
        self._pending: Future[Change] | None = None
        self._change = Change()

    def add(self, bars: pl.DataFrame, timezone: str) -> None:
        if timezone != self._timezone:
            self.flush()
            self._timezone = timezone
        self._bars.append(bars)
        if sum(map(len, self._bars)) >= self._config.batch_rows:
            self.flush()

    def flush(self) -> None:
        import polars as pl

        if not self._bars:
            return
        self.finish()
        self._pending = self._background.submit(
            self._lake.upsert_many,
            pl.concat(self._bars),
            asset_class=self._config.asset_class,
            freq=self._config.freq,
            timezone=self._timezone,
        )
        self._bars = []

    def finish(self) -> Change:
        """Wait for what is being written."""
        if self._pending is not None:
            self._change += self._pending.result()
            self._pending = None
        return self._change


def _apart(source: Path, lake: Path) -> None:
    if source == lake or source in lake.parents or lake in source.parents:
        raise ConfigError(
            f"the source and the lake {lake} lie one within the other",
            where=str(source),
            remedy="keep them in different directories",
        )


def _checked(path: Path, config: IngestConfig, log: FileLog):  # type: ignore[no-untyped-def]
    """Bars of a file, batch after batch, with their time zone; what is refused goes to the log."""
    instants = Instants(config, log)
    try:
        before = _state(path)
        for batch in bar_files.read(path, config):
            bars = _bars(batch, _named(batch, path, config), instants, log)
            if _state(path) != before:
                raise DataError("the file changed while it was read: ingest it again later")
            log.rows += len(batch)
            yield bars, instants.timezone
        if not log.rows:
            raise DataError("the file has no rows")
    except MixedTimezones as error:
        log.refuse(f"{error.what}; {error.remedy}", error.row)
    except DataError as error:
        log.refuse(error.what + (f"; {error.remedy}" if error.remedy else ""))
    except OSError as error:
        log.refuse(f"the file cannot be read: {error.strerror or error}")


def _state(path: Path) -> tuple[int, int, int]:
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def _named(batch: pl.DataFrame, path: Path, config: IngestConfig) -> pl.DataFrame:
    """With a symbol in every row."""
    import polars as pl

    if "symbol" in batch.columns:
        return batch.with_columns(pl.col("symbol").cast(pl.String).str.strip_chars())
    folders = [name.removeprefix("symbol=") for name in path.parts if name.startswith("symbol=")]
    symbol = config.symbol or (folders[-1] if folders else bar_files.stem(path))
    if fault := name_fault(symbol):
        raise DataError(f"the symbol {symbol!r} cannot name a directory: {fault}")
    return batch.with_columns(pl.lit(symbol).alias("symbol"))


def _bars(raw: pl.DataFrame, batch: pl.DataFrame, instants: Instants, log: FileLog) -> pl.DataFrame:
    """The rows that may enter; the others go to the log."""
    import polars as pl

    for name in VALUES:
        if name not in raw.columns:
            log.note(f"there is no column of {name}: it is missing in every bar")
            batch = batch.with_columns(pl.lit(None, pl.Float64).alias(name))
        elif not (raw[name].dtype.is_numeric() or raw[name].dtype == pl.String):
            raise DataError(f"column {name} has type {raw[name].dtype}, not numbers")
    numbers = pl.col(VALUES).cast(pl.Float64, strict=False).fill_nan(None)
    bars = batch.with_columns(numbers, instants.read(batch).alias("ts"))
    kinds = _faults(raw, bars)
    found = bars.select(
        pl.coalesce(
            [pl.when(mask).then(pl.lit(k, pl.UInt8)) for k, mask in enumerate(kinds.values())]
        )
    ).to_series()
    if found.null_count() < len(found):
        _report(raw, found, list(kinds), log)
        bars = bars.filter(found.is_null())
    return bars.select("symbol", *COLUMNS)


def _faults(raw: pl.DataFrame, bars: pl.DataFrame) -> dict[str, pl.Expr | pl.Series]:
    """What may be wrong with a row, and where it is."""
    import polars as pl

    kinds: dict[str, pl.Expr | pl.Series] = {"the line has too many fields": raw["surplus"]}
    kinds["the symbol is missing"] = bars["symbol"].fill_null("") == ""
    for symbol in bars["symbol"].drop_nulls().unique(maintain_order=True).to_list():
        if symbol and (fault := name_fault(symbol)):
            kinds[f"the symbol {symbol!r} cannot name a directory: {fault}"] = (
                bars["symbol"] == symbol
            )
    kinds["the date cannot be read, or is skipped as clocks go forward"] = (
        raw["ts"].is_not_null() & bars["ts"].is_null()
    )
    for name in VALUES:
        if name in raw.columns and raw[name].dtype == pl.String:
            kinds[f"{name} is not a number"] = raw[name].is_not_null() & bars[name].is_null()
    return kinds | faults()


def _report(raw: pl.DataFrame, found: pl.Series, kinds: list[str], log: FileLog) -> None:
    """Name the first rows of each kind, count the others."""
    columns = [name for name in ("ts", *VALUES) if name in raw.columns]
    for k in found.drop_nulls().unique().sort().to_list():
        places = (found == k).arg_true()
        named = places.head(log.named(kinds[k]))
        shown = raw[named].select("row", *columns)
        for row in shown.iter_rows(named=True):
            number = row.pop("row")
            values = ", ".join(f"{name} {value}" for name, value in row.items())
            log.skip(kinds[k], number, f"{kinds[k]} ({values})")
        log.skip_more(kinds[k], len(places) - len(named))
