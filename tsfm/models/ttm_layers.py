"""Building blocks of TinyTimeMixer: mixers, backbone, decoder.

Parameter names follow the reference implementation, so that released weights load by name.
Source: Ekambaram et al. 2024, *Tiny Time Mixers (TTMs): Fast Pre-trained Models for Enhanced
Zero/Few-Shot Forecasting of Multivariate Time Series*; reference implementation: granite-tsfm 0.3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from tsfm.models.ttm_config import TinyTimeMixerConfig
from tsfm.models.ttm_inference import LayerInference, can_infer
from tsfm.models.ttm_mixing import Weights, mix_features, mix_patches

_NARROWEST = 4  # a level whose patches would be this narrow or narrower keeps the full width


class Norm(nn.Module):
    """Layer norm over the features."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x)
        return out


class Expansion(nn.Module):
    """The two linear maps of a mixer."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, width * factor)
        self.fc2 = nn.Linear(width * factor, width)


class Gate(nn.Module):
    """The linear map of a softmax gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn_layer = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return x * torch.softmax(self.attn_layer(x), dim=-1)


class Mixer(nn.Module):
    """Norm, two linear maps and a gate along one axis of ``[…, patch, feature]``, residual."""

    def __init__(
        self, width: int, along: int, config: TinyTimeMixerConfig, dropout: float, *, gated: bool
    ) -> None:
        super().__init__()
        self.norm = Norm(width, config.norm_eps)
        self.mlp = Expansion(along, config.expansion_factor)
        self.gating_block = Gate(along) if gated else None
        self.dropout, self.eps = dropout, config.norm_eps

    @property
    def weights(self) -> Weights:
        """What the mixer computes with."""
        norm, mlp, gate = self.norm.norm, self.mlp, self.gating_block
        fc1, fc2 = mlp.fc1, mlp.fc2
        layer = None if gate is None else gate.attn_layer
        return Weights(
            norm.weight, norm.bias, fc1.weight, fc1.bias, fc2.weight, fc2.bias,
            *(() if layer is None else (layer.weight, layer.bias)),
        )  # fmt: skip

    @property
    def rate(self) -> float:
        """Dropout in force."""
        return self.dropout if self.training else 0.0

    @property
    def is_plain(self) -> bool:
        """Whether its linear maps are their weights: no adapter's dropout is in force."""
        if not self.training:
            return True
        return not any(getattr(part, "drops", False) for part in self.modules())

    def _expanded(self, x: Tensor) -> Tensor:
        hidden = F.dropout(F.gelu(self.mlp.fc1(x)), self.rate)
        return F.dropout(self.mlp.fc2(hidden), self.rate)

    def _gated(self, x: Tensor) -> Tensor:
        return x if self.gating_block is None else self.gating_block(x)


class FeatureMixer(Mixer):
    """Mixes the features of each patch."""

    def forward(self, x: Float[Tensor, "row patch dim"]) -> Float[Tensor, "row patch dim"]:
        if self.is_plain:
            return mix_features(x, self.weights, self.eps, self.rate)
        return x + self._gated(self._expanded(self.norm(x)))


class PatchMixer(Mixer):
    """Mixes the patches of each feature."""

    def forward(self, x: Float[Tensor, "row patch dim"]) -> Float[Tensor, "row patch dim"]:
        if self.is_plain:
            return mix_patches(x, self.weights, self.eps, self.rate)
        return x + self._gated(self._expanded(self.norm(x).transpose(1, 2))).transpose(1, 2)


class ChannelMixer(Mixer):
    """Mixes the channels; here the gate comes first."""

    def forward(
        self, x: Float[Tensor, "batch channel patch dim"]
    ) -> Float[Tensor, "batch channel patch dim"]:
        mixed = self._gated(self.norm(x).transpose(1, 3))
        return x + self._expanded(mixed).transpose(1, 3)


class MixerLayer(nn.Module):
    """Channels where they are mixed, then patches, then features."""

    def __init__(
        self,
        patches: int,
        width: int,
        config: TinyTimeMixerConfig,
        dropout: float,
        *,
        channels: int = 0,
        gated: bool,
    ) -> None:
        super().__init__()
        if channels:
            self.channel_feature_mixer = ChannelMixer(width, channels, config, dropout, gated=gated)
        self.patch_mixer = (
            PatchMixer(width, patches, config, dropout, gated=gated) if patches > 1 else None
        )
        self.feature_mixer = FeatureMixer(width, width, config, dropout, gated=gated)
        self.mixes_channels, self.inference = channels > 0, LayerInference()

    def forward(
        self, x: Float[Tensor, "batch channel patch dim"]
    ) -> Float[Tensor, "batch channel patch dim"]:
        shape = x.shape
        if self.mixes_channels:
            x = self.channel_feature_mixer(x)
        return self._mixed(x.reshape(-1, *shape[2:])).view(shape)

    def _mixed(self, x: Float[Tensor, "row patch dim"]) -> Float[Tensor, "row patch dim"]:
        patches, features = self.patch_mixer, self.feature_mixer
        if patches is None:
            mixed: Tensor = features(x)
            return mixed
        if not torch.is_grad_enabled() and patches.is_plain and features.is_plain:
            along_patches, along_features = patches.weights, features.weights
            if can_infer(x, along_features, features.rate):
                return self.inference(x, along_patches, along_features, features.eps)
        mixed = features(patches(x))
        return mixed


