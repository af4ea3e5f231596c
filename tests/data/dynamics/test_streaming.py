"""Trajectories on the fly: the same for every worker, and of training families only."""

from __future__ import annotations

import pickle
from itertools import islice

import numpy as np
import pytest
import torch
from support.dynamics import small

from tsfm.data.dynamics.augmentation_config import AugmentationConfig
from tsfm.data.dynamics.augmenter import Augmenter
from tsfm.data.dynamics.families import family_of, held_out_families
from tsfm.data.dynamics.streaming import live_panel, training_plans
from tsfm.data.dynamics.systems import system_names
from tsfm.data.windows import WindowSpec, WindowStream
from tsfm.errors import ConfigError, DataError
from tsfm.models.patchtst import PatchTST
from tsfm.models.patchtst_config import PatchTSTConfig
from tsfm.training.batches import Batches, loader

pytestmark = pytest.mark.usefixtures("cache")

CONFIG = small(n_skew=2, couplings=("speed",))
SPEC = WindowSpec(min_length=64, max_length=96)


def stream(**options):
    return WindowStream([live_panel(CONFIG, **options)], SPEC, transform=None)


def test_items_are_trajectories_of_the_systems_and_their_skew_products():
    panel = live_panel(CONFIG, items=40, draws=4)
    assert (len(panel), set(panel.lengths)) == (40, {256})
    assert panel.item_ids[:2] == ("live_dynamics/0", "live_dynamics/1")
    windows = [panel.window(item, 0, 256) for item in range(40)]
    assert {window.static["system"] for window in windows} == {
        "Lorenz",
        "Rossler",
        "Lorenz->Rossler",
        "Rossler->Lorenz",
    }
    assert len({window.target.tobytes() for window in windows}) == 40
    for window in windows:
        observed = np.isfinite(window.target)
        assert observed[: int(window.static["dimension"])].all()
        assert not observed[int(window.static["dimension"]) :].any()


def test_an_item_is_the_same_in_any_order_and_process():
    first, second = (live_panel(CONFIG, items=20, draws=4) for _ in range(2))
    there = [first.window(item, 5, 50).target for item in range(6)]
    back = [second.window(item, 5, 50).target for item in reversed(range(6))]
    copied = pickle.loads(pickle.dumps(first))
    assert copied.fingerprint == first.fingerprint == second.fingerprint
    for item, target in enumerate(there):
        np.testing.assert_array_equal(target, back[5 - item])
        np.testing.assert_array_equal(target, copied.window(item, 5, 50).target)
    other = live_panel(small(seed=3), items=20, draws=4)
    assert other.fingerprint != first.fingerprint


def test_views_are_panels():
    panel = live_panel(CONFIG, items=5, draws=2)
    view = panel.variates(["x1"]).select(["live_dynamics/3"]).slice(10, 40)
    np.testing.assert_array_equal(view.series(0).target, panel.window(3, 10, 30).target[1:2])
    with pytest.raises(ValueError, match="read-only"):
        panel.window(3, 0, 9).target[:] = 0


@pytest.mark.parametrize("seed", range(5))
def test_only_training_families_are_drawn(seed: int):
    config = small(systems=system_names(), n_skew=60, seed=seed)
    plans = training_plans(config)
    drawn = {family_of(member) for plan in plans for member in plan.members}
    assert not drawn & held_out_families(0.3, seed)
    assert sum(len(plan.members) == 2 for plan in plans) == 60
    assert sum(len(plan.members) == 1 for plan in plans) == 90


def test_no_window_is_of_a_held_out_family():
    config = small(systems=("Lorenz", "Chen", "Rossler", "Hopfield", "Finance"), n_skew=8)
    apart = held_out_families(0.3, 0)
    assert {"chen", "finance"} <= apart
    drawn = WindowStream([live_panel(config, draws=2)], SPEC)(np.random.default_rng(0))
    members = {
        member
        for window in islice(drawn, 30)
        for member in str(window.static["members"]).split(",")
    }
    assert members == {"Lorenz", "Rossler", "Hopfield"}


def test_windows_are_augmented_in_the_stream():
    config = AugmentationConfig(rate=0.5)
    panel = live_panel(CONFIG, draws=2)
    augmented = WindowStream([panel], SPEC, transform=Augmenter(config))
    windows = list(islice(augmented(np.random.default_rng(0)), 20))
    assert 3 <= sum("augmentation" in window.static for window in windows) <= 17
    again = list(islice(augmented(np.random.default_rng(0)), 20))
    for one, other in zip(windows, again):
        np.testing.assert_array_equal(one.target, other.target)


def test_batches_are_the_same_with_any_number_of_workers():
    model = PatchTST(
        PatchTSTConfig(patch=16, context=64, horizon=32, d_model=16, heads=2, layers=1, d_ff=16)
    )
    made = []
    for workers in (0, 2):
        source = WindowStream(
            [live_panel(CONFIG, draws=2)],
            model.window_spec,
            transform=Augmenter(AugmentationConfig()),
        )
        batches = Batches(model, source, 4, seed=1, stop=4)
        made.append(list(loader(batches, workers)))
    for alone, together in zip(*made, strict=True):
        assert alone.keys() == together.keys()
        for name, tensor in alone.items():
            assert torch.equal(tensor, together[name]), name


# --- bad input ------------------------------------------------------------------------------------


def test_only_held_out_systems_are_told():
    with pytest.raises(ConfigError, match="all of Chen, Finance are of held-out families"):
        live_panel(small(systems=("Chen", "Finance")))


def test_a_scale_at_which_every_sample_diverges_is_told():
    panel = live_panel(small(parameter_scale=1e9, transient=2.0), items=5, draws=10_000)
    with pytest.raises(DataError, match=r"parameter_scale=1e\+09.*Lower parameter_scale"):
        panel.window(0, 0, 10)


@pytest.mark.parametrize("numbers", [{"items": 0}, {"draws": 0}])
def test_numbers_that_are_not_positive_are_told(numbers: dict):
    with pytest.raises(ConfigError, match="=0"):
        live_panel(CONFIG, **numbers)


def test_windows_longer_than_the_trajectories_are_told():
    with pytest.raises(DataError, match="no series reaches 257 bars"):
        WindowStream([live_panel(CONFIG)], WindowSpec(min_length=257, max_length=300))
