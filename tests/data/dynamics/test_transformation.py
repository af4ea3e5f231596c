"""Augmentations inside GluonTS's own pipelines."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from gluonts.dataset.common import ListDataset
from gluonts.itertools import Cyclic
from gluonts.transform import AddObservedValuesIndicator, AsNumpyArray, InstanceSplitter
from gluonts.transform.sampler import ExpectedNumInstanceSampler

from tsfm.data.dynamics.augmentation_config import AUGMENTATIONS, AugmentationConfig
from tsfm.data.dynamics.transformation import AsTransformation
from tsfm.errors import ConfigError

START = pd.Period("2024-01-01", "h")


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    return ListDataset(
        [{"target": rng.normal(size=(3, 120)).cumsum(1), "start": START} for _ in range(5)],
        freq="h",
        one_dim_target=False,
    )


def always(*which):
    return AugmentationConfig(rate=1.0, which=which)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_training_entries_are_augmented_and_others_are_not(dataset, name):
    step = AsTransformation(always(name), seed=3)
    entries = list(step.apply(dataset, is_train=True))
    assert len(entries) == 5
    for original, entry in zip(list(dataset)[name == "skew" :], entries[name == "skew" :]):
        assert entry["start"] == START
        assert entry["target"].shape[-1] == 120
        assert entry["target"].dtype == original["target"].dtype
        assert entry["target"].shape != original["target"].shape or not np.array_equal(
            entry["target"], original["target"]
        )
    for original, entry in zip(dataset, step.apply(dataset, is_train=False)):
        np.testing.assert_array_equal(original["target"], entry["target"])


def test_the_first_entry_of_skew_products_has_no_partner(dataset):
    first, second, *_ = AsTransformation(always("skew")).apply(dataset, is_train=True)
    np.testing.assert_array_equal(first["target"], next(iter(dataset))["target"])
    assert len(second["target"]) == 6


def test_a_stream_has_one_outcome_and_an_endless_one_goes_on(dataset):
    config = AugmentationConfig(rate=0.7, which=AUGMENTATIONS)
    step = AsTransformation(config, seed=1)
    first, again = (list(itertools.islice(step(Cyclic(dataset), True), 15)) for _ in range(2))
    for one, two in zip(first, again):
        np.testing.assert_array_equal(one["target"], two["target"])
    affine = AsTransformation(always("affine"), seed=1)
    rounds = list(itertools.islice(affine(Cyclic(dataset), True), 10))
    assert not np.array_equal(rounds[0]["target"], rounds[5]["target"])


def test_it_chains_with_other_steps(dataset):
    pipeline = (
        AsTransformation(always("takens", "affine"), seed=0)
        + AsNumpyArray("target", expected_ndim=2)
        + AddObservedValuesIndicator("target", "observed")
        + InstanceSplitter(
            target_field="target",
            is_pad_field="is_pad",
            start_field="start",
            forecast_start_field="forecast_start",
            instance_sampler=ExpectedNumInstanceSampler(num_instances=2, min_future=8),
            past_length=32,
            future_length=8,
            time_series_fields=["observed"],
        )
    )
    entries = list(itertools.islice(pipeline(Cyclic(dataset), True), 20))
    assert {entry["past_target"].shape[0] for entry in entries} == {32}
    assert all(np.isfinite(entry["past_target"]).all() for entry in entries)


def test_univariate_entries_gain_rows():
    entries = ListDataset([{"target": np.arange(50.0), "start": START}], freq="h")
    (entry,) = AsTransformation(always("takens")).apply(entries, is_train=True)
    assert entry["target"].shape == (3, 50)


@pytest.mark.parametrize("values", [{"seed": -1}, {"pool": 0}])
def test_bad_values_are_refused(values):
    with pytest.raises(ConfigError, match="seed="):
        AsTransformation(AugmentationConfig(), **values)
