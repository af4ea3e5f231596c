"""TinyTimeMixer (TTM): patches mixed by small MLPs, pretrained, a million weights at most.

Each channel is patched and passes through mixers of several resolutions; a decoder, which may mix
the channels, and a linear head turn that into the forecast. Released weights load with
:meth:`TinyTimeMixer.from_pretrained`.
Source: Ekambaram et al. 2024, *Tiny Time Mixers (TTMs)*; reference implementation: granite-tsfm
0.3.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tsfm.data.windows import Window, WindowSpec
from tsfm.errors import ConfigError
from tsfm.models import ttm_checkpoint, ttm_forecast
from tsfm.models.base import Batch, Context, Forecast, Forecaster
from tsfm.models.ttm_config import TinyTimeMixerConfig
from tsfm.models.ttm_head import Head
from tsfm.models.ttm_inputs import training_batch
from tsfm.models.ttm_layers import Backbone, Decoder


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What the model makes of a batch, in the data's units.

    Attributes
    ----------
    point
        The point forecast of the targets.
    quantiles
        At the model's own levels; None for a point model.
    location, scale
        Of the targets' contexts.
    hidden
        Features of the backbone.
    """

    point: Float[Tensor, "batch target horizon"]
    quantiles: Float[Tensor, "batch target horizon level"] | None
    location: Float[Tensor, "batch target 1"]
    scale: Float[Tensor, "batch target 1"]
    hidden: Float[Tensor, "batch channel patch dim"]


