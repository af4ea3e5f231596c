"""Attractor validity: is a trajectory bounded, alive, stationary and chaotic?

Ten questions with a number and a threshold each, all asked of every trajectory, in the order of
:data:`TESTS`. They follow dystformer and Panda (Lai, Bao & Gilpin 2025, arXiv 2505.13755); the
estimators and their sources are in :mod:`tsfm.data.dynamics.estimators` and
:mod:`tsfm.data.dynamics.stationarity`. Trajectories should span 30 oscillations or more: with
fewer, a chaotic one is not told from a regular one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from tsfm.data.dynamics import estimators
from tsfm.data.dynamics.attractor_config import AttractorConfig
from tsfm.data.dynamics.stationarity import adf_pvalues, kpss_pvalues
from tsfm.errors import DataError

TESTS = (
    "bounded",
    "zscore",
    "not_fixed",
    "not_decaying",
    "not_line",
    "not_cycle",
    "broadband",
    "stationary",
    "zero_one",
    "lyapunov",
    "convergent",
)
"""``bounded`` and ``zscore`` are the two halves of one question."""

_AT_MOST = frozenset({"bounded", "zscore", "not_line", "not_cycle", "stationary", "convergent"})
_SAMPLES = 8
"""Per oscillation: finer samples are so alike that both tests would call anything regular."""


_MOST_SAMPLES = 384
"""Of the 0–1 test, whose cost grows with their square."""

_REFERENCES = 256
"""Points whose neighbours are followed for the Lyapunov exponent's sign."""


class Outcome(NamedTuple):
    """What one test measured, what it allows, and whether that is met."""

    value: float
    threshold: float
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Of one trajectory.

    Attributes
    ----------
    tests
        By name, in the order of :data:`TESTS`. A trajectory that is not finite has ``bounded``
        only, and ``convergent`` needs a second integration.
    """

    tests: Mapping[str, Outcome] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return all(outcome.passed for outcome in self.tests.values())

    @property
    def failures(self) -> tuple[str, ...]:
        """Names of the tests that were not met, in order."""
        return tuple(name for name, outcome in self.tests.items() if not outcome.passed)


def judge_attractor(
    trajectory: Float[np.ndarray, "time state"],
    config: AttractorConfig | None = None,
    *,
    dt: float = 1.0,
    period: float | None = None,
    lyapunov: float | None = None,
    convergence: Float[np.ndarray, "time state"] | None = None,
) -> Verdict:
    """Judge one trajectory; see :func:`judge_attractors`."""
    second = None if convergence is None else np.asarray(convergence)[None]
    return judge_attractors(
        np.asarray(trajectory)[None],
        config,
        dt=dt,
        period=period,
        lyapunov=lyapunov,
        convergence=second,
        workers=1,
    )[0]


def judge_attractors(
    trajectories: Float[np.ndarray, "batch time state"],
    config: AttractorConfig | None = None,
    *,
    dt: ArrayLike = 1.0,
    period: ArrayLike | None = None,
    lyapunov: ArrayLike | None = None,
    convergence: Float[np.ndarray, "batch time state"] | None = None,
    workers: int | None = None,
) -> list[Verdict]:
    """Judge a batch of trajectories, transients left out.

    Parameters
    ----------
    trajectories
        Two states or more; NaN or infinite from where an integration stopped.
    dt
        Time between samples; one number, or one per trajectory, as the next two.
    period
        Time of one oscillation that the Lyapunov exponent is expressed in, by default estimated
        from each spectrum; all tests go by the estimate, since parameters change it.
    lyapunov
        Largest Lyapunov exponent in nats per unit of time, whose inverse the two integrations
        must agree over; by default (or where NaN) the estimated one. Where it is not positive
        they must agree all the way.
    convergence
        The same trajectories integrated at another tolerance.
    workers
        Threads, by default as many as the process may use; the verdict does not depend on it.

    Raises
    ------
    DataError
        When shapes do not fit, or the trajectories are too short.
    """
    config = config or AttractorConfig()
    states = _states(trajectories)
    batch = len(states)
    second = None if convergence is None else _states(convergence)
    if second is not None and second.shape != states.shape:
        raise DataError(
            f"the second integration has shape {second.shape}, the first {states.shape}",
            where="attractor validity",
            remedy="integrate the same times twice",
        )
    steps = np.broadcast_to(np.asarray(dt, dtype=np.float64), batch)
    turns = _optional(period, batch) / steps
    rates = _optional(lyapunov, batch) * steps
    finite = np.isfinite(states).all(axis=(1, 2))
    values = np.full((batch, len(TESTS)), np.nan)
    values[:, 0] = np.where(finite, np.abs(states).max(axis=(1, 2), initial=0), np.inf)
    judge = partial(_judge, states, second, turns, rates, config)
    threads = workers or len(os.sched_getaffinity(0))
    chunks = np.array_split(np.flatnonzero(finite), max(threads, finite.sum() // 16))
    chunks = [chunk for chunk in chunks if len(chunk)]
    with ThreadPoolExecutor(threads) as pool:
        for chunk, judged in zip(chunks, pool.map(judge, chunks)):
            values[chunk, 1:] = judged
    return [_verdict(row, config) for row in values]


def count_failures(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How many trajectories each test refused, every refused one under its first failure."""
    counts = Counter(verdict.failures[0] for verdict in verdicts if not verdict.passed)
    return {name: counts[name] for name in TESTS if counts[name]}


