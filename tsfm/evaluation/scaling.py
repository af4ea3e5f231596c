"""How the ratio of two forecasters' errors changes with scale: a power law and its crossover.

With errors e(s) of one forecaster and f(s) of another at scale s, e / f = a · s^b is fitted by
least squares in logarithms. It crosses 1, where the forecasters change places, at s = a^(-1 / b).
All of it is resampled by system, with the same draws at every scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsfm.errors import ConfigError
from tsfm.evaluation.arms import GROUP_WORDS, LABELS, Contest, repeated
from tsfm.evaluation.bootstrap import bootstrap_ratios, interval
from tsfm.evaluation.metrics import finish

LEAST_SCALES = 3
MOST_TOLD = 0.95


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """The ratio of a model's errors to another's at growing scale; below 1 the model is ahead.

    Attributes
    ----------
    sizes
        Scale of each training.
    ratio, low, high
        Of the errors at each scale, with intervals.
    factor, exponent
        a and b of the power law; its exponent's interval.
    crossover
        Scale where the fitted ratio is 1; NaN where the exponent is zero.
    crossover_low, crossover_high
        Its interval; infinite where a part of the resampled laws never cross above the smallest
        scale.
    is_seen
        Whether the crossover lies between the smallest and the largest scale for 95 % of the
        resampled laws.
    """

    model: str
    other: str
    sizes: Float[np.ndarray, " scale"]
    ratio: Float[np.ndarray, " scale"]
    low: Float[np.ndarray, " scale"]
    high: Float[np.ndarray, " scale"]
    factor: float
    exponent: float
    exponent_low: float
    exponent_high: float
    crossover: float
    crossover_low: float
    crossover_high: float
    is_seen: bool

    def law(self, sizes: Float[np.ndarray, " point"]) -> Float[np.ndarray, " point"]:
        """The fitted ratio at other scales."""
        return np.asarray(self.factor * np.asarray(sizes, float) ** self.exponent)

    def told(self) -> str:
        """In words, with "none seen up to here" where that is so."""
        law = (
            f"{self.model} / {self.other} = {self.factor:.3g} · s^{self.exponent:.3g} "
            f"(exponent {self.exponent_low:+.3g} … {self.exponent_high:+.3g})"
        )
        if self.is_seen:
            return (
                f"{law}: they change places at s = {self.crossover:,.0f} "
                f"({self.crossover_low:,.0f} … {self.crossover_high:,.0f})."
            )
        if np.isnan(self.exponent_low):
            return f"{law.partition(' (')[0]}: too few systems for an interval."
        ahead = self.model if self.ratio[-1] < 1 else self.other
        sure = self.high[-1] < 1 or self.low[-1] > 1
        state = f"{ahead} is {'ahead' if sure else 'ahead, within the interval,'} at the largest"
        if not (self.exponent_low > 0 or self.exponent_high < 0):
            beyond = "the ratio does not change measurably with scale"
        elif self.crossover > self.sizes[-1]:
            beyond = f"the law would reach it at s = {self.crossover:,.0f}" + (
                f" (at least {self.crossover_low:,.0f})" if self.crossover_low > 0 else ""
            )
        else:
            beyond = "the law leads away from it"
        return f"{law}: no crossover seen up to s = {self.sizes[-1]:,.0f} ({state}; {beyond})."


def fit_scaling(
    scores: Sequence[pd.DataFrame],
    sizes: Sequence[float],
    model: str,
    other: str,
    *,
    task: str,
    metric: str,
    replicates: int = 2000,
    seed: int = 0,
) -> Scaling:
    """Fit the ratio of two forecasters' errors on the same windows at several scales.

    Parameters
    ----------
    scores
        Of each scale, as :func:`tsfm.evaluation.chaos.score_chaos` gives them.
    sizes
        Of each scale, growing.
    task, metric
        Of the scores that are compared.

    Raises
    ------
    ConfigError
        When there are fewer than three scales, or no window that all have.
    """
    if len(sizes) < LEAST_SCALES or len(sizes) != len(scores):
        raise ConfigError(
            f"{len(sizes)} scales cannot be fitted", remedy=f"give {LEAST_SCALES} or more"
        )
    tables = [_sums(frame, name, task, metric) for frame in scores for name in (model, other)]
    joined = pd.concat(tables, axis=1, join="inner", keys=range(len(tables)))
    if joined.empty:
        raise ConfigError(f"no window of {task} was asked at every scale")
    tops, bottoms = (
        np.stack([joined[k][name].to_numpy() for k in range(len(tables))])
        for name in ("numerator", "denominator")
    )
    drawn = bootstrap_ratios(
        tops,
        bottoms,
        items=joined.index.get_level_values("item_id").astype(str).to_numpy(),
        blocks=np.zeros(len(joined), int),
        rng=np.random.default_rng(seed),
        cluster="item",
        replicates=replicates,
    )
    x = np.log(np.asarray(sizes, float))
    whole = _log_ratios(finish(metric, tops.sum(1) / bottoms.sum(1))[:, None])
    resampled = _log_ratios(finish(metric, drawn.ratios))
    (slope,), (height,) = _line(x, whole)
    slopes, heights = _line(x, resampled)
    bounds = np.array([interval(np.exp(row), drawn.clusters) for row in resampled])
    crossings = _crossings(slopes, heights)
    inside = (crossings >= x[0]) & (crossings <= x[-1])
    at = float(_crossings(np.array([slope]), np.array([height]))[0])
    low, high = interval(np.clip(crossings, -700, 700), drawn.clusters)
    return Scaling(
        model=model,
        other=other,
        sizes=np.asarray(sizes, float),
        ratio=np.exp(whole[:, 0]),
        low=bounds[:, 0],
        high=bounds[:, 1],
        factor=float(np.exp(height)),
        exponent=float(slope),
        exponent_low=interval(slopes, drawn.clusters)[0],
        exponent_high=interval(slopes, drawn.clusters)[1],
        crossover=_exp(at),
        crossover_low=_exp(low),
        crossover_high=_exp(high),
        is_seen=bool(x[0] <= at <= x[-1] and inside.mean() >= MOST_TOLD),
    )


def fit_scalings(
    contests: Sequence[Contest],
    sizes: Sequence[float],
    *,
    metric: str,
    steps: int,
    baseline: str = "parroting",
) -> dict[str, list[Scaling]]:
    """By group: the last arm against the first and, where it was asked, against a baseline.

    Parameters
    ----------
    contests
        Of each scale, on the same windows; the last one also has the baselines.
    """
    first, last = contests[-1].arms[0], contests[-1].arms[-1]
    whole = repeated(contests[-1].scores, contests[-1].arms, contests[-1].seeds)
    fixed = whole[whole["model"] == baseline]
    scores = [
        pd.concat([contest.scores[contest.scores["model"].isin(contest.arms)], fixed])
        for contest in contests
    ]
    others = [first] + ([baseline] if len(fixed) else [])
    return {
        group: [
            fit_scaling(scores, sizes, last, other, task=f"{group}@{steps}", metric=metric)
            for other in others
        ]
        for group in contests[-1].backtests
    }


def scalings_told(scalings: Mapping[str, Sequence[Scaling]], metric: str) -> str:
    """A sentence for every group and pair."""
    sentences = [
        f"{GROUP_WORDS.get(group, group).capitalize()}: {fit.told()}"
        for group, fits in scalings.items()
        for fit in fits
    ]
    return f"{LABELS[metric]} against s = systems × trajectories × steps. " + " ".join(sentences)


def scaling_table(scalings: Mapping[str, Sequence[Scaling]]) -> pd.DataFrame:
    """A row per group, pair and scale: the ratio with its interval, and the law's."""
    return pd.DataFrame(
        [
            {
                "group": group,
                "model": fit.model,
                "other": fit.other,
                "size": size,
                "ratio": fit.ratio[place],
                "low": fit.low[place],
                "high": fit.high[place],
                "law": float(fit.law(np.array([size]))[0]),
            }
            for group, fits in scalings.items()
            for fit in fits
            for place, size in enumerate(fit.sizes)
        ]
    )


