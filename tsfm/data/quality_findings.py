"""What a look at data finds: kinds of finding, and single findings of one series."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Kind:
    """A kind of finding, as a reader meets it.

    Attributes
    ----------
    label
        A few words.
    meaning
        What it says of a row and what was done about it.
    repaired
        Whether the data were changed; else it is a remark.
    """

    label: str
    meaning: str
    repaired: bool = True


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding in one series.

    Attributes
    ----------
    kind
        Its key among the kinds of a report.
    at
        The moment in UTC of the row concerned, where it has one.
    what
        The values found, in words.
    """

    kind: str
    at: datetime | None
    what: str
