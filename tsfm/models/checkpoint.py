"""A model's directory: ``config.json`` and ``model.safetensors``, complete or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tsfm.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


def write_model(
    directory: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    *,
    config_file: str = CONFIG_FILE,
    weights_file: str = WEIGHTS_FILE,
) -> Path:
    """Write weights, then configuration, each to a temporary name first.

    Raises
    ------
    CheckpointError
        When they cannot be written; an earlier model there stays.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    suffix = f".{uuid4().hex}.tmp"
    staged = {name: directory / f"{name}{suffix}" for name in (weights_file, config_file)}
    tensors = {name: value.detach().contiguous() for name, value in weights.items()}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        save_file(tensors, staged[weights_file], metadata={"format": "pt"})
        staged[config_file].write_text(json.dumps(config, indent=2))
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


def write_json(directory: Path, content: Mapping[str, Any]) -> Path:
    """Write ``config.json`` alone, of a model that keeps its weights elsewhere.

    Raises
    ------
    CheckpointError
        When it cannot be written; an earlier one stays.
    """
    staged = directory / f"{CONFIG_FILE}.{uuid4().hex}.tmp"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        staged.write_text(json.dumps(content, indent=2))
        os.replace(staged, directory / CONFIG_FILE)
    except OSError as error:
        raise CheckpointError(
            f"the model cannot be written: {error}",
            where=str(directory),
            remedy="free disk space, or choose a directory that can be written to",
        ) from error
    finally:
        with suppress(OSError):
            staged.unlink(missing_ok=True)
    return directory


def read_config(directory: Path) -> dict[str, Any]:
    """The JSON object of ``config.json``.

    Raises
    ------
    CheckpointError
        When it is missing, cannot be read or is no object.
    """
    path = directory / CONFIG_FILE
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise CheckpointError(
            f"no {CONFIG_FILE}",
            where=str(directory),
            remedy="give a directory that save() wrote, or a released one",
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{CONFIG_FILE} cannot be read: {error}", where=str(path)) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{CONFIG_FILE} is not a JSON object", where=str(path))
    return content


def read_weights(directory: Path) -> dict[str, Tensor]:
    """The tensors of ``model.safetensors`` by name.

    Raises
    ------
    CheckpointError
        When it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = directory / WEIGHTS_FILE
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"no {WEIGHTS_FILE}", where=str(directory), remedy="save the model again"
        ) from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{WEIGHTS_FILE} is damaged: {error}", where=str(path), remedy="save the model again"
        ) from error


def own_config(content: Mapping[str, Any], name: str, directory: Path) -> dict[str, Any]:
    """The configuration within a ``config.json`` that ``save`` of the model ``name`` wrote.

    Raises
    ------
    CheckpointError
        When it is of another model.
    """
    config = content.get("config")
    if content.get("model") != name or not isinstance(config, dict):
        raise CheckpointError(
            f"{CONFIG_FILE} describes {content.get('model', 'no model')!r}, not {name!r}",
            where=str(directory),
            remedy="load it with the class that saved it, or released weights by from_pretrained",
        )
    return config
