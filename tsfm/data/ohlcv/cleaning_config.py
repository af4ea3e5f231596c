"""What cleaning may do to bars, and what it calls what it finds."""

from __future__ import annotations

from dataclasses import dataclass

from tsfm.data.quality_findings import Kind
from tsfm.errors import ConfigError, one_of

REPAIRS = {
    "no_timestamp": Kind("No timestamp", "the row has no date; dropped"),
    "unsorted": Kind("Out of order", "the row is earlier than the one before it; moved"),
    "duplicate": Kind("Duplicated", "an identical row repeats; dropped"),
    "conflict": Kind("Contradicted", "another row of the same moment differs; the later one kept"),
    "incomplete": Kind("Incomplete", "a price is absent or infinite; the bar is unobserved"),
    "non_positive": Kind("Price not positive", "a price is zero or below; the bar is unobserved"),
    "bad_volume": Kind("Impossible volume", "negative or infinite; the volume is unobserved"),
    "swapped": Kind("High and low swapped", "exchanging them makes the bar possible; exchanged"),
    "narrow": Kind("High or low too tight", "open or close lie just outside; widened to them"),
    "impossible": Kind("Impossible bar", "high and low do not enclose open and close; unobserved"),
    "missing": Kind("Missing", "a bar of the instrument's sessions is absent; unobserved"),
    "spike": Kind("Bad print", "a price far off that the same or next bar takes back; unobserved"),
    "quarantine": Kind("Unconfirmed jump", "no bar confirms this price yet; unobserved"),
    "split": Kind("Split", "prices and volumes are brought to one share base"),
}
REMARKS = {
    "split_kept": Kind("Split, not adjusted", "seen in the prices, left as it is", repaired=False),
    "split_unlisted": Kind("Unlisted split", "by the rule, not in the table", repaired=False),
    "split_absent": Kind("Split not seen", "listed, prices already adjusted", repaired=False),
    "suspension": Kind("Suspension", "no bars for long; not filled", repaired=False),
}
KINDS = {**REPAIRS, **REMARKS}


@dataclass(frozen=True, kw_only=True)
class CleaningConfig:
    """How one instrument's bars are repaired; see :mod:`tsfm.data.ohlcv.cleaning`.

    Attributes
    ----------
    sessions
        ``learn`` the timetable from the instrument's own bars, ``none``, or an exchange's code
        such as ``XNYS`` (needs ``exchange_calendars``).
    longest_gap_days
        A stretch without bars longer than this is a suspension: reported, not filled.
    tight_tolerance
        Open or close may lie outside high and low by this share of the price and be a matter of
        rounding: high or low is widened. Beyond it the bar is impossible.
    outliers
        Look for bad prints.
    outlier_z
        A price is far off beyond so many robust standard deviations (1.4826 × the median absolute
        log return of the past ``outlier_window`` bars).
    outlier_window
        Past bars that scale and usual volume are taken from.
    outlier_move
        And beyond this log move, so that one tick of a calm market is no outlier.
    crowd
        A bar of more than so many times the usual volume is an event, never a bad print.
    quarantine_factor
        A close that is so many times the last one, or one part in so many, is unobserved until the
        next bar confirms the level.
    look_ahead
        0: a bar is judged by itself and its past, so nothing before a cutoff depends on what
        follows. 1: a spike may be recognised by the next bar that takes it back, so a bar's
        being observed may depend on the bar after it.
    splits
        ``auto``: the table where one is given, else the rule; ``table``, ``rule`` or ``none``.
    adjust
        ``forward`` scales the bars after a split, so that bars before a cutoff never move;
        ``backward`` scales the bars before it, the habit of data vendors; ``none``.
    strict
        Raise on the first thing that would be repaired.
    findings_kept
        Findings of each kind that are kept with date and words; all are counted.
    """

    sessions: str = "learn"
    longest_gap_days: float = 14.0
    tight_tolerance: float = 0.001
    outliers: bool = True
    outlier_z: float = 20.0
    outlier_window: int = 256
    outlier_move: float = 0.01
    crowd: float = 4.0
    quarantine_factor: float = 3.0
    look_ahead: int = 0
    splits: str = "auto"
    adjust: str = "forward"
    strict: bool = False
    findings_kept: int = 100

    def __post_init__(self) -> None:
        one_of("splits", self.splits, ("auto", "table", "rule", "none"))
        one_of("adjust", self.adjust, ("forward", "backward", "none"))
        one_of("look_ahead", self.look_ahead, (0, 1))
        _at_least("longest_gap_days", self.longest_gap_days, 0)
        _at_least("tight_tolerance", self.tight_tolerance, 0)
        _at_least("outlier_z", self.outlier_z, 3)
        _at_least("outlier_window", self.outlier_window, 8)
        _at_least("outlier_move", self.outlier_move, 0)
        _at_least("crowd", self.crowd, 1)
        _at_least("quarantine_factor", self.quarantine_factor, 1.5)
        _at_least("findings_kept", self.findings_kept, 1)
        if not self.sessions:
            raise ConfigError(
                "sessions is empty", remedy="give learn, none or an exchange's code such as XNYS"
            )


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ConfigError(f"{name}={value!r} is too small", remedy=f"give {least} or more")
