"""Directories of a MOIRAI model: our own, and the released ones of the reference."""

from __future__ import annotations

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
from tsfm.models.distributions import COMPONENTS
from tsfm.models.moirai_config import MoiraiConfig

if TYPE_CHECKING:
    from tsfm.models.moirai import Moirai

    M = TypeVar("M", bound=Moirai)

_REFERENCE_COMPONENTS = {
    "StudentTOutput": "student_t",
    "NormalFixedScaleOutput": "normal_fixed_scale",
    "NegativeBinomialOutput": "negative_binomial",
    "LogNormalOutput": "log_normal",
}


def save(model: Moirai, directory: Path) -> Path:
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
    return _build(kind, directory, _from_reference(content, directory), overrides)


def _build(
    kind: type[M], directory: Path, values: Mapping[str, Any], overrides: Mapping[str, Any]
) -> M:
    try:
        MoiraiConfig.from_dict(values)
    except ConfigError as error:
        raise CheckpointError(
            f"{CONFIG_FILE} is damaged: {error.what}", where=str(directory)
        ) from error
    config = MoiraiConfig.from_dict({**values, **overrides})
    model = kind(config)
    weights = read_weights(directory)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights do not fit the configuration: {str(error).splitlines()[-1].strip()}",
            where=str(directory / WEIGHTS_FILE),
            remedy="leave d_model, num_layers and patch_sizes as they were trained",
        ) from error
    return model


def _from_reference(content: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Our configuration for the reference's ``config.json``."""
    try:
        components = tuple(_component_names(content))
        if components != COMPONENTS:
            raise CheckpointError(
                f"the output distribution mixes {', '.join(components)}",
                where=str(directory),
                remedy=f"use a model that mixes {', '.join(COMPONENTS)}",
            )
        return {
            "d_model": int(content["d_model"]),
            "num_layers": int(content["num_layers"]),
            "patch_sizes": tuple(content["patch_sizes"]),
            "token_budget": int(content["max_seq_len"]),
            "attention_dropout": float(content["attn_dropout_p"]),
            "dropout": float(content["dropout_p"]),
            "scaling": bool(content.get("scaling", True)),
            "minimum_variance": 1e-5,
            "mean_imputation": False,
            "reference_weight_layout": True,
        }
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{CONFIG_FILE} is no MOIRAI 1.x configuration: {error!r}", where=str(directory)
        ) from error


def _component_names(content: Mapping[str, Any]) -> list[str]:
    if "distribution_components" in content:
        return list(content["distribution_components"])
    targets = [
        part["_target_"].rpartition(".")[2] for part in content["distr_output"]["components"]
    ]
    return [_REFERENCE_COMPONENTS.get(target, target) for target in targets]
