"""Trajectories that are known to be chaotic, regular or degenerate, integrated by SciPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from scipy.integrate import solve_ivp

Flow = Callable[[float, np.ndarray], Sequence[float]]


def lorenz(t: float, s: np.ndarray, rho: float = 28.0) -> Sequence[float]:
    return 10 * (s[1] - s[0]), s[0] * (rho - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]


def roessler(t: float, s: np.ndarray, c: float = 5.7) -> Sequence[float]:
    return -s[1] - s[2], s[0] + 0.2 * s[1], 0.2 + s[2] * (s[0] - c)


def chen(t: float, s: np.ndarray) -> Sequence[float]:
    return 35 * (s[1] - s[0]), -7 * s[0] - s[0] * s[2] + 28 * s[1], s[0] * s[1] - 3 * s[2]


def thomas(t: float, s: np.ndarray) -> Sequence[float]:
    return tuple(np.sin(np.roll(s, -1)) - 0.18 * s)


def halvorsen(t: float, s: np.ndarray) -> Sequence[float]:
    x, y, z = s
    return (
        -1.4 * x - 4 * y - 4 * z - y * y,
        -1.4 * y - 4 * z - 4 * x - z * z,
        -1.4 * z - 4 * x - 4 * y - x * x,
    )


def van_der_pol(t: float, s: np.ndarray, mu: float = 1.0) -> Sequence[float]:
    return s[1], mu * (1 - s[0] ** 2) * s[1] - s[0]


def spiral(t: float, s: np.ndarray, damping: float = 0.02) -> Sequence[float]:
    return s[1], -s[0] - damping * s[1], s[0] - s[2]


CHAOTIC: dict[str, tuple[Flow, float]] = {
    "Lorenz": (lorenz, 0.75),
    "Roessler": (roessler, 5.86),
    "Chen": (chen, 0.45),
    "Thomas": (thomas, 12.0),
    "Halvorsen": (halvorsen, 1.6),
}
"""Flows and the time of one oscillation."""


@lru_cache(maxsize=64)
def flow(
    rhs: Flow,
    period: float,
    *,
    periods: float = 32,
    points: int = 1024,
    transient: float = 60,
    rtol: float = 1e-8,
    argument: float | None = None,
    initial: tuple[float, ...] = (1.0, 1.1, 1.2),
) -> np.ndarray:
    """``[time, state]`` over some oscillations after a transient, both counted in periods."""
    times = np.linspace(transient, transient + periods, points) * period
    arguments = None if argument is None else (argument,)
    solution = solve_ivp(
        rhs,
        (0, times[-1]),
        initial,
        t_eval=times,
        rtol=rtol,
        atol=rtol / 10,
        method="DOP853",
        args=arguments,
    )
    states = solution.y.T
    states.flags.writeable = False
    return states


def torus(points: int = 1024, periods: float = 32, ratio: float = 0.6180339887) -> np.ndarray:
    """Two incommensurate oscillations on the surface of a torus."""
    angle = np.linspace(0, 2 * np.pi * periods, points)
    radius = 1 + 0.4 * np.cos(ratio * angle)
    return np.stack(
        [radius * np.cos(angle), radius * np.sin(angle), 0.4 * np.sin(ratio * angle)], axis=1
    )


def logistic_map(points: int, start: float = 0.3) -> np.ndarray:
    values = np.empty(points)
    values[0] = start
    for k in range(1, points):
        values[k] = 4 * values[k - 1] * (1 - values[k - 1])
    return values


def henon_map(points: int) -> np.ndarray:
    states = np.zeros((points + 100, 2))
    for k in range(1, len(states)):
        x, y = states[k - 1]
        states[k] = 1 - 1.4 * x * x + y, 0.3 * x
    return states[100:]
