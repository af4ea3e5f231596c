"""How far a pass over many bars is: a bar with the rate, the time left and what is at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Show = Callable[[int, int, str], None]


@contextmanager
def progress_bar(title: str, unit: str = "bars") -> Iterator[Show]:
    """A function to be called with what is done, what there is in all, and what is at hand.

    Shown on stderr while it is a terminal, and gone afterwards.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[at_hand]}"),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(title, total=None, rate="", at_hand="")

        def show(done: int, total: int, at_hand: str) -> None:
            speed = progress.tasks[task].speed
            rate = f"{_short(speed)} {unit}/s" if speed else ""
            progress.update(task, completed=done, total=total, rate=rate, at_hand=at_hand)

        yield show


def _short(number: float) -> str:
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{suffix}"
    return f"{number:.3g}"
