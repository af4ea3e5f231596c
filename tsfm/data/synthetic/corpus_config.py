"""What a corpus of synthetic series is made of."""

from __future__ import annotations

from dataclasses import dataclass

from tsfm.errors import ConfigError

FAMILIES = ("structures", "kernels", "pulses", "walks", "oscillations")


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """A corpus of synthetic series; the same configuration gives the same values.

    Attributes
    ----------
    n_series, length
        Size of the corpus; every series has all bars.
    structures
        Share of sums of parts: level, trend, daily, weekly and other seasons, noise.
    kernels
        Share of random compositions of kernels.
    pulses
        Share of events that are answered by a rise and a decay.
    walks
        Share of random walks and power laws.
    oscillations
        Share of waves that forget their phase.
    most_kernels
        Of one composition.
    disturbed
        Bend, cut, shift, round … part of the series.
    mixed
        Share of series that are mixed with others.
    gaps
        Share of series that begin late or have gaps (NaN).
    seed
        Of everything that is drawn.
    """

    n_series: int = 20_000
    length: int = 2_048
    structures: float = 0.58
    kernels: float = 0.1
    pulses: float = 0.14
    walks: float = 0.1
    oscillations: float = 0.08
    most_kernels: int = 5
    disturbed: bool = True
    mixed: float = 0.15
    gaps: float = 0.06
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("n_series", 1), ("length", 16), ("most_kernels", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"synthetic.{name}={getattr(self, name)}", remedy=f"give at least {least}"
                )
        for name in ("mixed", "gaps"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"synthetic.{name}={getattr(self, name)} lies outside [0, 1]")
        shares = self.shares
        if min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
            raise ConfigError(
                f"shares {shares} of synthetic series do not sum to 1",
                remedy=f"give {', '.join(FAMILIES)} of 0 or more that sum to 1",
            )

    @property
    def shares(self) -> dict[str, float]:
        """Of the families, in their order."""
        return {name: getattr(self, name) for name in FAMILIES}
