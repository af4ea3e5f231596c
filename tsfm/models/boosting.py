"""One global gradient-boosted model of quantiles, fitted on a panel: the tabular baseline.

LightGBM (Ke et al. 2017) with its quantile objective, one booster a level, the step ahead being a
feature; as global models of this kind are used in the M5 competition (Makridakis et al. 2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from jaxtyping import Bool, Float

from tsfm.errors import ConfigError, DataError
from tsfm.models.base import QUANTILE_LEVELS, Context, Forecast, Forecaster
from tsfm.models.batching import next_timestamps
from tsfm.models.boosting_features import (
    Examples,
    Layout,
    Seen,
    calendar,
    seen,
    training_examples,
)
from tsfm.models.quantiles import between_levels

if TYPE_CHECKING:
    from lightgbm import Booster

    from tsfm.data.panel import Panel

_VALUES_AT_ONCE = 10_000_000
_FEWEST_EXAMPLES = 100
_EARLY = 0.8


@dataclass(frozen=True, kw_only=True)
class BoostingConfig:
    """Configuration of :class:`Boosting`.

    Attributes
    ----------
    horizon
        Bars forecast by the boosters; longer horizons feed medians back.
    season
        Bars; by default the panel's.
    levels
        Quantile levels that boosters are fitted for; others are interpolated.
    lags
        Latest differences to the last value that are features.
    averages
        Bars of trailing means and deviations that are features, increasing.
    rounds, leaves, learning_rate, min_leaf
        Most trees of each booster, their leaves, the step of each, and examples in a leaf.
    max_examples
        Most training examples (a place in a series and a step ahead of it).
    seed
        Of the examples drawn.
    """

    horizon: int = 48
    season: int | None = None
    levels: tuple[float, ...] = QUANTILE_LEVELS
    lags: int = 8
    averages: tuple[int, ...] = (4, 12, 36)
    rounds: int = 100
    leaves: int = 8
    learning_rate: float = 0.1
    min_leaf: int = 100
    max_examples: int = 12_000
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(float(level) for level in self.levels))
        object.__setattr__(self, "averages", tuple(int(bars) for bars in self.averages))
        least = {
            "horizon": 1,
            "lags": 1,
            "rounds": 1,
            "leaves": 2,
            "min_leaf": 1,
            "max_examples": 1,
        }
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ConfigError(f"{name}={getattr(self, name)}", remedy=f"give at least {value}")
        if self.season is not None and self.season < 1:
            raise ConfigError(f"season={self.season} is not a number of bars")
        if not 0 < self.learning_rate <= 1:
            raise ConfigError(f"learning_rate={self.learning_rate}", remedy="give 0 < rate ≤ 1")
        if not self.levels or any(b <= a for a, b in zip((0.0, *self.levels), (*self.levels, 1.0))):
            raise ConfigError(f"levels={self.levels} are not increasing inside (0, 1)")
        if not self.averages or any(b <= a for a, b in zip((1, *self.averages), self.averages)):
            raise ConfigError(
                f"averages={self.averages} are not increasing numbers of bars",
                remedy="give 2 or more bars each",
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values.

        Raises
        ------
        ConfigError
            When a name is not a field or a value is not allowed.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(
                f"lightgbm has no {', '.join(unknown)}", remedy=f"choose from {', '.join(known)}"
            )
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"a setting of lightgbm has the wrong type: {error}") from error


class Fitted(NamedTuple):
    """What the training examples determined.

    Attributes
    ----------
    base
        Weights of the simple forecasts that the boosters correct.
    boosters
        One a level.
    season
        Bars.
    variates
        Names, in the order of their feature.
    """

    base: Float[np.ndarray, " base"]
    boosters: tuple[Booster, ...]
    season: int
    variates: tuple[str, ...]


class Boosting(Forecaster):
    """LightGBM on lags, trailing means, earlier seasons and the calendar, of all series together.

    Every past is taken from its last value in units of its own mean absolute step. A linear mix of
    simple forecasts (trailing mean, drift, seasonal ones), fitted by least squares, is corrected by
    the boosters, which need not learn levels then. How many trees they have is decided on the last
    fifth of the series, from a fit to what comes before. Quantiles are sorted, and the mean is the
    median. Gaps are carried forward, and how much is missing is a feature. Covariates are not seen.
    Past the fitted horizon medians are fed back, each later block adding the squared distance from
    the median at the last step fed back. Fitted by :meth:`fit` on a panel; where a task is asked of
    it unfitted, it is fitted on the task's earlier bars (:mod:`tsfm.evaluation.fitting`).
    """

    name: ClassVar[str] = "lightgbm"
    reads_history: ClassVar[bool] = True

    def __init__(self, config: BoostingConfig | None = None, fitted: Fitted | None = None) -> None:
        self.config = config or BoostingConfig()
        self.fitted = fitted

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> Self:
        """Unfitted, with some settings.

        Raises
        ------
        ConfigError
            When a name is not a setting or a value is not allowed.
        """
        return cls(BoostingConfig.from_dict(values))

    def sized(
        self,
        *,
        context: int,  # noqa: ARG002
        horizon: int,
        season: int,
        levels: Sequence[float],
        available: int,  # noqa: ARG002
    ) -> Self:
        """Unfitted, for questions of that size."""
        config = replace(self.config, horizon=horizon, season=season, levels=tuple(levels))
        return type(self)(config)

    def fit(self, panel: Panel) -> Self:
        """Fit base and boosters on examples drawn from every series of the panel.

        Raises
        ------
        DataError
            When the panel holds too little to learn from.
        ConfigError
            When lightgbm is not installed.
        """
        config = self.config
        season = config.season or panel.info.seasonality
        layout = self._layout(season)
        examples = training_examples(
            panel, layout, config.horizon, config.max_examples, config.seed
        )
        if len(examples.step) < _FEWEST_EXAMPLES:
            raise DataError(
                f"{len(examples.step)} training examples are too few",
                where=f"panel {panel.info.name}",
                remedy=f"give series that hold {_FEWEST_EXAMPLES} (bar, step ahead) or more",
            )
        told = seen(examples, layout)
        outcome = (examples.outcome - told.last) / told.scale
        rounds = _rounds(told, outcome, examples.place < _EARLY, config)
        base = _mixed(told.bases, outcome)
        boosters = _boosted(told.features, outcome - told.bases @ base, config, rounds)
        self.fitted = Fitted(base, boosters, season, tuple(panel.info.variates))
        return self

    def _layout(self, season: int) -> Layout:
        averages = sorted({*self.config.averages, *((season,) if season > 1 else ())})
        return Layout(season=season, lags=self.config.lags, averages=tuple(averages))

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        fitted = self._expect_fitted()
        layout = self._layout(fitted.season)
        recent = context.last(layout.reach)
        past = np.where(recent.observed, recent.past, np.nan)
        row, variate = np.argwhere(recent.observed.any(axis=1)).T
        places = {name: k for k, name in enumerate(fitted.variates)}
        known = np.array([places.get(name, -1) for name in context.variate_names])
        stamps = next_timestamps(
            context.timestamps, context.future_timestamps, context.freq, horizon
        )
        missing = layout.reach - past.shape[1]
        rows = np.pad(past[row, :, variate], ((0, 0), (missing, 0)), constant_values=np.nan)
        dated = None if stamps is None else stamps[row]
        quantiles = np.full((*past.shape[::2], horizon, len(quantile_levels)), np.nan, np.float32)
        mean = np.full(quantiles.shape[:-1], np.nan, np.float32)
        if len(rows):
            native = self._rolled(rows, known[variate], dated, horizon)
            quantiles[row, variate] = between_levels(native, self.config.levels, quantile_levels)
            mean[row, variate] = between_levels(native, self.config.levels, [0.5])[..., 0]
        return Forecast(
            quantiles=quantiles.swapaxes(1, 2),
            quantile_levels=quantile_levels,
            mean=mean.swapaxes(1, 2),
        )

    def _rolled(
        self,
        past: Float[np.ndarray, "row reach"],
        variate: np.ndarray,
        stamps: np.ndarray | None,
        horizon: int,
    ) -> Float[np.ndarray, "row horizon level"]:
        blocks, fed_back = [], 0.0
        reach, width = past.shape[1], self.config.horizon
        for first in range(0, horizon, width):
            dated = None if stamps is None else stamps[:, first : first + width]
            block = self._block(past, variate, dated, min(width, horizon - first))
            median = between_levels(block, self.config.levels, [0.5])
            away = block - median
            away = np.sign(away) * np.sqrt(away**2 + fed_back)
            blocks.append(median + away)
            fed_back = away[:, -1:] ** 2
            past = np.concatenate([past, median[..., 0]], axis=1)[:, -reach:]
        return np.concatenate(blocks, axis=1)

    def _block(
        self,
        past: Float[np.ndarray, "row reach"],
        variate: np.ndarray,
        stamps: np.ndarray | None,
        horizon: int,
    ) -> Float[np.ndarray, "row horizon level"]:
        fitted = self._expect_fitted()
        layout = self._layout(fitted.season)
        at_once = max(1, _VALUES_AT_ONCE // (horizon * layout.reach))
        parts = []
        for first in range(0, len(past), at_once):
            chosen = np.s_[first : first + at_once]
            count = len(past[chosen])
            dated = None if stamps is None else stamps[chosen].reshape(-1)
            examples = Examples(
                past=np.repeat(past[chosen], horizon, axis=0),
                step=np.tile(np.arange(1, horizon + 1), count),
                variate=np.repeat(variate[chosen], horizon),
                calendar=calendar(dated, count * horizon),
                outcome=np.empty(0),
                place=np.empty(0),
            )
            told = seen(examples, layout)
            corrections = [booster.predict(told.features) for booster in fitted.boosters]
            units = np.sort(np.stack(corrections, axis=1), axis=1)
            units = units + (told.bases @ fitted.base)[:, None]
            values = told.last[:, None] + told.scale[:, None] * units
            parts.append(values.reshape(count, horizon, -1))
        return np.concatenate(parts)

    def _expect_fitted(self) -> Fitted:
        if self.fitted is None:
            raise ConfigError(
                "lightgbm has not been fitted", remedy="call fit(panel), or load a fitted one"
            )
        return self.fitted

    def save(self, directory: str | Path) -> Path:
        """Write ``config.json`` and one text file of LightGBM's own a level."""
        from tsfm.models import boosting_files

        return boosting_files.save(Path(directory), self.config, self._expect_fitted())

    @classmethod
    def load(cls, directory: str | Path, **config_overrides: Any) -> Self:
        from tsfm.models import boosting_files

        return cls(*boosting_files.load(Path(directory), config_overrides))

    def info(self) -> dict[str, Any]:
        """Name, number of parameters (leaves, one value each) and settings."""
        leaves = 0
        if self.fitted is not None:
            trees = (one for booster in self.fitted.boosters for one in _trees(booster))
            leaves = sum(int(tree["num_leaves"]) for tree in trees)
        return {"name": self.name, "parameters": leaves, "config": asdict(self.config)}


