"""A model's directory: ``config.json`` and ``model.safetensors``, complete or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tsfm.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


@contextmanager
def staged(directory: Path, *names: str) -> Iterator[tuple[Path, ...]]:
    """Temporary paths to write; afterwards they get their names, in this order.

    Raises
    ------
    CheckpointError
        When something cannot be written; earlier files of those names stay.
    """
    from safetensors import SafetensorError

    suffix = f".{uuid4().hex}.tmp"
    paths = tuple(directory / f"{name}{suffix}" for name in names)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield paths
        for name, path in zip(names, paths, strict=True):
            os.replace(path, directory / name)
    except (OSError, SafetensorError) as error:
        raise unwritten(directory, error) from error
    finally:
        for path in paths:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def unwritten(directory: Path, error: Exception) -> CheckpointError:
    """That a model could not be put there."""
    return CheckpointError(
        f"the model cannot be written: {error}",
        where=str(directory),
        remedy="free disk space, or choose a directory that can be written to",
    )


def write_model(
    directory: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    *,
    config_file: str = CONFIG_FILE,
    weights_file: str = WEIGHTS_FILE,
) -> Path:
    """Write weights, then configuration.

    Raises
    ------
    CheckpointError
        When they cannot be written; an earlier model there stays.
    """
    from safetensors.torch import save_file

    tensors = {name: value.detach().contiguous() for name, value in weights.items()}
    with staged(directory, weights_file, config_file) as (for_weights, for_config):
        save_file(tensors, for_weights, metadata={"format": "pt"})
        for_config.write_text(json.dumps(config, indent=2))
    return directory


def write_json(directory: Path, content: Mapping[str, Any]) -> Path:
    """Write ``config.json`` alone, of a model that keeps its weights elsewhere.

    Raises
    ------
    CheckpointError
        When it cannot be written; an earlier one stays.
    """
    with staged(directory, CONFIG_FILE) as (path,):
        path.write_text(json.dumps(content, indent=2))
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
        When it is of another model, or holds no configuration.
    """
    config, found = content.get("config"), content.get("model", "no model")
    if found != name:
        raise CheckpointError(
            f"{CONFIG_FILE} describes {found!r}, not {name!r}",
            where=str(directory),
            remedy="load it with the class that saved it, or released weights by from_pretrained",
        )
    if not isinstance(config, dict):
        raise CheckpointError(
            f"{CONFIG_FILE} holds no configuration of {name!r}",
            where=str(directory),
            remedy="save the model again",
        )
    return config
