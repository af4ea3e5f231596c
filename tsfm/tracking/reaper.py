"""Runs left RUNNING by processes that are gone are ended as FAILED, with the reason."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tsfm.tracking import store
from tsfm.tracking.environment import host_name, user_name
from tsfm.tracking.lifecycle import (
    FAILURE_TAG,
    REAPED_TAG,
    end,
    recorded_process,
    tells_store_errors,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

ORPHAN_AGE = 3600.0
EXPERIMENTS_AT_ONCE = 100


@tells_store_errors
def reap(uri: str | None = None, *, orphan_age: float = ORPHAN_AGE) -> tuple[str, ...]:
    """End the runs of this host whose process no longer exists.

    Two kinds are ended: runs whose tags name a process of this host that is gone, and runs that
    ``mlflow run`` made of this working copy but whose program never reported in (its environment
    failed to install, it was killed early), once they are ``orphan_age`` seconds old and no process
    carries their id. Runs of other hosts, other users, other programs and living processes are
    never touched.

    Parameters
    ----------
    uri
        As for :func:`tsfm.tracking.store.connect`.
    orphan_age
        Seconds for which a run made by ``mlflow run`` may stay without its program.

    Returns
    -------
    tuple of str
        Ids of the runs that were ended.

    Raises
    ------
    TrackingError
        When the store cannot be used.
    """
    uri = store.connect(uri)
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    adopted_by_living = {os.environ.get("MLFLOW_RUN_ID"), *_ids_carried_by_processes()}
    reaped = []
    for run in _running(client):
        why = _reason_to_end(run, orphan_age)
        if why is None or run.info.run_id in adopted_by_living:
            continue
        if client.get_run(run.info.run_id).info.status == "RUNNING":
            end(client, run.info.run_id, "FAILED", {FAILURE_TAG: why, REAPED_TAG: "true"})
            reaped.append(run.info.run_id)
    return tuple(reaped)


def _reason_to_end(run: Run, orphan_age: float) -> str | None:
    process = recorded_process(run.data.tags)
    if process is not None:
        if process.host != host_name() or process.is_alive():
            return None
        return f"process {process.pid} on {process.host} is gone (killed, or the machine restarted)"
    tags = run.data.tags
    launched = "mlflow.project.entryPoint" in tags and tags.get("mlflow.user") == user_name()
    is_old = time.time() - run.info.start_time / 1000 > orphan_age
    if launched and is_old and _is_this_project(tags.get("mlflow.source.name", "")):
        return "mlflow run made this run, but its program never started"
    return None


def _is_this_project(source: str) -> bool:
    """Whether ``mlflow run``'s source (a path or ``file://repository#folder``) is this project."""
    repository, _, folder = source.removeprefix("file://").partition("#")
    path = Path(repository, folder.strip("/"))
    return path in (Path.cwd(), Path(__file__).resolve().parents[2])


def _running(client: MlflowClient) -> list[Run]:
    ids: list[str] = []
    token = None
    while token is None or token:
        page = client.search_experiments(page_token=token)
        ids += [experiment.experiment_id for experiment in page]
        token = page.token or ""
    runs: list[Run] = []
    for first in range(0, len(ids), EXPERIMENTS_AT_ONCE):
        token = None
        while token is None or token:
            some = ids[first : first + EXPERIMENTS_AT_ONCE]
            found = client.search_runs(some, "attributes.status = 'RUNNING'", page_token=token)
            runs += found
            token = found.token or ""
    return runs


def _ids_carried_by_processes() -> set[str]:
    """``MLFLOW_RUN_ID`` of every living process of this user."""
    found = set()
    for process in psutil.process_iter():
        try:
            found.add(process.environ().get("MLFLOW_RUN_ID", ""))
        except (psutil.Error, OSError):
            continue
    return found
