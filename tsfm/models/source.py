"""A forecaster from wherever it lives: a directory, the Hugging Face hub, a baseline's name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm.errors import CheckpointError, ConfigError
from tsfm.models import ALIASES, BASELINES, FITTED, MODELS, model_class, named
from tsfm.models.foreign.config import FILE_NAME as FOREIGN_FILE

if TYPE_CHECKING:
    from tsfm.models.base import Forecaster

SHIPPED = {"ttm-base": Path(__file__).parent / "ttm_base"}

FOREIGN = "foreign:"
"""May stand before the directory of a forecaster in an environment of its own."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_RELEASED_KEYS = {
    "moirai": {"d_model", "patch_sizes", "scaling"},
    "ttm": {"adaptive_patching_levels", "decoder_mode"},
    "chronos": {"chronos_config"},
    "patchtst": {"patch_length", "rope_percent"},
}
_RELEASED_TYPES = {"timesfm": "timesfm", "timesfm2_5": "timesfm"}
_RELEASED_ARCHITECTURES = {"PatchTSTForPrediction": "patchtst_hf"}


def load_local(source: str | Path, **config_overrides: Any) -> Forecaster:
    """Load a baseline or a shipped model by name, a directory, or a model of the hub.

    Raises
    ------
    CheckpointError
        When nothing is there, or what is there is damaged or of no known model.
    ConfigError
        When an override is unknown or not allowed.
    """
    name = named(str(source))
    if name in FITTED:
        fittable: Any = model_class(name)
        unfitted: Forecaster = fittable.from_config(config_overrides)
        return unfitted
    if name is not None:
        try:
            return model_class(name)(**config_overrides)
        except TypeError as error:
            raise ConfigError(f"{source} takes no such setting: {error}") from error
    path = directory_of(source)
    return model_class(model_name(path)).from_pretrained(path, **config_overrides)


def directory_of(source: str | Path) -> Path:
    """A model's directory: the one given, that of a shipped model's name, or of a hub id.

    Raises
    ------
    CheckpointError
        When it is none of them, or the hub cannot be reached.
    """
    if str(source) in SHIPPED:
        return SHIPPED[str(source)]
    path = Path(str(source).removeprefix(FOREIGN))
    if str(source) and path.is_dir():
        return path
    if str(source).startswith(FOREIGN):
        raise CheckpointError(f"no directory {str(path)!r}", remedy="tsfm foreign init makes one")
    if not _HUB_ID.fullmatch(str(source)):
        raise CheckpointError(
            f"no model at {str(source)!r}",
            remedy="give a directory, a hub id (organisation/name), models:/name@alias, "
            f"{', '.join(SHIPPED)}, or a baseline: {', '.join((*BASELINES, *FITTED, *ALIASES))}",
        )
    return download(str(source))


def model_name(directory: Path) -> str:
    """Which model wrote a directory; released ones say it by their keys."""
    if (directory / FOREIGN_FILE).is_file():
        return "foreign"
    path = directory / "config.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise CheckpointError(
            "the directory holds no config.json",
            where=str(directory),
            remedy="give the directory that save() wrote",
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"config.json cannot be read: {error}", where=str(path)) from error
    keys = config if isinstance(config, dict) else {}
    released = (model for model, own in _RELEASED_KEYS.items() if own <= set(keys))
    of_type = _RELEASED_TYPES.get(str(keys.get("model_type")))
    architecture = str((keys.get("architectures") or [""])[0])
    of_library = next(released, _RELEASED_ARCHITECTURES.get(architecture))
    name = keys.get("model", of_type or of_library)
    if not isinstance(name, str) or name not in MODELS:
        raise CheckpointError(
            "config.json names no model" + (f" of ours but {name!r}" if name else ""),
            where=str(path),
            remedy=f"give a directory of one of: {', '.join(MODELS)}",
        )
    return str(name)


def download(hub_id: str) -> Path:
    """Fetch a model of the Hugging Face hub (or find it in its cache)."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(hub_id, allow_patterns=["*.json", "*.safetensors"], max_workers=2)
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ConfigError) as error:
        raise CheckpointError(
            f"{hub_id} cannot be fetched from the Hugging Face hub ({type(error).__name__})",
            remedy="check the name and the connection; offline, download the repository elsewhere "
            "and give its directory",
        ) from error
