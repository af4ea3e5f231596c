"""Directories of a Chronos model: released ones, and ours, which the library reads too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.checkpoint import CONFIG_FILE, WEIGHTS_FILE, read_config
from tsfm.models.chronos_config import ChronosConfig
from tsfm.models.library_checkpoint import (
    OWN_KEY,
    expect_none_missing,
    expect_weights,
    index_of,
    unreadable,
    without_bars,
    write_pretrained,
)

if TYPE_CHECKING:
    from chronos import BaseChronosPipeline
    from torch import nn

    from tsfm.models.chronos import Chronos

_ARCHITECTURES = {
    "ChronosBoltModelForForecasting": "ChronosBoltPipeline",
    "Chronos2Model": "Chronos2Pipeline",
}


def save(model: Chronos, directory: Path) -> Path:
    """Write a directory of the library's layout, with our settings under ``tsfm``.

    Raises
    ------
    CheckpointError
        When it cannot be written; an earlier model there stays.
    """
    told = {
        "model": model.name,
        "chronos_pipeline_class": model.family.pipeline_class,
        OWN_KEY: model.config.to_dict(),
    }
    return write_pretrained(model.network, told, directory)


def load(
    directory: Path, overrides: Mapping[str, Any]
) -> tuple[BaseChronosPipeline, ChronosConfig]:
    """The library's pipeline of a directory, in single precision, and how it is used.

    Raises
    ------
    CheckpointError
        When a file is missing, damaged, of no Chronos model, or lacks some of the weights.
    ConfigError
        When an override is unknown or not allowed, or chronos-forecasting is not installed.
    """
    content = read_config(directory)
    kind = pipeline_class(content, directory)
    own = content.get(OWN_KEY, {})
    config = ChronosConfig.from_dict({**own, **overrides})
    try:
        import chronos
    except ImportError as error:
        raise ConfigError(
            "chronos-forecasting is not installed", remedy="pip install chronos-forecasting"
        ) from error
    from safetensors import SafetensorError

    try:
        network = _network(kind, directory, content)
        if kind == "ChronosPipeline":
            settings = chronos.ChronosConfig(**content["chronos_config"])
            tokenizer = settings.create_tokenizer()
            return chronos.ChronosPipeline(
                tokenizer, chronos.ChronosModel(settings, network)
            ), config
        return getattr(chronos, kind)(network), config
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, AssertionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise unreadable("Chronos", error, directory) from error


def pipeline_class(content: Mapping[str, Any], directory: Path) -> str:
    """Which of the library's pipelines a ``config.json`` describes.

    Bolt and Chronos-2 name it; where a directory was saved without that, its architecture tells.
    """
    if not isinstance(content.get("chronos_config"), dict):
        raise CheckpointError(
            f"{CONFIG_FILE} is of no Chronos model (it has no chronos_config)",
            where=str(directory),
            remedy="give a released Chronos directory, or one that save() wrote",
        )
    architecture = (content.get("architectures") or [""])[0]
    named = content.get("chronos_pipeline_class")
    kind = named or _ARCHITECTURES.get(architecture, "ChronosPipeline")
    if kind not in {"ChronosPipeline", *_ARCHITECTURES.values()}:
        raise CheckpointError(
            f"{CONFIG_FILE} names the unknown pipeline {kind!r}",
            where=str(directory),
            remedy="known are T5 (ChronosPipeline), ChronosBoltPipeline and Chronos2Pipeline",
        )
    return str(kind)


def _network(kind: str, directory: Path, content: Mapping[str, Any]) -> nn.Module:
    import torch
    from chronos.chronos2 import Chronos2Model
    from chronos.chronos_bolt import ChronosBoltModelForForecasting
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    causal = content["chronos_config"].get("model_type") == "causal"
    loader: Any = {
        "ChronosBoltPipeline": ChronosBoltModelForForecasting,
        "Chronos2Pipeline": Chronos2Model,
    }.get(kind, AutoModelForCausalLM if causal else AutoModelForSeq2SeqLM)
    expect_weights(directory)
    with without_bars():
        network = loader.from_pretrained(directory, dtype=torch.float32, local_files_only=True)
    _expect_all_read(network, directory)
    module: nn.Module = network.eval()
    return module


def _expect_all_read(network: nn.Module, directory: Path) -> None:
    from safetensors import safe_open

    if index_of(directory).exists():
        stored = set(json.loads(index_of(directory).read_text())["weight_map"])
    else:
        with safe_open(directory / WEIGHTS_FILE, framework="pt") as weights:
            stored = set(weights.keys())
    state = network.state_dict()
    read = {state[name].data_ptr() for name in stored & set(state)}
    missing = [name for name, value in state.items() if value.data_ptr() not in read]
    expect_none_missing(missing, directory)
