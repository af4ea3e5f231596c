"""uni2ts: write a checkpoint as released ones are; arguments: directory, and one of weights.

Without weights they are drawn at random: d_model 128, 4 layers. The directory of weights holds
``config.json`` (sizes) and ``model.safetensors`` in the reference's names.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from uni2ts.distribution import (
    LogNormalOutput,
    MixtureOutput,
    NegativeBinomialOutput,
    NormalFixedScaleOutput,
    StudentTOutput,
)
from uni2ts.model.moirai import MoiraiModule

SIZES = {"d_model": 128, "num_layers": 4, "patch_sizes": [8, 16, 32, 64, 128], "max_seq_len": 512}
KEYS = (*SIZES, "attn_dropout_p", "dropout_p", "scaling")

out, weights = Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None
told = json.loads((weights / "config.json").read_text()) if weights else SIZES
sizes = {"attn_dropout_p": 0.0, "dropout_p": 0.0} | {k: v for k, v in told.items() if k in KEYS}
components = [
    StudentTOutput(),
    NormalFixedScaleOutput(),
    NegativeBinomialOutput(),
    LogNormalOutput(),
]
torch.manual_seed(0)
module = MoiraiModule(distr_output=MixtureOutput(components=components), **sizes)
if weights:
    module.load_state_dict(load_file(weights / "model.safetensors"))
module.save_pretrained(out)
