"""No experiment sees the vault; what is sealed of it lies there and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from tsfm.data.overlap import overlap
from tsfm.data.panel import Panel
from tsfm.data.provenance import Provenance
from tsfm.data.sources import SourceConfig
from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.config import EvaluationConfig
from tsfm.evaluation.cutoffs import cutoffs
from tsfm.evaluation.holdout import HoldOut, hold_out_each, vault_tasks
from tsfm.evaluation.tasks import Task

CONTEXT, HORIZON = 24, 6
SHARES = SourceConfig(name="simulated", held_out_share=0.3)
FEW = EvaluationConfig(windows_per_item=50, items_per_task=4, baseline_context=48)
LENGTHS = (FEW, CONTEXT, HORIZON)


def divided(panel: Panel, config: SourceConfig = SHARES) -> HoldOut:
    (division,) = hold_out_each([panel], config, *LENGTHS)
    return division


def sealed(panel: Panel, config: SourceConfig = SHARES) -> list[tuple[Task, Panel]]:
    return vault_tasks([panel], config, *LENGTHS)


def vault_start(panel: Panel, config: SourceConfig = SHARES) -> np.datetime64:
    cut = cutoffs(panel, config.validation_share, config.test_share, config.vault_share)
    assert cut.vault is not None
    return np.datetime64(cut.vault, "ns")


def views(division: HoldOut) -> list[Panel]:
    """All that an experiment gets to see."""
    tasks = (division.validation_task, *division.tasks)
    return [division.train, division.validation, *(panel for _, panel in tasks)]


def staggered(make_panel, lengths: list[int], delays: list[int]) -> Panel:
    panel = make_panel(n_items=len(lengths), length=lengths)
    late = (
        replace(one, start=one.start + pd.Timedelta(hours=delay))
        for one, delay in zip(panel, delays, strict=True)
    )
    return Panel.from_series(late, panel.info)


def answered(task: Task, panel: Panel) -> list[np.ndarray]:
    return [
        panel.timestamps(item)[origin : origin + task.horizon]
        for item, origin in task.windows(panel)
    ]


def check(panel: Panel) -> None:
    start, division = vault_start(panel), divided(panel)
    for view in views(division):
        assert all(view.timestamps(item)[-1] < start for item in range(len(view)))
    vault = sealed(panel)
    assert vault
    for task, view in vault:
        stamps = answered(task, view)
        assert stamps
        assert min(stamp[0] for stamp in stamps) >= start
    known, unknown = (
        {i for task, view in vault if task.name.endswith(kind) for i in view.item_ids}
        for kind in ("time", "symbols")
    )
    assert not unknown & {*division.train.item_ids, *division.tasks[0][1].item_ids}
    assert not known & set(division.tasks[1][1].item_ids)


def test_every_bar_that_an_experiment_sees_is_older_than_the_vault(make_panel):
    check(make_panel(n_items=7, length=400))
    check(make_panel(n_items=7, length=400, explicit=True))


@given(
    st.lists(st.tuples(st.integers(150, 500), st.integers(0, 60)), min_size=4, max_size=8),
    st.integers(0, 3),
)
@settings(deadline=None, max_examples=25)
def test_series_of_any_length_and_start(make_panel, series, seed):
    lengths, delays = map(list, zip(*series, strict=True))
    panel = staggered(make_panel, lengths, delays)
    try:
        divided(panel, replace(SHARES, seed=seed))
        sealed(panel, replace(SHARES, seed=seed))
    except DataError:
        reject()
    check(panel)


def test_nothing_that_an_experiment_sees_moves_when_every_value_of_the_vault_changes(make_panel):
    panel = make_panel(n_items=7, length=400, known_covariates=("k",))
    start = vault_start(panel)

    def change(item: int, series):
        late = panel.timestamps(item) >= start
        noise = 1e6 * np.random.default_rng(item).standard_normal(series.target.shape)
        return replace(
            series,
            target=np.where(late, noise, series.target).astype(np.float32),
            known_covariates=np.where(late, -series.known_covariates, series.known_covariates),
        )

    changed = Panel.from_series((change(k, one) for k, one in enumerate(panel)), panel.info)
    before, after = divided(panel), divided(changed)
    for one, other in zip(views(before), views(after), strict=True):
        assert one.fingerprint == other.fingerprint
    assert [task for task, _ in before.tasks] == [task for task, _ in after.tasks]
    for (task, view), (other, moved) in zip(sealed(panel), sealed(changed), strict=True):
        assert task.panel_fingerprint != other.panel_fingerprint
        assert task.windows(view) == other.windows(moved)


def test_the_vault_takes_nothing_from_training_and_validation(make_panel):
    panel = make_panel(n_items=7, length=400)
    without = divided(panel, replace(SHARES, vault_share=0))
    division = divided(panel)
    assert division.train.fingerprint == without.train.fingerprint
    assert division.validation.fingerprint == without.validation.fingerprint
    assert division.validation_task[0] == without.validation_task[0]
    assert [task.first_origin for task, _ in division.tasks] == [
        task.first_origin for task, _ in without.tasks
    ]


def test_an_audit_of_everything_that_was_seen_finds_nothing_of_the_vault(make_panel):
    panel = make_panel(n_items=7, length=800)
    provenance = Provenance.of(*views(divided(panel)))
    for task, view in sealed(panel):
        assert not overlap(provenance, view, task.first_origin)
    everything = Provenance.of(*views(divided(panel, replace(SHARES, vault_share=0))))
    assert any(overlap(everything, view, task.first_origin) for task, view in sealed(panel))


def test_a_sealed_panel_holds_no_more_history_than_its_windows_look_back_to(make_panel):
    panel = make_panel(n_items=5, length=800)
    for task, view in sealed(panel):
        for item in range(len(view)):
            assert view.position(item, task.first_origin) == task.history
            assert view.timestamps(item)[-1] == panel.timestamps(0)[-1]
        origins = [origin for _, origin in task.windows(view)]
        assert min(origins) == task.history


def test_kin_of_another_frequency_share_the_vault(make_panel):
    hourly = make_panel(n_items=6, length=2000, name="hourly")
    quarters = Panel.from_series(
        (replace(one, start=one.start + pd.Timedelta(days=60)) for one in hourly),
        replace(make_panel(n_items=6, length=2000, freq="15min").info, name="quarters"),
    )
    vault = vault_tasks([hourly, quarters], SHARES, *LENGTHS)
    starts = {task.first_origin for task, _ in vault}
    assert len(starts) == 1
    for division in hold_out_each([hourly, quarters], SHARES, *LENGTHS):
        for view in views(division):
            last = max(view.timestamps(item)[-1] for item in range(len(view)))
            assert last < np.datetime64(min(starts), "ns")


def test_no_vault_and_one_that_is_too_short_are_told(make_panel):
    panel = make_panel(n_items=5, length=400)
    with pytest.raises(DataError, match=r"no window of 24 \+ 6 bars reaches into the vault"):
        sealed(panel, replace(SHARES, vault_share=0))
    with pytest.raises(DataError, match=r"vault.*larger data\.vault_share"):
        sealed(panel, replace(SHARES, vault_share=0.01))
    with pytest.raises(DataError, match=r"data\.vault_share=0 keeps no vault"):
        divided(panel, replace(SHARES, test_share=0.02, vault_share=0.015))


@pytest.mark.parametrize("share", [-0.1, 0.15, 0.3])
def test_shares_that_leave_no_test_are_refused(share):
    with pytest.raises(ConfigError, match=r"data\.vault_share=.*less than that"):
        replace(SHARES, vault_share=share)
