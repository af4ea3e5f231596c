"""Lakes as sources: built once, one panel for each asset class and frequency, served as bars."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.lakes import bars_of_market, daily, make_lake

from tsfm.data.cache import cache_directory
from tsfm.data.ohlcv.bars import validate_bars
from tsfm.data.ohlcv.lake import Lake
from tsfm.data.panel import Panel
from tsfm.data.preparation import load_preparation
from tsfm.data.sources import Source, SourceConfig, load_source
from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.config import EvaluationConfig
from tsfm.evaluation.holdout import hold_out_each

FEATURES = """
name: few
transforms: [{kind: log_return, window: 5}]
indicators: [{function: RSI, parameters: {timeperiod: 14}, offset: 50, scale: 50}]
calendar: {features: [day_of_week]}
regimes: {states: 2, window: 50, restarts: 1, iterations: 5}
selection: {max_features: 20, shadows: 0}
"""


def load(*paths: object, **fields) -> Source:
    return load_source(SourceConfig(name="path", path=",".join(map(str, paths)), **fields))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TSFM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/panels"


@pytest.fixture(scope="module")
def hourly() -> pl.DataFrame:
    return bars_of_market()


@pytest.fixture
def lake(hourly: pl.DataFrame, tmp_path: Path) -> Lake:
    return make_lake(tmp_path / "us/lake", equity_1h=hourly)


@pytest.fixture
def features(tmp_path: Path) -> Path:
    path = tmp_path / "few.yaml"
    path.write_text(FEATURES)
    return path


def built(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.is_dir())


def test_a_lake_is_built_into_the_cache_and_reused(lake: Lake, cache: Path) -> None:
    first = load(lake.path).panels[0]
    (name,) = built(cache)
    assert first.path == cache / name
    assert first.info.name == "lake_equity_1h"
    written = (first.path / "build.json").stat().st_mtime_ns
    second = load(lake.path).panels[0]
    assert (second.path / "build.json").stat().st_mtime_ns == written
    assert second.fingerprint == first.fingerprint


def test_the_panel_holds_the_variates_of_all_symbols(lake: Lake, hourly: pl.DataFrame) -> None:
    panel = load(lake.path).panels[0]
    assert panel.item_ids == tuple(hourly["symbol"].unique().sort())
    close = hourly.filter(symbol="SIM3")["close"].log().to_numpy()
    found = panel.series(3).target[0]
    np.testing.assert_allclose(found[np.isfinite(found)], close, rtol=1e-6)


def test_new_bars_and_other_settings_are_built_anew(
    lake: Lake, cache: Path, features: Path
) -> None:
    first = load(lake.path).panels[0]
    with_features = load(lake.path, features=str(features)).panels[0]
    assert not first.info.past_covariates
    assert "log_return_5" in with_features.info.past_covariates
    more = bars_of_market(1, 200, seed=5).with_columns(symbol=pl.lit("NEW"))
    lake.upsert_many(more, asset_class="equity", freq="1h")
    again = load(lake.path).panels[0]
    assert "NEW" in again.item_ids
    assert len(built(cache)) == 3


def test_only_the_last_used_panels_are_kept(lake: Lake, cache: Path) -> None:
    for age, seed in enumerate((1, 2, 3)):
        path = load(lake.path, seed=seed).panels[0].path
        os.utime(path, (1000 + age, 1000 + age))
    foreign = cache / "lake_equity_1h_of_another"
    foreign.mkdir()
    kept = built(cache)
    load(lake.path, seed=4)
    assert len(built(cache)) == len(kept)
    assert foreign.exists()
    assert load(lake.path, seed=2).panels[0].path.name in kept


def test_a_damaged_panel_is_built_again(lake: Lake) -> None:
    panel = load(lake.path).panels[0]
    fingerprint = panel.fingerprint
    (data,) = panel.path.glob("*.arrow")
    data.write_bytes(data.read_bytes()[:100])
    again = load(lake.path).panels[0]
    again.verify()
    assert again.fingerprint == fingerprint


@pytest.mark.parametrize("variates", [(), ("log_range",)])
def test_the_served_model_takes_bars(
    lake: Lake, features: Path, variates: tuple, tmp_path: Path
) -> None:
    source = load(lake.path, features=str(features), variates=variates)
    validate_bars(source.example)
    assert len(source.example) == 500
    source.preparation.save(tmp_path)
    made = load_preparation(tmp_path).panel(source.example)
    (panel,) = source.panels
    assert made.info.variates == panel.info.variates == (variates or panel.info.variates)
    assert made.info.past_covariates == panel.info.past_covariates
    assert made.info.known_covariates == panel.info.known_covariates
    item = panel.item(made.item_ids[0])
    for rows in ("target", "past_covariates"):
        found, built = (getattr(p.series(k), rows)[:, -300:] for p, k in ((made, 0), (panel, item)))
        np.testing.assert_allclose(found, built, rtol=1e-3, atol=1e-3)


def test_the_choice_of_features_is_recorded(lake: Lake, features: Path) -> None:
    panel = load(lake.path, features=str(features)).panels[0]
    record = panel.info.provenance["preparation"]
    assert set(record["selection"]["scores"]) >= {"rsi_14", "regime_0"}
    assert record["regimes"]["config"]["states"] == 2
    assert panel.info.provenance["fitted_until"] < str(panel.timestamps(0)[int(600 * 0.7)])


# --- several --------------------------------------------------------------------------------------


def test_each_asset_class_and_frequency_is_a_panel(hourly: pl.DataFrame, tmp_path: Path) -> None:
    lake = make_lake(tmp_path / "lake", equity_1h=hourly, equity_1d=daily(hourly), fx_1h=hourly)
    source = load(lake.path)
    names = ["lake_equity_1d", "lake_equity_1h", "lake_fx_1h"]
    assert [panel.info.name for panel in source.panels] == names
    roots = np.sqrt([panel.lengths.sum() for panel in source.panels])
    np.testing.assert_allclose(source.weights, roots / roots.sum())
    assert load(lake.path, weights=(0.5, 0.3, 0.2)).weights == (0.5, 0.3, 0.2)
    with pytest.raises(ConfigError, match=r"2 data\.weights for 3 panels.*lake_equity_1d"):
        load(lake.path, weights=(0.5, 0.5))
    only = load(lake.path, freq="1h", asset_class="equity")
    assert [panel.info.name for panel in only.panels] == names[1:2]
    assert len(load(lake.path, freq="1h").panels) == 2


def test_lakes_of_one_name_are_told_apart(lake: Lake, hourly: pl.DataFrame, tmp_path: Path) -> None:
    other = make_lake(tmp_path / "eu/lake", equity_1h=hourly, equity_1d=daily(hourly))
    source = load(lake.path, other.path, "sample", weights=(0.5, 0.3, 0.2))
    names = ["us_lake_equity_1h", "eu_lake_equity_1d", "eu_lake_equity_1h", "sample_bars"]
    assert [panel.info.name for panel in source.panels] == names
    assert source.weights[0] == 0.5
    assert source.weights[1] + source.weights[2] == pytest.approx(0.3)
    assert source.weights[1] < source.weights[2]


def test_several_panels_are_held_out_each(hourly: pl.DataFrame, tmp_path: Path) -> None:
    lake = make_lake(tmp_path / "lake", equity_1h=hourly, fx_1h=bars_of_market(seed=3))
    config = SourceConfig(name="path", path=str(lake.path))
    few = EvaluationConfig(windows_per_item=2, items_per_task=3, baseline_context=48)
    divisions = hold_out_each(load_source(config).panels, config, few, 48, 12)
    names = [task.name for division in divisions for task, _ in division.tasks]
    assert names == [f"lake_{k}_1h/{s}" for k in ("equity", "fx") for s in ("time", "symbols")]
    assert {d.train.info.freq for d in divisions} == {divisions[0].train.info.freq}
    for division in divisions:
        held_out = set(division.tasks[1][1].item_ids)
        assert not held_out & set(division.train.item_ids)


def test_symbols_that_features_were_fitted_on_are_not_held_out(lake: Lake, features: Path) -> None:
    config = SourceConfig(name="path", path=str(lake.path), features=str(features))
    (panel,) = load_source(config).panels
    few = EvaluationConfig(windows_per_item=2, items_per_task=3, baseline_context=48)
    (division,) = hold_out_each([panel], config, few, 48, 12)
    fitted = set(panel.info.provenance["fitted_on"])
    assert len(fitted) == 3
    assert not fitted & set(division.tasks[1][1].item_ids)


# --- refused --------------------------------------------------------------------------------------


def test_what_a_lake_does_not_hold_is_told(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.freq=1d.*equity/1h"):
        load(lake.path, freq="1d")
    with pytest.raises(DataError, match="the lake holds no bars"):
        load(Lake.create(tmp_path / "empty").path)
    with pytest.raises(ConfigError, match=r"features='nowhere\.yaml'"):
        load(lake.path, features="nowhere.yaml")


def test_filters_are_for_lakes(lake: Lake) -> None:
    panel = load(lake.path).panels[0]
    assert isinstance(panel, Panel)
    with pytest.raises(ConfigError, match="choose from a lake"):
        load(panel.path, freq="1h")


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_directory() == tmp_path / "cache"
    monkeypatch.delenv("TSFM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg/tsfm-lab"
