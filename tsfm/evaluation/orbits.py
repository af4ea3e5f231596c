"""The same trajectories of known systems, integrated at several precisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from tsfm.data.dynamics.ensemble_config import EnsembleConfig
from tsfm.data.dynamics.ensembles import make_subjects
from tsfm.data.dynamics.subjects import Subject
from tsfm.data.ode import Tolerance, integrate
from tsfm.errors import DataError
from tsfm.evaluation.analysis_config import PrecisionConfig

_APART = 7.3
"""Periods between two initial conditions of one orbit."""


@dataclass(frozen=True, kw_only=True)
class Orbits:
    """The same trajectories integrated at several precisions, around some origins.

    Attributes
    ----------
    past, future
        Before and after each origin, by precision, ``[window, bar, variate]``.
    exact, integrated
        After the origins, the most precise orbit and the equations from its states there, by
        precision, ``[window, bar, variate]``.
    spread
        Deviations of the attractor, ``[window, variate]``.
    rate
        Lyapunov times per bar of each window.
    systems
        Of the windows.
    left_out
        Systems that are not chaotic, or fail at one of the precisions.
    """

    past: Mapping[float, Float[np.ndarray, "window bar variate"]]
    future: Mapping[float, Float[np.ndarray, "window horizon variate"]]
    exact: Float[np.ndarray, "window bar variate"]
    integrated: Mapping[float, Float[np.ndarray, "window bar variate"]]
    spread: Float[np.ndarray, "window variate"]
    rate: Float[np.ndarray, " window"]
    systems: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def make_orbits(
    ensemble: EnsembleConfig,
    config: PrecisionConfig,
    *,
    longest: int,
    horizon: int,
    progress: Callable[[int, int, str], None] | None = None,
) -> Orbits:
    """Integrate the ensemble's systems at their published parameters, from states of one orbit.

    Raises
    ------
    DataError
        When no system can be integrated at all precisions.
    """
    subjects = make_subjects(replace(ensemble, n_skew=0))
    parts, left_out = [], []
    for done, subject in enumerate(subjects, start=1):
        made = _orbits_of(subject, ensemble, config, longest, horizon)
        if made is None:
            left_out.append(subject.name)
        else:
            parts.append(made)
        if progress is not None:
            progress(done, len(subjects), subject.name)
    if not parts:
        raise DataError(
            "no system could be integrated at all precisions",
            remedy="name others (overrides=ensemble.systems=[Lorenz,Rossler]), or give tighter "
            "precision.rtols",
        )
    width = max(part.spread.shape[1] for part in parts)

    def joined(name: str) -> dict[float, np.ndarray]:
        kinds = [getattr(part, name) for part in parts]
        return {rtol: _stacked([kind[rtol] for kind in kinds], width) for rtol in kinds[0]}

    return Orbits(
        past=joined("past"),
        future=joined("future"),
        exact=_stacked([part.exact for part in parts], width),
        integrated=joined("integrated"),
        spread=_stacked([part.spread for part in parts], width),
        rate=np.concatenate([part.rate for part in parts]),
        systems=tuple(name for part in parts for name in part.systems),
        left_out=tuple(left_out),
    )


def _orbits_of(
    subject: Subject,
    ensemble: EnsembleConfig,
    config: PrecisionConfig,
    longest: int,
    horizon: int,
) -> Orbits | None:
    """None where the system cannot be integrated, or is not chaotic."""
    if not subject.lyapunov > 0:
        return None
    step = subject.period / ensemble.points_per_period
    starts = _starts(subject, ensemble, config.starts)
    if starts is None:
        return None
    length = longest + config.windows * horizon
    further = max(config.integrated, horizon)
    origins = longest + horizon * np.arange(config.windows)
    past: dict[float, np.ndarray] = {}
    future: dict[float, np.ndarray] = {}
    integrated: dict[float, np.ndarray] = {}
    exact = _integrated(subject, starts, step, origins[-1] + further, config.reference_rtol)
    if exact is None:
        return None
    latest = exact[:, origins - 1].reshape(-1, exact.shape[2])
    for rtol in (*config.rtols, config.reference_rtol):
        states = _integrated(subject, starts, step, length, rtol)
        ahead = _integrated(subject, latest, step, further + 1, rtol)
        if states is None or ahead is None:
            return None
        seen = subject.observe(states)
        past[rtol] = _windows(seen, origins, longest)
        future[rtol] = _windows(seen, origins + horizon, horizon)
        integrated[rtol] = subject.observe(ahead[:, 1:])
    windows = len(latest)
    return Orbits(
        past=past,
        future=future,
        exact=_windows(subject.observe(exact), origins + further, further),
        integrated=integrated,
        spread=np.repeat(seen.reshape(-1, seen.shape[2]).std(axis=0)[None], windows, axis=0),
        rate=np.full(windows, subject.lyapunov * step),
        systems=(subject.name,) * windows,
    )


def _starts(subject: Subject, ensemble: EnsembleConfig, count: int) -> np.ndarray | None:
    """States of one orbit past its transient, some periods apart."""
    times = np.concatenate([[0.0], ensemble.transient + 1 + _APART * np.arange(count)])
    solution = integrate(
        subject.rhs, subject.initial[None], subject.vector, times * subject.period,
        bound=subject.bounds,
    )  # fmt: skip
    return solution.states[0, 1:] if solution.ok.all() else None


def _integrated(
    subject: Subject, initial: np.ndarray, step: float, length: int, rtol: float
) -> np.ndarray | None:
    """``[start, bar, state]``; None where one of them fails."""
    solution = integrate(
        subject.rhs,
        initial,
        subject.vector,
        step * np.arange(length),
        tolerance=Tolerance(rtol=rtol, atol=max(rtol / 10, 1e-14)),
        bound=subject.bounds,
    )
    return solution.states if solution.ok.all() else None


def _windows(states: np.ndarray, origins: np.ndarray, length: int) -> np.ndarray:
    """The last ``length`` bars before each origin, ``[start · origin, length, variate]``."""
    cut = np.stack([states[:, origin - length : origin] for origin in origins], axis=1)
    return cut.reshape(-1, length, states.shape[2])


def _stacked(parts: Sequence[np.ndarray], width: int) -> np.ndarray:
    """With NaN for the variates that a system lacks."""
    padded = [
        np.concatenate([part, np.full((*part.shape[:-1], width - part.shape[-1]), np.nan)], axis=-1)
        for part in parts
    ]
    return np.concatenate(padded)
