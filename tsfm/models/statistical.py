"""Statistical baselines: forecasters without weights, fitted to each series' own context.

Each equals its library (statsforecast) called directly; what is added is the contract: batches,
gaps, constant and short series, any quantile level.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from jaxtyping import Float

from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.base import Context, Forecast, Forecaster
from tsfm.models.marginals import NormalMarginals

FILE_NAME = "config.json"


class Normal(NamedTuple):
    """Marginal forecast of one variate: mean and standard deviation, ``[horizon]`` each."""

    mean: Float[np.ndarray, " horizon"]
    deviation: Float[np.ndarray, " horizon"]


@dataclass(frozen=True, kw_only=True)
class Baseline(Forecaster):
    """Config, files and bookkeeping that all baselines share; a subclass' fields are its config.

    Attributes
    ----------
    max_history
        Latest bars that are used.
    """

    max_history: int = 2048
    reads_history: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.max_history < 2:
            raise ConfigError(
                f"max_history={self.max_history} is too short", remedy="give 2 or more"
            )

    def save(self, directory: str | Path) -> Path:
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        temporary = directory / f".{FILE_NAME}"
        temporary.write_text(json.dumps({"model": self.name, "config": asdict(self)}, indent=2))
        temporary.replace(directory / FILE_NAME)
        return directory

    @classmethod
    def load(cls, directory: str | Path, **config_overrides: Any) -> Self:
        path = Path(directory) / FILE_NAME
        try:
            saved = json.loads(path.read_text())
            model, config = saved["model"], dict(saved["config"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{FILE_NAME} cannot be read: {error!r}",
                where=str(path),
                remedy="give a directory that save() wrote",
            ) from error
        if model != cls.name:
            raise CheckpointError(
                f"the directory holds {model!r}, not {cls.name!r}", where=str(path)
            )
        return cls.from_config(config | config_overrides)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build from config values.

        Raises
        ------
        ConfigError
            When a name is not one of the baseline's fields.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(config) - set(known))
        if unknown:
            raise ConfigError(
                f"{cls.name} has no {', '.join(unknown)}", remedy=f"choose from {', '.join(known)}"
            )
        return cls(**config)

    def info(self) -> dict[str, Any]:
        return {"name": self.name, "parameters": 0, **asdict(self)}


class UnivariateBaseline(Baseline):
    """Forecasts each variate by itself with a normal marginal."""

    @abstractmethod
    def normal(self, past: Float[np.ndarray, " time"], horizon: int, seasonality: int) -> Normal:
        """Forecast one variate; ``past`` holds NaN where unobserved and one value at least."""

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        recent = context.last(self.max_history)
        past = np.where(recent.observed, recent.past, np.nan).astype(np.float64)
        mean = np.full((context.batch_size, horizon, past.shape[2]), np.nan)
        deviation = np.full_like(mean, np.nan)
        for row, variate in np.argwhere(recent.observed.any(axis=1)):
            mean[row, :, variate], deviation[row, :, variate] = self.normal(
                trimmed(past[row, :, variate]), horizon, context.seasonality
            )
        return normal_forecast(mean, deviation, quantile_levels)


@dataclass(frozen=True, kw_only=True)
class RandomWalk(UnivariateBaseline):
    """The last observed value; normal steps with the context's own mean square (``Naive``).

    A step across a gap of *g* bars counts as *g* steps, and forecasts widen by the bars since the
    last observed one.
    """

    name: ClassVar[str] = "random_walk"

    def normal(
        self,
        past: Float[np.ndarray, " time"],
        horizon: int,
        seasonality: int,  # noqa: ARG002
    ) -> Normal:
        bars = np.flatnonzero(np.isfinite(past))
        steps = np.diff(past[bars]) ** 2 / np.diff(bars)
        variance = steps.mean() if len(steps) else 0.0
        ahead = np.arange(1, horizon + 1) + len(past) - 1 - bars[-1]
        return Normal(np.full(horizon, past[bars[-1]]), np.sqrt(variance * ahead))


@dataclass(frozen=True, kw_only=True)
class SeasonalNaive(UnivariateBaseline):
    """The value one season before; normal errors that grow once a season (``SeasonalNaive``).

    Unobserved values are those of the season before; where no whole season and one bar was
    observed, the random walk takes over.

    Attributes
    ----------
    season
        Bars; by default the context's.
    """

    name: ClassVar[str] = "seasonal_naive"
    season: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.season is not None and self.season < 1:
            raise ConfigError(f"season={self.season} is not a number of bars")

    def normal(self, past: Float[np.ndarray, " time"], horizon: int, seasonality: int) -> Normal:
        season = self.season or seasonality
        errors = past[season:] - past[:-season]
        errors = errors[np.isfinite(errors)]
        if len(errors) == 0:
            return RandomWalk().normal(past, horizon, 1)
        cycle = _carried_by_season(past, season)[-season:]
        ahead = np.arange(horizon)
        deviation = np.sqrt((errors**2).mean() * (1 + ahead // season))
        return Normal(cycle[ahead % season], deviation)


@dataclass(frozen=True, kw_only=True)
class AutoETS(UnivariateBaseline):
    """Exponential smoothing in state-space form, chosen by AICc (statsforecast's ``AutoETS``).

    Gaps are carried forward. A seasonal component is tried (it costs 10 to 20 times the rest) where
    the season was seen twice, is no longer than 24 bars (the library's limit), and shows in the
    differences at 90 % (the M4 competition's test). Series too short or too odd for the library
    fall back to the random walk.

    Attributes
    ----------
    model
        Components of the library's code for error, trend and season: the error additive ``A`` (so
        that quantiles are analytic and log data may be negative), trend ``N``, ``A`` or ``Z``
        (choose), season likewise. By default no trend: on bars it costs four times the time and
        wins nothing.
    max_history
        Latest bars that are used; the fit costs time in proportion.
    """

    name: ClassVar[str] = "auto_ets"
    max_history: int = 512
    model: str = "ANZ"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch("A[NAZ][NAZ]", self.model):
            raise ConfigError(
                f"model={self.model!r} is not an additive ETS",
                remedy="give A, then N, A or Z for the trend, then N, A or Z for the season",
            )

    def normal(self, past: Float[np.ndarray, " time"], horizon: int, seasonality: int) -> Normal:
        values = carried(past)
        seasonal = 1 < seasonality <= _LONGEST_ETS_SEASON and is_seasonal(values, seasonality)
        season = seasonality if seasonal else 1
        model = self.model if seasonal else f"{self.model[:2]}N"
        if len(values) < _SHORTEST_ETS:
            return RandomWalk().normal(past, horizon, 1)
        try:
            return _ets(values, horizon, season, model)
        except Exception as error:  # the library raises bare Exception when no model can be fitted
            if "no model able to be fitted" not in str(error):
                raise
            return RandomWalk().normal(past, horizon, 1)


@dataclass(frozen=True, kw_only=True)
class Theta(UnivariateBaseline):
    """The standard theta method (Assimakopoulos & Nikolopoulos 2000; statsforecast's ``Theta``).

    Half the slope of the line through all bars, added to exponential smoothing. No season is taken
    out. The deviation is that of smoothing with a drift, to which the method is equal (Hyndman &
    Billah 2003), so that quantiles need no sampling. Gaps are carried forward; series too short or
    constant fall back to the random walk.

    Attributes
    ----------
    max_history
        Latest bars that are used.
    """

    name: ClassVar[str] = "theta"
    max_history: int = 512

    def normal(
        self,
        past: Float[np.ndarray, " time"],
        horizon: int,
        seasonality: int,  # noqa: ARG002
    ) -> Normal:
        from statsforecast.models import Theta as Library

        values = carried(past)
        if len(values) < _SHORTEST_ETS or np.ptp(values) == 0:
            return RandomWalk().normal(past, horizon, 1)
        fitted = Library(season_length=1).fit(values)
        smoothing = float(fitted.model_["par"]["alpha"])
        deviation = np.std(fitted.model_["residuals"][3:], ddof=1)
        steps = np.arange(horizon)
        return Normal(
            fitted.predict(horizon)["mean"], deviation * np.sqrt(1 + steps * smoothing**2)
        )


_LONGEST_ETS_SEASON = 24
_SHORTEST_ETS = 12
_LEVEL = 80


def _ets(values: np.ndarray, horizon: int, season: int, model: str) -> Normal:
    from scipy.stats import norm
    from statsforecast.models import AutoETS as Library

    fitted = Library(season_length=season, model=model).forecast(values, horizon, level=[_LEVEL])
    reach = norm.ppf(0.5 + _LEVEL / 200)
    return Normal(fitted["mean"], (fitted[f"hi-{_LEVEL}"] - fitted["mean"]) / reach)


def is_seasonal(values: Float[np.ndarray, " time"], season: int) -> bool:
    """Whether the differences' autocorrelation at the season is significant at 90 %.

    The test of the M4 competition's ``Naive2`` (Makridakis et al. 2020), on differences since the
    levels of a random walk would pass it.
    """
    if len(values) <= 2 * season + 8:
        return False
    steps = np.diff(values)
    steps = steps - steps.mean()
    power = float(steps @ steps)
    if power == 0:
        return False
    correlation = np.array([steps[lag:] @ steps[:-lag] for lag in range(1, season + 1)]) / power
    limit = 1.645 * np.sqrt((1 + 2 * (correlation[:-1] ** 2).sum()) / len(steps))
    return bool(abs(correlation[-1]) > limit)


def normal_forecast(
    mean: Float[np.ndarray, "batch horizon variate"],
    deviation: Float[np.ndarray, "batch horizon variate"],
    quantile_levels: tuple[float, ...],
) -> Forecast:
    """A forecast with normal marginals."""
    from scipy.special import ndtri

    quantiles = mean[..., None] + deviation[..., None] * ndtri(np.asarray(quantile_levels))
    return Forecast(
        quantiles=quantiles.astype(np.float32),
        quantile_levels=quantile_levels,
        mean=mean.astype(np.float32),
        distribution=NormalMarginals(mean=mean, deviation=deviation),
    )


def trimmed(past: Float[np.ndarray, " time"]) -> Float[np.ndarray, " observed"]:
    """Without what comes before the first observed value."""
    return past[int(np.isfinite(past).argmax()) :]


def carried(past: Float[np.ndarray, "*batch time"]) -> Float[np.ndarray, "*batch time"]:
    """The last observed value in every gap; NaN before the first one."""
    bars = np.where(np.isfinite(past), np.arange(past.shape[-1]), 0)
    return np.take_along_axis(past, np.maximum.accumulate(bars, axis=-1), axis=-1)


def _carried_by_season(past: np.ndarray, season: int) -> np.ndarray:
    """Each gap as one season before, or as the bar before where no season before was observed."""
    if np.isfinite(past).all():
        return past
    filled = past.copy()
    for bar in np.flatnonzero(~np.isfinite(past)):
        earlier = filled[bar - season] if bar >= season else np.nan
        filled[bar] = earlier if np.isfinite(earlier) else filled[bar - 1]
    return filled
