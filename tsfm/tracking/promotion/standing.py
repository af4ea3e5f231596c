"""Who holds which alias of a registered model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from tsfm.errors import TrackingError
from tsfm.tracking import store
from tsfm.tracking.promotion.ledger import patient

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, PREVIOUS = "champion", "previous"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The versions in production.

    Attributes
    ----------
    champion
        The version that is served; None before the first promotion.
    previous
        The version that was champion before, which a rollback brings back.
    """

    champion: str | None = None
    previous: str | None = None

    @classmethod
    @patient
    def read(cls, client: MlflowClient, model: str) -> Self:
        """The aliases as they are now.

        Raises
        ------
        TrackingError
            When there is no such registered model.
        """
        from mlflow.exceptions import MlflowException

        try:
            aliases = client.get_registered_model(model).aliases
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            known = sorted(found.name for found in client.search_registered_models())
            raise TrackingError(
                f"there is no registered model {model!r}",
                where=store.masked(client.tracking_uri),
                remedy=f"registered models: {', '.join(known)}"
                if known
                else "register one first: pretrain, finetune and dynamics do",
            ) from error
        held = {alias: str(version) for alias, version in aliases.items()}
        return cls(champion=held.get(CHAMPION), previous=held.get(PREVIOUS))

    @classmethod
    def of(cls, record: dict[str, Any]) -> Self:
        return cls(champion=record["champion"], previous=record["previous"])

    def after(self, version: str) -> Standing:
        """As it is once ``version`` is champion."""
        return Standing(champion=version, previous=self.champion)

    @patient
    def set(self, client: MlflowClient, model: str) -> None:
        """Make the aliases this standing; the champion last, and only what differs."""
        now = Standing.read(client, model)
        for alias, old, new in (
            (PREVIOUS, now.previous, self.previous),
            (CHAMPION, now.champion, self.champion),
        ):
            if new == old:
                continue
            if new is None:
                client.delete_registered_model_alias(model, alias)
            else:
                client.set_registered_model_alias(model, alias, new)
