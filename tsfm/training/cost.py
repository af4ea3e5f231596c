"""What one training step costs, counted, before any is taken."""

from __future__ import annotations

from typing import Any

import torch

from tsfm.data.panel import Panel
from tsfm.data.windows import WindowStream
from tsfm.training.batches import Batches
from tsfm.training.config import TrainerConfig


def step_cost(model: Any, panel: Panel, config: TrainerConfig) -> tuple[int, float]:
    """Tokens and floating-point operations of an optimiser step, forward and backward.

    Operations are those of matrix products and attention, as PyTorch counts them on the first
    batch; the model's weights and gradients stay as they are.
    """
    from torch.utils.flop_counter import FlopCounterMode

    batch = Batches(
        model, WindowStream([panel], model.window_spec), config.batch_size, seed=config.seed
    ).batch(0)
    tokens = next(iter(batch.values())).shape[:2].numel()
    device = next(model.parameters()).device
    batch = {name: value.to(device) for name, value in batch.items()}
    with torch.random.fork_rng(), FlopCounterMode(display=False) as counter:
        total, _ = model.loss(batch)
        weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        torch.autograd.grad(total, weights, allow_unused=True)
    return tokens * config.accumulate, float(counter.get_total_flops()) * config.accumulate
