"""Directories of a Chronos model: released ones, and ours, which the library reads too."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.checkpoint import CONFIG_FILE, WEIGHTS_FILE, read_config
from tsfm.models.chronos_config import ChronosConfig

if TYPE_CHECKING:
    from chronos import BaseChronosPipeline
    from torch import nn

    from tsfm.models.chronos import Chronos

OWN_KEY = "tsfm"
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
    staged = directory / f".{uuid4().hex}.tmp"
    try:
        staged.mkdir(parents=True)
        network: Any = model.network
        with without_bars():
            network.save_pretrained(staged)
        content = json.loads((staged / CONFIG_FILE).read_text())
        content |= {
            "model": model.name,
            "chronos_pipeline_class": model.family.pipeline_class,
            OWN_KEY: model.config.to_dict(),
        }
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
        raise CheckpointError(
            f"the Chronos model cannot be read: {str(error).strip().splitlines()[0]}",
            where=str(directory),
            remedy=f"{WEIGHTS_FILE} or {CONFIG_FILE} is damaged; download or save the model again",
        ) from error


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


@contextmanager
def without_bars() -> Iterator[None]:
    """Without the progress bars of transformers, which a file of some megabytes does not need."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def expect_weights(directory: Path) -> None:
    if not (directory / WEIGHTS_FILE).exists() and not _index(directory).exists():
        raise CheckpointError(
            f"no {WEIGHTS_FILE}", where=str(directory), remedy="download or save the model again"
        )


def _index(directory: Path) -> Path:
    return directory / f"{WEIGHTS_FILE}.index.json"


def _expect_all_read(network: nn.Module, directory: Path) -> None:
    """The library fills what a file lacks with random numbers; we do not forecast with those."""
    from safetensors import safe_open

    if _index(directory).exists():
        stored = set(json.loads(_index(directory).read_text())["weight_map"])
    else:
        with safe_open(directory / WEIGHTS_FILE, framework="pt") as weights:
            stored = set(weights.keys())
    state = network.state_dict()
    read = {state[name].data_ptr() for name in stored & set(state)}
    missing = sorted(name for name, value in state.items() if value.data_ptr() not in read)
    if missing:
        raise CheckpointError(
            f"{WEIGHTS_FILE} lacks {len(missing)} of the model's weights, {missing[0]} the first",
            where=str(directory),
            remedy="download or save the model again",
        )
