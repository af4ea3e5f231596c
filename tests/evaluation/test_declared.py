"""Declared training sets: found by hub id, sourced, and about data sets that the suites have."""

from __future__ import annotations

import pytest

from tsfm.errors import DataError
from tsfm.evaluation import declared as module
from tsfm.evaluation.declared import declaration_of, declarations
from tsfm.evaluation.suites import FOLDER


@pytest.mark.parametrize(
    ("model", "dataset", "seen"),
    [
        ("amazon/chronos-bolt-tiny", "electricity", True),
        ("chronos-bolt-tiny", "electricity", True),
        ("autogluon/chronos-t5-small", "ETTh1", False),
        ("amazon/chronos-bolt-tiny", "weather", None),
        ("Salesforce/moirai-1.1-R-small", "traffic", True),
        ("salesforce/moirai-1.1-r-small", "ETTm2", False),
        ("google/timesfm-2.0-500m-pytorch", "traffic", True),
        ("ibm-granite/granite-timeseries-ttm-r2", "traffic", False),
        ("ibm-granite/granite-timeseries-ttm-r2", "buoy", None),
    ],
)
def test_what_publishers_say(model: str, dataset: str, seen: bool | None):
    found = declaration_of(model)
    assert found is not None
    assert found.has_seen(dataset) is seen


@pytest.mark.parametrize("model", ["mine", "me/chronos", "ohlcv/3", "amazon/chronos-2", ""])
def test_others_are_not_taken_for_them(model: str):
    assert declaration_of(model) is None


def test_every_entry_names_its_source_and_data_sets_of_suites():
    import yaml

    suites = [yaml.safe_load(path.read_text()) for path in FOLDER.glob("*.yaml")]
    listed = {one["dataset"] for suite in suites for one in suite.get("tasks", ())}
    known = listed.union(*(suite.get("datasets", ()) for suite in suites))
    for one in declarations():
        assert "arXiv" in one.source
        assert one.models
        assert not set(one.seen) & set(one.unseen)
        assert {*one.seen, *one.unseen} <= known


@pytest.mark.parametrize("text", ["- {family: x}", "3", "- [", "- {models: [a], who: b}"])
def test_a_damaged_file_is_told(tmp_path, monkeypatch, text: str):
    (tmp_path / "declared.yaml").write_text(text)
    monkeypatch.setattr(module, "FILE", tmp_path / "declared.yaml")
    with pytest.raises(DataError, match="declared training sets cannot be read"):
        declarations.__wrapped__()
