"""OhioT1DM: one XML file per person and part, ``559-ws-training.xml`` and ``559-ws-testing.xml``.

A ``<patient id=… weight=… insulin_type=…>`` with lists of ``<event>``: glucose_level (mg/dL),
basal (U/h), temp_basal, bolus (U), meal (g), and wristband signals.
C. Marling, R. Bunescu: The OhioT1DM Dataset for Blood Glucose Level Prediction: Update 2020, KDH.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from tsfm.data.glucose.cgm_config import CgmConfig
from tsfm.data.glucose.columns import BASAL, CARBOHYDRATES, GLUCOSE, INSULIN, Columns
from tsfm.data.glucose.readings import Readings, table_readings
from tsfm.data.glucose.units import MG_DL
from tsfm.errors import DataError

if TYPE_CHECKING:
    import polars as pl

_FORMAT = "%d-%m-%Y %H:%M:%S"
_LISTS = {
    "glucose_level": (GLUCOSE, "ts", "value"),
    "basal": (BASAL, "ts", "value"),
    "bolus": (INSULIN, "ts_begin", "dose"),
    "meal": (CARBOHYDRATES, "ts", "carbs"),
    "basis_heart_rate": ("heart_rate", "ts", "value"),
    "basis_steps": ("steps", "ts", "value"),
    "basis_gsr": ("skin_conductance", "ts", "value"),
    "basis_skin_temperature": ("skin_temperature", "ts", "value"),
    "basis_air_temperature": ("air_temperature", "ts", "value"),
    "acceleration": ("acceleration", "ts", "value"),
}


def read(path: Path, config: CgmConfig, item_id: str) -> Iterator[Readings]:  # noqa: ARG001
    """The one person of a file, under the id that it tells; boluses count from their beginning.

    Raises
    ------
    DataError
        When the file is no OhioT1DM XML, an event lacks an attribute, or nothing was measured.
    """
    import polars as pl

    root = _root(path)
    lists = {child.tag: child.findall("event") for child in root}
    parts = []
    for tag, (role, time, value) in _LISTS.items():
        rows = [(_get(e, time, path, tag), _get(e, value, path, tag)) for e in lists.get(tag, ())]
        if rows:
            stamps, values = zip(*rows, strict=True)
            parts.append(_dated(pl.DataFrame({"timestamp": stamps, role: values}), path))
    if not any(GLUCOSE in part.columns for part in parts):
        raise DataError("there is no glucose_level", where=str(path))
    temporary = lists.get("temp_basal", [])
    if temporary:
        parts = _with_temporary(parts, temporary, path)
    table = pl.concat(parts, how="diagonal_relaxed")
    roles = {name: name for name in table.columns}
    yield from table_readings(
        table,
        config,
        where=str(path),
        item_id=str(root.attrib["id"]),
        columns=Columns(roles=roles),
        units=MG_DL,
    )


def _root(path: Path) -> ElementTree.Element:
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError) as error:
        raise DataError(f"the XML cannot be read: {error}", where=str(path)) from error
    if root.tag != "patient" or "id" not in root.attrib:
        raise DataError(
            f"<{root.tag}> is no OhioT1DM <patient id=…>",
            where=str(path),
            remedy="give files such as 559-ws-training.xml",
        )
    return root


def _get(event: ElementTree.Element, attribute: str, path: Path, tag: str) -> str:
    value = event.attrib.get(attribute)
    if value is None:
        raise DataError(f"an event has no {attribute}", where=f"{path}, <{tag}>")
    return value


def _dated(part: pl.DataFrame, path: Path) -> pl.DataFrame:
    import polars as pl

    stamps = part["timestamp"].str.to_datetime(_FORMAT, time_unit="us", strict=False)
    if stamps.null_count():
        text = part["timestamp"].filter(stamps.is_null())[0]
        raise DataError(f"time {text!r} is no DD-MM-YYYY HH:MM:SS", where=str(path))
    return part.with_columns(stamps, pl.exclude("timestamp").cast(pl.String))


def _with_temporary(
    parts: list[pl.DataFrame], temporary: list[ElementTree.Element], path: Path
) -> list[pl.DataFrame]:
    """Basal rates with the temporary ones that replace them, and the return after each."""
    import polars as pl

    fields = ("ts_begin", "ts_end", "value")
    rows = [[_get(event, name, path, "temp_basal") for name in fields] for event in temporary]
    begin = _dated(pl.DataFrame({"timestamp": [r[0] for r in rows], BASAL: [r[2] for r in rows]}),
                   path)  # fmt: skip
    end = _dated(pl.DataFrame({"timestamp": [r[1] for r in rows], "_": ""}), path)
    scheduled = [part for part in parts if BASAL in part.columns]
    if not scheduled:
        return [*parts, begin]
    others = [part for part in parts if BASAL not in part.columns]
    plan = scheduled[0].sort("timestamp")
    back = end.sort("timestamp").join_asof(plan, on="timestamp").select("timestamp", BASAL)
    inside = pl.any_horizontal(
        (pl.col("timestamp") >= b) & (pl.col("timestamp") < e)
        for b, e in zip(begin["timestamp"], end["timestamp"], strict=True)
    )
    basal = pl.concat([plan.filter(~inside), begin, back.drop_nulls()])
    return [*others, basal.sort("timestamp", maintain_order=True)]
