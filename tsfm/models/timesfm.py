"""TimesFM: Google's pretrained decoder, zero-shot, by the models in transformers.

Das, Kong, Sen & Zhou 2024, *A decoder-only foundation model for time-series forecasting*. Versions
1.0 / 2.0 (``TimesFmModelForPrediction``) and 2.5 (``TimesFm2_5ModelForPrediction``); library:
transformers 5; weights Apache-2.0 (``google/timesfm-2.0-500m-pytorch``,
``google/timesfm-2.5-200m-transformers``).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float

from tsfm.errors import ConfigError
from tsfm.models.base import Context, Forecast, Forecaster
from tsfm.models.gaps import bridged
from tsfm.models.model_config import ModelConfig
from tsfm.models.quantiles import between_levels

_SLOWEST_HIGH = 86_400 * 5
_SLOWEST_MEDIUM = 86_400 * 45


@dataclass(frozen=True, kw_only=True)
class TimesFmConfig(ModelConfig):
    """How a TimesFM checkpoint is used; its architecture is its own.

    Attributes
    ----------
    context
        Most bars seen, at most as many as the checkpoint was made for, which is the default.
    rows_at_once
        Variates in one pass; bounds memory.
    """

    label: ClassVar[str] = "TimesFM"

    context: int | None = None
    rows_at_once: int = 64

    def __post_init__(self) -> None:
        for name in ("context", "rows_at_once"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value}", remedy="give at least 1")


class TimesFm(Forecaster):
    """A checkpoint of TimesFM as one of our forecasters; each variate by itself.

    Gaps are bridged by straight lines and bars before the first observed one left out. The model
    reads whole patches: the oldest bars that fill none are left out (a series shorter than one
    patch is padded, masked, by the library). Forecasts are the library's of each series alone:
    2.5's are kept from falling below zero where its own context did not, whatever else is in the
    batch. Versions before 2.5 are told whether bars are up to a business day, up to a month, or
    longer. Horizons beyond the model's own are rolled by its point forecasts, as its authors do, so
    that quantiles of later blocks do not widen. Other levels than the native nine (0.1 … 0.9)
    follow :func:`~tsfm.models.quantiles.between_levels`. Covariates are not seen.

    Parameters
    ----------
    network
        ``TimesFmModelForPrediction`` or ``TimesFm2_5ModelForPrediction``.
    """

    name: ClassVar[str] = "timesfm"

    def __init__(self, network: Any, config: TimesFmConfig | None = None) -> None:
        self.network = network.eval()
        self.config = config or TimesFmConfig()
        longest = int(network.config.context_length)
        if self.config.context is not None and self.config.context > longest:
            raise ConfigError(
                f"context={self.config.context} is more than the checkpoint's {longest} bars",
                remedy="give a shorter context",
            )
        self.context = self.config.context or longest

    @property
    def levels(self) -> tuple[float, ...]:
        """Native quantile levels."""
        return tuple(float(level) for level in self.network.config.quantiles)

    @property
    def is_2_5(self) -> bool:
        return str(self.network.config.model_type) == "timesfm2_5"

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        recent = context.last(self.context)
        past = np.where(recent.observed, recent.past, np.nan)
        places = np.argwhere(recent.observed.any(axis=1))
        shape = (context.batch_size, horizon, past.shape[2])
        quantiles = np.full((*shape, len(quantile_levels)), np.nan, np.float32)
        mean = np.full(shape, np.nan, np.float32)
        speed = speed_of(context.freq)
        rows = past[places[:, 0], :, places[:, 1]]
        starts = np.isfinite(rows).argmax(axis=1)
        for start in np.unique(starts):
            chosen = np.flatnonzero(starts == start)
            for first in range(0, len(chosen), self.config.rows_at_once):
                part = chosen[first : first + self.config.rows_at_once]
                native, point = self._rolled(bridged(rows[part, start:]), horizon, speed)
                row, variate = places[part].T
                quantiles[row, :, variate] = between_levels(native, self.levels, quantile_levels)
                mean[row, :, variate] = point
        return Forecast(quantiles=quantiles, quantile_levels=quantile_levels, mean=mean)

    def _rolled(
        self, rows: Float[np.ndarray, "row time"], horizon: int, speed: int
    ) -> tuple[Float[np.ndarray, "row horizon level"], Float[np.ndarray, "row horizon"]]:
        blocks: list[np.ndarray] = []
        done = 0
        while done < horizon:
            blocks.append(self._block(rows[:, -self.context :], speed))
            rows = np.concatenate([rows, blocks[-1][..., 0]], axis=1)
            done += blocks[-1].shape[1]
        joined = np.concatenate(blocks, axis=1)[:, :horizon]
        return joined[..., 1:], joined[..., 0]

    def _block(
        self, rows: Float[np.ndarray, "row time"], speed: int
    ) -> Float[np.ndarray, "row step point+level"]:
        """The library's point forecast and quantiles."""
        import torch

        patch = int(self.network.config.patch_length)
        whole = max(1, rows.shape[1] // patch) * patch
        values = torch.from_numpy(np.ascontiguousarray(rows[:, -whole:], np.float32))
        values = values.to(self.network.device)
        options: dict[str, Any] = {"forecast_context_len": whole, "truncate_negative": False}
        if not self.is_2_5:
            options["freq"] = [speed] * len(values)
        with torch.inference_mode():
            told = self.network(past_values=list(values), **options)
        point = told.mean_predictions[..., None]
        found = torch.cat([point, told.full_predictions[..., 1:]], dim=-1).float().cpu().numpy()
        if self.is_2_5 and self.network.config.infer_is_positive:
            positive = (rows[:, -whole:].min(axis=1) >= 0)[:, None, None]
            found = np.where(positive, np.maximum(found, 0), found)
        return np.asarray(found, np.float32)

    def expect_able(self, *, past: int = 0, known: int = 0, **_sizes: int) -> None:
        """Any size will do; warns (:class:`UserWarning`) of covariates, which it does not see."""
        if past or known:
            warnings.warn(
                f"timesfm sees none of the {past + known} covariates", UserWarning, stacklevel=2
            )

    def save(self, directory: str | Path) -> Path:
        """Write a directory that :meth:`load` and transformers itself read."""
        from tsfm.models import timesfm_checkpoint

        return timesfm_checkpoint.save(self.network, self.config.to_dict(), Path(directory))

    @classmethod
    def load(cls, directory: str | Path, **config_overrides: Any) -> Self:
        """Read what :meth:`save` wrote, or a released checkpoint's directory.

        Raises
        ------
        CheckpointError
            When a file is missing, damaged, of no TimesFM model, or lacks some of the weights.
        ConfigError
            When an override is unknown or not allowed.
        """
        from tsfm.models import timesfm_checkpoint

        network, own = timesfm_checkpoint.load(Path(directory))
        return cls(network, TimesFmConfig.from_dict({**own, **config_overrides}))

    @classmethod
    def from_pretrained(cls, source: str | Path, **config_overrides: Any) -> Self:
        """Load a directory, or a model of the hub (``google/timesfm-2.5-200m-transformers`` …).

        Raises
        ------
        CheckpointError
            When the files cannot be obtained or read.
        """
        from tsfm.models.source import directory_of

        return cls.load(directory_of(source), **config_overrides)

    def info(self) -> dict[str, Any]:
        """Name, version, number of parameters and configuration."""
        return {
            "name": self.name,
            "version": "2.5" if self.is_2_5 else "2.0",
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "config": self.config.to_dict() | {"context": self.context},
        }


def speed_of(freq: str | None) -> int:
    """TimesFM's own classes: 0 up to daily bars (and where it is unknown), 1 to monthly, 2 beyond.

    ``freq`` is a pandas alias.
    """
    if freq is None:
        return 0
    import pandas as pd

    start = pd.Timestamp("2023-01-02")
    seconds = (pd.date_range(start, periods=3, freq=freq)[-1] - start).total_seconds() / 2
    return int(np.searchsorted([_SLOWEST_HIGH, _SLOWEST_MEDIUM], seconds))
