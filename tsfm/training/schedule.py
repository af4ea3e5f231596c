"""The learning rate over a run, and which parameters decay."""

from __future__ import annotations

import math

import torch

from tsfm.training.config import TrainerConfig


def learning_rate_factor(step: int, config: TrainerConfig) -> float:
    """Linear warm-up from ``1 / warmup_steps``, then cosine decay, as a factor of ``config.lr``."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    span = max(1, config.max_steps - config.warmup_steps)
    progress = min(1.0, (step - config.warmup_steps) / span)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return config.final_lr_ratio + (1 - config.final_lr_ratio) * cosine


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two AdamW groups: decay for weight matrices, none for norms, biases and embeddings.

    A parameter that several modules share is in one group, once: the one of its first module.
    """
    decayed: list[torch.nn.Parameter] = []
    spared: list[torch.nn.Parameter] = []
    seen: set[torch.nn.Parameter] = set()
    for module in model.modules():
        exempt = isinstance(module, torch.nn.Embedding) or "Norm" in type(module).__name__
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            spare = exempt or "bias" in name or parameter.ndim < 2
            (spared if spare else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
