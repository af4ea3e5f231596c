"""What a cluster is asked for, per worker."""

from __future__ import annotations

from dataclasses import dataclass

from tsfm.errors import ConfigError, one_of

EXECUTORS = ("slurm", "local")


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Resources of one worker of the launchers ``slurm`` and ``ray``.

    Attributes
    ----------
    partition, account
        Of Slurm; empty: its defaults.
    minutes
        After which Slurm ends a worker; its trial is then tried again by another.
    cpus
        Cores; 0: as many as it has threads.
    gpus
        Graphics cards.
    memory_gb
        Gigabytes; 0: the cluster's default.
    options
        More options of sbatch: ``"constraint=a100,qos=long"``.
    logs
        Folder for the jobs' output; all machines must see it.
    executor
        ``slurm``, or ``local``: the same jobs on this machine, to try a launch without Slurm.
    address
        Of a Ray cluster; empty: ``RAY_ADDRESS``, or else Ray on this machine.
    """

    partition: str = ""
    account: str = ""
    minutes: int = 1440
    cpus: int = 0
    gpus: int = 0
    memory_gb: float = 0.0
    options: str = ""
    logs: str = "outputs/sweeps/jobs"
    executor: str = "slurm"
    address: str = ""

    def __post_init__(self) -> None:
        one_of("cluster.executor", self.executor, EXECUTORS)
        least = {"minutes": 1, "cpus": 0, "gpus": 0, "memory_gb": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ConfigError(
                    f"cluster.{name}={getattr(self, name)}", remedy=f"give at least {low}"
                )
        self.more()

    def more(self) -> dict[str, str]:
        """``options`` as a mapping."""
        words = [word.strip() for word in self.options.split(",") if word.strip()]
        for word in words:
            if "=" not in word:
                raise ConfigError(f"cluster.options has {word!r}", remedy="write name=value,…")
        return dict(word.split("=", 1) for word in words)
