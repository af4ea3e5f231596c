"""What an ingest did, and what it could not read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from tsfm.data.ohlcv.change import Change

NAMED_ROWS = 5


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that was skipped, or (among notes) understood in a way worth knowing.

    Attributes
    ----------
    path
        Of the file.
    row
        Counted from 0 after the header; ``None`` where it is about the file or many rows.
    what
        With the value and the reason.
    """

    path: str
    row: int | None = None
    what: str

    def __str__(self) -> str:
        where = self.path if self.row is None else f"{self.path}, row {self.row}"
        return f"{where}: {self.what}"


@dataclass(frozen=True, kw_only=True)
class IngestReport:
    """The outcome of an ingest.

    Attributes
    ----------
    files
        Read, at least in part.
    rows
        Read, also those skipped.
    skipped
        Rows named in ``problems`` (the first of a kind one by one, the others counted).
    change
        In the lake.
    problems
        What was not taken in.
    notes
        How dates were understood.
    """

    files: int
    rows: int
    skipped: int
    change: Change
    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Everything was taken in."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass
class FileLog:
    """Problems and notes of one file while it is read; rows of a kind beyond five are counted."""

    path: str
    rows: int = 0
    skipped: int = 0
    notes: dict[str, Problem] = field(default_factory=dict)
    _problems: list[Problem] = field(default_factory=list)
    _kinds: dict[str, int] = field(default_factory=dict)

    def refuse(self, what: str, row: int | None = None) -> None:
        """The file, or the rest of it, is not taken in."""
        self._problems.append(Problem(path=self.path, row=row, what=what))

    def skip(self, kind: str, row: int, what: str) -> None:
        """A row is not taken in."""
        self.skip_more(kind, 1)
        if self._kinds[kind] <= NAMED_ROWS:
            self._problems.append(Problem(path=self.path, row=row, what=what))

    def skip_more(self, kind: str, count: int) -> None:
        """Rows of a kind that are only counted."""
        self.skipped += count
        self._kinds[kind] = self._kinds.get(kind, 0) + count

    def named(self, kind: str) -> int:
        """Rows of a kind that can still be named."""
        return max(NAMED_ROWS - self._kinds.get(kind, 0), 0)

    def note(self, what: str, row: int | None = None) -> None:
        """Told once for a file."""
        self.notes.setdefault(what, Problem(path=self.path, row=row, what=what))

    @property
    def problems(self) -> list[Problem]:
        """All, those that were counted only at the end."""
        more = [
            Problem(path=self.path, what=f"{count - NAMED_ROWS} more rows: {kind}")
            for kind, count in self._kinds.items()
            if count > NAMED_ROWS
        ]
        return [*self._problems, *more]
