"""Windows as padded batches: what is drawn, hidden, scored, and what is padding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from support.patchtst import endless_windows

from tsfm.data.windows import Window
from tsfm.errors import DataError
from tsfm.models.patchtst_config import PatchTSTConfig
from tsfm.models.patchtst_windows import context_batch, training_batch, window_spec


def recipe(**fields: object) -> PatchTSTConfig:
    return PatchTSTConfig.preset("tiny", **fields)


def test_windows_are_wanted_as_long_as_the_mode_needs() -> None:
    assert (window_spec(recipe()).min_length, window_spec(recipe()).max_length) == (64, 128)
    masked = window_spec(recipe(mode="masked"))
    assert (masked.min_length, masked.max_length) == (32, 96)


def test_whole_windows_need_no_masks() -> None:
    batch = training_batch(endless_windows([(3, 128)]), 4, np.random.default_rng(0), recipe())
    assert set(batch) == {"tokens", "context", "future", "scored"}
    assert batch["tokens"].shape == (4, 18)
    windows = list(itertools.islice(endless_windows([(3, 128)]), 4))
    both = torch.cat([batch["context"], batch["future"]], -1).numpy()
    np.testing.assert_array_equal(both, np.stack([w.target for w in windows]))


def test_ragged_windows_are_padded_before_and_beside() -> None:
    shapes = [(3, 128), (1, 70)]
    batch = training_batch(endless_windows(shapes), 2, np.random.default_rng(0), recipe())
    real = batch["real"]
    assert real[0].all()
    assert real[1, 0].tolist() == [False] * 3 + [True] * 3
    assert not real[1, 1:].any()
    assert batch["observed"][1, 0].sum() == 70 - 32
    assert not batch["scored"][1, 1:].any()
    assert batch["scored"][1, 0].all()
    assert torch.equal(batch["tokens"], real.flatten(1))


def test_contexts_are_padded_to_whole_patches() -> None:
    past = np.random.default_rng(0).normal(size=(2, 3, 50)).astype(np.float32)
    past[0, 1, 20] = np.nan
    batch = context_batch(past, 16)
    assert batch["context"].shape == (2, 3, 64)
    assert "real" not in batch
    assert (~batch["observed"]).sum() == 2 * 3 * 14 + 1
    assert batch["context"][~batch["observed"]].abs().sum() == 0


def test_some_variates_are_drawn() -> None:
    config = recipe(train_variates=3)
    batch = training_batch(endless_windows([(8, 128)]), 64, np.random.default_rng(0), config)
    assert batch["context"].shape == (64, 3, 96)
    wide = training_batch(endless_windows([(8, 128)]), 64, np.random.default_rng(0), recipe())
    found = (batch["future"][:, :, None] == wide["future"][:, None]).all(-1)
    assert (found.sum(-1) == 1).all()
    assert (found.any(1).sum(0) > 10).all()


def test_variates_that_are_never_observed_are_left_out() -> None:
    target = next(endless_windows([(4, 128)])).target.copy()
    target[1] = np.nan
    target[2, 96:] = np.nan
    window = Window(item_id="x", target=target, start=0, variate_names=("a", "b", "c", "d"))
    batch = training_batch(itertools.repeat(window), 2, np.random.default_rng(0), recipe())
    np.testing.assert_array_equal(batch["future"][0].numpy(), target[[0, 3], 96:])
    nothing = Window(item_id="void", target=target[1:3], start=0, variate_names=("b", "c"))
    with pytest.raises(DataError, match="void"):
        training_batch(itertools.repeat(nothing), 2, np.random.default_rng(0), recipe())


@pytest.mark.parametrize("ratio", [0.5, 0.25, 0.01, 0.99])
@pytest.mark.parametrize("consistent", [True, False])
def test_a_share_of_each_variates_patches_is_hidden(ratio: float, consistent: bool) -> None:
    config = recipe(mode="masked", mask_ratio=ratio, channel_consistent=consistent, context=160)
    batch = training_batch(endless_windows([(3, 160)]), 50, np.random.default_rng(0), config)
    hidden = batch["hidden"]
    assert (hidden.sum(-1) == np.clip(round(ratio * 10), 1, 9)).all()
    assert (hidden == hidden[:, :1]).all() == consistent
    assert len({tuple(row.tolist()) for row in hidden[:, 0]}) > 5
    short = training_batch(
        endless_windows([(3, 160), (2, 40)]), 2, np.random.default_rng(0), config
    )
    assert not (short["hidden"] & ~short["real"]).any()


def test_batches_depend_on_the_generator_alone() -> None:
    config = recipe(mode="masked", train_variates=2)
    one, two = (
        training_batch(endless_windows([(5, 96)]), 4, np.random.default_rng(3), config)
        for _ in range(2)
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
