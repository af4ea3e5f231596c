"""How a run begins, who runs it, and how it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from urllib.parse import urlsplit

from tsfm.errors import TrackingError, UserError
from tsfm.tracking import store
from tsfm.tracking.environment import Process, host_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

P, R = ParamSpec("P"), TypeVar("R")

HOST_TAG, PID_TAG, STARTED_TAG = "tsfm.host", "tsfm.pid", "tsfm.process_started"
FAILURE_TAG, RESUMED_INTO_TAG, REAPED_TAG = "failure", "resumed_into", "reaped"
LONGEST_TAG = 5000


class Terminated(SystemExit):
    """SIGTERM, raised where the program stands so that everything can be put away."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


def tells_store_errors(method: Callable[P, R]) -> Callable[P, R]:
    """Turn what the store or a disk refuses into a :class:`TrackingError`."""

    @wraps(method)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return method(*args, **kwargs)
        except (OSError, MlflowException, SQLAlchemyError) as error:
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise TrackingError(
                f"the tracking store refuses what {method.__name__} sends: {why}",
                where=store.masked(os.environ.get("MLFLOW_TRACKING_URI", "")),
                remedy="free disk space or bring the store back, then resume the run",
            ) from error

    return told


def recorded_process(tags: Mapping[str, str]) -> Process | None:
    """The process that a run's tags name."""
    try:
        return Process(
            host=tags[HOST_TAG], pid=int(tags[PID_TAG]), started=float(tags[STARTED_TAG])
        )
    except (KeyError, ValueError):
        return None


def begin(
    client: MlflowClient,
    experiment: str,
    *,
    adopted: str | None,
    resume: str | None,
    run_name: str | None,
) -> Run:
    """The run to report to: made, adopted from ``mlflow run``, or gone on with; now RUNNING.

    On an error nothing is left RUNNING: no run is made, and an adopted one becomes FAILED.

    Raises
    ------
    TrackingError
        When ``resume`` is not there, deleted or still running, or artifacts cannot be written.
    """
    from mlflow.exceptions import MlflowException

    try:
        wanted = resume or adopted
        if wanted is None:
            home = _experiment(client, experiment)
            _check_artifacts(home.artifact_location)
            return client.create_run(home.experiment_id, run_name=run_name)
        run = _existing(client, wanted)
        _refuse_if_running(run)
        _check_artifacts(run.info.artifact_uri)
        if adopted and adopted != wanted:
            end(client, adopted, "FINISHED", {RESUMED_INTO_TAG: wanted})
            client.delete_run(adopted)
        client.update_run(wanted, status="RUNNING", name=None if resume else run_name)
        return client.get_run(wanted)
    except (MlflowException, UserError) as error:
        if adopted:
            end(client, adopted, "FAILED", {FAILURE_TAG: str(error)})
        if isinstance(error, UserError):
            raise
        raise TrackingError(
            f"the run cannot be started: {error.message}", where=store.masked(client.tracking_uri)
        ) from error


def end(client: MlflowClient, run_id: str, status: str, tags: Mapping[str, str]) -> None:
    """Set the last tags and the status; the status even when the tags cannot be set."""
    try:
        for key, value in tags.items():
            client.set_tag(run_id, key, value[:LONGEST_TAG])
    finally:
        client.set_terminated(run_id, status)


def ending(error: BaseException | None) -> str:
    """The status of a run that an exception, or none, brings to its end."""
    if error is None:
        return "FINISHED"
    by_lightning = type(error).__name__ == "SIGTERMException"
    if by_lightning or isinstance(error, (KeyboardInterrupt, Terminated)):
        return "KILLED"
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return "FINISHED"
    return "FAILED"


def reason(error: BaseException) -> str:
    """One line about what went wrong."""
    if isinstance(error, UserError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def opening_tags(entry_point: str, parent: str | None) -> dict[str, str]:
    """Who started the run, in which process; MLflow's own tags included."""
    from mlflow.tracking.context.registry import resolve_tags

    process = Process.current()
    tags = {key: value for key, value in resolve_tags().items() if ".git." not in key}
    tags |= {
        "tsfm.entry_point": entry_point,
        HOST_TAG: process.host,
        PID_TAG: str(process.pid),
        STARTED_TAG: repr(process.started),
    }
    return tags | ({"mlflow.parentRunId": parent} if parent else {})


def raise_terminated(_signal: int, _frame: FrameType | None) -> None:
    """A handler for SIGTERM."""
    raise Terminated


def _existing(client: MlflowClient, run_id: str) -> Run:
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise TrackingError(
            f"there is no run {run_id}",
            where=store.masked(client.tracking_uri),
            remedy="give the id that the MLflow UI shows for the run",
        ) from error
    if run.info.lifecycle_stage != "active":
        raise TrackingError(f"run {run_id} is deleted", remedy=f"`mlflow runs restore {run_id}`")
    return run


def _refuse_if_running(run: Run) -> None:
    process = recorded_process(run.data.tags)
    if run.info.status != "RUNNING" or process is None or process == Process.current():
        return
    if process.host == host_name() and process.is_alive():
        raise TrackingError(
            f"run {run.info.run_id} is still running in process {process.pid}",
            remedy="wait for its end, or stop that process first",
        )


def _experiment(client: MlflowClient, name: str) -> Experiment:
    from mlflow.exceptions import MlflowException

    chosen = os.environ.get("MLFLOW_EXPERIMENT_ID")
    if chosen:
        return client.get_experiment(chosen)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or name
    found = client.get_experiment_by_name(name)
    if found is None:
        with suppress(MlflowException):
            client.create_experiment(name)
        found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":
        raise TrackingError(
            f"the experiment {name!r} is deleted or cannot be made",
            where=store.masked(client.tracking_uri),
            remedy="`mlflow experiments restore`, or choose another name by MLFLOW_EXPERIMENT_NAME",
        )
    return found


def _check_artifacts(uri: str) -> None:
    local = uri.removeprefix("file://")
    if urlsplit(local).scheme == "":
        store.probe_directory(Path(local), purpose="the artifact folder")
