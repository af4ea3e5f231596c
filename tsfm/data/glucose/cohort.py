"""A virtual cohort: type 1 diabetes patients of the UVA/Padova model over many days, as a panel.

Every patient eats by a random scenario, doses by a basal-bolus controller and is measured every
five minutes by a sensor with errors; all of it in one pass of the batched integrator.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tsfm.data.glucose.cohort_config import (
    EXACT,
    CohortConfig,
    ControllerConfig,
    Meal,
    ScenarioConfig,
)
from tsfm.data.glucose.controller import (
    ANNOUNCED,
    INSULIN,
    MEAL,
    SENSED,
    controller_parameters,
    draw_announcements,
    live,
)
from tsfm.data.glucose.scenario import MINUTES, draw_meals
from tsfm.data.glucose.sensor import SAMPLE_MINUTES, Sensor, load_sensor
from tsfm.data.glucose.uva_padova import (
    PLASMA_GLUCOSE,
    VOLUME,
    VirtualPatient,
    choose_patients,
    patients,
    run,
    starting_parameters,
)
from tsfm.data.ode import compile_sampler

if TYPE_CHECKING:
    from tsfm.data.panel import Panel, PanelInfo, Series

__all__ = [
    "EXACT",
    "CohortConfig",
    "ControllerConfig",
    "Meal",
    "ScenarioConfig",
    "cohort_info",
    "cohort_series",
    "simulate_cohort",
]

_WARM_UP = 1
_PATIENT_DAYS = 2048
_UNITS = {
    "glucose": "mg/dL",
    "insulin": "U",
    "carbohydrates": "g",
    "plasma_glucose": "mg/dL",
    "carbohydrates_eaten": "g",
}


def simulate_cohort(
    config: CohortConfig, *, path: str | Path | None = None, workers: int | None = None
) -> Panel:
    """Simulate a cohort.

    Parameters
    ----------
    config
        Patients, days, seed, sensor, scenario and controller.
    path
        Streamed to this new directory in bounded memory; in memory when not given.
    workers
        Threads; by default as many as the process may use. Results do not depend on it.

    Returns
    -------
    panel
        One item per patient: measured ``glucose`` (mg/dL) every five minutes from midnight on;
        past covariates ``insulin`` (U, basal and bolus) and ``carbohydrates`` (g, as announced,
        with what is eaten against hypoglycaemia) of the five minutes before, so that a row tells
        nothing that its time does not know; with ``config.truth`` also ``plasma_glucose`` at that
        time and ``carbohydrates_eaten`` of the five minutes before. Static: ``patient``,
        ``group``, ``weight_kg``, ``age``, ``carbohydrate_ratio``, ``correction_factor``,
        ``daily_insulin``.

    Raises
    ------
    ConfigError
        For an unknown patient.
    DataError
        When ``path`` is taken or cannot be written.
    """
    from tsfm.data.panel import Panel

    series, info = cohort_series(config, workers=workers), cohort_info(config)
    return Panel.from_series(series, info) if path is None else Panel.write(path, series, info)


def cohort_info(config: CohortConfig) -> PanelInfo:
    """What the series of a cohort share."""
    from tsfm.data.panel import PanelInfo

    truth = ("plasma_glucose", "carbohydrates_eaten") if config.truth else ()
    covariates = ("insulin", "carbohydrates", *truth)
    return PanelInfo(
        name="virtual_cohort",
        variates=("glucose",),
        freq=f"{SAMPLE_MINUTES}min",
        seasonality=MINUTES // SAMPLE_MINUTES,
        units={name: _UNITS[name] for name in ("glucose", *covariates)},
        past_covariates=covariates,
        licence="Apache-2.0; patients' parameters MIT",
        provenance={
            "simulator": "tsfm.data.glucose.cohort",
            "model": "UVA/Padova type 1 diabetes simulator (2008)",
            "parameters": "simglucose 0.2.11, copyright 2017 Jinyu Xie, MIT",
            **asdict(config),
        },
    )


def cohort_series(config: CohortConfig, *, workers: int | None = None) -> Iterator[Series]:
    """The cohort's series, some patients in memory at a time."""
    chosen = choose_patients(config.patients)
    threads = workers or len(os.sched_getaffinity(0))
    at_once = min(max(_PATIENT_DAYS // (config.days + _WARM_UP), 1), 16 * threads)
    for first in range(0, len(chosen), at_once):
        yield from _simulate(config, chosen[first : first + at_once], workers)


def _simulate(
    config: CohortConfig, chosen: Sequence[VirtualPatient], workers: int | None
) -> Iterator[Series]:
    from tsfm.data.panel import Series

    sensor = load_sensor(config.sensor)
    parameters = np.stack(
        [
            starting_parameters(patient, controller_parameters(config.controller, patient, sensor))
            for patient in chosen
        ]
    )
    signals = np.stack([_signals(config, patient, sensor) for patient in chosen])
    solution = run(chosen, parameters, compile_sampler(live), signals, workers)
    begin, start = _WARM_UP * MINUTES, pd.Timestamp(config.start)
    for patient, states, signal in zip(chosen, solution.states, solution.signals, strict=True):
        recent = _five_minutes(signal[begin - SAMPLE_MINUTES : -SAMPLE_MINUTES - 1])
        covariates = [recent[INSULIN], recent[ANNOUNCED]]
        if config.truth:
            volume = patient.body[VOLUME]
            covariates += [states[begin:-1:SAMPLE_MINUTES, PLASMA_GLUCOSE] / volume, recent[MEAL]]
        yield Series(
            item_id=patient.name,
            target=signal[None, begin:-1:SAMPLE_MINUTES, SENSED],
            start=start,
            past_covariates=np.stack(covariates),
            static={
                "patient": patient.name,
                "group": patient.group,
                "weight_kg": patient.weight,
                "age": patient.age,
                "carbohydrate_ratio": patient.carbohydrate_ratio,
                "correction_factor": patient.correction_factor,
                "daily_insulin": patient.daily_insulin,
            },
        )


def _signals(config: CohortConfig, patient: VirtualPatient, sensor: Sensor) -> np.ndarray:
    """What chance has in store for one patient, ``[minute, signal]``."""
    seed = np.random.SeedSequence(config.seed, spawn_key=(list(patients()).index(patient.name),))
    scenario, announcements, sensing = map(np.random.default_rng, seed.spawn(3))
    days = config.days + _WARM_UP
    signals = np.zeros((days * MINUTES + 1, 4))
    signals[:-1, MEAL] = draw_meals(config.scenario, days, scenario)
    eaten = np.flatnonzero(signals[:, MEAL])
    signals[eaten, ANNOUNCED] = draw_announcements(config.controller, len(eaten), announcements)
    samples = len(signals) // SAMPLE_MINUTES + 1
    signals[::SAMPLE_MINUTES, SENSED] = sensor.error(samples, sensing)
    return signals


def _five_minutes(signal: np.ndarray) -> np.ndarray:
    """Sums, ``[signal, sample]``."""
    return signal.reshape(-1, SAMPLE_MINUTES, signal.shape[1]).sum(axis=1).T
