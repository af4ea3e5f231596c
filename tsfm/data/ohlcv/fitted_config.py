"""What is fitted on training bars: market regimes and the choice of features."""

from __future__ import annotations

from dataclasses import dataclass

from tsfm.errors import ConfigError, one_of

SELECTION_METHODS = ("mutual_information", "permutation", "lasso")
SELECTION_TARGETS = ("log_return", "log_range")


@dataclass(frozen=True, kw_only=True)
class RegimesConfig:
    """A Gaussian hidden Markov model of returns and ranges.

    Attributes
    ----------
    states
        Regimes told apart, from calm to wild.
    columns
        The observed columns, the return first: regimes are ordered by its spread.
    season
        Trailing bars that observations are averaged over, so that the time of day is no regime;
        0: the bars of a session where bars are shorter than a day, else one.
    window
        Trailing bars that observations are standardised by, so that a regime is calm or wild beside
        the recent past of its own series; 0: the training period's own mean and spread, for a
        single series such as a market basket.
    clip
        Standardised observations are cut here, so that no single bar dictates the regime.
    covariance
        ``full``, ``diag`` or ``tied``, as in hmmlearn.
    iterations
        Most steps of expectation–maximisation, from each seed.
    restarts
        Seeds tried; the likeliest model is kept.
    max_bars
        Bars fitted on at most, stretches of some series drawn by ``seed``.
    """

    states: int = 3
    columns: tuple[str, ...] = ("log_return", "log_range")
    season: int = 0
    window: int = 500
    clip: float = 8.0
    covariance: str = "full"
    iterations: int = 100
    restarts: int = 4
    max_bars: int = 50_000
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        one_of("regimes.covariance", self.covariance, ("full", "diag", "tied"))
        if not self.columns or len(set(self.columns)) != len(self.columns):
            raise ConfigError(
                f"regimes.columns={list(self.columns)} are none or repeated",
                remedy="name the observed columns, the return first",
            )
        _at_least("regimes", self, states=2, season=0, window=0, iterations=1, restarts=1, seed=0)
        _at_least("regimes", self, max_bars=100 * self.states)
        if self.window and self.window < 20:
            raise ConfigError(
                f"regimes.window={self.window} is too short to standardise by",
                remedy="give at least 20 bars, or 0 for the training period's own mean and spread",
            )
        if not self.clip > 0:
            raise ConfigError(f"regimes.clip={self.clip} is not positive")


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """Which features are kept.

    Attributes
    ----------
    method
        ``mutual_information``: with the target, by nearest neighbours (Kraskov et al. 2004);
        ``permutation``: the loss of a boosted forest on later rows when a feature is shuffled
        (Breiman 2001); ``lasso``: the weight in a cross-validated Lasso of standardised features.
    target
        Of the bars that follow: their whole return, or the log of their whole range.
    horizon
        How many bars follow.
    max_features
        Kept at most.
    max_correlation
        A feature whose absolute correlation with a better one exceeds this is dropped.
    max_missing
        A feature missing in more than this share of the rows is dropped.
    shadows
        Shuffled copies of features that are scored too: a feature no better than the best of them
        is noise (Kursa and Rudnicki 2010); 0: none.
    max_rows
        Rows fitted on at most, drawn by ``seed``.
    """

    method: str = "mutual_information"
    target: str = "log_range"
    horizon: int = 1
    max_features: int = 24
    max_correlation: float = 0.95
    max_missing: float = 0.5
    shadows: int = 10
    max_rows: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("selection.method", self.method, SELECTION_METHODS)
        one_of("selection.target", self.target, SELECTION_TARGETS)
        _at_least("selection", self, horizon=1, max_features=1, shadows=0, max_rows=100, seed=0)
        if not 0 < self.max_correlation <= 1:
            raise ConfigError(
                f"selection.max_correlation={self.max_correlation} lies outside (0, 1]",
                remedy="give 1 to keep every feature",
            )
        if not 0 <= self.max_missing < 1:
            raise ConfigError(f"selection.max_missing={self.max_missing} lies outside [0, 1)")


def _at_least(where: str, config: object, **least: int) -> None:
    for name, smallest in least.items():
        value = getattr(config, name)
        if int(value) != value or value < smallest:
            raise ConfigError(
                f"{where}.{name}={value!r} is not a whole number of {smallest} or more"
            )
