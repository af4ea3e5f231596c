"""Base models as training finds them: their own lengths, channels and losses, or told why not."""

from __future__ import annotations

import pytest
import torch
from support.chronos_tiny import tiny
from support.patchtst import make_patchtst
from support.ttm import make_model

from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.conditioning import Conditioned
from tsfm.models.conditioning_config import ConditioningConfig
from tsfm.models.moirai import Moirai
from tsfm.models.moirai_config import MoiraiConfig
from tsfm.models.starting import Asked, kind_of, load_start
from tsfm.models.statistical import RandomWalk


@pytest.fixture
def ttm(tmp_path):
    return make_model().save(tmp_path / "ttm")


def test_the_kind_is_the_checkpoint_s(ttm, tmp_path):
    assert kind_of(ttm) == "ttm"
    behind = Conditioned(make_model(), ConditioningConfig(imputation="mean"))
    assert kind_of(behind.save(tmp_path / "behind")) == "ttm"
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        kind_of(tmp_path)


def test_lengths_that_ttm_cannot_follow_stay(ttm):
    start = load_start(ttm, Asked(context=500, horizon=500))
    assert (start.model.config.context, start.model.config.steps) == (64, 16)
    assert load_start(ttm, Asked(context=64, horizon=5)).model.config.steps == 5


def test_a_ttm_s_loss_and_quantiles(ttm):
    assert load_start(ttm, Asked(context=64, horizon=16, loss="huber")).model.config.loss == "huber"
    start = load_start(ttm, Asked(context=64, horizon=16, loss="pinball"))
    assert start.model.config.quantile_levels
    assert start.fresh
    assert all("quantile_block" in name for name in start.fresh)
    assert not load_start(ttm, Asked(context=64, horizon=16)).fresh


def test_a_ttm_mixes_channels_where_there_are_covariates(ttm):
    start = load_start(ttm, Asked(context=64, horizon=16, channels=(1, 2, 0)))
    assert start.model.config.num_input_channels == 3
    assert start.fresh
    kept = [name for name, _ in start.model.named_parameters() if name not in start.fresh]
    original = make_model().state_dict()
    assert all(torch.equal(start.model.state_dict()[n], original[n]) for n in kept)


def test_moirai_takes_the_lengths_that_are_asked_for(tmp_path):
    directory = Moirai(MoiraiConfig.preset("tiny", patch_sizes=(8, 16))).save(tmp_path)
    config = load_start(directory, Asked(context=96, horizon=24)).model.config
    assert (config.context, config.horizon, config.patch_size) == (96, 24, None)
    with pytest.raises(ConfigError, match="moirai has its own loss"):
        load_start(directory, Asked(context=96, horizon=24, loss="mse"))


def test_a_patchtst_s_loss_and_quantiles(tmp_path):
    model = make_patchtst()
    directory = model.save(tmp_path)
    context = 2 * model.config.context
    start = load_start(directory, Asked(context=context, horizon=5, loss="mae"))
    assert (start.model.config.context, start.model.config.loss) == (context, "mae")
    start = load_start(directory, Asked(context=context, horizon=5, loss="pinball"))
    assert start.model.config.quantiles
    assert set(start.fresh) == {"head.weight"}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bolt", "chronos2"])
def test_a_chronos_is_asked_for_no_more_than_it_can(tmp_path, family):
    directory = tiny(family, tmp_path)
    config = load_start(directory, Asked(context=10_000, horizon=10_000)).model.config
    own = load_start(directory, Asked(context=8, horizon=2)).model.config
    assert config.context < 10_000
    assert (own.context, own.horizon) == (8, 2)


def test_fields_are_those_of_the_model(ttm):
    start = load_start(ttm, Asked(context=64, horizon=16, fields={"dropout": 0.05}))
    assert start.model.config.dropout == 0.05
    with pytest.raises(ConfigError, match=r"mask_ratio is no setting of ttm.*head_dropout"):
        load_start(ttm, Asked(context=64, horizon=16, fields={"mask_ratio": 0.1}))


def test_what_cannot_be_trained_is_told(tmp_path):
    with pytest.raises(ConfigError, match="random_walk has no weights"):
        load_start(RandomWalk().save(tmp_path), Asked(context=64, horizon=16))
    with pytest.raises(ConfigError, match="loss='hinge'"):
        Asked(context=1, horizon=1, loss="hinge")
