"""A forecaster behind a scaler and an imputation: both undone, and blind to what follows a cutoff.

Foundation models standardise each context and know of gaps by themselves. What is done to the data
before that, as preprocessors of the field do it, is a forecaster around a forecaster: training,
judging and serving go through the same steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from tsfm.data.glucose.imputation import impute
from tsfm.data.windows import Window, WindowSpec
from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.base import Batch, Context, Forecast, Forecaster
from tsfm.models.checkpoint import CONFIG_FILE, own_config, read_config, write_json
from tsfm.models.conditioning_config import ConditioningConfig
from tsfm.models.marginals import ScaledMarginals

if TYPE_CHECKING:
    from tsfm.data.panel import Panel

INNER = "forecaster"
Statistics = Float[np.ndarray, "two variate"]


class Conditioned(nn.Module, Forecaster):
    """A forecaster that sees scaled values with filled gaps, and whose forecasts are scaled back.

    Parameters
    ----------
    inner
        Trained through this one where it can be.
    statistics
        Location and scale by item, ``[2, variate]``; ``""`` is that of all items together.

    Raises
    ------
    ConfigError
        When gaps shall be filled for a model that is trained to fill in masked values: it would
        learn the filling.
    """

    name: ClassVar[str] = "conditioned"

    def __init__(
        self,
        inner: Forecaster,
        config: ConditioningConfig,
        statistics: Mapping[str, Statistics] | None = None,
    ) -> None:
        super().__init__()
        self.inner: Any = inner
        self.conditioning, self.statistics = config, dict(statistics or {})
        settings = getattr(inner, "config", None)
        masked = inner.name == "moirai" or getattr(settings, "mode", "") == "masked"
        if config.imputation != "none" and masked:
            raise ConfigError(
                f"imputation={config.imputation} with {inner.name}, which is trained on values "
                "masked anywhere and would learn the filling",
                remedy="give imputation=none: the model knows which values are unobserved",
            )

    @classmethod
    def fitted(cls, inner: Forecaster, config: ConditioningConfig, panel: Panel) -> Self:
        """With the statistics of training series."""
        if config.scaler == "none":
            return cls(inner, config)
        series = [(one.item_id, one.target) for one in panel]
        if config.scope == "global":
            together = np.concatenate([target for _, target in series], axis=1)
            return cls(inner, config, {"": _statistics(together, config.scaler)})
        return cls(inner, config, {i: _statistics(t, config.scaler) for i, t in series})

    @property
    def window_spec(self) -> WindowSpec:
        return cast(WindowSpec, self.inner.window_spec)

    @property
    def lora_targets(self) -> tuple[str, ...]:
        return cast(tuple[str, ...], self.inner.lora_targets)

    @property
    def head(self) -> nn.Module:
        """The inner model's, which linear probing trains."""
        return cast(nn.Module, self.inner.head)

    def collate(
        self, windows: Iterator[Window], batch_size: int, rng: np.random.Generator
    ) -> Batch:
        """The inner model's batch of conditioned windows."""
        conditioned = (self.condition_window(window) for window in windows)
        return cast(Batch, self.inner.collate(conditioned, batch_size, rng))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """:meth:`loss`, so that wrappers of modules (compilation, data parallel) work."""
        return self.loss(batch)

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The inner model's, in scaled units."""
        return cast(tuple[Tensor, Tensor], self.inner.loss(batch))

    def condition_window(self, window: Window) -> Window:
        """A training window, its context filled, all of it scaled."""
        ahead = getattr(self.inner.config, "steps", None) or self.inner.config.horizon
        past = window.target[:, : max(window.length - ahead, 0)]
        location, scale = self._of(window.item_id, past)
        filled = self._filled(past)
        target = np.concatenate([filled, window.target[:, past.shape[1] :]], axis=1)
        covariates = window.past_covariates
        if covariates is not None and self.conditioning.imputation != "none":
            seen = covariates[:, : past.shape[1]]
            covariates = np.concatenate([self._filled(seen), covariates[:, past.shape[1] :]], 1)
        scaled = ((target - location[:, None]) / scale[:, None]).astype(np.float32)
        return replace(window, target=scaled, past_covariates=covariates)

    def condition(self, context: Context) -> tuple[Context, Statistics, Statistics]:
        """A context filled and scaled, and the location and scale, ``[batch, variate]`` each."""
        past = np.moveaxis(np.where(context.observed, context.past, np.nan), 1, 2)
        found = [self._of(i, rows) for i, rows in zip(context.item_ids, past, strict=True)]
        location, scale = (np.stack([one[k] for one in found]) for k in (0, 1))
        filled = np.moveaxis(self._filled(past), 2, 1)
        scaled = ((filled - location[:, None]) / scale[:, None]).astype(np.float32)
        covariates = context.past_covariates
        if covariates is not None:
            covariates = np.moveaxis(self._filled(np.moveaxis(covariates, 1, 2)), 2, 1)
        conditioned = replace(
            context, past=scaled, observed=np.isfinite(scaled), past_covariates=covariates
        )
        return conditioned, location, scale

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        """The inner model's forecast of the conditioned context, in the data's units."""
        conditioned, location, scale = self.condition(context)
        found = self.inner.forecast(conditioned, horizon, quantile_levels)
        low, wide = location[:, None], scale[:, None]
        samples = None
        if found.samples is not None:
            samples = found.samples * wide[:, None] + low[:, None]
        distribution = found.distribution
        if distribution is not None:
            distribution = ScaledMarginals(of=distribution, location=low, scale=wide)
        return replace(
            found,
            quantiles=(found.quantiles * wide[..., None] + low[..., None]).astype(np.float32),
            mean=(found.mean * wide + low).astype(np.float32),
            samples=samples,
            distribution=distribution,
        )

    @property
    def sees_covariates(self) -> bool:  # type: ignore[override]
        return bool(self.inner.sees_covariates)

    def expect_able(
        self, *, variates: int, context: int, horizon: int, past: int = 0, known: int = 0
    ) -> None:
        """As the inner model."""
        sizes = {"variates": variates, "context": context, "horizon": horizon}
        self.inner.expect_able(**sizes, past=past, known=known)

    def settle(self, contexts: Sequence[Context]) -> None:
        """As the inner model, on conditioned contexts."""
        self.inner.settle([self.condition(context)[0] for context in contexts])

    def save(self, directory: str | Path) -> Path:
        """Write ``config.json``, and the inner model into a folder beside it."""
        directory = Path(directory)
        self.inner.save(directory / INNER)
        content = {
            "model": self.name,
            "config": asdict(self.conditioning),
            "statistics": {item: values.tolist() for item, values in self.statistics.items()},
        }
        return write_json(directory, content)

    @classmethod
    def load(cls, directory: str | Path, **config_overrides: Any) -> Self:
        """Read what :meth:`save` wrote; overrides are those of the inner model.

        Raises
        ------
        CheckpointError
            When a file is missing, damaged or of another model.
        """
        from tsfm.models.source import load_local

        directory = Path(directory)
        content = read_config(directory)
        config = own_config(content, cls.name, directory)
        try:
            found = {
                str(item): np.asarray(values, dtype=float)
                for item, values in content.get("statistics", {}).items()
            }
            conditioning = ConditioningConfig(**config)
        except (TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{CONFIG_FILE} is damaged: {error}", where=str(directory)
            ) from error
        return cls(load_local(directory / INNER, **config_overrides), conditioning, found)

    def info(self) -> dict[str, Any]:
        """The inner model's, and how its input is conditioned."""
        return {**self.inner.info(), "conditioning": asdict(self.conditioning)}

    def _filled(self, past: np.ndarray) -> np.ndarray:
        return impute(past, method=self.conditioning.imputation, steps=self.conditioning.steps)

    def _of(self, item_id: str, past: np.ndarray) -> Statistics:
        known = self.statistics.get("", self.statistics.get(item_id))
        if known is not None and known.shape[1] == len(past):
            return known
        return _statistics(past, self.conditioning.scaler)


def _statistics(values: Float[np.ndarray, "variate time"], scaler: str) -> Statistics:
    """Location and scale of each row's observed values; 0 and 1 where there are none."""
    found = np.stack([np.zeros(len(values)), np.ones(len(values))])
    for row, series in enumerate(values):
        seen = series[np.isfinite(series)].astype(np.float64)
        if scaler == "none" or not len(seen):
            continue
        if scaler == "standard":
            location, scale = seen.mean(), seen.std()
        elif scaler == "minmax":
            location, scale = seen.min(), np.ptp(seen)
        else:
            low, location, high = np.quantile(seen, (0.25, 0.5, 0.75))
            scale = high - low
        found[:, row] = location, scale if scale > 0 else 1.0
    return found


def network_of(model: Forecaster) -> Forecaster:
    """The model behind a conditioned one, or the model itself."""
    return cast(Forecaster, model.inner) if isinstance(model, Conditioned) else model
