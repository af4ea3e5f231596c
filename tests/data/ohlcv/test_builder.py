"""A lake made into a panel: what is in it, whatever the batches, threads and kills."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.hourly_bars import bars_at, session_stamps, stock, unobserved
from support.lakes import bars_of_market, daily, make_lake

from tsfm.data.ohlcv import asset_batch
from tsfm.data.ohlcv.build_report import BuildReport
from tsfm.data.ohlcv.builder import BuilderConfig, IterativeFinancialDatasetBuilder
from tsfm.data.ohlcv.cleaning_config import CleaningConfig
from tsfm.data.ohlcv.feature_preparation import FeaturePreparation
from tsfm.data.ohlcv.lake import Instrument, Lake
from tsfm.data.panel import Panel
from tsfm.errors import ConfigError, DataError

AS_THEY_ARE = CleaningConfig(outliers=False, splits="none")
FITTED = {
    "transforms": [{"kind": "log_return", "window": 5}, {"kind": "volume_z", "window": 20}],
    "market": {"window": 20, "features": ["beta"]},
    "calendar": {"features": ["day_of_week"]},
    "regimes": {"states": 2, "window": 50, "restarts": 1, "iterations": 5},
    "selection": {"max_features": 5, "shadows": 0},
}


@pytest.fixture(scope="module")
def market() -> pl.DataFrame:
    return bars_of_market(11, 400)


@pytest.fixture(scope="module")
def lake(market: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return make_lake(tmp_path_factory.mktemp("lakes") / "lake", equity_1h=market)


def build(lake: Lake | Path, out: Path, **settings) -> BuildReport:
    settings = {"assets_per_batch": 3, "workers": 2, "cleaning": AS_THEY_ARE} | settings
    return IterativeFinancialDatasetBuilder(lake, out, BuilderConfig(**settings)).build()


def as_lake(path: Path, **symbols: pl.DataFrame) -> Lake:
    named = [bars.insert_column(0, pl.lit(s).alias("symbol")) for s, bars in symbols.items()]
    tables = [bars.select("symbol", pl.exclude("symbol")) for bars in named]
    return make_lake(path, equity_1h=pl.concat(tables))


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- what is built --------------------------------------------------------------------------------


def test_the_panel_is_what_the_preparation_makes_of_all_bars_at_once(lake, market, tmp_path):
    report = build(lake, tmp_path / "panel")
    frame = market.rename({"symbol": "item_id", "ts": "timestamp"}).with_columns(
        pl.col("timestamp").dt.replace_time_zone(None).dt.cast_time_unit("ns")
    )
    expected = FeaturePreparation().panel(frame.to_pandas())
    panel = report.panel
    panel.verify()
    assert panel.item_ids == expected.item_ids
    assert panel.info.variates == expected.info.variates
    assert panel.info.past_covariates == expected.info.past_covariates
    assert "beta_60" in panel.info.past_covariates
    assert panel.info.known_covariates == expected.info.known_covariates
    assert panel.info.seasonality == expected.info.seasonality == 7
    for one, other in zip(panel, expected, strict=True):
        np.testing.assert_array_equal(one.timestamps, other.timestamps)
        for name in ("target", "past_covariates", "known_covariates"):
            np.testing.assert_allclose(
                getattr(one, name), getattr(other, name), rtol=1e-5, atol=1e-6, err_msg=name
            )
    assert (report.assets, report.bars, report.ok) == (11, 11 * 400, True)
    assert left(tmp_path) == ["panel"]


@pytest.mark.parametrize(
    "settings",
    [
        {"workers": 1},
        {"workers": 5},
        {"assets_per_batch": 1},
        {"assets_per_batch": 100},
        {"cache_bytes": 0},
        {"cache_bytes": 100_000},
    ],
    ids=str,
)
def test_the_result_depends_on_neither_batches_nor_workers_nor_the_cache(
    lake, tmp_path, fingerprint, settings
):
    assert build(lake, tmp_path / "panel", **settings).panel.fingerprint == fingerprint


@pytest.fixture(scope="module")
def fingerprint(lake, tmp_path_factory) -> str:
    return build(lake, tmp_path_factory.mktemp("built") / "panel").panel.fingerprint


def test_without_features_there_are_no_covariates(lake, tmp_path):
    panel = build(lake, tmp_path / "panel", features="none").panel
    assert (panel.info.past_covariates, panel.info.known_covariates) == ((), ())
    assert len(panel) == 11


def test_some_symbols_only(lake, tmp_path):
    report = build(lake, tmp_path / "panel", symbols=("SIM07", "SIM02"))
    assert report.panel.item_ids == ("SIM02", "SIM07")


def test_the_panel_tells_where_it_comes_from(lake, tmp_path):
    report = build(lake, tmp_path / "panel", name="mine")
    provenance = report.panel.info.provenance
    assert report.panel.info.name == "mine"
    assert provenance["lake"] == str(lake.path)
    assert provenance["cleaning"]["outliers"] is False
    assert provenance["preparation"]["name"] == "bar_features"
    assert len(provenance["lake_fingerprint"]) == 64


def test_progress_counts_the_bars_of_both_passes(lake, tmp_path):
    seen: list[tuple[int, int, str]] = []
    config = BuilderConfig(assets_per_batch=4, workers=2)
    builder = IterativeFinancialDatasetBuilder(lake, tmp_path / "panel", config)
    builder.build(lambda *told: seen.append(told))
    assert [done for done, _, _ in seen] == [1600, 3200, 4400, 6000, 7600, 8800]
    assert {of for _, of, _ in seen} == {8800}
    assert seen[0][2] == "SIM00 … SIM03"


# --- what is left out -----------------------------------------------------------------------------


def test_assets_to_learn_nothing_from_are_left_out_and_told(tmp_path):
    still = stock(30).with_columns(pl.lit(5.0).alias(name) for name in ("open", "high", "low"))
    lake = as_lake(
        tmp_path / "lake",
        GOOD=stock(30),
        SHORT=stock(3),
        STILL=still.with_columns(close=pl.lit(5.0)),
        BLIND=unobserved(stock(30), *range(210)),
    )
    report = build(lake, tmp_path / "panel", features="none")
    assert report.panel.item_ids == ("GOOD",)
    assert report.dropped == {
        "BLIND": "no bar is observed",
        "SHORT": "too short: 21 observed bars of 64 wanted",
        "STILL": "the price never moves",
    }
    assert report.ok


def test_repairs_are_counted_by_kind_and_symbol(tmp_path):
    gap = stock(60).filter(~pl.int_range(pl.len()).is_in([100, 101]))
    spoilt = stock(60, seed=1).with_columns(
        low=pl.when(pl.int_range(pl.len()) == 7).then(-1.0).otherwise(pl.col("low"))
    )
    lake = as_lake(tmp_path / "lake", GAP=gap, FINE=stock(60, seed=2))
    lake.upsert(Instrument(asset_class="equity", freq="1h", symbol="SPOILT"), spoilt)
    report = build(lake, tmp_path / "panel", features="none")
    assert report.counts == {"missing": 2, "non_positive": 1}
    assert report.counts_by_symbol == {"GAP": {"missing": 2}, "SPOILT": {"non_positive": 1}}
    target = report.panel.series(report.panel.item("GAP")).target
    assert np.isnan(target[:, [100, 101]]).all()
    stored = json.loads((tmp_path / "panel/build.json").read_text())
    assert stored["counts"] == report.counts
    with pytest.raises(DataError, match="GAP"):
        build(lake, tmp_path / "strict", cleaning=CleaningConfig(strict=True))
    assert left(tmp_path) == [".lake.lake", "lake", "panel"]


def test_splits_are_taken_from_a_table(tmp_path):
    lake = as_lake(tmp_path / "lake", A=stock(60), B=stock(60, seed=1))
    table = tmp_path / "splits.csv"
    table.write_text("symbol,date,ratio\nA,2023-02-01,2\n")
    cleaning = CleaningConfig(splits="table")
    report = build(lake, tmp_path / "panel", features="none", splits=str(table), cleaning=cleaning)
    assert report.counts == {"split_absent": 1}


def test_a_damaged_part_is_named_and_its_asset_left_out(market, tmp_path):
    lake = make_lake(tmp_path / "lake", equity_1h=market)
    (part, *_) = sorted(lake.path.glob("*/*/symbol=SIM04/*/*/part.parquet"))
    part.write_bytes(part.read_bytes()[:100])
    report = build(lake, tmp_path / "panel")
    assert len(report.panel) == 10
    assert report.dropped == {"SIM04": "cannot be read"}
    assert not report.ok
    assert str(part) in report.problems[0]
    with pytest.raises(DataError, match="SIM04"):
        build(lake, tmp_path / "strict", cleaning=CleaningConfig(strict=True))


def test_a_lake_of_nothing_usable_makes_no_panel(tmp_path):
    lake = as_lake(tmp_path / "lake", SHORT=stock(3), TINY=stock(2))
    with pytest.raises(DataError, match=r"none of 2 assets is left \(SHORT: too short"):
        build(lake, tmp_path / "panel")
    assert left(tmp_path) == [".lake.lake", "lake"]


def test_a_lake_written_to_meanwhile_is_told(market, tmp_path, monkeypatch):
    lake = make_lake(tmp_path / "lake", equity_1h=market)
    late = Instrument(asset_class="equity", freq="1h", symbol="LATE")
    original = asset_batch.SeriesMaker.part

    def part(self, bars):
        lake.upsert(late, stock(30))
        return original(self, bars)

    monkeypatch.setattr(asset_batch.SeriesMaker, "part", part)
    report = build(lake, tmp_path / "panel")
    assert "written to meanwhile" in report.problems[0]
    assert len(report.panel) == 11


# --- what is fitted -------------------------------------------------------------------------------


def test_regimes_and_selection_know_the_training_period_of_some_symbols_only(market, tmp_path):
    until = market["ts"].unique().sort()[250]
    settings = {"features": FITTED, "train_until": until.isoformat(), "fit_assets": 4}
    lake = make_lake(tmp_path / "lake", equity_1h=market)
    first = build(lake, tmp_path / "one", **settings)
    provenance = first.panel.info.provenance
    assert first.fitted_until == provenance["fitted_until"] == until.isoformat()
    fitted_on = provenance["fitted_on"]
    assert len(fitted_on) == 4
    other = pl.col("symbol").is_in(fitted_on) & (pl.col("ts") < until)
    prices = pl.col("open", "high", "low", "close")
    changed = market.with_columns(pl.when(other).then(prices).otherwise(prices * 1.5))
    alone = {"features": FITTED | {"market": {}}}
    one = build(lake, tmp_path / "two", **{**settings, **alone})
    lake.upsert_many(changed, asset_class="equity", freq="1h")
    two = build(lake, tmp_path / "three", **{**settings, **alone})
    fitted = [report.panel.info.provenance["preparation"] for report in (one, two)]
    assert fitted[0] == fitted[1]
    assert fitted[0]["regimes"]["means"]
    assert one.selection == fitted[0]["selection"]
    assert one.past_covariates == one.panel.info.past_covariates


def test_training_ends_by_share_where_no_date_is_given(lake, market, tmp_path):
    report = build(lake, tmp_path / "panel", features=FITTED, train_share=0.5)
    before = market.filter(
        pl.col("ts") < pl.lit(report.fitted_until).str.to_datetime(time_zone="UTC")
    )
    assert len(before) / len(market) == pytest.approx(0.5, abs=0.05)


# --- what is refused ------------------------------------------------------------------------------


def test_one_panel_is_of_one_asset_class_and_frequency(market, tmp_path):
    lake = make_lake(tmp_path / "lake", equity_1h=market, equity_1d=daily(market), fx_1h=market)
    with pytest.raises(ConfigError, match=r"equity/1d, equity/1h, fx/1h.*asset_class and freq"):
        build(lake, tmp_path / "panel")
    with pytest.raises(ConfigError, match="equity/1d, equity/1h"):
        build(lake, tmp_path / "panel", asset_class="equity")
    assert len(build(lake, tmp_path / "panel", asset_class="fx").panel) == 11
    with pytest.raises(DataError, match="no bars of crypto"):
        build(lake, tmp_path / "panel", asset_class="crypto")


def test_mistakes_are_told_before_anything_is_written(lake, tmp_path):
    with pytest.raises(DataError, match="no lake"):
        build(tmp_path / "nowhere", tmp_path / "panel")
    with pytest.raises(DataError, match="NONE are not in the lake"):
        build(lake, tmp_path / "panel", symbols=("NONE",))
    with pytest.raises(ConfigError, match=r"no\.yaml"):
        build(lake, tmp_path / "panel", features="no.yaml")
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"assets_per_batch": 0}, "assets_per_batch=0"),
        ({"workers": -1}, "workers=-1"),
        ({"min_bars": 1}, "min_bars=1"),
        ({"train_share": 1.0}, "train_share=1.0"),
        ({"train_until": "someday"}, "train_until='someday'"),
        ({"splits": "nowhere.csv"}, "nowhere.csv"),
        ({"features": ""}, "features is empty"),
    ],
)
def test_settings_out_of_range_are_told(settings, told):
    with pytest.raises(ConfigError, match=told):
        BuilderConfig(**settings)


def test_a_market_of_other_hours_lives_in_the_same_panel(tmp_path):
    early = bars_at(session_stamps(40, hours=range(4, 9)))
    lake = as_lake(tmp_path / "lake", EARLY=early, LATE=stock(40))
    panel = build(lake, tmp_path / "panel").panel
    assert [len(panel.timestamps(k)) for k in range(2)] == [len(early), len(stock(40))]
    assert isinstance(panel, Panel)
