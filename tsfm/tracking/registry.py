"""Models in the store: logged with signature, metrics and lineage, registered, found again."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote, urlsplit

from tsfm.errors import CheckpointError, ConfigError, TrackingError
from tsfm.tracking import store
from tsfm.tracking.metrics import metric_key

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

    from tsfm.data.panel import Panel
    from tsfm.tracking.runs import MlflowRun

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class LoggedForecaster:
    """Where a model went.

    Attributes
    ----------
    model_id
        Of the MLflow logged model.
    registered_name, version
        Of its version in the registry; None when it was not registered.
    """

    model_id: str
    registered_name: str | None = None
    version: int | None = None

    @property
    def uri(self) -> str:
        """What :func:`tsfm.load_forecaster` and ``mlflow models serve`` take."""
        if self.registered_name is None:
            return f"models:/{self.model_id}"
        return f"models:/{self.registered_name}/{self.version}"


def log_model(
    run: MlflowRun,
    directory: str | Path,
    *,
    name: str,
    input_example: pd.DataFrame,
    register_as: str | None = None,
    metrics: Mapping[str, float] | None = None,
    panel: Panel | None = None,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    horizon: int | None = None,
    step: int = 0,
) -> LoggedForecaster:
    """Log a saved forecaster as an MLflow model, and register it once that has succeeded.

    Parameters
    ----------
    directory
        What ``save`` wrote, with the ``preparation.json`` beside it.
    name
        Of the model among the experiment's.
    input_example
        A few bars of one item or more; its columns become the signature.
    register_as
        Registered model to add a version to; made when it does not exist.
    metrics, panel
        Results, linked to the model and, where given, to the panel they were measured on; they
        are metrics of the run as well.
    params, tags
        Of the model.
    horizon
        Default of the served model's parameter.
    step
        Training step the weights come from.

    Raises
    ------
    CheckpointError
        When the directory is not a complete model.
    TrackingError
        When the store refuses; no version and no ready model are left behind.
    """
    from tsfm.tracking.parameters import flatten

    if register_as is not None:
        check_name(register_as)
    directory = Path(directory)
    for file in ("config.json", "preparation.json"):
        if not (directory / file).is_file():
            raise CheckpointError(
                f"the model directory has no {file}",
                where=str(directory),
                remedy="save forecaster and preparation into it first",
            )
    run.flush()
    model = run.client.create_logged_model(
        run.experiment_id,
        name,
        source_run_id=run.run_id,
        tags={key: str(value) for key, value in (tags or {}).items()},
        params=flatten(params or {}),
        model_type="forecaster",
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            _save(path, directory, model.model_id, run.run_id, input_example, horizon)
            run.client.log_model_artifacts(model.model_id, str(path))
        _link(run, model.model_id, step)
        log_model_metrics(run, model.model_id, metrics or {}, panel, step=step)
        run.client.finalize_logged_model(model.model_id, "READY")
    except BaseException as error:
        _withdraw(run.client, model.model_id)
        if not isinstance(error, Exception):
            raise
        raise TrackingError(
            f"the model {name!r} cannot be logged: {error}",
            where=store.masked(run.uri),
            remedy="free disk space or check access to the artifact store, then resume the run",
        ) from error
    if register_as is None:
        return LoggedForecaster(model_id=model.model_id)
    version = register(run.client, model.model_id, register_as, run.run_id, tags)
    return LoggedForecaster(model_id=model.model_id, registered_name=register_as, version=version)


def check_name(name: str) -> None:
    """Raise :class:`ConfigError` unless a model can be registered under ``name``."""
    if not re.fullmatch(r"[\w][\w .-]{0,199}", name):
        raise ConfigError(
            f"register_as={name!r} is not a name for a registered model",
            remedy="use up to 200 letters, digits, spaces, dots, dashes and underscores",
        )


def register(
    client: MlflowClient,
    model_id: str,
    name: str,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> int:
    """Add a logged model as a new version of a registered one.

    Raises
    ------
    TrackingError
        When the registry refuses; a registered model that was made for it is removed again.
    """
    from mlflow.exceptions import MlflowException

    is_new = False
    try:
        source = client.get_logged_model(model_id).artifact_location
        is_new = not client.search_registered_models(f"name = '{name}'")
        if is_new:
            with suppress(MlflowException):
                client.create_registered_model(name)
        version = client.create_model_version(
            name, source, run_id=run_id, tags=dict(tags or {}), model_id=model_id
        )
    except MlflowException as error:
        if is_new:
            _remove_if_empty(client, name)
        raise TrackingError(
            f"the model cannot be registered as {name!r}: {error.message}",
            remedy="choose another register_as, or register it from the MLflow UI",
        ) from error
    return int(version.version)


def log_model_metrics(
    run: MlflowRun,
    model_id: str,
    metrics: Mapping[str, float],
    panel: Panel | None = None,
    *,
    step: int = 0,
) -> None:
    """Link results to a logged model and to the panel they were measured on.

    A value that the run already has at this step (a resumed run judges again) keeps its time: it
    stays one point of the run.
    """
    from mlflow.entities import Metric

    if not metrics:
        return
    from tsfm.tracking.lineage import panel_digest

    name = panel.info.name if panel is not None else None
    digest = panel_digest(panel) if panel is not None else None
    now = int(time.time() * 1000)
    logged = run.client.get_run(run.run_id).data.to_proto().metrics
    times = {(metric.key, metric.step): metric.timestamp for metric in logged}
    entities = [
        Metric(
            key, float(value), times.get((key, step), now), step,
            model_id=model_id, dataset_name=name, dataset_digest=digest, run_id=run.run_id,
        )
        for key, value in zip(map(metric_key, metrics), metrics.values(), strict=True)
    ]  # fmt: skip
    for first in range(0, len(entities), 1000):
        run.client.log_batch(run.run_id, metrics=entities[first : first + 1000])


def resolve(uri: str) -> Path:
    """The forecaster's directory inside a logged or registered model, on this machine.

    Parameters
    ----------
    uri
        ``models:/name/3``, ``models:/name@champion``, ``models:/m-…`` or ``runs:/<id>/<path>``.

    Raises
    ------
    TrackingError
        When there is no such model, version, alias or artifact.
    CheckpointError
        When the model holds no forecaster of ours.
    """
    directory = download(uri)
    if (directory / "config.json").is_file():
        return directory
    found = sorted(directory.glob("artifacts/*/config.json"))
    if len(found) != 1:
        raise CheckpointError(
            "the model was not logged by this project: it holds no forecaster",
            where=uri,
            remedy="give a model that pretrain, finetune or dynamics registered",
        )
    return found[0].parent


def pinned(uri: str) -> str:
    """``models:/name/latest`` or ``models:/name@alias`` as the version that it stands for now.

    Any other source, and one that cannot be found, comes back as it is.
    """
    if not uri.startswith("models:/"):
        return uri
    store.connect()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.utils.models import get_model_name_and_version

    with suppress(MlflowException):
        version = get_model_name_and_version(MlflowClient(), uri)
        return "/".join(("models:", *map(str, version)))
    return uri


def download(uri: str) -> Path:
    """Fetch a model's files; those of a local store are used where they are.

    Raises
    ------
    TrackingError
        When there is no such model, version, alias or artifact.
    """
    store.connect()
    from mlflow.exceptions import MlflowException

    try:
        return _fetch(_location(uri))
    except (MlflowException, OSError) as error:
        known = _known(uri)
        raise TrackingError(
            f"there is no model {uri}: {getattr(error, 'message', error)}",
            where=store.masked(os.environ["MLFLOW_TRACKING_URI"]),
            remedy=known or "`mlflow ui` shows the models that are registered",
        ) from error


def _save(
    path: Path,
    directory: Path,
    model_id: str,
    run_id: str,
    example: pd.DataFrame,
    horizon: int | None,
) -> None:
    import mlflow.pyfunc
    from mlflow.models import Model

    from tsfm.tracking import serving

    mlflow.pyfunc.save_model(
        path,
        mlflow_model=Model(run_id=run_id, model_uuid=model_id, model_id=model_id),
        python_model=str(serving.CODE_FILE),
        artifacts={serving.FORECASTER: str(directory)},
        code_paths=[str(PACKAGE)],
        signature=serving.signature(example, horizon or serving.DEFAULT_HORIZON),
        input_example=serving.as_input(example),
        pip_requirements=serving.pinned_requirements(),
    )


def _link(run: MlflowRun, model_id: str, step: int) -> None:
    from mlflow.entities import LoggedModelOutput

    run.client.log_outputs(run.run_id, [LoggedModelOutput(model_id, step)])


def _withdraw(client: MlflowClient, model_id: str) -> None:
    with suppress(Exception):
        client.finalize_logged_model(model_id, "FAILED")
    with suppress(Exception):
        client.delete_logged_model(model_id)


def _remove_if_empty(client: MlflowClient, name: str) -> None:
    with suppress(Exception):
        if not client.search_model_versions(f"name = '{name}'"):
            client.delete_registered_model(name)


def _location(uri: str) -> str:
    """The address of the artifacts: never changes, so that it can be fetched once."""
    from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository
    from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository

    if uri.startswith("models:/"):
        return str(ModelsArtifactRepository.get_underlying_uri(uri))
    return str(RunsArtifactRepository.get_underlying_uri(uri))


@cache
def _fetch(location: str) -> Path:
    if urlsplit(location).scheme in ("", "file"):
        directory = Path(unquote(urlsplit(location).path))
        return directory if directory.exists() else _missing(directory)
    from mlflow.artifacts import download_artifacts

    copies = tempfile.mkdtemp(prefix="tsfm-model-")
    atexit.register(shutil.rmtree, copies, ignore_errors=True)
    return Path(download_artifacts(artifact_uri=location, dst_path=copies))


def _missing(directory: Path) -> NoReturn:
    raise FileNotFoundError(f"its folder {directory} is gone")


def _known(uri: str) -> str | None:
    """What could have been meant."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    name = uri.removeprefix("models:/").partition("/")[0].partition("@")[0]
    try:
        client = MlflowClient()
        versions = client.search_model_versions(f"name = '{name}'")
        if versions:
            aliases = client.get_registered_model(name).aliases
            listed = [str(v.version) for v in versions] + [f"@{alias}" for alias in aliases]
            return f"versions of {name}: {', '.join(listed)}"
        names = [model.name for model in client.search_registered_models()]
    except MlflowException:
        return None
    return f"registered models: {', '.join(names)}" if names else None
