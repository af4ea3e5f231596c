"""Patients and later days held out: nothing of either reaches training."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.data.overlap import overlap
from tsfm.data.provenance import Provenance
from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.config import EvaluationConfig
from tsfm.evaluation.patient_holdout import draw_patients, hold_out_patients

CONTEXT, HORIZON = 48, 12
EVALUATION = EvaluationConfig(windows_per_item=5, stride=6)


def divided(panel, split: str = "both", **fields):
    held = draw_patients(panel, split, patient_share=0.3, time_share=0.25, seed=0)
    return held, hold_out_patients(
        panel, held, context=CONTEXT, horizon=HORIZON, evaluation=EVALUATION,
        validation_share=0.2, **fields,
    )  # fmt: skip


@pytest.fixture
def panel(make_panel):
    return make_panel(n_items=6, length=[400, 420, 440, 460, 480, 500], variates=("a",))


def test_patients_and_later_days_are_reported_apart(panel):
    held, found = divided(panel)
    (later, seen), (unseen, strangers) = found.tasks
    assert (later.name, unseen.name) == ("made/later days", "made/unseen patients")
    assert set(strangers.item_ids) == set(held.patients)
    assert not set(seen.item_ids) & set(held.patients)
    assert set(found.train.item_ids) == set(seen.item_ids)


def test_nothing_that_is_forecast_was_trained_on(panel):
    held, found = divided(panel)
    ends = {item: found.train.timestamps(k)[-1] for k, item in enumerate(found.train.item_ids)}
    step = np.timedelta64(1, "h")
    for task, view in (*found.tasks, found.validation_task):
        for _, answer in task.crops(view):
            if answer.item_id in ends:
                assert answer.timestamps[0] - ends[answer.item_id] > HORIZON * step
    for task, view in found.tasks:
        assert not overlap(Provenance.of(found.train), view, task.context)
        for past, answer in task.crops(view):
            moment = held.times.get(past.item_id)
            assert moment is None or answer.timestamps[0] >= np.datetime64(moment)


def test_the_first_later_window_starts_where_the_hold_out_says(panel):
    held, found = divided(panel)
    task, view = found.tasks[0]
    item = view.item_ids[0]
    first = next(answer for _, answer in task.crops(view) if answer.item_id == item)
    assert first.timestamps[0] == np.datetime64(held.times[item])


@pytest.mark.parametrize(
    ("split", "kinds"), [("time", ["later days"]), ("patient", ["unseen patients"])]
)
def test_one_kind_alone(panel, split, kinds):
    _, found = divided(panel, split)
    assert [task.name.partition("/")[2] for task, _ in found.tasks] == kinds


def test_windows_are_a_stride_apart_and_few(panel):
    _, found = divided(panel)
    for task, view in found.tasks:
        origins = np.array([origin for item, origin in task.windows(view) if item == 0])
        assert len(origins) <= 5
        assert (np.diff(origins) % 6 == 0).all()


def test_what_cannot_be_divided_is_told(make_panel):
    alone = make_panel(n_items=1, length=400, variates=("a",))
    with pytest.raises(ConfigError, match=r"one patient.*[Gg]ive split=time"):
        divided(alone)
    assert divided(alone, "time")[1].tasks
    short = make_panel(n_items=4, length=50, variates=("a",))
    with pytest.raises(DataError, match="holds 48 \\+ 12 bars"):
        divided(short)
    with pytest.raises(ConfigError, match="split='sometimes'"):
        divided(alone, "sometimes")
