"""Forecasts of a Parquet file larger than memory, written as Parquet.

    python -m tsfm.tracking.batch_prediction models:/ohlcv@champion bars.parquet forecast.parquet \
        --horizon 24 --quantile-levels 0.1,0.5,0.9
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np

from tsfm.data.tidying import listed
from tsfm.errors import ConfigError, DataError, UserError, one_of
from tsfm.models.base import QUANTILE_LEVELS

if TYPE_CHECKING:
    import pandas as pd

    from tsfm.data.preparation import Preparation
    from tsfm.models.base import Forecaster
    from tsfm.tracking.item_parts import ItemParts

ROWS_AT_ONCE = 500_000
VALUES_AT_ONCE = 2_000_000
BAD_ITEMS = ("refuse", "leave_out")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BatchReport:
    """What was forecast.

    Attributes
    ----------
    path
        The file of forecasts.
    items, rows
        Forecast items, and rows written.
    seconds
        Wall time.
    left_out
        Why, by item; also written as JSON beside the file.
    """

    path: Path
    items: int
    rows: int
    seconds: float
    left_out: dict[str, str] = field(default_factory=dict)


def predict_parquet(
    model: str,
    source: str | Path,
    out: str | Path,
    *,
    horizon: int,
    quantile_levels: Sequence[float] = QUANTILE_LEVELS,
    seed: int = 0,
    as_of: str | None = None,
    bad_items: str = "refuse",
    rows_at_once: int = ROWS_AT_ONCE,
    overwrite: bool = False,
    progress: bool = False,
) -> BatchReport:
    """Forecast every item of a file, some items at a time.

    Memory is bounded by ``rows_at_once`` and by the longest item. The file of forecasts appears
    when it is complete. Models that draw samples draw them part by part.

    Parameters
    ----------
    model
        ``models:/name@alias``, ``models:/name/version``, or a model's directory.
    source
        Parquet with ``item_id``, ``timestamp`` and the model's columns. Sorted by item it is read
        twice (names, then rows); otherwise once for every part.
    out
        Parquet: ``item_id, step, timestamp, variate, mean, q0.1 …, note``.
    as_of
        Forecast as if this time were now.
    bad_items
        Whether an item that cannot be forecast ends it all, or is left out and told.
    progress
        Show how far it is.

    Raises
    ------
    DataError
        When the source cannot be read, an item cannot be forecast, or ``out`` is taken.
    ConfigError
        When a parameter is out of range.
    TrackingError, CheckpointError
        When there is no such model.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tsfm.tracking.item_parts import ItemParts
    from tsfm.tracking.serving import check_parameters

    one_of("bad_items", bad_items, BAD_ITEMS)
    levels = tuple(map(float, quantile_levels))
    check_parameters({"horizon": horizon, "quantile_levels": levels, "seed": seed, "as_of": as_of})
    out = _free(Path(out), overwrite)
    began = time.monotonic()
    forecaster, preparation = _load(model)
    width = len(getattr(preparation, "variates", ())) or 1
    columns = ("timestamp", *preparation.columns) if preparation.columns else ()
    whole = _needs_all_items(preparation)
    parts = ItemParts.plan(
        source,
        columns,
        rows_at_once=sys.maxsize if whole else rows_at_once,
        items_at_once=sys.maxsize
        if whole
        else max(1, VALUES_AT_ONCE // (horizon * width * (len(levels) + 1))),
    )
    if not parts.together and len(parts) > 1:
        _logger.warning(
            "%s: the rows of an item are apart, so it is read %d times; sort it by item_id to read "
            "it once", source, len(parts),
        )  # fmt: skip
    job = _Job(forecaster, preparation, horizon, levels, seed, as_of, bad_items == "leave_out")
    staged = out.with_name(f".{out.name}.{uuid4().hex}.tmp")
    writer, items, rows = None, 0, 0
    try:
        for forecast in job.forecasts(_tracked(parts, progress)):
            table = pa.Table.from_pandas(forecast, preserve_index=False)
            if writer is None:
                writer = pq.ParquetWriter(staged, table.schema)
            writer.write_table(table.cast(writer.schema))
            items, rows = items + forecast["item_id"].nunique(), rows + len(forecast)
        if writer is None:
            raise DataError(
                "no item can be forecast", where=str(source), remedy=_first(job.left_out)
            )
        writer.close()
        os.replace(staged, out)
    except OSError as error:
        raise DataError(
            f"the forecasts cannot be written: {error}",
            where=str(out),
            remedy="free disk space, or choose a place that can be written to",
        ) from error
    finally:
        if writer is not None:
            with suppress(OSError):
                writer.close()
        staged.unlink(missing_ok=True)
    if job.left_out:
        _left_out_file(out).write_text(json.dumps(job.left_out, indent=2, ensure_ascii=False))
    return BatchReport(
        path=out,
        items=items,
        rows=rows,
        seconds=time.monotonic() - began,
        left_out=job.left_out,
    )


class _Job:
    """One part's forecast after the other, in one schema."""

    def __init__(
        self,
        forecaster: Forecaster,
        preparation: Preparation,
        horizon: int,
        levels: tuple[float, ...],
        seed: int,
        as_of: str | None,
        leaving_out: bool,
    ) -> None:
        self.forecaster, self.preparation = forecaster, preparation
        self.horizon, self.levels, self.seed, self.as_of = horizon, levels, seed, as_of
        self.leaving_out, self.left_out = leaving_out, dict[str, str]()
        self.context = forecaster.info().get("config", {}).get("context")

    def forecasts(self, parts: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for part in parts:
            try:
                yield self.forecast(part)
            except UserError:
                if not self.leaving_out:
                    raise
                yield from self.one_by_one(part)

    def one_by_one(self, part: pd.DataFrame) -> Iterator[pd.DataFrame]:
        for item, rows in part.groupby("item_id", sort=False):
            try:
                yield self.forecast(rows)
            except UserError as error:
                self.left_out[str(item)] = str(error)

    def forecast(self, rows: pd.DataFrame) -> pd.DataFrame:
        from tsfm.models.frames import NOTES, forecast_frame

        forecast = forecast_frame(
            self.forecaster, self.preparation, rows.reset_index(drop=True), self.horizon,
            self.levels, self.seed, context=self.context, as_of=self.as_of,
        )  # fmt: skip
        notes = {item: "; ".join(told) for item, told in forecast.attrs[NOTES].items()}
        numbers = forecast.columns[4:]
        return forecast.assign(
            timestamp=forecast["timestamp"].astype("datetime64[ns]"),
            note=forecast["item_id"].map(notes).fillna("").astype(str),
            **{name: forecast[name].astype(np.float64) for name in numbers},
        )


def _load(model: str) -> tuple[Forecaster, Preparation]:
    from tsfm.data.preparation import load_preparation
    from tsfm.models.source import load_local

    directory = Path(model)
    if model.startswith(("models:/", "runs:/")):
        from tsfm.tracking.registry import resolve

        directory = resolve(model)
    return load_local(str(directory)), load_preparation(directory)


def _needs_all_items(preparation: Preparation) -> bool:
    """Features among items are of all items at once."""
    return bool(getattr(getattr(preparation, "features", None), "needs_market", False))


def _free(out: Path, overwrite: bool) -> Path:
    if out.suffix != ".parquet" or not out.parent.is_dir():
        raise ConfigError(
            f"out={str(out)!r} is no place for the forecasts",
            remedy="give a file that ends in .parquet, in a directory that exists",
        )
    if out.exists() and not overwrite:
        raise DataError(
            "the file exists", where=str(out), remedy="give another out, or ask to overwrite it"
        )
    _left_out_file(out).unlink(missing_ok=True)
    return out


def _left_out_file(out: Path) -> Path:
    return out.with_suffix(".left_out.json")


def _first(left_out: dict[str, str]) -> str:
    item, why = next(iter(left_out.items()))
    return f"the first, {item}: {why}"


def _tracked(parts: ItemParts, progress: bool) -> Iterator[pd.DataFrame]:
    """The parts, with a bar that counts rows."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not progress, transient=True) as bar:
        task = bar.add_task("forecasting", total=sum(parts.rows))
        for rows, part in zip(parts.rows, parts, strict=True):
            yield part
            bar.advance(task, rows)


def main(words: Sequence[str] | None = None) -> int:
    """Forecast a file; a user's mistake is one line and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m tsfm.tracking.batch_prediction",
        description="Forecasts of a Parquet file larger than memory, written as Parquet.",
    )
    parser.add_argument("model", help="models:/name@alias, models:/name/version or a directory")
    parser.add_argument("source", help="Parquet: item_id, timestamp and the model's columns")
    parser.add_argument("out", help="Parquet that appears when it is complete")
    parser.add_argument("--horizon", type=int, required=True, help="bars to forecast")
    parser.add_argument("--quantile-levels", default=",".join(map(str, QUANTILE_LEVELS)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--as-of", help="forecast as if this time were now")
    parser.add_argument("--bad-items", default=BAD_ITEMS[0], choices=BAD_ITEMS)
    parser.add_argument("--rows-at-once", type=int, default=ROWS_AT_ONCE)
    parser.add_argument("--overwrite", action="store_true")
    given = parser.parse_args(words)
    try:
        report = predict_parquet(
            given.model, given.source, given.out, horizon=given.horizon,
            quantile_levels=_levels(given.quantile_levels), seed=given.seed, as_of=given.as_of,
            bad_items=given.bad_items, rows_at_once=given.rows_at_once,
            overwrite=given.overwrite, progress=True,
        )  # fmt: skip
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{report.items} items, {report.rows} rows in {report.seconds:.1f} s: {report.path}")
    if report.left_out:
        told = f"{len(report.left_out)} items left out ({listed(list(report.left_out))})"
        print(f"{told}: {_left_out_file(report.path)}", file=sys.stderr)
    return 0


def _levels(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(level) for level in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--quantile-levels={text!r} are no numbers") from error


if __name__ == "__main__":
    sys.exit(main())
