"""Forecasts of glucose judged in mg/dL, at times after the origin, per patient and pooled.

An experiment calls, with backtests of the model, the zero-shot base and the baselines by task::

    scores = concat_clinical([score_clinical(b, config) for b in backtests])
    table = clinical_table(scores, config)              # pooled, mean and median of patients
    gains = clinical_gains(scores, "ttm", config)       # skill over each other forecaster

or all at once, with figures, :func:`tsfm.tracking.glucose_report.record_glucose`.

Scores have the columns of :func:`tsfm.evaluation.metrics.score`, so that ``leaderboard`` and
``compare`` take them as they are; ``item_id`` is the patient, whom the bootstrap resamples as a
whole. ``task`` names the time, as ``name@30min``: errors *at* that time, as published tables have
them; under the task's own name they are those of all bars of the horizon. ``question`` is the
task's own name and ``minutes`` the time, 0 for the horizon. Only observed glucose is scored.

References
----------
Marling & Bunescu, The OhioT1DM dataset (2020), for errors at 30 and 60 minutes. Battelino et al.,
Clinical targets for CGM data interpretation, Diabetes Care 42 (2019), for the ranges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from tsfm.data.glucose.units import to_mg_dl
from tsfm.errors import ConfigError, one_of
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.bootstrap import bootstrap_ratios, interval
from tsfm.evaluation.clinical_config import ClinicalConfig
from tsfm.evaluation.leaderboard import compare
from tsfm.evaluation.metrics import SCORE_COLUMNS, bar_sums, concat_scores, finish
from tsfm.evaluation.probabilities import probability_below

METRICS = ("rmse", "mae", "crps", "coverage_80")
RANGE_METRICS = ("time_in_range_error", "time_below_range_error")
"""Mean absolute error of a window's share of time in (below) range, in percentage points."""

POOLED, MEAN, MEDIAN = "pooled", "mean of patients", "median of patients"
AGGREGATIONS = (POOLED, MEAN, MEDIAN)
"""Over all bars alike; over patients' own values."""

COLUMNS = (*SCORE_COLUMNS, "question", "minutes")
_MINUTE = np.timedelta64(1, "m")


def glucose_of(backtest: Backtest, config: ClinicalConfig | None = None) -> Backtest:
    """The same backtest of glucose alone, in mg/dL.

    Raises
    ------
    ConfigError
        When glucose is not among the task's targets.
    """
    config = config or ClinicalConfig()
    one_of("variate", config.variate, backtest.task.targets)
    column = [backtest.task.targets.index(config.variate)]
    return replace(
        backtest,
        task=replace(backtest.task, targets=(config.variate,)),
        actual=to_mg_dl(backtest.actual[:, :, column], config.units),
        quantiles=to_mg_dl(backtest.quantiles[:, :, column], config.units),
        mean=to_mg_dl(backtest.mean[:, :, column], config.units),
        scale=to_mg_dl(backtest.scale[:, column], config.units),
        crps_exact=None,
    )


def bar_minutes(backtest: Backtest, config: ClinicalConfig) -> float:
    """Minutes between bars.

    Raises
    ------
    ConfigError
        When neither dates nor the config tell.
    """
    if config.resolution_minutes:
        return float(config.resolution_minutes)
    if backtest.task.horizon > 1 and not np.isnat(backtest.timestamps[:, :2]).any():
        steps = np.diff(backtest.timestamps[:, :2], axis=1) / _MINUTE
        return float(np.median(steps))
    raise ConfigError(
        "times between bars are not known",
        where=f"task {backtest.task.name}",
        remedy="date the panel, or give resolution_minutes",
    )


def reported_steps(backtest: Backtest, config: ClinicalConfig) -> dict[int, list[int]]:
    """Bars of the horizon by minutes reported: one bar each, and all of them under 0.

    Times that are not on the grid or beyond the horizon are left out.
    """
    minutes = np.arange(1, backtest.task.horizon + 1) * bar_minutes(backtest, config)
    steps = {asked: np.flatnonzero(minutes == asked).tolist() for asked in config.minutes}
    return {asked: found for asked, found in steps.items() if found} | {
        0: list(range(backtest.task.horizon))
    }


def score_clinical(backtest: Backtest, config: ClinicalConfig | None = None) -> pd.DataFrame:
    """Score a backtest of glucose.

    Returns
    -------
    pd.DataFrame
        Columns :data:`COLUMNS`; one row per window, time and metric of :data:`METRICS`, and of
        :data:`RANGE_METRICS` over the horizon. Windows without an observed value there are left
        out, and a point forecaster's coverage.

    Raises
    ------
    ConfigError
        When glucose is not a target of the task, or the time between bars is not known.
    """
    config = config or ClinicalConfig()
    glucose = glucose_of(backtest, config)
    frames = []
    for metric in METRICS:
        if metric == "coverage_80" and backtest.is_degenerate:
            continue
        terms = bar_sums(glucose, metric).numerator[:, :, 0]
        for minutes, steps in reported_steps(glucose, config).items():
            frames.append(_rows(glucose, metric, minutes, terms[:, steps]))
    for metric, shares in _range_errors(glucose, config).items():
        frames.append(_rows(glucose, metric, 0, shares[:, None]))
    return pd.concat(frames, ignore_index=True)


