"""The UVA/Padova model of type 1 diabetes: thirty virtual patients on the batched integrator.

The model of 2008 (Dalla Man, Rizza & Cobelli, Meal simulation model of the glucose-insulin system,
IEEE Trans. Biomed. Eng. 54:1740, 2007; Kovatchev et al., J. Diabetes Sci. Technol. 3:44, 2009),
with the thirty patients, the rate of eating and the subcutaneous routes of simglucose 0.2.11
(Jinyu Xie, MIT), whose trajectories it reproduces. Inputs hold for a minute at a time, as there.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from math import tanh

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from tsfm.data.kernel_cache import njit
from tsfm.data.ode import Sampler, Solution, Tolerance, compile_rhs, compile_sampler, integrate
from tsfm.errors import ConfigError, DataError

STATES = (
    "stomach_solid",  # mg
    "stomach_liquid",  # mg
    "intestine",  # mg
    "plasma_glucose",  # mg/kg
    "tissue_glucose",  # mg/kg
    "plasma_insulin",  # pmol/kg
    "insulin_action",  # pmol/L
    "delayed_insulin_1",  # pmol/L
    "delayed_insulin_2",  # pmol/L
    "liver_insulin",  # pmol/kg
    "subcutaneous_insulin_1",  # pmol/kg
    "subcutaneous_insulin_2",  # pmol/kg
    "subcutaneous_glucose",  # mg/kg
)
BODY = (
    *("BW", "Vg", "f", "kabs", "kmax", "kmin", "b", "d"),
    *("kp1", "kp2", "kp3", "Fsnc", "ke1", "ke2", "k1", "k2", "Vm0", "Vmx", "Km0", "p2u"),
    *("m1", "m2", "m4", "m30", "Vi", "Ib", "ki", "ka1", "ka2", "kd", "ksc"),
)
"""Columns of the patients' table that :func:`flow` and :func:`eat` take, in their order."""

WEIGHT, VOLUME, LIQUEFIED, EMPTIED = 0, 1, 6, 7
INPUTS = len(BODY)
EATING, INFUSION, RISE, RISE_AT, FALL, FALL_AT = range(INPUTS, INPUTS + 6)
PLANNED, EATEN, STOMACH, FOOD = range(INPUTS + 6, INPUTS + 10)
N_PARAMETERS = INPUTS + 10
"""Body, inputs and what is known of the meal: the first columns of the parameters."""

SUBCUTANEOUS_GLUCOSE = STATES.index("subcutaneous_glucose")
PLASMA_GLUCOSE = STATES.index("plasma_glucose")
MILLIGRAMS, PICOMOLES = 1000.0, 6000.0
EAT_RATE = 5.0  # g/min
TOLERANCE = Tolerance(rtol=1e-6, atol=1e-6, max_steps=10**12, max_seconds=1e9)


@dataclass(frozen=True, kw_only=True, eq=False)
class VirtualPatient:
    """One of the thirty.

    Attributes
    ----------
    name, group
        ``adult#001`` and ``adult``.
    weight, age
        kg, years.
    carbohydrate_ratio, correction_factor
        Grams and mg/dL that one unit of insulin covers.
    daily_insulin, basal
        Usual total in U per day; the rate that holds the fasting patient steady, in U/min.
    fasting_glucose
        mg/dL, where ``basal`` holds it.
    body
        ``[parameter]``, values of :data:`BODY`.
    initial
        ``[state]``: the fasting steady state.
    """

    name: str
    group: str
    weight: float
    age: float
    carbohydrate_ratio: float
    correction_factor: float
    daily_insulin: float
    basal: float
    fasting_glucose: float
    body: Float[np.ndarray, " parameter"]
    initial: Float[np.ndarray, " state"]


def table(name: str) -> dict[str, dict[str, str]]:
    """Rows of a table of the package by the name in their first column."""
    text = files("tsfm.data.glucose").joinpath("tables", f"{name}.csv").read_text("utf-8")
    return {row["Name"]: row for row in csv.DictReader(text.splitlines())}