class TinyTimeMixer(nn.Module, Forecaster):
    """The mixer, its loss and its forecasts.

    A batch holds ``past [batch, channel, context]``, ``observed`` where not all of it is, ``future
    [batch, target, steps]`` and ``future_observed`` likewise, and where the configuration asks for
    them ``exogenous [batch, exogenous, steps]``, ``frequency [batch]`` and ``attributes [batch,
    attribute]``.
    """

    name: ClassVar[str] = "ttm"

    def __init__(self, config: TinyTimeMixerConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TinyTimeMixerConfig()
        self.backbone = Backbone(config)
        self.decoder = Decoder(config) if config.use_decoder else None
        self.head = Head(config)

    @property
    def device(self) -> torch.device:
        return self.head.base_forecast_block.bias.device

    @property
    def window_spec(self) -> WindowSpec:
        """At least a patch and the horizon, up to context and horizon."""
        steps = self.config.steps
        return WindowSpec(
            min_length=self.config.patch_length + steps, max_length=self.config.context + steps
        )

    @property
    def lora_targets(self) -> tuple[str, ...]:
        return ("fc1", "fc2", "attn_layer")

    def collate(
        self,
        windows: Iterator[Window],
        batch_size: int,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Batch:
        """``batch_size`` windows, all their variates."""
        return training_batch(list(islice(windows, batch_size)), self.config)

    def forward(self, batch: Batch) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """:meth:`loss`, so that wrappers of modules (compilation, data parallel) work."""
        return self.loss(batch)

    def outputs(self, batch: Batch) -> Outputs:
        """Forecasts of a batch."""
        config, past = self.config, batch["past"]
        location, scale = self._standards(past, batch.get("observed"))
        filled = torch.where(past.isnan(), location, past) if "observed" in batch else past
        scaled = (filled - location) / scale
        whole = (scaled.shape[-1] - config.patch_length) // config.patch_stride
        start = scaled.shape[-1] - whole * config.patch_stride - config.patch_length
        patches = scaled[..., start:].unfold(-1, config.patch_length, config.patch_stride)
        hidden = self.backbone.encoder(patches, batch.get("frequency"))
        decoded = hidden
        if self.decoder is not None:
            decoded = self.decoder(hidden, patches, batch.get("attributes"))
        seen, known = self._reconciled_with(batch, filled, location, scale)
        point, quantiles = self.head(decoded, seen, known)
        if config.mixes_channels:
            location, scale = (v[:, list(config.targets)] for v in (location, scale))
        if quantiles is not None:
            quantiles = quantiles * scale[..., None] + location[..., None]
        return Outputs(
            point=point * scale + location,
            quantiles=quantiles,
            location=location,
            scale=scale,
            hidden=hidden,
        )

    def _standards(
        self, past: Float[Tensor, "batch channel time"], observed: Tensor | None
    ) -> tuple[Float[Tensor, "batch channel 1"], Float[Tensor, "batch channel 1"]]:
        """Location and scale of each channel's observed context."""
        if self.config.scaling == "none":
            zero = torch.zeros_like(past[..., :1])
            return zero, zero + 1
        weight = past.new_ones(()).expand(past.shape) if observed is None else observed.float()
        values = past if observed is None else past.nan_to_num()
        count = weight.sum(-1, keepdim=True).clamp_min(1)
        if self.config.scaling == "mean":
            scale = (values.abs() * weight).sum(-1, keepdim=True) / count
            return torch.zeros_like(scale), torch.where(scale > 0, scale, 1)
        if observed is None:
            location = values.mean(-1, keepdim=True)
            variance = (values - location).square_().mean(-1, keepdim=True)
        else:
            location = (values * weight).sum(-1, keepdim=True) / count
            deviations = ((values - location) * weight).square()
            variance = deviations.sum(-1, keepdim=True) / count
        return location, (variance + self.config.minimum_variance).sqrt()

    def _reconciled_with(
        self, batch: Batch, past: Tensor, location: Tensor, scale: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """Past and future values that the forecasts are reconciled with."""
        config = self.config
        if not config.enable_forecast_channel_mixing:
            return None, None
        exogenous = list(config.exogenous_channel_indices)
        known = batch["exogenous"][..., : config.steps] if exogenous else None
        if config.fcm_standardise:
            past = (past - location) / scale
            if known is not None:
                known = (known - location[:, exogenous]) / scale[:, exogenous]
        return past[:, [*config.targets, *exogenous]], known

    def loss(self, batch: Batch) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Sum of the errors of the observed future values, and their number.

        Quantiles add the mean pinball loss of their levels.
        """
        config, future = self.config, batch["future"]
        outputs, observed = self.outputs(batch), batch.get("future_observed")
        unit = self._loss_unit(batch, outputs)
        errors = torch.zeros_like(future)
        if config.loss != "pinball":
            error = (future - outputs.point) / unit
            errors = {
                "mse": torch.square,
                "mae": torch.abs,
                "huber": lambda e: F.huber_loss(
                    e, torch.zeros_like(e), reduction="none", delta=config.huber_delta
                ),
            }[config.loss](error)
        if outputs.quantiles is not None:
            levels = torch.tensor(config.quantile_levels, device=future.device)
            error = (future[..., None] - outputs.quantiles) / unit[..., None]
            errors = errors + torch.maximum(levels * error, (levels - 1) * error).mean(-1)
        if observed is None:
            return errors.sum(), errors.new_tensor(float(errors.numel()))
        return torch.where(observed, errors, 0).sum(), observed.sum().float()

    def _loss_unit(self, batch: Batch, outputs: Outputs) -> Float[Tensor, "batch target 1"]:
        """What errors are measured in: the deviation of the window, or 1."""
        if self.config.loss_scale == "none":
            return torch.ones_like(outputs.scale)
        past, parts = batch["past"].detach(), []
        if self.config.mixes_channels:
            past = past[:, list(self.config.targets)]
        for values, mask in (
            (past, batch.get("observed")),
            (batch["future"], batch.get("future_observed")),
        ):
            square = (values - outputs.location).square().nan_to_num()
            weight = torch.ones_like(square) if mask is None else mask.float()
            if weight.shape[1] != square.shape[1]:
                weight = weight[:, list(self.config.targets)]
            parts.append(((square * weight).sum(-1), weight.sum(-1)))
        total = parts[0][0] + parts[1][0]
        count = (parts[0][1] + parts[1][1]).clamp_min(1)
        return (total / count + self.config.minimum_variance).sqrt()[..., None]

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        """Point or quantile forecasts; horizons beyond ``config.steps`` are rolled.

        A point model rolls on its forecasts; a quantile model on a path for each of its levels, and
        the quantiles are those of all paths' forecasts together. Levels between the model's own are
        interpolated, levels beyond them stay at the outermost.

        Raises
        ------
        DataError
            When a series has no observed value in its context, or a channel-mixing model is not
            given the variates and covariates it was made for.
        """
        return ttm_forecast.forecast(self, context, horizon, quantile_levels)

    def embeddings(self, context: Context) -> Float[np.ndarray, "batch variate patch dim"]:
        """The backbone's state of every patch of ``config.context`` bars; NaN of absent variates.

        A shorter context is padded as for forecasts.

        Raises
        ------
        DataError
            When a channel-mixing model is not given the variates and covariates it was made for.
        """
        return ttm_forecast.embeddings(self, context)

    @property
    def sees_covariates(self) -> bool:  # type: ignore[override]
        config = self.config
        return config.mixes_channels and len(config.targets) < config.num_input_channels

    def expect_able(
        self,
        *,
        variates: int,
        context: int,  # noqa: ARG002
        horizon: int,  # noqa: ARG002
        past: int = 0,
        known: int = 0,
    ) -> None:
        """Raise :class:`ConfigError` when channels are mixed and these are not the ones.

        Warns (:class:`UserWarning`) when covariates are not looked at.
        """
        config = self.config
        if not config.mixes_channels:
            if past + known:
                warnings.warn(
                    f"{past + known} covariates are not looked at: channels are not mixed; load "
                    "the model with decoder_mode=mix_channel and their channels",
                    stacklevel=2,
                )
            return
        wanted = len(config.targets), len(config.past_only), len(config.exogenous_channel_indices)
        if (variates, past, known) != wanted:
            raise ConfigError(
                f"{variates} variates, {past} past and {known} known covariates for a model that "
                f"mixes {wanted[0]}, {wanted[1]} and {wanted[2]}",
                remedy="choose variates and covariates to match, or load the model with other "
                "num_input_channels, prediction_channel_indices and exogenous_channel_indices",
            )

    def save(self, directory: str | Path) -> Path:
        """Write ``config.json`` and ``model.safetensors``, each complete or not at all."""
        return ttm_checkpoint.save(self, Path(directory))

    @classmethod
    def load(cls, directory: str | Path, **config_overrides: Any) -> Self:
        """Read what :meth:`save` wrote; as :meth:`from_pretrained`."""
        return ttm_checkpoint.load(cls, Path(directory), config_overrides)

    @classmethod
    def from_pretrained(cls, source: str | Path, **config_overrides: Any) -> Self:
        """Load released weights (``ibm-granite/granite-timeseries-ttm-r2`` …) or our own directory.

        Parameters
        ----------
        source
            A local directory, or a model of the Hugging Face hub.
        config_overrides
            Fields of :class:`~tsfm.models.ttm_config.TinyTimeMixerConfig`. Channels, decoder mode,
            reconciliation and quantiles may differ from the checkpoint's: mixers that it lacks
            start at random, those not asked for are left out. A shorter ``horizon`` becomes
            ``prediction_filter_length``.

        Raises
        ------
        CheckpointError
            When the files cannot be obtained or read, or are of another architecture.
        ConfigError
            When an override is unknown or out of range.
        """
        return ttm_checkpoint.from_pretrained(cls, source, config_overrides)

    def info(self) -> dict[str, Any]:
        """Name, number of parameters (in all, trainable, backbone) and configuration."""
        return {
            "name": self.name,
            "parameters": sum(p.numel() for p in self.parameters()),
            "trainable_parameters": sum(p.numel() for p in self.parameters() if p.requires_grad),
            "backbone_parameters": sum(p.numel() for p in self.backbone.parameters()),
            "config": self.config.to_dict(),
        }
