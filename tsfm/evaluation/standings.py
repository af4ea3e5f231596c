"""Standings: all models on all tasks, in the field's convention (fev, GIFT-Eval).

Every error is divided by the baseline's on the same task and clipped to [0.01, 100]; the skill is
one minus the geometric mean over tasks, the win rate the share of (other model, task) pairs that a
model wins, a tie counting half; intervals resample tasks (Shchur et al. 2025, arXiv 2509.26468). A
failure counts as the baseline's error and is named. Equal to ``fev``, draws included, without its
imports, which take longer than the rest. How one model does beside another inside one task is told
by :mod:`tsfm.evaluation.leaderboard` and :mod:`tsfm.evaluation.significance`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from tsfm.errors import ConfigError, one_of
from tsfm.evaluation.results import ERROR, expect_comparable, metrics_in

BASELINE = "seasonal_naive"
NOT_EVALUATED = "not evaluated"
CLIP = (0.01, 100.0)
FEV_VERSION = "0.10.0"
"""Whose format of results is written."""

FEV_COLUMNS = (
    "dataset_path",
    "dataset_config",
    "horizon",
    "initial_cutoff",
    "min_context_length",
    "max_context_length",
    "seasonality",
    "eval_metric",
    "extra_metrics",
    "quantile_levels",
    "id_column",
    "timestamp_column",
    "target",
    "generate_univariate_targets_from",
    "known_dynamic_columns",
    "past_dynamic_columns",
    "static_columns",
    "model_name",
    "test_error",
    "training_time_s",
    "trained_on_this_dataset",
    "inference_time_s",
    "num_forecasts",
    "fev_version",
)


@dataclass(frozen=True, kw_only=True)
class Standings:
    """All models on all tasks, by one metric.

    Attributes
    ----------
    metric, baseline
        What errors are relative to.
    table
        One row per model, best first: ``model``, ``skill`` and ``win_rate`` with ``_low`` and
        ``_high`` (95 %, tasks resampled), ``relative_error`` (geometric mean), ``mean_rank``,
        ``tasks``, ``failures``, ``trained_on`` (share of the tasks of known provenance whose test
        data the model has seen), ``unknown`` (tasks of unknown provenance), ``seconds`` (median
        per task: training and inference) and ``parameters``. Where some model tells it,
        ``crps_exact``: the exact CRPS over the baseline's, geometric mean over tasks, of models
        that tell it on all of them.
    pairs
        ``win_rate`` and ``skill`` of ``model`` over ``other``, with intervals; models in the order
        of the table.
    relative
        Error over the baseline's, a row per task, a column per model; clipped, NaN for failures.
    failures
        ``task, model, reason``; imputed by the baseline.
    left_out
        Tasks that have no finite, positive error of the baseline.
    conclusion
        In words.
    """

    metric: str
    baseline: str
    table: pd.DataFrame
    pairs: pd.DataFrame
    relative: pd.DataFrame
    failures: pd.DataFrame
    left_out: tuple[str, ...]
    conclusion: str

    def matrix(self, column: str = "win_rate") -> pd.DataFrame:
        """A row per model, a column per other model, in the order of the table."""
        order = self.table["model"].tolist()
        wide = self.pairs.set_index(["model", "other"])[column].unstack("other")  # noqa: PD010
        return wide.reindex(index=order, columns=order)


def standings(
    results: pd.DataFrame,
    *,
    metric: str = "sql",
    baseline: str = BASELINE,
    replicates: int = 1000,
    seed: int = 123,
) -> Standings:
    """Rank models by their errors relative to a baseline.

    Parameters
    ----------
    results
        From :func:`tsfm.evaluation.results.results_frame`.
    metric
        A loss in ``results``. Scaled ones (``sql``, ``mase``, ``wql``) suit tasks of several
        variates; fev-bench ranks by ``sql``.
    replicates
        Of the bootstrap over tasks.

    Raises
    ------
    ConfigError
        When the metric or the baseline is not in the results, or no task has the baseline's error.
    DataError
        When a task was asked of another panel of one model than of another.
    """
    expect_comparable(results)
    one_of("metric", metric, metrics_in(results))
    one_of("baseline", baseline, sorted(results["model"].unique()))
    kept, left_out = _with_baseline(results, metric, baseline)
    errors = _errors(kept, metric)
    table, pairs = _tables(errors, baseline, replicates, seed)
    relative = errors.div(errors[baseline], axis=0).clip(*CLIP)
    table = table.join(_described(kept, relative, baseline)).reset_index()
    table = table.sort_values(["win_rate", "skill"], ascending=False, kind="stable")
    table = table.reset_index(drop=True)
    return Standings(
        metric=metric,
        baseline=baseline,
        table=table,
        pairs=pairs,
        relative=relative[table["model"].tolist()],
        failures=_failures(kept, metric),
        left_out=left_out,
        conclusion=_in_words(table, pairs, metric, baseline, len(relative), left_out),
    )


def fev_summaries(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Results as fev's evaluation summaries, so that its own tools read them.

    Returns
    -------
    pd.DataFrame
        All columns of fev's results, those that have no counterpart empty; ``test_error`` is the
        metric.
    """
    empty = pd.Series([None] * len(results), index=results.index, dtype=object)
    columns: dict[str, Any] = dict.fromkeys(FEV_COLUMNS, empty) | {
        "dataset_path": results["suite"],
        "dataset_config": results["task"],
        "horizon": results["horizon"],
        "seasonality": results["seasonality"],
        "eval_metric": metric.upper(),
        "quantile_levels": "[]",
        "model_name": results["model"],
        "test_error": results[f"{ERROR}{metric}"].where(results["failure"] == ""),
        "training_time_s": results["training_seconds"],
        "inference_time_s": results["inference_seconds"],
        "trained_on_this_dataset": results["trained_on"],
        "num_forecasts": (results["windows"] * results["variates"]).where(results["windows"] > 0),
        "fev_version": FEV_VERSION,
    }
    return pd.DataFrame(columns, index=results.index)[list(FEV_COLUMNS)]


