"""A version of a registered model, found with its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tsfm.data.provenance import FILE_NAME, Provenance
from tsfm.errors import TrackingError
from tsfm.tracking import registry
from tsfm.tracking.promotion.ledger import patient

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from tsfm.models.base import Forecaster

LATEST = ("", "latest")


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One version.

    Attributes
    ----------
    directory
        Of the forecaster inside the version's artifacts, on this machine.
    """

    model: str
    version: str
    directory: Path

    @classmethod
    def of(cls, client: MlflowClient, model: str, version: str = "") -> Self:
        """Find a version.

        Parameters
        ----------
        version
            A number, ``@alias``, or nothing for the latest.

        Raises
        ------
        TrackingError
            When there is no such version or alias, or its artifacts are gone.
        CheckpointError
            When it was not logged by this project.
        """
        number = _number(client, model, version)
        return cls(model=model, version=number, directory=located(model, number))

    @property
    def name(self) -> str:
        return f"{self.model}/{self.version}"

    @property
    def megabytes(self) -> float:
        """Size of its files."""
        return sum(f.stat().st_size for f in self.directory.rglob("*") if f.is_file()) / 1e6

    def load(self) -> Forecaster:
        """The forecaster, each time read from its files."""
        from tsfm.models.source import load_local

        return load_local(self.directory)

    def provenance(self) -> Provenance | None:
        """What it was trained on; None when nobody can tell."""
        if not (self.directory / FILE_NAME).exists():
            return None
        return Provenance.load(self.directory)


@patient
def located(model: str, version: str) -> Path:
    """The forecaster's directory inside a version's artifacts, on this machine.

    Raises
    ------
    TrackingError
        When the version or its artifacts are gone.
    CheckpointError
        When it was not logged by this project.
    """
    return registry.resolve(f"models:/{model}/{version}")


@patient
def _number(client: MlflowClient, model: str, version: str) -> str:
    found = {str(v.version): v for v in _versions(client, model)}
    aliases = {alias: str(n) for alias, n in client.get_registered_model(model).aliases.items()}
    if version in LATEST and found:
        return max(found, key=int)
    number = aliases.get(version[1:], "") if version.startswith("@") else version
    if number in found:
        return number
    known = [*sorted(found, key=int), *(f"@{alias}" for alias in sorted(aliases))]
    what = "alias" if version.startswith("@") else "version"
    raise TrackingError(
        f"there is no {what} {version or 'at all'} of {model}",
        remedy=f"there are: {', '.join(known)}" if known else "register a version first",
    )


def _versions(client: MlflowClient, model: str) -> list[ModelVersion]:
    quoted = model.replace("'", "\\'")
    found: list[ModelVersion] = []
    token = None
    while token is None or token:
        page = client.search_model_versions(f"name = '{quoted}'", page_token=token)
        found += page
        token = page.token or ""
    return found
