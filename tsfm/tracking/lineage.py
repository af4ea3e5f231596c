"""Panels as MLflow datasets: name, fingerprint, source, schema, profile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from mlflow.entities import Dataset

    from tsfm.data.panel import Panel

DIGEST_LENGTH = 32
PANEL_TAG = "tsfm.panel."
"""Of a run: of which whole panels it saw some items, bars or variates."""


_DIGESTS: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def panel_digest(panel: Panel) -> str:
    """The head of the fingerprint: MLflow keeps at most 36 characters (all are in the profile)."""
    return panel.fingerprint[:DIGEST_LENGTH]


def whole_digest(panel: Panel) -> str:
    """The fingerprint of the panel that this one is a view of, or its own."""
    from tsfm.data.panel import Panel as Whole

    store = panel._store
    if store.state is not None:
        return str(store.state["tsfm"]["fingerprint"])[:DIGEST_LENGTH]
    if store not in _DIGESTS:
        _DIGESTS[store] = panel_digest(Whole(store))
    return _DIGESTS[store]


def panel_tags(panel: Panel) -> dict[str, str]:
    """What a run is found by that saw a part of a panel: its fingerprint, name and place."""
    place = f" {Path(panel.path).resolve()}" if panel.path else ""
    return {f"{PANEL_TAG}{whole_digest(panel)}": f"{panel.info.name}{place}"}


def dataset(panel: Panel) -> Dataset:
    """Describe a panel as an MLflow dataset.

    A panel on disk has the ``local`` source type and its address; one in memory (simulated, a view,
    a user's frame) is told by its provenance.
    """
    from mlflow.entities import Dataset

    path = getattr(panel, "path", None)
    source = {"uri": str(path)} if path else {"tags": _plain(dict(panel.info.provenance))}
    return Dataset(
        name=panel.info.name,
        digest=panel_digest(panel),
        source_type="local" if path else "code",
        source=json.dumps(source),
        schema=json.dumps(_schema(panel)),
        profile=json.dumps(_profile(panel)),
    )


def _schema(panel: Panel) -> dict[str, Any]:
    columns = [
        {"name": "item_id", "type": "string", "required": True},
        {"name": "timestamp", "type": "datetime", "required": False},
    ]
    columns += [
        {"name": name, "type": "float", "required": required}
        for names, required in (
            (panel.info.variates, True),
            (panel.info.past_covariates, False),
            (panel.info.known_covariates, False),
        )
        for name in names
    ]
    return {"mlflow_colspec": columns}


def _profile(panel: Panel) -> dict[str, Any]:
    first, last = _time_range(panel)
    info = panel.info
    return {
        "series": len(panel),
        "variates": len(info.variates),
        "bars": int(np.sum(panel.lengths)),
        "first": first,
        "last": last,
        "freq": info.freq,
        "calendar": info.calendar,
        "seasonality": info.seasonality,
        "licence": info.licence,
        "fingerprint": panel.fingerprint,
        "provenance": _plain(dict(info.provenance)),
    }


def _time_range(panel: Panel) -> tuple[str | None, str | None]:
    stamps = [
        s for item in range(len(panel)) if (s := panel.timestamps(item)) is not None and len(s)
    ]
    if not stamps:
        return None, None
    return (
        pd.Timestamp(min(s[0] for s in stamps)).isoformat(),
        pd.Timestamp(max(s[-1] for s in stamps)).isoformat(),
    )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(values, default=str))
