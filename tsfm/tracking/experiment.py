"""One experiment: its run opened, described and closed, with a directory for its checkpoints."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm.errors import CheckpointError
from tsfm.tracking import store
from tsfm.tracking.reaper import reap
from tsfm.tracking.runs import MlflowRun, artifact
from tsfm.training.logger import NullLogger

if TYPE_CHECKING:
    from tsfm.data.panel import Panel

OUTPUTS = Path("outputs")
RUN_OF_GROUP = "TSFM_RUN_ID"
RESUMED_TAG = "tsfm.resumed"
"""How often a run was gone on with."""


class SilentRun(NullLogger):
    """The run as the other processes of distributed training know it: nothing to report.

    Lightning, torchrun or SLURM starts them with the first one's command, so each comes through the
    whole experiment.

    Parameters
    ----------
    directory
        The run's, or a passing one where its id is not known: only the first process writes
        checkpoints.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def log_panel(self, panel: Panel, role: str) -> None: ...


@contextmanager
def open_experiment(
    name: str, config: Any, *, entry_point: str, seed: int, resume: str = ""
) -> Iterator[MlflowRun | SilentRun]:
    """A run with its config and environment on record, after clearing away runs that died.

    Only the first process of distributed training has it; the others train with it, silently.

    Parameters
    ----------
    name
        Of the MLflow experiment.
    config
        A dataclass or plain values; recorded whole.
    resume
        Id of an interrupted run to go on with; empty for a new one.

    Raises
    ------
    TrackingError
        When the tracking store cannot be used.
    CheckpointError
        When the run to resume left no checkpoints on this machine, or none can be written.
    """
    if not is_first_process():
        _expect_resumable(resume)
        run_id = os.environ.get(RUN_OF_GROUP) or resume
        with tempfile.TemporaryDirectory() as passing:
            yield SilentRun(OUTPUTS / run_id if run_id else Path(passing))
        return
    uri = store.connect()
    _expect_writable(OUTPUTS)
    _expect_resumable(resume)
    reap(uri)
    with MlflowRun.start(name, entry_point=entry_point, resume=resume or None, uri=uri) as record:
        if resume:
            times = int(record.client.get_run(resume).data.tags.get(RESUMED_TAG, 0))
            record.set_tags({RESUMED_TAG: str(times + 1)})
        else:
            record.log_config(config)
        record.log_environment(seed=seed)
        output_directory(record).mkdir(parents=True, exist_ok=True)
        os.environ[RUN_OF_GROUP] = record.run_id
        try:
            yield record
        finally:
            del os.environ[RUN_OF_GROUP]


@contextmanager
def open_part(
    record: MlflowRun | SilentRun,
    name: str,
    config: Any,
    *,
    entry_point: str,
    tags: Mapping[str, str],
) -> Iterator[MlflowRun | SilentRun]:
    """A run under an experiment's own: one arm, one seed of several.

    Its checkpoints belong in :func:`part_directory`. Where the experiment is gone on with, so is
    the part of this name, if it had begun.

    Parameters
    ----------
    name
        Of the part within the experiment.
    config
        Of the part; recorded whole.

    Raises
    ------
    TrackingError
        When the tracking store cannot be used.
    """
    if isinstance(record, SilentRun):
        yield SilentRun(part_directory(record, name))
        return
    if record.is_whole:
        yield record
        return
    earlier = record.part(name)
    with MlflowRun.start(
        record.experiment,
        entry_point=entry_point,
        run_name=name,
        tags=tags,
        resume=earlier,
        parent=record.run_id,
        uri=record.uri,
    ) as part:
        if earlier is None:
            part.log_config(config)
        yield part


def part_directory(record: MlflowRun | SilentRun, name: str) -> Path:
    """Where a part of an experiment keeps its checkpoints: ``outputs/<run id>/<name>``."""
    return output_directory(record) / name


def is_first_process() -> bool:
    """Whether this process is the first of all nodes.

    Under torchrun ``RANK`` counts them all. Otherwise nodes and processes are counted by those who
    started them: Lightning, SLURM, or whoever set ``NODE_RANK`` on each node.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return os.environ.get("RANK", "0") == "0"
    ranks = ("RANK", "NODE_RANK", "GROUP_RANK", "LOCAL_RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0") == "0" for name in ranks)


def _expect_resumable(run_id: str) -> None:
    if run_id and not (OUTPUTS / run_id).is_dir():
        raise CheckpointError(
            f"run {run_id} left no checkpoints here",
            where=str((OUTPUTS / run_id).resolve()),
            remedy="resume it in the directory where it ran; every machine that trains must see it",
        )


def _expect_writable(directory: Path) -> None:
    try:
        directory.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return
    except OSError as error:
        raise CheckpointError(
            f"checkpoints cannot be written: {error.strerror}",
            where=str(directory.absolute()),
            remedy="make the folder writable, or work in another directory",
        ) from error


def output_directory(record: MlflowRun | SilentRun) -> Path:
    """Where a run keeps its checkpoints: ``outputs/<run id>``."""
    return record.directory if isinstance(record, SilentRun) else OUTPUTS / record.run_id


def stored_file(run_id: str, path: str) -> Path:
    """A file among the artifacts of an earlier run.

    Raises
    ------
    TrackingError
        When the store cannot be used, or the run or the file is not there.
    """
    uri = store.connect()
    from mlflow import MlflowClient

    return artifact(MlflowClient(tracking_uri=uri), run_id, path)
