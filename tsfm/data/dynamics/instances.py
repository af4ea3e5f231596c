"""Instances of one subject: parameter draws, initial conditions on their attractors, trajectories.

Each parameter draw is integrated past its transient and judged there; trajectories of the draws
that pass start at states of theirs that lie further apart than a trajectory is long, so that no two
instances share a stretch of one orbit, and are judged again by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from jaxtyping import Float

from tsfm.data.dynamics.attractors import Outcome, Verdict, judge_attractors
from tsfm.data.dynamics.ensemble_config import EnsembleConfig
from tsfm.data.dynamics.subjects import Subject, named_generator
from tsfm.data.ode import Status, Tolerance, integrate

JUDGED_PERIODS, JUDGED_PER_PERIOD = 32, 32
"""What the attractor tests look at: they need 30 oscillations or more."""

_REASONS = {
    Status.DIVERGED: "diverged",
    Status.STEPS: "step limit",
    Status.TIME: "time limit",
    Status.NAN: "not finite",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Instance:
    """One trajectory that was kept.

    Attributes
    ----------
    draw, start
        Which parameters and which initial condition.
    target
        ``float32 [variate, time]``.
    parameters, initial
        What to integrate again to get it.
    lyapunov
        Estimated largest exponent, in nats per unit of time.
    """

    draw: int
    start: int
    target: Float[np.ndarray, "variate time"]
    parameters: Float[np.ndarray, " parameter"]
    initial: Float[np.ndarray, " state"]
    lyapunov: float


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What became of a parameter draw (``start`` None) or of a trajectory.

    Attributes
    ----------
    reason
        Empty when it was kept; ``diverged``, ``step limit``, ``time limit``, ``not finite``, or
        the first attractor test it failed.
    tests
        Of what was judged.
    """

    subject: str
    draw: int
    start: int | None
    reason: str
    tests: Mapping[str, Outcome] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """As the item would be called."""
        whole = f"{self.subject}/{self.draw}"
        return whole if self.start is None else f"{whole}/{self.start}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Draw:
    """A parameter draw that passed.

    Attributes
    ----------
    number
        0 is the published set.
    orbit
        ``[time, state]`` at :data:`JUDGED_PER_PERIOD`, transient left out.
    """

    number: int
    parameters: Float[np.ndarray, " parameter"]
    orbit: Float[np.ndarray, "time state"]


def make_instances(subject: Subject, config: EnsembleConfig) -> tuple[list[Instance], list[Trial]]:
    """As many instances as asked for, or as many as the attempts gave, and all that was tried."""
    starts = ceil(config.n_trajectories / config.n_parameters)
    kept: list[Instance] = []
    trials: list[Trial] = []
    tried = 0
    for _ in range(config.attempts):
        missing = config.n_trajectories - len(kept)
        if missing <= 0:
            break
        numbers = range(tried, tried + ceil(missing / starts))
        draws, tested = make_draws(subject, config, numbers, starts)
        places = [(draw, start) for draw in draws for start in range(starts)][:missing]
        made, judged = make_trajectories(subject, config, places)
        tried = numbers.stop
        kept += made
        trials += tested + judged
    return kept, trials


def make_draws(
    subject: Subject, config: EnsembleConfig, numbers: Sequence[int], starts: int
) -> tuple[list[Draw], list[Trial]]:
    """The parameter draws of these numbers, on orbits that hold ``starts`` trajectories."""
    parameters = np.stack(
        [
            subject.perturbed(config.parameter_scale if number else 0.0, 1, rng)[0]
            for number in numbers
            for rng in [named_generator(subject.name, config.seed, number)]
        ]
    )
    periods = max(JUDGED_PERIODS, starts * _slot(config))
    times = config.transient + np.arange(ceil(periods * JUDGED_PER_PERIOD)) / JUDGED_PER_PERIOD
    times = times if config.transient == 0 else np.concatenate([[0.0], times])
    solution = integrate(
        subject.rhs,
        np.repeat(subject.initial[None], len(numbers), axis=0),
        parameters,
        times * subject.period,
        tolerance=tolerance(config),
        bound=subject.bounds,
        workers=1,
    )
    orbits = solution.states[:, int(config.transient > 0) :]
    trials = _trials(
        subject,
        [(number, None) for number in numbers],
        solution.status,
        judge(subject, config, orbits[:, : JUDGED_PERIODS * JUDGED_PER_PERIOD], solution.ok),
    )
    return [
        Draw(number=trial.draw, parameters=parameters[row], orbit=orbits[row])
        for row, trial in enumerate(trials)
        if not trial.reason
    ], trials