def _with_baseline(
    results: pd.DataFrame, metric: str, baseline: str
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    own = results[results["model"] == baseline].set_index("task")
    error = own[f"{ERROR}{metric}"].where(own["failure"] == "")
    usable = error.index[np.isfinite(error) & (error > 0)]
    tasks = results["task"].drop_duplicates()
    left_out = tuple(tasks[~tasks.isin(usable)])
    if len(left_out) == len(tasks):
        raise ConfigError(
            f"baseline={baseline!r} has no positive {metric} on any task",
            remedy="evaluate the baseline on the same tasks, or choose another",
        )
    return results[results["task"].isin(usable)], left_out


def _tables(
    errors: pd.DataFrame, baseline: str, replicates: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Skill and win rate of every model, and of every model over every other."""
    tasks = sorted(errors.index)
    imputed = errors.loc[tasks].apply(lambda column: column.fillna(errors.loc[tasks, baseline]))
    raw = imputed.to_numpy(np.float64)
    models = imputed.columns
    relative = (raw / raw[:, [list(models).index(baseline)]]).clip(*CLIP)
    draws = np.random.default_rng(seed).integers(0, len(tasks), size=(replicates, len(tasks)))
    counts = np.stack([np.bincount(draw, minlength=len(tasks)) for draw in draws])
    others = len(models) - 1
    own = {
        "win_rate": (_wins(relative).sum(axis=2) - 0.5) / others if others else 0 * relative + 0.5,
        "skill": np.log(relative),
    }
    ratios = (raw[:, :, None] / raw[:, None, :]).clip(*CLIP)
    between = {"win_rate": _wins(raw), "skill": np.log(ratios)}
    index = pd.MultiIndex.from_product([models, models], names=["model", "other"])
    return (
        pd.DataFrame(_resampled(own, counts), index=models.rename("model")),
        pd.DataFrame(_resampled(between, counts), index=index).reset_index(),
    )


def _wins(errors: Float[np.ndarray, "task model"]) -> Float[np.ndarray, "task model other"]:
    mine, theirs = errors[:, :, None], errors[:, None, :]
    return (mine < theirs) + 0.5 * (mine == theirs)


def _resampled(
    terms: dict[str, np.ndarray], counts: Int[np.ndarray, "replicate task"]
) -> dict[str, np.ndarray]:
    """Means over tasks with their intervals; a skill's mean is one of logarithms."""
    columns: dict[str, np.ndarray] = {}
    for name, values in terms.items():
        flat = values.reshape(len(values), -1)
        means = np.vstack([flat.mean(axis=0), counts @ flat / len(flat)])
        if name == "skill":
            means = 1 - np.exp(means)
        low, high = np.quantile(means[1:], [0.025, 0.975], axis=0)
        columns |= {name: means[0], f"{name}_low": low, f"{name}_high": high}
    return columns


def _errors(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A row per task, a column per model; NaN for failures."""
    errors = results[f"{ERROR}{metric}"].where(results["failure"] == "")
    finite = errors.where(np.isfinite(errors))
    return results.assign(error=finite).pivot_table(
        index="task", columns="model", values="error", sort=False, dropna=False
    )


def _described(results: pd.DataFrame, relative: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """What fev's table has no column for."""
    imputed = relative.fillna(1.0)
    flags = pd.to_numeric(results["trained_on"].astype(object)).astype("float64")
    seconds = results["training_seconds"] + results["inference_seconds"]
    models = results.assign(flags=flags, seconds=seconds).groupby("model")
    seen = models["flags"]
    exact = _exact(results, baseline)
    return pd.DataFrame(
        {
            "relative_error": np.exp(np.log(imputed).mean()),
            "mean_rank": imputed.rank(axis=1).mean(),
            "tasks": len(relative),
            "failures": relative.isna().sum(),
            "seconds": models["seconds"].median(),
            "trained_on": seen.mean(),
            "unknown": len(relative) - seen.count(),
            "parameters": models["parameters"].max(),
        }
        | ({} if exact.isna().all() else {"crps_exact": exact})
    )


def _exact(results: pd.DataFrame, baseline: str) -> pd.Series[float]:
    """Of every model, relative to the baseline; NaN where it cannot be told."""
    if f"{ERROR}crps_exact" not in results:
        return pd.Series(np.nan, index=results["model"].unique())
    errors = _errors(results, "crps_exact")
    told = errors[errors[baseline] > 0]
    ratios = told.div(told[baseline], axis=0).clip(*CLIP)
    return np.exp(ratios.apply(np.log).mean(skipna=False))


def _failures(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    told = results.set_index(["task", "model"])["failure"]
    every = pd.MultiIndex.from_product(
        [results["task"].unique(), results["model"].unique()], names=["task", "model"]
    )
    reason = told.reindex(every, fill_value=NOT_EVALUATED).astype(object)
    errors = results.set_index(["task", "model"])[f"{ERROR}{metric}"].reindex(every)
    reason = reason.where((reason != "") | np.isfinite(errors), f"no finite {metric}")
    return reason[reason != ""].rename("reason").reset_index()


def _in_words(
    table: pd.DataFrame,
    pairs: pd.DataFrame,
    metric: str,
    baseline: str,
    tasks: int,
    left_out: tuple[str, ...],
) -> str:
    best = table.iloc[0]
    said = [
        f"{best['model']} leads {len(table)} models on {tasks} tasks by {metric}: it wins "
        f"{best['win_rate']:.0%} ({best['win_rate_low']:.0%} … {best['win_rate_high']:.0%}) of its "
        f"comparisons, and its skill over {baseline} is {best['skill']:+.1%} "
        f"({best['skill_low']:+.1%} … {best['skill_high']:+.1%})."
    ]
    against = pairs[(pairs["model"] == best["model"]) & (pairs["other"] != best["model"])]
    alike = against[against["skill_low"] <= 0]["other"].tolist()
    if alike:
        said.append(f"Its lead over {_listed(alike)} is within what other tasks could turn.")
    below = table[(table["skill_high"] < 0) & (table["model"] != baseline)]["model"].tolist()
    if below:
        said.append(f"Worse than {baseline}: {_listed(below)}.")
    leaking = table[table["trained_on"].fillna(0) > 0]["model"].tolist()
    if leaking:
        said.append(f"Trained on test data of some tasks: {_listed(leaking)}.")
    unknown = table[table["unknown"] > 0]["model"].tolist()
    if unknown:
        said.append(f"Of unknown provenance: {_listed(unknown)}.")
    failing = table[table["failures"] > 0]
    if len(failing):
        counts = [f"{row.model} ({row.failures})" for row in failing.itertuples()]
        said.append(f"Failed and counted as {baseline}: {_listed(counts)}.")
    if left_out:
        said.append(f"Left out, {baseline} has no error there: {_listed(list(left_out))}.")
    return " ".join(said)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