def concat_clinical(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table of the scores of several forecasters and tasks.

    Raises
    ------
    ConfigError
        When there is nothing to join.
    """
    return concat_scores(list(frames))


def clinical_table(scores: pd.DataFrame, config: ClinicalConfig | None = None) -> pd.DataFrame:
    """Every forecaster's errors, aggregated in each way of :data:`AGGREGATIONS`.

    Returns
    -------
    pd.DataFrame
        One row per ``task, minutes`` (0: the whole horizon), ``metric, model, aggregation`` with
        ``value``, its interval ``low, high`` over patients (NaN for fewer than three), and the
        numbers of ``windows`` and ``patients``.
    """
    config = config or ClinicalConfig()
    rows = []
    keys = ["question", "minutes", "metric", "model"]
    for values, cell in scores.groupby(keys, observed=True, sort=False):
        task, minutes, metric, model = values
        labels = {"task": task, "minutes": minutes, "metric": metric, "model": model}
        found = patient_aggregates(
            cell["numerator"].to_numpy(),
            cell["denominator"].to_numpy(),
            cell["item_id"].astype(str).to_numpy(),
            config,
            metric=str(metric),
        )
        rows += [labels | row | {"windows": len(cell)} for row in found]
    table = pd.DataFrame(rows)
    order = {metric: place for place, metric in enumerate((*METRICS, *RANGE_METRICS))}
    ranked = table.assign(
        _metric=table["metric"].map(order), _time=table["minutes"].replace(0, np.inf)
    )
    first = ranked.groupby("task", sort=False).ngroup()
    ranked = ranked.assign(_task=first).sort_values(["_task", "_metric", "_time"], kind="stable")
    return ranked.drop(columns=["_task", "_metric", "_time"]).reset_index(drop=True)


def patient_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Every patient's own errors: ``task, minutes, metric, model, patient, value, windows``."""
    keys = ["question", "minutes", "metric", "model", "item_id"]
    groups = scores.groupby(keys, observed=True, sort=False)
    sums = groups[["numerator", "denominator"]].sum()
    ratio = sums["numerator"] / sums["denominator"]
    squared = ratio.index.get_level_values("metric") == "rmse"
    value = ratio.where(~squared, np.sqrt(ratio))
    table = pd.DataFrame({"value": value, "windows": groups.size()}).reset_index()
    return table.rename(columns={"question": "task", "item_id": "patient"})


def clinical_gains(
    scores: pd.DataFrame,
    model: str,
    config: ClinicalConfig | None = None,
    *,
    metrics: Sequence[str] = ("rmse", "mae", "crps"),
) -> pd.DataFrame:
    """Skill over every other forecaster at each time, paired on the same bars.

    Returns
    -------
    pd.DataFrame
        As :func:`tsfm.evaluation.leaderboard.compare`, pooled with intervals over patients, with
        ``minutes`` (0: the whole horizon), ``patients`` and ``patients_better``: in how many the
        model's own value is the lower one.

    Raises
    ------
    ConfigError
        When the model has no scores.
    """
    config = config or ClinicalConfig()
    tables = [
        compare(
            scores,
            model,
            metric,
            confidence=config.confidence,
            replicates=config.replicates,
            seed=config.seed,
        )
        for metric in metrics
    ]
    gains = pd.concat(tables, ignore_index=True).drop(columns="variate")
    names = scores[["task", "question", "minutes"]].drop_duplicates().astype({"task": str})
    gains = gains.merge(names, on="task", how="left").drop(columns="task")
    gains = gains.rename(columns={"question": "task"})
    better = _patients_better(patient_table(scores), model)
    keys = ["task", "minutes", "metric", "baseline"]
    for name in ("task", "metric", "baseline"):
        gains[name], better[name] = gains[name].astype(str), better[name].astype(str)
    gains = gains.merge(better, on=keys, how="left")
    front = ["task", "minutes", "metric", "model", "baseline"]
    return gains[[*front, *(name for name in gains if name not in front)]]


def error_by_minute(
    backtest: Backtest, config: ClinicalConfig | None = None, *, metric: str = "rmse"
) -> pd.DataFrame:
    """A metric at every bar of the horizon, pooled, with its interval over patients.

    Returns
    -------
    pd.DataFrame
        Columns ``model, minutes, value, low, high``.

    Raises
    ------
    ConfigError
        When the metric is unknown.
    """
    one_of("metric", metric, METRICS)
    config = config or ClinicalConfig()
    glucose = glucose_of(backtest, config)
    sums = bar_sums(glucose, metric)
    tops = np.nan_to_num(sums.numerator[:, :, 0]).T
    bottoms = sums.denominator[:, :, 0].astype(np.float64).T
    drawn = bootstrap_ratios(
        tops,
        bottoms,
        items=np.asarray(backtest.item_ids),
        blocks=np.zeros(len(backtest.item_ids), np.int64),
        rng=np.random.default_rng(config.seed),
        cluster="item",
        replicates=config.replicates,
    )
    bounds = [
        interval(finish(metric, row), drawn.clusters, config.confidence) for row in drawn.ratios
    ]
    low, high = np.array(bounds).T
    with np.errstate(invalid="ignore", divide="ignore"):
        value = finish(metric, tops.sum(axis=1) / bottoms.sum(axis=1))
    minutes = np.arange(1, len(value) + 1) * bar_minutes(glucose, config)
    return pd.DataFrame(
        {"model": backtest.model, "minutes": minutes, "value": value, "low": low, "high": high}
    )


def patient_aggregates(
    numerators: Float[np.ndarray, " window"] | Int[np.ndarray, " window"],
    denominators: Float[np.ndarray, " window"] | Int[np.ndarray, " window"],
    patients: Sequence[str] | np.ndarray,
    config: ClinicalConfig,
    *,
    metric: str = "",
) -> list[dict[str, Any]]:
    """A ratio of sums in each way of :data:`AGGREGATIONS`, with intervals over patients.

    Returns
    -------
    list
        ``aggregation, value, low, high, patients`` each; empty where nothing was scored.
    """
    names, codes = np.unique(np.asarray(patients), return_inverse=True)
    top = np.bincount(codes, numerators, minlength=len(names))
    bottom = np.bincount(codes, denominators, minlength=len(names))
    top, bottom = top[bottom > 0], bottom[bottom > 0]
    count = len(bottom)
    if not count:
        return []
    own = np.asarray(finish(metric, top / bottom))
    draws = np.random.default_rng(config.seed).integers(0, count, (config.replicates, count))
    drawn, values = own[draws], float(finish(metric, top.sum() / bottom.sum()))
    pooled = finish(metric, top[draws].sum(axis=1) / bottom[draws].sum(axis=1))
    effective = float(bottom.sum() ** 2 / (bottom**2).sum())
    found: Mapping[str, tuple[float, np.ndarray, float]] = {
        POOLED: (values, pooled, effective),
        MEAN: (float(own.mean()), drawn.mean(axis=1), count),
        MEDIAN: (float(np.median(own)), np.median(drawn, axis=1), count),
    }
    rows = []
    for name, (value, replicates, clusters) in found.items():
        low, high = interval(replicates, clusters, config.confidence)
        rows.append(
            {"aggregation": name, "value": value, "low": low, "high": high, "patients": count}
        )
    return rows


def _rows(
    glucose: Backtest, metric: str, minutes: int, terms: Float[np.ndarray, "window step"]
) -> pd.DataFrame:
    """Rows of one metric at one time; windows whose terms are all NaN are left out."""
    scored = np.isfinite(terms)
    top = np.where(scored, terms, 0).sum(axis=1, dtype=np.float64)
    bottom = scored.sum(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = finish(metric, top / bottom)
    name = glucose.task.name
    columns = {
        "model": glucose.model,
        "task": f"{name}@{minutes}min" if minutes else name,
        "item_id": list(glucose.item_ids),
        "origin": glucose.origins,
        "timestamp": glucose.timestamps[:, 0],
        "block": np.zeros(len(terms), np.int64),
        "cluster": "item",
        "variate": glucose.task.targets[0],
        "metric": metric,
        "value": value,
        "numerator": top,
        "denominator": bottom,
        "terms": list(terms.astype(np.float32)),
        "sizes": list(scored.astype(np.float64)),
        "question": name,
        "minutes": minutes,
    }
    return pd.DataFrame(columns)[bottom > 0]


def _range_errors(glucose: Backtest, config: ClinicalConfig) -> dict[str, np.ndarray]:
    """Absolute difference of forecast and observed shares of a window's bars, in percent."""
    scored = glucose.scored[:, :, 0]
    counts = scored.sum(axis=1)
    quantiles, actual = glucose.quantiles[:, :, 0], glucose.actual[:, :, 0]
    below = probability_below(quantiles, glucose.task.quantile_levels, config.low)
    above = np.nextafter(config.high, np.inf)
    within = probability_below(quantiles, glucose.task.quantile_levels, above) - below
    observed = {
        "time_in_range_error": ((actual >= config.low) & (actual <= config.high), within),
        "time_below_range_error": (actual < config.low, below),
    }
    errors = {}
    for name, (happened, expected) in observed.items():
        gap = np.where(scored, expected - happened, 0).sum(axis=1)
        errors[name] = np.where(counts > 0, 100 * np.abs(gap) / np.maximum(counts, 1), np.nan)
    return errors


def _patients_better(patients: pd.DataFrame, model: str) -> pd.DataFrame:
    keys = ["task", "minutes", "metric", "patient"]
    own = patients[patients["model"] == model][[*keys, "value"]]
    pairs = patients[patients["model"] != model].merge(own, on=keys, suffixes=("", "_own"))
    pairs["better"] = pairs["value_own"] < pairs["value"]
    groups = pairs.groupby(["task", "minutes", "metric", "model"], observed=True, sort=False)
    counted = groups["better"].agg(["sum", "size"]).reset_index()
    return counted.rename(
        columns={"model": "baseline", "sum": "patients_better", "size": "patients"}
    )
