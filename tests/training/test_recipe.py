"""Epochs counted in windows."""

from __future__ import annotations

import pytest

from tsfm.data.windows import WindowSpec
from tsfm.errors import ConfigError
from tsfm.training.config import TrainerConfig
from tsfm.training.recipe import Recipe, n_windows


def test_an_epoch_is_every_window_once(make_panel):
    panel = make_panel(n_items=3, length=[50, 100, 130], variates=("a",))
    spec = WindowSpec(min_length=80, max_length=110)
    slow = sum(
        1
        for length in (50, 100, 130)
        if length >= 80
        for start in range(length)
        if start + min(length, 110) <= length
    )
    assert n_windows([panel, panel], spec) == 2 * slow


def test_accumulated_batches_count_as_one_step(make_panel):
    panel = make_panel(n_items=1, length=1109, variates=("a",))
    spec = WindowSpec(min_length=80, max_length=110)
    base = TrainerConfig(accumulate=5)
    recipe = Recipe(preset="default", batch_size=10, epochs=1)
    assert recipe.trainer(base, "ttm", [panel], spec).max_steps == 20
    assert recipe.trainer(base, "ttm", [panel], spec).accumulate == 5


def test_mistakes_are_told():
    with pytest.raises(ConfigError, match="epochs=-1"):
        Recipe(epochs=-1)
    with pytest.raises(ConfigError, match="warmup_steps=-1"):
        Recipe(warmup_steps=-1)