class Level(nn.Module):
    """Mixer layers on patches that are ``factor`` times as many and as narrow."""

    def __init__(self, layers: list[MixerLayer], factor: int) -> None:
        super().__init__()
        self.mixer_layers = nn.ModuleList(layers)
        self.factor = factor

    def forward(
        self, x: Float[Tensor, "batch channel patch dim"]
    ) -> Float[Tensor, "batch channel patch dim"]:
        batch, channel, patches, width = x.shape
        x = x.reshape(batch, channel, patches * self.factor, width // self.factor)
        for layer in self.mixer_layers:
            x = layer(x)
        return x.reshape(batch, channel, patches, width)


class MixerStack(nn.Module):
    """The levels of adaptive patching, finest first; or plain layers."""

    def __init__(
        self,
        config: TinyTimeMixerConfig,
        *,
        patches: int,
        width: int,
        layers: int,
        levels: int,
        dropout: float,
        channels: int = 0,
        gated: bool | None = None,
    ) -> None:
        super().__init__()
        is_gated = config.gated_attn if gated is None else gated

        def stack(factor: int) -> list[MixerLayer]:
            return [
                MixerLayer(
                    patches * factor, width // factor, config, dropout,
                    channels=channels, gated=is_gated,
                )
                for _ in range(layers)
            ]  # fmt: skip

        factors = [
            2**level if width // 2**level > _NARROWEST else 1 for level in reversed(range(levels))
        ]
        mixers = [Level(stack(factor), factor) for factor in factors] if levels else stack(1)
        self.mixers = nn.ModuleList(mixers)

    def forward(
        self, x: Float[Tensor, "batch channel patch dim"]
    ) -> Float[Tensor, "batch channel patch dim"]:
        for mixer in self.mixers:
            x = mixer(x)
        return x


class Encoder(nn.Module):
    """Patches to hidden features, the frequency's token before them."""

    def __init__(self, config: TinyTimeMixerConfig) -> None:
        super().__init__()
        self.patcher = nn.Linear(config.patch_length, config.d_model)
        if config.resolution_prefix_tuning:
            between = (config.patch_length + config.d_model) // 2
            self.freq_mod = nn.Sequential(
                nn.Embedding(config.frequency_token_vocab_size, config.patch_length),
                nn.Linear(config.patch_length, between),
                nn.GELU(),
                nn.Linear(between, config.d_model),
            )
        self.mlp_mixer_encoder = MixerStack(
            config,
            patches=config.num_patches,
            width=config.d_model,
            layers=config.num_layers,
            levels=config.adaptive_patching_levels,
            dropout=config.dropout,
            channels=config.num_input_channels if config.mode == "mix_channel" else 0,
        )

    def forward(
        self,
        patches: Float[Tensor, "batch channel patch bar"],
        frequency: Int[Tensor, " batch"] | None,
    ) -> Float[Tensor, "batch channel patch dim"]:
        x = self.patcher(patches)
        if frequency is not None:
            token = self.freq_mod(frequency)[:, None, None]
            x = torch.cat([token.expand(-1, x.shape[1], -1, -1), x], dim=2)
        out: Tensor = self.mlp_mixer_encoder(x)
        return out


class Backbone(nn.Module):
    """Holds the encoder, under the name that released weights have."""

    def __init__(self, config: TinyTimeMixerConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)


class CategoricalEmbedding(nn.Module):
    """A channel for each static attribute, the same at every patch."""

    def __init__(self, sizes: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.embedding_layers = nn.ModuleList(nn.Embedding(size, width) for size in sizes)

    def forward(
        self, codes: Int[Tensor, "batch attribute"], patches: int
    ) -> Float[Tensor, "batch attribute patch dim"]:
        embedded = [layer(codes[:, k]) for k, layer in enumerate(self.embedding_layers)]
        return torch.stack(embedded, dim=1)[:, :, None].expand(-1, -1, patches, -1)


class Decoder(nn.Module):
    """Fewer, narrower mixer layers that adapt the backbone's features to the data."""

    def __init__(self, config: TinyTimeMixerConfig) -> None:
        super().__init__()
        width, attributes = config.decoder_d_model, config.categorical_vocab_size_list
        self.adapter = nn.Linear(config.d_model, width) if config.d_model != width else None
        if config.decoder_raw_residual:
            self.decoder_raw_embedding = nn.Linear(config.patch_length, width)
        if attributes:
            self.decoder_cat_embedding_layer = CategoricalEmbedding(attributes, width)
        self.is_residual, self.has_attributes = config.decoder_raw_residual, bool(attributes)
        mixing = config.decoder_mode == "mix_channel"
        self.decoder_block = MixerStack(
            config,
            patches=config.num_patches,
            width=width,
            layers=config.decoder_num_layers,
            levels=config.decoder_adaptive_patching_levels,
            dropout=config.head_dropout,
            channels=config.num_input_channels + len(attributes) if mixing else 0,
        )

    def forward(
        self,
        x: Float[Tensor, "batch channel patch dim"],
        patches: Float[Tensor, "batch channel patch bar"],
        attributes: Int[Tensor, "batch attribute"] | None,
    ) -> Float[Tensor, "batch channel patch dim"]:
        channels = x.shape[1]
        if self.adapter is not None:
            x = self.adapter(x)
        if self.is_residual:
            missing = x.shape[2] - patches.shape[2]
            x = x + self.decoder_raw_embedding(F.pad(patches, (0, 0, missing, 0)))
        if self.has_attributes and attributes is not None:
            embedded = self.decoder_cat_embedding_layer(attributes, x.shape[2])
            x = torch.cat([x, embedded], dim=1)
        return self.decoder_block(x)[:, :channels]
