"""Directories of a TimesFM model: released ones, and ours, which transformers reads too."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.checkpoint import CONFIG_FILE, WEIGHTS_FILE, read_config
from tsfm.models.chronos_checkpoint import OWN_KEY, expect_weights, without_bars

CLASSES = {
    "timesfm": "TimesFmModelForPrediction",
    "timesfm2_5": "TimesFm2_5ModelForPrediction",
}
"""Of transformers, by the ``model_type`` of ``config.json``."""


def save(network: Any, own: Mapping[str, Any], directory: Path) -> Path:
    """Write a directory of the library's layout, with our settings under ``tsfm``.

    Raises
    ------
    CheckpointError
        When it cannot be written; an earlier model there stays.
    """
    staged = directory / f".{uuid4().hex}.tmp"
    try:
        staged.mkdir(parents=True)
        with without_bars():
            network.save_pretrained(staged)
        content = json.loads((staged / CONFIG_FILE).read_text())
        content |= {"model": "timesfm", OWN_KEY: dict(own)}
        (staged / CONFIG_FILE).write_text(json.dumps(content, indent=2))
        for path in sorted(staged.iterdir(), key=lambda path: path.name == CONFIG_FILE):
            os.replace(path, directory / path.name)
    except OSError as error:
        raise CheckpointError(
            f"the model cannot be written: {error}",
            where=str(directory),
            remedy="free disk space, or choose a directory that can be written to",
        ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return directory


def load(directory: Path) -> tuple[Any, dict[str, Any]]:
    """The library's model of a directory, in single precision, and our settings of it.

    Raises
    ------
    CheckpointError
        When a file is missing, damaged, of no TimesFM model, or lacks some of the weights.
    ConfigError
        When transformers is too old.
    """
    content = read_config(directory)
    kind = content.get("model_type")
    if kind not in CLASSES:
        raise CheckpointError(
            f"{CONFIG_FILE} is of no TimesFM model (model_type={kind!r})",
            where=str(directory),
            remedy="give a TimesFM directory in transformers' layout "
            "(google/timesfm-2.5-200m-transformers), or one that save() wrote",
        )
    expect_weights(directory)
    import torch
    import transformers
    from safetensors import SafetensorError

    if not hasattr(transformers, CLASSES[kind]):
        raise ConfigError(
            f"transformers {transformers.__version__} has no {CLASSES[kind]}",
            remedy="install transformers 5",
        )
    try:
        with without_bars():
            network, told = getattr(transformers, CLASSES[kind]).from_pretrained(
                directory, dtype=torch.float32, local_files_only=True, output_loading_info=True
            )
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"the TimesFM model cannot be read: {str(error).strip().splitlines()[0]}",
            where=str(directory),
            remedy=f"{WEIGHTS_FILE} or {CONFIG_FILE} is damaged; download or save the model again",
        ) from error
    missing = sorted(told["missing_keys"])
    if missing:
        raise CheckpointError(
            f"{WEIGHTS_FILE} lacks {len(missing)} of the model's weights, {missing[0]} the first",
            where=str(directory),
            remedy="download or save the model again",
        )
    own = content.get(OWN_KEY, {})
    return network, dict(own) if isinstance(own, Mapping) else {}
