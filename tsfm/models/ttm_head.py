"""TinyTimeMixer's head: forecasts from features, reconciled between channels, and their quantiles.

Parameter names follow the reference implementation (granite-tsfm 0.3) but for the quantiles, which
are ours.
"""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import NormalDist

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tsfm.models.ttm_config import TinyTimeMixerConfig
from tsfm.models.ttm_layers import Gate, MixerStack


class ForecastChannelMixer(nn.Module):
    """Reconciles each forecast bar with its neighbours in all channels, exogenous ones included."""

    def __init__(self, config: TinyTimeMixerConfig) -> None:
        super().__init__()
        self.reach = config.fcm_context_length
        self.prepends = config.fcm_prepend_past
        self.skipped = config.fcm_prepend_past_offset or 0
        window, targets = 2 * self.reach + 1, len(config.targets)
        channels = targets + len(config.exogenous_channel_indices)
        width = 2 * window if config.fcm_use_mixer else window
        self.uses_mixer = config.fcm_use_mixer
        if self.uses_mixer:
            self.exog_mixer = MixerStack(
                config,
                patches=channels,
                width=width,
                layers=config.fcm_mix_layers,
                levels=0,
                dropout=config.head_dropout,
                gated=config.fcm_gated_attn,
            )
            self.fcm_embedding = nn.Linear(window, width)
        self.mlp = nn.Linear(channels * width, targets)
        self.fcm_gating_block = Gate(channels * width) if config.fcm_gated_attn else None

    def forward(
        self,
        forecast: Float[Tensor, "batch target horizon"],
        past: Float[Tensor, "batch channel time"],
        known: Float[Tensor, "batch exogenous horizon"] | None,
    ) -> Float[Tensor, "batch target horizon"]:
        """``past`` holds targets, then exogenous channels, up to the origin."""
        values = forecast if known is None else torch.cat([forecast, known], dim=1)
        before = torch.zeros_like(values[..., : self.reach])
        if self.prepends and self.reach:
            end = past.shape[-1] - self.skipped
            before = past[..., end - self.reach : end]
        after = torch.zeros_like(before)
        windows = torch.cat([before, values, after], dim=-1).unfold(-1, 2 * self.reach + 1, 1)
        x = windows.transpose(1, 2)
        if self.uses_mixer:
            x = self.exog_mixer(self.fcm_embedding(x))
        x = x.flatten(2)
        if self.fcm_gating_block is not None:
            x = self.fcm_gating_block(x)
        return forecast + self.mlp(x).transpose(1, 2)


class QuantileHead(nn.Module):
    """Quantiles around the point forecast that cannot cross: positive steps from the median.

    At first they are those of a normal distribution of deviation 0.5 around the point forecast.
    """

    def __init__(self, width: int, horizon: int, levels: tuple[float, ...], hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, hidden)
        self.steps = nn.Linear(hidden, horizon * len(levels))
        self.horizon, self.middle = horizon, len(levels) // 2
        normal = [0.5 * NormalDist().inv_cdf(level) for level in levels]
        gaps = [b - a for a, b in pairwise(normal)]
        first = [*gaps[: self.middle], 0.0, *gaps[self.middle :]]
        inverse = [math.log(math.expm1(g)) if g else 0.0 for g in first]
        with torch.no_grad():
            self.steps.weight.mul_(0.1)
            self.steps.bias.copy_(torch.tensor(inverse).repeat(horizon))

    def forward(
        self,
        features: Float[Tensor, "batch channel dim"],
        point: Float[Tensor, "batch channel bar"],
    ) -> Float[Tensor, "batch channel bar level"]:
        raw = self.steps(F.gelu(self.hidden(features))).unflatten(-1, (self.horizon, -1))
        raw, middle = raw[..., : point.shape[-1], :], self.middle
        median = point[..., None] + raw[..., middle : middle + 1]
        below = F.softplus(raw[..., :middle]).flip(-1).cumsum(-1).flip(-1)
        above = F.softplus(raw[..., middle + 1 :]).cumsum(-1)
        return torch.cat([median - below, median, median + above], dim=-1)


class Head(nn.Module):
    """Features of all patches to the forecast, reconciled between channels where asked for."""

    def __init__(self, config: TinyTimeMixerConfig) -> None:
        super().__init__()
        width = config.decoder_d_model if config.use_decoder else config.d_model
        self.dropout, self.steps = config.head_dropout, config.steps
        self.targets = config.targets if config.mixes_channels else None
        features = config.num_patches * width
        self.base_forecast_block = nn.Linear(features, config.horizon)
        self.fcm_block = (
            ForecastChannelMixer(config) if config.enable_forecast_channel_mixing else None
        )
        self.quantile_block = (
            QuantileHead(features, config.horizon, config.quantile_levels, config.quantile_hidden)
            if config.quantile_levels
            else None
        )

    def forward(
        self,
        x: Float[Tensor, "batch channel patch dim"],
        past: Float[Tensor, "batch channel time"] | None,
        known: Float[Tensor, "batch exogenous horizon"] | None,
    ) -> tuple[
        Float[Tensor, "batch target horizon"], Float[Tensor, "batch target horizon level"] | None
    ]:
        """Point forecast and quantiles, in units of the context."""
        features = x.flatten(2)
        if self.targets is not None and len(self.targets) < x.shape[1]:
            features = features[:, list(self.targets)]
        features = F.dropout(features, self.dropout, self.training)
        point = self.base_forecast_block(features)[..., : self.steps]
        if self.fcm_block is not None and past is not None:
            point = self.fcm_block(point, past, known)
        quantiles = None if self.quantile_block is None else self.quantile_block(features, point)
        return point, quantiles
