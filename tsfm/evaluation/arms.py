"""Arms of one experiment on the same windows: who is ahead, by how much, and how sure that is.

Scores are those of :mod:`tsfm.evaluation.chaos`: a task is a group of trajectories and a number of
steps, ``held_out_systems@128``. Differences are paired by window and by seed, pooled over seeds,
and resampled by system; how much they vary from seed to seed is told beside their intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from tsfm.data.panel import Panel
from tsfm.evaluation.backtest import Backtest, backtest
from tsfm.evaluation.chaos import METRICS, VALID_TIME, score_chaos
from tsfm.evaluation.chaos_config import ChaosConfig
from tsfm.evaluation.invariants import SCORES, score_invariants
from tsfm.evaluation.leaderboard import compare, leaderboard
from tsfm.evaluation.metrics import concat_scores
from tsfm.evaluation.tasks import Task
from tsfm.models.base import Forecaster

Tasks = Sequence[tuple[Task, Panel]]
SEED_STRIDE = 1_000_000
"""Windows of the k-th seed are numbered from k times this."""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """How the arms of an experiment did, beside each other and beside the baselines.

    Attributes
    ----------
    arms
        Names of the arms in tables, the one that the others are held against last.
    scores
        Of every forecaster; :data:`tsfm.evaluation.chaos.COLUMNS`.
    leaderboard
        Of every forecaster, group, number of steps and metric, with intervals.
    differences
        The last arm against each other: columns of :func:`tsfm.evaluation.leaderboard.compare`,
        ``group`` and ``steps`` (0: of the whole forecast), and the least and largest skill of a
        single seed, ``seed_low, seed_high``; empty for one arm.
    comparison
        Every arm against every baseline in the headline metric, likewise.
    backtests
        By task: the arms' with the first seed, then the baselines'.
    seeds
        Trainings of every arm.
    """

    arms: tuple[str, ...]
    scores: pd.DataFrame
    leaderboard: pd.DataFrame
    differences: pd.DataFrame
    comparison: pd.DataFrame
    backtests: dict[str, list[Backtest]]
    seeds: int


def hold_contest(
    arms: Mapping[str, Sequence[Forecaster]],
    baselines: Mapping[str, Forecaster],
    tasks: Tasks,
    *,
    config: ChaosConfig,
    zero_shot: Mapping[str, Forecaster] | None = None,
    zero_shot_windows: int = 16,
    horizon: int = 128,
    metric: str = "smape",
    told: Callable[[str], None] | None = None,
) -> Contest:
    """Ask every forecaster every window.

    Parameters
    ----------
    arms
        By name, the trained models of every seed in the same order.
    zero_shot
        Costly forecasters: asked ``zero_shot_windows`` windows of a task, up to ``horizon``.
    metric
        Of the comparison with the baselines.
    told
        Called with the name of every forecaster before it is asked.
    """
    frames: list[pd.DataFrame] = []
    backtests: dict[str, list[Backtest]] = {task.name: [] for task, _ in tasks}

    def ask(forecaster: Forecaster, name: str, few: bool = False, seed: int = 0) -> None:
        if told is not None:
            told(name)
        for task, panel in tasks:
            asked = _few(task, panel, zero_shot_windows, horizon) if few else task
            result = backtest(forecaster, asked, panel, name=name)
            scores = score_everything(result, panel, config)
            frames.append(_numbered(scores, task, panel, seed))
            if not seed and not few:
                backtests[task.name].append(result)

    for name, models in arms.items():
        for seed, model in enumerate(models):
            ask(model, name, seed=seed)
    for name, baseline in baselines.items():
        ask(baseline, name)
    for name, forecaster in (zero_shot or {}).items():
        ask(forecaster, name, few=True)

    seeds = max(len(models) for models in arms.values())
    scores = concat_scores(frames)
    first, *others = reversed(list(arms))
    paired = repeated(scores, list(arms), seeds)
    return Contest(
        arms=tuple(arms),
        scores=scores,
        leaderboard=_labelled(leaderboard(scores)),
        differences=_differences(paired, first, others),
        comparison=_labelled(
            pd.concat([compare(paired, name, metric) for name in arms], ignore_index=True)
        ),
        backtests=backtests,
        seeds=seeds,
    )


def score_everything(result: Backtest, panel: Panel, config: ChaosConfig) -> pd.DataFrame:
    """Errors, valid time and, of forecasts that are long enough, the attractor's invariants."""
    frames = [score_chaos(result, panel, config)]
    if result.task.horizon >= config.invariant_steps:
        frames.append(score_invariants(result, panel, config))
    return pd.concat(frames, ignore_index=True)


def conclusion(contest: Contest, *, metric: str = "smape", steps: int = 128) -> str:
    """In words what the intervals say, "no difference at this scale" included."""
    told = []
    if len(contest.arms) > 1:
        told.append(_difference_told(contest, metric, steps))
    told += [_leader_told(contest, group, metric, steps) for group in contest.backtests]
    if contest.seeds == 1:
        told.append(
            "Each arm was trained once: intervals are over systems, and leave out how much another "
            "seed would change."
        )
    return " ".join(sentence for sentence in told if sentence)


