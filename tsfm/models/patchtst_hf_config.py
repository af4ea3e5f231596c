"""Configuration of Hugging Face's PatchTST, and its size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tsfm.errors import ConfigError, one_of
from tsfm.models.model_config import ModelConfig

if TYPE_CHECKING:
    from transformers import PatchTSTConfig, PatchTSTForPrediction


@dataclass(frozen=True, kw_only=True)
class HfPatchTSTConfig(ModelConfig):
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
    library
        Further fields of ``transformers.PatchTSTConfig``: those of a released checkpoint.
    """

    label: ClassVar[str] = "Hugging Face's PatchTST here"

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
    library: dict[str, Any] = field(default_factory=dict)

    mode: ClassVar[str] = "prediction"
    mask_ratio: ClassVar[float] = 0.5
    channel_consistent: ClassVar[bool] = False

    def __post_init__(self) -> None:
        one_of("channel_mixing", self.channel_mixing, ("none", "attention"))
        for name in ("variates", "patch", "horizon", "d_model", "heads", "layers", "d_ff"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}", remedy="give at least 1")
        whole = not self.context % self.patch or bool(self.library)
        if not whole or self.context < 2 * self.patch:
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
    def from_library(cls, content: Mapping[str, Any]) -> Self:
        """Of a released checkpoint's ``config.json``.

        Raises
        ------
        ConfigError
            When its weights belong to one number of variates, or it does not forecast points.
        """
        unlike = {"share_embedding": True, "share_projection": True, "use_cls_token": False}
        found = [
            f"{k}={content[k]}" for k, usual in unlike.items() if content.get(k, usual) != usual
        ]
        if content.get("loss", "mse") != "mse":
            found.append(f"loss={content['loss']}")
        if found:
            raise ConfigError(
                f"a PatchTST with {', '.join(found)} cannot be used here",
                remedy="give one that shares its weights between variates and was trained by mse",
            )
        names = {
            "variates": "num_input_channels", "patch": "patch_length", "context": "context_length",
            "horizon": "prediction_length", "d_model": "d_model", "heads": "num_attention_heads",
            "layers": "num_hidden_layers", "d_ff": "ffn_dim",
        }  # fmt: skip
        from transformers import PatchTSTConfig

        given = PatchTSTConfig(**content)
        mixing = "attention" if given.channel_attention else "none"
        own = cls.from_dict(
            {ours: getattr(given, theirs) for ours, theirs in names.items()}
            | {"channel_mixing": mixing, "dropout": given.ff_dropout, "library": {"loss": "mse"}}
        )
        usual = library_config(own).to_dict()
        library = {
            key: value
            for key, value in given.to_dict().items()
            if key in usual and value != usual[key] and key not in _TOLD_BY_THE_LIBRARY
        }
        return replace(own, library={"loss": "mse", **library})

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


_TOLD_BY_THE_LIBRARY = ("architectures", "transformers_version", "dtype", "torch_dtype")


def build_network(config: HfPatchTSTConfig) -> PatchTSTForPrediction:
    """The library's model of a config."""
    from transformers import PatchTSTForPrediction

    return PatchTSTForPrediction(library_config(config))


def library_config(config: HfPatchTSTConfig) -> PatchTSTConfig:
    """The library's own configuration."""
    from transformers import PatchTSTConfig

    fields: dict[str, Any] = {
        "num_input_channels": config.variates,
        "context_length": config.context,
        "prediction_length": config.horizon,
        "patch_length": config.patch,
        "patch_stride": config.patch,
        "d_model": config.d_model,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "ffn_dim": config.d_ff,
        "channel_attention": config.channel_mixing == "attention",
        "attention_dropout": config.dropout,
        "path_dropout": config.dropout,
        "ff_dropout": config.dropout,
        "loss": "mse",
    }
    return PatchTSTConfig(**{**fields, **config.library})