def _sums(scores: pd.DataFrame, model: str, task: str, metric: str) -> pd.DataFrame:
    chosen = scores[
        (scores["model"] == model) & (scores["task"] == task) & (scores["metric"] == metric)
    ]
    return chosen.set_index(["item_id", "origin"])[["numerator", "denominator"]]


def _log_ratios(errors: Float[np.ndarray, "pair draw"]) -> Float[np.ndarray, "scale draw"]:
    """Errors come in pairs: the model's and the other's at one scale after the other."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(errors[0::2]) - np.log(errors[1::2]))


def _line(
    x: Float[np.ndarray, " scale"], y: Float[np.ndarray, "scale draw"]
) -> tuple[Float[np.ndarray, " draw"], Float[np.ndarray, " draw"]]:
    """Slopes and heights at zero of least-squares lines."""
    centred = x - x.mean()
    slopes = centred @ y / (centred @ centred)
    return slopes, y.mean(axis=0) - slopes * x.mean()


def _crossings(
    slopes: Float[np.ndarray, " draw"], heights: Float[np.ndarray, " draw"]
) -> Float[np.ndarray, " draw"]:
    """Logarithms of the scales where the lines are zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(-heights / slopes)


def _exp(logarithm: float) -> float:
    """Infinite beyond what can be meant."""
    return float(np.exp(logarithm)) if logarithm < 100 else float("inf")
