"""How forecasts of chaotic systems are judged: checked before anything is forecast."""

from __future__ import annotations

from dataclasses import dataclass

from tsfm.errors import ConfigError, one_of

KL_METHODS = ("mixture", "histogram")


@dataclass(frozen=True, kw_only=True)
class ChaosConfig:
    """What :mod:`tsfm.evaluation.chaos` and :mod:`tsfm.evaluation.invariants` measure.

    Attributes
    ----------
    horizons
        Errors are averaged over the first so many steps, for each of them that the task reaches.
    standardise
        Score series in units of each variate's mean and deviation over the context, so that
        systems of different units can be averaged (as Panda does; sMAPE depends on it).
    valid_threshold
        A forecast is valid until its error, root mean square over variates in deviations of the
        attractor, exceeds this (0.4: Vlachas et al. 2020, Neural Networks 126).
    cluster
        Static attribute whose values the bootstrap resamples: ``system`` or ``family``.
    spectrum_smoothing
        Width of the Gaussian that smooths power spectra before they are compared, in bins.
    kl_method
        ``mixture`` (one Gaussian per point) or ``histogram`` (needs some 1,000 points per
        dimension).
    kl_variance
        Of the mixture's Gaussians, in standardised coordinates (1: Hess et al. 2023).
    kl_samples
        Monte Carlo points of the mixture.
    kl_bins
        Of the histogram, per coordinate.
    invariant_steps
        Least steps of a forecast whose attractor is measured.
    seed
        Of the Monte Carlo points.

    Raises
    ------
    ConfigError
        When a value is out of its range.
    """

    horizons: tuple[int, ...] = (16, 32, 64, 128, 512)
    standardise: bool = True
    valid_threshold: float = 0.4
    cluster: str = "system"
    spectrum_smoothing: float = 2.0
    kl_method: str = "mixture"
    kl_variance: float = 1.0
    kl_samples: int = 1000
    kl_bins: int = 30
    invariant_steps: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "horizons", tuple(self.horizons))
        steps = self.horizons
        if not steps or steps[0] < 1 or list(steps) != sorted(set(steps)):
            raise ConfigError(
                f"horizons={steps} are not increasing numbers of steps",
                where="judging of chaos",
                remedy="give for instance (16, 64, 128)",
            )
        one_of("kl_method", self.kl_method, KL_METHODS)
        one_of("cluster", self.cluster, ("system", "family"))
        for name in ("valid_threshold", "kl_variance"):
            if not getattr(self, name) > 0:
                self._refuse(name, "a positive number")
        for name, least in {
            "kl_samples": 1,
            "kl_bins": 2,
            "invariant_steps": 64,
            "seed": 0,
        }.items():
            if getattr(self, name) < least:
                self._refuse(name, f"at least {least}")
        if not self.spectrum_smoothing >= 0:
            self._refuse("spectrum_smoothing", "zero or a positive number")

    def _refuse(self, name: str, allowed: str) -> None:
        raise ConfigError(
            f"{name}={getattr(self, name)} is out of range",
            where="judging of chaos",
            remedy=f"give {allowed}",
        )
