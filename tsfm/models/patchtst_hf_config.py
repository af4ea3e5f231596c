"""Configuration of Hugging Face's PatchTST, and its size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tsfm.errors import ConfigError, one_of

if TYPE_CHECKING:
    from transformers import PatchTSTForPrediction


@dataclass(frozen=True, kw_only=True)
class HfPatchTSTConfig:
    """Configuration of :class:`tsfm.models.patchtst_hf.HfPatchTST`.

    What is not here is as the library has it.

    Attributes
    ----------
    channel_mixing
        ``attention``: between variates by the weights of the temporal attention; or ``none``.
    variates
        In a training batch: wider windows are drawn from, narrower ones filled up with zeros.
    patch, context, horizon
        Bars in a token, bars seen (positions are embedded: no other number), bars forecast.
    d_model, heads, layers, d_ff
        Width of a token, attention heads, layers, hidden width of the feed-forward.
    dropout
        In training, of attention, residual branches and feed-forward.
    """

    channel_mixing: str = "attention"
    variates: int = 3
    patch: int = 16
    context: int = 512
    horizon: int = 128
    d_model: int = 128
    heads: int = 4
    layers: int = 4
    d_ff: int = 256
    dropout: float = 0.0

    mode: ClassVar[str] = "prediction"
    mask_ratio: ClassVar[float] = 0.5
    channel_consistent: ClassVar[bool] = False

    def __post_init__(self) -> None:
        one_of("channel_mixing", self.channel_mixing, ("none", "attention"))
        for name in ("variates", "patch", "horizon", "d_model", "heads", "layers", "d_ff"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}", remedy="give at least 1")
        if self.context % self.patch or self.context < 2 * self.patch:
            raise ConfigError(
                f"context={self.context} is not two or more whole patches of {self.patch} bars",
                remedy=f"give a multiple of {self.patch}",
            )
        if self.d_model % self.heads:
            raise ConfigError(f"d_model={self.d_model} is no multiple of heads={self.heads}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout={self.dropout}", remedy="give 0 ≤ dropout < 1")

    @property
    def train_variates(self) -> int:
        return self.variates

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values, refusing unknown names.

        Raises
        ------
        ConfigError
            When a name is not a field or a value is not allowed.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(
                f"{', '.join(unknown)} is no parameter of Hugging Face's PatchTST here",
                remedy=f"choose from: {', '.join(sorted(known))}",
            )
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"a PatchTST parameter has the wrong type: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @property
    def n_parameters(self) -> int:
        """Trainable parameters."""
        import torch

        with torch.device("meta"):
            return sum(p.numel() for p in build_network(self).parameters() if p.requires_grad)

    def matched(self, n_parameters: int, tolerance: float = 0.02) -> Self:
        """The same with as many parameters as another arm has, by ``d_ff``.

        Raises
        ------
        ConfigError
            When no ``d_ff`` brings the number within ``tolerance``.
        """
        per_unit = self.layers * (2 * self.d_model + 1)
        exact = self.d_ff + (n_parameters - self.n_parameters) / per_unit
        found = replace(self, d_ff=max(1, 8 * round(exact / 8)))
        if abs(found.n_parameters / n_parameters - 1) > tolerance:
            raise ConfigError(
                f"no d_ff gives {n_parameters:,} parameters", remedy="choose another d_model"
            )
        return found


def build_network(config: HfPatchTSTConfig) -> PatchTSTForPrediction:
    """The library's model of a config."""
    from transformers import PatchTSTConfig, PatchTSTForPrediction

    return PatchTSTForPrediction(
        PatchTSTConfig(
            num_input_channels=config.variates,
            context_length=config.context,
            prediction_length=config.horizon,
            patch_length=config.patch,
            patch_stride=config.patch,
            d_model=config.d_model,
            num_attention_heads=config.heads,
            num_hidden_layers=config.layers,
            ffn_dim=config.d_ff,
            channel_attention=config.channel_mixing == "attention",
            attention_dropout=config.dropout,
            path_dropout=config.dropout,
            ff_dropout=config.dropout,
            loss="mse",
        )
    )
