"""The model against simglucose's recorded trajectories, scipy, and physiology's bookkeeping."""

import csv

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import solve_ivp

from tsfm.data.glucose.uva_padova import (
    BODY,
    EAT_RATE,
    STATES,
    SUBCUTANEOUS_GLUCOSE,
    VOLUME,
    choose_patients,
    patients,
    simulate,
    table,
)
from tsfm.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def recorded(shared):
    """Inputs ``[patient, minute]``, states and glucose of simglucose by patient."""
    frame = pd.read_csv(shared / "reference" / "uva_padova" / "trajectories.csv.gz")
    names = list(frame.patient.unique())
    days = [frame[frame.patient == name] for name in names]
    states = np.stack([day[[f"x{k}" for k in range(13)]].to_numpy() for day in days])
    columns = ("meal_g_announced", "insulin_U_per_min", "Gsub_mg_dl")
    return names, *(np.stack([day[column] for day in days]) for column in columns), states


def test_trajectories_equal_those_of_simglucose(recorded):
    names, meals, insulin, glucose, expected = recorded
    chosen = choose_patients(names)
    states = simulate(chosen, meals, insulin)[:, 1:]
    volume = np.array([patient.body[VOLUME] for patient in chosen])
    ours = states[..., SUBCUTANEOUS_GLUCOSE] / volume[:, None]
    assert np.abs(ours - glucose).max() < 0.01
    spread = expected.std(axis=1, keepdims=True)
    assert np.abs((states - expected) / spread).max() < 1e-3


@pytest.mark.parametrize("name", ["adult#004", "adolescent#007", "child#008"])
def test_trajectories_equal_a_tight_scipy_of_the_equations_as_published(name):
    (patient,) = choose_patients([name])
    rng = np.random.default_rng(1)
    meals = np.where(rng.random(600) < 0.01, rng.integers(5, 90, 600), 0)
    insulin = patient.basal * rng.uniform(0.5, 1.5, 600) + (meals > 0) * rng.uniform(0, 2)
    ours = simulate([patient], meals[None], insulin[None])[0]
    np.testing.assert_allclose(ours, _reference(name, meals, insulin), rtol=1e-5, atol=2e-3)


def test_a_fasting_patient_on_basal_insulin_stays_where_they_are():
    everyone = choose_patients()
    basal = np.array([[patient.basal] for patient in everyone])
    states = simulate(everyone, np.zeros((30, 1440)), basal.repeat(1440, axis=1))
    volume = np.array([patient.body[VOLUME] for patient in everyone])
    glucose = states[..., SUBCUTANEOUS_GLUCOSE] / volume[:, None]
    fasting = np.array([patient.fasting_glucose for patient in everyone])
    np.testing.assert_allclose(glucose, fasting[:, None].repeat(1441, axis=1), rtol=1e-4)


def test_what_is_eaten_is_absorbed_and_meals_run_at_five_grams_a_minute():
    (patient,) = choose_patients(["adult#003"])
    meals = np.zeros((1, 2000))
    meals[0, [10, 12]] = 33.0, 9.0
    insulin = np.full((1, 2000), patient.basal)
    states = simulate([patient], meals, insulin)[0]
    stomach_and_gut, absorption = states[:, :3].sum(axis=1), patient.body[BODY.index("kabs")]
    minutes = np.arange(2001)
    absorbed = np.trapezoid(absorption * states[:, 2], minutes)
    assert absorbed + stomach_and_gut[-1] == pytest.approx(42_000, rel=1e-3)
    gone = np.cumsum(absorption * states[:, 2]) - absorption * states[:, 2] / 2
    eaten = stomach_and_gut[:25] + gone[:25]
    expected = np.clip(minutes[:25] - 10, 0, None) * EAT_RATE * 1000
    np.testing.assert_allclose(eaten, np.minimum(expected, 42_000), atol=20)


def test_inputs_act_in_the_right_direction():
    chosen = choose_patients(["adolescent"])
    nothing, basal = np.zeros((10, 480)), np.array([[patient.basal] for patient in chosen])
    meal, bolus = nothing.copy(), basal.repeat(480, axis=1)
    meal[:, 60], bolus[:, 60] = 50.0, 3.0
    fasting = simulate(chosen, nothing, basal.repeat(480, axis=1))[..., SUBCUTANEOUS_GLUCOSE]
    fed = simulate(chosen, meal, basal.repeat(480, axis=1))[..., SUBCUTANEOUS_GLUCOSE]
    dosed = simulate(chosen, meal, bolus)[..., SUBCUTANEOUS_GLUCOSE]
    np.testing.assert_array_equal(fed[:, :61], fasting[:, :61])
    assert (fed[:, 120:] > fasting[:, 120:] + 1).all()
    assert (dosed[:, 120:] < fed[:, 120:] - 1).all()


def test_results_do_not_depend_on_threads_or_company():
    rng = np.random.default_rng(0)
    everyone = choose_patients()
    meals = np.where(rng.random((30, 300)) < 0.01, 40.0, 0.0)
    insulin = rng.uniform(0, 0.03, (30, 300))
    together = simulate(everyone, meals, insulin, workers=1)
    np.testing.assert_array_equal(simulate(everyone, meals, insulin, workers=3), together)
    alone = simulate(everyone[17:18], meals[17:18], insulin[17:18])
    np.testing.assert_array_equal(alone, together[17:18])


