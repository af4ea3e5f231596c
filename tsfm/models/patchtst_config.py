"""What a PatchTST is made of, how it is trained, how big it is, and how two arms are matched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from tsfm.errors import ConfigError, one_of
from tsfm.models.model_config import ModelConfig

CHANNEL_MIXING = ("none", "attention")
MODES = ("prediction", "masked")
N_LEVELS = 9
ARCHITECTURE = (
    "patch", "channel_mixing", "d_model", "heads", "layers", "d_ff", "rope_fraction",
    "rope_wavelength", "pooling", "dynamics_embedding", "monomials", "monomial_degree",
    "fourier_features",
)  # fmt: skip
_AT_LEAST = {
    0: ("monomials", "fourier_features", "train_variates", "feature_seed"),
    1: ("patch", "context", "horizon", "d_model", "heads", "layers", "d_ff", "monomial_degree",
        "forecast_tokens"),
}  # fmt: skip
_WITHIN = {
    "rope_fraction": (0.0, 1.0), "rope_wavelength": (1.001, 1e9), "mask_ratio": (0.01, 0.99),
    "dropout": (0.0, 0.99), "attention_dropout": (0.0, 0.99), "minimum_variance": (1e-30, 1.0),
    "norm_eps": (1e-12, 1.0), "fourier_scale": (1e-6, 1e6),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PatchTSTConfig(ModelConfig):
    """Configuration of :class:`tsfm.models.patchtst.PatchTST`; every field has a default.

    Attributes
    ----------
    channel_mixing
        ``attention``: each layer also attends between the variates of one patch, with weights of
        its own; ``none``: each variate is forecast by itself.
    patch
        Bars in a token; patches do not overlap.
    context, horizon
        Bars seen and bars forecast at once. Other contexts are fine; longer horizons are rolled.
    d_model, heads, layers, d_ff
        Width of a token, attention heads, layers, hidden width of the feed-forward.
    rope_fraction, rope_wavelength
        Share of each head that turns with the patch's position in time, and the longest wavelength
        (in patches, for a whole head).
    pooling
        ``max`` or ``mean`` over a variate's patches, before the head.
    dynamics_embedding
        Embed a patch by random monomials and Fourier features of its bars, not by its bars alone.
    monomials, monomial_degree
        Random monomials of each degree from 2 up to ``monomial_degree``.
    fourier_features, fourier_scale
        Frozen random Fourier features (half sines, half cosines) and the spread of their
        frequencies.
    feature_seed
        Draws monomials and frequencies; they are kept in the checkpoint.
    mode
        ``prediction``: the horizon from the context; ``masked``: hidden patches from the others.
    mask_ratio, channel_consistent
        Share of each variate's patches that is hidden in masked mode, and whether it is the same
        patches for all variates of a window.
    quantiles
        Predict nine quantiles (pinball loss) where a point would be.
    loss
        Of point forecasts, in units of the context's standard deviation: ``mse``, ``mae``,
        ``huber`` (threshold 1).
    train_variates
        Most variates drawn from a training window; 0: all of them.
    minimum_variance
        Added to the variance of each series' context; what varies no more than that is not trained
        on. Released weights have 1e-5.
    norm_eps
        Of the RMS norms.
    dropout, attention_dropout
        In training only.
    forecast_tokens
        Tokens that a forecast encodes at once; bounds memory.
    """

    label: ClassVar[str] = "PatchTST"

    channel_mixing: str = "attention"
    patch: int = 16
    context: int = 512
    horizon: int = 128
    d_model: int = 128
    heads: int = 4
    layers: int = 4
    d_ff: int = 256
    rope_fraction: float = 0.75
    rope_wavelength: float = 500.0
    pooling: str = "max"
    dynamics_embedding: bool = False
    monomials: int = 120
    monomial_degree: int = 3
    fourier_features: int = 256
    fourier_scale: float = 1.0
    feature_seed: int = 0
    mode: str = "prediction"
    mask_ratio: float = 0.5
    channel_consistent: bool = False
    quantiles: bool = False
    loss: str = "mse"
    train_variates: int = 0
    minimum_variance: float = 1e-10
    norm_eps: float = 1e-5
    dropout: float = 0.0
    attention_dropout: float = 0.0
    forecast_tokens: int = 32_768

    def __post_init__(self) -> None:
        one_of("channel_mixing", self.channel_mixing, CHANNEL_MIXING)
        one_of("mode", self.mode, MODES)
        one_of("pooling", self.pooling, ("max", "mean"))
        one_of("loss", self.loss, ("mse", "mae", "huber"))
        for least, names in _AT_LEAST.items():
            for name in names:
                if getattr(self, name) < least:
                    raise ConfigError(
                        f"{name}={getattr(self, name)}", remedy=f"give at least {least}"
                    )
        for name, (low, high) in _WITHIN.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(
                    f"{name}={getattr(self, name)}", remedy=f"give a value from {low:g} to {high:g}"
                )
        if self.d_model % (2 * self.heads):
            raise ConfigError(
                f"d_model={self.d_model} is no multiple of 2 × heads={self.heads}",
                remedy="each head needs an even number of features",
            )
        if self.context < 2 * self.patch:
            raise ConfigError(
                f"context={self.context} holds fewer than two patches of {self.patch} bars",
                remedy=f"give context ≥ {2 * self.patch}, or a smaller patch",
            )
        if self.fourier_features % 2:
            raise ConfigError(
                f"fourier_features={self.fourier_features} is odd",
                remedy="give an even number: half are sines, half cosines",
            )
        if self.mode == "masked" and self.quantiles:
            raise ConfigError(
                "quantiles=true with mode=masked", remedy="masked pretraining predicts points"
            )

    @property
    def degrees(self) -> tuple[int, ...]:
        """Degrees of the random monomials."""
        return tuple(range(2, self.monomial_degree + 1))

    @property
    def n_features(self) -> int:
        """What one patch is embedded from."""
        if not self.dynamics_embedding:
            return self.patch
        return self.patch + len(self.degrees) * self.monomials + self.fourier_features

    @property
    def head_width(self) -> int:
        """Outputs of the head: of a whole variate in prediction mode, of a patch in masked mode."""
        if self.mode == "masked":
            return self.patch
        return self.horizon * (N_LEVELS if self.quantiles else 1)

    @property
    def n_parameters(self) -> int:
        """Trainable parameters."""
        d, attentions = self.d_model, 1 + (self.channel_mixing == "attention")
        per_layer = attentions * (4 * d * d + 5 * d) + 2 * d * self.d_ff + self.d_ff + 2 * d
        embedding = d * self.n_features + (0 if self.dynamics_embedding else d)
        head = d * self.head_width + (self.patch if self.mode == "masked" else 0)
        return self.layers * per_layer + embedding + head

    def flops(self, variates: int, context: int | None = None) -> float:
        """Floating-point operations to encode and forecast one window; a training step takes three
        times as many. Counts matrix products, as two operations per multiply-add."""
        d, patches = self.d_model, -(-(context or self.context) // self.patch)
        tokens, seen_by_time = variates * patches, patches
        per_token = 8 * d * d + 4 * d * seen_by_time + 4 * d * self.d_ff
        if self.channel_mixing == "attention":
            per_token += 8 * d * d + 4 * d * variates
        embedding = 2 * tokens * self.n_features * d
        if self.dynamics_embedding:
            embedding += tokens * self.patch * self.fourier_features
        pooled = tokens if self.mode == "masked" else variates
        return float(
            self.layers * tokens * per_token + embedding + 2 * pooled * d * self.head_width
        )

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> Self:
        """A size: ``tiny`` (tests), ``small``, or a published one: ``panda`` (21 M), ``panda-72M``.

        Raises
        ------
        ConfigError
            When the name is none of these, or an override is not a field.
        """
        one_of("preset", name, PRESETS)
        return cls.from_dict({**PRESETS[name], **overrides})


def matched(
    config: PatchTSTConfig, channel_mixing: str = "none", tolerance: float = 0.02
) -> PatchTSTConfig:
    """The other arm of the same size: ``d_ff`` makes up for the attention between channels.

    Both arms then also need about the same floating-point operations, since every parameter works
    on every token.

    Raises
    ------
    ConfigError
        When no ``d_ff`` brings the number of parameters within ``tolerance``.
    """
    other = replace(config, channel_mixing=channel_mixing)
    wanted = config.n_parameters
    exact = config.d_ff + (wanted - other.n_parameters) / (config.layers * (2 * config.d_model + 1))
    for d_ff in (8 * round(exact / 8), round(exact)):
        if d_ff >= 1:
            found = replace(other, d_ff=d_ff)
            if abs(found.n_parameters / wanted - 1) <= tolerance:
                return found
    raise ConfigError(
        f"channel_mixing={channel_mixing} cannot have {wanted:,} parameters: "
        f"d_ff would be {exact:.0f}",
        remedy="start from the arm with channel_mixing=none, or raise d_ff",
    )


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"d_model": 32, "heads": 2, "layers": 2, "d_ff": 48, "context": 96, "horizon": 32},
    "small": {},
    "panda": {"d_model": 512, "heads": 8, "layers": 8, "d_ff": 512, "dynamics_embedding": True},
    "panda-72M": {
        "d_model": 768, "heads": 12, "layers": 12, "d_ff": 768, "dynamics_embedding": True,
        "monomials": 188, "fourier_features": 376,
    },
}  # fmt: skip
