"""A worker: takes trials of a study, one after the other, until none is left.

Started by a launcher (``sweeps.pool``, Slurm, Ray, by hand) with nothing but a :class:`WorkerSpec`:
all else is in the study. ``python -m sweeps.worker`` reads one as a line of JSON from its standard
input, and ends when that is closed: no worker outlives its launcher.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm.errors import ConfigError, TrackingError, UserError

if TYPE_CHECKING:
    import optuna

    from sweeps.recipe import Outcome
    from sweeps.study import SweepStudy, Taken
    from tsfm.tracking.sweep_record import TrialRun

SECONDS_TO_PUT_AWAY = 20.0
FAILURES_IN_A_ROW = 5
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class WorkerSpec:
    """What a worker is told; plain values, to be pickled or written as JSON.

    Attributes
    ----------
    storage, study
        Address and name.
    tracking
        Address of the MLflow store.
    directory
        Working directory: where ``outputs/`` are.
    threads
        Cores of its own.
    heartbeat, grace
        Seconds between signs of life, and without one until its trial is another's.
    """

    storage: str
    study: str
    tracking: str
    directory: str
    threads: int = 1
    heartbeat: int = 10
    grace: int = 60

    def environment(self) -> dict[str, str]:
        """Variables that must be set before Python starts."""
        return {name: str(self.threads) for name in THREAD_VARIABLES} | {
            "MLFLOW_TRACKING_URI": self.tracking,
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
            ).rstrip(os.pathsep),
        }


def work(spec: WorkerSpec) -> int:
    """Take trials until none is left.

    Returns
    -------
    int
        Trials that this worker brought to an end.

    Raises
    ------
    UserError
        When the storage or the tracking store is lost, or everything fails alike.
    """
    os.chdir(spec.directory)
    os.environ.update(spec.environment())
    for name in ("MLFLOW_RUN_ID", "TSFM_RUN_ID"):
        os.environ.pop(name, None)
    from sweeps.opening import load_study

    study = load_study(spec.storage, spec.study, heartbeat=spec.heartbeat, grace=spec.grace)
    return Worker(spec, study).work()


class Worker:
    """One process's share of a study."""

    def __init__(self, spec: WorkerSpec, study: SweepStudy) -> None:
        from sweeps.pulse import Shield
        from sweeps.recipe import Cache, recipe_of
        from sweeps.study import PARENT
        from tsfm.tracking.experiment import OUTPUTS
        from tsfm.tracking.sweep_record import Parent

        self.spec, self.study, self.plan = spec, study, study.plan
        self.parent = Parent(spec.tracking, study.user_attrs[PARENT], study.study_name)
        self.recipe = recipe_of(self.plan.experiment)
        self.cache = Cache(OUTPUTS / "sweeps" / study.study_name)
        self.shield = Shield()
        self._failures = 0
        self._discarded: set[int] = set()

    def work(self) -> int:
        """Take trials until none is left; how many came to an end here."""
        from sweeps.pulse import Pulse
        from sweeps.study import SweepOverError
        from tsfm.tracking.lifecycle import ending

        done = 0
        with Pulse(self.study.rdb, self.spec.heartbeat) as pulse:
            while True:
                if pulse.is_time():
                    self.study.recover()
                try:
                    taken = self.study.take()
                except SweepOverError:
                    return done
                with pulse.of(taken.trial._trial_id):
                    try:
                        self.attempt(taken)
                    except BaseException as error:
                        if ending(error) == "KILLED":
                            self.study.hand_back(taken.trial)
                        raise
                done += 1

    def attempt(self, taken: Taken) -> None:
        """One trial, from its run to its end in study and store."""
        from optuna import TrialPruned
        from optuna.exceptions import UpdateFinishedTrialError

        from sweeps.study import RUN_ID
        from tsfm.tracking.lifecycle import ending

        watcher = Watcher(self.study, taken.trial)
        with self.shield:
            record = self.parent.begin(taken.trial.number, taken.point, watcher)
            taken.trial.set_user_attr(RUN_ID, record.run_id)
        try:
            outcome = self._trained(taken, record)
        except TrialPruned:
            with self.shield:
                self._tell(taken, record, "PRUNED", why=f"at validation {watcher.reports}")
            self._failures = 0
        except UpdateFinishedTrialError:
            record.finish("KILLED", {}, why="another worker took it for dead")
        except TrackingError:
            with suppress(Exception):
                record.finish("KILLED", {}, why="the storage was lost")
            raise
        except BaseException as error:
            if ending(error) == "KILLED":
                record.finish("KILLED", {}, why="interrupted; it is tried again")
                raise
            self._fail(taken, record, error)
        else:
            with self.shield:
                self._complete(taken, record, outcome)

    def _fail(self, taken: Taken, record: TrialRun, error: BaseException) -> None:
        from tsfm.tracking.lifecycle import reason

        with self.shield:
            record.log_text("".join(traceback.format_exception(error)), "failure.txt")
            self._tell(taken, record, "FAIL", why=reason(error))
        self._expect_sense(error)

    def _trained(self, taken: Taken, record: TrialRun) -> Outcome:
        """What the recipe gives, from a state that no earlier trial has touched."""
        seed = int(getattr(taken.config, "seed", 0))
        reset(self.spec.threads, seed, torch_too=self.recipe.uses_torch)
        record.log_config(self._described(taken.config))
        return self.recipe.run(taken.config, record, self.cache)

    def _described(self, config: Any) -> Any:
        from experiments.config import described

        return described(config) if hasattr(config, "model") else config

    def _complete(self, taken: Taken, record: TrialRun, outcome: Outcome) -> None:
        from sweeps.study import KEPT, METRICS

        try:
            values = self._values(outcome)
        except (ArithmeticError, ConfigError) as error:
            self._fail(taken, record, error)
            return
        self._failures = 0
        if outcome.model is not None and self.study.is_best(values):
            record.keep(outcome.model)
            taken.trial.set_user_attr(KEPT, True)
            is_kept = True
        else:
            is_kept = False
        taken.trial.set_user_attr(METRICS, dict(outcome.metrics))
        self._tell(taken, record, "COMPLETE", values=values, outcome=outcome)
        if is_kept:
            self.discard()

    def _values(self, outcome: Outcome) -> list[float]:
        names = [one.metric for one in self.plan.space.objectives]
        missing = [name for name in names if name not in outcome.metrics]
        if missing:
            raise ConfigError(
                f"{self.plan.experiment} measures no {', '.join(missing)}",
                remedy=f"choose objectives from {', '.join(outcome.metrics)}",
            )
        values = [float(outcome.metrics[name]) for name in names]
        for name, value in zip(names, values, strict=True):
            if not math.isfinite(value):
                raise ArithmeticError(f"{name} is {value}")
        return values

    def _tell(
        self,
        taken: Taken,
        record: TrialRun,
        state: str,
        *,
        values: list[float] | None = None,
        outcome: Outcome | None = None,
        why: str = "",
    ) -> None:
        """The study first: what it knows decides, and its leader mends the run."""
        from optuna.trial import TrialState

        from sweeps.study import FAILURE

        if state == "FAIL":
            taken.trial.set_user_attr(FAILURE, why[:2000])
        try:
            self.study.tell(taken.trial, values, state=TrialState[state])
        except ValueError:  # not RUNNING any more
            record.finish("KILLED", {}, why="another worker took it for dead")
            return
        final: Mapping[str, float] = outcome.metrics if outcome else {}
        record.finish(state, final, step=outcome.steps if outcome else 0, why=why)

    def discard(self) -> None:
        """Remove checkpoints of trials that are not the best any more."""
        from sweeps.study import RUN_ID

        for one in self.study.superseded():
            if one.number not in self._discarded:
                self.parent.discard(one.user_attrs[RUN_ID])
                self._discarded.add(one.number)

    def _expect_sense(self, error: BaseException) -> None:
        """Stop where every trial fails: the next one would as well."""
        self._failures += 1
        if self._failures < FAILURES_IN_A_ROW:
            return
        raise ConfigError(
            f"{self._failures} trials in a row failed, the last one by "
            f"{type(error).__name__}: {error}",
            where=f"study {self.study.study_name}",
            remedy="see failure.txt of their runs; correct space or fixed parameters",
        ) from error


