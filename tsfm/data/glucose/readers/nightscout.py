"""Nightscout's JSON: entries (``sgv``, mg/dL) and treatments, as its API and backups give them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tsfm.data.glucose.cgm_config import CgmConfig
from tsfm.data.glucose.columns import CARBOHYDRATES, GLUCOSE, INSULIN, TIME, Columns
from tsfm.data.glucose.readings import Readings, table_readings
from tsfm.data.glucose.times import read_times
from tsfm.data.glucose.units import MG_DL
from tsfm.errors import DataError

_ERROR_CODES = 13


def read(path: Path, config: CgmConfig, item_id: str) -> Iterator[Readings]:
    """The one person of a file: a list of entries, of treatments, or an object that holds both.

    Files of one folder are one person's. Times are instants; without ``timezone`` they get the
    offset written with the first entry. Sensor codes below 13 are no glucose and are left out.

    Raises
    ------
    DataError
        When the file is no such JSON, or an entry has no time.
    """
    import polars as pl

    records = _records(path)
    where = str(path)
    entries = [r for r in records if "sgv" in r]
    doses = [r for r in records if r.get("insulin") or r.get("carbs")]
    rows = [(_entry_time(r, where), _sensed(r["sgv"]), None, None) for r in entries] + [
        (_treatment_time(r, where), None, _cell(r.get("insulin")), _cell(r.get("carbs")))
        for r in doses
    ]
    if not rows:
        raise DataError(
            "there are neither entries (sgv) nor treatments (insulin, carbs)",
            where=where,
            remedy="give what /api/v1/entries.json and /api/v1/treatments.json return",
        )
    names = (TIME, GLUCOSE, INSULIN, CARBOHYDRATES)
    cells = pl.DataFrame(
        dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)),
        schema_overrides=dict.fromkeys(names, pl.String),
    )
    written = read_times(cells[TIME], where=where)
    offset = next((int(r["utcOffset"]) for r in entries if _is_number(r.get("utcOffset"))), None)
    stamps = written.stamps.dt.replace_time_zone("UTC")
    for one in table_readings(
        cells.with_columns(stamps.alias(TIME)),
        config,
        where=where,
        item_id=item_id,
        columns=Columns(roles={name: name for name in names}),
        units=MG_DL,
        facts={"format": "Nightscout"},
    ):
        yield _with_offset(one, written.offset_minutes if offset is None else offset)


def _with_offset(one: Readings, minutes: int) -> Readings:
    from dataclasses import replace

    return replace(one, absolute=True, offset_minutes=minutes)


def _records(path: Path) -> list[Mapping[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"the JSON cannot be read: {error}", where=str(path)) from error
    if isinstance(content, Mapping):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = [record for values in lists for record in values]
    if not isinstance(content, list) or not all(isinstance(r, Mapping) for r in content):
        raise DataError(
            "the JSON is no list of records",
            where=str(path),
            remedy="give what /api/v1/entries.json and /api/v1/treatments.json return",
        )
    return content


def _entry_time(record: Mapping[str, Any], where: str) -> str:
    date = record.get("date")
    if _is_number(date):
        return _iso(float(str(date)), where)
    return _expect_time(record.get("dateString") or record.get("sysTime"), record, where)


def _treatment_time(record: Mapping[str, Any], where: str) -> str:
    return _expect_time(record.get("created_at") or record.get("timestamp"), record, where)


def _iso(milliseconds: float, where: str) -> str:
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except (OverflowError, OSError, ValueError) as error:
        raise DataError(f"date {milliseconds:g} is no time", where=where) from error


def _expect_time(value: Any, record: Mapping[str, Any], where: str) -> str:
    if _is_number(value):
        return _iso(float(value), where)
    if not value:
        shown = json.dumps(dict(record))[:80]
        raise DataError(f"a record has no time: {shown}", where=where)
    text = str(value)
    return text if text[-1] in "Zz" or "+" in text[10:] or "-" in text[10:] else f"{text}Z"


def _sensed(value: Any) -> str | None:
    if _is_number(value) and float(value) < _ERROR_CODES:
        return None
    return _cell(value)


def _cell(value: Any) -> str | None:
    return None if value is None else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
