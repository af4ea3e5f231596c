"""Directories of a TinyTimeMixer: our own, and the released ones of granite-tsfm."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.checkpoint import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    own_config,
    read_config,
    read_weights,
    write_model,
)
from tsfm.models.ttm_config import TinyTimeMixerConfig

if TYPE_CHECKING:
    from torch import Tensor

    from tsfm.models.ttm import TinyTimeMixer

    M = TypeVar("M", bound=TinyTimeMixer)

REFERENCE_TYPE = "tinytimemixer"
# Parts that a loaded model may lack or have beyond its checkpoint, when overrides say so.
OPTIONAL = (
    "channel_feature_mixer.", "fcm_block.", "quantile_block.", "decoder_cat_embedding_layer."
)  # fmt: skip
_RENAMED = {"context": "context_length", "horizon": "prediction_length"}
_COPIED = (
    "prediction_filter_length", "patch_length", "patch_stride", "d_model", "num_layers",
    "adaptive_patching_levels", "expansion_factor", "gated_attn", "mode", "use_decoder",
    "decoder_num_layers", "decoder_d_model", "decoder_adaptive_patching_levels",
    "decoder_raw_residual", "decoder_mode", "num_input_channels", "prediction_channel_indices",
    "exogenous_channel_indices", "enable_forecast_channel_mixing", "fcm_context_length",
    "fcm_use_mixer", "fcm_mix_layers", "fcm_gated_attn", "fcm_prepend_past",
    "fcm_prepend_past_offset", "resolution_prefix_tuning", "frequency_token_vocab_size",
    "categorical_vocab_size_list", "huber_delta", "dropout", "head_dropout", "norm_eps",
)  # fmt: skip
_UNSUPPORTED = {
    "self_attn": False, "use_positional_encoding": False, "multi_scale": False,
    "register_tokens": 0, "fft_length": 0, "multi_quantile_head": False, "decompose": False,
    "enable_base_norm_always": False, "masked_context_length": None,
}  # fmt: skip
_logger = logging.getLogger(__name__)


def save(model: TinyTimeMixer, directory: Path) -> Path:
    """Write weights and configuration.

    Raises
    ------
    CheckpointError
        When they cannot be written; an earlier model there stays.
    """
    content = {"model": model.name, "config": model.config.to_dict()}
    return write_model(directory, content, model.state_dict())


def load(kind: type[M], directory: Path, overrides: Mapping[str, Any]) -> M:
    """Read a directory that :func:`save` wrote."""
    config = own_config(read_config(directory), kind.name, directory)
    return _build(kind, directory, config, overrides)


def from_pretrained(kind: type[M], source: str | Path, overrides: Mapping[str, Any]) -> M:
    """Load a released directory or one of ours; ``source`` may be a model of the hub."""
    from tsfm.models.source import directory_of

    directory = directory_of(source)
    content = read_config(directory)
    if "model" in content:
        return load(kind, directory, overrides)
    return _build(kind, directory, from_reference(content, directory), overrides)


def from_reference(content: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Our configuration for granite-tsfm's ``config.json``.

    Raises
    ------
    CheckpointError
        When it is of another model, or of a TTM whose parts are not known here.
    """
    if content.get("model_type") != REFERENCE_TYPE:
        raise CheckpointError(
            f"{CONFIG_FILE} describes {content.get('model_type', 'no model')!r}, "
            f"not {REFERENCE_TYPE!r}",
            where=str(directory),
            remedy="give a TinyTimeMixer's directory",
        )
    foreign = [name for name, value in _UNSUPPORTED.items() if content.get(name, value) != value]
    if "batch" in str(content.get("norm_mlp", "")).lower():
        foreign.append("norm_mlp")
    if foreign:
        raise CheckpointError(
            f"the model uses {', '.join(foreign)}, which TTM-r1 and r2 do not have",
            where=str(directory),
            remedy="use a TTM-r1 or TTM-r2 checkpoint",
        )
    values = {name: content[key] for name, key in _RENAMED.items() if key in content}
    values |= {name: content[name] for name in _COPIED if content.get(name) is not None}
    scaling = content.get("scaling", "std")
    values["scaling"] = {True: "mean", False: "none", None: "none"}.get(scaling, scaling)
    loss = content.get("loss")
    values["loss"] = loss if loss in ("mse", "mae", "huber") else "mse"
    sizes = values.get("categorical_vocab_size_list", ())
    values["categorical_names"] = [f"attribute_{k}" for k in range(len(sizes))]
    return values | {"minimum_variance": 1e-5, "fcm_standardise": False}


def _build(
    kind: type[M], directory: Path, values: Mapping[str, Any], overrides: Mapping[str, Any]
) -> M:
    try:
        stored = TinyTimeMixerConfig.from_dict(values)
    except ConfigError as error:
        raise CheckpointError(
            f"{CONFIG_FILE} is damaged: {error.what}", where=str(directory)
        ) from error
    chosen = _within(stored, dict(overrides), directory)
    config = TinyTimeMixerConfig.from_dict({**stored.to_dict(), **chosen})
    model = kind(config)
    weights = read_weights(directory)
    _fill(model, weights, directory, lenient=config != stored)
    return model


def _within(
    stored: TinyTimeMixerConfig, overrides: dict[str, Any], directory: Path
) -> dict[str, Any]:
    """Overrides that the weights allow: context stays, a shorter horizon is a filtered one."""
    context, horizon = overrides.get("context"), overrides.get("horizon")
    if context is not None and context != stored.context:
        raise CheckpointError(
            f"the weights are for contexts of {stored.context} bars, not {context}",
            where=str(directory),
            remedy="leave context out: shorter ones are preceded by unobserved bars, of longer "
            "ones the end is looked at",
        )
    if horizon is not None and horizon > stored.horizon:
        raise CheckpointError(
            f"the weights forecast {stored.horizon} bars, not {horizon}",
            where=str(directory),
            remedy="leave horizon out: forecasts of longer horizons are rolled",
        )
    if horizon is not None and "prediction_filter_length" not in overrides:
        overrides["prediction_filter_length"] = horizon if horizon < stored.horizon else None
    return overrides | {"horizon": stored.horizon}


def _fill(model: M, weights: dict[str, Tensor], directory: Path, *, lenient: bool) -> None:
    """Load what fits; what does not must be an optional part that overrides asked for."""
    wanted = model.state_dict()
    shapes = {name: tuple(value.shape) for name, value in wanted.items()}
    fitting = {n: w for n, w in weights.items() if shapes.get(n) == tuple(w.shape)}
    unlike = {name for name in {*wanted, *weights} if name not in fitting}
    wrong = sorted(n for n in unlike if not (lenient and any(part in n for part in OPTIONAL)))
    if wrong:
        found = tuple(weights[wrong[0]].shape) if wrong[0] in weights else "nothing"
        raise CheckpointError(
            f"the weights do not fit the configuration: {wrong[0]} is {found}, "
            f"not {shapes.get(wrong[0], 'there')}",
            where=str(directory / WEIGHTS_FILE),
            remedy="leave context, patch_length, d_model, num_layers, horizon and their decoder "
            "counterparts as they were trained",
        )
    fresh, dropped = sorted({*wanted} - {*fitting}), sorted({*weights} - {*wanted})
    if fresh:
        _logger.info("start at random: %s", ", ".join(fresh))
    if dropped:
        _logger.info("left out: %s", ", ".join(dropped))
    model.load_state_dict({**wanted, **fitting})