def _trees(booster: Booster) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = booster.dump_model()["tree_info"]
    return found


def _mixed(bases: np.ndarray, outcome: np.ndarray) -> Float[np.ndarray, " base"]:
    """Least squares on what is not extreme, with a slight penalty."""
    limit = 10 * np.median(np.abs(outcome)) + 1e-9
    usual = (np.abs(outcome) <= limit) & (np.abs(bases) <= limit).all(axis=1)
    inputs, told = bases[usual], outcome[usual]
    gram = inputs.T @ inputs
    penalty = 1e-3 * np.diag(np.diag(gram)) + 1e-9 * np.eye(len(gram))
    weights: np.ndarray = np.linalg.solve(gram + penalty, inputs.T @ told)
    return weights


def _rounds(
    told: Seen, outcome: np.ndarray, early: Bool[np.ndarray, " row"], config: BoostingConfig
) -> int:
    """How many trees forecast the end of the series' median best, fitted to what comes before."""
    if early.all() or not early.any():
        return config.rounds
    lightgbm = _library()
    residual = outcome - told.bases @ _mixed(told.bases[early], outcome[early])
    shared = _parameters(config, int(early.sum())) | {"alpha": 0.5, "metric": "quantile"}
    data = lightgbm.Dataset(told.features[early], residual[early], params=shared)
    late = lightgbm.Dataset(told.features[~early], residual[~early], reference=data)
    losses: dict[str, dict[str, list[float]]] = {}
    watch = lightgbm.record_evaluation(losses)
    lightgbm.train(shared, data, config.rounds, valid_sets=[late], callbacks=[watch])
    return 1 + int(np.argmin(losses["valid_0"]["quantile"]))


def _boosted(
    features: Float[np.ndarray, "row feature"],
    outcome: Float[np.ndarray, " row"],
    config: BoostingConfig,
    rounds: int,
) -> tuple[Booster, ...]:
    lightgbm = _library()
    shared = _parameters(config, len(outcome))
    data = lightgbm.Dataset(features, outcome, params=shared, free_raw_data=False)
    return tuple(lightgbm.train(shared | {"alpha": level}, data, rounds) for level in config.levels)


def _parameters(config: BoostingConfig, examples: int) -> dict[str, Any]:
    return {
        "objective": "quantile",
        "num_leaves": config.leaves,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": min(config.min_leaf, max(1, examples // 10)),
        "max_bin": 63,
        "seed": config.seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def _library() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise ConfigError("lightgbm is not installed", remedy="pip install lightgbm") from error
    return lightgbm
