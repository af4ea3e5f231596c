from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tsfm.data.panel import Panel
from tsfm.errors import ConfigError, DataError
from tsfm.evaluation import suites
from tsfm.evaluation.backtest import backtest
from tsfm.evaluation.results import result_of
from tsfm.evaluation.suites import FOLDER, SUITES, load_suite
from tsfm.evaluation.tasks import task_digest
from tsfm.models.statistical import SeasonalNaive

BUNDLED = [task.name for suite in SUITES if suite != "lsf" for task in load_suite(suite)]


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "suites"
    shutil.copytree(FOLDER, folder)
    monkeypatch.setattr(suites, "FOLDER", folder)
    return folder


@pytest.mark.parametrize("name", BUNDLED)
def test_every_bundled_task_opens_on_the_panel_it_was_frozen_on(name: str) -> None:
    (entry,) = load_suite(name)
    task, panel = entry.open()
    assert task.name == name
    assert task.panel_fingerprint == panel.fingerprint == entry.fingerprint
    assert len(task.windows(panel)) >= 20
    assert panel.info.licence
    assert entry.dataset
    assert entry.domain
    assert task_digest(entry.unopened()) != task_digest(task)


def test_general_has_ten_data_sets_of_five_frequencies() -> None:
    tasks = load_suite("general")
    assert len({task.dataset for task in tasks}) >= 10
    assert len({task.freq for task in tasks}) >= 5
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) < 4e6


def test_every_panel_has_a_licence_in_the_file_beside() -> None:
    told = (FOLDER / "LICENCES.md").read_text()
    for name in BUNDLED:
        (entry,) = load_suite(name)
        assert f"`{entry.panel}`" in told or f"`{entry.suite}/*`" in told


def test_baselines_answer_a_task_of_every_suite() -> None:
    for name in ("general/weather", "glucose/cgm_60min", "dynamics/held_out_skew"):
        (entry,) = load_suite(name)
        task, panel = entry.open()
        result = result_of(backtest(SeasonalNaive(), replace(task, max_windows=2), panel))
        assert result.failure == ""
        assert result.errors["mase"] > 0


def test_families_are_clusters() -> None:
    (entry,) = load_suite("dynamics/held_out_systems")
    _, panel = entry.open()
    families = entry.families_of(panel)
    assert families is not None
    assert set(families) == set(panel.item_ids)
    assert 1 < len(set(families.values())) < len(families)
    (alone,) = load_suite("ohlcv/daily_10")
    assert alone.families_of(panel) is None


def test_a_changed_panel_is_refused(copied: Path) -> None:
    (entry,) = load_suite("general/sunspots")
    panel = Panel.open(copied / "general/sunspots")
    (series,) = list(panel)
    target = series.target.copy()
    target[0, 5] += 1
    Panel.write(
        copied / "general/sunspots", [replace(series, target=target)], panel.info, overwrite=True
    )
    with pytest.raises(DataError, match=r"frozen on.*task general/sunspots"):
        entry.open()


def test_a_damaged_or_missing_panel_is_named(copied: Path) -> None:
    (entry,) = load_suite("general/sunspots")
    (data,) = (copied / "general/sunspots").glob("*.arrow")
    raw = bytearray(data.read_bytes())
    raw[len(raw) // 2] ^= 255
    data.write_bytes(bytes(raw))
    with pytest.raises(DataError, match="task general/sunspots"):
        entry.open()
    shutil.rmtree(copied / "general/sunspots")
    with pytest.raises(DataError, match="task general/sunspots"):
        entry.open()


def test_suites_and_tasks_are_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LSF_PATH", raising=False)
    assert [task.name for task in load_suite("glucose/cgm_8h, ohlcv")] == [
        "glucose/cgm_8h",
        "ohlcv/daily_10",
        "ohlcv/hourly_24",
    ]
    assert [task.name for task in load_suite("all,ohlcv")] == BUNDLED
    with pytest.raises(ConfigError, match="tasks='stocks' is not known"):
        load_suite("stocks")
    with pytest.raises(ConfigError, match=r"tasks='ohlcv/weekly' is not known.*ohlcv/daily_10"):
        load_suite("ohlcv/weekly")
    with pytest.raises(ConfigError, match="tasks is empty"):
        load_suite(" ,")


def test_a_suite_with_unknown_fields_is_refused(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (copied / "ohlcv.yaml").read_text().replace("domain:", "domian:")
    (copied / "ohlcv.yaml").write_text(text)
    suites._yaml.cache_clear()
    try:
        with pytest.raises(DataError, match=r"domian.*ohlcv.yaml, task daily_10"):
            load_suite("ohlcv")
        (copied / "ohlcv.yaml").write_text("tasks: [")
        suites._yaml.cache_clear()
        with pytest.raises(DataError, match="suite ohlcv cannot be read"):
            load_suite("ohlcv")
    finally:
        suites._yaml.cache_clear()


def test_default_recipes_have_not_seen_the_bars_they_are_asked() -> None:
    from tsfm.data.ohlcv.sample import sample_panel
    from tsfm.data.sources import SourceConfig
    from tsfm.evaluation.cutoffs import cutoffs

    (entry,) = load_suite("ohlcv/daily_10")
    task, _ = entry.open()
    shares = SourceConfig()
    cut = cutoffs(sample_panel(), shares.validation_share, shares.test_share)
    assert task.first_origin is not None
    assert np.datetime64(task.first_origin) >= np.datetime64(cut.test)
