"""Continuous glucose monitors: what they show beside the glucose under the skin.

The error model of simglucose, after Breton & Kovatchev, Analysis, modeling, and simulation of the
accuracy of continuous glucose sensors, J. Diabetes Sci. Technol. 2:853, 2008: an autoregressive
process of order one every 15 minutes, made skewed and heavy-tailed by Johnson's unbounded system,
joined by cubic splines over 150 minutes each. Its numbers are those of simglucose's table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
from jaxtyping import Float
from numpy.lib.stride_tricks import sliding_window_view

from tsfm.data.glucose.cohort_config import SENSORS
from tsfm.data.glucose.uva_padova import table
from tsfm.errors import one_of

SAMPLE_MINUTES, ERROR_MINUTES = 5, 15
STEPS = ERROR_MINUTES // SAMPLE_MINUTES

_KNOTS = 10


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """A sensor's error and range, in mg/dL.

    Attributes
    ----------
    persistence
        Of the autoregressive process; also the standard deviation of its innovations.
    gamma, lambda_, delta, xi
        Of Johnson's unbounded system: ``xi + lambda_ * sinh((e - gamma) / delta)``.
    lowest, highest
        Outside of which it shows these.
    """

    persistence: float
    gamma: float
    lambda_: float
    delta: float
    xi: float
    lowest: float
    highest: float

    def error(self, count: int, rng: np.random.Generator) -> Float[np.ndarray, " sample"]:
        """``count`` errors, five minutes apart."""
        keep, blocks = self.persistence, -(-count // (_KNOTS * STEPS))
        kicks = rng.standard_normal(blocks * _KNOTS + 1)
        kicks[1:] *= keep
        process = np.array(list(accumulate(kicks, lambda error, kick: keep * error + kick)))
        coarse = self.xi + self.lambda_ * np.sinh((process - self.gamma) / self.delta)
        knots = sliding_window_view(coarse, _KNOTS + 1)[::_KNOTS]
        return np.einsum("bk,sk->bs", knots, _spline()).reshape(-1)[:count]


@lru_cache(maxsize=1)
def _spline() -> Float[np.ndarray, "sample knot"]:
    """From eleven errors to the thirty samples from the first to before the last."""
    from scipy.interpolate import CubicSpline

    spline = CubicSpline(np.arange(_KNOTS + 1) * STEPS, np.eye(_KNOTS + 1))
    return spline(np.arange(_KNOTS * STEPS))


def load_sensor(name: str) -> Sensor:
    """``Dexcom``, ``GuardianRT``, ``Navigator``; ``exact`` shows what there is, without limits.

    Raises
    ------
    ConfigError
        For any other name.
    """
    one_of("sensor", name, SENSORS)
    if name == "exact":
        return Sensor(
            persistence=0.0, gamma=0.0, lambda_=0.0, delta=1.0, xi=0.0, lowest=0.0, highest=1e9
        )
    row = {
        key: float(value) for key, value in table("sensor_params")[name].items() if key != "Name"
    }
    return Sensor(
        persistence=row["PACF"],
        gamma=row["gamma"],
        lambda_=row["lambda"],
        delta=row["delta"],
        xi=row["xi"],
        lowest=row["min"],
        highest=row["max"],
    )
