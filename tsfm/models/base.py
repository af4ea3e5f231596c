"""The contracts between models and everything around them.

A :class:`Forecaster` turns a :class:`Context` into a :class:`Forecast`; a :class:`Trainable` says
what the one training loop needs of a model. Baselines, foundation models and served models honour
the first, so evaluation, plots, serving and promotion are written once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from tsfm.data.cropping import taken
from tsfm.data.windows import Window, WindowSpec
from tsfm.errors import ConfigError, DataError
from tsfm.models.batching import as_batch, expect_shape, next_timestamps, right_aligned
from tsfm.models.forecast import Forecast as Forecast

if TYPE_CHECKING:
    import torch

    from tsfm.models.gluonts import GluonTSPredictor

QUANTILE_LEVELS: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

Batch = dict[str, "torch.Tensor"]


@dataclass(frozen=True, kw_only=True)
class Context:
    """What is known when a forecast is made: a batch of pasts, padded to one shape.

    Shorter pasts are padded on the left, missing variates on the right; padding is never observed.

    Attributes
    ----------
    past
        Values up to the forecast origin, ``[batch, time, variate]``; NaN where unobserved.
    observed
        True where ``past`` holds a measured value; derived from ``past`` when not given.
    variates
        True where a series really has that variate (ragged batches), ``[batch, variate]``.
    past_covariates
        Known up to the origin only, ``[batch, time, covariate]``.
    known_covariates
        Known over context and horizon, ``[batch, time + horizon, covariate]``.
    static
        Attributes of each series.
    timestamps
        Of the past, ``datetime64[ns] [batch, time]``; NaT where padded.
    future_timestamps
        Of the horizon where the calendar is known, ``datetime64[ns] [batch, horizon]``.
    freq
        A pandas frequency alias.
    seasonality
        Bars in one season (1: none).
    seed
        Drives every random draw that a forecaster makes for this context.
    past_covariate_names
        In their order, where they are known.
    """

    past: Float[np.ndarray, "batch time variate"]
    observed: Bool[np.ndarray, "batch time variate"] = None  # type: ignore[assignment]
    variates: Bool[np.ndarray, "batch variate"] = None  # type: ignore[assignment]
    past_covariates: Float[np.ndarray, "batch time covariate"] | None = None
    known_covariates: Float[np.ndarray, "batch time+horizon covariate"] | None = None
    static: tuple[Mapping[str, float | str], ...] = ()
    timestamps: np.ndarray | None = None
    future_timestamps: np.ndarray | None = None
    freq: str | None = None
    seasonality: int = 1
    item_ids: tuple[str, ...] = ()
    variate_names: tuple[str, ...] = ()
    seed: int = 0
    past_covariate_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        past = np.asarray(self.past, dtype=np.float32)
        if past.ndim != 3:
            raise DataError(
                f"past has {past.ndim} dimensions, shape {past.shape}",
                remedy="give [batch, time, variate]",
            )
        if past.shape[1] == 0:
            raise DataError("past has no time steps", remedy="give at least one observed bar")
        finite = np.isfinite(past)
        observed = finite if self.observed is None else np.asarray(self.observed, bool)
        names = self.variate_names or tuple(f"variate_{k}" for k in range(past.shape[2]))
        ids = self.item_ids or tuple(str(k) for k in range(past.shape[0]))
        present = (past.shape[0], past.shape[2])
        variates = np.ones(present, bool) if self.variates is None else np.asarray(self.variates)
        expect_shape("observed", observed, past.shape)
        expect_shape("variates", variates, present)
        if len(names) != past.shape[2] or len(ids) != past.shape[0]:
            raise DataError(
                f"{len(ids)} item ids, {len(names)} variate names, past of shape {past.shape}",
                remedy="give one id per series and one name per variate",
            )
        for name, value in {
            "past": past,
            "observed": observed & finite & variates[:, None, :],
            "variates": variates,
            "variate_names": names,
            "item_ids": ids,
        }.items():
            object.__setattr__(self, name, value)

    @property
    def batch_size(self) -> int:
        return int(self.past.shape[0])

    @property
    def length(self) -> int:
        return int(self.past.shape[1])

    @classmethod
    def from_windows(cls, windows: Sequence[Window], *, horizon: int, seed: int = 0) -> Self:
        """Pad windows (context only: their last bar is the origin) into one batch.

        ``known_covariates`` and ``future_timestamps`` come from ``Window.future``.
        """
        if not windows:
            raise DataError("no windows to forecast from", remedy="give at least one")
        width, time = np.max([w.target.shape for w in windows], axis=0).tolist()
        past = np.full((len(windows), time, width), np.nan, np.float32)
        variates = np.zeros((len(windows), width), bool)
        stamps = np.full((len(windows), time), np.datetime64("NaT"), "datetime64[ns]")
        future = np.full((len(windows), horizon), np.datetime64("NaT"), "datetime64[ns]")
        for row, window in enumerate(windows):
            n_variates, length = window.target.shape
            past[row, time - length :, :n_variates] = window.target.T
            variates[row, :n_variates] = True
            if window.timestamps is not None:
                stamps[row, time - length :] = window.timestamps
            if window.future_timestamps is not None:
                future[row, : len(window.future_timestamps)] = window.future_timestamps[:horizon]
        return cls(
            past=past,
            variates=variates,
            past_covariates=right_aligned([w.past_covariates for w in windows], time),
            known_covariates=right_aligned([w.known_covariates for w in windows], time + horizon),
            static=tuple(w.static for w in windows),
            timestamps=None if np.isnat(stamps).all() else stamps,
            future_timestamps=None if np.isnat(future).any() else future,
            freq=windows[0].freq,
            seasonality=windows[0].seasonality,
            item_ids=tuple(w.item_id for w in windows),
            variate_names=max((w.variate_names for w in windows), key=len),
            seed=seed,
            past_covariate_names=max((w.past_covariate_names for w in windows), key=len),
        )

    def last(self, length: int) -> Context:
        """Keep the latest ``length`` bars."""
        if length >= self.length:
            return self
        late = np.s_[:, self.length - length :]
        return replace(
            self,
            past=self.past[late],
            observed=self.observed[late],
            past_covariates=taken(self.past_covariates, late),
            known_covariates=taken(self.known_covariates, late),
            timestamps=taken(self.timestamps, late),
        )

    def rows(self, index: slice | Sequence[int]) -> Context:
        """A batch of some of the series."""
        chosen = np.arange(self.batch_size)[index if isinstance(index, slice) else list(index)]
        return replace(
            self,
            past=self.past[chosen],
            observed=self.observed[chosen],
            variates=self.variates[chosen],
            past_covariates=taken(self.past_covariates, chosen),
            known_covariates=taken(self.known_covariates, chosen),
            static=tuple(self.static[k] for k in chosen) if self.static else (),
            timestamps=taken(self.timestamps, chosen),
            future_timestamps=taken(self.future_timestamps, chosen),
            item_ids=tuple(self.item_ids[k] for k in chosen),
        )


class Forecaster(ABC):
    """Anything that forecasts: ``predict``, ``save`` / ``load``, ``info``.

    Attributes
    ----------
    reads_history
        True for a baseline that may be given more bars than the task's context, where there are.
    sees_covariates
        True for a model whose forecasts depend on covariates, as it is configured.
    """

    name: ClassVar[str]
    reads_history: ClassVar[bool] = False
    sees_covariates: ClassVar[bool] = False

    @abstractmethod
    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        """Forecast a validated context; implemented by each model, called by :meth:`predict`."""

    @abstractmethod
    def save(self, directory: str | Path) -> Path:
        """Write a directory that :func:`tsfm.load_forecaster` reads (JSON and safetensors)."""

    @classmethod
    @abstractmethod
    def load(cls, directory: str | Path, **config_overrides: Any) -> Self:
        """Read what :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            When the directory is missing, incomplete, damaged or of another model.
        """

    def expect_able(  # noqa: B027
        self, *, variates: int, context: int, horizon: int, past: int = 0, known: int = 0
    ) -> None:
        """Raise :class:`ConfigError` when series of this size are beyond the model's limits, and
        warn when some of the ``past`` and ``known`` covariates (their numbers) are."""

    def settle(self, contexts: Sequence[Context]) -> None:  # noqa: B027
        """Fix what the config leaves open by what forecasts the ends of these contexts best."""

    @classmethod
    def from_pretrained(cls, source: str | Path, **config_overrides: Any) -> Self:
        """As :meth:`load`, and released weights where the model has such."""
        return cls.load(source, **config_overrides)

    def info(self) -> dict[str, Any]:
        """What the model is: at least ``name`` and ``parameters``."""
        return {"name": self.name, "parameters": 0}

    def to_gluonts_predictor(self, horizon: int) -> GluonTSPredictor:
        """This forecaster for GluonTS's own evaluation and pipelines."""
        from tsfm.models.gluonts import GluonTSPredictor

        return GluonTSPredictor(self, horizon)

    def predict(
        self,
        context: Context | None = None,
        horizon: int | None = None,
        quantile_levels: Sequence[float] = QUANTILE_LEVELS,
        *,
        past: np.ndarray | None = None,
    ) -> Forecast:
        """Forecast ``horizon`` bars after the context.

        Parameters
        ----------
        context
            A batch; or give ``past`` instead.
        horizon
            Bars to forecast, at least 1.
        quantile_levels
            Increasing, strictly between 0 and 1.
        past
            Short form of a context: ``[time]``, ``[time, variate]`` or ``[batch, time, variate]``.

        Raises
        ------
        ConfigError
            When horizon or levels are out of range, or both or neither input is given.
        DataError
            When ``past`` holds no numbers, no bar, or has more than three dimensions.
        """
        if (context is None) == (past is None):
            raise ConfigError("predict takes a context or past=", remedy="give exactly one of them")
        if context is None:
            context = Context(past=as_batch(past))
        if horizon is None or int(horizon) != horizon or horizon < 1:
            raise ConfigError(f"horizon={horizon!r} is not a positive whole number")
        levels = tuple(float(level) for level in quantile_levels)
        if not levels or any(b <= a for a, b in zip((0.0, *levels), (*levels, 1.0))):
            raise ConfigError(
                f"quantile_levels={levels} are not increasing inside (0, 1)",
                remedy=f"for example {QUANTILE_LEVELS}",
            )
        forecast = self.forecast(context, int(horizon), levels)
        return replace(
            forecast,
            item_ids=context.item_ids,
            variate_names=context.variate_names,
            timestamps=next_timestamps(
                context.timestamps, context.future_timestamps, context.freq, int(horizon)
            ),
        )


@runtime_checkable
class Trainable(Protocol):
    """What the one LightningModule needs of a model (an ``nn.Module``)."""

    @property
    def window_spec(self) -> WindowSpec:
        """Which windows the model wants to be trained on."""

    @property
    def lora_targets(self) -> tuple[str, ...]:
        """Names (suffixes) of the linear layers that LoRA adapts by default."""

    def collate(
        self, windows: Iterator[Window], batch_size: int, rng: np.random.Generator
    ) -> Batch:
        """Take as many windows as the batch needs from an endless stream."""

    def loss(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum and number of the loss terms: what accumulation, packing and DDP add up exactly."""
