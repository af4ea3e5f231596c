"""One global gradient-boosted model of quantiles, fitted on a panel: the tabular baseline.

LightGBM (Ke et al. 2017) with its quantile objective, one booster a level, the step ahead being a
feature; as global models of this kind are used in the M5 competition (Makridakis et al. 2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from jaxtyping import Float

from tsfm.errors import ConfigError, DataError
from tsfm.models.base import Context, Forecast, Forecaster
from tsfm.models.batching import next_timestamps
from tsfm.models.boosting_config import BoostingConfig
from tsfm.models.boosting_features import (
    Examples,
    Layout,
    calendar,
    seen,
    training_examples,
)
from tsfm.models.boosting_fit import EARLY, boosted, mixed, penalty_of, rounds_of
from tsfm.models.quantiles import between_levels

if TYPE_CHECKING:
    from lightgbm import Booster

    from tsfm.data.panel import Panel

_VALUES_AT_ONCE = 10_000_000
_FEWEST_EXAMPLES = 100


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
    simple forecasts (trailing means, drift, seasonal ones), fitted by ridge regression, is
    corrected by the boosters, which need not learn levels then. How far the mix is shrunk towards
    the last value, and how many trees there are, is decided on the last fifth of the series, by
    fits to what comes before. Quantiles are sorted, and the mean is the median. Gaps are carried
    forward, and how much is missing is a feature. Covariates are not seen. Past the fitted horizon
    medians are fed back, each later block adding the squared distance from the median at the last
    step fed back. Fitted by :meth:`fit` on a panel; where a task is asked of it unfitted, it is
    fitted on the task's earlier bars (:mod:`tsfm.evaluation.fitting`).
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
        early = examples.place < EARLY
        shrinking = penalty_of(told.bases, outcome, early)
        rounds = rounds_of(told, outcome, early, shrinking, config)
        base = mixed(told.bases, outcome, shrinking)
        boosters = boosted(told.features, outcome - told.bases @ base, config, rounds)
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
        return {"name": self.name, "parameters": leaves, "config": self.config.to_dict()}


def _trees(booster: Booster) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = booster.dump_model()["tree_info"]
    return found
