"""Adapters in files of their own, as peft writes them: far smaller than their base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch

from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.adapters import adapter_ranks, inject
from tsfm.models.base import Forecaster
from tsfm.models.checkpoint import write_model

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_FIELDS = ("r", "lora_alpha", "lora_dropout", "target_modules", "rank_pattern", "alpha_pattern")


def save_adapters(model: Forecaster, directory: str | Path, *, base_model: str = "") -> Path:
    """Write what LoRA learned, without the weights it adapts.

    Parameters
    ----------
    base_model
        Told in the file: where the adapted weights are.

    Raises
    ------
    ConfigError
        When the model has no adapters.
    CheckpointError
        When the files cannot be written.
    """
    if not isinstance(model, torch.nn.Module) or not adapter_ranks(model):
        raise ConfigError(f"model {model.name!r} has no adapters", remedy="enable_lora it first")
    described = cast(Any, model).peft_config["default"].to_dict()
    described |= {"base_model_name_or_path": base_model or None}
    weights = {
        _PREFIX + name.replace(".default.", "."): value
        for name, value in model.state_dict().items()
        if ".lora_A." in name or ".lora_B." in name
    }
    plain = json.loads(json.dumps(described, default=_plain))
    return write_model(
        Path(directory), plain, weights, config_file=CONFIG_FILE, weights_file=WEIGHTS_FILE
    )


def load_adapters(model: Forecaster, directory: str | Path) -> Forecaster:
    """Put the adapters that :func:`save_adapters` (or peft) wrote on their base, in place.

    Raises
    ------
    ConfigError
        When the model has no weights, or adapters already.
    CheckpointError
        When a file is missing or damaged, or the adapters are of another model.
    """
    from peft import LoraConfig
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not isinstance(model, torch.nn.Module) or adapter_ranks(model):
        raise ConfigError(f"model {model.name!r} has no weights to adapt, or adapters already")
    directory = Path(directory)
    try:
        content = json.loads((directory / CONFIG_FILE).read_text())
        config = LoraConfig(**{name: content[name] for name in _FIELDS})
        stored = load_file(directory / WEIGHTS_FILE)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            f"no adapters can be read: {error!r}",
            where=str(directory),
            remedy="give a directory that save_adapters wrote",
        ) from error
    found = {_renamed(name): value for name, value in stored.items()}
    layers = {name.rpartition(".lora_")[0] for name in found}
    linear = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    unlike = sorted(
        layer
        for layer in layers
        if layer not in linear
        or found[f"{layer}.lora_A.default.weight"].shape[1] != linear[layer].in_features
        or found[f"{layer}.lora_B.default.weight"].shape[0] != linear[layer].out_features
    )
    if unlike or not layers:
        raise CheckpointError(
            f"the adapters are of another model: {unlike[0] if unlike else 'none'}",
            where=str(directory),
            remedy="load the base that they were trained on",
        )
    inject(model, config)
    model.load_state_dict(found, strict=False)
    return model


def _renamed(name: str) -> str:
    plain = name.removeprefix(_PREFIX)
    return plain.replace(".lora_A.", ".lora_A.default.").replace(".lora_B.", ".lora_B.default.")


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set) else str(value)
