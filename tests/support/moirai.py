"""Small MOIRAI models, packed batches and contexts for the tests."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tsfm.data.windows import Window
from tsfm.models.base import Context
from tsfm.models.moirai import Moirai
from tsfm.models.moirai_config import MoiraiConfig


def make_model(seed: int = 0, **fields: object) -> Moirai:
    torch.manual_seed(seed)
    model = Moirai(MoiraiConfig.preset("tiny", **fields))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
    return model


def make_batch(seed: int = 0, rows: int = 3, missing: float = 0.1) -> dict[str, Tensor]:
    """Samples of many lengths, widths and patch sizes, with holes and padding."""
    rng = np.random.default_rng(seed)

    def windows():
        while True:
            length, width = int(rng.integers(40, 200)), int(rng.integers(1, 5))
            target = rng.normal(size=(width, length)).cumsum(1).astype(np.float32)
            target[rng.random(target.shape) < missing] = np.nan
            yield Window(
                item_id="x", target=target, start=0, variate_names=tuple(map(str, range(width)))
            )

    return make_model(token_budget=64).collate(windows(), rows, rng)


def make_context(
    batch: int = 3, time: int = 120, width: int = 3, seed: int = 0, **fields: object
) -> Context:
    past = np.random.default_rng(seed).normal(size=(batch, time, width)).cumsum(1)
    return Context(past=past.astype(np.float32), **fields)
