"""One person's readings made regular: one unit, one clock, one value per bar, repairs counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
from jaxtyping import Float

from tsfm.data.glucose import grid, insulin, units
from tsfm.data.glucose.cgm_config import CgmConfig
from tsfm.data.glucose.clock import HOUR, ordered
from tsfm.data.glucose.columns import BASAL, CARBOHYDRATES, COB, GLUCOSE, INSULIN, IOB, TIME
from tsfm.data.glucose.readings import LONG_INSULIN, Readings
from tsfm.data.glucose.times import on_steady_clock
from tsfm.data.quality_findings import Finding
from tsfm.errors import DataError

LOW, HIGH = 39.0, 401.0
"""mg/dL written for LOW and HIGH: one beyond the range that sensors report, 40–400."""

_LONGEST_BARS = 5_000_000
_HELD_MINUTES = 1440
_LISTED = 20
_SUMMED = (INSULIN, CARBOHYDRATES, LONG_INSULIN, "steps", "calories")
_LAST = (IOB, COB)
_MADE_OF = {IOB: INSULIN, COB: CARBOHYDRATES}


@dataclass(frozen=True, kw_only=True)
class Harmonised:
    """One person on a regular grid.

    Attributes
    ----------
    start
        Of the first bar, on a clock that is never changed.
    minutes
        Of a bar.
    glucose
        mg/dL, NaN where unobserved; nothing is imputed.
    covariates
        By name. A bar knows what happened up to its time: doses, carbohydrates, steps and calories
        since the bar before, summed; the last basal rate, IOB and COB; means of others.
    units
        That glucose was given in.
    counts, findings, facts
        Of the quality report.
    """

    item_id: str
    start: pd.Timestamp
    minutes: int
    glucose: Float[np.ndarray, " time"]
    covariates: dict[str, Float[np.ndarray, " time"]]
    units: str
    counts: dict[str, int]
    findings: tuple[Finding, ...]
    facts: dict[str, str]
    static: dict[str, float | str] = field(default_factory=dict)


def harmonise(readings: Readings, config: CgmConfig) -> Harmonised:
    """One person's readings on a grid.

    Raises
    ------
    DataError
        When units are unclear, the clock goes back too far, two people are mixed, more than
        ``config.bad_share`` is unreadable or impossible, or nothing is left.
    """
    where = readings.where
    frame = readings.frame
    stamps = on_steady_clock(
        frame[TIME],
        absolute=readings.absolute,
        offset_minutes=readings.offset_minutes,
        timezone=config.timezone,
    )
    counts = Counter(readings.counts)
    counts["time"] += stamps.null_count()
    frame = frame.with_columns(stamps.alias(TIME)).filter(stamps.is_not_null())
    sensed = frame.filter(pl.col(GLUCOSE).is_not_null())
    total = len(sensed) + readings.counts.get("text", 0)
    if len(sensed) < config.min_readings:
        raise DataError(
            f"{len(sensed)} readings of glucose are fewer than min_readings={config.min_readings}",
            where=where,
            remedy="leave the person out, or lower min_readings",
        )
    given = sensed[GLUCOSE].to_numpy()
    unit = _unit(given, readings, config)
    values, found = _plausible(units.to_mg_dl(given, unit), config)
    counts.update(found)
    bad = counts["range"] + counts["text"]
    if bad and (config.bad_values == "refuse" or bad > config.bad_share * total):
        raise _too_bad(bad, total, given, unit, counts, config, where)
    micros = sensed[TIME].cast(pl.Int64).to_numpy()
    in_order = ordered(micros, values, clock_hours=config.clock_hours, where=where)
    counts.update(in_order.counts)
    micros, values = micros[in_order.rows], values[in_order.rows]
    minutes = config.resolution_minutes or grid.resolution(micros)
    step = minutes * grid.MINUTE
    placed = grid.place(micros, step)
    counts["crowded"] += int((~placed.kept).sum())
    counts["moved"] += placed.moved
    origin = int(placed.bars[0])
    length = int(placed.bars[-1]) - origin + 1
    if config.announced:
        frame, last = _announced(frame, int(micros[-1]), config)
        length = max(length, int(grid.past_bar(np.array([last]), step)[0]) - origin + 1)
    if length > _LONGEST_BARS:
        raise DataError(
            f"readings span {length * minutes / 525_960:.0f} years",
            where=where,
            remedy="correct the dates that lie far away from the others",
        )
    glucose = np.full(length, np.nan)
    glucose[placed.bars - origin] = values[placed.kept]
    findings = _gaps(placed.bars, step, minutes, config, counts)
    findings += [_finding("clock", at, "the clock went back") for at in in_order.jumps[:_LISTED]]
    covariates = _covariates(frame, origin, length, minutes, config, counts)
    return Harmonised(
        item_id=readings.item_id,
        start=pd.Timestamp(origin * step, unit="us"),
        minutes=minutes,
        glucose=glucose,
        covariates=covariates,
        units=unit,
        counts={kind: count for kind, count in counts.items() if count},
        findings=tuple(findings),
        facts={
            **readings.facts,
            "glucose given in": unit,
            "resolution of the readings": f"{grid.resolution(micros)} min",
            "readings": str(len(sensed)),
        },
        static={**readings.static, "patient": readings.item_id},
    )


def _announced(frame: pl.DataFrame, now: int, config: CgmConfig) -> tuple[pl.DataFrame, int]:
    """Rows without what is not known ahead after ``now``, and the time of the last one that is."""
    known = {*config.known_covariates}
    known |= {dose for board, dose in _MADE_OF.items() if board in known}
    told = [name for name in frame.columns if name in known]
    hidden = [name for name in frame.columns if name not in (TIME, *told)]
    is_past = pl.col(TIME).cast(pl.Int64) <= now
    frame = frame.with_columns(pl.when(is_past).then(pl.col(name)).alias(name) for name in hidden)
    given = pl.any_horizontal(pl.lit(False), *(pl.col(name).is_not_null() for name in told))
    ahead = frame.filter(~is_past & given)[TIME].cast(pl.Int64)
    return frame, now if ahead.is_empty() else int(ahead.to_numpy().max())


def _unit(given: np.ndarray, readings: Readings, config: CgmConfig) -> str:
    return units.detect_units(
        given,
        where=readings.where,
        column=readings.glucose_column,
        units=config.units if config.units != "auto" else readings.units,
    )


def _plausible(values: np.ndarray, config: CgmConfig) -> tuple[np.ndarray, dict[str, int]]:
    """Glucose with LOW and HIGH as numbers, NaN where it cannot be."""
    beyond = np.isinf(values)
    values = np.where(beyond, np.where(values > 0, HIGH, LOW), values)
    outside = (values < units.LOWEST) | (values > units.HIGHEST)
    saturated = beyond | np.isin(values, (LOW, HIGH))
    unobserved = outside | (saturated if config.saturated == "unobserved" else False)
    counts = {"range": int(outside.sum()), "saturated": int(saturated.sum())}
    return np.where(unobserved, np.nan, values), counts


def _too_bad(
    bad: int,
    total: int,
    given: np.ndarray,
    unit: str,
    counts: Counter[str],
    config: CgmConfig,
    where: str,
) -> DataError:
    odd = given[np.isfinite(given)]
    mg = units.to_mg_dl(odd, unit)
    odd = odd[(mg < units.LOWEST) | (mg > units.HIGHEST)]
    example = f", such as {odd[0]:g} {unit}" if len(odd) else ""
    allowed = "none is" if config.bad_values == "refuse" else f"{config.bad_share:.0%} are"
    return DataError(
        f"{bad} of {total} readings are no glucose ({counts['text']} without a number, "
        f"{counts['range']} outside 10–1000 mg/dL{example}); {allowed} allowed",
        where=where,
        remedy="correct column and units, or raise bad_share with bad_values='repair'",
    )


def _gaps(
    bars: np.ndarray, step: int, minutes: int, config: CgmConfig, counts: Counter[str]
) -> list[Finding]:
    """Count what is missing; the long gaps one by one."""
    missing = np.diff(bars) - 1
    counts["gap"] += int((missing > 0).sum())
    long = np.flatnonzero(missing * minutes >= config.long_gap_hours * 60)
    counts["long_gap"] += len(long)
    return [
        _finding(
            "long_gap", int(bars[k]) * step, f"no reading for {missing[k] * step / HOUR:.0f} hours"
        )
        for k in long[:_LISTED]
    ]


def _finding(kind: str, at: int, what: str) -> Finding:
    moment = datetime.fromtimestamp(int(at) / 1e6, UTC).replace(tzinfo=None)
    return Finding(kind=kind, at=moment, what=what)


def _covariates(
    frame: pl.DataFrame,
    origin: int,
    length: int,
    minutes: int,
    config: CgmConfig,
    counts: Counter[str],
) -> dict[str, np.ndarray]:
    step = minutes * grid.MINUTE
    longest = _HELD_MINUTES // minutes
    made: dict[str, np.ndarray] = {}
    stamps = (origin + np.arange(length)) * step
    for name in frame.columns:
        if name in (TIME, GLUCOSE) or name in made:
            continue
        rows = frame.select(TIME, name).drop_nulls().sort(TIME, maintain_order=True)
        rows = rows.filter(pl.col(name).is_finite())
        once = rows.unique(maintain_order=True)
        counts["repeated"] += len(rows) - len(once)
        rows = once
        at = rows[TIME].cast(pl.Int64).to_numpy()
        bars, values = grid.past_bar(at, step) - origin, rows[name].to_numpy()
        if name in _SUMMED:
            made[name] = grid.summed(bars, values, length) if len(rows) else np.full(length, np.nan)
        elif name == BASAL:
            made[name] = grid.held(bars, values, length, longest)
        elif name in _LAST:
            made[name] = grid.held(bars, values, length, 0)
        else:
            made[name] = grid.averaged(bars, values, length)
        curve = _board(name, config)
        if curve and not _varies(frame, curve[0]) and len(rows):
            board, remaining, until = curve
            made[board] = insulin.on_board(at, values, stamps, remaining, until=until)
    return made


def _varies(frame: pl.DataFrame, name: str) -> bool:
    """Whether a column tells anything: IOB that is always 0 is made from doses instead."""
    return name in frame.columns and frame[name].drop_nulls().n_unique() > 1


def _board(name: str, config: CgmConfig) -> tuple[str, insulin.Remaining, float] | None:
    if name == INSULIN:
        remaining = partial(
            insulin.insulin_remaining,
            duration=config.insulin_minutes,
            peak=config.insulin_peak_minutes,
            delay=config.insulin_delay_minutes,
        )
        return IOB, remaining, config.insulin_minutes + config.insulin_delay_minutes
    if name == CARBOHYDRATES:
        curve, duration = config.carbohydrate_curve, config.carbohydrate_minutes
        remaining = partial(insulin.carbohydrates_remaining, curve=curve, duration=duration)
        return COB, remaining, insulin.carbohydrates_end(curve, duration)
    return None
