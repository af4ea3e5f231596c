"""Tiny Chronos models with random weights, as directories of the library's own layout."""

from __future__ import annotations

import json
from pathlib import Path

import torch

CONTEXT, HORIZON, PATCH = 64, 16, 8
LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
SIZE = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
FAMILIES = ("t5", "bolt", "chronos2")


def tiny(family: str, directory: Path, **chronos_config: object) -> Path:
    """Save one; ``config.json`` says that it is untrained."""
    torch.manual_seed(0)
    network = {"t5": _t5, "bolt": _bolt, "chronos2": _chronos2}[family](chronos_config)
    network.save_pretrained(directory)
    amend(directory, tsfm={"untrained": True})
    if family != "t5":
        pipeline = {"bolt": "ChronosBoltPipeline", "chronos2": "Chronos2Pipeline"}[family]
        amend(directory, chronos_pipeline_class=pipeline)
    return directory


def amend(directory: Path, **changes: object) -> None:
    """Change keys of ``config.json``; None removes one."""
    path = directory / "config.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def _t5(changes: dict) -> torch.nn.Module:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=64, **SIZE, num_decoder_layers=2, decoder_start_token_id=0)
    config.chronos_config = {
        "tokenizer_class": "MeanScaleUniformBins",
        "tokenizer_kwargs": {"low_limit": -15.0, "high_limit": 15.0},
        "context_length": CONTEXT,
        "prediction_length": HORIZON,
        "n_tokens": 64,
        "n_special_tokens": 2,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "use_eos_token": True,
        "model_type": "seq2seq",
        "num_samples": 5,
        "temperature": 1.0,
        "top_k": 50,
        "top_p": 1.0,
    } | changes
    return T5ForConditionalGeneration(config)


def _bolt(changes: dict) -> torch.nn.Module:
    from chronos.chronos_bolt import ChronosBoltModelForForecasting
    from transformers import T5Config

    config = T5Config(**SIZE, num_decoder_layers=2, decoder_start_token_id=0, pad_token_id=0)
    config.chronos_config = {
        "context_length": CONTEXT,
        "prediction_length": HORIZON,
        "input_patch_size": PATCH,
        "input_patch_stride": PATCH,
        "quantiles": LEVELS,
        "use_reg_token": True,
    } | changes
    return ChronosBoltModelForForecasting(config)


def _chronos2(changes: dict) -> torch.nn.Module:
    from chronos.chronos2 import Chronos2Model
    from chronos.chronos2.config import Chronos2CoreConfig

    config = Chronos2CoreConfig(**SIZE)
    config.chronos_config = {
        "context_length": CONTEXT,
        "output_patch_size": PATCH,
        "input_patch_size": PATCH,
        "input_patch_stride": PATCH,
        "quantiles": LEVELS,
        "use_reg_token": True,
        "use_arcsinh": True,
        "max_output_patches": 2,
    } | changes
    return Chronos2Model(config)
