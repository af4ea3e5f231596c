"""How a model is looked into: checked before anything is simulated or forecast."""

from __future__ import annotations

from dataclasses import dataclass

from tsfm.errors import ConfigError

ANALYSES = ("forgetting", "embeddings", "tokens", "koopman", "context")


@dataclass(frozen=True, kw_only=True)
class ForgettingConfig:
    """Ordinary series forecast before and after training.

    Attributes
    ----------
    context, horizon
        Bars; a series that is shorter than twice both is asked from half of its bars.
    windows
        Most origins of a series, a horizon apart.
    """

    context: int = 512
    horizon: int = 24
    windows: int = 20

    def __post_init__(self) -> None:
        _at_least("forgetting", self, context=8, horizon=1, windows=1)


@dataclass(frozen=True, kw_only=True)
class EmbeddingsConfig:
    """Whether encoder states tell systems apart.

    Attributes
    ----------
    windows_per_item
        Most windows of a trajectory, half a context apart.
    neighbours
        Of other trajectories, that vote on a window's system.
    permutations
        Shufflings of the systems' names among trajectories, which say what chance gives.
    """

    windows_per_item: int = 4
    neighbours: int = 5
    permutations: int = 100

    def __post_init__(self) -> None:
        _at_least("embeddings", self, windows_per_item=1, neighbours=1, permutations=10)


@dataclass(frozen=True, kw_only=True)
class TokensConfig:
    """Errors and states of single tokens.

    Attributes
    ----------
    bars
        In a token that is forecast.
    windows
        Most windows, from all systems alike.
    neighbours
        Of a state, whose divergence is its local rate.
    bins
        Equal shares of tokens by that rate.
    permutations
        Shufflings of the types of tokens.
    """

    bars: int = 16
    windows: int = 96
    neighbours: int = 8
    bins: int = 5
    permutations: int = 20

    def __post_init__(self) -> None:
        _at_least("tokens", self, bars=4, windows=1, neighbours=1, bins=2, permutations=10)


@dataclass(frozen=True, kw_only=True)
class KoopmanConfig:
    """A linear operator on the encoder's states.

    Attributes
    ----------
    stride
        Bars from one window to the next.
    rank
        Principal components of the states that the operator acts on; of delay coordinates too.
    delays
        Bars of the delay coordinates.
    steps
        Strides ahead.
    """

    stride: int = 16
    rank: int = 32
    delays: int = 64
    steps: tuple[int, ...] = (1, 2, 4, 8)

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        _at_least("koopman", self, stride=1, rank=1, delays=1)
        steps = self.steps
        if not steps or steps[0] < 1 or list(steps) != sorted(set(steps)):
            raise ConfigError(f"koopman.steps={steps}", remedy="give for instance [1,2,4,8]")


@dataclass(frozen=True, kw_only=True)
class PrecisionConfig:
    """Context length against the precision of an integration.

    Attributes
    ----------
    lengths
        Bars of context; those beyond the model's own are left out.
    rtols
        Of integrations, loosest first.
    integrated
        Bars that the equations are integrated on: their errors take long to grow.
    reference_rtol
        Of the trajectories that are forecast.
    starts
        Initial conditions of each system.
    windows
        Origins after each of them, a horizon apart.
    threshold
        Of the valid prediction time, in deviations of the attractor.
    """

    lengths: tuple[int, ...] = (32, 64, 128, 256, 512)
    rtols: tuple[float, ...] = (1e-1, 1e-2, 1e-4, 1e-6, 1e-8)
    integrated: int = 1536
    reference_rtol: float = 1e-12
    starts: int = 4
    windows: int = 2
    threshold: float = 0.4

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", tuple(self.lengths))
        object.__setattr__(self, "rtols", tuple(float(rtol) for rtol in self.rtols))
        _at_least("precision", self, starts=1, windows=1, integrated=1)
        if list(self.lengths) != sorted(set(self.lengths)) or min(self.lengths, default=0) < 8:
            raise ConfigError(
                f"precision.lengths={self.lengths}", remedy="give increasing ones from 8 bars"
            )
        falling = list(self.rtols) == sorted(set(self.rtols), reverse=True)
        if not self.rtols or not falling or self.rtols[0] > 0.1:
            raise ConfigError(
                f"precision.rtols={self.rtols}", remedy="give falling ones from 0.1 at most"
            )
        if not 1e-14 <= self.reference_rtol < self.rtols[-1]:
            raise ConfigError(
                f"precision.reference_rtol={self.reference_rtol:g}",
                remedy=f"give 1e-14 or more, less than {self.rtols[-1]:g}",
            )
        if not self.threshold > 0:
            raise ConfigError(f"precision.threshold={self.threshold}", remedy="give more than 0")


def _at_least(where: str, config: object, **least: int) -> None:
    for name, value in least.items():
        if getattr(config, name) < value:
            raise ConfigError(
                f"{where}.{name}={getattr(config, name)} is too small",
                remedy=f"give at least {value}",
            )