def thresholds(config: AttractorConfig) -> Mapping[str, float]:
    """What each test allows."""
    return MappingProxyType(
        {
            "bounded": config.max_value,
            "zscore": config.max_zscore,
            "not_fixed": config.min_tail_range,
            "not_decaying": config.min_decay_ratio,
            "not_line": config.max_line_share,
            "not_cycle": config.max_cycle_share,
            "broadband": config.min_spectral_floor,
            "stationary": 0.0,
            "zero_one": config.min_zero_one,
            "lyapunov": config.min_lyapunov,
            "convergent": config.max_disagreement,
        }
    )


def _states(trajectories: ArrayLike) -> Float[np.ndarray, "batch time state"]:
    states = np.asarray(trajectories, dtype=np.float64)
    if states.ndim != 3 or states.shape[1] < 2 * estimators.LEAST_POINTS or states.shape[2] < 2:
        raise DataError(
            f"trajectories have shape {states.shape}",
            where="attractor validity",
            remedy=f"give [batch, time, state] with {2 * estimators.LEAST_POINTS} samples and two "
            "states or more (unfold a scalar with delay_embedding)",
        )
    return states


def _optional(values: ArrayLike | None, batch: int) -> np.ndarray:
    return np.broadcast_to(np.asarray(np.nan if values is None else values, np.float64), batch)


def _verdict(values: np.ndarray, config: AttractorConfig) -> Verdict:
    outcomes = {}
    for (name, threshold), value in zip(thresholds(config).items(), values.tolist()):
        unasked = np.isnan(value) and (not np.isfinite(values[0]) or name == "convergent")
        if unasked:
            continue
        good = value <= threshold if name in _AT_MOST else value >= threshold
        if name == "lyapunov":
            good = value > threshold
        outcomes[name] = Outcome(value, threshold, bool(good))
    return Verdict(tests=MappingProxyType(outcomes))


def _judge(
    states: np.ndarray,
    second: np.ndarray | None,
    turns: np.ndarray,
    rates: np.ndarray,
    config: AttractorConfig,
    chunk: np.ndarray,
) -> Float[np.ndarray, "item test"]:
    """Values of all tests but the first, of some trajectories that are finite."""
    raw = states[chunk]
    unit = estimators.standardise(raw)
    time = unit.shape[1]
    turn = np.clip(estimators.samples_per_period(raw), 2.0, time / 8)
    unit_of_time = np.where(np.isnan(turns[chunk]), turn, turns[chunk])
    growth = np.array([_lyapunov(one, samples) for one, samples in zip(unit, turn)])
    rate = np.where(np.isnan(rates[chunk]), growth, rates[chunk])
    return np.column_stack(
        [
            np.abs(unit).max(axis=(1, 2)),
            _tail_range(raw, config.tail_share),
            _decay(unit, config),
            _line_share(unit),
            [_cycle(one, samples, config) for one, samples in zip(unit, turn)],
            _spectral_floor(unit, turn),
            _drifting(unit, turn, config.stationarity_level),
            [_zero_one(one, samples, config) for one, samples in zip(unit, turn)],
            growth * unit_of_time,
            _disagreement(raw, None if second is None else second[chunk], rate),
        ]
    )


