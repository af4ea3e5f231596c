"""What a run recorded of itself: what it did, by which code, data and machine; its results."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm.errors import TrackingError
from tsfm.tracking import store
from tsfm.tracking.experiment import RESUMED_TAG
from tsfm.tracking.lifecycle import FAILURE_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MEASURED = re.compile(r"second|per_second|memory|bytes|latency|runtime")
"""Metrics that are times or sizes of memory: never twice the same."""

PARENT, CHILD_NAME = "mlflow.parentRunId", "mlflow.runName"


@dataclass(frozen=True, kw_only=True)
class Input:
    """A panel that a run saw.

    Attributes
    ----------
    source
        Its directory where it is on disk, else empty.
    """

    role: str
    name: str
    digest: str
    source: str = ""
    profile: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A run as its store tells it."""

    client: MlflowClient
    run: Run

    @classmethod
    def read(cls, client: MlflowClient, run_id: str) -> RunRecord:
        """Look it up.

        Raises
        ------
        TrackingError
            When there is no such run.
        """
        from mlflow.exceptions import MlflowException

        try:
            return cls(client=client, run=client.get_run(run_id))
        except MlflowException as error:
            raise TrackingError(
                f"there is no run {run_id!r}",
                where=store.masked(client.tracking_uri),
                remedy="give the id that the MLflow UI shows for the run",
            ) from error

    @property
    def run_id(self) -> str:
        return str(self.run.info.run_id)

    @property
    def name(self) -> str:
        return str(self.run.info.run_name)

    @property
    def tags(self) -> dict[str, str]:
        return dict(self.run.data.tags)

    @property
    def entry_point(self) -> str:
        """``pretrain``, ``finetune`` …; empty for a run of other software."""
        return self.tags.get("tsfm.entry_point", "")

    @property
    def parent(self) -> str:
        """Id of the run that this one is a part of; empty where it is none."""
        return self.tags.get(PARENT, "")

    @property
    def resumed(self) -> int:
        """How often it was gone on with after an interruption."""
        return int(self.tags.get(RESUMED_TAG, 0))

    @property
    def failure(self) -> str:
        return self.tags.get(FAILURE_TAG, "")

    @property
    def results(self) -> dict[str, float]:
        """The last value of every metric that another machine's speed does not change."""
        metrics = self.run.data.metrics
        return {key: metrics[key] for key in sorted(metrics) if not MEASURED.search(key)}

    @property
    def inputs(self) -> list[Input]:
        """The panels it saw, in the order of role and name."""
        found = []
        for given in self.run.inputs.dataset_inputs if self.run.inputs else []:
            tags = {tag.key: tag.value for tag in given.tags}
            found.append(
                Input(
                    role=tags.get("mlflow.data.context", ""),
                    name=given.dataset.name,
                    digest=given.dataset.digest,
                    source=str(_json(given.dataset.source).get("uri", "")),
                    profile=_json(given.dataset.profile),
                )
            )
        return sorted(found, key=lambda one: (one.role, one.name, one.digest))

    @property
    def models(self) -> list[str]:
        """Ids of the logged models it made."""
        outputs = self.run.outputs.model_outputs if self.run.outputs else []
        return [output.model_id for output in outputs]

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Code, machine, command and seeds; empty where they were not recorded."""
        return _json(self.text("environment/environment.json"))

    @cached_property
    def packages(self) -> dict[str, str]:
        """Versions by name."""
        lines = self.text("environment/requirements.txt").splitlines()
        return dict(line.split("==", 1) for line in lines if "==" in line)

    @property
    def code(self) -> dict[str, Any]:
        """Commit, branch and digest of the sources."""
        return dict(self.environment.get("code", {}))

    @property
    def is_dirty(self) -> bool:
        return bool(self.environment.get("dirty"))

    @property
    def diff(self) -> str:
        """Everything that differed from the commit."""
        return self.text("environment/uncommitted.patch") if self.is_dirty else ""

    @property
    def command(self) -> list[str]:
        return [str(word) for word in self.environment.get("command", [])]

    def text(self, path: str) -> str:
        """A text artifact; empty where there is none."""
        from mlflow.exceptions import MlflowException

        try:
            return Path(self.client.download_artifacts(self.run_id, path)).read_text()
        except (MlflowException, OSError):
            return ""

    def parts(self) -> dict[str, RunRecord]:
        """The runs under this one by their names, the latest of each."""
        under = f"tags.`{PARENT}` = '{self.run_id}'"
        found = self.client.search_runs(
            [self.run.info.experiment_id], under, order_by=["attributes.start_time ASC"]
        )
        return {
            str(part.data.tags.get(CHILD_NAME)): RunRecord(client=self.client, run=part)
            for part in found
        }

    def weights(self) -> list[str]:
        """Digest of every logged model's weights, in the order they were logged."""
        from tsfm.errors import UserError
        from tsfm.tracking.registry import download

        digests = []
        for model_id in self.models:
            try:
                folder = download(f"models:/{model_id}")
            except UserError:
                digests.append("gone")
                continue
            told = sha256()
            for path in sorted(folder.rglob("*.safetensors")):
                told.update(path.read_bytes())
            digests.append(told.hexdigest()[:16])
        return digests


def store_client() -> MlflowClient:
    """A client of the tracking store that is set, or of the default one.

    Raises
    ------
    TrackingError
        When it cannot be used.
    """
    uri = store.connect()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _json(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
