"""Presets, typed trees, and values that make no sense."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from experiments.config import writable
from tsfm.data.dynamics.augmentation_config import AUGMENTATIONS, AugmentationConfig
from tsfm.errors import ConfigError


def test_panda_is_the_default():
    panda = AugmentationConfig.preset("panda")
    assert panda == AugmentationConfig()
    assert (panda.rate, set(panda.which)) == (0.2, {"takens", "convex", "affine"})
    assert panda.takens.lags == (1, 10)
    assert (panda.convex.dimensions, panda.convex.alpha) == ((3, 8), 1.0)
    assert (panda.affine.scale, panda.affine.by_dimension) == (1.0, True)
    assert panda.standardize == "after"


def test_dystformer_has_six_rows_of_everything():
    config = AugmentationConfig.preset("dystformer", rate=0.5)
    assert (config.rate, set(config.which)) == (0.5, {"affine", "convex", "skew"})
    assert (config.affine.dimensions, config.affine.scale) == ((6, 6), 0.5)
    assert not config.affine.by_dimension
    assert (config.convex.dimensions, config.convex.alpha) == ((6, 6), 0.6)
    assert (config.skew.dimension, config.skew.scale) == (6, 0.5)


def test_every_name_is_a_field():
    config = AugmentationConfig(which=AUGMENTATIONS, weights=(2,) + (1,) * 6)
    assert all(hasattr(config, name) for name in AUGMENTATIONS)
    assert config.shares == pytest.approx((0.25,) + (0.125,) * 6)


def test_it_is_filled_from_plain_values():
    values = {"rate": 0.1, "which": ["phase", "affine"], "affine": {"dimensions": [2, 4]}}
    tree = OmegaConf.merge(writable(AugmentationConfig), values)
    config = OmegaConf.to_object(tree)
    assert isinstance(config, AugmentationConfig)
    assert config.which == ("phase", "affine")
    assert config.affine.dimensions == (2, 4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 1.5}, r"augment.rate=1.5 lies outside 0 … 1"),
        ({"rate": float("nan")}, "augment.rate"),
        ({"which": ()}, "empty or repeats"),
        ({"which": ("affine", "affine")}, "empty or repeats"),
        ({"which": ("takens", "affin")}, "'affin' is not known.*takens"),
        ({"standardize": "always"}, "augment.standardize"),
        ({"weights": (1.0,)}, "do not fit"),
        ({"weights": (1.0, -1.0, 1.0)}, "do not fit"),
        ({"weights": (0.0, 0.0, 0.0)}, "all zero"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        AugmentationConfig(**values)


def test_unknown_presets_and_fields_are_refused():
    with pytest.raises(ConfigError, match="Choose one of: panda, dystformer"):
        AugmentationConfig.preset("pandas")
    with pytest.raises(ConfigError, match="lag"):
        AugmentationConfig.preset("panda", lag=3)