class Watcher:
    """Sees all that a trial's training reports; feeds the pruner, which may end the trial."""

    def __init__(self, study: SweepStudy, trial: optuna.Trial) -> None:
        self.study, self.trial, self.reports = study, trial, 0
        objectives = study.plan.space.objectives
        self.metric = objectives[0].metric if len(objectives) == 1 else None

    def __call__(self, metrics: Mapping[str, float], _step: int) -> None:
        """Report the objective, where it is among them.

        Raises
        ------
        optuna.TrialPruned
            When the trial is not worth going on with.
        """
        from optuna import TrialPruned

        if self.metric is None or self.metric not in metrics:
            return
        self.reports += 1
        self.trial.report(float(metrics[self.metric]), self.reports)
        if self.study.is_hopeless(self.trial):
            raise TrialPruned


def reset(threads: int, seed: int, *, torch_too: bool = True) -> None:
    """Generators and threads as in a new process."""
    import random

    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    if torch_too:
        import torch

        torch.manual_seed(seed)
        torch.set_num_threads(threads)


def main() -> None:
    """Read a specification, and work by it until done or until standard input is closed."""
    spec = WorkerSpec(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_follow_launcher, daemon=True).start()
    launcher = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print is for people
    from tsfm.tracking.lifecycle import raise_terminated

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, raise_terminated)
    try:
        work(spec)
    except UserError as error:
        told = {"error": str(error), "exit": error.exit_code}
        print(json.dumps(told), file=launcher, flush=True)
        sys.exit(error.exit_code)


def _follow_launcher() -> None:
    """When the launcher is gone: put the trial away, and be gone as well."""
    while sys.stdin.readline():
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(SECONDS_TO_PUT_AWAY)
    os._exit(1)


def as_process(
    spec: WorkerSpec, variables: Mapping[str, str], *, own_session: bool = False
) -> subprocess.Popen[str]:
    """A new process at :func:`main`; it works while its standard input is held open.

    Parameters
    ----------
    variables
        Of its environment, besides the specification's own.
    own_session
        Whether a Ctrl-C at its launcher's terminal passes it by.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "sweeps.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=spec.directory,
        env={**variables, **spec.environment()},
        text=True,
        start_new_session=own_session,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(spec)) + "\n")
    process.stdin.flush()
    return process


if __name__ == "__main__":
    main()
