"""Workers on other machines: what is the same for every scheduler, which only runs the jobs.

A job runs the worker's command as a process of its own, with its variables set before Python
starts, and holds the other end of its standard input: when the scheduler kills the job, by time,
preemption or a dead node, the worker's input closes; it puts its trial away and is gone.
"""

from __future__ import annotations

import os
import time
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.cluster_config import ClusterConfig
from sweeps.launcher import Ended, Job, Launcher, collect
from sweeps.worker import WorkerSpec, as_process
from tsfm.errors import ConfigError
from tsfm.tracking import store

if TYPE_CHECKING:
    from sweeps.study import Standing

KILLED = Ended(code=-9)
LONGEST_TOLD = 4000


@dataclass
class ClusterLauncher(Launcher[Job]):
    """Keeps so many jobs of a scheduler at work on a study until it is over.

    Parameters
    ----------
    config
        What is asked of the scheduler.
    pause
        Seconds between looks at the jobs.
    """

    config: ClusterConfig
    pause: float = 5.0

    @abstractmethod
    def start(self, spec: WorkerSpec) -> None:
        """Reach the scheduler.

        Raises
        ------
        ConfigError
            When it is not there.
        """

    @abstractmethod
    def stop(self) -> None:
        """Leave the scheduler."""

    @property
    def remedy(self) -> str:
        return (
            f"see their output in {self.config.logs}; ask for more memory or "
            "minutes with overrides='cluster.memory_gb=… cluster.minutes=…'"
        )

    def run(self, spec: WorkerSpec, workers: int, progress: Callable[[], Standing]) -> None:
        """See :meth:`sweeps.launcher.Launcher.run`."""
        self.check(spec.storage, spec.tracking)
        self.start(spec)
        super().run(spec, workers, progress)

    def wait(self, jobs: list[Job]) -> None:  # noqa: ARG002
        time.sleep(self.pause)

    def see_out(self, jobs: list[Job]) -> None:
        while jobs:
            collect(jobs)
            time.sleep(min(self.pause, 0.2))

    def end(self, jobs: list[Job]) -> None:
        """Cancel them, and leave the scheduler."""
        for job in jobs:
            with suppress(Exception):
                job.cancel()
        while jobs and not all(map(_is_over, jobs)):
            time.sleep(min(self.pause, 0.2))
        self.stop()


def serve(spec: WorkerSpec) -> Ended:
    """What a job does: run the worker's command to its end.

    The worker is one process, not one of a distributed training that Slurm's variables speak of.
    """
    variables = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    process = as_process(spec, variables)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        told = process.stdout.read()
        return Ended(code=process.wait(), told=told[-LONGEST_TOLD:])
    finally:
        process.stdin.close()
        process.wait()


def expect_shared(storage: str, tracking: str) -> None:
    """That workers on other machines reach both stores.

    Raises
    ------
    ConfigError
        When one of them is a file.
    """
    for address, meaning, remedy in (
        (storage, "storage", "give storage=postgresql://user@host/database or mysql://…"),
        (tracking, "MLFLOW_TRACKING_URI", "set it to a server: MLFLOW_TRACKING_URI=http://…"),
    ):
        scheme = address.partition(":")[0]
        if scheme in ("sqlite", "file", ""):
            raise ConfigError(
                "a file cannot be shared by several machines",
                where=f"{meaning}={store.masked(address)}",
                remedy=remedy,
            )


def missing(package: str, extra: str) -> ConfigError:
    return ConfigError(
        f"launcher={extra} needs {package}", remedy=f"pip install 'tsfm-lab[{extra}]'"
    )


def _is_over(job: Job) -> bool:
    try:
        return job.is_done()
    except Exception:
        return True
