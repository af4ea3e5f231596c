"""The rows of a training period."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl


def before(frame: pl.DataFrame, until: datetime | None) -> pl.DataFrame:
    """Rows with ``ts`` before ``until``; a date without zone counts as UTC, ``None`` keeps all."""
    if until is None:
        return frame
    zone = getattr(frame.schema["ts"], "time_zone", None)
    aware = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    moment = aware if zone is not None else aware.astimezone(UTC).replace(tzinfo=None)
    return frame.filter(pl.col("ts") < moment)
