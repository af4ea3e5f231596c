"""What drops a forecast's distribution, and what carries it along."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from support.moirai import make_context, make_model

from tsfm.evaluation.fitting import Refitted, Stage
from tsfm.evaluation.outlook import corrected
from tsfm.models.base import Context, Forecast
from tsfm.models.conditioning import Conditioned
from tsfm.models.conditioning_config import ConditioningConfig
from tsfm.models.drift import Drift
from tsfm.models.har import Har
from tsfm.models.marginals import NormalMarginals
from tsfm.models.parroting import Parroting
from tsfm.models.statistical import RandomWalk


@pytest.fixture
def forecast() -> Forecast:
    return RandomWalk().predict(make_context(), 7)


def follows(forecast: Forecast) -> bool:
    """Whether the quantiles are those of the distribution."""
    assert forecast.distribution is not None
    told = forecast.distribution.quantiles(np.array(forecast.quantile_levels))
    np.testing.assert_allclose(told, forecast.quantiles, rtol=1e-4, atol=1e-4)
    return True


def _few_levels(f: Forecast) -> Forecast:
    return replace(f, quantiles=f.quantiles[..., 1:4], quantile_levels=f.quantile_levels[1:4])


CHANGES: dict[str, Callable[[Forecast], Forecast]] = {
    "sorted": lambda f: replace(f, quantiles=np.sort(f.quantiles, axis=-1)),
    "corrected": lambda f: corrected(f, 1.1 * f.quantiles),
    "scaled": lambda f: replace(f, quantiles=2 * f.quantiles, mean=2 * f.mean),
    "some rows": lambda f: replace(f, quantiles=f.quantiles[:1], mean=f.mean[:1]),
    "some steps": lambda f: replace(f, quantiles=f.quantiles[:, 2:], mean=f.mean[:, 2:]),
    "some variates": lambda f: replace(f, quantiles=f.quantiles[:, :, :1], mean=f.mean[..., :1]),
    "some levels": _few_levels,
    "joined": lambda f: replace(
        f,
        quantiles=np.concatenate([f.quantiles, f.quantiles]),
        mean=np.concatenate([f.mean, f.mean]),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_quantiles_drop_it(forecast: Forecast, change: str) -> None:
    assert follows(forecast)
    assert CHANGES[change](forecast).distribution is None
    assert CHANGES[change](pickle.loads(pickle.dumps(forecast))).distribution is None


def test_the_same_quantiles_keep_it(forecast: Forecast) -> None:
    named = replace(forecast, item_ids=("a", "b", "c"), metadata={"x": 1})
    assert named.distribution is forecast.distribution
    assert replace(named, samples=None).distribution is forecast.distribution
    assert replace(named, distribution=None).distribution is None


def test_another_distribution_may_come_with_other_quantiles(forecast: Forecast) -> None:
    other = NormalMarginals(mean=2 * forecast.mean, deviation=np.ones_like(forecast.mean))
    both = replace(forecast, quantiles=2 * forecast.quantiles, distribution=other)
    assert both.distribution is other
    assert replace(both, quantiles=forecast.quantiles).distribution is None


def test_errors_of_the_past_are_no_normal_distribution() -> None:
    for length in (120, 20):
        assert Har().predict(make_context(time=length), 5).distribution is None


def test_a_conditioned_forecaster_scales_it_back() -> None:
    context = make_context()
    model = Conditioned(make_model(), ConditioningConfig(scaler="standard"))
    assert follows(model.predict(replace(context, past=500 + 30 * context.past), 9))


def test_a_refitted_forecaster_puts_rows_in_their_places() -> None:
    first = np.datetime64("2024-01-01", "ns")
    hours = np.arange(40) * np.timedelta64(1, "h")
    late = first + np.array([0, 90, 10, 80]) * np.timedelta64(1, "D")
    past = np.random.default_rng(0).normal(size=(4, 40, 2)).cumsum(1)
    context = Context(past=past, timestamps=late[:, None] + hours, freq="h")
    march = first + np.timedelta64(60, "D")

    def asked(*stages: Stage) -> Forecast:
        return Refitted("two", stages, reads_history=True).predict(context, 6)

    found = asked(Stage(first, RandomWalk()), Stage(march, Drift()))
    assert follows(found)
    assert not np.allclose(found.quantiles[1], RandomWalk().predict(context, 6).quantiles[1])
    assert asked(Stage(first, RandomWalk()), Stage(march, Parroting())).distribution is None
