"""A sweep in MLflow: a run for the study, and under it a run for every trial, in few writes."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tsfm.tracking import store
from tsfm.tracking.experiment import OUTPUTS
from tsfm.tracking.lifecycle import (
    FAILURE_TAG,
    LONGEST_TAG,
    REAPED_TAG,
    end,
    opening_tags,
    recorded_process,
    tells_store_errors,
)
from tsfm.tracking.metrics import metric_key
from tsfm.tracking.parameters import as_yaml, flatten
from tsfm.tracking.runs import MlflowRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import Param, Run

STUDY_TAG, TRIAL_TAG, STATE_TAG = "sweep.study", "sweep.trial", "sweep.state"
STATUSES = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "FAIL": "FAILED", "KILLED": "KILLED"}
"""How a trial's state shows in MLflow; PRUNED is told by the tag ``sweep.state``, not by a status
that looks like a failure."""

CHECKPOINT = "checkpoint"
SECONDS_UNTIL_TOLD = 1.0
Watch = Callable[[Mapping[str, float], int], None]


class Parent:
    """The study's run as its trials know it: enough to make theirs under it.

    Parameters
    ----------
    run_id
        Of the study's run.
    study
        Its name, a tag of every trial.
    """

    def __init__(self, uri: str, run_id: str, study: str) -> None:
        self.uri = store.connect(uri)
        from mlflow import MlflowClient

        self.client: MlflowClient = MlflowClient(tracking_uri=self.uri)
        self.run_id, self.study = run_id, study
        self.experiment_id: str = self._run().info.experiment_id
        self._tags = {**opening_tags("sweep", run_id), STUDY_TAG: study, STATE_TAG: "RUNNING"}

    @tells_store_errors
    def _run(self) -> Any:
        return self.client.get_run(self.run_id)

    @tells_store_errors
    def begin(self, number: int, params: Mapping[str, Any], watch: Watch) -> TrialRun:
        """A run for a trial, RUNNING from now on.

        Parameters
        ----------
        number
            Of the trial.
        params
            What it tries, under the names of the space.
        watch
            Told of all metrics of every step; what it raises ends the training.
        """
        run = self.client.create_run(
            self.experiment_id,
            tags={**self._tags, TRIAL_TAG: str(number)},
            run_name=f"{self.study}-{number:04d}",
        )
        return TrialRun.over(self.client, run, self.uri, params, watch)

    @tells_store_errors
    def unfinished(self) -> dict[str, int]:
        """Trials' runs that never came to their end, with the trials' numbers."""
        under = f"tags.`mlflow.parentRunId` = '{self.run_id}' and tags.`{STATE_TAG}` = 'RUNNING'"
        found: dict[str, int] = {}
        token = None
        while token is None or token:
            page = self.client.search_runs([self.experiment_id], under, page_token=token)
            found |= {run.info.run_id: int(run.data.tags[TRIAL_TAG]) for run in page}
            token = page.token or ""
        return found

    @tells_store_errors
    def settle(
        self, run_id: str, state: str, why: str = "", *, metrics: Mapping[str, float] | None = None
    ) -> None:
        """End the run of a trial whose process is gone, as the study knows it; its state last."""
        for name, value in (metrics or {}).items():
            self.client.log_metric(run_id, metric_key(name), value)
        for tag in {FAILURE_TAG, REAPED_TAG} & set(self.client.get_run(run_id).data.tags):
            self.client.delete_tag(run_id, tag)
        end(self.client, run_id, STATUSES[state], {FAILURE_TAG: why} if why else {})
        self.client.set_tag(run_id, STATE_TAG, state)
        shutil.rmtree(OUTPUTS / run_id, ignore_errors=True)

    @tells_store_errors
    def discard(self, run_id: str) -> None:
        """Remove the checkpoint of a trial that is no longer the best."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        uri = self.client.get_run(run_id).info.artifact_uri
        if self.client.list_artifacts(run_id, CHECKPOINT):
            get_artifact_repository(uri, tracking_uri=self.uri).delete_artifacts(CHECKPOINT)
        self.client.set_tag(run_id, CHECKPOINT, "removed")


