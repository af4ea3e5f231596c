"""The model that training starts from: whatever a directory holds, changed only as it allows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import torch

from tsfm.errors import ConfigError, one_of
from tsfm.models import model_class
from tsfm.models.base import QUANTILE_LEVELS, Forecaster, Trainable
from tsfm.models.conditioning import INNER
from tsfm.models.source import model_name

LOSSES = ("", "mse", "mae", "huber", "pinball")
_LOSSES = {"ttm": LOSSES, "patchtst": LOSSES, "patchtst_hf": ("", "mse")}
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a training run wants of its base model.

    Attributes
    ----------
    context, horizon
        Bars seen and forecast.
    channels
        Targets, past and known covariates that shall be looked at together; ``None``: the
        checkpoint's own way.
    loss
        One of :data:`LOSSES`; empty: the checkpoint's own.
    fields
        Further fields of the model's configuration.
    """

    context: int
    horizon: int
    channels: tuple[int, int, int] | None = None
    loss: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("loss", self.loss, LOSSES)


@dataclass(frozen=True, kw_only=True)
class Start:
    """A model to train.

    Attributes
    ----------
    fresh
        Names of weights that the checkpoint lacks, which start at random.
    """

    model: Forecaster
    fresh: tuple[str, ...] = ()


def kind_of(directory: Path) -> str:
    """The model that a directory holds, also behind a scaler (which is fitted anew).

    Raises
    ------
    CheckpointError
        When it holds none of ours.
    """
    return model_name(weights_of(directory))


def weights_of(directory: Path) -> Path:
    """The directory itself, or that of the model behind a scaler."""
    return directory / INNER if model_name(directory) == "conditioned" else directory


def load_start(directory: Path, asked: Asked) -> Start:
    """Load a base model for training, with the lengths, channels and loss that were asked for.

    Lengths that the weights cannot follow stay as they were: contexts are then cut or preceded by
    unobserved bars, and longer horizons rolled.

    Raises
    ------
    CheckpointError
        When the directory cannot be read.
    ConfigError
        When the model has no weights, or cannot follow the channels, the loss or a field.
    """
    directory = weights_of(directory)
    name = model_name(directory)
    kind = model_class(name)
    model = kind.from_pretrained(directory)
    if not isinstance(model, Trainable) or not isinstance(model, torch.nn.Module):
        raise ConfigError(f"{name} has no weights to start from", where=str(directory))
    one_of(f"{name} has its own loss, and loss", asked.loss, _LOSSES.get(name, ("",)))
    covariates = 0 if asked.channels is None else asked.channels[1] + asked.channels[2]
    if covariates and name not in _COVARIATES:
        raise ConfigError(
            f"{name} looks at no covariates",
            remedy="give past_covariates=none, or a base model of " + " or ".join(_COVARIATES),
        )
    config = cast(Any, model).config
    known = {one.name for one in fields(config)}
    unknown = sorted(set(asked.fields) - known)
    if unknown:
        raise ConfigError(
            f"{', '.join(unknown)} is no setting of {name}",
            where=str(directory),
            remedy=f"choose from {', '.join(sorted(known))}",
        )
    changes = _RULES[name](config, asked) if name in _RULES else {}
    changes |= asked.fields
    if changes:
        _logger.info("%s is loaded with %s", name, changes)
        model = kind.from_pretrained(directory, **changes)
    return Start(model=model, fresh=_fresh(cast(torch.nn.Module, model), directory, changes))


def _moirai(_config: Any, asked: Asked) -> dict[str, Any]:
    return {"context": asked.context, "horizon": asked.horizon, "patch_size": None}


def _ttm(config: Any, asked: Asked) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if asked.horizon < config.steps:
        changes["horizon"] = asked.horizon
    if asked.loss:
        changes["loss"] = asked.loss
        if asked.loss == "pinball" and not config.quantile_levels:
            changes["quantile_levels"] = QUANTILE_LEVELS
    if asked.channels is not None:
        wanted = config.with_channels(*asked.channels)
        changes |= {
            name: getattr(wanted, name)
            for name in (
                "num_input_channels", "prediction_channel_indices", "exogenous_channel_indices",
                "decoder_mode", "enable_forecast_channel_mixing",
            )
            if getattr(wanted, name) != getattr(config, name)
        }  # fmt: skip
    return changes


def _patchtst(config: Any, asked: Asked) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if asked.context >= 2 * config.patch and asked.context != config.context:
        changes["context"] = asked.context
    wants_quantiles = asked.loss == "pinball"
    if asked.loss and not wants_quantiles:
        changes["loss"] = asked.loss
    if asked.loss and wants_quantiles != config.quantiles:
        changes |= {"quantiles": wants_quantiles, "new_head": True, "horizon": asked.horizon}
    return changes


def _chronos(config: Any, asked: Asked) -> dict[str, Any]:
    return {
        "context": min(asked.context, config.context),
        "horizon": min(asked.horizon, config.horizon),
    }


_RULES: dict[str, Callable[[Any, Asked], dict[str, Any]]] = {
    "moirai": _moirai,
    "ttm": _ttm,
    "patchtst": _patchtst,
    "chronos": _chronos,
}
_COVARIATES = ("ttm", "moirai")


def _fresh(model: torch.nn.Module, directory: Path, changes: Mapping[str, Any]) -> tuple[str, ...]:
    """Weights of the model that are not the checkpoint's."""
    if changes.get("new_head"):
        return tuple(name for name, _ in model.named_parameters() if name.startswith("head."))
    if not {"quantile_levels", "num_input_channels", "decoder_mode"} & set(changes):
        return ()
    from safetensors import safe_open

    with safe_open(directory / "model.safetensors", framework="pt") as weights:
        names = list(weights.keys())
        stored = {name: tuple(weights.get_slice(name).get_shape()) for name in names}
    return tuple(
        name for name, value in model.named_parameters() if stored.get(name) != tuple(value.shape)
    )
