"""Models say whether they look at covariates, and what they say is so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.moirai import make_model as make_moirai
from support.patchtst import make_patchtst
from support.ttm import make_mixing_model
from support.ttm import make_model as make_ttm

from tsfm.models import model_class
from tsfm.models.base import Context
from tsfm.models.conditioning import Conditioned
from tsfm.models.conditioning_config import ConditioningConfig

HORIZON = 8
BASELINES = ("random_walk", "seasonal_naive", "theta", "drift", "mean", "nvar", "garch", "har")
MAKERS = {
    "moirai": (make_moirai, True),
    "moirai without": (lambda: make_moirai(use_covariates=False), False),
    "ttm that mixes": (lambda: make_mixing_model(1, 1, 1), True),
    "ttm": (make_ttm, False),
    "patchtst": (make_patchtst, False),
    "conditioned": (
        lambda: Conditioned(make_mixing_model(1, 1, 1), ConditioningConfig(scaler="standard")),
        True,
    ),
    **{name: (model_class(name), False) for name in BASELINES},
}


def asked(seed: int) -> Context:
    past = np.random.default_rng(0).normal(size=(1, 64, 1)).cumsum(1)
    rng = np.random.default_rng(seed)
    return Context(
        past=past,
        past_covariates=rng.normal(size=(1, 64, 1)).astype(np.float32),
        known_covariates=rng.normal(size=(1, 64 + HORIZON, 1)).astype(np.float32),
    )


@pytest.mark.parametrize("name", MAKERS)
def test_what_a_model_says_is_what_it_does(name):
    make, expected = MAKERS[name]
    model = make()
    assert model.sees_covariates is expected
    first, second = (model.predict(asked(seed), HORIZON).quantiles for seed in (1, 2))
    assert np.array_equal(first, second, equal_nan=True) is not expected


def test_a_model_that_looks_at_known_covariates_looks_at_those_of_the_horizon():
    context = asked(1)
    later = context.known_covariates.copy()
    later[:, -1] += 3.0
    for name in ("moirai", "ttm that mixes"):
        model = MAKERS[name][0]()
        other = model.predict(replace(context, known_covariates=later), HORIZON).mean
        assert not np.array_equal(model.predict(context, HORIZON).mean, other)
