"""Window blocks: what a backtest scored, a row per window, variate and block of the horizon.

A table of them is all that leaderboards, tests and pooling need: every metric is a sum over bars
(``<metric>.numerator``) and what it is divided by (``<metric>.denominator``), so that any group of
rows aggregates exactly. The horizon is cut into four blocks of equal length, as far as its bars
allow. Beside the sums stand the counts of bars ``observed``, ``scored``, left ``nan`` or
``infinite`` by the forecaster, and with quantiles that ``crossed`` (and were sorted). ``pit`` is
the histogram of the probability integral transform between the quantile levels: scored bars below
the lowest quantile, between each two, and above the highest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Int

from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.bar_terms import BarTerms
from tsfm.evaluation.gift import gift_sums
from tsfm.evaluation.metric_names import METRIC_NAMES
from tsfm.evaluation.metrics import blocks_between, constant, finish
from tsfm.evaluation.tasks import Task

Summed = Callable[[np.ndarray], np.ndarray]
BLOCKS = 4
COUNTS = ("observed", "scored", "nan", "infinite", "crossed")
TOP, BOTTOM = ".numerator", ".denominator"
_NAMES = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    {
        "item_id": _NAMES,
        "origin": pa.int64(),
        "variate": _NAMES,
        "block": pa.int8(),
        "first_step": pa.int32(),
        "last_step": pa.int32(),
        "timestamp": pa.timestamp("ns"),
        "until": pa.timestamp("ns"),
        **dict.fromkeys(COUNTS, pa.int32()),
        "pit": pa.list_(pa.int32()),
        **{f"{metric}{part}": pa.float64() for metric in METRIC_NAMES for part in (TOP, BOTTOM)},
    }
)


def block_edges(horizon: int) -> Int[np.ndarray, " edge"]:
    """First bar of every block, counted from zero, and the horizon."""
    return np.linspace(0, horizon, min(BLOCKS, horizon) + 1).round().astype(np.int64)


def block_table(backtest: Backtest) -> pa.Table:
    """Score a backtest.

    Returns
    -------
    pa.Table
        Columns of :data:`SCHEMA`, rows by window, block and variate. Metrics that the backtest
        cannot tell are null. The schema's metadata hold what is not told by window
        (:func:`told`).
    """
    of, edges = BarTerms(backtest), block_edges(backtest.task.horizon)
    windows, _, width = backtest.actual.shape
    n_blocks = len(edges) - 1
    rows, each = windows * n_blocks * width, n_blocks * width
    stamps = backtest.timestamps

    def summed(bars: np.ndarray) -> np.ndarray:
        return np.add.reduceat(bars, edges[:-1], axis=1).reshape(-1)

    def by_block(values: np.ndarray) -> np.ndarray:
        return np.tile(np.repeat(values, width), windows)

    columns: dict[str, Any] = {
        "item_id": np.repeat(pd.Categorical(backtest.item_ids), each),
        "origin": np.repeat(backtest.origins, each),
        "variate": pd.Categorical.from_codes(
            np.tile(np.arange(width), windows * n_blocks), pd.Index(backtest.task.targets)
        ),
        "block": by_block(np.arange(n_blocks)),
        "first_step": by_block(edges[:-1] + 1),
        "last_step": by_block(edges[1:]),
        "timestamp": np.repeat(stamps[:, edges[:-1]].reshape(-1), width),
        "until": np.repeat(stamps[:, edges[1:] - 1].reshape(-1), width),
    }
    columns |= {name: summed(bars.astype(np.int32)) for name, bars in _counted(of).items()}
    columns["pit"] = _pit(of, summed, rows)
    columns |= _summed_metrics(of, summed, rows)
    arrays = [
        values if isinstance(values, pa.Array) else pa.array(values, from_pandas=True)
        for values in columns.values()
    ]
    table = pa.table([a.cast(f.type) for a, f in zip(arrays, SCHEMA, strict=True)], schema=SCHEMA)
    about = {
        "windows": windows,
        "horizon": backtest.task.horizon,
        "quantile_levels": backtest.task.quantile_levels,
        "is_degenerate": backtest.is_degenerate,
        "seconds": backtest.seconds_per_series * windows * width,
        "gift": gift_sums(of),
    }
    return table.replace_schema_metadata({"tsfm": json.dumps(about)})


def told(table: pa.Table) -> dict[str, Any]:
    """``windows``, ``horizon``, ``quantile_levels``, ``is_degenerate``, ``seconds`` of forecasting
    and GIFT-Eval's sums of a table."""
    return dict(json.loads(table.schema.metadata[b"tsfm"]))


