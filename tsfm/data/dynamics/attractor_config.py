"""Thresholds of the attractor tests: checked before anything is integrated."""

from __future__ import annotations

from dataclasses import dataclass

from tsfm.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class AttractorConfig:
    """What :func:`tsfm.data.dynamics.attractors.judge_attractor` accepts as chaotic.

    The tests follow dystformer and Panda (Lai, Bao & Gilpin 2025, arXiv 2505.13755, appendix);
    unlike there, none is switched off.

    Attributes
    ----------
    max_value
        Largest absolute value of any state.
    max_zscore
        Largest distance from the mean, in standard deviations of the coordinate.
    tail_share
        Last part of the trajectory that must not stand still.
    min_tail_range
        Least range of the tail, as a share of the whole range, of the liveliest coordinate.
    decay_share
        Last part of the trajectory whose amplitude must not shrink from block to block.
    decay_blocks
        Blocks that it is cut into.
    min_decay_ratio
        Decaying: the amplitude shrinks below this ratio at every block.
    max_line_share
        Largest share of variance on the first principal component.
    cycle_tolerance
        Distance that counts as a return, in standard deviations (root mean square over
        coordinates).
    max_cycle_share
        Largest share of points that return after one and the same time.
    min_spectral_floor
        Least median power in the band up to twice the dominant frequency, relative to the
        highest peak, of the most broadband coordinate.
    stationarity_level
        Not stationary: in some coordinate ADF keeps a unit root (p at least this) and KPSS
        rejects stationarity (p below this).
    zero_one_draws
        Frequencies drawn for the 0–1 test.
    min_zero_one
        Least K, the median over frequencies, of the coordinate where it is largest. (Panda's K of
        0.5 at a fifth of the frequencies lets every torus of our tests pass.)
    min_lyapunov
        The largest Lyapunov exponent must exceed it, in nats per period.
    max_disagreement
        Largest distance of a second integration at another tolerance over one Lyapunov time, in
        standard deviations.
    seed
        Of the 0–1 test's frequencies.

    Raises
    ------
    ConfigError
        When a value is out of its range.
    """

    max_value: float = 1e4
    max_zscore: float = 10.0
    tail_share: float = 0.05
    min_tail_range: float = 1e-3
    decay_share: float = 0.5
    decay_blocks: int = 8
    min_decay_ratio: float = 0.99
    max_line_share: float = 0.98
    cycle_tolerance: float = 0.005
    max_cycle_share: float = 0.8
    min_spectral_floor: float = 1e-7
    stationarity_level: float = 0.05
    zero_one_draws: int = 100
    min_zero_one: float = 0.2
    min_lyapunov: float = 0.0
    max_disagreement: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_value", "max_zscore", "cycle_tolerance", "max_disagreement"):
            if not getattr(self, name) > 0:
                self._refuse(name, "a positive number")
        shares = (
            "tail_share",
            "min_tail_range",
            "decay_share",
            "min_decay_ratio",
            "max_line_share",
            "max_cycle_share",
            "stationarity_level",
        )
        for name in shares:
            if not 0 < getattr(self, name) <= 1:
                self._refuse(name, "a number above 0 and at most 1")
        for name, least in {"decay_blocks": 2, "zero_one_draws": 1, "seed": 0}.items():
            if getattr(self, name) < least:
                self._refuse(name, f"at least {least}")
        if not 0 <= self.min_spectral_floor < 1:
            self._refuse("min_spectral_floor", "a number from 0 to below 1")
        if not -1 <= self.min_zero_one <= 1:
            self._refuse("min_zero_one", "a correlation, from -1 to 1")
        if not self.min_lyapunov > float("-inf"):
            self._refuse("min_lyapunov", "a finite number")

    def _refuse(self, name: str, allowed: str) -> None:
        raise ConfigError(
            f"{name}={getattr(self, name)} is out of range",
            where="attractor validity",
            remedy=f"give {allowed}",
        )
