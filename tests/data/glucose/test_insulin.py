"""Insulin and carbohydrates on board, against integrals of the curves' rates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from tsfm.data.glucose.insulin import carbohydrates_remaining, insulin_remaining, on_board
from tsfm.errors import ConfigError

MINUTE = 60_000_000


@pytest.mark.parametrize(("duration", "peak"), [(360, 75), (300, 55), (240, 60)])
def test_insulin_is_the_integral_of_its_activity(duration, peak):
    tau = peak * (1 - peak / duration) / (1 - 2 * peak / duration)

    def activity(t):
        return t * (1 - t / duration) * np.exp(-t / tau)

    total = quad(activity, 0, duration)[0]
    for minutes in (0, 10, peak, 150, duration - 1, duration):
        expected = quad(activity, minutes, duration)[0] / total
        left = insulin_remaining(minutes, duration=duration, peak=peak, delay=0)
        assert left == pytest.approx(expected, abs=1e-9)
    times = np.linspace(0, duration, 2001)
    assert times[activity(times).argmax()] == pytest.approx(peak, abs=duration / 1000)


def test_the_delay_shifts_the_curve():
    minutes = np.arange(0, 400, 7.0)
    shifted = insulin_remaining(minutes, delay=10)
    np.testing.assert_allclose(shifted[2:], insulin_remaining(minutes[2:] - 10, delay=0))
    assert insulin_remaining(5.0) == 1


def test_meals_are_integrals_of_their_rates():
    for curve, rate, end in (
        ("parabolic", lambda t: min(t, 180 - t), 180),
        ("linear", lambda _: 1.0, 180),
        ("hovorka", lambda t: t * np.exp(-t / 40), 4000),
    ):
        duration = 40 if curve == "hovorka" else 180
        total = quad(rate, 0, end, points=[90], limit=200)[0]
        for minutes in (0, 30, 90, 120, 179):
            expected = quad(rate, minutes, end, limit=200)[0] / total
            left = carbohydrates_remaining(minutes, curve=curve, duration=duration)
            assert left == pytest.approx(expected, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-500, 900), st.floats(0.1, 20)), min_size=0, max_size=12),
    st.sampled_from([1, 5, 15]),
)
def test_on_board_is_the_sum_over_past_doses(doses, minutes):
    grid = np.arange(0, 720, minutes, dtype=np.int64) * MINUTE
    given_at = np.array([at for at, _ in doses], np.int64) * MINUTE
    amounts = np.array([amount for _, amount in doses])
    board = on_board(given_at, amounts, grid, insulin_remaining, until=370)
    for bar, now in enumerate(grid):
        past = [
            amount * float(insulin_remaining(now / MINUTE - at))
            for at, amount in doses
            if at * MINUTE <= now
        ]
        assert board[bar] == pytest.approx(sum(past), abs=1e-9)


def test_impossible_curves_are_refused():
    with pytest.raises(ConfigError, match="has no curve"):
        insulin_remaining(1.0, duration=120, peak=75)
    with pytest.raises(ConfigError, match="spline"):
        carbohydrates_remaining(1.0, curve="spline")
