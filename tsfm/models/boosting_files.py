"""The directory of a boosted model: LightGBM's text, one file a level, and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.boosting import Fitted
from tsfm.models.boosting_config import BoostingConfig
from tsfm.models.checkpoint import CONFIG_FILE, own_config, read_config, staged

_NAME = "lightgbm"


def save(directory: Path, config: BoostingConfig, fitted: Fitted) -> Path:
    """Write the boosters, then ``config.json``, which holds their digests.

    Raises
    ------
    CheckpointError
        When it cannot be written.
    """
    texts = {
        f"level_{level:g}.txt": booster.model_to_string()
        for level, booster in zip(config.levels, fitted.boosters, strict=True)
    }
    content = {
        "model": _NAME,
        "config": config.to_dict(),
        "fitted": {
            "base": fitted.base.tolist(),
            "season": fitted.season,
            "variates": list(fitted.variates),
            "boosters": {name: _digest(text) for name, text in texts.items()},
        },
    }
    with staged(directory, *texts, CONFIG_FILE) as (*for_texts, for_config):
        for path, text in zip(for_texts, texts.values(), strict=True):
            path.write_text(text, encoding="utf-8")
        for_config.write_text(json.dumps(content, indent=2))
    return directory


def load(directory: Path, overrides: Mapping[str, Any]) -> tuple[BoostingConfig, Fitted]:
    """What :func:`save` wrote; LightGBM is given no text that was damaged since.

    Raises
    ------
    CheckpointError
        When a file is missing, damaged or of another model.
    ConfigError
        When an override is unknown, or would need another fit, or lightgbm is not installed.
    """
    content = read_config(directory)
    values = own_config(content, _NAME, directory)
    changed = sorted(name for name in overrides if name in values)
    if changed:
        raise ConfigError(
            f"{', '.join(changed)} cannot be changed after the fit", remedy="fit another model"
        )
    config = BoostingConfig.from_dict({**values, **overrides})
    try:
        own = content["fitted"]
        base, season = np.asarray(own["base"], float), int(own["season"])
        variates, digests = tuple(own["variates"]), dict(own["boosters"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{CONFIG_FILE} is damaged: {error!r}", where=str(directory)
        ) from error
    try:
        from lightgbm import Booster
    except ImportError as error:
        raise ConfigError("lightgbm is not installed", remedy="pip install lightgbm") from error
    boosters = []
    for name, digest in digests.items():
        text = _read(directory / name)
        if _digest(text) != digest:
            raise CheckpointError(
                f"{name} is damaged or was changed",
                where=str(directory),
                remedy="copy or fit the model again",
            )
        boosters.append(Booster(model_str=text))
    if len(boosters) != len(config.levels):
        raise CheckpointError(
            f"{len(boosters)} boosters for {len(config.levels)} levels", where=str(directory)
        )
    return config, Fitted(base, tuple(boosters), season, variates)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path.name} cannot be read: {error}",
            where=str(path.parent),
            remedy="copy or fit the model again",
        ) from error


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
