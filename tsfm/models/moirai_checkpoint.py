"""Directories of a MOIRAI model: our own, and the released ones of the reference."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.distributions import COMPONENTS
from tsfm.models.moirai_config import MoiraiConfig

if TYPE_CHECKING:
    from tsfm.models.moirai import Moirai

    M = TypeVar("M", bound=Moirai)

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_REFERENCE_COMPONENTS = {
    "StudentTOutput": "student_t",
    "NormalFixedScaleOutput": "normal_fixed_scale",
    "NegativeBinomialOutput": "negative_binomial",
    "LogNormalOutput": "log_normal",
}


def save(model: Moirai, directory: Path) -> Path:
    """Write weights, then configuration, each to a temporary name first.

    Raises
    ------
    CheckpointError
        When they cannot be written; an earlier model there stays.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    suffix = f".{uuid4().hex}.tmp"
    config = {"model": model.name, "config": model.config.to_dict()}
    weights = {name: value.detach().contiguous() for name, value in model.state_dict().items()}
    staged = {name: directory / f"{name}{suffix}" for name in (WEIGHTS_FILE, CONFIG_FILE)}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        save_file(weights, staged[WEIGHTS_FILE], metadata={"format": "pt"})
        staged[CONFIG_FILE].write_text(json.dumps(config, indent=2))
        for name, path in staged.items():
            os.replace(path, directory / name)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"the model cannot be written: {error}",
            where=str(directory),
            remedy="free disk space, or choose a directory that can be written to",
        ) from error
    finally:
        for path in staged.values():
            with suppress(OSError):
                path.unlink(missing_ok=True)
    return directory


def load(kind: type[M], directory: Path, overrides: Mapping[str, Any]) -> M:
    """Read a directory that :func:`save` wrote."""
    content = _read_config(directory)
    if content.get("model") != kind.name or not isinstance(content.get("config"), dict):
        raise CheckpointError(
            f"{CONFIG_FILE} describes {content.get('model', 'no model')!r}, not {kind.name!r}",
            where=str(directory),
            remedy="load it with the class that saved it, or released weights by from_pretrained",
        )
    return _build(kind, directory, content["config"], overrides)


def from_pretrained(kind: type[M], source: str | Path, overrides: Mapping[str, Any]) -> M:
    """Load a released directory or one of ours; ``source`` may be a model of the hub."""
    directory = Path(source)
    if not directory.is_dir():
        directory = _download(str(source))
    content = _read_config(directory)
    if "model" in content:
        return load(kind, directory, overrides)
    return _build(kind, directory, _from_reference(content, directory), overrides)


def _build(
    kind: type[M], directory: Path, values: Mapping[str, Any], overrides: Mapping[str, Any]
) -> M:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        MoiraiConfig.from_dict(values)
    except ConfigError as error:
        raise CheckpointError(
            f"{CONFIG_FILE} is damaged: {error.what}", where=str(directory)
        ) from error
    config = MoiraiConfig.from_dict({**values, **overrides})
    model = kind(config)
    path = directory / WEIGHTS_FILE
    try:
        model.load_state_dict(load_file(path))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"no {WEIGHTS_FILE}", where=str(directory), remedy="save the model again"
        ) from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{WEIGHTS_FILE} is damaged: {error}", where=str(path), remedy="save the model again"
        ) from error
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights do not fit the configuration: {str(error).splitlines()[-1].strip()}",
            where=str(path),
            remedy="leave d_model, num_layers and patch_sizes as they were trained",
        ) from error
    return model


def _read_config(directory: Path) -> dict[str, Any]:
    path = directory / CONFIG_FILE
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise CheckpointError(
            f"no {CONFIG_FILE}",
            where=str(directory),
            remedy="give a directory written by Moirai.save, or a released one",
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{CONFIG_FILE} cannot be read: {error}", where=str(path)) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{CONFIG_FILE} is not a JSON object", where=str(path))
    return content


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


def _download(source: str) -> Path:
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(source, allow_patterns=[CONFIG_FILE, WEIGHTS_FILE]))
    except Exception as error:  # the hub raises many kinds; all mean that there are no weights
        raise CheckpointError(
            f"no directory and nothing to download: {type(error).__name__}",
            where=source,
            remedy=(
                "check the name and the network; without a network, download "
                f"{CONFIG_FILE} and {WEIGHTS_FILE} elsewhere and give their directory"
            ),
        ) from error
