"""Batches as a function of (seed, index): any worker, rank or resumed run makes the same."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from tsfm.data.windows import WindowStream
from tsfm.models.base import Batch, Trainable


class Batches(IterableDataset[Batch]):
    """Micro-batches ``start, start + 1, …`` of a run, each drawn by its own generator.

    Parameters
    ----------
    stop
        Index after the last one; ``None`` never ends.
    rank, world_size
        Of the process under DDP: global micro-batch ``index * world_size + rank`` is this one's.
    """

    def __init__(
        self,
        model: Trainable,
        stream: WindowStream,
        batch_size: int,
        *,
        seed: int,
        start: int = 0,
        stop: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.model, self.stream, self.batch_size = model, stream, batch_size
        self.seed, self.start, self.stop = seed, start, stop
        self.rank, self.world_size = rank, world_size

    def batch(self, index: int) -> Batch:
        rng = np.random.default_rng([self.seed, index * self.world_size + self.rank])
        return self.model.collate(self.stream(rng), self.batch_size, rng)

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        offset, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        index = self.start + offset
        while self.stop is None or index < self.stop:
            yield self.batch(index)
            index += step


def loader(batches: Batches, workers: int) -> DataLoader[Batch]:
    """Feed batches to the trainer, made ahead by ``workers`` processes (0: in this one)."""
    return DataLoader(
        batches,
        batch_size=None,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=False,
    )