@lru_cache(maxsize=1)
def patients() -> dict[str, VirtualPatient]:
    """The thirty virtual patients by name, adults first, then adolescents, then children."""
    care = table("Quest")
    rows = table("vpatient_params")
    names = sorted(
        rows, key=lambda name: (("adult", "adolescent", "child").index(_group(name)), name)
    )
    return {name: _patient(rows[name], care[name]) for name in names}


def choose_patients(names: Iterable[str] = ()) -> tuple[VirtualPatient, ...]:
    """Patients by names or groups (``adult``, ``adolescent``, ``child``); all thirty by default.

    Raises
    ------
    ConfigError
        For an unknown or repeated patient.
    """
    known, wanted = patients(), []
    for name in names or ("adult", "adolescent", "child"):
        found = [patient for patient in known.values() if name in (patient.name, patient.group)]
        if not found:
            raise ConfigError(
                f"virtual patient {name!r} is not known",
                remedy="give adult, adolescent, child, or one of them like adult#001 (to #010)",
            )
        wanted += found
    if len({patient.name for patient in wanted}) < len(wanted):
        raise ConfigError(f"patients {list(names)} repeat one", remedy="name each once")
    return tuple(wanted)


def flow(_t: float, state: np.ndarray, parameters: np.ndarray, out: np.ndarray) -> None:
    """d state / dt in minutes; for :func:`tsfm.data.ode.compile_rhs`."""
    p = parameters
    weight, _, f, kabs, kmax, kmin = p[0], p[1], p[2], p[3], p[4], p[5]
    kp1, kp2, kp3, fsnc, ke1, ke2 = p[8], p[9], p[10], p[11], p[12], p[13]
    k1, k2, vm0, vmx, km0, p2u = p[14], p[15], p[16], p[17], p[18], p[19]
    m1, m2, m4, m30, vi, ib, ki = p[20], p[21], p[22], p[23], p[24], p[25], p[26]
    ka1, ka2, kd, ksc = p[27], p[28], p[29], p[30]

    content = state[0] + state[1]
    opening = tanh(p[RISE] * (content - p[RISE_AT])) - tanh(p[FALL] * (content - p[FALL_AT]))
    emptying = kmin + (kmax - kmin) / 2 * (opening + 2)
    out[0] = p[EATING] - kmax * state[0]
    out[1] = kmax * state[0] - emptying * state[1]
    out[2] = emptying * state[1] - kabs * state[2]

    plasma, tissue = state[3], state[4]
    appearance = f * kabs * state[2] / weight
    production = max(kp1 - kp2 * plasma - kp3 * state[8], 0.0)
    excretion = ke1 * max(plasma - ke2, 0.0)
    exchange = k1 * plasma - k2 * tissue
    use = (vm0 + vmx * state[6]) * tissue / (km0 + tissue)
    out[3] = production + appearance - fsnc - excretion - exchange if plasma >= 0 else 0.0
    out[4] = exchange - use if tissue >= 0 else 0.0

    concentration = state[5] / vi
    absorbed = ka1 * state[10] + ka2 * state[11]
    out[5] = m1 * state[9] + absorbed - (m2 + m4) * state[5] if state[5] >= 0 else 0.0
    out[6] = p2u * (concentration - ib - state[6])
    out[7] = ki * (concentration - state[7])
    out[8] = ki * (state[7] - state[8])
    out[9] = m2 * state[5] - (m1 + m30) * state[9] if state[9] >= 0 else 0.0
    out[10] = p[INFUSION] - (ka1 + kd) * state[10] if state[10] >= 0 else 0.0
    out[11] = kd * state[10] - ka2 * state[11] if state[11] >= 0 else 0.0
    out[12] = ksc * (plasma - state[12]) if state[12] >= 0 else 0.0


@njit(error_model="numpy")
def eat(state, parameters, grams):  # type: ignore[no-untyped-def]
    """Set what is eaten in the minute that begins, when ``grams`` are added to what is planned.

    The stomach empties by how full it is beside its content when eating began and what was eaten
    since. Returns the grams eaten.
    """
    p = parameters
    p[PLANNED] += grams
    eaten = min(EAT_RATE, p[PLANNED])
    p[PLANNED] -= eaten
    if eaten > 0 and p[EATEN] <= 0:
        p[STOMACH], p[FOOD] = state[0] + state[1], 0.0
    p[FOOD] += eaten
    p[EATEN], p[EATING] = eaten, eaten * MILLIGRAMS
    full = p[STOMACH] + p[FOOD] * MILLIGRAMS
    if full > 0:
        p[RISE], p[RISE_AT] = 2.5 / (full * (1 - p[LIQUEFIED])), p[LIQUEFIED] * full
        p[FALL], p[FALL_AT] = 2.5 / (full * p[EMPTIED]), p[EMPTIED] * full
    return eaten


