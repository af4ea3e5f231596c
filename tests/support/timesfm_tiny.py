"""Tiny TimesFM models with random weights, as directories of transformers' own layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

PATCH, CONTEXT, HORIZON = 8, 64, 16
SIZE = {
    "patch_length": PATCH, "context_length": CONTEXT, "horizon_length": HORIZON,
    "num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 16, "head_dim": 8,
    "num_attention_heads": 2,
}  # fmt: skip
VERSIONS = ("2.0", "2.5")


def network(version: str, **changes: Any) -> torch.nn.Module:
    """Random weights, the output layers not near zero."""
    import transformers

    torch.manual_seed(0)
    if version == "2.5":
        more = {"num_key_value_heads": 2, "output_quantile_len": 32, "initializer_range": 0.3}
        config = transformers.TimesFm2_5Config(**{**SIZE, **more, **changes})
        return transformers.TimesFm2_5ModelForPrediction(config).eval()
    config = transformers.TimesFmConfig(**{**SIZE, "initializer_range": 0.3, **changes})
    return transformers.TimesFmModelForPrediction(config).eval()


def tiny(version: str, directory: Path, **changes: Any) -> Path:
    """Save one as a released checkpoint is."""
    network(version, **changes).save_pretrained(directory)
    return directory
