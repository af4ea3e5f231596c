"""Workers as jobs of Slurm, through submitit."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sweeps.cluster import ClusterLauncher, Ended, Job, expect_shared, missing, serve
from sweeps.worker import WorkerSpec
from tsfm.errors import ConfigError

KILLED = Ended(code=-9, told="")


@dataclass
class SlurmLauncher(ClusterLauncher):
    """Each worker is one job of one task; ``squeue --name=sweep-<study>`` shows them."""

    _executor: Any = field(default=None, repr=False)

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

        on_slurm = self.config.executor == "slurm"
        folder = Path(spec.directory) / self.config.logs
        self._executor = submitit.AutoExecutor(folder, cluster=self.config.executor)
        self._executor.update_parameters(**self._asked(spec, on_slurm=on_slurm))

    def submit(self, spec: WorkerSpec) -> Job:
        try:
            return _SlurmJob(self._executor.submit(serve, spec))
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

    def is_done(self) -> bool:
        return bool(self.job.done())

    def ended(self) -> Ended:
        try:
            found: Ended = self.job.result()
        except Exception:  # killed, timed out or preempted: submitit tells by several kinds
            return KILLED
        return found

    def cancel(self) -> None:
        if not self.is_done():
            self.job.cancel(check=False)
