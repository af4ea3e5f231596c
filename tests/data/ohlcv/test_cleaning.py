"""Cleaning: what is planted is found and repaired exactly, what is sound is left alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from support.hourly_bars import (
    NEW_YORK,
    PRICES,
    VALUES,
    altered,
    bars_at,
    scaled,
    session_stamps,
    split_at,
    stock,
    unobserved,
)

from tsfm.data.ohlcv.cleaning import Cleaned, clean
from tsfm.data.ohlcv.cleaning_config import KINDS, REPAIRS, CleaningConfig
from tsfm.data.ohlcv.sessions import Sessions
from tsfm.errors import ConfigError, DataError

BAR = 400
"""An ordinary bar, in the middle of a session, with enough of a past to be judged by."""


def learnt(bars: pl.DataFrame) -> Sessions:
    ts = bars.drop_nulls(["ts", "close"])["ts"].unique().sort()
    return Sessions.learn(ts, "1h", timezone=NEW_YORK)


def cleaned(bars: pl.DataFrame, **options: Any) -> Cleaned:
    return clean(bars, CleaningConfig(**options), sessions=learnt(bars))


@pytest.mark.parametrize("seed", range(5))
def test_clean_bars_come_out_unchanged(seed: int) -> None:
    bars = stock(300, seed=seed)
    result = cleaned(bars)
    assert_frame_equal(result.bars, bars, check_exact=True)
    assert result.counts == {}
    assert result.findings == []


def middle(bars: pl.DataFrame) -> dict[str, float]:
    return bars.row(BAR, named=True)


DEFECTS: dict[str, tuple[str, Callable[[pl.DataFrame], pl.DataFrame], Callable]] = {
    "swap": (
        "swapped",
        lambda b: altered(b, BAR, high=middle(b)["low"], low=middle(b)["high"]),
        lambda b: b,
    ),
    "zero price": (
        "non_positive",
        lambda b: altered(b, BAR, low=0.0),
        lambda b: unobserved(b, BAR),
    ),
    "negative volume": (
        "bad_volume",
        lambda b: altered(b, BAR, volume=-5.0),
        lambda b: altered(b, BAR, volume=None),
    ),
    "no close": (
        "incomplete",
        lambda b: altered(b, BAR, close=None),
        lambda b: unobserved(b, BAR),
    ),
    "infinite high": (
        "incomplete",
        lambda b: altered(b, BAR, high=np.inf),
        lambda b: unobserved(b, BAR),
    ),
    "high a tick too low": (
        "narrow",
        lambda b: altered(b, BAR, high=max(middle(b)["open"], middle(b)["close"]) * (1 - 1e-4)),
        lambda b: altered(b, BAR, high=max(middle(b)["open"], middle(b)["close"])),
    ),
    "high far too low": (
        "impossible",
        lambda b: altered(b, BAR, high=middle(b)["low"] * 0.9),
        lambda b: unobserved(b, BAR),
    ),
    "dropped": (
        "missing",
        lambda b: b.filter(pl.int_range(pl.len()) != BAR),
        lambda b: unobserved(b, BAR),
    ),
    "duplicated": (
        "duplicate",
        lambda b: pl.concat([b[: BAR + 1], b[BAR:]]),
        lambda b: b,
    ),
    "corrected later": (
        "conflict",
        lambda b: pl.concat([scaled(b, BAR, 1.001)[: BAR + 1], b[BAR:]]),
        lambda b: b,
    ),
    "out of order": (
        "unsorted",
        lambda b: pl.concat([b[:BAR], b[BAR + 1 : BAR + 2], b[BAR : BAR + 1], b[BAR + 2 :]]),
        lambda b: b,
    ),
    "undated": (
        "no_timestamp",
        lambda b: pl.concat([b[:BAR], b[:1].with_columns(ts=pl.lit(None, b["ts"].dtype)), b[BAR:]]),
        lambda b: b,
    ),
    "high print": (
        "spike",
        lambda b: altered(b, BAR, high=middle(b)["high"] * 1.2),
        lambda b: unobserved(b, BAR),
    ),
    "low print": (
        "spike",
        lambda b: altered(b, BAR, low=middle(b)["low"] / 10),
        lambda b: unobserved(b, BAR),
    ),
    "open print": (
        "spike",
        lambda b: altered(b, BAR, open=middle(b)["open"] * 2, high=middle(b)["open"] * 2),
        lambda b: unobserved(b, BAR),
    ),
    "decimal point": (
        "quarantine",
        lambda b: scaled(b, BAR, 0.01),
        lambda b: unobserved(b, BAR),
    ),
    "split": (
        "split",
        lambda b: split_at(b, 57 * 7, 2.0),
        lambda b: b,
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_found_repaired_exactly_and_only_once(name: str) -> None:
    kind, plant, repaired = DEFECTS[name]
    bars = stock(seed=1)
    result = cleaned(plant(bars))
    assert result.counts == {kind: 1}
    assert [one.kind for one in result.findings] == [kind]
    assert_frame_equal(result.bars, repaired(bars), check_exact=True)
    again = cleaned(result.bars)
    assert again.counts == {}
    assert_frame_equal(again.bars, result.bars, check_exact=True)


@pytest.mark.parametrize("name", DEFECTS)
def test_strict_refuses_it_and_names_it(name: str) -> None:
    kind, plant, _ = DEFECTS[name]
    bars = plant(stock(seed=1))
    label = KINDS[kind].label.lower()
    with pytest.raises(DataError, match=rf"^{label}: .*\[AAPL, .*strict off"):
        clean(bars, CleaningConfig(strict=True), sessions=learnt(bars), where="AAPL")


def test_strict_accepts_what_is_clean() -> None:
    assert cleaned(stock(), strict=True).counts == {}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    adjust=st.sampled_from(["forward", "none"]),
    look_ahead=st.sampled_from([0, 1]),
    defects=st.integers(0, 20),
    splits=st.integers(0, 3),
)
def test_cleaning_twice_is_cleaning_once(
    seed: int, adjust: str, look_ahead: int, defects: int, splits: int
) -> None:
    rng = np.random.default_rng(seed)
    bars = stock(60, seed=seed % 5)
    for row in rng.integers(0, len(bars), defects):
        for name in rng.choice(VALUES, rng.integers(1, 6), replace=False):
            factor = rng.choice([-1.0, 0.0, 0.01, 0.5, 0.9, 1.05, 1.4, 2.0, 7.0, np.nan])
            bars = altered(bars, int(row), **{str(name): (bars[name][int(row)] or 1.0) * factor})
    for day in rng.integers(1, 60, splits):
        bars = split_at(bars, int(day) * 7, float(rng.choice([1.5, 2.0, 4.0, 0.1, 0.05])))
    bars = bars.filter(pl.Series(rng.random(len(bars)) < 0.95))
    bars = pl.concat([bars, bars.sample(5, seed=seed % 100)])

    config = CleaningConfig(adjust=adjust, look_ahead=look_ahead)  # type: ignore[arg-type]
    sessions = learnt(bars)
    once = clean(bars, config, sessions=sessions)
    twice = clean(once.bars, config, sessions=sessions)
    assert_frame_equal(twice.bars, once.bars, check_exact=True)
    assert not set(twice.counts) & set(REPAIRS)
    sound = once.bars.drop_nulls("close")
    assert (sound["high"] == sound.select(pl.max_horizontal(PRICES)).to_series()).all()
    assert (sound["low"] == sound.select(pl.min_horizontal(PRICES)).to_series()).all()
    assert (sound["low"] > 0).all()


@pytest.mark.parametrize("adjust", ["forward", "none"])
@pytest.mark.parametrize("seed", range(6))
def test_what_follows_a_cutoff_moves_nothing_before_it(seed: int, adjust: str) -> None:
    rng = np.random.default_rng(seed)
    bars = split_at(split_at(stock(seed=seed), 40 * 7, 2.0), 90 * 7, 0.1)
    for row in rng.choice(len(bars), 12, replace=False):
        bars = scaled(bars, int(row), float(rng.choice([0.01, 0.5, 1.3, 2.0])))
    sessions = learnt(bars)
    config = CleaningConfig(adjust=adjust)  # type: ignore[arg-type]
    before = clean(bars, config, sessions=sessions).bars
    for cutoff in [*rng.choice(np.arange(20, len(bars)), 6), 40 * 7, 90 * 7, 90 * 7 + 1]:
        later = pl.int_range(pl.len()) >= int(cutoff)
        factor = pl.Series(np.exp(rng.normal(0, 1, len(bars))))
        moved = bars.with_columns(
            pl.when(later).then(pl.col(VALUES) * factor).otherwise(pl.col(VALUES))
        )
        after = clean(moved, config, sessions=sessions).bars
        assert_frame_equal(after[: int(cutoff)], before[: int(cutoff)], check_exact=True)


def test_a_spike_that_the_next_bar_takes_back_needs_a_look_ahead() -> None:
    bars = stock()
    planted = scaled(bars, BAR, 1.4)
    assert_frame_equal(cleaned(planted).bars, planted)
    result = cleaned(planted, look_ahead=1)
    assert result.counts == {"spike": 1}
    assert_frame_equal(result.bars, unobserved(bars, BAR))


@pytest.mark.parametrize("factor", [0.6, 1.7])
@pytest.mark.parametrize("look_ahead", [0, 1])
def test_a_true_jump_is_kept(factor: float, look_ahead: int) -> None:
    bars = stock()
    later = pl.int_range(pl.len()) >= BAR
    jumped = bars.with_columns(
        pl.when(later).then(pl.col(PRICES) * factor).otherwise(pl.col(PRICES))
    )
    result = cleaned(jumped, look_ahead=look_ahead)
    assert result.counts == {}
    assert_frame_equal(result.bars, jumped)


def test_a_crash_that_recovers_within_the_bar_draws_a_crowd_and_is_kept() -> None:
    bars = stock()
    low = altered(bars, BAR, low=bars["low"][BAR] * 0.9)
    assert cleaned(low).counts == {"spike": 1}
    assert cleaned(altered(low, BAR, volume=bars["volume"][BAR] * 10)).counts == {}


def test_a_fivefold_jump_costs_one_bar_until_it_is_confirmed() -> None:
    bars = stock()
    later = pl.int_range(pl.len()) >= BAR
    jumped = bars.with_columns(pl.when(later).then(pl.col(PRICES) * 5).otherwise(pl.col(PRICES)))
    assert_frame_equal(cleaned(jumped).bars, unobserved(jumped, BAR))


def test_a_suspension_is_reported_not_filled() -> None:
    bars = stock()
    halted = pl.concat([bars[:210], bars[350:]])
    result = cleaned(halted)
    assert result.counts == {"suspension": 1}
    assert_frame_equal(result.bars, halted)
    assert "no bars for" in result.findings[0].what
    always = bars_at(session_stamps(40, hours=range(24), timezone="UTC", weekdays=7))
    cut = pl.concat([always[:300], always[400:]])
    sessions = Sessions.learn(cut["ts"], "1h")
    assert clean(cut, sessions=sessions).counts == {"missing": 100}
    short = CleaningConfig(longest_gap_days=3)
    assert clean(cut, short, sessions=sessions).counts == {"suspension": 1}


def test_counts_are_whole_where_findings_are_not() -> None:
    bars = stock()
    broken = bars.with_columns(
        low=pl.when(pl.int_range(pl.len()) % 10 == 0).then(0.0).otherwise(pl.col("low"))
    )
    result = cleaned(broken, findings_kept=3)
    assert result.counts == {"non_positive": 84}
    assert len(result.findings) == 3
    assert isinstance(result.findings[0].at, datetime)


def test_empty_and_unobserved_bars() -> None:
    bars = stock()
    sessions = learnt(bars)
    assert clean(bars.clear()).bars.is_empty()
    nothing = unobserved(bars, *range(len(bars)))
    assert_frame_equal(clean(nothing, sessions=sessions).bars, nothing)
    nan = bars.with_columns(pl.lit(float("nan")).alias(name) for name in VALUES)
    assert_frame_equal(clean(nan, sessions=sessions).bars, nothing)
    one = bars[:1]
    assert_frame_equal(clean(one, sessions=learnt(one)).bars, one)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b.drop("low"), "columns low are missing"),
        (lambda b: b.with_columns(pl.col("ts").dt.replace_time_zone(None)), "not dates in UTC"),
        (lambda b: b.with_columns(close=pl.lit("dear")), "no numbers"),
    ],
)
def test_wrong_frames(change: Callable[[pl.DataFrame], pl.DataFrame], message: str) -> None:
    with pytest.raises(DataError, match=message):
        clean(change(stock(2)))


@pytest.mark.parametrize(
    "options",
    [
        {"splits": "maybe"},
        {"adjust": "sideways"},
        {"look_ahead": 2},
        {"outlier_z": 1.0},
        {"outlier_window": 2},
        {"crowd": 0.0},
        {"quarantine_factor": 1.0},
        {"longest_gap_days": -1.0},
        {"longest_gap_days": float("nan")},
        {"findings_kept": 0},
        {"sessions": ""},
    ],
)
def test_wrong_configs(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        CleaningConfig(**options)
