"""The peer of benchmarks/cohort.py: simglucose living one day of a patient of each group.

With a path, it gives patients the meals and the insulin of that file instead (npz of ``names``,
``meals`` and ``insulin [patient, minute]``) and writes the glucose under the skin to ``glucose``.
"""

import sys
import warnings
from datetime import datetime, timedelta

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
from answer import answer  # noqa: E402
from simglucose.actuator.pump import InsulinPump  # noqa: E402
from simglucose.controller.basal_bolus_ctrller import BBController  # noqa: E402
from simglucose.patient.t1dpatient import Action, T1DPatient  # noqa: E402
from simglucose.sensor.cgm import CGMSensor  # noqa: E402
from simglucose.simulation.env import T1DSimEnv  # noqa: E402
from simglucose.simulation.scenario_gen import RandomScenario  # noqa: E402

NAMES = ("adult#001", "adolescent#003", "child#007")
START = datetime(2024, 1, 1)


def live_a_day(name):
    env = T1DSimEnv(
        T1DPatient.withName(name),
        CGMSensor.withName("Dexcom", seed=1),
        InsulinPump.withName("Insulet"),
        RandomScenario(start_time=START, seed=1),
    )
    controller = BBController()
    observation, reward, done, info = env.reset()
    while env.time < START + timedelta(days=1):
        action = controller.policy(observation, reward, done, **info)
        observation, reward, done, info = env.step(action)


def follow(path):
    with np.load(path) as file:
        names, meals, insulin = (file[key] for key in ("names", "meals", "insulin"))
    glucose = np.empty(meals.shape)
    for row, name in enumerate(names):
        patient = T1DPatient.withName(str(name))
        for minute in range(meals.shape[1]):
            patient.step(Action(CHO=meals[row, minute], insulin=insulin[row, minute]))
            glucose[row, minute] = patient.observation.Gsub
    np.savez(path, glucose=glucose)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        follow(sys.argv[1])
    else:
        answer(lambda: [live_a_day(name) for name in NAMES])
