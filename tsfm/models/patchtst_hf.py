"""Hugging Face's PatchTST, the reference arm: its channel attention shares the temporal weights.

Source: ``transformers.PatchTSTForPrediction``; Nie et al. 2023, *A Time Series is Worth 64 Words*.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from tsfm.data.windows import Window, WindowSpec
from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.base import Batch, Context, Forecast, Forecaster
from tsfm.models.checkpoint import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    own_config,
    read_config,
    read_weights,
    write_model,
)
from tsfm.models.modes import evaluating
from tsfm.models.patchtst_forecast import roll_forecast, warn_of_covariates
from tsfm.models.patchtst_hf_config import HfPatchTSTConfig, build_network
from tsfm.models.patchtst_windows import context_batch, training_batch, window_spec

_ARCHITECTURE = (
    "channel_mixing", "patch", "context", "horizon", "d_model", "heads", "layers", "d_ff",
    "library",
)  # fmt: skip


class HfPatchTST(nn.Module, Forecaster):
    """The library's model, trained and judged as every other one is."""

    name: ClassVar[str] = "patchtst_hf"

    def __init__(self, config: HfPatchTSTConfig | None = None) -> None:
        super().__init__()
        self.config = config or HfPatchTSTConfig()
        self.network: Any = build_network(self.config)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def head(self) -> nn.Module:
        """The output projection, which linear probing trains."""
        return self.network.head

    @property
    def window_spec(self) -> WindowSpec:
        return window_spec(self.config)

    @property
    def lora_targets(self) -> tuple[str, ...]:
        return ("q_proj", "k_proj", "v_proj", "out_proj", "ff.0", "ff.3")

    def collate(
        self, windows: Iterator[Window], batch_size: int, rng: np.random.Generator
    ) -> Batch:
        """``batch_size`` windows of ``config.variates`` variates and ``config.context`` bars."""
        batch = training_batch(windows, batch_size, rng, self.config)
        batch = self._whole(batch)
        missing = self.config.variates - batch["context"].shape[1]
        if missing:
            for name in ("context", "observed", "future", "scored"):
                if name in batch:
                    batch[name] = nn.functional.pad(batch[name], (0, 0, 0, missing))
        return batch

    def forward(self, batch: Batch) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """:meth:`loss`, so that wrappers of modules (compilation, data parallel) work."""
        return self.loss(batch)

    def loss(self, batch: Batch) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Sum of squared errors, in units of the context's deviation, and their number."""
        found = self._network(batch)
        target = batch["future"].transpose(1, 2)
        error = (found.prediction_outputs - target) / found.scale
        scored = batch["scored"].transpose(1, 2) & (found.scale > 2 * math.sqrt(1e-5))
        return error.square().where(scored, 0).sum(), scored.sum().float()

    def _network(self, batch: Batch) -> Any:
        observed = batch.get("observed")
        return self.network(
            past_values=batch["context"].transpose(1, 2),
            past_observed_mask=None if observed is None else observed.transpose(1, 2),
        )

    def _whole(self, batch: Batch) -> Batch:
        """Fill contexts up to ``config.context`` bars, unobserved."""
        missing = self.config.context - batch["context"].shape[2]
        if not missing:
            return batch
        observed = batch.get("observed", torch.ones_like(batch["context"], dtype=torch.bool))
        padded = {"context": batch["context"], "observed": observed}
        return batch | {
            name: nn.functional.pad(value, (missing, 0)) for name, value in padded.items()
        }

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        """A point for every level (``is_degenerate``), rolled on beyond ``config.horizon``.

        Raises
        ------
        DataError
            When a series has no observed value in its context.
        """
        with evaluating(self):
            return roll_forecast(
                self._block,
                context,
                horizon,
                quantile_levels,
                look_back=self.config.context,
                series_at_once=max(1, 2048 // context.past.shape[2]),
            )

    @torch.inference_mode()
    def _block(
        self, past: Float[np.ndarray, "batch variate time"]
    ) -> Float[np.ndarray, "batch variate bar 1"]:
        out = np.full((*past.shape[:2], self.config.horizon, 1), np.nan, np.float32)
        for series, variate, batch in self._by_width(past):
            found = self._network(batch).prediction_outputs
            values = found.transpose(1, 2).flatten(0, 1)[..., None]
            out[series, variate] = values.float().cpu().numpy()
        return out

    def _by_width(
        self, past: Float[np.ndarray, "batch variate time"]
    ) -> Iterator[tuple[np.ndarray, np.ndarray, Batch]]:
        """Series of equal width at once: the library takes no mask of variates."""
        present = np.isfinite(past).any(axis=2)
        embedder = self.network.model.encoder.embedder
        for width in np.unique(present.sum(axis=1)):
            rows = np.flatnonzero(present.sum(axis=1) == width)
            series, variate = np.nonzero(present[rows])
            series = rows[series]
            values = past[series, variate].reshape(len(rows), width, -1)
            batch = self._whole(context_batch(values, self.config.patch))
            embedder.num_input_channels = int(width)  # only checked: the weights are shared
            try:
                yield series, variate, {k: value.to(self.device) for k, value in batch.items()}
            finally:
                embedder.num_input_channels = self.config.variates

    @torch.inference_mode()
    def embeddings(self, context: Context) -> Float[np.ndarray, "batch variate patch dim"]:
        """The encoder's state of every patch of ``config.context`` bars; NaN of absent variates."""
        seen, config = context.last(self.config.context), self.config
        past = np.where(seen.observed, seen.past, np.nan).swapaxes(1, 2)
        patches = self.network.model.patchifier.num_patches
        shape = (*past.shape[:2], patches, config.d_model)
        out = np.full(shape, np.nan, np.float32)
        with evaluating(self):
            for series, variate, batch in self._by_width(past):
                observed = batch.get("observed")
                found = self.network.model(
                    past_values=batch["context"].transpose(1, 2),
                    past_observed_mask=None if observed is None else observed.transpose(1, 2),
                )
                hidden = found.last_hidden_state.flatten(0, 1)
                out[series, variate] = hidden.float().cpu().numpy()
        return out

    def expect_able(self, *, past: int = 0, known: int = 0, **_sizes: int) -> None:
        """Any size will do; warns (:class:`UserWarning`) of covariates, which it does not see."""
        warn_of_covariates(self.name, past, known)

    def save(self, directory: str | Path) -> Path:
        """Write ``config.json`` and ``model.safetensors``, each complete or not at all."""
        content = {"model": self.name, "config": self.config.to_dict()}
        return write_model(Path(directory), content, self.state_dict())

    @classmethod
    def load(cls, directory: str | Path, **config_overrides: Any) -> Self:
        """Read what :meth:`save` wrote, or a released ``PatchTSTForPrediction``.

        Raises
        ------
        CheckpointError
            When a file is missing, damaged, of another model, or does not fit the overrides.
        ConfigError
            When an override is unknown or out of range.
        """
        path = Path(directory)
        content = read_config(path)
        is_released = "model" not in content and content.get("model_type") == "patchtst"
        try:
            if is_released:
                trained = HfPatchTSTConfig.from_library(content)
                values = trained.to_dict()
            else:
                values = own_config(content, cls.name, path)
                trained = HfPatchTSTConfig.from_dict(values)
        except ConfigError as error:
            raise CheckpointError(
                f"{CONFIG_FILE} cannot be used: {error.what}",
                where=str(path),
                remedy=error.remedy,
            ) from error
        model = cls(HfPatchTSTConfig.from_dict({**values, **config_overrides}))
        for name in _ARCHITECTURE:
            was, wanted = getattr(trained, name), getattr(model.config, name)
            if was != wanted:
                raise CheckpointError(
                    f"the weights were trained with {name}={was}, not {wanted}",
                    where=str(path),
                    remedy=f"leave {name} as it was",
                )
        try:
            weights = read_weights(path)
            if is_released:
                weights = {f"network.{name}": value for name, value in weights.items()}
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(
                f"the weights do not fit the configuration: {str(error).splitlines()[-1].strip()}",
                where=str(path / WEIGHTS_FILE),
                remedy="save the model again",
            ) from error
        return model

    def info(self) -> dict[str, Any]:
        """Name, number of parameters (in all and trainable) and configuration."""
        return {
            "name": self.name,
            "parameters": sum(p.numel() for p in self.parameters()),
            "trainable_parameters": sum(p.numel() for p in self.parameters() if p.requires_grad),
            "config": self.config.to_dict(),
        }
