"""Random days: what simglucose's are like, and what each setting changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.data.glucose.cohort_config import DAY, Meal, ScenarioConfig
from tsfm.data.glucose.scenario import draw_meals
from tsfm.errors import ConfigError


def draw(days=1, seed=0, **settings):
    return draw_meals(ScenarioConfig(**settings), days, np.random.default_rng(seed))


def test_meals_are_distributed_as_in_simglucose():
    grams = draw(4000).reshape(4000, 1440)
    for meal in DAY:
        minutes = slice(int(meal.earliest * 60) + 1, int(meal.latest * 60))
        day, when = np.nonzero(grams[:, minutes])
        sizes = grams[:, minutes][day, when]
        assert len(sizes) / 4000 == pytest.approx(meal.probability, abs=0.03)
        hours = meal.earliest + (when + 1) / 60
        assert hours.mean() == pytest.approx(meal.hour, abs=0.05)
        assert np.median(sizes) == pytest.approx(meal.grams, abs=1)
        width = np.diff(np.quantile(sizes, [0.16, 0.84]))[0] / 2
        assert width == pytest.approx(meal.spread_grams, rel=0.15)
    assert grams[:, :300].sum() == 0
    assert grams[:, 1381:].sum() == 0
    assert (grams == np.rint(grams)).all()
    assert (grams >= 0).all()


def test_without_variability_all_days_are_alike():
    meals = [Meal(**(vars(meal) | {"probability": 1.0})) for meal in DAY]
    days = draw(5, variability=0.0, meals=meals).reshape(5, 1440)
    expected = np.zeros(1440)
    expected[[round(meal.hour * 60) for meal in DAY]] = [meal.grams for meal in DAY]
    np.testing.assert_array_equal(days, np.tile(expected, (5, 1)))


def test_skipping_leaves_out_meals_and_moves_none():
    usual, some = draw(300), draw(300, skipping=0.4)
    kept = some > 0
    np.testing.assert_array_equal(some[kept], usual[kept])
    assert kept.sum() / (usual > 0).sum() == pytest.approx(0.6, abs=0.05)
    assert draw(300, skipping=1.0).sum() == 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), days=st.integers(1, 9), more=st.integers(0, 9))
def test_days_do_not_depend_on_those_that_follow(seed, days, more):
    np.testing.assert_array_equal(draw(days + more, seed)[: days * 1440], draw(days, seed))


def test_two_meals_in_one_minute_are_eaten_together():
    row = {"earliest": 12, "hour": 12.5, "latest": 13, "spread_hours": 0, "spread_grams": 0}
    meals = [Meal(name=name, probability=1.0, grams=30, **row) for name in ("soup", "bread")]
    assert draw(meals=meals)[750] == 60


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probability": 1.5}, "probability=1.5"),
        ({"grams": -1.0}, "grams=-1.0"),
        ({"spread_hours": -0.1}, "spread_hours"),
        ({"earliest": 23.0}, "no part of a day"),
        ({"latest": 25.0}, "no part of a day"),
        ({"hour": 1.0}, "hour=1.0 lies outside"),
    ],
)
def test_meals_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Meal(**(vars(DAY[0]) | changes))


@pytest.mark.parametrize("changes", [{"variability": -1.0}, {"skipping": 1.1}])
def test_scenarios_that_cannot_be_are_refused(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        ScenarioConfig(**changes)
