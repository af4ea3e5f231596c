"""What the reports print: tables, and where the run is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd

    from tsfm.tracking.runs import MlflowRun


def stdout(width: int = 160, *, highlight: bool = True) -> Console:
    """Standard output, as wide as its terminal; ``width`` characters where it is none."""
    return Console(width=None if sys.stdout.isatty() else width, highlight=highlight)


def print_table(
    console: Console,
    title: str,
    rows: pd.DataFrame,
    *,
    cell: Callable[[Any], str] = str,
    **options: Any,
) -> None:
    """A row for each, without the index.

    Parameters
    ----------
    cell
        Text of a value.
    options
        Of every column: those of :meth:`rich.table.Table.add_column`.
    """
    table = Table(title=title, box=SIMPLE)
    for column in rows.columns:
        table.add_column(str(column), **options)
    for row in rows.itertuples(index=False):
        table.add_row(*map(cell, row))
    console.print(table)


def print_run(console: Console, record: MlflowRun) -> None:
    """Its name, id and address."""
    console.print(f"run         {record.name}  {record.run_id}", highlight=False)
    console.print(f"see it      {record.url()}", highlight=False, soft_wrap=True)
