"""The model that a user names: a registered one's champion, a directory, a hub id, a baseline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tsfm.errors import CheckpointError, TrackingError
from tsfm.tracking import store
from tsfm.tracking.run_record import store_client

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from tsfm.data.preparation import Preparation
    from tsfm.data.provenance import Provenance
    from tsfm.models.base import Forecaster

CHAMPION = "champion"


@dataclass(frozen=True, kw_only=True)
class ChosenModel:
    """A model, found and not loaded yet.

    Attributes
    ----------
    uri
        Exactly which: ``models:/name/3``, a directory, a hub id or a baseline's name.
    directory
        None for a baseline.
    model_id
        Of the MLflow logged model, where it is one.
    notice
        What the user should know of the choice; empty where there is nothing to tell.
    """

    uri: str
    directory: Path | None = None
    model_id: str | None = None
    notice: str = ""

    @property
    def name(self) -> str:
        """As tables show it."""
        return Path(self.uri).name if self.uri == str(self.directory) else self.uri

    def load(self) -> Forecaster:
        """The forecaster, from its files."""
        from tsfm.models.source import load_local

        return load_local(self.directory or self.uri)

    def preparation(self) -> Preparation | None:
        """What it takes a user's columns by; None where its directory does not tell."""
        from tsfm.data.preparation import FILE_NAME, load_preparation

        if self.directory is None or not (self.directory / FILE_NAME).exists():
            return None
        return load_preparation(self.directory)

    def provenance(self) -> Provenance | None:
        """What it was trained on; None where its directory does not tell."""
        from tsfm.data.provenance import FILE_NAME, Provenance

        if self.directory is None or not (self.directory / FILE_NAME).exists():
            return None
        return Provenance.load(self.directory)


def choose(model: str) -> ChosenModel:
    """Find a model.

    Parameters
    ----------
    model
        A baseline or a shipped model by name, a directory, a hub id, ``models:/…``, or the name of
        a registered model: its champion, or its latest version where it has none, with a notice.

    Raises
    ------
    TrackingError
        When there is no such version or alias, naming those there are.
    CheckpointError
        When there is nothing at that place.
    """
    from tsfm.models import BASELINES
    from tsfm.models.source import SHIPPED, directory_of

    if model in BASELINES:
        return ChosenModel(uri=model)
    if model.startswith(("models:/", "runs:/")):
        return _registered(model)
    if model in SHIPPED or Path(model).is_dir():
        return ChosenModel(uri=model, directory=directory_of(model))
    client = store_client()
    versions = _versions(client, model) if "/" not in model else []
    if versions:
        return _best_of(client, model, versions)
    if "/" in model:
        return ChosenModel(uri=model, directory=directory_of(model))
    names = ", ".join(one.name for one in client.search_registered_models())
    known = f"registered are {names}" if names else "train one first: mlflow run . -e pretrain"
    raise CheckpointError(
        f"there is no model {model!r}",
        where=store.masked(client.tracking_uri),
        remedy=f"{known}; or give {', '.join(SHIPPED)}, a directory, a hub id, or a baseline such "
        "as auto_ets",
    )


def _best_of(client: MlflowClient, name: str, versions: list[int]) -> ChosenModel:
    aliases = client.get_registered_model(name).aliases
    if CHAMPION in aliases:
        return _registered(f"models:/{name}@{CHAMPION}")
    latest = max(versions)
    chosen = _registered(f"models:/{name}/{latest}")
    return ChosenModel(
        uri=chosen.uri,
        directory=chosen.directory,
        model_id=chosen.model_id,
        notice=f"{name} has no champion yet: this is its latest version, {latest}, which nothing "
        f"has gated (`mlflow run . -e promote -P model={name} -P version={latest}` does)",
    )


def _registered(uri: str) -> ChosenModel:
    from tsfm.tracking.registry import pinned, resolve

    client = store_client()
    name, _, alias = uri.removeprefix("models:/").partition("@")
    if alias and uri.startswith("models:/"):
        versions = _versions(client, name)
        if versions and alias not in client.get_registered_model(name).aliases:
            listed = ", ".join(map(str, versions))
            raise TrackingError(
                f"{name} has no {alias} yet, only versions {listed}",
                where=store.masked(client.tracking_uri),
                remedy=f"give models:/{name}/{versions[-1]}, or promote one: "
                f"mlflow run . -e promote -P model={name} -P version={versions[-1]}",
            )
    exact = pinned(uri)
    return ChosenModel(uri=exact, directory=resolve(exact), model_id=logged_model(client, exact))


def _versions(client: MlflowClient, name: str) -> list[int]:
    quoted = name.replace("'", "''")
    return sorted(int(v.version) for v in client.search_model_versions(f"name='{quoted}'"))


def versions_of(client: MlflowClient, model_id: str) -> list[str]:
    """The registered versions of a logged model as ``models:/name/3``; none where it has none.

    The registry keeps a version's files and run; the logged model is the one that lies there.
    """
    logged = client.get_logged_model(model_id)
    found = client.search_model_versions(f"run_id='{logged.source_run_id}'")
    return sorted(
        f"models:/{one.name}/{one.version}"
        for one in found
        if one.source == logged.artifact_location
    )


def logged_model(client: MlflowClient, uri: str) -> str | None:
    """The id of the logged model behind ``models:/name/3`` or ``models:/m-…``, where known."""
    from mlflow.exceptions import MlflowException

    name, _, number = uri.removeprefix("models:/").partition("/")
    if not number:
        return name if name.startswith("m-") else None
    try:
        version = client.get_model_version(name, number)
        outputs = client.get_run(str(version.run_id)).outputs
        made = [output.model_id for output in outputs.model_outputs] if outputs else []
        return next(
            (
                one
                for one in made
                if client.get_logged_model(one).artifact_location == version.source
            ),
            None,
        )
    except MlflowException:
        return None
