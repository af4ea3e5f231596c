"""Hypoglycaemia foreseen: events within the horizon, and how well a forecast's probability ranks.

An event is a stretch below the limit for ``event_minutes``. Marginal quantiles say nothing of how
bars hang together, so the probability of an event is that of a path which keeps its quantile level
over the horizon: the largest, over stretches, of the smallest probability within the stretch.

::

    events = [hypoglycaemia(b, panel, config, limit=limit) for b in backtests for limit in (70, 54)]
    table = event_table(events, config)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from tsfm.data.glucose.units import to_mg_dl
from tsfm.data.panel import Panel
from tsfm.errors import ConfigError
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.bootstrap import interval
from tsfm.evaluation.clinical import bar_minutes, glucose_of
from tsfm.evaluation.clinical_config import ClinicalConfig
from tsfm.evaluation.probabilities import probability_below

_CHUNK = 100


@dataclass(frozen=True, kw_only=True)
class Events:
    """What happened in each window, and what a forecaster had said.

    Attributes
    ----------
    limit
        mg/dL.
    patients
        Of each window.
    happened
        Whether there was an event.
    onset
        Minutes from the origin to its first bar; NaN without one.
    probability
        The forecast's, of an event.
    rank
        By which windows are ranked: the probability; of a point forecaster, whose probability is 0
        or 1, minus the level below which it stays for an event.
    """

    model: str
    task: str
    limit: float
    patients: np.ndarray
    happened: Bool[np.ndarray, " window"]
    onset: Float[np.ndarray, " window"]
    probability: Float[np.ndarray, " window"]
    rank: Float[np.ndarray, " window"]


def hypoglycaemia(
    backtest: Backtest,
    panel: Panel,
    config: ClinicalConfig | None = None,
    *,
    limit: float | None = None,
) -> Events:
    """Events of a backtest's windows.

    Left out are windows with no event of which too little was observed, those that were not
    forecast, and those already below the limit at their origin (see ``exclude_ongoing``).

    Parameters
    ----------
    panel
        That of the task.
    limit
        mg/dL, by default the config's ``low``.

    Raises
    ------
    ConfigError
        When an event is longer than the horizon, or as
        :func:`tsfm.evaluation.clinical.glucose_of`.
    """
    config = config or ClinicalConfig()
    limit = config.low if limit is None else float(limit)
    glucose = glucose_of(backtest, config)
    step = bar_minutes(glucose, config)
    run = max(int(np.ceil(config.event_minutes / step)), 1)
    if run > glucose.task.horizon:
        raise ConfigError(
            f"an event of {config.event_minutes} minutes is longer than the horizon of "
            f"{glucose.task.horizon} bars",
            where=f"task {glucose.task.name}",
            remedy="shorten event_minutes, or give a longer horizon",
        )
    actual = glucose.actual[:, :, 0]
    with np.errstate(invalid="ignore"):
        started = np.asarray(_runs(actual < limit, run).all(axis=-1))
    happened = np.asarray(started.any(axis=1))
    below = probability_below(glucose.quantiles[:, :, 0], glucose.task.quantile_levels, limit)
    probability = _runs(below, run).min(axis=-1).max(axis=-1)
    level = _runs(glucose.median[:, :, 0], run).max(axis=-1).min(axis=-1)
    rank = -level if glucose.is_degenerate else probability
    enough = np.isfinite(actual).mean(axis=1) >= config.least_observed
    kept = (happened | enough) & np.isfinite(rank)
    if config.exclude_ongoing:
        kept &= ~_ongoing(glucose, panel, config, limit, run)
    return Events(
        model=glucose.model,
        task=glucose.task.name,
        limit=limit,
        patients=np.asarray(glucose.item_ids, dtype=object)[kept],
        happened=happened[kept],
        onset=np.where(happened, (started.argmax(axis=1) + 1) * step, np.nan)[kept],
        probability=probability[kept],
        rank=rank[kept],
    )


def event_table(events: Sequence[Events], config: ClinicalConfig | None = None) -> pd.DataFrame:
    """How well each forecaster foresees events, over all windows pooled.

    Returns
    -------
    pd.DataFrame
        One row per ``task, model, below`` with ``auroc`` and ``auprc`` (average precision), their
        intervals over patients, ``share`` of windows with an event (what a blind forecaster's
        AUPRC would be), ``brier`` of the probability, ``sensitivity`` at the config's false alarm
        rate and, in minutes, the median ``lead`` of the alarms that were right; numbers of
        ``windows, events, patients``. NaN where there is no event or nothing else.
    """
    config = config or ClinicalConfig()
    return pd.DataFrame([_row(one, config) for one in events])


def ranking_areas(
    rank: Float[np.ndarray, " window"],
    happened: Bool[np.ndarray, " window"],
    weights: Float[np.ndarray, "replicate window"],
) -> tuple[Float[np.ndarray, " replicate"], Float[np.ndarray, " replicate"]]:
    """AUROC and average precision of many weightings of the windows at once.

    Ties count half in AUROC, as in scikit-learn; NaN where a weighting has events only, or none.
    """
    order = np.argsort(-rank, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(rank[order]) != 0, True))
    right = np.cumsum(weights[:, order] * happened[order], axis=1)[:, ends]
    wrong = np.cumsum(weights[:, order] * ~happened[order], axis=1)[:, ends]
    gained = np.diff(right, axis=1, prepend=0.0)
    lost = np.diff(wrong, axis=1, prepend=0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(gained > 0, right / (right + wrong), 0.0)
        area = (lost * (right - gained / 2)).sum(axis=1) / (right[:, -1] * wrong[:, -1])
        average = (gained * precision).sum(axis=1) / right[:, -1]
    return area, np.where(wrong[:, -1] > 0, average, np.nan)


def _row(events: Events, config: ClinicalConfig) -> dict[str, object]:
    happened = events.happened
    row: dict[str, object] = {
        "task": events.task,
        "model": events.model,
        "below": events.limit,
        "windows": len(happened),
        "events": int(happened.sum()),
        "patients": len(set(events.patients)),
        "share": float(happened.mean()) if len(happened) else float("nan"),
        "brier": float(((events.probability - happened) ** 2).mean()) if len(happened) else np.nan,
    }
    measured = ("auroc", "auroc_low", "auroc_high", "auprc", "auprc_low", "auprc_high")
    if not happened.any() or happened.all():
        return row | dict.fromkeys((*measured, "sensitivity", "lead"), float("nan"))
    return row | dict(zip(measured, _areas(events, config))) | _alarms(events, config)


def _areas(events: Events, config: ClinicalConfig) -> list[float]:
    """Each area with its interval."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    names, codes = np.unique(events.patients.astype(str), return_inverse=True)
    rng = np.random.default_rng(config.seed)
    chance = np.full(len(names), 1 / len(names))
    drawn = rng.multinomial(len(names), chance, size=config.replicates).astype(np.float64)
    parts = [
        ranking_areas(events.rank, events.happened, drawn[first : first + _CHUNK][:, codes])
        for first in range(0, len(drawn), _CHUNK)
    ]
    held = np.bincount(codes, events.happened)
    effective = float(held.sum() ** 2 / (held**2).sum())
    found: list[float] = []
    for score, replicates in zip((roc_auc_score, average_precision_score), zip(*parts)):
        low, high = interval(np.concatenate(replicates), effective, config.confidence)
        found += [float(score(events.happened, events.rank)), low, high]
    return found


def _alarms(events: Events, config: ClinicalConfig) -> dict[str, object]:
    """Of the most sensitive alarm that does not exceed the false alarm rate."""
    from sklearn.metrics import roc_curve

    false, true, cuts = roc_curve(events.happened, events.rank, drop_intermediate=False)
    best = int(np.flatnonzero(false <= config.false_alarm_rate)[-1])
    foreseen = events.happened & (events.rank >= cuts[best])
    lead = float(np.median(events.onset[foreseen])) if foreseen.any() else float("nan")
    return {"sensitivity": float(true[best]), "lead": lead}


def _ongoing(
    glucose: Backtest, panel: Panel, config: ClinicalConfig, limit: float, run: int
) -> Bool[np.ndarray, " window"]:
    """Whether any of the last readings before the origin is below the limit."""
    column = glucose.task.targets.index(config.variate)
    recent = (past.target[column, -run:] for past, _ in glucose.task.crops(panel, run))
    return np.array([bool((to_mg_dl(one, config.units) < limit).any()) for one in recent])


def _runs(values: np.ndarray, length: int) -> np.ndarray:
    """Every stretch of so many bars, ``[window, start, length]``."""
    return np.lib.stride_tricks.sliding_window_view(values, length, axis=1)