def _tail_range(states: np.ndarray, share: float) -> np.ndarray:
    tail = states[:, -max(int(share * states.shape[1]), 2) :]
    whole, last = np.ptp(states, axis=1), np.ptp(tail, axis=1)
    scale = np.maximum(whole, 1e-12 * np.abs(states).max(axis=1))
    return np.where(scale > 0, last / np.where(scale > 0, scale, 1), 0).max(axis=1)


def _decay(unit: np.ndarray, config: AttractorConfig) -> np.ndarray:
    """Least shrinking from a block to the next: below 1 where every block is smaller."""
    length = int(config.decay_share * unit.shape[1]) // config.decay_blocks
    last = unit[:, -length * config.decay_blocks :]
    blocks = last.reshape(len(unit), config.decay_blocks, length, -1)
    size = np.sqrt(blocks.var(axis=2).mean(axis=2))
    alive = size[:, :-1] > 1e-9
    return np.where(alive, size[:, 1:] / np.where(alive, size[:, :-1], 1), 0).max(axis=1)


def _line_share(unit: np.ndarray) -> np.ndarray:
    covariance = np.einsum("bti,btj->bij", unit, unit)
    spread = np.linalg.eigvalsh(covariance)
    total = spread.sum(axis=1)
    return np.where(total > 0, spread[:, -1] / np.where(total > 0, total, 1), 1)


def _cycle(unit: np.ndarray, turn: float, config: AttractorConfig) -> float:
    if not unit.any():
        return 1.0
    least = max(int(turn / 4), 3)
    shares = estimators.close_returns(unit, tolerance=config.cycle_tolerance, least=least)
    return float(shares.max())


def _spectral_floor(unit: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Lower quartile of the power up to twice the dominant frequency, over the highest peak."""
    from scipy.signal.windows import blackmanharris

    time = unit.shape[1]
    power = np.abs(np.fft.rfft(unit * blackmanharris(time)[:, None], axis=1)) ** 2
    peak = power.max(axis=1)
    last = np.clip(2 * time / turn, 8, power.shape[1] - 1).astype(int)
    floors = np.stack([np.quantile(one[1 : k + 1], 0.25, axis=0) for one, k in zip(power, last)])
    return np.where(peak > 0, floors / np.where(peak > 0, peak, 1), 0).max(axis=1)


def _drifting(unit: np.ndarray, turn: np.ndarray, level: float) -> np.ndarray:
    """Coordinates that ADF and KPSS both call not stationary."""
    strides = _strides(turn, unit.shape[1])
    drifting = np.empty(len(unit))
    for stride in np.unique(strides):
        rows = strides == stride
        series = np.moveaxis(unit[rows, ::stride], 1, 2).reshape(-1, len(unit[0, ::stride]))
        found = (adf_pvalues(series) >= level) & (kpss_pvalues(series) < level)
        drifting[rows] = found.reshape(-1, unit.shape[2]).sum(axis=1)
    return drifting


def _zero_one(unit: np.ndarray, turn: float, config: AttractorConfig) -> float:
    stride = int(_strides(turn, len(unit)))
    ks = [
        np.median(estimators.zero_one_test(row, draws=config.zero_one_draws, seed=config.seed))
        for row in unit[::stride][:_MOST_SAMPLES].T
        if row.any()
    ]
    return float(max(ks, default=0.0))


def _strides(turn: np.ndarray | float, time: int) -> np.ndarray:
    """Keep :data:`_SAMPLES` per oscillation, but 128 in all."""
    return np.clip(np.rint(np.asarray(turn) / _SAMPLES).astype(int), 1, max(time // 128, 1))


def _lyapunov(unit: np.ndarray, turn: float) -> float:
    if not unit.any():
        return 0.0
    return estimators.largest_lyapunov(unit, period=turn, references=_REFERENCES)


def _disagreement(
    states: np.ndarray, second: np.ndarray | None, rate: np.ndarray
) -> Sequence[float] | np.ndarray:
    if second is None:
        return np.full(len(states), np.nan)
    spread = states.std(axis=1, keepdims=True)
    spread = np.where(spread > 0, spread, np.abs(states).max(axis=1, keepdims=True) + 1e-300)
    distance = np.sqrt((((second - states) / spread) ** 2).mean(axis=2))
    distance = np.where(np.isfinite(distance), distance, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        until = np.where(rate > 0, np.ceil(1 / rate), np.inf)
    seen = np.arange(states.shape[1]) <= until[:, None]
    return np.where(seen, distance, 0).max(axis=1)