class TrialRun(MlflowRun):
    """The run of one trial: three writes where it reports ten times, and only its last pictures.

    Parameters and metrics are on their way together, after a second at the first chance.
    """

    is_whole = True
    _watch: Watch
    _params_waiting: list[Param]
    _figures: dict[str, Figure]
    _began: float
    _home: str

    @classmethod
    def over(
        cls, client: MlflowClient, run: Run, uri: str, params: Mapping[str, Any], watch: Watch
    ) -> Self:
        """A run that has just been made."""
        from mlflow.entities import Param

        made = cls(client, run, uri)
        made._params_waiting = [Param(key, value) for key, value in flatten(params).items()]
        made._watch, made._figures = watch, {}
        made._began, made._home = time.monotonic(), run.info.artifact_uri
        return made

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Collect metrics of one step, and let the watcher see them."""
        super().log_metrics(metrics, step)
        if self._params_waiting and time.monotonic() - self._began > SECONDS_UNTIL_TOLD:
            self.tell_params()
        self._watch(metrics, step)

    @tells_store_errors
    def tell_params(self) -> None:
        """Send the parameters, for those who look at a run while it trains."""
        self.client.log_batch(self.run_id, params=self._params_waiting)
        self._params_waiting = []

    def log_figure(self, figure: Figure, name: str, step: int | None = None) -> None:  # noqa: ARG002
        """Keep the latest of every name, for the end."""
        self._figures[name] = figure

    def log_config(self, config: Any) -> None:
        """``config.yaml`` only: the parameters are those of the space."""
        self._put("config.yaml", as_yaml(config)[0])

    @tells_store_errors
    def _put(self, name: str, text: str) -> None:
        """As ``log_text``, without asking the store where artifacts are."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            path.write_text(text)
            get_artifact_repository(self._home, tracking_uri=self.uri).log_artifact(str(path))

    @property
    def directory(self) -> Path:
        """Where its checkpoints are while it trains."""
        return OUTPUTS / self.run_id

    @tells_store_errors
    def keep(self, model: Path) -> None:
        """Put a model directory among the artifacts."""
        self.client.log_artifacts(self.run_id, str(model), CHECKPOINT)

    @tells_store_errors
    def finish(
        self, state: str, metrics: Mapping[str, float], *, step: int = 0, why: str = ""
    ) -> None:
        """End, send what waits, and with the last of it the trial's state: while the tag says
        RUNNING, :meth:`Parent.unfinished` finds the run, wherever this process died.

        Parameters
        ----------
        state
            COMPLETE, PRUNED, FAIL or KILLED.
        metrics
            The final ones.
        why
            It failed or was pruned.
        """
        from mlflow.entities import Metric, RunTag
        from mlflow.utils.time import get_current_time_millis

        now = get_current_time_millis()
        final = [Metric(metric_key(k), float(v), now, step) for k, v in metrics.items()]
        waiting, self._metrics._waiting = self._metrics._waiting, []
        tags = [RunTag(STATE_TAG, state)]
        if why:
            key = FAILURE_TAG if state == "FAIL" else "sweep.reason"
            tags.append(RunTag(key, why[:LONGEST_TAG]))
        every = waiting + final
        self.client.set_terminated(self.run_id, STATUSES[state])
        if state in ("COMPLETE", "PRUNED"):
            for name, figure in self._figures.items():
                MlflowRun.log_figure(self, figure, name)
        for first in range(0, len(every) or 1, 1000):
            last = first + 1000 >= len(every)
            self.client.log_batch(
                self.run_id,
                metrics=every[first : first + 1000],
                params=[] if first else self._params_waiting,
                tags=tags if last else [],
            )
        shutil.rmtree(self.directory, ignore_errors=True)


def attached(uri: str, run_id: str) -> MlflowRun:
    """A study's run that another process leads: to read and to report to, not to end."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    return MlflowRun(client, client.get_run(run_id), uri)


@tells_store_errors
def is_led(uri: str, run_id: str) -> bool:
    """Whether the process that leads a study still runs, as far as this machine can tell."""
    from mlflow import MlflowClient

    from tsfm.tracking.environment import host_name

    run = MlflowClient(tracking_uri=uri).get_run(run_id)
    process = recorded_process(run.data.tags)
    if run.info.status != "RUNNING" or process is None:
        return False
    return process.host != host_name() or process.is_alive()


def end_as_finished(client: MlflowClient, record: MlflowRun) -> None:
    """A study's run, whatever became of the processes that led it."""
    for tag in {FAILURE_TAG, REAPED_TAG} & set(client.get_run(record.run_id).data.tags):
        client.delete_tag(record.run_id, tag)
    record.flush()
    client.set_terminated(record.run_id, "FINISHED")
