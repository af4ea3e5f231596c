"""Basal-bolus therapy in a closed loop: the sampler that virtual patients live by.

The therapy of simglucose's ``BBController`` (constant basal, carbohydrates over the patient's
ratio, a correction at meals when glucose is high) with what people do beside it: they misjudge
carbohydrates, forget boluses, and eat when glucose is low.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from tsfm.data.glucose.cohort_config import ControllerConfig
from tsfm.data.glucose.sensor import SAMPLE_MINUTES, Sensor
from tsfm.data.glucose.uva_padova import (
    N_PARAMETERS,
    SUBCUTANEOUS_GLUCOSE,
    VOLUME,
    VirtualPatient,
    eat,
    infuse,
    table,
)

MEAL, ANNOUNCED, SENSED, INSULIN = range(4)
"""Columns of the signal. Before a minute: grams of the meal that begins, announced over eaten,
the sensor's error. After it: grams eaten, grams announced, measured glucose, U/min."""

(BASAL, RATIO, CORRECTION, CORRECT_ABOVE, TARGET, INCREMENT, LARGEST) = range(
    N_PARAMETERS, N_PARAMETERS + 7
)
(RESCUE_BELOW, RESCUE_GRAMS, RESCUE_WAIT, LOWEST, HIGHEST) = range(
    N_PARAMETERS + 7, N_PARAMETERS + 12
)
GLUCOSE, SINCE_RESCUE = N_PARAMETERS + 12, N_PARAMETERS + 13


def controller_parameters(
    config: ControllerConfig, patient: VirtualPatient, sensor: Sensor
) -> Float[np.ndarray, " parameter"]:
    """A patient's columns behind those of the model, in the order that :func:`live` reads."""
    pump = {
        key: float(value)
        for key, value in table("pump_params")[config.pump].items()
        if key != "Name"
    }
    step = pump["inc_basal"]
    hourly = min(round(patient.basal * 60 / step) * step, pump["max_basal"])
    return np.array(
        [
            hourly / 60,
            patient.carbohydrate_ratio,
            patient.correction_factor,
            config.correct_above,
            config.target,
            pump["inc_bolus"],
            pump["max_bolus"],
            config.rescue_below,
            config.rescue_grams,
            config.rescue_wait,
            sensor.lowest,
            sensor.highest,
            patient.fasting_glucose,
            config.rescue_wait,
        ]
    )


def draw_announcements(
    config: ControllerConfig, count: int, rng: np.random.Generator
) -> Float[np.ndarray, " meal"]:
    """Announced over eaten carbohydrates of ``count`` meals, 0 where the bolus is forgotten.

    A normal, cut off at a fifth and at twice what is eaten.
    """
    chance, error = rng.random((count, 2)).T
    factor = 1 + config.announcement_bias + config.announcement_error * ndtri(error)
    return np.where(chance < config.missed_boluses, 0.0, np.clip(factor, 0.2, 2.0))


def live(t: float, state: np.ndarray, parameters: np.ndarray, signal: np.ndarray) -> None:
    """A minute of a patient's life: measure every five, treat what is low, eat and dose.

    For :func:`tsfm.data.ode.compile_sampler`; see :data:`MEAL` for the signal.
    """
    p = parameters
    meal, announced = signal[MEAL], signal[MEAL] * signal[ANNOUNCED]
    bolus = announced / p[RATIO]
    p[SINCE_RESCUE] += 1.0
    if round(t) % SAMPLE_MINUTES == 0:
        shown = state[SUBCUTANEOUS_GLUCOSE] / p[VOLUME] + signal[SENSED]
        p[GLUCOSE] = min(max(shown, p[LOWEST]), p[HIGHEST])
        if p[GLUCOSE] < p[RESCUE_BELOW] and p[SINCE_RESCUE] >= p[RESCUE_WAIT]:
            meal += p[RESCUE_GRAMS]
            announced += p[RESCUE_GRAMS]
            p[SINCE_RESCUE] = 0.0
    if bolus > 0 and p[GLUCOSE] > p[CORRECT_ABOVE]:
        bolus += (p[GLUCOSE] - p[TARGET]) / p[CORRECTION]
    bolus = min(round(bolus / p[INCREMENT]) * p[INCREMENT], p[LARGEST])
    insulin = p[BASAL] + bolus
    infuse(p, insulin)
    signal[MEAL] = eat(state, p, meal)
    signal[ANNOUNCED], signal[SENSED], signal[INSULIN] = announced, p[GLUCOSE], insulin
