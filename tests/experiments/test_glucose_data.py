"""Readings through the data entry point: panel, report and hold-out file."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.entry_points import expect_told

from tsfm.data.glucose.holdouts import HoldOut
from tsfm.data.panel import Panel


def readings(home, people: int = 3, bars: int = 200):
    rng = np.random.default_rng(0)
    folder = home / "clinic"
    folder.mkdir()
    for k in range(people):
        frame = pd.DataFrame(
            {
                "when": pd.date_range("2024-01-01", periods=bars, freq="5min"),
                "reading": 120 + rng.normal(size=bars).cumsum(),
            }
        )
        frame.to_csv(folder / f"person{k}.csv", index=False)
    return folder


def test_a_folder_of_readings(home, command):
    folder = readings(home)
    words = [f"source={folder}", "out=panels", "columns=timestamp:when,glucose:reading"]
    code, err = command("data", "dataset=glucose", *words, "overrides=cgm.units=mg/dL")
    assert code == 0, err
    panel = Panel.open("panels/clinic")
    assert panel.item_ids == ("person0", "person1", "person2")
    held = HoldOut.load("panels/holdouts/clinic-v1.yaml")
    assert len(held.patients) == 1
    assert (home / "panels/clinic.quality/quality.html").exists()


def test_a_hold_out_is_honoured_or_refused(home, command):
    words = ["dataset=glucose", "source=virtual", "out=panels"]
    few = "overrides=cohort.days=1 cohort.patients=[adult#001,adult#002]"
    assert command("data", *words, few)[0] == 0
    more = "overrides=cohort.days=1 cohort.patients=[adult#001,adult#003] build.overwrite=true"
    given = "hold_out=panels/holdouts/virtual_cohort-v1.yaml"
    expect_told(command("data", *words, given, more), "adult#003", "not in the hold-out")
    assert Panel.open("panels/virtual_cohort").item_ids == ("adult#001", "adult#002")
    same = f"{few} build.overwrite=true"
    assert command("data", *words, given, same)[0] == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["source="], "source is empty"),
        (["source=nowhere"], "nowhere"),
        (["source=brist1d"], "files of brist1d"),
        (["source=virtual", "columns=glucose"], "glucose:bg_mM"),
        (["source=virtual", "action=ingest"], "action='ingest'"),
        (["source=virtual", "overrides=holdout.patient_share=1"], "shares 1"),
        (["source=virtual"], "out is empty"),
    ],
)
def test_mistakes_are_told(home, command, words, told):
    expect_told(command("data", "dataset=glucose", *words), told)
