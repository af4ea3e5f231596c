"""Training and evaluation mode of models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Without dropout, and in training mode again afterwards if it was before.

    A model that is not in training mode, or has none, is left alone: walking over the modules of a
    small one costs as much as a good part of its forecast.
    """
    if not getattr(model, "training", False):
        yield
        return
    model.eval()
    try:
        yield
    finally:
        model.train()