def _difference_told(contest: Contest, metric: str, steps: int) -> str:
    other, first = contest.arms[-2:]
    rows = contest.differences
    chosen = rows[(rows["metric"] == metric) & (rows["steps"] == steps)]
    parts = [_row_told(row, contest.seeds) for row in chosen.to_dict("records")]
    if not parts:
        return "The arms have no windows in common."
    listed = "; ".join(parts)
    return f"{LABELS[metric]} over {steps} steps, {first} against {other}: channel mixing {listed}."


def _row_told(row: Mapping[Any, Any], seeds: int) -> str:
    where = GROUP_WORDS.get(row["group"], row["group"])
    bounds = f"gain {_percent(row['low'])} … {_percent(row['high'])} at 95 %"
    if seeds > 1:
        bounds += f", seeds {_percent(row['seed_low'])} … {_percent(row['seed_high'])}"
    size = f"{100 * abs(row['skill']):.1f} %"
    return {
        "win": f"lowers the error by {size} {where} ({bounds})",
        "loss": f"raises the error by {size} {where} ({bounds})",
        "tie": f"makes no difference at this scale {where} ({bounds})",
        "undecided": f"cannot be judged {where} (too few systems)",
    }[row["verdict"]]


def _percent(share: float) -> str:
    return f"{100 * share:+.1f} %"


def _leader_told(contest: Contest, group: str, metric: str, steps: int) -> str:
    table = contest.leaderboard
    rows = table[
        (table["group"] == group) & (table["metric"] == metric) & (table["steps"] == steps)
    ]
    whole = rows[rows["windows"] == rows["windows"].max()]
    where = GROUP_WORDS.get(group, group)
    if whole.empty:
        return ""
    best = whole.iloc[0]
    ours = rows[rows["model"].isin(contest.arms)].iloc[0]
    if best["model"] == ours["model"]:
        return f"Best {where}: {best['model']} ({best['value']:.4g})."
    return (
        f"Best {where}: {best['model']} ({best['value']:.4g}; "
        f"the better arm {ours['model']}: {ours['value']:.4g})."
    )


GROUP_WORDS = {
    "in_distribution": "on new trajectories of trained systems",
    "held_out_systems": "on held-out systems",
    "held_out_skew": "on held-out skew products",
}
LABELS = {"smape": "sMAPE", "mae": "MAE", "rmse": "RMSE", VALID_TIME: "Valid prediction time"}


def _differences(scores: pd.DataFrame, first: str, others: Sequence[str]) -> pd.DataFrame:
    if not others:
        return pd.DataFrame()
    arms = scores[scores["model"].isin([first, *others])]
    held = set(arms["metric"].unique())
    frames = []
    for metric in (name for name in (*METRICS, VALID_TIME, *SCORES) if name in held):
        by_seed = pd.DataFrame(
            [
                compare(cell, first, metric, replicates=2)["skill"]
                for _, cell in arms.groupby("block")
            ]
        )
        pooled = compare(arms, first, metric)
        frames.append(pooled.assign(seed_low=by_seed.min(), seed_high=by_seed.max()))
    return _labelled(pd.concat(frames, ignore_index=True))


def _labelled(table: pd.DataFrame) -> pd.DataFrame:
    """With the group and the steps that its tasks name, groups in their order."""
    parts = table["task"].astype(str).str.partition("@")
    steps = pd.to_numeric(parts[2]).fillna(0).astype(int)
    table = table.assign(group=parts[0], steps=steps)
    order = {name: place for place, name in enumerate(dict.fromkeys(table["group"]))}
    rank = table["group"].map(lambda name: PLACES.get(name, len(PLACES) + order[name]))
    return (
        table.assign(_rank=rank)
        .sort_values(["_rank", "steps"], kind="stable")
        .drop(columns="_rank")
        .reset_index(drop=True)
    )


PLACES = {name: place for place, name in enumerate(GROUP_WORDS)}


def _few(task: Task, panel: Panel, most: int, horizon: int) -> Task:
    """The first window of some items, from all over the panel, no longer than ``horizon``."""
    able = list(dict.fromkeys(panel.item_ids[item] for item, _ in task.windows(panel)))
    chosen = able[:: -(-len(able) // most)]
    return replace(task, items=tuple(chosen), max_windows=1, horizon=min(task.horizon, horizon))


def _numbered(scores: pd.DataFrame, task: Task, panel: Panel, seed: int) -> pd.DataFrame:
    """Windows by their number in the whole task, whatever part of it was asked, and by seed."""
    windows = [(panel.item_ids[item], origin) for item, origin in task.windows(panel)]
    number = {window: place for place, window in enumerate(windows)}
    keys = zip(scores["instance"], scores["first_step"], strict=True)
    origins = [number[key] + seed * SEED_STRIDE for key in keys]
    return scores.assign(origin=origins, block=seed)


def repeated(scores: pd.DataFrame, arms: Sequence[str], seeds: int) -> pd.DataFrame:
    """Those that were not trained answer alike at every seed, to be paired with the arms."""
    if seeds == 1:
        return scores
    fixed = scores[~scores["model"].isin(arms)]
    copies = [
        fixed.assign(origin=fixed["origin"] + seed * SEED_STRIDE, block=seed)
        for seed in range(1, seeds)
    ]
    return pd.concat([scores, *copies], ignore_index=True)
