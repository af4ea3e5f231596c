from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import StandardScaler

from tsfm.errors import DataError
from tsfm.evaluation.lsf import lsf_panel, standardised
from tsfm.evaluation.suites import load_suite

DESCRIBED = {"files": ["made.csv", "deep/made.csv"], "freq": "h", "seasonality": 24}
SHARES = {"shares": [0.7, 0.1, 0.2], "domain": "none"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        100 + rng.standard_normal((1003, 3)).cumsum(axis=0),
        index=pd.date_range("2016-07-01", periods=1003, freq="h", name="date"),
        columns=["a", "b", "OT"],
    )
    table["constant"] = 5.0
    (tmp_path / "deep").mkdir()
    table.to_csv(tmp_path / "deep" / "made.csv")
    return tmp_path


def test_splits_and_standardisation_are_the_usual_ones(folder: Path) -> None:
    panel = lsf_panel(folder, "made", DESCRIBED | SHARES, context=100)
    table = pd.read_csv(folder / "deep/made.csv", index_col=0, parse_dates=True)
    train, test = int(1003 * 0.7), int(1003 * 0.2)
    scaler = StandardScaler().fit(table.to_numpy()[:train])
    expected = scaler.transform(table.to_numpy())[1003 - test - 100 :]
    (series,) = list(panel)
    np.testing.assert_allclose(series.target.T, expected, rtol=1e-5, atol=1e-6)
    assert series.start == table.index[1003 - test - 100]
    assert panel.info.variates == ("a", "b", "OT", "constant")


def test_rows_of_the_split_can_be_given(folder: Path) -> None:
    panel = lsf_panel(folder, "made", DESCRIBED | {"rows": [600, 100, 200]}, context=50)
    assert panel.lengths.tolist() == [250]


def test_standardisation_is_exact_whatever_the_order_of_summation() -> None:
    rng = np.random.default_rng(0)
    values = 1e6 + rng.standard_normal((5000, 2)) * [1e-3, 1e3]
    reversed_rows = values[:4000][::-1]
    np.testing.assert_array_equal(
        standardised(values, 4000)[4000:],
        standardised(np.concatenate([reversed_rows, values[4000:]]), 4000)[4000:],
    )


def test_missing_and_bad_files_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no other.csv.*data set made"):
        lsf_panel(folder, "made", DESCRIBED | {"files": ["other.csv"]} | SHARES, context=10)
    with pytest.raises(DataError, match="1003 rows, but the split takes 4000"):
        lsf_panel(folder, "made", DESCRIBED | {"rows": [2000, 1000, 1000]}, context=10)
    with pytest.raises(DataError, match="fewer than a context of 900"):
        lsf_panel(folder, "made", DESCRIBED | SHARES, context=900)
    (folder / "made.csv").write_text("date,a\n2020-01-01,x\n")
    with pytest.raises(DataError, match="another is not numbers"):
        lsf_panel(folder, "made", DESCRIBED | SHARES, context=10)


def test_the_suite_asks_for_a_directory(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.delenv("LSF_PATH", raising=False)
    with pytest.raises(DataError, match="LSF_PATH is not set"):
        load_suite("lsf")
    monkeypatch.setenv("LSF_PATH", str(folder / "nowhere"))
    with pytest.raises(DataError, match="names no directory"):
        load_suite("lsf")
    monkeypatch.setenv("LSF_PATH", str(folder))
    tasks = load_suite("lsf")
    assert len(tasks) == 32
    assert {task.fields["horizon"] for task in tasks} == {96, 192, 336, 720}
    with pytest.raises(DataError, match="data set weather"):
        next(task for task in tasks if task.dataset == "weather").open()
    assert tasks[0].name in [task.name for task in load_suite("all")]


def test_etth1_has_the_windows_everyone_counts(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LSF_PATH", str(shared / "data" / "lsf"))
    counts = {}
    for entry in load_suite("lsf"):
        if entry.dataset == "ETTh1":
            task, panel = entry.open()
            counts[task.horizon] = len(task.windows(panel))
    assert counts == {96: 2785, 192: 2689, 336: 2545, 720: 2161}
