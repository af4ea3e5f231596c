"""The reference model at the size that is compared: d_model 128, 4 layers, fp32."""

import warnings

import torch
from inputs import PATCH_SIZES
from uni2ts.distribution import (
    LogNormalOutput,
    MixtureOutput,
    NegativeBinomialOutput,
    NormalFixedScaleOutput,
    StudentTOutput,
)
from uni2ts.model.moirai import MoiraiPretrain

warnings.filterwarnings("ignore")


def build():
    """The reference's own training module around a freshly initialised model."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    components = [
        StudentTOutput(),
        NormalFixedScaleOutput(),
        NegativeBinomialOutput(),
        LogNormalOutput(),
    ]
    return MoiraiPretrain(
        module_kwargs={
            "distr_output": MixtureOutput(components=components),
            "d_model": 128,
            "num_layers": 4,
            "patch_sizes": PATCH_SIZES,
            "max_seq_len": 512,
            "attn_dropout_p": 0.0,
            "dropout_p": 0.0,
            "scaling": True,
        },
        min_patches=2,
        min_mask_ratio=0.15,
        max_mask_ratio=0.5,
        max_dim=128,
        num_training_steps=10_000,
        num_warmup_steps=1_000,
        lr=1e-3,
        weight_decay=1e-1,
    )
