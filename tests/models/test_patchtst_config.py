"""Sizes of PatchTST: counted, matched, published; configurations refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.patchtst import make_past
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tsfm.errors import ConfigError
from tsfm.models.patchtst import PatchTST
from tsfm.models.patchtst_config import PatchTSTConfig, matched
from tsfm.models.patchtst_windows import context_batch


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"channel_mixing": "none", "d_ff": 77},
        {"mode": "masked"},
        {"quantiles": True, "patch": 8},
        {"dynamics_embedding": True, "monomial_degree": 4, "monomials": 10},
    ],
)
def test_parameters_are_counted(fields: dict[str, object]) -> None:
    config = PatchTSTConfig.preset("tiny", **fields)
    assert config.n_parameters == sum(p.numel() for p in PatchTST(config).parameters())


def test_published_sizes() -> None:
    assert PatchTSTConfig.preset("panda").n_parameters == pytest.approx(21.3e6, rel=5e-3)
    assert PatchTSTConfig.preset("panda-72M").n_parameters == pytest.approx(72e6, rel=1e-2)


@given(
    heads=st.sampled_from([1, 2, 4]),
    per_head=st.sampled_from([8, 16, 32]),
    layers=st.integers(1, 8),
    d_ff=st.integers(16, 1024),
    dynamics=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_arms_are_matched_within_two_percent(
    heads: int, per_head: int, layers: int, d_ff: int, dynamics: bool
) -> None:
    config = PatchTSTConfig(
        d_model=heads * per_head, heads=heads, layers=layers, d_ff=d_ff, dynamics_embedding=dynamics
    )
    other = matched(config)
    assert other.channel_mixing == "none"
    assert other.n_parameters == pytest.approx(config.n_parameters, rel=0.02)
    assert other.flops(3) == pytest.approx(config.flops(3), rel=0.06)
    assert matched(other, "attention").n_parameters == pytest.approx(config.n_parameters, rel=0.03)


def test_an_arm_that_is_too_small_to_match_is_told() -> None:
    with pytest.raises(ConfigError, match="raise d_ff"):
        matched(PatchTSTConfig(channel_mixing="none", d_ff=64), "attention")


@pytest.mark.parametrize("width", [2, 12])
@pytest.mark.parametrize(
    "fields", [{}, {"channel_mixing": "none"}, {"dynamics_embedding": True}, {"mode": "masked"}]
)
def test_operations_are_counted(fields: dict[str, object], width: int) -> None:
    """Against those counted while it runs, by kernels that show them."""
    config = PatchTSTConfig.preset("tiny", dropout=0.5, **fields)
    model = PatchTST(config)
    batch = context_batch(make_past(1, 96, width).swapaxes(1, 2), config.patch)
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        hidden, _ = model._encode(batch)
        model.head(hidden if config.mode == "masked" else hidden[:, :, 0])
    assert counter.get_total_flops() == pytest.approx(config.flops(width), rel=1e-6)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"channel_mixing": "some"}, "none, attention"),
        ({"mode": "both"}, "prediction, masked"),
        ({"pooling": "cls"}, "max, mean"),
        ({"loss": "nll"}, "mse"),
        ({"patch": 0}, "at least 1"),
        ({"d_model": 100, "heads": 8}, "no multiple"),
        ({"context": 20}, "fewer than two patches"),
        ({"rope_fraction": 1.5}, "from 0 to 1"),
        ({"mask_ratio": 1.0}, "mask_ratio"),
        ({"dropout": 1.0}, "dropout"),
        ({"minimum_variance": 0.0}, "minimum_variance"),
        ({"fourier_features": 7}, "odd"),
        ({"train_variates": -1}, "at least 0"),
        ({"mode": "masked", "quantiles": True}, "predicts points"),
        ({"colour": "red"}, "no parameter"),
        ({"d_model": "wide"}, "wrong type"),
    ],
)
def test_bad_configurations_are_refused(fields: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        PatchTSTConfig.from_dict(fields)


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(ConfigError, match="tiny, small, panda"):
        PatchTSTConfig.preset("huge")
