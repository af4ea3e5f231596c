"""What a MOIRAI model is made of, how it is trained and how it forecasts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from tsfm.data.packing import PackingRecipe
from tsfm.errors import ConfigError
from tsfm.models.model_config import ModelConfig

_HEAD_DIM = 64


@dataclass(frozen=True, kw_only=True)
class MoiraiConfig(ModelConfig):
    """Configuration of :class:`tsfm.models.moirai.Moirai`; every field has a default.

    Attributes
    ----------
    d_model
        Width of the encoder, a multiple of 64 (one attention head for each 64).
    num_layers
        Layers of the encoder.
    patch_sizes
        Bars in one token; each size has its own input and output projection.
    token_budget
        Most tokens in one packed row, hence in one series: variates × patches of context and
        horizon, covariates included.
    context, horizon
        Bars of history that a forecast looks at, and bars that training windows reach beyond them.
    patch_size
        The size that forecasts use. None lets each series choose the size that forecasts the end
        of its own context best; :meth:`~tsfm.models.moirai.Moirai.choose_patch_size` fixes it.
    mask_ratio_min, mask_ratio_max
        Share of a training sample's patches that are masked and predicted.
    random_mask_share
        Share of training samples whose masked patches are scattered; others mask a suffix.
    patch_size_rule
        ``all`` draws training patch sizes from every candidate, ``frequency`` from those that suit
        the bar's duration.
    shortest_crop
        Least share of a training window that a sample keeps; 0 draws crops of any length.
    max_variates
        Most variates, covariates included, in one training sample.
    use_covariates
        Whether covariates are seen: as further variates, past ones up to the origin and known ones
        over the horizon too; they are neither predicted nor scored. Where they do not all fit the
        token budget, training samples draw some, and a forecast keeps the first: known before
        past ones, each in the panel's order.
    dropout, attention_dropout
        In training only.
    scaling
        Standardise each variate by its observed context.
    minimum_variance
        Added to the variance of each series' context. The reference has 1e-5, which drowns hourly
        log returns.
    mean_imputation
        Unobserved values enter as the mean of their context (True) or as they stand in the batch
        (False, as released weights were trained: zero in the data's units).
    reference_weight_layout
        Released weights only: the mixture's logits of a patch of p bars come from the first 4 p
        rows of their projection, so that for short patches those of the later components are
        constant.
    num_samples
        Draws that a forecast carries beside its quantiles; 0 for none. They are draws of each
        value by itself, not of joint paths.
    forecast_tokens
        Tokens that a forecast encodes at once; bounds memory.
    gradient_checkpointing
        Recompute activations in the backward pass instead of keeping them.
    """

    label: ClassVar[str] = "MOIRAI"

    d_model: int = 128
    num_layers: int = 4
    patch_sizes: tuple[int, ...] = (16, 32, 64)
    token_budget: int = 512
    context: int = 336
    horizon: int = 48
    patch_size: int | None = None
    mask_ratio_min: float = 0.1
    mask_ratio_max: float = 0.2
    random_mask_share: float = 0.1
    patch_size_rule: str = "all"
    shortest_crop: float = 0.0
    max_variates: int = 128
    use_covariates: bool = True
    dropout: float = 0.0
    attention_dropout: float = 0.0
    scaling: bool = True
    minimum_variance: float = 1e-10
    mean_imputation: bool = True
    reference_weight_layout: bool = False
    num_samples: int = 0
    forecast_tokens: int = 32_768
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch_sizes", tuple(int(size) for size in self.patch_sizes))
        if self.d_model < _HEAD_DIM or self.d_model % _HEAD_DIM:
            raise ConfigError(
                f"d_model={self.d_model} is not a multiple of {_HEAD_DIM}",
                remedy=f"choose {_HEAD_DIM}, {2 * _HEAD_DIM}, {3 * _HEAD_DIM} …",
            )
        for name in ("num_layers", "token_budget", "context", "horizon", "forecast_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}", remedy="give at least 1")
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}", remedy="give 0 ≤ it < 1")
        if self.num_samples < 0:
            raise ConfigError(f"num_samples={self.num_samples}", remedy="give 0 or more")
        if self.minimum_variance <= 0:
            raise ConfigError(
                f"minimum_variance={self.minimum_variance}", remedy="give a positive number"
            )
        if not self.patch_sizes or list(self.patch_sizes) != sorted(set(self.patch_sizes)):
            raise ConfigError(
                f"patch_sizes={self.patch_sizes}", remedy="give increasing positive sizes"
            )
        if self.patch_size is not None and self.patch_size not in self.patch_sizes:
            raise ConfigError(
                f"patch_size={self.patch_size} is not one of {self.patch_sizes}",
                remedy="choose one of them, or None to let validation choose",
            )
        tokens = -(-self.context // self.patch_sizes[-1]) - (-self.horizon // self.patch_sizes[-1])
        if tokens > self.token_budget:
            raise ConfigError(
                f"context {self.context} + horizon {self.horizon} need {tokens} tokens per variate "
                f"at patch size {self.patch_sizes[-1]}, over the token budget of "
                f"{self.token_budget}",
                remedy="shorten context or horizon, add a larger patch size or raise token_budget",
            )
        self.recipe  # noqa: B018  (validates the packing fields)

    @property
    def recipe(self) -> PackingRecipe:
        """How training windows are packed."""
        return PackingRecipe(
            patch_sizes=self.patch_sizes,
            patch_size_rule=self.patch_size_rule,
            token_budget=self.token_budget,
            mask_ratio_min=self.mask_ratio_min,
            mask_ratio_max=self.mask_ratio_max,
            random_mask_share=self.random_mask_share,
            shortest_crop=self.shortest_crop,
            max_variates=self.max_variates,
            use_covariates=self.use_covariates,
        )

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> Self:
        """A published size: ``small``, ``base``, ``large``; or ``tiny``, for tests and CPUs.

        Raises
        ------
        ConfigError
            When the name is none of these, or an override is not a field.
        """
        if name not in PRESETS:
            raise ConfigError(
                f"preset {name!r} is not known", remedy=f"choose one of: {', '.join(PRESETS)}"
            )
        return cls.from_dict({**PRESETS[name], **overrides})


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"d_model": 64, "num_layers": 2},
    "small": {"d_model": 384, "num_layers": 6, "patch_sizes": (8, 16, 32, 64, 128)},
    "base": {"d_model": 768, "num_layers": 12, "patch_sizes": (8, 16, 32, 64, 128)},
    "large": {"d_model": 1024, "num_layers": 24, "patch_sizes": (8, 16, 32, 64, 128)},
}
