"""What an ensemble of trajectories is made of: checked before anything is integrated."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite

from tsfm.data.dynamics.attractor_config import AttractorConfig
from tsfm.errors import ConfigError, one_of

COUPLINGS = ("flow", "state", "diffusive", "speed")


@dataclass(frozen=True, kw_only=True)
class EnsembleConfig:
    """Systems × parameter draws × initial conditions, and skew products of pairs of systems.

    Attributes
    ----------
    n_systems
        Systems drawn from the catalogue, held-out families at their share.
    n_trajectories
        Trajectories of each system and of each skew product.
    n_parameters
        Parameter draws that they are spread over; the first is the published set.
    n_skew
        Skew products, of pairs of the systems: at the held-out share with a held-out member.
    systems
        Names of the systems, in place of drawing ``n_systems``.
    points
        Samples of a trajectory.
    points_per_period
        Samples in the dominant period of the (published) system; of a skew product, of both.
    parameter_scale
        Each parameter p is shifted by a draw of N(0, (scale · \\|p\\|)²).
    couplings
        Maps that drive a response: see :mod:`tsfm.data.dynamics.skew`.
    coupling_strength
        Size of the driving, relative to the response's own flow.
    max_dimension
        States of a skew product at most, driver and response together.
    transient
        Periods that are left out before a parameter draw is looked at.
    attempts
        Rounds of parameter draws in which trajectories that were dropped are made up for.
    rtol, atol
        Of the integration, per step.
    max_steps
        Attempted steps of one integration.
    max_seconds
        Wall-clock seconds of one integration: a last resort, since it depends on the machine.
    held_out
        Share of the systems whose families are held out, see :func:`split_by_family`.
    seed
        Everything random follows from it and from names, whatever the number of threads.
    validity
        Thresholds of the attractor tests.

    Raises
    ------
    ConfigError
        When a value is out of range, a coupling or a system is not known.
    """

    n_systems: int = 100
    n_trajectories: int = 16
    n_parameters: int = 4
    n_skew: int = 50
    systems: tuple[str, ...] = ()
    points: int = 1024
    points_per_period: int = 100
    parameter_scale: float = 0.1
    couplings: tuple[str, ...] = COUPLINGS
    coupling_strength: float = 0.5
    max_dimension: int = 10
    transient: float = 30.0
    attempts: int = 3
    rtol: float = 1e-9
    atol: float = 1e-10
    max_steps: int = 300_000
    max_seconds: float = 60.0
    held_out: float = 0.3
    seed: int = 0
    validity: AttractorConfig = field(default_factory=AttractorConfig)

    def __post_init__(self) -> None:
        for name in ("systems", "couplings"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        least = {
            "n_systems": 1,
            "n_trajectories": 1,
            "n_parameters": 1,
            "n_skew": 0,
            "points": 16,
            "points_per_period": 4,
            "max_dimension": 2,
            "attempts": 1,
            "max_steps": 1,
            "seed": 0,
        }
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ConfigError(
                    f"{name}={getattr(self, name)} is too small", remedy=f"give at least {value}"
                )
        for name in ("parameter_scale", "coupling_strength", "transient"):
            if not (isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ConfigError(
                    f"{name}={getattr(self, name)} is not allowed", remedy="give 0 or more"
                )
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"held_out={self.held_out} lies outside 0 … 1")
        for name in self.couplings:
            one_of("couplings", name, COUPLINGS)
        if self.n_skew and not self.couplings:
            raise ConfigError("couplings is empty", remedy="name some, or give n_skew=0")
        if self.systems:
            self._check_systems()

    def _check_systems(self) -> None:
        from tsfm.data.dynamics.systems import load_system

        for name in self.systems:
            load_system(name)
        repeated = sorted({name for name in self.systems if self.systems.count(name) > 1})
        if repeated:
            raise ConfigError(
                f"systems names {', '.join(repeated)} twice", remedy="name each system once"
            )
