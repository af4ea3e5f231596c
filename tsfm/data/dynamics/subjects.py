"""What is integrated: a system, or two of them coupled, with the same attributes."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float

from tsfm.data.dynamics.systems import System
from tsfm.data.ode import Rhs

Observe = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A system or a skew product, ready to be perturbed and integrated.

    Attributes
    ----------
    name
        ``Lorenz``, or ``Lorenz->Rossler/flow``.
    members
        The systems in it: itself, or driver and response.
    coupling
        The map of a skew product, else empty.
    vector
        The parameters; the ``free`` first ones have names and are perturbed.
    period, lyapunov
        Of the published parameters, in the subject's unit of time; nats per unit of time.
    initial
        ``[state]``, on or near the attractor.
    bounds
        ``[state]``, beyond which it diverges.
    dimension
        Of what :attr:`observe` makes of states ``[..., state]``.
    judged
        First observable that must pass the attractor tests: the first of the response.
    """

    name: str
    members: tuple[str, ...]
    coupling: str = ""
    rhs: Rhs
    vector: Float[np.ndarray, " parameter"]
    free: int
    parameter_names: tuple[str, ...]
    period: float
    lyapunov: float
    initial: Float[np.ndarray, " state"]
    bounds: Float[np.ndarray, " state"]
    dimension: int
    observe: Observe
    judged: int = 0

    @classmethod
    def of(cls, system: System, bound: float) -> Self:
        """A system by itself, with states bounded by ``bound``."""
        return cls(
            name=system.name,
            members=(system.name,),
            rhs=system.rhs,
            vector=system.vector,
            free=system.vector.size,
            parameter_names=system.parameter_names,
            period=system.period,
            lyapunov=system.lyapunov,
            initial=system.initial,
            bounds=system.bounds(bound),
            dimension=system.observe(system.initial).shape[-1],
            observe=system.observe,
        )

    @property
    def role(self) -> str:
        """``system`` or ``skew``."""
        return "skew" if self.coupling else "system"

    def perturbed(
        self, scale: float, count: int, rng: np.random.Generator
    ) -> Float[np.ndarray, "draw parameter"]:
        """Parameters shifted by N(0, (scale · |p|)²)."""
        drawn = np.repeat(self.vector[None], count, axis=0)
        drawn[:, : self.free] += (
            scale * np.abs(self.vector[: self.free]) * rng.standard_normal((count, self.free))
        )
        return drawn


def named_generator(name: str, *seeds: int) -> np.random.Generator:
    """Random numbers that depend on the name and the seeds only, not on what else is drawn."""
    return np.random.default_rng([*seeds, zlib.crc32(name.encode())])