@njit(error_model="numpy")
def infuse(parameters, units):  # type: ignore[no-untyped-def]
    """Set the insulin of the minute that begins, in U/min."""
    parameters[INFUSION] = units * PICOMOLES / parameters[WEIGHT]


def follow(_t: float, state: np.ndarray, parameters: np.ndarray, signal: np.ndarray) -> None:
    """Sampler of given meals (g) and insulin (U/min); it leaves the grams eaten in the first."""
    signal[0] = eat(state, parameters, signal[0])
    infuse(parameters, signal[1])


def simulate(
    chosen: Sequence[VirtualPatient],
    meals: ArrayLike,
    insulin: ArrayLike,
    *,
    workers: int | None = None,
) -> Float[np.ndarray, "patient minute state"]:
    """States of patients who are given meals and insulin, from the fasting steady state on.

    Parameters
    ----------
    meals
        ``[patient, minute]``, grams of carbohydrates; eaten at 5 g/min from that minute on.
    insulin
        ``[patient, minute]``, U/min.
    workers
        Threads; results do not depend on it.

    Returns
    -------
    states
        ``[patient, minute + 1, state]``, at the beginning of every minute and after the last.

    Raises
    ------
    DataError
        When inputs have another shape, are negative or not finite.
    """
    inputs = [np.asarray(values, dtype=float) for values in (meals, insulin)]
    for name, values in zip(("meals", "insulin"), inputs, strict=True):
        if values.ndim != 2 or values.shape != inputs[0].shape or len(values) != len(chosen):
            raise DataError(
                f"{name} have shape {values.shape}", remedy=f"give [{len(chosen)}, minute]"
            )
        if not (np.isfinite(values) & (values >= 0)).all():
            raise DataError(f"{name} are negative or not finite", remedy="give 0 for none")
    signals = np.pad(np.stack(inputs, axis=2), ((0, 0), (0, 1), (0, 0)))
    parameters = np.stack([starting_parameters(patient) for patient in chosen])
    return run(chosen, parameters, compile_sampler(follow), signals, workers).states


def starting_parameters(
    patient: VirtualPatient, others: ArrayLike = ()
) -> Float[np.ndarray, " parameter"]:
    """Body, inputs and memory of a patient who has not eaten, then a sampler's own parameters."""
    return np.concatenate([patient.body, np.zeros(N_PARAMETERS - len(BODY)), np.asarray(others)])


def run(
    chosen: Sequence[VirtualPatient],
    parameters: Float[np.ndarray, "patient parameter"],
    sampler: Sampler,
    signals: Float[np.ndarray, "patient minute signal"],
    workers: int | None = None,
) -> Solution:
    """Integrate patients from their fasting states, a sampler setting inputs every minute."""
    return integrate(
        compile_rhs(flow),
        np.stack([patient.initial for patient in chosen]),
        parameters,
        np.arange(signals.shape[1], dtype=float),
        tolerance=TOLERANCE,
        bound=None,
        workers=workers,
        sampler=sampler,
        signals=signals,
    )


def _group(name: str) -> str:
    return name.partition("#")[0]


def _patient(row: dict[str, str], care: dict[str, str]) -> VirtualPatient:
    weight = float(row["BW"])
    return VirtualPatient(
        name=row["Name"],
        group=_group(row["Name"]),
        weight=weight,
        age=float(care["Age"]),
        carbohydrate_ratio=float(care["CR"]),
        correction_factor=float(care["CF"]),
        daily_insulin=float(care["TDI"]),
        basal=float(row["u2ss"]) * weight / PICOMOLES,
        fasting_glucose=float(row["Gb"]),
        body=np.array([float(row[name]) for name in BODY]),
        initial=np.array([float(row[f"x0_{k:2d}"]) for k in range(1, len(STATES) + 1)]),
    )
