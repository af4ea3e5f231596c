"""What an upsert did, counted in bars."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Change:
    """Counts of an upsert; they add up.

    Attributes
    ----------
    added
        Bars of dates that were not there.
    replaced
        Bars whose values differed from those that were there.
    unchanged
        Bars that were there already.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0

    def __add__(self, other: Change) -> Change:
        return Change(
            added=self.added + other.added,
            replaced=self.replaced + other.replaced,
            unchanged=self.unchanged + other.unchanged,
        )
