"""Repair one instrument's bars, and say what was repaired.

In this order: rows without a date dropped; order; duplicates; impossible fields; bars missing from
the sessions inserted as unobserved; splits brought to one share base; bad prints unobserved. A bar
is observed or not as a whole: an unobserved one has null prices and a null volume.

**Nothing looks ahead** (by default): a bar's values depend on itself and on bars before it, so
whatever happens after a cutoff, what was cleaned before it stays. That is why a split scales the
bars *after* it (``adjust=forward``); returns and ranges are the same either way, while the level
``log_close`` of bars before a split would move by a constant if they were scaled by a split to
come, which tells of it. That is also why a price that only the *next* bar takes back is kept
unless ``look_ahead=1``: until then nobody can tell it from a true jump. A bad print that its own
bar takes back (a high, low or open far from the closes on both sides, at ordinary volume) is
unobserved; true jumps and crashes, which stay or draw a crowd, are kept.

Cleaning what is clean changes nothing, and cleaning twice (by the same sessions) is cleaning once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tsfm.data.ohlcv.cleaning_config import KINDS, CleaningConfig
from tsfm.data.ohlcv.corporate_actions import in_words, listed_ratios, split_table
from tsfm.data.ohlcv.local_time import integers, moments
from tsfm.data.ohlcv.sessions import Sessions
from tsfm.data.ohlcv.timetable import DAY
from tsfm.data.quality_findings import Finding
from tsfm.errors import DataError

if TYPE_CHECKING:
    import polars as pl

PRICES = ("open", "high", "low", "close")
OPEN, HIGH, LOW, CLOSE = range(4)
OVERNIGHT = DAY // 6


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """Bars as they came out, and what was found.

    Attributes
    ----------
    bars
        ``ts, open, high, low, close, volume``, increasing and unique; null where unobserved.
    counts
        Findings of each kind (:data:`tsfm.data.ohlcv.cleaning_config.KINDS`) that occurred.
    findings
        The first of each kind, with date and values.
    """

    bars: pl.DataFrame
    counts: Mapping[str, int]
    findings: list[Finding]


def clean(
    bars: pl.DataFrame,
    config: CleaningConfig | None = None,
    *,
    sessions: Sessions | None = None,
    splits: pl.DataFrame | None = None,
    where: str = "bars",
) -> Cleaned:
    """Repair the bars of one instrument.

    Parameters
    ----------
    bars
        ``ts: Datetime`` in UTC, ``open, high, low, close, volume``; in any order.
    sessions
        When the instrument trades (:meth:`Sessions.of`); without them no bar is missed.
    splits
        The instrument's rows of :func:`tsfm.data.ohlcv.corporate_actions.split_table`, none if it
        never split; ``None`` where no table is at hand. A listed split that the prices do not
        show was adjusted by whoever made them, and is left alone.
    where
        Names the instrument in errors.

    Raises
    ------
    DataError
        When a column is missing or of another type, or, in strict mode, on the first finding
        that would be repaired.
    """
    config = config or CleaningConfig()
    frame = _typed(bars, where)
    ledger = _Ledger(config=config, where=where)
    if frame.is_empty():
        return Cleaned(bars=frame, counts={}, findings=[])
    table = _Table.of(frame, ledger)
    _order(table, ledger)
    _repair_fields(table, ledger, config.tight_tolerance)
    _fill_gaps(table, ledger, sessions, config.longest_gap_days)
    _walk(table, ledger, config, sessions, splits)
    return Cleaned(
        bars=table.frame() if table.changed else frame,
        counts=ledger.counts,
        findings=ledger.findings,
    )


@dataclass(kw_only=True)
class _Ledger:
    """Counts every finding, keeps the first of each kind, refuses when strict."""

    config: CleaningConfig
    where: str
    counts: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def note(
        self, kind: str, rows: np.ndarray, at: np.ndarray | None, what: str | Callable[[int], str]
    ) -> None:
        """Findings at ``rows`` of ``at``, microseconds; ``what`` puts a row in words."""
        if not len(rows):
            return
        self.counts[kind] = self.counts.get(kind, 0) + len(rows)
        for row in rows[: self.config.findings_kept].tolist():
            moment = moments(at[row : row + 1])[0] if at is not None else None
            words = what if isinstance(what, str) else what(row)
            if self.config.strict and KINDS[kind].repaired:
                raise DataError(
                    f"{KINDS[kind].label.lower()}: {words}",
                    where=f"{self.where}, {moment or f'row {row}'}",
                    remedy="repair the source, or leave strict off to have it repaired and counted",
                )
            self.findings.append(Finding(kind=kind, at=moment, what=words))


@dataclass(kw_only=True)
class _Table:
    """Bars as arrays: ``stamps int64 [bar]``, ``prices float64 [bar, 4]``, ``volume [bar]``."""

    stamps: np.ndarray
    prices: np.ndarray
    volume: np.ndarray
    changed: bool = False

    @classmethod
    def of(cls, frame: pl.DataFrame, ledger: _Ledger) -> _Table:
        dated = frame
        if frame["ts"].null_count():
            undated = frame["ts"].is_null().to_numpy()
            dated = frame.filter(~frame["ts"].is_null())
            ledger.note("no_timestamp", np.flatnonzero(undated), None, "no date")
        prices = np.empty((len(dated), len(PRICES)))
        for place, name in enumerate(PRICES):
            prices[:, place] = dated[name].to_numpy()
        return cls(
            stamps=integers(dated["ts"]),
            prices=prices,
            volume=dated["volume"].to_numpy(),
            changed=len(dated) < len(frame),
        )

    def take(self, rows: np.ndarray) -> None:
        self.stamps, self.prices = self.stamps[rows], self.prices[rows]
        self.volume, self.changed = self.volume[rows], True

    def drop(self, rows: np.ndarray) -> None:
        """Make bars unobserved."""
        if len(rows):
            self.own()
            self.prices[rows], self.volume[rows] = np.nan, np.nan

    def own(self) -> None:
        """Make the arrays safe to write to."""
        if not self.changed:
            self.prices, self.volume = self.prices.copy(), self.volume.copy()
            self.changed = True

    def shown(self, row: int) -> str:
        values = zip((*PRICES, "volume"), (*self.prices[row], self.volume[row]))
        return ", ".join(f"{name} {value:g}" for name, value in values)

    def frame(self) -> pl.DataFrame:
        import polars as pl

        columns = {name: self.prices[:, place] for place, name in enumerate(PRICES)}
        return pl.DataFrame(
            {"ts": moments(self.stamps), **columns, "volume": self.volume}, nan_to_null=True
        )


def _typed(bars: pl.DataFrame, where: str) -> pl.DataFrame:
    import polars as pl

    missing = [name for name in ("ts", *PRICES, "volume") if name not in bars.columns]
    if missing:
        raise DataError(
            f"columns {', '.join(missing)} are missing",
            where=where,
            remedy=f"give ts, {', '.join(PRICES)}, volume; there are {', '.join(bars.columns)}",
        )
    stamped = bars.schema["ts"]
    if not isinstance(stamped, pl.Datetime) or stamped.time_zone is None:
        raise DataError(
            f"ts is {stamped}, not dates in UTC",
            where=where,
            remedy="convert it to Datetime('us', 'UTC')",
        )
    frame = pl.DataFrame([bars[name] for name in ("ts", *PRICES, "volume")])
    wanted = {"ts": pl.Datetime("us", "UTC"), **dict.fromkeys(frame.columns[1:], pl.Float64())}
    try:
        if frame.schema != wanted:
            frame = frame.with_columns(
                pl.col("ts").dt.convert_time_zone("UTC").dt.cast_time_unit("us"),
                pl.exclude("ts").cast(pl.Float64),
            )
        if any(np.isnan(frame[name].to_numpy()).any() for name in (*PRICES, "volume")):
            frame = frame.with_columns(pl.col(pl.Float64).fill_nan(None))
        return frame
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"prices or volume are no numbers: {error}", where=where, remedy="convert them"
        ) from error


def _order(table: _Table, ledger: _Ledger) -> None:
    back = np.flatnonzero(table.stamps[1:] < table.stamps[:-1]) + 1
    ledger.note("unsorted", back, table.stamps, "earlier than the row before it")
    if len(back):
        table.take(np.argsort(table.stamps, kind="stable"))
    last = np.append(table.stamps[1:] != table.stamps[:-1], True)
    if last.all():
        return
    dropped = np.flatnonzero(~last)
    kept = np.flatnonzero(last)[np.searchsorted(np.flatnonzero(last), dropped)]
    values = np.column_stack([table.prices, table.volume])
    same = np.isclose(values[dropped], values[kept], rtol=0, atol=0, equal_nan=True).all(axis=1)
    for kind, rows in (("duplicate", dropped[same]), ("conflict", dropped[~same])):
        ledger.note(kind, rows, table.stamps, table.shown)
    table.take(np.flatnonzero(last))


def _repair_fields(table: _Table, ledger: _Ledger, tolerance: float) -> None:
    negative = np.flatnonzero((table.volume < 0) | np.isinf(table.volume))
    ledger.note("bad_volume", negative, table.stamps, table.shown)
    if len(negative):
        table.own()
        table.volume[negative] = np.nan

    opens, highs, lows, closes = table.prices.T
    with np.errstate(invalid="ignore"):
        sound = (highs >= np.maximum(opens, closes)) & (lows <= np.minimum(opens, closes))
        sound &= (lows > 0) & (highs < np.inf)
    rows = np.flatnonzero(~sound)
    prices = table.prices[rows]
    rows, prices = _without(rows, prices, np.isnan(prices).all(axis=1))

    def unobserved(kind: str, found: np.ndarray) -> None:
        nonlocal rows, prices
        ledger.note(kind, rows[found], table.stamps, table.shown)
        table.drop(rows[found])
        rows, prices = _without(rows, prices, found)

    unobserved("incomplete", ~np.isfinite(prices).all(axis=1))
    unobserved("non_positive", np.any(prices <= 0, axis=1))

    top = np.maximum(prices[:, OPEN], prices[:, CLOSE])
    bottom = np.minimum(prices[:, OPEN], prices[:, CLOSE])
    swapped = (prices[:, LOW] >= top) & (prices[:, HIGH] <= bottom)
    outside = np.maximum(top / prices[:, HIGH], prices[:, LOW] / bottom) - 1
    narrow = ~swapped & (outside <= tolerance)
    for kind, found in (("swapped", swapped), ("narrow", narrow)):
        ledger.note(kind, rows[found], table.stamps, table.shown)
    if swapped.any() or narrow.any():
        table.own()
        table.prices[rows[swapped], HIGH] = prices[swapped, LOW]
        table.prices[rows[swapped], LOW] = prices[swapped, HIGH]
        table.prices[rows[narrow], HIGH] = np.maximum(prices[narrow, HIGH], top[narrow])
        table.prices[rows[narrow], LOW] = np.minimum(prices[narrow, LOW], bottom[narrow])
    unobserved("impossible", ~swapped & ~narrow)


def _without(
    rows: np.ndarray, prices: np.ndarray, found: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    return rows[~found], prices[~found]


def _fill_gaps(
    table: _Table, ledger: _Ledger, sessions: Sessions | None, longest_days: float
) -> None:
    stamps = table.stamps
    longest = max(longest_days * DAY, 2 * sessions.step if sessions else 0)
    long = np.flatnonzero(np.diff(stamps) > longest)
    ledger.note(
        "suspension",
        long,
        stamps,
        lambda row: f"no bars for {(stamps[row + 1] - stamps[row]) / DAY:.0f} days",
    )
    if sessions is None:
        return
    expected = sessions.between(int(stamps[0]), int(stamps[-1]))
    follower = np.searchsorted(stamps, expected)
    absent = (stamps[follower] != expected) & ~np.isin(follower - 1, long)
    missing = expected[absent]
    ledger.note("missing", np.arange(len(missing)), missing, "no bar")
    if len(missing):
        unobserved = np.full((len(missing), 4), np.nan)
        table.prices = np.concatenate([table.prices, unobserved])
        table.volume = np.concatenate([table.volume, unobserved[:, 0]])
        table.stamps = np.concatenate([stamps, missing])
        table.take(np.argsort(table.stamps, kind="stable"))


def _walk(
    table: _Table,
    ledger: _Ledger,
    config: CleaningConfig,
    sessions: Sessions | None,
    splits: pl.DataFrame | None,
) -> None:
    from tsfm.data.ohlcv import price_walk as pw

    rule = _rule(config, splits)
    listed = np.ones(len(table.stamps))
    if splits is not None and config.splits in ("auto", "table"):
        zone = sessions.timezone if sessions else "UTC"
        listed = listed_ratios(split_table(splits, where="splits"), table.stamps, zone)
    elif rule == pw.OFF and not config.outliers:
        return
    limits = pw.Limits(
        outliers=config.outliers,
        z=float(config.outlier_z),
        window=int(config.outlier_window),
        move=float(config.outlier_move),
        crowd=float(config.crowd),
        quarantine=float(np.log(config.quarantine_factor)),
        look_ahead=int(config.look_ahead),
        rule=rule,
        adjusted=config.adjust != "none",
    )
    walked = pw.walk_until_settled(
        table.prices, table.volume, _starts(table.stamps, sessions), listed, limits
    )
    _adjust(table, ledger, config, walked)
    for kind, verdict in (("spike", pw.SPIKE), ("quarantine", pw.QUARANTINE)):
        rows = np.flatnonzero(walked.verdict == verdict)
        ledger.note(kind, rows, table.stamps, table.shown)
        table.drop(rows)


def _rule(config: CleaningConfig, splits: pl.DataFrame | None) -> int:
    from tsfm.data.ohlcv import price_walk as pw

    if config.splits == "rule" or (config.splits == "auto" and splits is None):
        return pw.APPLY
    return pw.REPORT if config.splits == "auto" else pw.OFF


def _adjust(table: _Table, ledger: _Ledger, config: CleaningConfig, walked: object) -> None:
    from tsfm.data.ohlcv import price_walk as pw

    assert isinstance(walked, pw.Walk)
    found = np.isin(walked.split, (pw.BY_TABLE, pw.BY_RULE))
    for kind, mask in (
        ("split" if config.adjust != "none" else "split_kept", found),
        ("split_unlisted", walked.split == pw.UNLISTED),
        ("split_absent", walked.split == pw.ABSENT),
    ):
        ledger.note(
            kind,
            np.flatnonzero(mask),
            table.stamps,
            lambda row: f"{in_words(walked.ratio[row])}, prices divided by {walked.ratio[row]:g}",
        )
    if not found.any() or config.adjust == "none":
        return
    factor = np.cumprod(np.where(found, walked.ratio, 1.0))
    if config.adjust == "backward":
        factor = factor / factor[-1]
    table.prices, table.volume = table.prices * factor[:, None], table.volume / factor
    table.changed = True


def _starts(stamps: np.ndarray, sessions: Sessions | None) -> np.ndarray:
    """``bool [bar]``: a session begins, and with it what takes effect over night."""
    steps = np.diff(stamps)
    step = sessions.step if sessions else int(np.median(steps)) if len(steps) else DAY
    if sessions and sessions.continuous:
        return np.zeros(len(stamps), bool)
    if step >= DAY:
        return np.ones(len(stamps), bool)
    return np.append(True, steps > max(1.5 * step, OVERNIGHT))
