"""Virtual patients, ours beside simglucose.

    OMP_NUM_THREADS=1 python benchmarks/cohort.py --json --peer-python PATH

CPU seconds of one patient's day: ours from a cohort of all thirty over 14 days, as a finished
panel (a day before them is simulated too, but not counted); simglucose's from one day of a
patient of each group under its random scenario, its basal-bolus controller and its Dexcom sensor.
Compilation of ours is left out. ``difference`` is the largest one between glucose under the skin
of both for a day of the same meals and insulin, in mg/dL.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np
from interleave import PEERS, arguments, cpu_seconds, report

from tsfm.data.glucose.cohort import EXACT, CohortConfig, ScenarioConfig, simulate_cohort
from tsfm.data.glucose.scenario import draw_meals
from tsfm.data.glucose.uva_padova import SUBCUTANEOUS_GLUCOSE, VOLUME, choose_patients, simulate

CONFIG = CohortConfig(days=14, controller=EXACT)
NAMES = ("adult#001", "adolescent#003", "child#007")
PATIENTS = 30


def largest_difference(peer_python: Path) -> float:
    """Between both sides' glucose for the same meals and insulin, in mg/dL."""
    chosen = choose_patients(NAMES)
    meals = np.stack(
        [draw_meals(ScenarioConfig(), 1, np.random.default_rng(k)) for k in range(len(chosen))]
    )
    insulin = np.stack(
        [who.basal + eaten / who.carbohydrate_ratio for who, eaten in zip(chosen, meals)]
    )
    states = simulate(chosen, meals, insulin)[:, 1:, SUBCUTANEOUS_GLUCOSE]
    volumes = np.array([who.body[VOLUME] for who in chosen])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inputs.npz"
        np.savez(path, names=np.array(NAMES), meals=meals, insulin=insulin)
        subprocess.run([peer_python, PEERS / "simglucose_days.py", path], check=True)
        with np.load(path) as file:
            return float(np.abs(file["glucose"] - states / volumes[:, None]).max())


def main() -> None:
    args = arguments("patient-days, ours beside simglucose", repetitions=1)
    ours, peer = cpu_seconds(
        lambda: simulate_cohort(CONFIG, workers=1),
        args.peer_python,
        ["simglucose_days.py"],
        args.repetitions,
    )
    ours /= PATIENTS * CONFIG.days
    peer = None if peer is None else peer / len(NAMES)
    report(
        {
            "ours": ours,
            "peer": peer,
            "ratio": None if peer is None else peer / ours,
            "unit": "CPU seconds per patient-day",
            "goal": "ratio ≥ 1000, difference ≤ 0.5",
            "difference": largest_difference(args.peer_python) if args.peer_python else None,
        },
        args.json,
    )


if __name__ == "__main__":
    main()