def test_there_are_thirty_patients_as_in_the_table():
    assert len(patients()) == 30
    assert [patient.group for patient in choose_patients()] == (
        ["adult"] * 10 + ["adolescent"] * 10 + ["child"] * 10
    )
    adult = patients()["adult#001"]
    assert (adult.weight, adult.age, adult.carbohydrate_ratio) == (102.32, 61, 10)
    assert adult.basal == pytest.approx(0.021122675, rel=1e-6)
    assert adult.initial[:5] == pytest.approx([0, 0, 0, 265.370112, 162.457097], rel=1e-6)
    assert len(adult.initial) == len(STATES)
    assert [who.name for who in choose_patients(["child#010", "adult#002"])] == [
        "child#010",
        "adult#002",
    ]


def test_tables_are_those_of_the_reference(shared):
    for name in ("vpatient_params", "Quest", "sensor_params", "pump_params"):
        with (shared / "reference" / "uva_padova" / f"{name}.csv").open() as file:
            assert list(table(name).values()) == list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["adult#011"], "adult#011.*is not known"),
        (["adults"], "is not known"),
        (["adult", "adult#001"], "repeat one"),
    ],
)
def test_patients_that_do_not_exist_are_refused(names, message):
    with pytest.raises(ConfigError, match=message):
        choose_patients(names)


@pytest.mark.parametrize(
    ("meals", "insulin", "message"),
    [
        (np.zeros((1, 10)), np.zeros((1, 9)), "insulin have shape"),
        (np.zeros(10), np.zeros(10), "meals have shape"),
        (np.zeros((2, 10)), np.zeros((2, 10)), "meals have shape"),
        (np.full((1, 10), -1.0), np.zeros((1, 10)), "meals are negative"),
        (np.zeros((1, 10)), np.full((1, 10), np.nan), "insulin are negative or not finite"),
    ],
)
def test_bad_inputs_are_refused(meals, insulin, message):
    with pytest.raises(DataError, match=message):
        simulate(choose_patients(["adult#001"]), meals, insulin)


def _reference(name, meals, insulin):
    """States minute by minute, from the equations with their own names and LSODA."""
    row = table("vpatient_params")[name]
    p = {key: float(row[key]) for key in row if key not in ("Name", "i")}
    state = np.array([p[f"x0_{k:2d}"] for k in range(1, 14)])
    states, planned, before, content, food = [state], 0.0, 0.0, 0.0, 0.0
    for grams, units in zip(meals, insulin, strict=True):
        planned += grams
        eaten = min(5.0, planned)
        planned -= eaten
        if eaten > 0 and before == 0:
            content, food = state[0] + state[1], 0.0
        before, food = eaten, food + eaten
        arguments = (p, eaten * 1000, units * 6000 / p["BW"], content + food * 1000)
        solution = solve_ivp(
            _slope, (0, 1), state, args=arguments, method="LSODA", rtol=1e-10, atol=1e-10
        )
        state = solution.y[:, -1]
        states.append(state)
    return np.array(states)


def _slope(_, x, p, eating, infusion, dose):
    emptying = p["kmax"]
    if dose > 0:
        alpha, beta = 5 / (2 * dose * (1 - p["b"])), 5 / (2 * dose * p["d"])
        full = x[0] + x[1]
        rise, fall = alpha * (full - p["b"] * dose), beta * (full - p["d"] * dose)
        emptying = p["kmin"] + (p["kmax"] - p["kmin"]) / 2 * (np.tanh(rise) - np.tanh(fall) + 2)
    production = max(p["kp1"] - p["kp2"] * x[3] - p["kp3"] * x[8], 0)
    excretion = p["ke1"] * (x[3] - p["ke2"]) if x[3] > p["ke2"] else 0
    appearance = p["f"] * p["kabs"] * x[2] / p["BW"]
    use = (p["Vm0"] + p["Vmx"] * x[6]) * x[4] / (p["Km0"] + x[4])
    level = x[5] / p["Vi"]
    slope = np.array(
        [
            eating - p["kmax"] * x[0],
            p["kmax"] * x[0] - emptying * x[1],
            emptying * x[1] - p["kabs"] * x[2],
            production + appearance - p["Fsnc"] - excretion - p["k1"] * x[3] + p["k2"] * x[4],
            p["k1"] * x[3] - p["k2"] * x[4] - use,
            p["m1"] * x[9] + p["ka1"] * x[10] + p["ka2"] * x[11] - (p["m2"] + p["m4"]) * x[5],
            p["p2u"] * (level - p["Ib"]) - p["p2u"] * x[6],
            -p["ki"] * (x[7] - level),
            -p["ki"] * (x[8] - x[7]),
            p["m2"] * x[5] - (p["m1"] + p["m30"]) * x[9],
            infusion - (p["ka1"] + p["kd"]) * x[10],
            p["kd"] * x[10] - p["ka2"] * x[11],
            p["ksc"] * (x[3] - x[12]),
        ]
    )
    held = np.array([3, 4, 5, 9, 10, 11, 12])
    slope[held] *= x[held] >= 0
    return slope
