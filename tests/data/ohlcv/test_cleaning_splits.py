"""Splits in cleaning: told from jumps, adjusted either way, by a table or by the rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from support.hourly_bars import NEW_YORK, split_at, stock

from tsfm.data.ohlcv.cleaning import Cleaned, clean
from tsfm.data.ohlcv.cleaning_config import CleaningConfig
from tsfm.data.ohlcv.corporate_actions import split_table
from tsfm.data.ohlcv.sessions import Sessions


def cleaned(bars: pl.DataFrame, table: pl.DataFrame | None = None, **options: Any) -> Cleaned:
    sessions = Sessions.learn(bars["ts"], "1h", timezone=NEW_YORK)
    return clean(bars, CleaningConfig(**options), sessions=sessions, splits=table)


def test_a_jump_over_night_with_a_crowd_is_no_split() -> None:
    bars = stock()
    first = 57 * 7
    halved = split_at(bars, first, 2.0)
    crowd = halved.with_columns(
        pl.when(pl.int_range(pl.len()) == first)
        .then(pl.col("volume") * 10)
        .otherwise(pl.col("volume"))
    )
    assert cleaned(crowd).counts == {}
    assert cleaned(split_at(bars, first + 2, 2.0)).counts == {}, "not over night"
    silent = halved.with_columns(volume=pl.lit(0.0))
    assert cleaned(silent).counts == {}, "no volume, no evidence"


@pytest.mark.parametrize("ratio", [1.25, 1.5, 2.0, 3.0, 7.0, 10.0, 20.0, 0.5, 0.1, 0.05])
def test_splits_of_many_ratios(ratio: float) -> None:
    bars = stock(seed=3)
    first = 60 * 7
    planted = split_at(bars, first, ratio)
    forward = cleaned(planted)
    assert forward.counts == {"split": 1}
    assert forward.findings[0].at == bars["ts"][first]
    assert_frame_equal(forward.bars, bars, rel_tol=1e-12)
    backward = cleaned(planted, adjust="backward")
    assert_frame_equal(backward.bars[first:], planted[first:], rel_tol=1e-12)
    returns = [frame["close"].log().diff() for frame in (forward.bars, backward.bars)]
    np.testing.assert_allclose(returns[0][1:], returns[1][1:], atol=1e-12)
    kept = cleaned(planted, adjust="none")
    assert kept.counts == {"split_kept": 1}
    assert_frame_equal(kept.bars, planted)


def test_a_table_of_splits() -> None:
    bars = stock(seed=3)
    first = 60 * 7
    day = bars["ts"].dt.convert_time_zone(NEW_YORK).dt.date()[first]
    table = split_table(pl.DataFrame({"symbol": ["A"], "date": [day], "ratio": [1.1]}))
    planted = split_at(bars, first, 1.1)
    result = cleaned(planted, table)
    assert result.counts == {"split": 1}
    assert_frame_equal(result.bars, bars, rel_tol=1e-12)
    assert cleaned(planted).counts == {}, "too small for the rule"
    adjusted = cleaned(result.bars, table)
    assert adjusted.counts == {"split_absent": 1}
    assert_frame_equal(adjusted.bars, result.bars, check_exact=True)
    assert cleaned(planted, table, splits="rule").counts == {}
    assert cleaned(planted, table, splits="none").counts == {}


def test_a_split_that_the_table_lacks_is_reported_and_left() -> None:
    bars = stock(seed=3)
    planted = split_at(bars, 60 * 7, 2.0)
    empty = split_table(
        pl.DataFrame({"symbol": ["A"], "date": ["2001-01-01"], "ratio": [2.0]})
    ).clear()
    result = cleaned(planted, empty)
    assert result.counts == {"split_unlisted": 1}
    assert_frame_equal(result.bars, planted)
    assert cleaned(planted, empty, splits="table").counts == {}
