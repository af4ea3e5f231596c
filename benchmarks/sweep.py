"""What a sweep costs besides its training, how it scales, and what pruning saves.

    python benchmarks/sweep.py --json
    python benchmarks/sweep.py --json --study      # also (c)

(a) Overhead per trial: a function that costs nothing reports ten times per trial, random sampler, a
    pruner that looks at all trials each time but stops none, SQLite for studies and tracking;
    counted is the wall time of a trial without the sampler's.
    Beside it the same function in Optuna with MLflowCallback (optuna-integration), which sends the
    reports itself, and in Optuna over mlflow's MlflowStorage; both with fewer trials, as they are
    slow. Their runs hold less: no config, no state of pruned trials.
(b) Trials per minute of one worker and of two, on trials of a fixed length, asleep and computing;
    from the first trial's start to the last one's end.
(c) ``sweeps/pretrain.yaml`` with its pruner and without, the same points (drawn at random from the
    same seeds): best CRPS of validation and training steps. About 20 minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.study import SweepStudy
    from sweeps.worker import Worker

REPORTS = 10
EDGE, NEVER = 100, 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000, help="of (a), ours")
    parser.add_argument("--callback-trials", type=int, default=100, help="of MLflowCallback")
    parser.add_argument("--storage-trials", type=int, default=20, help="of MlflowStorage")
    parser.add_argument("--scaling-trials", type=int, default=40, help="of (b), each")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a trial of (b)")
    parser.add_argument("--study", action="store_true", help="(c) as well")
    parser.add_argument("--only-study", action="store_true", help="(c) alone")
    parser.add_argument("--study-trials", type=int, default=14, help="of (c), each of two studies")
    parser.add_argument("--study-steps", type=int, default=100, help="training steps of a trial")
    parser.add_argument("--seeds", type=int, default=3, help="of (c)")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    parser.add_argument("--part", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    if options.part:
        print(json.dumps(PARTS[options.part](options)))
        return
    result: dict[str, Any] = {}
    if not options.only_study:
        result |= overhead(options)
        result |= scaling(options)
    if options.study or options.only_study:
        result |= pruning(options)
    if options.json:
        print(json.dumps(result))


# --- (a) ------------------------------------------------------------------------------------------


def overhead(options: argparse.Namespace) -> dict[str, Any]:
    found = {name: in_process_of_its_own(name, options) for name in PARTS}
    ours, callback, storage = (found[name] for name in ("ours", "callback", "storage"))
    told = ", ".join(
        f"{name} {one['median']:.0f} ms ({one['trials']} trials)"
        for name, one in (("MLflowCallback", callback), ("MlflowStorage", storage))
        if one
    )
    print(
        f"overhead per trial: ours {ours['median']:.1f} ms (95 %: {ours['p95']:.1f}; first {EDGE} "
        f"{ours['first']:.1f}, last {EDGE} {ours['last']:.1f}; {ours['cpu']:.1f} of computing; "
        f"{ours['trials']} trials); {told}"
    )
    result = {
        "overhead_ms_per_trial": ours["median"],
        "overhead_ms_per_trial_p95": ours["p95"],
        "overhead_ms_first_100": ours["first"],
        "overhead_ms_last_100": ours["last"],
        "overhead_cpu_ms_per_trial": ours["cpu"],
        "trials": ours["trials"],
        "goal": 150.0,
    }
    for name, one in (("callback", callback), ("mlflow_storage", storage)):
        if one:
            result[f"{name}_ms_per_trial"] = one["median"]
            result[f"{name}_trials"] = one["trials"]
            result[f"ratio_to_{name}"] = round(ours["median"] / one["median"], 3)
    return result


def ours(options: argparse.Namespace) -> dict[str, float]:
    """A worker in this process, its trials timed from end to end."""
    from sweeps.opening import open_study
    from sweeps.space import Space
    from sweeps.storage import SweepStorage, address
    from sweeps.study import Plan
    from sweeps.worker import Worker

    space = {
        "parameters": {name: {"low": -3.0, "high": 3.0} for name in "xy"},
        "objectives": ["value"],
        "sampler": "random",
        "pruner": {"name": "median", "n_startup_trials": NEVER},
        "fixed": {"reports": REPORTS},
    }
    plan = Plan(
        experiment="rehearsal",
        space=Space.read(space, where="benchmark"),
        trials=options.trials,
    )
    study = open_study(SweepStorage(address("")), "benchmark", plan)
    sampling = timed_sampler(study.sampler)
    ends, asleep = [time.perf_counter()], [0.0]

    class Timed(Worker):
        def attempt(self, taken: Any) -> None:
            super().attempt(taken)
            ends.append(time.perf_counter())
            asleep.append(sampling[0])

    began = time.process_time()
    done = worked(study, Timed)
    cpu = time.process_time() - began
    assert done == options.trials, f"{done} trials of {options.trials}"
    return spread(ends, asleep) | {"cpu": round(1e3 * cpu / done, 1)}


def callback(options: argparse.Namespace) -> dict[str, float]:
    import mlflow

    try:
        from optuna_integration.mlflow import MLflowCallback
    except ImportError:
        print("MLflowCallback: optuna-integration is not installed", file=sys.stderr)
        return {}
    uri = f"sqlite:///{Path.cwd() / 'mlflow.db'}"
    follow = MLflowCallback(
        tracking_uri=uri, metric_name="value", create_experiment=False,
        mlflow_kwargs={"nested": True},
    )  # fmt: skip
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("peer")

    @follow.track_in_mlflow()
    def objective(trial: Any) -> float:
        return peer_objective(trial, mlflow.log_metric)

    with mlflow.start_run():
        return timed_study(
            "sqlite:///optuna.db", objective, options.callback_trials, callbacks=[follow]
        )


def storage(options: argparse.Namespace) -> dict[str, float]:
    import mlflow
    from mlflow.optuna.storage import MlflowStorage

    mlflow.set_tracking_uri(f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    made = MlflowStorage(experiment_id=mlflow.create_experiment("peer"))
    return timed_study(made, peer_objective, options.storage_trials)


def peer_objective(trial: Any, log: Callable[..., Any] | None = None) -> float:
    import optuna

    x, y = trial.suggest_float("x", -3, 3), trial.suggest_float("y", -3, 3)
    value = float((x - 1) ** 2 + (y - 1) ** 2)
    for step in range(1, REPORTS + 1):
        if log is not None:
            log("value", value + 10 / step**2, step=step)
        trial.report(value + 10 / step**2, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return value


def timed_study(where: Any, objective: Any, trials: int, **options: Any) -> dict[str, float]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.RandomSampler(seed=0)
    sampling = timed_sampler(sampler)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=NEVER)
    study = optuna.create_study(storage=where, sampler=sampler, pruner=pruner)
    ends, asleep = [], []
    for _ in range(trials + 1):
        ends.append(time.perf_counter())
        asleep.append(sampling[0])
        if len(ends) <= trials:
            study.optimize(objective, n_trials=1, **options)
    return spread(ends, asleep)


def timed_sampler(sampler: Any) -> list[float]:
    """Make a sampler count the seconds that it takes, into the list that is returned."""
    seconds = [0.0]
    for name in ("infer_relative_search_space", "sample_relative", "sample_independent"):
        method = getattr(sampler, name)

        def timed(*args: Any, method: Any = method, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                seconds[0] += time.perf_counter() - began

        setattr(sampler, name, timed)
    return seconds


def spread(ends: list[float], asleep: list[float]) -> dict[str, float]:
    """Milliseconds of the trials between ends, without the sampler's; the first warms up."""
    pairs = list(zip(ends, asleep))[1:]
    took = [1e3 * (b[0] - a[0] - b[1] + a[1]) for a, b in pairwise(pairs)]
    edge = min(EDGE, len(took))
    return {
        "median": round(statistics.median(took), 2),
        "p95": round(sorted(took)[int(0.95 * len(took))], 2),
        "first": round(statistics.median(took[:edge]), 2),
        "last": round(statistics.median(took[-edge:]), 2),
        "trials": len(took) + 1,
    }


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    "ours": ours,
    "callback": callback,
    "storage": storage,
}


