"""Skew products: a system that drives another, through one of several maps.

Both members run in units of their own period and are coupled in units of their own amplitude and
flow, so that no pair is coupled a thousand times more strongly than another. With the driver's
state x, its flow f and period P, the response's y, g and Q, and a strength κ, the driver is
x' = P f(x), and the response one of

========== ======================================================================================
flow       y' = Q (g(y) + κ ĝ · π[f(x) / f̂]): the driver's permuted flow is added, as in dystformer
           and Panda (Lai, Bao & Gilpin 2025), where both flows are divided by their RMS
state      y' = Q (g(y) + κ ĝ · π[u]): its standardised state u is added
diffusive  y' = Q (g(y) + κ ĝ · (π[u] - v)): the response's standardised state v is drawn to it
speed      y' = Q exp(κ uₖ) g(y): one of its states makes the response faster or slower
========== ======================================================================================

where f̂ and ĝ are root mean squares of each component of the flow and π is a random choice of the
driver's components, with zeros for those that it lacks. Time counts periods.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from tsfm.data.dynamics.couplings import MAPS, Amplitudes, parameters_of
from tsfm.data.dynamics.families import is_held_out
from tsfm.data.dynamics.subjects import Subject, named_generator
from tsfm.data.dynamics.systems import System, load_system
from tsfm.data.ode import Tolerance, compile_rhs, couple, integrate
from tsfm.errors import ConfigError, DataError, one_of

_TRANSIENT, _SPAN, _SAMPLES = 30, 32, 1024
_LEAP = 1e-3
"""Periods between two states whose difference is the flow's."""

_TIME_DEPENDENT = frozenset({"Torus"})
"""Without a clock among the states, unlike all forced systems."""

Pair = tuple[str, str]


def can_be_coupled(system: System) -> bool:
    """Whether its states are bounded and its flow does not depend on time."""
    return not (system.unbounded or system.forced or system.name in _TIME_DEPENDENT)


def draw_pairs(
    systems: Sequence[str], count: int, *, seed: int, held_out: frozenset[str], max_dimension: int
) -> list[Pair]:
    """Different pairs of driver and response.

    Pairs with a member of a held-out family are as frequent among them as held-out systems are
    among the systems, while there are any.
    """
    able = [system for name in sorted(systems) if can_be_coupled(system := load_system(name))]
    pairs = [
        (driver.name, response.name)
        for driver in able
        for response in able
        if driver.name != response.name and driver.dimension + response.dimension <= max_dimension
    ]
    apart = np.array([is_held_out(pair, held_out) for pair in pairs], bool)
    share = np.mean([is_held_out([name], held_out) for name in systems])
    rng = np.random.default_rng([seed, len("pairs")])
    order = rng.permutation(len(pairs))
    outside, inside = order[apart[order]], order[~apart[order]]
    wanted = min(round(share * count), len(outside))
    chosen = [*inside[: count - wanted], *outside[:wanted]]
    return [pairs[place] for place in chosen]


def skew_product(
    driver: System,
    response: System,
    coupling: str,
    *,
    strength: float = 0.5,
    seed: int = 0,
    bound: float = 1e4,
) -> Subject:
    """Couple two systems.

    Parameters
    ----------
    coupling
        ``flow``, ``state``, ``diffusive`` or ``speed``.
    strength
        κ.
    seed
        Of the choice of the driver's components, with the names.
    bound
        Largest absolute value of any state.

    Raises
    ------
    ConfigError
        When the coupling is not known, or a system depends on time or has unbounded states.
    DataError
        When a system by itself cannot be integrated with its published parameters.
    """
    one_of("coupling", coupling, MAPS)
    for system in (driver, response):
        if not can_be_coupled(system):
            raise ConfigError(
                f"{system.name} cannot be coupled",
                remedy="choose systems of bounded states whose flow does not depend on time",
            )
    name = f"{driver.name}->{response.name}/{coupling}"
    n, m = driver.dimension, response.dimension
    sizes = amplitudes(driver.name), amplitudes(response.name)
    own = np.concatenate([driver.vector, response.vector])
    sources = named_generator(name, seed).permutation(max(n, m))[:m]
    fixed = parameters_of(*sizes, np.where(sources < n, sources, -1), strength)
    return Subject(
        name=name,
        members=(driver.name, response.name),
        coupling=coupling,
        rhs=couple(
            driver.rhs,
            response.rhs,
            compile_rhs(MAPS[coupling]),
            driver_states=n,
            driver_parameters=driver.vector.size,
            response_parameters=response.vector.size,
        ),
        vector=np.concatenate([own, fixed]),
        free=own.size,
        parameter_names=(
            *(f"driver.{parameter}" for parameter in driver.parameter_names),
            *(f"response.{parameter}" for parameter in response.parameter_names),
        ),
        period=1.0,
        lyapunov=max(driver.lyapunov * driver.period, response.lyapunov * response.period),
        initial=np.concatenate([driver.initial, response.initial]),
        bounds=np.full(n + m, bound),
        dimension=n + m,
        observe=np.copy,
        judged=n,
    )


@lru_cache(maxsize=256)
def amplitudes(name: str) -> Amplitudes:
    """Of a system with its published parameters, over 32 periods after 30.

    Raises
    ------
    DataError
        When it cannot be integrated.
    """
    system = load_system(name)
    moments = _TRANSIENT + np.linspace(0, _SPAN, _SAMPLES)
    pairs = (moments[:, None] + [0, _LEAP]).ravel()
    solution = integrate(
        system.rhs,
        system.initial[None],
        system.vector,
        np.concatenate([[0.0], pairs]) * system.period,
        tolerance=Tolerance(max_steps=300_000),
        bound=None,
        workers=1,
    )
    if not solution.ok[0]:
        raise DataError(f"{name} cannot be integrated", remedy="leave it out of skew products")
    states, after = solution.states[0, 1::2], solution.states[0, 2::2]
    flows = (after - states) / (_LEAP * system.period)
    return Amplitudes(
        period=system.period,
        mean=states.mean(axis=0),
        deviation=_positive(states.std(axis=0)),
        flow=_positive(np.sqrt((flows**2).mean(axis=0))),
    )


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, 1.0)
