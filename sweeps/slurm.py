"""Workers as jobs of Slurm, through submitit."""

from __future__ import annotations

import logging
import math
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sweeps.cluster import KILLED, ClusterLauncher, expect_shared, missing, serve
from sweeps.launcher import Ended, Job
from sweeps.worker import WorkerSpec
from tsfm.errors import ConfigError

LOOKS_WITHOUT = 3
"""After which a job that is no longer in the queue, and left no result, is over: submitit itself
asks sacct, which many small clusters do not have, and would wait for ever."""


@dataclass
class Queue:
    """Slurm's jobs of one name, asked for at most once in ``seconds``."""

    name: str
    seconds: float = 2.0
    _asked: float = -math.inf
    _found: frozenset[str] | None = None

    def holds(self, job_id: str) -> bool:
        """Whether a job waits or runs; yes while Slurm does not answer."""
        if time.monotonic() - self._asked > self.seconds:
            self._asked, self._found = time.monotonic(), self._ask()
        return self._found is None or job_id in self._found

    def _ask(self) -> frozenset[str] | None:
        words = ["squeue", "--noheader", f"--name={self.name}", "--format=%i"]
        try:
            told = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return frozenset(told.stdout.split())


@dataclass
class SlurmLauncher(ClusterLauncher):
    """Each worker is one job of one task; ``squeue --name=sweep-<study>`` shows them."""

    _executor: Any = field(default=None, repr=False)
    _queue: Queue | None = None

    def check(self, storage: str, tracking: str) -> None:
        if find_spec("submitit") is None:
            raise missing("submitit", "slurm")
        if self.config.executor != "slurm":
            return
        if shutil.which("sbatch") is None:
            raise ConfigError(
                "launcher=slurm, but this machine has no sbatch",
                remedy="start the sweep on a machine that submits jobs, or give "
                "overrides=cluster.executor=local to try it here, or launcher=local",
            )
        expect_shared(storage, tracking)

    def start(self, spec: WorkerSpec) -> None:
        import submitit

        logging.getLogger("submitit").setLevel(logging.ERROR)
        os.environ["PYTHONPATH"] = spec.environment()["PYTHONPATH"]  # jobs inherit it
        on_slurm = self.config.executor == "slurm"
        folder = Path(spec.directory) / self.config.logs
        self._executor = submitit.AutoExecutor(folder, cluster=self.config.executor)
        self._queue = Queue(f"sweep-{spec.study}") if on_slurm else None
        self._executor.update_parameters(**self._asked(spec, on_slurm=on_slurm))

    def submit(self, spec: WorkerSpec) -> Job:
        try:
            return _SlurmJob(self._executor.submit(serve, spec), queue=self._queue)
        except Exception as error:
            told = " ".join(str(error).split())
            raise ConfigError(
                f"Slurm refuses the job: {told[-500:]}",
                remedy="correct overrides='cluster.partition=… cluster.options=…'",
            ) from error

    def stop(self) -> None:
        self._executor = None

    def _asked(self, spec: WorkerSpec, *, on_slurm: bool) -> dict[str, Any]:
        """What submitit calls it."""
        config = self.config
        asked: dict[str, Any] = {
            "name": f"sweep-{spec.study}",
            "timeout_min": config.minutes,
            "cpus_per_task": config.cpus or spec.threads,
            "gpus_per_node": config.gpus,
        }
        if config.memory_gb:
            asked["mem_gb"] = config.memory_gb
        if on_slurm:
            more: dict[str, Any] = dict(config.more())
            asked["slurm_use_srun"] = False
            asked["slurm_additional_parameters"] = more
            if config.partition:
                asked["slurm_partition"] = config.partition
            if config.account:
                more["account"] = config.account
        return asked


@dataclass
class _SlurmJob:
    job: Any
    queue: Queue | None
    missed: int = 0

    def is_done(self) -> bool:
        if self.job.done():
            return True
        if self.queue is None or self.queue.holds(self.job.job_id):
            self.missed = 0
            return False
        self.missed += 1
        return self.missed >= LOOKS_WITHOUT

    def ended(self) -> Ended:
        try:
            found: Ended = self.job.result()
        except Exception:  # killed, timed out or preempted: submitit tells by several kinds
            return KILLED
        return found

    def cancel(self) -> None:
        if not self.is_done():
            self.job.cancel(check=False)