def in_process_of_its_own(part: str, options: argparse.Namespace) -> dict[str, float]:
    """A part in an empty directory and a fresh process."""
    counts = [
        f"--{name.replace('_', '-')}={getattr(options, name)}"
        for name in ("trials", "callback_trials", "storage_trials")
    ]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, __file__, f"--part={part}", *counts],
            cwd=folder, env=stores(folder), stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def stores(folder: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    kept["MLFLOW_DISABLE_TELEMETRY"] = "true"
    return kept | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}


# --- (b) ------------------------------------------------------------------------------------------


def scaling(options: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = {"fixed_cost_seconds": options.seconds}
    for busy in (False, True):
        rates = [trials_per_minute(workers, options, busy=busy) for workers in (1, 2)]
        kind = "computing" if busy else "asleep"
        print(
            f"trials of {options.seconds:g} s {kind}: {rates[0]:.1f} a minute with one worker, "
            f"{rates[1]:.1f} with two ({rates[1] / rates[0]:.2f}×)"
        )
        result |= {
            f"trials_per_minute_1_{kind}": round(rates[0], 1),
            f"trials_per_minute_2_{kind}": round(rates[1], 1),
            f"speedup_{kind}": round(rates[1] / rates[0], 3),
        }
    return result


def trials_per_minute(workers: int, options: argparse.Namespace, *, busy: bool) -> float:
    from sweeps.opening import load_study
    from sweeps.storage import address

    with tempfile.TemporaryDirectory() as folder:
        fixed = f"seconds={options.seconds} busy={str(busy).lower()}"
        sweep(
            folder, "experiment=rehearsal", "sampler=random", f"trials={options.scaling_trials}",
            f"workers={workers}", "threads=1", f"fixed={fixed}",
        )  # fmt: skip
        study = load_study(address(f"sqlite:///{folder}/sweeps.db"), "rehearsal")
        trials = study.get_trials()
        starts = [one.datetime_start for one in trials if one.datetime_start]
        ends = [one.datetime_complete for one in trials if one.datetime_complete]
    return 60 * len(ends) / (max(ends) - min(starts)).total_seconds()


def sweep(folder: str, *words: str) -> None:
    command = [sys.executable, "-m", "experiments.sweep", *words]
    subprocess.run(
        command, cwd=folder, env=stores(folder), check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


# --- (c) ------------------------------------------------------------------------------------------


def pruning(options: argparse.Namespace) -> dict[str, Any]:
    """Each seed's studies with and without pruning, of the real space."""
    rows = []
    for seed in range(options.seeds):
        found = {name: studied(name, seed, options) for name in ("none", "asha")}
        rows.append(found)
        print(
            f"seed {seed}: best CRPS {found['none']['best']:.5f} in {found['none']['steps']:.0f} "
            f"steps, with pruning {found['asha']['best']:.5f} in {found['asha']['steps']:.0f}",
            flush=True,
        )
    worse = [row["asha"]["best"] / row["none"]["best"] - 1 for row in rows]
    share = [row["asha"]["steps"] / row["none"]["steps"] for row in rows]
    print(
        f"pruning: {100 * statistics.mean(share):.0f} % of the steps, best CRPS "
        f"{100 * statistics.median(worse):+.2f} % (median of {options.seeds} studies)"
    )
    return {
        "pruning_steps_share": round(statistics.mean(share), 3),
        "pruning_best_crps_change": [round(value, 5) for value in worse],
        "pruning_steps_shares": [round(value, 3) for value in share],
        "pruning_trials": options.study_trials,
        "pruning_max_steps": options.study_steps,
    }


def studied(pruner: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Points drawn at random, so that both studies of a seed try the same ones."""
    from sweeps.findings import Findings
    from sweeps.opening import open_study
    from sweeps.space import Space
    from sweeps.storage import SweepStorage, address
    from sweeps.study import Plan

    every = max(options.study_steps // REPORTS, 1)
    space = Space.load("pretrain")
    fixed = {
        **space.fixed, "data": "sample", "max_steps": options.study_steps,
        "trainer.validate_every": every, "trainer.warmup_steps": every,
        "trainer.checkpoint_every": options.study_steps,
    }  # fmt: skip
    pruned = space.pruner if pruner == "asha" else {"name": pruner}
    plan = Plan(
        experiment="pretrain",
        space=replace(space, fixed=fixed, pruner=pruned, sampler={"name": "random"}),
        trials=options.study_trials,
        seed=seed,
    )
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        try:
            study = open_study(SweepStorage(address("")), "benchmark", plan)
            worked(study)
            findings = Findings.of(study)
        finally:
            os.chdir(here)
    return {"best": float(findings.losses().min()), "steps": findings.steps()[0]}


def worked(study: SweepStudy, kind: type[Worker] | None = None) -> int:
    """All trials of a study, by a worker in this process."""
    from sweeps.leading import Crew, parent_run
    from sweeps.worker import Worker, WorkerSpec

    with parent_run(study, Crew(), {}) as record:
        spec = WorkerSpec(
            storage=study.rdb.uri,
            study=study.study_name,
            tracking=record.uri,
            directory=str(Path.cwd()),
        )
        return (kind or Worker)(spec, study).work()


if __name__ == "__main__":
    main()
