"""What a TinyTimeMixer is made of, which channels it sees and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

from tsfm.errors import ConfigError, one_of
from tsfm.models.model_config import ModelConfig

CHANNEL_MODES = ("common_channel", "mix_channel")
SCALINGS = ("std", "mean", "none")
IMPUTATIONS = ("bridge", "mean", "none")
LOSSES = ("mse", "mae", "huber", "pinball")
LOSS_SCALES = ("window", "none")


@dataclass(frozen=True, kw_only=True)
class TinyTimeMixerConfig(ModelConfig):
    """Configuration of :class:`tsfm.models.ttm.TinyTimeMixer`; the defaults are TTM-r2's 512 → 96.

    Names are those of the reference's configuration, but for ``context`` (``context_length`` there)
    and ``horizon`` (``prediction_length``).

    Attributes
    ----------
    context, horizon
        Bars seen and bars forecast at once; shorter contexts are preceded by unobserved bars,
        longer horizons are forecast by rolling.
    prediction_filter_length
        Bars of the horizon that are forecast and trained on; None for all.
    patch_length, patch_stride
        Bars in a patch and between the starts of two.
    d_model, num_layers
        Width of a patch and mixer layers at each level of the backbone.
    adaptive_patching_levels
        Levels of the backbone; at level i patches are 2^i times as many and as narrow. 0: one
        level that is not nested.
    expansion_factor
        Hidden width of a mixer, as a multiple of what it mixes.
    gated_attn
        Softmax gates in the mixers.
    mode, decoder_mode
        Of backbone and decoder: ``common_channel`` treats each channel by itself, ``mix_channel``
        also mixes the channels, whose number is then fixed.
    use_decoder, decoder_num_layers, decoder_d_model, decoder_adaptive_patching_levels
        The decoder, as the backbone.
    decoder_raw_residual
        Whether the decoder also embeds the patches themselves.
    num_input_channels
        Targets, past and known covariates together; looked at where channels are mixed only.
    prediction_channel_indices
        Channels that are forecast, increasing; empty for all.
    exogenous_channel_indices
        Channels known over the horizon, increasing. All others beside these are past covariates.
    enable_forecast_channel_mixing
        Reconcile the forecasts of the channels, with exogenous channels' future values.
    fcm_context_length
        Bars on either side of each forecast bar that reconciliation sees.
    fcm_use_mixer, fcm_mix_layers, fcm_gated_attn
        Mixer layers and gate of the reconciliation.
    fcm_prepend_past, fcm_prepend_past_offset
        Whether the context's end precedes the first forecast bar, and bars left out before that.
    fcm_standardise
        Reconcile in units of each channel's context (the reference takes past and exogenous values
        in the units they come in).
    resolution_prefix_tuning, frequency_token_vocab_size
        Put a token of the bars' frequency before the patches, out of so many.
    categorical_names, categorical_vocab_size_list
        Static attributes, whole numbers below these sizes; each is a channel of the decoder, whose
        mode must be ``mix_channel``.
    quantile_levels
        Forecast these quantiles too, an odd number of levels with 0.5 in the middle; empty for a
        point model.
    quantile_hidden
        Hidden width of the quantile head.
    scaling
        Of each channel by its observed context: ``std`` (mean and deviation), ``mean`` (mean of
        absolute values) or ``none``.
    minimum_variance
        Added to the variance of each context. The reference has 1e-5, which drowns hourly log
        returns.
    imputation
        What unobserved bars become: ``bridge`` (straight lines between observed ones, then the last
        one; before the first, the mean), ``mean``, or ``none`` (as they stand in the batch).
    loss
        ``mse``, ``mae``, ``huber`` or ``pinball``; the latter trains the quantiles alone, the
        others train the point forecast and, where there are levels, the quantiles as well.
    loss_scale
        ``window``: errors count in units of the deviation of the window (context and horizon), so
        that series of different sizes count alike; ``none``: in the data's, as in the reference.
    huber_delta
        Where the Huber loss becomes linear.
    dropout, head_dropout
        Of the backbone; of decoder and head. In training only.
    norm_eps
        Of the layer norms.
    forecast_series
        Series that a forecast computes at once; bounds memory.
    """

    label: ClassVar[str] = "TinyTimeMixer"

    context: int = 512
    horizon: int = 96
    prediction_filter_length: int | None = None
    patch_length: int = 64
    patch_stride: int = 64
    d_model: int = 192
    num_layers: int = 2
    adaptive_patching_levels: int = 3
    expansion_factor: int = 2
    gated_attn: bool = True
    mode: str = "common_channel"
    use_decoder: bool = True
    decoder_num_layers: int = 2
    decoder_d_model: int = 128
    decoder_adaptive_patching_levels: int = 0
    decoder_raw_residual: bool = False
    decoder_mode: str = "common_channel"
    num_input_channels: int = 1
    prediction_channel_indices: tuple[int, ...] = ()
    exogenous_channel_indices: tuple[int, ...] = ()
    enable_forecast_channel_mixing: bool = False
    fcm_context_length: int = 1
    fcm_use_mixer: bool = False
    fcm_mix_layers: int = 2
    fcm_gated_attn: bool = True
    fcm_prepend_past: bool = True
    fcm_prepend_past_offset: int | None = None
    fcm_standardise: bool = True
    resolution_prefix_tuning: bool = False
    frequency_token_vocab_size: int = 5
    categorical_names: tuple[str, ...] = ()
    categorical_vocab_size_list: tuple[int, ...] = ()
    quantile_levels: tuple[float, ...] = ()
    quantile_hidden: int = 64
    scaling: str = "std"
    minimum_variance: float = 1e-10
    imputation: str = "bridge"
    loss: str = "mse"
    loss_scale: str = "window"
    huber_delta: float = 1.0
    dropout: float = 0.2
    head_dropout: float = 0.2
    norm_eps: float = 1e-5
    forecast_series: int = 2_048

    def __post_init__(self) -> None:
        for field in fields(self):
            if isinstance(getattr(self, field.name), list):
                object.__setattr__(self, field.name, tuple(getattr(self, field.name)))
        self._check_ranges()
        self._check_patches()
        self._check_channels()
        levels = self.quantile_levels
        middle = levels[len(levels) // 2] if levels else 0.5
        if any(b <= a for a, b in zip((0.0, *levels), (*levels, 1.0))) or middle != 0.5:
            raise ConfigError(
                f"quantile_levels={levels} are not increasing with 0.5 in the middle",
                remedy="give for example 0.1, 0.5, 0.9",
            )
        if levels and len(levels) % 2 == 0:
            raise ConfigError(
                f"{len(levels)} quantile_levels", remedy="give an odd number, 0.5 in the middle"
            )
        if self.loss == "pinball" and not levels:
            raise ConfigError("loss=pinball without quantile_levels", remedy="give some levels")

    def _check_ranges(self) -> None:
        for name, allowed in {
            "mode": CHANNEL_MODES, "decoder_mode": CHANNEL_MODES, "scaling": SCALINGS,
            "imputation": IMPUTATIONS, "loss": LOSSES, "loss_scale": LOSS_SCALES,
        }.items():  # fmt: skip
            one_of(name, getattr(self, name), allowed)
        for name in (
            "context", "horizon", "patch_length", "patch_stride", "d_model", "num_layers",
            "expansion_factor", "decoder_num_layers", "decoder_d_model", "num_input_channels",
            "fcm_mix_layers", "frequency_token_vocab_size", "quantile_hidden", "forecast_series",
            "huber_delta", "minimum_variance", "norm_eps",
        ):  # fmt: skip
            least = 0 if isinstance(getattr(self, name), float) else 1
            if getattr(self, name) < least or getattr(self, name) == 0:
                raise ConfigError(f"{name}={getattr(self, name)}", remedy="give a positive number")
        for name in (
            "adaptive_patching_levels", "decoder_adaptive_patching_levels", "fcm_context_length"
        ):  # fmt: skip
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)}", remedy="give 0 or more")
        for name in ("dropout", "head_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}", remedy="give 0 ≤ it < 1")
        kept = self.prediction_filter_length
        if kept is not None and not 1 <= kept <= self.horizon:
            raise ConfigError(
                f"prediction_filter_length={kept} with horizon={self.horizon}",
                remedy="give 1 ≤ prediction_filter_length ≤ horizon",
            )

    def _check_patches(self) -> None:
        if self.patch_length > self.context:
            raise ConfigError(
                f"patch_length={self.patch_length} exceeds context={self.context}",
                remedy="shorten the patches",
            )
        for width, levels in (
            (self.d_model, self.adaptive_patching_levels),
            (self.decoder_d_model, self.decoder_adaptive_patching_levels),
        ):
            if levels > 1 and width % 2 ** (levels - 1):
                raise ConfigError(
                    f"a width of {width} cannot be halved {levels - 1} times",
                    remedy="choose d_model as a multiple of 2^(adaptive_patching_levels - 1)",
                )

    def _check_channels(self) -> None:
        targets, known = self.prediction_channel_indices, self.exogenous_channel_indices
        for name, indices in (
            ("prediction_channel_indices", targets), ("exogenous_channel_indices", known),
        ):  # fmt: skip
            if list(indices) != sorted(set(indices)) or any(
                not 0 <= k < self.num_input_channels for k in indices
            ):
                raise ConfigError(
                    f"{name}={indices} of {self.num_input_channels} channels",
                    remedy="give increasing indices below num_input_channels",
                )
        if set(targets) & set(known) or (known and not targets):
            raise ConfigError(
                f"channels {targets or 'all'} are forecast, {known} are known over the horizon",
                remedy="name the channels to forecast in prediction_channel_indices, and no others",
            )
        if known and not self.enable_forecast_channel_mixing:
            raise ConfigError(
                f"exogenous_channel_indices={known} would not be looked at",
                remedy="set enable_forecast_channel_mixing",
            )
        if len(self.categorical_names) != len(self.categorical_vocab_size_list):
            raise ConfigError(
                f"{len(self.categorical_names)} categorical_names, "
                f"{len(self.categorical_vocab_size_list)} sizes",
                remedy="give one size for each name",
            )
        if self.categorical_names and (self.decoder_mode != "mix_channel" or not self.use_decoder):
            raise ConfigError(
                "categorical_names need a decoder that mixes channels",
                remedy="set decoder_mode=mix_channel",
            )

    @property
    def steps(self) -> int:
        """Bars forecast at once."""
        return self.prediction_filter_length or self.horizon

    @property
    def num_patches(self) -> int:
        """Patches of a context, the frequency's token included."""
        prefix = 1 if self.resolution_prefix_tuning else 0
        return (self.context - self.patch_length) // self.patch_stride + 1 + prefix

    @property
    def mixes_channels(self) -> bool:
        """Whether the number of channels is fixed; otherwise each is a series of its own."""
        decoder = self.use_decoder and self.decoder_mode == "mix_channel"
        return self.mode == "mix_channel" or decoder or self.enable_forecast_channel_mixing

    @property
    def targets(self) -> tuple[int, ...]:
        """Channels that are forecast."""
        return self.prediction_channel_indices or tuple(range(self.num_input_channels))

    @property
    def past_only(self) -> tuple[int, ...]:
        """Channels of past covariates."""
        others = {*self.targets, *self.exogenous_channel_indices}
        return tuple(k for k in range(self.num_input_channels) if k not in others)

    def with_channels(self, targets: int, past: int = 0, known: int = 0) -> Self:
        """For so many targets, past and known covariates, in this order.

        Without covariates each target is a series of its own; with them the decoder mixes channels,
        and forecasts are reconciled with known ones.
        """
        count = targets + past + known
        mixing = past + known > 0
        return replace(
            self,
            num_input_channels=count if mixing else 1,
            prediction_channel_indices=tuple(range(targets)) if mixing else (),
            exogenous_channel_indices=tuple(range(targets + past, count)),
            decoder_mode=CHANNEL_MODES[mixing],
            enable_forecast_channel_mixing=known > 0,
        )

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> Self:
        """A released size: ``r2_512``, ``r2_1024``, ``r2_1536``; ``base``, that of the shipped
        ``ttm-base``; or ``tiny``, for tests.

        Raises
        ------
        ConfigError
            When the name is none of these, or an override is not a field.
        """
        one_of("preset", name, PRESETS)
        return cls.from_dict({**PRESETS[name], **overrides})


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "context": 64, "horizon": 16, "patch_length": 8, "patch_stride": 8, "d_model": 32,
        "decoder_d_model": 16, "decoder_num_layers": 1, "adaptive_patching_levels": 2,
    },
    "base": {"d_model": 96, "decoder_d_model": 64},
    "r2_512": {},
    "r2_1024": {
        "context": 1024, "patch_length": 128, "patch_stride": 128, "d_model": 384,
        "decoder_d_model": 256,
    },
    "r2_1536": {
        "context": 1536, "patch_length": 128, "patch_stride": 128, "d_model": 384,
        "decoder_d_model": 256,
    },
}  # fmt: skip
