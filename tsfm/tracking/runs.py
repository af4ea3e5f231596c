"""One MLflow run: begun, reported to in batches, and always brought to an end.

``with MlflowRun.start("pretrain", entry_point="pretrain") as run: ...`` ends FINISHED, FAILED (with
the reason as the tag ``failure``) or KILLED; a process that dies unseen is found by
:func:`tsfm.tracking.reaper.reap`.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tsfm.errors import TrackingError, UserError, one_of
from tsfm.tracking import store
from tsfm.tracking.environment import Environment, describe
from tsfm.tracking.lifecycle import (
    FAILURE_TAG,
    LONGEST_TAG,
    REAPED_TAG,
    begin,
    end,
    ending,
    opening_tags,
    raise_terminated,
    reason,
    tells_store_errors,
)
from tsfm.tracking.metrics import MetricBuffer
from tsfm.tracking.parameters import as_yaml, flatten

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from tsfm.data.panel import Panel

ROLES = ("train", "validation", "test", "forecast")
ROWS_IN_HTML = 1000

_IMAGE = re.compile(r"images/(?P<key>.+)\+step\+(?P<step>\d+)\+timestamp\+.*\.png")


class MlflowRun:
    """A run of the tracking store; implements :class:`tsfm.training.logger.RunLogger`.

    Made by :meth:`start`, used as a context manager.
    """

    is_whole = False
    """Whether parts of an experiment report to it rather than to runs of their own."""

    def __init__(self, client: MlflowClient, run: Run, uri: str) -> None:
        self.client, self.uri = client, uri
        self.run_id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        self.name: str = run.info.run_name
        latest = {metric.key: metric.step for metric in run.data.to_proto().metrics}
        self._metrics = MetricBuffer(client, self.run_id, latest)
        self._params: dict[str, str] = dict(run.data.params)
        self._pictured = _logged_images(client, self.run_id) if latest else {}
        self._sigterm: Any = None

    @classmethod
    def start(
        cls,
        experiment: str,
        *,
        entry_point: str,
        run_name: str | None = None,
        tags: Mapping[str, str] | None = None,
        resume: str | None = None,
        parent: str | None = None,
        uri: str | None = None,
    ) -> Self:
        """Begin a run, adopt the one that ``mlflow run`` made, or go on with ``resume``.

        Parameters
        ----------
        experiment
            Its name; made when it does not exist. An adopted run stays in its own.
        resume
            Id of the run to go on with; a run adopted from ``mlflow run`` is then tagged
            ``resumed_into`` and deleted.
        parent
            Id of the run to be shown under; such a run never adopts ``MLFLOW_RUN_ID``.
        uri
            As for :func:`tsfm.tracking.store.connect`.

        Raises
        ------
        TrackingError
            When the store cannot be used, or ``resume`` is not there or is still running.
        """
        uri = store.connect(uri)
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri)
        adopted = None if parent else os.environ.pop("MLFLOW_RUN_ID", None)
        run = begin(client, experiment, adopted=adopted, resume=resume, run_name=run_name)
        started = cls(client, run, uri)
        kept = {key: tag for key, tag in run.data.tags.items() if key.startswith("mlflow.")}
        started.set_tags(opening_tags(entry_point, parent) | kept | dict(tags or {}))
        for outdated in {FAILURE_TAG, REAPED_TAG} & set(run.data.tags):
            client.delete_tag(run.info.run_id, outdated)
        return started

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._sigterm = signal.signal(signal.SIGTERM, raise_terminated)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._sigterm is not None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            problem = self._finish(error)
        finally:
            if self._sigterm is not None:
                signal.signal(signal.SIGTERM, self._sigterm)
        if problem is None:
            return
        if error is not None:
            error.add_note(f"The record of run {self.run_id} is incomplete as well: {problem}")
            return
        raise TrackingError(
            f"the record of run {self.run_id} is incomplete: {problem}",
            where=store.masked(self.uri),
            remedy="free disk space or bring the tracking store back, then resume the run",
        ) from problem

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Collect metrics of one step; they reach the store in batches."""
        self._metrics.add(metrics, step)

    @tells_store_errors
    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters, nested ones under dotted keys.

        A key that already has another value (``mlflow run`` logs its raw strings, a resumed run its
        earlier ones) is logged under ``key.2``, ``key.3`` …, since MLflow never changes one.
        """
        from mlflow.entities import Param

        fresh: list[Param] = []
        for name, value in flatten(params).items():
            key = next(k for k in _spellings(name) if self._params.get(k, value) == value)
            if key not in self._params:
                fresh.append(Param(key, value))
                self._params[key] = value
        for first in range(0, len(fresh), 100):
            self.client.log_batch(self.run_id, params=fresh[first : first + 100])

    def log_config(self, config: Any) -> None:
        """Log a resolved configuration: ``config.yaml`` and parameters under ``config.``."""
        text, values = as_yaml(config)
        self.log_text(text, "config.yaml")
        self.log_params({"config": values})

    @tells_store_errors
    def log_environment(self, **seeds: int) -> Environment:
        """Log code, packages, machine and seeds under ``environment/``."""
        environment = describe(**seeds)
        self.client.log_dict(self.run_id, environment.to_dict(), "environment/environment.json")
        self.log_text(environment.requirements(), "environment/requirements.txt")
        if environment.code.is_dirty:
            self.log_text(environment.code.diff, "environment/uncommitted.patch")
        code = environment.code
        self.set_tags(
            {
                "mlflow.source.git.commit": code.commit or "",
                "mlflow.source.git.branch": code.branch or "",
                "mlflow.source.git.dirty": str(code.is_dirty).lower(),
                "tsfm.sources": code.sources,
            }
        )
        return environment

    @tells_store_errors
    def log_panel(self, panel: Panel, role: str) -> None:
        """Log a panel as a dataset input in one of :data:`ROLES`."""
        one_of("role", role, ROLES)
        from mlflow.entities import DatasetInput, InputTag

        from tsfm.tracking.lineage import dataset, panel_tags

        tags = [InputTag("mlflow.data.context", role)]
        self.client.log_inputs(self.run_id, [DatasetInput(dataset(panel), tags)])
        self.set_tags(panel_tags(panel))

    @tells_store_errors
    def log_figure(self, figure: Figure, name: str, step: int | None = None) -> None:
        """Log a figure; with ``step`` it becomes a frame of the UI's image slider."""
        if step is None:
            self.client.log_figure(self.run_id, figure, f"plots/{_key(name)}.png")
            return
        key = _key(name)
        if step <= self._pictured.get(key, -1):
            return
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from PIL import Image

        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        self.client.log_image(self.run_id, image, key=key, step=step)

    @tells_store_errors
    def log_table(self, frame: pd.DataFrame, name: str) -> None:
        """Log a frame as ``tables/<name>.csv`` and, for the eye, ``tables/<name>.html``."""
        self.log_text(frame.to_csv(index=False), f"tables/{_key(name)}.csv")
        html = frame.head(ROWS_IN_HTML).to_html(index=False, border=0, float_format="{:.5g}".format)
        more = f"<p>and {len(frame) - ROWS_IN_HTML} more rows in the CSV file</p>"
        self.log_text(
            _PAGE.format(name=name, table=html, more=more if len(frame) > ROWS_IN_HTML else ""),
            f"tables/{_key(name)}.html",
        )

    @tells_store_errors
    def log_text(self, text: str, path: str) -> None:
        """Log a text file at ``path`` of the run's artifacts."""
        self.client.log_text(self.run_id, text, path)

    @tells_store_errors
    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Log a file, or everything in a directory, into a folder of the run's artifacts."""
        if Path(path).is_dir():
            self.client.log_artifacts(self.run_id, str(path), folder)
        else:
            self.client.log_artifact(self.run_id, str(path), folder)

    def file(self, path: str) -> Path:
        """Fetch a file or folder of this run's artifacts (as a resumed run needs them)."""
        return artifact(self.client, self.run_id, path)

    @tells_store_errors
    def set_tags(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        entities = [RunTag(key, str(value)[:LONGEST_TAG]) for key, value in tags.items()]
        for first in range(0, len(entities), 100):
            self.client.log_batch(self.run_id, tags=entities[first : first + 100])

    @tells_store_errors
    def flush(self) -> None:
        """Send what waits to be sent."""
        self._metrics.flush()

    @property
    def experiment(self) -> str:
        """Name of the MLflow experiment."""
        return str(self.client.get_experiment(self.experiment_id).name)

    @tells_store_errors
    def part(self, name: str) -> str | None:
        """Id of the latest run of this name under this one."""
        under = f"tags.`mlflow.parentRunId` = '{self.run_id}' and tags.`mlflow.runName` = '{name}'"
        found = self.client.search_runs([self.experiment_id], under, max_results=1)
        return found[0].info.run_id if found else None

    def url(self) -> str:
        """Where to look at the run: its page, or the command that serves it."""
        page = f"#/experiments/{self.experiment_id}/runs/{self.run_id}"
        if store.is_server(self.uri):
            return f"{store.masked(self.uri)}/{page}"
        default = store.absolute(f"sqlite:///{store.DATABASE}")
        option = "" if self.uri == default else f" --backend-store-uri '{store.masked(self.uri)}'"
        return f"mlflow ui{option}   →   http://127.0.0.1:5000/{page}"

    def _finish(self, error: BaseException | None) -> Exception | None:
        """Flush and end; what went wrong with that is returned, never raised."""
        status = ending(error)
        tags = {FAILURE_TAG: reason(error)} if error is not None and status != "FINISHED" else {}
        problem: Exception | None = None
        try:
            self._metrics.flush()
            if status == "FAILED" and error is not None and not isinstance(error, UserError):
                trace = "".join(traceback.format_exception(error))
                self.client.log_text(self.run_id, trace, "failure.txt")
        except Exception as unsent:
            problem = unsent
            if status == "FINISHED":
                status, tags = "FAILED", {FAILURE_TAG: f"the record is incomplete: {unsent}"}
        try:
            end(self.client, self.run_id, status, tags)
        except Exception as unended:
            problem = problem or unended
        return problem


def artifact(client: MlflowClient, run_id: str, path: str) -> Path:
    """A file or folder among a run's artifacts, on this machine.

    Raises
    ------
    TrackingError
        When the run has no such artifact.
    """
    try:
        return Path(client.download_artifacts(run_id, path))
    except Exception as error:
        raise TrackingError(
            f"run {run_id} has no artifact {path}: {error}",
            remedy="look at the run's artifacts in the MLflow UI",
        ) from error


def _logged_images(client: MlflowClient, run_id: str) -> dict[str, int]:
    last: dict[str, int] = {}
    for entry in client.list_artifacts(run_id, "images"):
        if match := _IMAGE.fullmatch(entry.path):
            key = match["key"].replace("~", "/")
            last[key] = max(int(match["step"]), last.get(key, -1))
    return last


def _spellings(name: str) -> Any:
    yield name
    number = 2
    while True:
        yield f"{name}.{number}"
        number += 1


def _key(name: str) -> str:
    return re.sub(r"[^\w\-./ ]", "_", name, flags=re.ASCII)


_PAGE = """<!doctype html><meta charset="utf-8"><title>{name}</title><style>
body {{ font: 14px system-ui, sans-serif; margin: 2em }}
table {{ border-collapse: collapse }} th, td {{ padding: .3em .8em; text-align: right }}
th {{ border-bottom: 2px solid #888; position: sticky; top: 0; background: #fff }}
tr:nth-child(even) {{ background: #f4f4f6 }}</style>{table}{more}
"""
