"""What a reproduction prints and leaves in its run."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from tsfm.tracking.console import stdout
from tsfm.tracking.reproduction import VERDICT_TAG, Difference, Reproduction
from tsfm.tracking.run_record import RunRecord

SHOWN, SHOWN_EQUAL = 40, 12


def show_changes(record: RunRecord, found: Sequence[Difference], commands: Sequence[str]) -> None:
    """Print what is done again, and what around it is not as it was."""
    console = stdout(highlight=False)
    _say(console, f"again       {record.entry_point} run {record.name}  {record.run_id}")
    if record.resumed:
        times = "once" if record.resumed == 1 else f"{record.resumed} times"
        _say(
            console,
            f"note        it was interrupted and resumed {times}; it is done in one go now, which "
            "on a CPU gives the same; what it recorded of code and machine is of its last part",
        )
    for difference in found:
        _say(console, f"differs     {difference}")
    if any(difference.kind == "code" for difference in found):
        _say(console, "            today's code is run; with the code of then:")
        for command in commands:
            _say(console, f"              {command}")


def record_reproduction(
    again: RunRecord, result: Reproduction, found: Sequence[Difference]
) -> None:
    """The table, the verdict, and what differed around the run."""
    client, run_id = again.client, again.run_id
    client.log_text(run_id, result.table.to_csv(index=False), "tables/reproduction.csv")
    differences = "\n".join(map(str, (*found, *result.data))) or "none"
    client.log_text(run_id, differences + "\n", "reproduction_differences.txt")
    client.set_tag(run_id, VERDICT_TAG, "equal" if result.is_equal else "different")


def show_result(old: RunRecord, again: RunRecord, result: Reproduction, tolerance: float) -> None:
    """Print recorded beside reproduced values: those that differ, or all where none does."""
    console = stdout(highlight=False)
    differing = result.differing
    rows, most = (differing, SHOWN) if len(differing) else (result.table, SHOWN_EQUAL)
    title = f"{old.name} and {again.name}, tolerance {tolerance:g}"
    table = Table(title=title, box=SIMPLE)
    has_parts = bool(rows["part"].any())
    for column in rows.columns:
        if column != "part" or has_parts:
            table.add_column(column, justify="left" if column in ("part", "metric") else "right")
    for row in rows.head(most).to_dict("records"):
        cells = [f"{row[name]:.9g}" for name in ("recorded", "reproduced")]
        cells = [row["metric"], *cells, f"{row['difference']:.2g}", "yes" if row["equal"] else "NO"]
        table.add_row(*([row["part"]] if has_parts else []), *cells)
    console.print(table)
    if len(rows) > most:
        _say(console, f"and {len(rows) - most} more, all in tables/reproduction.csv")
    for difference in result.data:
        _say(console, f"differs     {difference}")
    same, of = int(result.table["equal"].sum()), len(result.table)
    _say(console, f"metrics     {same} of {of} equal")
    _say(console, f"weights     {result.weights}")
    _say(console, f"run         {again.name}  {again.run_id}  reproduces {old.run_id}")
    _say(console, f"result      {'EQUAL' if result.is_equal else 'DIFFERENT'}")


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, markup=False)
