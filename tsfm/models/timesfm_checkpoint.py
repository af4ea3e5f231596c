"""Directories of a TimesFM model: released ones, and ours, which transformers reads too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.checkpoint import CONFIG_FILE, read_config
from tsfm.models.library_checkpoint import (
    OWN_KEY,
    expect_none_missing,
    expect_weights,
    unreadable,
    without_bars,
    write_pretrained,
)

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
    return write_pretrained(network, {"model": "timesfm", OWN_KEY: dict(own)}, directory)


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
        raise unreadable("TimesFM", error, directory) from error
    expect_none_missing(told["missing_keys"], directory)
    own = content.get(OWN_KEY, {})
    return network, dict(own) if isinstance(own, Mapping) else {}
