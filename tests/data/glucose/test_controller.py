"""Doses, announcements and rescues against the therapy written out."""

import numpy as np
import pytest

from tsfm.data.glucose.cohort_config import EXACT, ControllerConfig
from tsfm.data.glucose.controller import (
    ANNOUNCED,
    INSULIN,
    MEAL,
    SENSED,
    controller_parameters,
    draw_announcements,
    live,
)
from tsfm.data.glucose.sensor import load_sensor
from tsfm.data.glucose.uva_padova import choose_patients, run, starting_parameters
from tsfm.data.ode import compile_sampler
from tsfm.errors import ConfigError


def lead(name, signals, config=EXACT, sensor="exact"):
    """Signals of a patient's life, ``[minute, signal]``."""
    (patient,) = choose_patients([name])
    own = controller_parameters(config, patient, load_sensor(sensor))
    parameters = starting_parameters(patient, own)[None]
    return run([patient], parameters, compile_sampler(live), signals[None]).signals[0]


def given(minutes=600, **columns):
    """Signals with meals ``{minute: grams}``, all announced by ``factor``, and errors."""
    signals = np.zeros((minutes + 1, 4))
    for minute, grams in columns.get("meals", {}).items():
        signals[minute, [MEAL, ANNOUNCED]] = grams, columns.get("factor", 1.0)
    for minute, error in columns.get("errors", {}).items():
        signals[minute, SENSED] = error
    return signals


def test_a_meal_is_covered_by_its_ratio_in_the_steps_of_the_pump():
    life = lead("adult#001", given(meals={123: 43.0, 400: 20.0}))
    basal = round(0.021122675 * 60 / 0.05) * 0.05 / 60
    assert life[0, INSULIN] == pytest.approx(basal)
    assert life[123, INSULIN] - basal == pytest.approx(4.3)
    shown = life[400, SENSED]
    assert shown > 150
    bolus = 2.0 + (shown - 140) / 8.77310657487
    assert life[400, INSULIN] - basal == pytest.approx(round(bolus / 0.05) * 0.05)
    quiet = np.delete(life[:, INSULIN], [123, 400])
    np.testing.assert_allclose(quiet, basal)
    assert life[:, MEAL].sum() == pytest.approx(63)
    assert life[123:132, MEAL].tolist() == [5.0] * 8 + [3.0]
    assert life[123, ANNOUNCED] == 43


def test_announcements_move_the_dose_and_not_the_meal():
    meals = {60: 40.0}
    half, none = (lead("child#001", given(meals=meals, factor=factor)) for factor in (0.5, 0.0))
    exact = lead("child#001", given(meals=meals))
    doses = [life[60, INSULIN] - life[0, INSULIN] for life in (exact, half, none)]
    assert doses == pytest.approx([1.6, 0.8, 0.0])
    assert [life[60, ANNOUNCED] for life in (exact, half, none)] == [40, 20, 0]
    np.testing.assert_array_equal(half[:70, MEAL], exact[:70, MEAL])
    assert (none[150:300, SENSED] > half[150:300, SENSED]).all()


def test_low_glucose_is_treated_and_again_after_the_wait():
    errors = dict.fromkeys(range(200, 250, 5), -90.0)
    life = lead("adult#002", given(errors=errors))
    rescued = np.flatnonzero(life[:, ANNOUNCED])
    np.testing.assert_array_equal(rescued, [200, 215, 230, 245])
    assert life[200:203, MEAL].tolist() == [5.0, 5.0, 5.0]
    assert (life[:, INSULIN] == life[0, INSULIN]).all()
    untreated = lead("adult#002", given(errors=errors), ControllerConfig(rescue_grams=0))
    assert untreated[:, MEAL].sum() == 0


def test_a_measurement_holds_for_five_minutes_and_has_limits():
    life = lead("adult#003", given(errors={10: 1000.0, 20: -1000.0}), sensor="Dexcom")
    assert life[10:15, SENSED].tolist() == [600.0] * 5
    assert life[20:25, SENSED].tolist() == [39.0] * 5
    assert (np.diff(life[:, SENSED])[np.arange(600) % 5 != 4] == 0).all()


def test_doses_never_exceed_the_pump():
    for pump, largest in (("Insulet", 30.0), ("Cozmo", 75.0)):
        config = ControllerConfig(pump=pump)
        life = lead("adult#005", given(meals={10: 5000.0}, minutes=30), config)
        assert life[10, INSULIN] - life[0, INSULIN] == pytest.approx(largest)


def test_announcements_have_the_error_and_the_gaps_asked_for():
    config = ControllerConfig(announcement_error=0.2, announcement_bias=-0.1, missed_boluses=0.15)
    factors = draw_announcements(config, 20_000, np.random.default_rng(0))
    made = factors[factors > 0]
    assert len(made) / 20_000 == pytest.approx(0.85, abs=0.01)
    assert made.mean() == pytest.approx(0.9, abs=0.01)
    assert made.std() == pytest.approx(0.2, abs=0.01)
    assert (made >= 0.2).all()
    assert (made <= 2.0).all()
    exact = draw_announcements(EXACT, 50, np.random.default_rng(0))
    np.testing.assert_array_equal(exact, 1.0)
    fewer = draw_announcements(config, 7, np.random.default_rng(0))
    np.testing.assert_array_equal(fewer, factors[:7])


@pytest.mark.parametrize(
    "changes",
    [
        {"announcement_error": -0.1},
        {"announcement_bias": -2.0},
        {"missed_boluses": 1.5},
        {"correct_above": 5.0},
        {"target": 20.0},
        {"rescue_below": 200.0},
        {"rescue_grams": -1.0},
        {"rescue_wait": 1.0},
        {"pump": "Pen"},
        {"target": float("nan")},
    ],
)
def test_controllers_that_cannot_be_are_refused(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        ControllerConfig(**changes)
