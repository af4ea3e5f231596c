"""Small PatchTST models, contexts and windows for the tests."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from tsfm.data.windows import Window
from tsfm.models.base import Context
from tsfm.models.patchtst import PatchTST
from tsfm.models.patchtst_config import PatchTSTConfig


def make_patchtst(seed: int = 0, **fields: object) -> PatchTST:
    """A model whose every weight matters."""
    torch.manual_seed(seed)
    model = PatchTST(PatchTSTConfig.preset("tiny", **fields))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(0, 0.2)
    return model


def make_past(batch: int = 3, time: int = 96, width: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, time, width)).cumsum(1).astype(np.float32)


def ragged_context(widths: list[int], lengths: list[int], seed: int = 0) -> Context:
    """Series of several widths and lengths, padded to one shape."""
    past = np.full((len(widths), max(lengths), max(widths)), np.nan, np.float32)
    for row, (width, length) in enumerate(zip(widths, lengths, strict=True)):
        past[row, -length:, :width] = make_past(1, length, width, seed + row)[0]
    return Context(past=past, variates=np.arange(max(widths)) < np.array(widths)[:, None])


def endless_windows(
    shapes: list[tuple[int, int]], seed: int = 0, missing: float = 0.0
) -> Iterator[Window]:
    """Random walks of these shapes, in turn."""
    rng = np.random.default_rng(seed)
    while True:
        for width, length in shapes:
            target = rng.normal(size=(width, length)).cumsum(1).astype(np.float32)
            target[rng.random(target.shape) < missing] = np.nan
            names = tuple(map(str, range(width)))
            yield Window(item_id="walk", target=target, start=0, variate_names=names)
