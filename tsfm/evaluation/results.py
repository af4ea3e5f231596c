"""Results: one row per model and task, what every leaderboard is made from."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import pandas as pd

from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.tasks import Task, task_digest
from tsfm.evaluation.totals import Totals
from tsfm.evaluation.window_blocks import block_table

ERROR = "error/"
"""Prefix of the columns that hold errors in a frame of results."""

COLUMNS = {
    "model": "string",
    "task": "string",
    "suite": "string",
    "dataset": "string",
    "freq": "string",
    "domain": "string",
    "task_digest": "string",
    "horizon": "Int64",
    "seasonality": "Int64",
    "variates": "Int64",
    "windows": "Int64",
    "inference_seconds": "float64",
    "training_seconds": "float64",
    "parameters": "Int64",
    "trained_on": "boolean",
    "failure": "string",
    "note": "string",
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one model scored on one task, or why it did not.

    Attributes
    ----------
    suite, dataset, domain, freq
        Where the task comes from; empty where it stands alone.
    task_digest
        Of the frozen question, its panel included: results are compared only where it is the same.
    errors
        By metric. Losses are averaged over variates, each aggregated over all its windows (fev's
        convention); ``calibration`` is the mean difference between levels and the shares of bars at
        most their quantiles; ``eval_metrics/…`` are GIFT-Eval's. Both are pooled over all bars.
    inference_seconds, training_seconds
        Of the whole task.
    parameters
        Of the model; None where it has none or they are not known.
    trained_on
        Whether the model has seen the task's test data; None: its provenance is not known.
    failure
        Why there are no errors; empty where there are.
    note
        What else a reader should know.
    """

    model: str
    task: str
    suite: str = ""
    dataset: str = ""
    domain: str = ""
    freq: str = ""
    task_digest: str
    horizon: int
    seasonality: int
    variates: int
    windows: int = 0
    errors: dict[str, float] = field(default_factory=dict)
    inference_seconds: float = float("nan")
    training_seconds: float = 0.0
    parameters: int | None = None
    trained_on: bool | None = None
    failure: str = ""
    note: str = ""


def result_of(backtest: Backtest, **described: Any) -> Result:
    """The result of a backtest; a failure where the model left observed bars without a forecast.

    Parameters
    ----------
    **described
        Other fields of :class:`Result`: ``suite``, ``dataset``, ``domain``, ``freq``,
        ``parameters``, ``trained_on`` …
    """
    totals = Totals(backtest.task)
    totals.add(block_table(backtest))
    return result_of_totals(totals, backtest.model, **described)


def result_of_totals(totals: Totals, model: str, **described: Any) -> Result:
    """The result of a backtest of which only the sums are left, as :func:`result_of`."""
    task, counts = totals.task, totals.counts
    observed = counts["observed"]
    if not observed:
        return failed(model, task, "no observed bar to score", **described)
    if totals.missing:
        what = (
            f"no finite forecast for {totals.missing} of {observed} bars "
            f"({totals.missing / observed:.1%}): {counts['nan']} NaN, {counts['infinite']} infinite"
        )
        return failed(model, task, what, **described)
    crossed = counts["crossed"] / observed
    return Result(
        **_asked(model, task),
        windows=totals.windows,
        errors=totals.errors(),
        inference_seconds=totals.seconds,
        note=f"quantiles cross in {crossed:.1%} of bars and were sorted" if crossed else "",
        **described,
    )


def failed(model: str, task: Task, reason: object, **described: Any) -> Result:
    """A failed cell of the leaderboard: named with its reason, imputed by the baseline."""
    text = " ".join(str(reason).split()) or type(reason).__name__
    return Result(**_asked(model, task), failure=text, **described)


def results_frame(results: Iterable[Result]) -> pd.DataFrame:
    """A row per result, a column ``error/<metric>`` per metric.

    Raises
    ------
    ConfigError
        When there are none.
    """
    rows = []
    for result in results:
        row = asdict(result)
        errors = row.pop("errors")
        rows.append(row | {f"{ERROR}{name}": value for name, value in errors.items()})
    if not rows:
        raise ConfigError("there are no results", remedy="evaluate at least one model on one task")
    frame = pd.DataFrame(rows)
    for name in (name for name in frame.columns if name.startswith(ERROR)):
        frame[name] = frame[name].astype("float64")
    return frame.astype(cast("Any", COLUMNS))


def save_results(results: pd.DataFrame, path: str | Path) -> Path:
    """Write results as Parquet, all of them or nothing."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    results.to_parquet(temporary, index=False)
    temporary.replace(path)
    return path


def load_results(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Results of one or several files, checked and joined.

    Raises
    ------
    DataError
        When a file cannot be read or is no file of results, a model answered a task twice, or a
        task was asked of another panel or in another way in one file than in the other.
    """
    frames = [_read(Path(path)) for path in paths]
    if not frames:
        raise ConfigError("no file of results is given")
    joined = pd.concat(frames, ignore_index=True).astype(cast("Any", COLUMNS))
    expect_comparable(joined)
    return joined


def expect_comparable(results: pd.DataFrame) -> None:
    """Check that every task is one question, asked once of every model.

    Raises
    ------
    DataError
        Naming the task.
    """
    missing = sorted({*COLUMNS} - {*results.columns})
    if missing:
        raise DataError(f"columns {missing} are missing", remedy="give what results_frame made")
    digests = results.groupby("task")["task_digest"].nunique()
    for task in digests.index[digests > 1]:
        found = ", ".join(sorted(results.loc[results["task"] == task, "task_digest"].unique()))
        raise DataError(
            f"results of different questions cannot be compared: digests {found}",
            where=f"task {task}",
            remedy="the panel or the task changed; evaluate all models again on one of them",
        )
    twice = results.duplicated(["task", "model"])
    if twice.any():
        first = results[twice].iloc[0]
        raise DataError(
            f"{first['model']} has several results",
            where=f"task {first['task']}",
            remedy="keep one, or give the models different names",
        )


def metrics_in(results: pd.DataFrame) -> list[str]:
    """Names of the metrics that a frame of results holds."""
    return [name.removeprefix(ERROR) for name in results.columns if name.startswith(ERROR)]


def _asked(model: str, task: Task) -> dict[str, Any]:
    return {
        "model": model,
        "task": task.name,
        "task_digest": task_digest(task),
        "horizon": task.horizon,
        "seasonality": task.seasonality,
        "variates": len(task.targets),
    }


def _read(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(f"results cannot be read: {error}", where=str(path)) from error
    missing = sorted({*COLUMNS} - {*frame.columns})
    if missing or not metrics_in(frame):
        raise DataError(
            f"the file holds no results (missing: {', '.join(missing) or 'every metric'})",
            where=str(path),
            remedy="give a file that save_results wrote",
        )
    return frame
