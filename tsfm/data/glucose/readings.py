"""The readings of one person as a file gave them, before any repair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tsfm.data.glucose.cgm_config import CgmConfig
from tsfm.data.glucose.columns import CLOCK, DATE, GLUCOSE, ITEM, TIME, Columns, guess_columns
from tsfm.data.glucose.times import Times, read_times
from tsfm.data.glucose.units import Numbers, read_numbers
from tsfm.errors import DataError

if TYPE_CHECKING:
    import polars as pl

LONG_INSULIN = "long_acting_insulin"


@dataclass(frozen=True, kw_only=True)
class Readings:
    """One person's rows.

    Attributes
    ----------
    frame
        In the order of the file: ``timestamp`` (``Datetime("us")``, see ``absolute``), ``glucose``
        in its own unit (``-inf`` for LOW, ``inf`` for HIGH) and covariates by role; null where a
        row has none.
    absolute, offset_minutes
        Of :class:`~tsfm.data.glucose.times.Times`.
    glucose_column
        Its name in the file, which may tell the unit.
    units
        Where the format tells it, else ``auto``.
    counts
        Repairs so far: ``text``, ``text_other`` and ``time``.
    facts
        What else is known: source, columns, remarks.
    static
        Attributes of the person.
    """

    item_id: str
    frame: pl.DataFrame
    where: str
    absolute: bool = False
    offset_minutes: int = 0
    glucose_column: str = ""
    units: str = "auto"
    counts: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    static: Mapping[str, float | str] = field(default_factory=dict)


def table_readings(
    table: pl.DataFrame,
    config: CgmConfig,
    *,
    where: str,
    item_id: str,
    columns: Columns | None = None,
    units: str = "auto",
    facts: Mapping[str, str] | None = None,
) -> Iterator[Readings]:
    """The people of a table.

    Parameters
    ----------
    table
        Cells as text or typed.
    item_id
        Of the one person of a table without a column of people.
    columns
        Their meaning; guessed where it is not given.

    Raises
    ------
    DataError
        When there are no rows, a column is missing, or cells cannot be read and may not be
        repaired.
    """
    import polars as pl

    if table.is_empty():
        raise DataError("the table has no rows", where=where)
    if columns is None:
        columns = guess_columns(table.columns, config.columns, where=where, row_ids=_row_ids(table))
    times = _times(table, columns, config, where)
    roles = (GLUCOSE, *columns.covariates)
    numbers = {role: read_numbers(table[columns.roles[role]]) for role in roles}
    people = (
        table[columns.roles[ITEM]]
        .cast(pl.String)
        .str.strip_chars()
        .str.replace(r"^(\d+)\.0$", "$1")
        if ITEM in columns.roles
        else pl.repeat(item_id, len(table), eager=True)
    )
    if people.null_count():
        raise DataError(
            f"{people.null_count()} rows name no person",
            where=f"{where}, column {columns.roles[ITEM]}",
            remedy="fill them in, or leave the rows out",
        )
    if config.bad_values == "refuse":
        for role in roles:
            _expect_readable(numbers[role], f"{where}, column {columns.roles[role]}")
    whole = pl.DataFrame(
        {
            "person": people,
            "timestamp": times.stamps,
            "bad_time": times.stamps.is_null(),
            **{role: numbers[role].values for role in roles},
            **{f"bad_{role}": numbers[role].unreadable for role in roles},
        }
    )
    for (person,), rows in whole.group_by("person", maintain_order=True):
        counts = {
            "text": int(rows[f"bad_{GLUCOSE}"].sum()),
            "text_other": sum(int(rows[f"bad_{role}"].sum()) for role in columns.covariates),
            "time": int(rows["bad_time"].sum()),
        }
        yield Readings(
            item_id=str(person),
            frame=rows.filter(~pl.col("bad_time")).select("timestamp", *roles),
            where=where if ITEM not in columns.roles else f"{where}, person {person!r}",
            absolute=times.absolute,
            offset_minutes=times.offset_minutes,
            glucose_column=columns.roles[GLUCOSE],
            units=units,
            counts={kind: count for kind, count in counts.items() if count},
            facts={"source": where, "columns": str(columns), **(facts or {})},
        )


def merged(readings: Iterable[Readings]) -> dict[str, Readings]:
    """Readings by person; those that several files have of one person are joined.

    Raises
    ------
    DataError
        When two files of one person are of different kinds.
    """
    import polars as pl

    people: dict[str, Readings] = {}
    for one in readings:
        known = people.get(one.item_id)
        if known is None:
            people[one.item_id] = one
            continue
        if (known.absolute, known.units) != (one.absolute, one.units):
            raise DataError(
                "two files of one person differ in their times or units",
                where=f"{known.where} and {one.where}",
                remedy="give them as two people, or write them one way",
            )
        people[one.item_id] = replace(
            known,
            frame=pl.concat([known.frame, one.frame], how="diagonal"),
            counts=dict(Counter(known.counts) + Counter(one.counts)),
            facts={**known.facts, "source": f"{known.facts.get('source', '')}; {one.where}"},
        )
    return people


def _times(table: pl.DataFrame, columns: Columns, config: CgmConfig, where: str) -> Times:
    import polars as pl

    roles = columns.roles
    if TIME in roles:
        cells, name = table[roles[TIME]], roles[TIME]
    else:
        day, clock = (table[roles[role]].cast(pl.String) for role in (DATE, CLOCK))
        cells, name = day + pl.Series([" "]) + clock, f"{roles[DATE]} and {roles[CLOCK]}"
    return read_times(cells, date_format=config.date_format, where=f"{where}, column {name}")


def _row_ids(table: pl.DataFrame) -> list[str]:
    """Columns called ``id`` and alike that differ in every row."""
    if len(table) < 2:
        return []
    return [name for name in table.columns if table[name].n_unique() == len(table)]


def _expect_readable(numbers: Numbers, where: str) -> None:
    if numbers.example:
        raise DataError(
            f"{int(numbers.unreadable.sum())} cells hold no number, the first {numbers.example}",
            where=where,
            remedy="correct them, or set bad_values='repair' to make them unobserved",
        )
