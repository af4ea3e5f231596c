"""Launchers of clusters: the same worker as a job, told errors, nothing left behind."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field

import psutil
import pytest
from support.sweeps import plan_of, study_of

from sweeps.cluster import ClusterLauncher, expect_shared
from sweeps.cluster_config import ClusterConfig
from sweeps.launcher import Ended, launcher_of
from sweeps.ray_cluster import RayLauncher
from sweeps.slurm import SlurmLauncher
from sweeps.storage import StorageLostError
from sweeps.study import Standing, SweepStudy
from sweeps.worker import WorkerSpec
from tsfm.errors import ConfigError, TrackingError

POSTGRES, SERVER, FILE = "postgresql://me@db/x", "http://tracking:5000", "sqlite:////tmp/s.db"


def spec_of(study: SweepStudy, tracking: str, directory: str) -> WorkerSpec:
    return WorkerSpec(
        storage=study.rdb.uri, study=study.study_name, tracking=tracking, directory=directory
    )


@dataclass
class ScriptedJob:
    """Ends as told, after so many looks."""

    end: Ended
    looks: int = 1
    cancelled: bool = False

    def is_done(self) -> bool:
        self.looks -= 1
        return self.cancelled or self.looks < 0

    def ended(self) -> Ended:
        return self.end

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class ScriptedLauncher(ClusterLauncher):
    """A scheduler that ends each job as told, in order."""

    ends: list[Ended] = field(default_factory=list)
    jobs: list[ScriptedJob] = field(default_factory=list)
    stopped: bool = False

    def check(self, storage: str, tracking: str) -> None: ...

    def start(self, spec: WorkerSpec) -> None: ...

    def submit(self, spec: WorkerSpec) -> ScriptedJob:
        end = self.ends.pop(0) if self.ends else Ended(code=0)
        self.jobs.append(ScriptedJob(end, looks=0 if end.code else 3))
        return self.jobs[-1]

    def stop(self) -> None:
        self.stopped = True


SPEC = WorkerSpec(storage=POSTGRES, study="s", tracking=SERVER, directory=".")


def led(ends: list[Ended], standings: list[Standing], workers: int = 2) -> ScriptedLauncher:
    launcher = ScriptedLauncher(ClusterConfig(), pause=0.0, ends=ends)
    last = standings[-1]
    launcher.run(SPEC, workers, lambda: standings.pop(0) if standings else last)
    return launcher


def test_no_more_jobs_are_started_than_trials_are_left():
    launcher = led([], [Standing(left=1), Standing(running=1), Standing(complete=1)], workers=4)
    assert len(launcher.jobs) == 1
    assert launcher.stopped


def test_a_job_that_the_scheduler_killed_is_replaced():
    standings = [Standing(left=3)] * 4 + [Standing(complete=3)]
    launcher = led([Ended(code=-9)], standings, workers=1)
    assert len(launcher.jobs) == 2


def test_jobs_that_keep_dying_end_the_sweep_and_leave_none_running():
    with pytest.raises(TrackingError, match=r"died one after the other.*cluster\.memory_gb"):
        led([Ended(code=-9)] * 9, [Standing(left=9)])


def test_what_a_worker_tells_ends_the_sweep_and_cancels_the_others():
    told = Ended(code=2, told='noise\n{"error": "everything fails alike", "exit": 2}\n')
    launcher = ScriptedLauncher(ClusterConfig(), pause=0.0, ends=[told, Ended(code=0)])
    with pytest.raises(ConfigError, match="everything fails alike"):
        launcher.run(SPEC, 2, lambda: Standing(left=2))
    assert launcher.jobs[1].cancelled
    assert launcher.stopped


def test_ctrl_c_cancels_every_job():
    launcher = ScriptedLauncher(ClusterConfig(), pause=0.0)
    looks = iter([Standing(left=2)])

    def interrupted() -> Standing:
        found = next(looks, None)
        if found is None and not launcher.stopped:
            raise KeyboardInterrupt
        return found or Standing(left=2)

    with pytest.raises(KeyboardInterrupt):
        launcher.run(SPEC, 2, interrupted)
    assert all(job.cancelled for job in launcher.jobs)


def test_a_lost_storage_is_not_waited_for_again():
    looks: list[int] = []

    def lost() -> Standing:
        looks.append(1)
        if len(looks) == 1:
            return Standing(left=2)
        raise StorageLostError("the storage is gone")

    launcher = ScriptedLauncher(ClusterConfig(), pause=0.0)
    with pytest.raises(StorageLostError):
        launcher.run(SPEC, 2, lost)
    assert len(looks) == 2
    assert launcher.stopped
    assert all(job.cancelled for job in launcher.jobs)


@pytest.mark.parametrize(
    ("storage", "tracking", "told"),
    [
        (FILE, SERVER, r"storage=sqlite.*storage=postgresql://"),
        (POSTGRES, FILE, r"MLFLOW_TRACKING_URI=sqlite.*http://"),
        (POSTGRES, "file:///tmp/mlruns", r"MLFLOW_TRACKING_URI=file"),
    ],
)
def test_files_are_refused_where_several_machines_would_share_them(storage, tracking, told):
    with pytest.raises(ConfigError, match=told):
        expect_shared(storage, tracking)


def test_databases_and_servers_are_shared():
    expect_shared(POSTGRES, SERVER)
    expect_shared("mysql://me@db/x", POSTGRES)


def test_a_machine_without_slurm_is_told_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"no sbatch.*cluster\.executor=local"):
        launcher_of("slurm", ClusterConfig()).check(POSTGRES, SERVER)


def test_slurm_refuses_a_file_as_storage(monkeypatch, tmp_path):
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\n")
    sbatch.chmod(sbatch.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="a file cannot be shared by several machines"):
        launcher_of("slurm", ClusterConfig()).check(FILE, SERVER)


@pytest.mark.parametrize(("name", "package"), [("slurm", "submitit"), ("ray", "ray")])
def test_a_missing_package_is_told_with_its_extra(monkeypatch, name, package):
    monkeypatch.setattr(f"sweeps.{'slurm' if name == 'slurm' else 'ray_cluster'}.find_spec",
                        lambda _: None)  # fmt: skip
    with pytest.raises(ConfigError, match=rf"needs {package}.*tsfm-lab\[{name}\]"):
        launcher_of(name, ClusterConfig()).check(POSTGRES, SERVER)


def test_what_is_asked_of_slurm():
    config = ClusterConfig(
        partition="gpu", account="lab", minutes=90, gpus=1, memory_gb=8, options="qos=long"
    )
    asked = SlurmLauncher(config)._asked(SPEC, on_slurm=True)
    assert asked["slurm_partition"] == "gpu"
    assert asked["slurm_additional_parameters"] == {"qos": "long", "account": "lab"}
    assert (asked["timeout_min"], asked["gpus_per_node"], asked["mem_gb"]) == (90, 1, 8)
    assert asked["cpus_per_task"] == SPEC.threads


@pytest.mark.parametrize(
    "values", [{"executor": "pbs"}, {"minutes": 0}, {"gpus": -1}, {"options": "qos"}]
)
def test_nonsense_is_refused(values):
    with pytest.raises(ConfigError):
        ClusterConfig(**values)


@pytest.mark.slow
def test_jobs_of_submitit_bring_a_study_to_its_end(home):
    pytest.importorskip("submitit")
    study = study_of(plan_of(trials=5))
    finished(study, SlurmLauncher(ClusterConfig(executor="local"), pause=0.2), home)


@pytest.mark.slow
def test_tasks_of_ray_bring_a_study_to_its_end(home, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    study = study_of(plan_of(trials=5))
    finished(study, RayLauncher(ClusterConfig(), pause=0.2), home)


@pytest.mark.slow
def test_ray_refuses_a_worker_larger_than_any_machine(home):
    pytest.importorskip("ray")
    study = study_of(plan_of(trials=1))
    with pytest.raises(ConfigError, match="9999 CPU, the largest machine has"):
        finished(study, RayLauncher(ClusterConfig(cpus=9999), pause=0.2), home)


def finished(study: SweepStudy, launcher: ClusterLauncher, home) -> None:
    """Run the study by two workers; all trials are complete and no job is left."""
    from sweeps.leading import Crew, Leader, parent_run

    with parent_run(study, Crew(), {}) as record:
        spec = spec_of(study, record.uri, str(home))
        launcher.run(spec, 2, Leader(study, record).progress)
    assert study.standing().complete == 5
    left = psutil.Process().children(recursive=True)
    assert not [one for one in left if "sweeps.worker" in " ".join(one.cmdline())]
