"""What is held out stays out: by date, by symbol, and by changing everything after the cutoff."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from tsfm.data.panel import Panel, Series
from tsfm.data.sources import SourceConfig
from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.config import EvaluationConfig
from tsfm.evaluation.holdout import HoldOut, hold_out

CONTEXT, HORIZON = 24, 6
SHARES = SourceConfig(name="simulated", held_out_share=0.3)
FEW = EvaluationConfig(windows_per_item=3, items_per_task=4, baseline_context=48)


def divide(panel: Panel, config: SourceConfig = SHARES, **changed) -> HoldOut:
    lengths = {"context": CONTEXT, "horizon": HORIZON} | changed
    return hold_out(panel, config, evaluation=FEW, **lengths)


def staggered(make_panel, lengths: list[int], delays: list[int]) -> Panel:
    """Hourly series that begin at different times."""
    panel = make_panel(n_items=len(lengths), length=lengths)
    return Panel.from_series(
        (
            replace(series, start=series.start + pd.Timedelta(hours=delay))
            for series, delay in zip(panel, delays, strict=True)
        ),
        panel.info,
    )


def first_bars(panel: Panel, task) -> list[np.datetime64]:
    return [panel.timestamps(item)[origin] for item, origin in task.windows(panel)]


def dates(panel: Panel) -> dict[str, np.ndarray]:
    return {item_id: panel.timestamps(k) for k, item_id in enumerate(panel.item_ids)}


@pytest.fixture(params=["regular", "office hours", "staggered"])
def panel(request, make_panel) -> Panel:
    if request.param == "regular":
        return make_panel(n_items=7, length=400)
    if request.param == "office hours":
        return make_panel(n_items=7, length=400, explicit=True)
    return staggered(make_panel, [400, 300, 350, 400, 380, 400, 390], [0, 100, 50, 0, 20, 0, 9])


def check_divided(panel: Panel, division: HoldOut, horizon: int) -> None:
    """Everything that must hold of a division, told by dates alone."""
    (validation, watched), tests = division.validation_task, division.tasks
    assert [task.name for task, _ in tests] == ["made/time", "made/symbols"]
    whole = dates(panel)
    for item_id, stamps in dates(division.train).items():
        after = whole[item_id][whole[item_id] > stamps[-1]]
        embargoed = after[after < np.datetime64(validation.first_origin, "ns")]
        assert stamps[-1] < np.datetime64(validation.first_origin, "ns")
        assert len(embargoed) == horizon
    for task, asked in tests:
        assert task.first_origin > validation.first_origin
        for item_id in set(division.train.item_ids) & set(asked.item_ids):
            assert dates(division.train)[item_id][-1] < np.datetime64(task.first_origin, "ns")
        for item_id, stamps in dates(division.validation).items():
            assert stamps[0] >= np.datetime64(validation.first_origin, "ns")
            assert stamps[-1] < np.datetime64(task.first_origin, "ns")
            assert (whole[item_id] > stamps[-1]).sum() >= horizon
    for task, asked in (division.validation_task, *tests):
        assert first_bars(asked, task)
        assert min(first_bars(asked, task)) >= np.datetime64(task.first_origin, "ns")
        assert len(asked) <= FEW.items_per_task
    known, unknown = set(tests[0][1].item_ids), set(tests[1][1].item_ids)
    assert not unknown & (known | set(division.train.item_ids) | set(division.validation.item_ids))
    assert set(watched.item_ids) <= set(division.validation.item_ids)


def test_no_bar_of_training_or_validation_reaches_the_test_period(panel):
    check_divided(panel, divide(panel), HORIZON)


@given(
    st.lists(st.tuples(st.integers(150, 500), st.integers(0, 60)), min_size=4, max_size=8),
    st.integers(1, 12),
    st.integers(0, 3),
)
@settings(deadline=None, max_examples=25)
def test_division_holds_for_series_of_any_length_and_start(make_panel, series, horizon, seed):
    lengths, delays = map(list, zip(*series, strict=True))
    panel = staggered(make_panel, lengths, delays)
    config = replace(SHARES, seed=seed)
    try:
        division = divide(panel, config, horizon=horizon)
    except DataError:
        reject()
    check_divided(panel, division, horizon)


def perturbed(panel: Panel, cutoff: pd.Timestamp) -> Panel:
    """Every value at or after the cutoff replaced by something absurd."""

    def change(item: int, series: Series) -> Series:
        late = panel.timestamps(item) >= np.datetime64(cutoff, "ns")
        noise = 1e6 * np.random.default_rng(item).standard_normal(series.target.shape)
        target = np.where(late, noise, series.target).astype(np.float32)
        known = series.known_covariates
        return replace(
            series,
            target=target,
            known_covariates=None if known is None else np.where(late, -known, known),
        )

    return Panel.from_series((change(k, series) for k, series in enumerate(panel)), panel.info)


def test_nothing_upstream_of_the_cutoff_moves_when_everything_after_it_changes(panel):
    division = divide(panel)
    cutoff = division.tasks[0][0].first_origin
    again = divide(perturbed(panel, cutoff))
    assert again.train.fingerprint == division.train.fingerprint
    assert again.validation.fingerprint == division.validation.fingerprint
    assert again.validation_task[0] == division.validation_task[0]
    for (task, asked), (other, changed) in zip(division.tasks, again.tasks, strict=True):
        assert other.first_origin == task.first_origin
        assert other.panel_fingerprint != task.panel_fingerprint
        assert changed.item_ids == asked.item_ids
        assert other.windows(changed) == task.windows(asked)


def test_what_a_model_sees_of_a_test_window_ends_at_its_origin(panel):
    """Each first origin is the cutoff in turn, so that any bar from there on would show."""
    division = divide(panel)
    for task, asked in division.tasks:
        item, origin = task.windows(asked)[0]
        changed = perturbed(asked, pd.Timestamp(asked.timestamps(item)[origin]))
        other = replace(task, panel_fingerprint=changed.fingerprint)
        for history in (task.context, task.history):
            past, _ = next(task.crops(asked, history))
            seen, answer = next(other.crops(changed, history))
            np.testing.assert_array_equal(seen.target, past.target)
            np.testing.assert_array_equal(seen.timestamps, past.timestamps)
            assert np.abs(answer.target).max() > 1e4


def test_forecasts_do_not_move_when_what_they_are_scored_on_changes(make_panel):
    from tsfm.evaluation.backtest import backtest
    from tsfm.models.statistical import SeasonalNaive

    panel = make_panel(n_items=5, length=400)
    task, asked = divide(panel).tasks[0]
    task = replace(task, max_windows=1)
    (origin,) = {origin for _, origin in task.windows(asked)}
    changed = perturbed(asked, pd.Timestamp(asked.timestamps(0)[origin]))
    before = backtest(SeasonalNaive(), task, asked)
    after = backtest(SeasonalNaive(), replace(task, panel_fingerprint=changed.fingerprint), changed)
    np.testing.assert_array_equal(after.quantiles, before.quantiles)
    np.testing.assert_array_equal(after.scale, before.scale)
    assert np.abs(after.actual - before.actual).min() > 0


def test_symbols_are_drawn_by_the_seed(make_panel):
    panel = make_panel(n_items=10, length=400)
    drawn = {
        seed: set(divide(panel, replace(SHARES, seed=seed)).tasks[1][1].item_ids)
        for seed in range(6)
    }
    assert all(len(ids) == 3 for ids in drawn.values())
    assert len({frozenset(ids) for ids in drawn.values()}) > 1
    assert set(divide(panel, replace(SHARES, seed=3)).tasks[1][1].item_ids) == drawn[3]


def test_series_too_short_for_a_window_take_no_place_in_a_task(make_panel):
    lengths = [30, 400, 40, 400, 50, 400, 400, 400]
    panel = make_panel(n_items=8, length=lengths)
    division = divide(panel, replace(SHARES, held_out_share=0.45))
    for task, asked in (division.validation_task, *division.tasks):
        assert {asked.item_ids[item] for item, _ in task.windows(asked)} == set(asked.item_ids)


@pytest.mark.parametrize("seed", range(6))
def test_held_out_symbols_are_drawn_from_those_that_can_be_judged(make_panel, seed):
    """Six of nine series end, or begin, too soon or too late for a window after the cutoff."""
    lengths = [100, 120, 150, 29, 400, 400, 400, 20, 20]
    panel = staggered(make_panel, lengths, [0] * 7 + [380, 370])
    division = divide(panel, replace(SHARES, seed=seed))
    (_, known), (task, asked) = division.tasks
    assert set(asked.item_ids) < {"item-4", "item-5", "item-6"}
    assert len(asked) == 1
    assert {asked.item_ids[item] for item, _ in task.windows(asked)} == set(asked.item_ids)
    assert set(known.item_ids) == {"item-4", "item-5", "item-6"} - set(asked.item_ids)
    assert {"item-0", "item-1", "item-2"} <= set(division.train.item_ids)


@pytest.mark.parametrize("able", [0, 1])
def test_fewer_than_two_symbols_that_can_be_judged_are_told(make_panel, able):
    lengths = [330] * able + [300] * (8 - able)
    panel = staggered(make_panel, lengths, [100] * able + [0] * (8 - able))
    shares = replace(SHARES, test_share=0.01, vault_share=0, validation_share=0.2)
    with pytest.raises(DataError, match=rf"{able} of 8 series hold.*panel made.*test_share"):
        divide(panel, shares, context=280)


def test_held_out_symbols_may_begin_after_the_cutoff(make_panel):
    panel = make_panel(n_items=4, length=400)
    (held_out,) = divide(panel, replace(SHARES, held_out_share=0.2)).tasks[1][1].item_ids
    late = [330 if f"item-{k}" == held_out else 0 for k in range(4)]
    made = staggered(make_panel, [70 if delay else 400 for delay in late], late)
    task, asked = divide(made, replace(SHARES, held_out_share=0.2)).tasks[1]
    assert asked.item_ids == (held_out,)
    assert first_bars(asked, task)


@pytest.mark.parametrize(("context", "horizon"), [(390, 6), (24, 200), (5000, 48)])
def test_windows_longer_than_the_series_are_told(make_panel, context, horizon):
    with pytest.raises(DataError, match=r"panel made.*[Ss]horten"):
        divide(make_panel(n_items=5, length=400), context=context, horizon=horizon)


def test_series_without_dates_cannot_be_divided(make_panel):
    with pytest.raises(DataError, match="no timestamps"):
        divide(make_panel(n_items=5, length=400, freq=None))


def test_a_single_symbol_cannot_be_held_out(make_panel):
    with pytest.raises(DataError, match="one item cannot be divided"):
        divide(make_panel(n_items=1, length=400))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"baselines": ("oracle",)}, "random_walk"),
        ({"baselines": ("moirai",)}, "random_walk"),
        ({"windows_per_item": 0}, "windows_per_item=0"),
        ({"items_per_task": 0}, "items_per_task=0"),
        ({"baseline_context": 0}, "baseline_context=0"),
        ({"headline_metric": "luck"}, "crps"),
    ],
)
def test_bad_judging_is_refused(fields, told):
    with pytest.raises(ConfigError, match=told):
        EvaluationConfig(**fields)
