"""Intervals corrected by how often they held on windows already seen.

Conformalised quantile regression (Romano, Patterson & Candès, NeurIPS 2019), a correction for each
step of the horizon and each variate (Stankevičiūtė, Alaa & van der Schaar, NeurIPS 2021). Of every
pair of quantiles around the median, a window's score is how far the truth lies outside them
(negative: inside), over the seasonal scale of its past. The pair is moved apart by the score of
rank ``ceil((n + 1)(1 - α))`` among *n* windows: it then holds the truth with probability 1 - α or
more, whatever the model, as long as windows are exchangeable. A trend in the errors, or windows
that overlap, are not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from tsfm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tsfm.evaluation.backtest import Backtest

SUFFIX = " + conformal"


@dataclass(frozen=True, kw_only=True)
class Correction:
    """How far each pair of quantiles is moved apart, in seasonal scales; negative: together.

    Attributes
    ----------
    levels
        Of the quantiles that it corrects.
    widening
        ``[horizon, variate, pair]``, the outermost pair first.
    windows
        That it was learnt from, the fewest of any step and variate.
    """

    levels: tuple[float, ...]
    widening: Float[np.ndarray, "horizon variate pair"]
    windows: int

    def __call__(
        self,
        quantiles: Float[np.ndarray, "window horizon variate level"],
        scale: Float[np.ndarray, "window variate"],
    ) -> Float[np.ndarray, "window horizon variate level"]:
        """Corrected quantiles, never crossing: an inner pair never lies outside an outer one.

        Parameters
        ----------
        scale
            Seasonal scale of each window's past; NaN where unknown, and so are the quantiles then.

        Raises
        ------
        ConfigError
            When the horizon or the number of levels is another one.
        """
        expected = (*self.widening.shape[:2], len(self.levels))
        if quantiles.shape[1:] != expected:
            raise ConfigError(
                f"quantiles of shape {quantiles.shape[1:]} cannot be corrected",
                remedy=f"[horizon, variate, level] must be {expected}",
            )
        corrected = quantiles.astype(np.float64)
        lower, upper = pairs(self.levels)
        moved = self.widening * scale[:, None, :, None]
        median = _median(corrected, self.levels)[..., None]
        low = np.minimum(corrected[..., lower] - moved, median)
        high = np.maximum(corrected[..., upper] + moved, median)
        corrected[..., lower] = np.minimum.accumulate(low[..., ::-1], axis=-1)[..., ::-1]
        corrected[..., upper] = np.maximum.accumulate(high[..., ::-1], axis=-1)[..., ::-1]
        return corrected


def pairs(levels: tuple[float, ...]) -> tuple[list[int], list[int]]:
    """Positions of the lower and the upper level of every pair, the outermost first.

    Raises
    ------
    ConfigError
        When a level has no mirror image around the median.
    """
    lower = [k for k, level in enumerate(levels) if level < 0.5 - 1e-9]
    upper = [len(levels) - 1 - k for k in lower]
    mirrored = all(abs(levels[a] + levels[b] - 1) < 1e-9 for a, b in zip(lower, upper, strict=True))
    odd = len(levels) - 2 * len(lower)
    if not lower or not mirrored or odd > 1 or (odd and abs(levels[len(lower)] - 0.5) > 1e-9):
        raise ConfigError(
            f"quantile levels {', '.join(f'{level:g}' for level in levels)} are not pairs around "
            "the median",
            where="conformal",
            remedy="give both ends of every interval, for example 0.1, 0.5, 0.9",
        )
    return lower, upper


def windows_needed(levels: tuple[float, ...], *, steps: int = 1) -> int:
    """The fewest windows that can tell the widest interval: *n* with ``(n + 1)(1 - α) ≤ n``.

    Parameters
    ----------
    steps
        That an interval shall hold at once (Bonferroni's α / steps).
    """
    return max(ceil(round((1 - alpha) / alpha, 9)) for alpha in _alphas(levels, steps))


def scores(
    quantiles: Float[np.ndarray, "window horizon variate level"],
    actual: Float[np.ndarray, "window horizon variate"],
    scale: Float[np.ndarray, "window variate"],
    levels: tuple[float, ...],
) -> Float[np.ndarray, "window horizon variate pair"]:
    """How far the truth lies outside each pair, in seasonal scales; NaN where unknown."""
    lower, upper = pairs(levels)
    truth = actual[..., None].astype(np.float64)
    outside = np.maximum(quantiles[..., lower] - truth, truth - quantiles[..., upper])
    positive = np.where(scale > 0, scale, np.nan)
    return np.asarray(outside / positive[:, None, :, None])


def calibrate(
    nonconformity: Float[np.ndarray, "window horizon variate pair"],
    levels: tuple[float, ...],
    *,
    jointly: bool = False,
) -> Correction:
    """Learn a correction from the scores of windows; those that are NaN do not count.

    Parameters
    ----------
    jointly
        Intervals that hold over the whole horizon at once, rather than at each step by itself.

    Raises
    ------
    DataError
        When there are too few windows, naming how many are needed.
    """
    _, horizon, variates, width = nonconformity.shape
    steps = horizon if jointly else 1
    known = np.isfinite(nonconformity).sum(axis=0)
    needed, held = windows_needed(levels, steps=steps), int(known.min(initial=len(nonconformity)))
    if held < needed:
        raise DataError(
            f"{held} windows with an answer are too few: quantile levels "
            f"{levels[0]:g} and {levels[-1]:g} need {needed}",
            where="conformal",
            remedy="give more windows, a longer history or inner quantile levels",
        )
    ranked = np.sort(nonconformity, axis=0)  # NaN last
    widening = np.empty((horizon, variates, width))
    for pair, alpha in enumerate(_alphas(levels, steps)):
        rank = np.ceil(np.round((known[..., pair] + 1) * (1 - alpha), 9)).astype(int)
        chosen = np.take_along_axis(ranked[..., pair], rank[None] - 1, axis=0)
        widening[..., pair] = chosen[0]
    return Correction(levels=levels, widening=widening, windows=held)


def learnt(backtest: Backtest, *, jointly: bool = False) -> Correction:
    """A correction learnt from all windows of a backtest, of all items together.

    Raises
    ------
    DataError
        When there are too few windows.
    """
    return calibrate(_scores_of(backtest), backtest.task.quantile_levels, jointly=jointly)


def rolling(backtest: Backtest, *, jointly: bool = False) -> Backtest:
    """The backtest as it would have been with corrections, each learnt from earlier windows only.

    Windows that too few come before have no quantiles (NaN) and are not scored. Items take turns:
    the k-th window of each is corrected by the first k - 1 of all.
    """
    levels, found = backtest.task.quantile_levels, _scores_of(backtest)
    turn = turns(backtest)
    quantiles = np.full(backtest.quantiles.shape, np.nan)
    for k in range(int(turn.max(initial=0)) + 1):
        now = turn == k
        try:
            correct = calibrate(found[turn < k], levels, jointly=jointly)
        except DataError:
            continue
        quantiles[now] = correct(backtest.quantiles[now], backtest.scale[now])
    return replace(backtest, model=backtest.model + SUFFIX, quantiles=quantiles, crps_exact=None)


def turns(backtest: Backtest) -> np.ndarray:
    """How many windows of the same item begin before each window, ``int [window]``."""
    _, item = np.unique(np.asarray(backtest.item_ids, dtype=str), return_inverse=True)
    order = np.lexsort((backtest.origins, item))
    firsts = np.r_[True, np.diff(item[order]) != 0]
    start = np.maximum.accumulate(np.where(firsts, np.arange(len(order)), 0))
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order)) - start
    return place


def _scores_of(backtest: Backtest) -> np.ndarray:
    levels = backtest.task.quantile_levels
    return scores(backtest.quantiles, backtest.actual, backtest.scale, levels)


def _alphas(levels: tuple[float, ...], steps: int) -> list[float]:
    lower, _ = pairs(levels)
    return [2 * levels[k] / steps for k in lower]


def _median(quantiles: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """The median; halfway between the innermost pair where it was not asked for."""
    half = len(levels) // 2
    if len(levels) % 2:
        return np.asarray(quantiles[..., half])
    return np.asarray((quantiles[..., half - 1] + quantiles[..., half]) / 2)