def make_trajectories(
    subject: Subject, config: EnsembleConfig, places: Sequence[tuple[Draw, int]]
) -> tuple[list[Instance], list[Trial]]:
    """Trajectories of draws, each from its own initial condition on the draw's orbit."""
    if not places:
        return [], []
    initial = np.stack([initial_state(subject, config, draw, start) for draw, start in places])
    parameters = np.stack([draw.parameters for draw, _ in places])
    stride = max(config.points_per_period // JUDGED_PER_PERIOD, 1)
    length = max(config.points, JUDGED_PERIODS * config.points_per_period)
    times = np.arange(length) / config.points_per_period * subject.period
    solution = integrate(
        subject.rhs,
        initial,
        parameters,
        times,
        tolerance=tolerance(config),
        bound=subject.bounds,
        workers=1,
    )
    coarse = solution.states[:, ::stride]
    second = _again(subject, config, initial, parameters, times[::stride], coarse)
    verdicts = judge(
        subject, config, coarse, solution.ok, second, per_period=config.points_per_period / stride
    )
    trials = _trials(
        subject,
        [(draw.number, start) for draw, start in places],
        solution.status,
        verdicts,
    )
    kept = [
        Instance(
            draw=trial.draw,
            start=places[row][1],
            target=subject.observe(solution.states[row, : config.points]).T.astype(np.float32),
            parameters=parameters[row],
            initial=initial[row],
            lyapunov=trial.tests["lyapunov"].value / subject.period,
        )
        for row, trial in enumerate(trials)
        if not trial.reason
    ]
    return kept, trials


def initial_state(
    subject: Subject, config: EnsembleConfig, draw: Draw, start: int
) -> Float[np.ndarray, " state"]:
    """A state of the draw's orbit, within the first period of the slot that ``start`` has there."""
    rng = named_generator(subject.name, config.seed, draw.number, start)
    return draw.orbit[int((start * _slot(config) + rng.random()) * JUDGED_PER_PERIOD)]


def judge(
    subject: Subject,
    config: EnsembleConfig,
    states: Float[np.ndarray, "batch time state"],
    finite: np.ndarray,
    second: Float[np.ndarray, "batch time state"] | None = None,
    *,
    per_period: float = JUDGED_PER_PERIOD,
) -> dict[int, Verdict]:
    """Verdicts by row, of the rows that are finite."""
    rows = np.flatnonzero(finite)
    if not len(rows):
        return {}
    seen = slice(subject.judged, None)
    verdicts = judge_attractors(
        subject.observe(states[rows])[..., seen],
        config.validity,
        dt=subject.period / per_period,
        period=subject.period,
        lyapunov=subject.lyapunov if subject.lyapunov > 0 else None,
        convergence=None if second is None else subject.observe(second[rows])[..., seen],
        workers=1,
    )
    return dict(zip(rows.tolist(), verdicts))


def _again(
    subject: Subject,
    config: EnsembleConfig,
    initial: np.ndarray,
    parameters: np.ndarray,
    times: np.ndarray,
    first: np.ndarray,
) -> Float[np.ndarray, "batch time state"]:
    """The trajectories at a tighter tolerance for a Lyapunov time, and as they were after it."""
    until = 1 / subject.lyapunov if subject.lyapunov > 0 else np.inf
    count = min(int(np.searchsorted(times, until)) + 2, len(times))
    solution = integrate(
        subject.rhs,
        initial,
        parameters,
        times[:count],
        tolerance=tolerance(config, tighter=100.0),
        bound=subject.bounds,
        workers=1,
    )
    return np.concatenate([solution.states, first[:, count:]], axis=1)


def _trials(
    subject: Subject,
    places: Sequence[tuple[int, int | None]],
    status: np.ndarray,
    verdicts: Mapping[int, Verdict],
) -> list[Trial]:
    trials = []
    for row, (draw, start) in enumerate(places):
        verdict = verdicts.get(row, Verdict())
        reason = _REASONS.get(status[row]) or next(iter(verdict.failures), "")
        trials.append(
            Trial(subject=subject.name, draw=draw, start=start, reason=reason, tests=verdict.tests)
        )
    return trials


def _slot(config: EnsembleConfig) -> float:
    """Periods of an orbit that belong to one trajectory."""
    return config.points / config.points_per_period + 1


def tolerance(config: EnsembleConfig, tighter: float = 1.0) -> Tolerance:
    """How exactly the config says to integrate, or how much more exactly than that."""
    return Tolerance(
        rtol=max(config.rtol / tighter, 1e-13),
        atol=config.atol / tighter,
        max_steps=config.max_steps,
        max_seconds=config.max_seconds,
    )
