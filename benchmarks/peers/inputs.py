"""Seeded inputs that any implementation can rebuild; needs torch and numpy only."""

import math

import torch

PATCH_SIZES = (8, 16, 32, 64, 128)
FIELDS = (
    "target",
    "observed_mask",
    "sample_id",
    "time_id",
    "variate_id",
    "prediction_mask",
    "patch_size",
)


def packed_batch(rows=32, slots=512, n_variates=5, n_patches=12, seed=0):
    """A packed batch: in each row 8 samples of 5 variates × 12 patches, then padding.

    Each sample has one random patch size; the last quarter of its patches is masked.
    """
    generator = torch.Generator().manual_seed(seed)
    n_tokens = n_variates * n_patches
    batch = {
        "target": torch.zeros(rows, slots, max(PATCH_SIZES)),
        "observed_mask": torch.zeros(rows, slots, max(PATCH_SIZES), dtype=torch.bool),
        "prediction_mask": torch.zeros(rows, slots, dtype=torch.bool),
    }
    for name in ("sample_id", "time_id", "variate_id", "patch_size"):
        batch[name] = torch.zeros(rows, slots, dtype=torch.long)
    for row in range(rows):
        for sample in range(slots // 64):
            here = slice(sample * n_tokens, (sample + 1) * n_tokens)
            size = PATCH_SIZES[int(torch.randint(len(PATCH_SIZES), (1,), generator=generator))]
            steps = torch.randn(n_variates, n_patches * size, generator=generator)
            values = steps.cumsum(-1) * 0.1 + 10
            batch["target"][row, here, :size] = values.reshape(n_tokens, size)
            batch["observed_mask"][row, here, :size] = True
            batch["sample_id"][row, here] = sample + 1
            batch["time_id"][row, here] = torch.arange(n_patches).repeat(n_variates)
            batch["variate_id"][row, here] = torch.arange(n_variates).repeat_interleave(n_patches)
            batch["prediction_mask"][row, here] = (
                torch.arange(n_patches) >= n_patches - math.ceil(n_patches / 4)
            ).repeat(n_variates)
            batch["patch_size"][row, here] = size
    return batch


def series(n_series, n_variates, length, seed=0):
    """Random walks, ``[series, time, variate]``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_series, length, n_variates, generator=generator).cumsum(1) * 0.1 + 10


def univariate(batch=64, context=512, horizon=96, seed=0):
    """Random walks' contexts and horizons, ``[batch, context]`` and ``[batch, horizon]``."""
    walks = series(batch, 1, context + horizon, seed)[..., 0]
    return walks[:, :context].contiguous(), walks[:, context:].contiguous()
