"""Maps by which a driver acts on a response, each compiled once for all pairs.

As :func:`tsfm.data.ode.couple` wants them, they change ``out``, the flows of driver and response,
in place. What they must know lies behind the parameters of both systems, as :func:`parameters_of`
writes it. Both flows end up per period of their own system; drivers are standardised. See
:mod:`tsfm.data.dynamics.skew` for the formulas.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tsfm.data.kernel_cache import njit

_inline = njit(error_model="numpy", forceinline=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class Amplitudes:
    """Of a system on its attractor: its period, and of each state mean, deviation, RMS of flow."""

    period: float
    mean: Float[np.ndarray, " state"]
    deviation: Float[np.ndarray, " state"]
    flow: Float[np.ndarray, " state"]


def parameters_of(
    driver: Amplitudes, response: Amplitudes, sources: Int[np.ndarray, " state"], strength: float
) -> Float[np.ndarray, " parameter"]:
    """The parameters of a map; ``sources`` are the driver's states, -1 for none, by response's."""
    return np.concatenate(
        [
            *(driver.flow, driver.mean, driver.deviation),
            *(response.flow, response.mean, response.deviation, sources),
            [driver.period, response.period, strength, driver.mean.size],
        ]
    )


@_inline
def _places(state, parameters):  # type: ignore[no-untyped-def]
    """States of the driver and of the response, and where their parameters begin."""
    n = int(parameters[parameters.size - 1])
    m = state.size - n
    response = parameters.size - 4 - 4 * m
    return n, m, response - 3 * n, response


@_inline
def _per_period(parameters, n, m, out):  # type: ignore[no-untyped-def]
    driver, response = parameters[parameters.size - 4], parameters[parameters.size - 3]
    for i in range(n):
        out[i] *= driver
    for i in range(n, n + m):
        out[i] *= response


def flow(_t: float, state: Any, parameters: Any, out: Any) -> None:
    """The driver's flow is added to the response's."""
    n, m, driver, response = _places(state, parameters)
    strength = parameters[parameters.size - 2]
    for i in range(m):
        source = int(parameters[response + 3 * m + i])
        if source >= 0:
            push = out[source] / parameters[driver + source]
            out[n + i] += strength * parameters[response + i] * push
    _per_period(parameters, n, m, out)


def state(_t: float, state: Any, parameters: Any, out: Any) -> None:
    """The driver's state is added to the response's flow."""
    n, m, driver, response = _places(state, parameters)
    strength = parameters[parameters.size - 2]
    for i in range(m):
        k = int(parameters[response + 3 * m + i])
        if k >= 0:
            push = (state[k] - parameters[driver + n + k]) / parameters[driver + 2 * n + k]
            out[n + i] += strength * parameters[response + i] * push
    _per_period(parameters, n, m, out)


def diffusive(_t: float, state: Any, parameters: Any, out: Any) -> None:
    """The response is drawn to the driver's state."""
    n, m, driver, response = _places(state, parameters)
    strength = parameters[parameters.size - 2]
    for i in range(m):
        k = int(parameters[response + 3 * m + i])
        if k >= 0:
            push = (state[k] - parameters[driver + n + k]) / parameters[driver + 2 * n + k]
            own = state[n + i] - parameters[response + m + i]
            push -= own / parameters[response + 2 * m + i]
            out[n + i] += strength * parameters[response + i] * push
    _per_period(parameters, n, m, out)


def speed(_t: float, state: Any, parameters: Any, out: Any) -> None:
    """A state of the driver makes the response faster or slower."""
    n, m, driver, response = _places(state, parameters)
    k = 0
    for i in range(m):
        k = max(k, int(parameters[response + 3 * m + i]))
    level = (state[k] - parameters[driver + n + k]) / parameters[driver + 2 * n + k]
    factor = exp(parameters[parameters.size - 2] * level)
    for i in range(m):
        out[n + i] *= factor
    _per_period(parameters, n, m, out)


MAPS = {"flow": flow, "state": state, "diffusive": diffusive, "speed": speed}