def score_columns(metric: str) -> list[str]:
    """Columns that :func:`window_scores` reads."""
    return ["item_id", "origin", "timestamp", "until", f"{metric}{TOP}", f"{metric}{BOTTOM}"]


def window_scores(
    tables: Iterable[pa.Table], metric: str, *, model: str, task: Task
) -> pd.DataFrame:
    """Scores of every window by one metric, as :func:`tsfm.evaluation.metrics.score` gives them.

    ``terms`` and ``sizes`` are those of blocks rather than of bars; a column ``horizon`` tells how
    many bars they cover.
    """
    width, n_blocks = len(task.targets), len(block_edges(task.horizon)) - 1
    names, shape = score_columns(metric), (-1, n_blocks, width)
    parts = [_arrays(table, names, shape) for table in tables]
    item, origin, stamp, until, top, bottom = (
        np.concatenate(arrays) for arrays in zip(*parts, strict=True)
    )
    base = {
        "model": constant(model, len(item)),
        "task": constant(task.name, len(item)),
        "item_id": pd.Categorical(item[:, 0, 0]),
        "origin": origin[:, 0, 0],
        "timestamp": stamp[:, 0, 0],
        "block": blocks_between(stamp[:, 0, 0], until[:, -1, 0], origin[:, 0, 0], task.horizon),
        "cluster": constant(task.cluster, len(item)),
    }
    frames = []
    for column in range(width):
        terms, sizes = top[:, :, column], bottom[:, :, column]
        above, below = terms.sum(axis=1), sizes.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = finish(metric, above / below)
        told_terms = np.where(sizes > 0, terms, np.nan).astype(np.float32)
        frame = pd.DataFrame(
            base
            | {
                "variate": pd.Categorical.from_codes(
                    np.full(len(item), column), pd.Index(task.targets)
                ),
                "metric": constant(metric, len(item)),
                "value": value,
                "numerator": above,
                "denominator": below,
                "terms": list(told_terms),
                "sizes": list(sizes),
                "horizon": task.horizon,
            }
        )
        frames.append(frame[below > 0])
    return pd.concat(frames, ignore_index=True)


def _arrays(table: pa.Table, names: list[str], shape: tuple[int, ...]) -> list[np.ndarray]:
    columns = (table[name] for name in names)
    return [
        np.asarray(
            column.to_pandas().astype(object) if name == "item_id" else column.to_numpy()
        ).reshape(shape)
        for name, column in zip(names, columns, strict=True)
    ]


def _counted(of: BarTerms) -> dict[str, np.ndarray]:
    backtest = of.backtest
    observed = np.isfinite(of.actual)
    missing = observed & ~of.scored
    none = missing
    if missing.any():
        none = np.isnan(backtest.mean) | np.isnan(backtest.quantiles).any(axis=-1)
    return {
        "observed": observed,
        "scored": of.scored,
        "nan": missing & none,
        "infinite": missing & ~none,
        "crossed": backtest.crossed & observed,
    }


def _summed_metrics(of: BarTerms, summed: Summed, rows: int) -> dict[str, Any]:
    """What metrics have in common is summed once."""
    scored = of.scored
    count = summed(scored.astype(np.float64))
    size = summed(np.where(scored, np.abs(of.actual), 0.0))
    tops: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    columns: dict[str, Any] = {}
    names = of.names()
    for metric in METRIC_NAMES:
        top = bottom = pa.nulls(rows, pa.float64())
        if metric in names:
            values = of.everywhere(metric)
            if id(values) not in tops:
                known = scored & np.isfinite(values)
                every = np.array_equal(known, scored)
                bars = summed(np.where(known, values, 0.0))
                tops[id(values)] = values, bars, count if every else summed(known.astype(float))
            _, top, bottom = tops[id(values)]
            bottom = size if metric == "wql" else bottom
        columns |= {f"{metric}{TOP}": top, f"{metric}{BOTTOM}": bottom}
    return columns


def _pit(of: BarTerms, summed: Summed, rows: int) -> pa.Array:
    below = [
        summed(((of.actual <= quantile) & of.scored).astype(np.int32)) for quantile in of.quantiles
    ]
    edges = np.stack([np.zeros(rows, np.int32), *below, summed(of.scored.astype(np.int32))])
    counts = np.diff(edges, axis=0).T
    offsets = np.arange(0, counts.size + 1, counts.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(counts.reshape(-1), pa.int32()))
