"""The body of a request to a scoring server: JSON, CSV or Parquet to a frame and parameters."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from io import BytesIO
from typing import Any

import pandas as pd

from tsfm.data.tidying import listed, shortened
from tsfm.errors import DataError
from tsfm.tracking.scoring_limits import ServingLimits

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
TABLES = ("dataframe_split", "dataframe_records", "inputs", "instances")
_SHAPE = 'give {"dataframe_split": {"columns": […], "data": [[…], …]}, "params": {"horizon": 24}}'


def read_body(
    body: bytes, content_type: str | None, columns: Collection[str], limits: ServingLimits
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The table and ``params`` of a request; of the table only ``columns`` are read.

    Raises
    ------
    DataError
        When the body is too large, of another kind, damaged, or holds no table.
    """
    limits.expect_body(len(body))
    kind, *settings = (part.strip().lower() for part in (content_type or "").split(";"))
    charsets = [setting for setting in settings if setting.startswith("charset=")]
    if any(charset.strip('"') not in ("charset=utf-8", 'charset="utf-8') for charset in charsets):
        raise DataError(f"{charsets[0]} is not read", where="Content-Type", remedy="send UTF-8")
    if kind == JSON:
        return _from_json(body, columns, limits)
    if kind == CSV:
        return _from_csv(body, columns, limits), {}
    if kind == PARQUET:
        return _from_parquet(body, columns, limits), {}
    raise DataError(
        f"bodies of type {shortened(content_type or 'unknown')!r} are not read",
        where="Content-Type",
        remedy=f"send {JSON}, {CSV} or {PARQUET}",
    )


def _from_json(
    body: bytes, columns: Collection[str], limits: ServingLimits
) -> tuple[pd.DataFrame, dict[str, Any]]:
    try:
        content = json.loads(body)
    except RecursionError as error:
        raise DataError("the JSON is nested too deep", where="body", remedy=_SHAPE) from error
    except ValueError as error:
        raise DataError(
            f"the body is no JSON: {shortened(str(error), 200)}", where="body", remedy=_SHAPE
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"the JSON is a {type(content).__name__}", where="body", remedy=_SHAPE)
    params = content.get("params") or {}
    unknown = sorted(set(content) - {*TABLES, "params"})
    if unknown:
        raise DataError(f"unknown keys {listed(unknown)}", where="body", remedy=_SHAPE)
    if not isinstance(params, dict):
        raise DataError(
            f"params is a {type(params).__name__}", where="body", remedy='give {"horizon": 24}'
        )
    tables = [name for name in TABLES if name in content]
    if len(tables) != 1:
        raise DataError(
            f"the body holds {len(tables)} tables", where="body", remedy=f"{_SHAPE}, one table"
        )
    table = content[tables[0]]
    if tables[0] == "dataframe_split":
        return _from_split(table, columns, limits), params
    if tables[0] == "inputs" and isinstance(table, dict):
        return _from_columns(table, columns, limits), params
    return _from_records(table, tables[0], columns, limits), params


def _from_split(table: object, columns: Collection[str], limits: ServingLimits) -> pd.DataFrame:
    where = "dataframe_split"
    if not isinstance(table, dict) or not {"columns", "data"} <= set(table):
        raise DataError("columns or data are missing", where=where, remedy=_SHAPE)
    names, rows = table["columns"], table["data"]
    if not isinstance(names, list) or not isinstance(rows, list):
        raise DataError("columns or data is no list", where=where, remedy=_SHAPE)
    limits.expect_rows(len(rows))
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            raise DataError(
                f"the row has not the {len(names)} values of columns",
                where=f"{where}, row {number}",
                remedy="give every row one value for each column",
            )
    held = list(map(str, names))
    twice = [name for name in columns if held.count(name) > 1]
    if twice:
        raise DataError(f"columns {listed(twice)} are named twice", where=where)
    made = {
        name: _column([row[position] for row in rows])
        for position, name in enumerate(held)
        if name in columns
    }
    return _framed(made, held, columns, where)


def _from_records(
    table: object, where: str, columns: Collection[str], limits: ServingLimits
) -> pd.DataFrame:
    if not isinstance(table, list):
        raise DataError(f"{where} is no list of rows", where="body", remedy=_SHAPE)
    limits.expect_rows(len(table))
    for number, row in enumerate(table):
        if not isinstance(row, dict):
            raise DataError(
                f"the row is a {type(row).__name__}",
                where=f"{where}, row {number}",
                remedy="give every row as an object of column and value",
            )
    held = list(table[0]) if table else []
    made = {
        name: _column([row.get(name) for row in table])
        for name in columns
        if any(name in row for row in table)
    }
    return _framed(made, held, columns, where)


def _from_columns(
    table: Mapping[str, Any], columns: Collection[str], limits: ServingLimits
) -> pd.DataFrame:
    chosen = {name: table[name] for name in columns if name in table}
    flat = {name: value for name, value in chosen.items() if isinstance(value, list)}
    lengths = {len(value) for value in flat.values()}
    if len(flat) != len(chosen) or len(lengths) > 1:
        raise DataError("the columns are not lists of one length", where="inputs", remedy=_SHAPE)
    limits.expect_rows(max(lengths, default=0))
    made = {name: _column(value) for name, value in flat.items()}
    return _framed(made, list(table), columns, "inputs")


def _column(values: list[Any]) -> pd.Series:
    """Numbers as numbers; anything else as it is."""
    try:
        return pd.Series(values)
    except (ValueError, TypeError, OverflowError):
        return pd.Series(values, dtype=object)


def _framed(
    made: Mapping[str, pd.Series], held: Sequence[str], columns: Collection[str], where: str
) -> pd.DataFrame:
    missing = [name for name in columns if name not in made]
    if missing:
        raise DataError(
            f"columns {listed(missing)} are missing",
            where=where,
            remedy=f"give {', '.join(columns)}; there are {listed(held) or 'none'}",
        )
    return pd.DataFrame(made, copy=False)


def _from_csv(body: bytes, columns: Collection[str], limits: ServingLimits) -> pd.DataFrame:
    limits.expect_rows(body.count(b"\n") - 1)
    try:
        frame = pd.read_csv(
            BytesIO(body), usecols=lambda name: name in columns, dtype={"item_id": str}
        )
    except (ValueError, OverflowError, pd.errors.ParserError) as error:
        raise DataError(
            f"the CSV cannot be read: {shortened(str(error), 200)}",
            where="body",
            remedy=f"give one header line with {', '.join(columns)}, and UTF-8 text",
        ) from error
    return _framed(
        {str(name): frame[name] for name in frame}, list(map(str, frame)), columns, "CSV"
    )


def _from_parquet(body: bytes, columns: Collection[str], limits: ServingLimits) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(BytesIO(body))
        limits.expect_rows(file.metadata.num_rows)
        held = file.schema_arrow.names
        frame = file.read(columns=[name for name in held if name in columns]).to_pandas()
    except (pa.ArrowException, OSError, TypeError) as error:
        raise DataError(
            f"the Parquet cannot be read: {shortened(str(error), 200)}",
            where="body",
            remedy=f"give one table with {', '.join(columns)}",
        ) from error
    frame = frame.reset_index() if frame.index.name in columns else frame
    return _framed({name: frame[name] for name in map(str, frame)}, held, columns, "Parquet")
