"""What is known of the horizon: where it begins, whether it is complete, and what looks wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsfm.data.future_rows import expect_known, expect_one_past, left_out, origins
from tsfm.data.panel import Panel, PanelInfo, Series
from tsfm.errors import DataError


def plans(known: dict[str, list[float]], targets: list[list[float]], freq: str | None = "D"):
    """A panel of one item, its bars from 2024-01-01 on."""
    info = PanelInfo(name="made", variates=("a", "b"), freq=freq, known_covariates=tuple(known))
    series = Series(
        item_id="north",
        target=np.array(targets),
        start=pd.Timestamp("2024-01-01") if freq else None,
        known_covariates=np.array(list(known.values())) if known else None,
    )
    return Panel.from_series([series], info)


@given(
    st.lists(
        st.lists(st.sampled_from([1.0, np.nan]), min_size=2, max_size=2), min_size=1, max_size=12
    )
)
def test_the_forecast_begins_after_the_last_bar_at_which_any_target_is_observed(bars):
    panel = plans({}, np.array(bars).T.tolist())
    seen = [k + 1 for k, values in enumerate(bars) if not np.isnan(values).all()]
    assert origins(panel).tolist() == [max(seen, default=0)]


NAN = np.nan
PAST = [[1, 2, 3, NAN, NAN, NAN], [1, 2, NAN, NAN, NAN, NAN]]


@pytest.mark.parametrize("freq", ["D", None])
def test_all_of_the_horizon_is_enough(freq):
    panel = plans({"plan": [NAN, NAN, NAN, 0, 0, 0]}, PAST, freq)
    assert origins(panel).tolist() == [3]
    expect_known(panel, origins(panel), 3)
    expect_known(plans({}, PAST), np.array([3]), 5)


@pytest.mark.parametrize(
    ("plan", "horizon", "freq", "told"),
    [
        ([0, 0, 0, 0, 0, NAN], 3, "D", "plan of north until 2024-01-05, 1 of 3 bars missing"),
        ([0, 0, 0, NAN, 0, 0], 3, "D", "plan of north until 2024-01-03, 1 of 3 bars missing"),
        ([0, 0, 0, 0, 0, 0], 5, "D", "plan of north until 2024-01-06, 2 of 5 bars missing"),
        ([NAN] * 6, 3, "D", "plan of north until 2024-01-03, 3 of 3 bars missing"),
        ([0, 0, 0, 0, 0, NAN], 3, None, "plan of north until bar 5, 1 of 3 bars missing"),
    ],
)
def test_what_is_missing_of_the_horizon_is_told(plan, horizon, freq, told):
    panel = plans({"other": [0] * 12, "plan": [*plan, *[NAN] * 6]}, _longer(PAST), freq)
    with pytest.raises(DataError, match=told) as refused:
        expect_known(panel, origins(panel), horizon)
    assert "other of" not in str(refused.value)
    assert "empty targets" in str(refused.value)


def _longer(rows: list[list[float]]) -> list[list[float]]:
    return [[*row, *[NAN] * 6] for row in rows]


def rows(**items: list[float]) -> pd.DataFrame:
    return pd.concat(
        pd.DataFrame(
            {
                "item_id": item,
                "timestamp": pd.date_range("2024-01-01", periods=len(values)),
                "x": values,
                "y": NAN,
            }
        )
        for item, values in items.items()
    )


@pytest.mark.parametrize(
    "values",
    [
        [1, 1, 1, NAN, NAN, NAN],
        [NAN, NAN, NAN, 1],
        [1, NAN, NAN, 1, NAN, NAN, 1, NAN],
        [1, 1, NAN, NAN, 1, 1, NAN, NAN],
        [NAN, NAN],
    ],
)
def test_gaps_of_the_past_are_no_future(values):
    expect_one_past(rows(a=[1, 1, 1], b=values), ["x", "y"])


def test_a_target_filled_in_among_future_rows_is_told_with_its_date():
    table = rows(a=[1, 1, 1], b=[1, 1, 1, NAN, NAN, NAN, 1, NAN])
    with pytest.raises(DataError, match=r"b from 2024-01-07 on, after 3 empty rows.*future"):
        expect_one_past(table, ["x", "y"])


def test_bars_that_are_not_looked_at_are_told():
    assert left_out(plans({}, [[1.0], [1.0]]), np.array([1]), 5) == ""
    told = left_out(plans({}, PAST), np.array([3]), 5)
    assert "after the last target" in told
    assert "north (3)" in told
    planned = plans({"plan": [0] * 6}, PAST)
    assert left_out(planned, np.array([3]), 3) == ""
    assert "after the horizon are not looked at: north (1)" in left_out(planned, np.array([3]), 2)
