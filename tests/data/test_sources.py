"""Sources: what each name and path gives, how several are mixed, what is refused at the door."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsfm.data.ohlcv.market import MarketConfig
from tsfm.data.ohlcv.preparation import BarPreparation
from tsfm.data.ohlcv.sample import sample_bars
from tsfm.data.ohlcv.simulator import simulate_bars
from tsfm.data.panel import Panel
from tsfm.data.preparation import ColumnPreparation
from tsfm.data.sources import Source, SourceConfig, load_source
from tsfm.errors import CheckpointError, ConfigError, DataError

SMALL = {"simulated_assets": 3, "simulated_bars": 400}


def load(path: object, **fields) -> Source:
    return load_source(SourceConfig(name="path", path=str(path), **SMALL, **fields))


@pytest.fixture
def bars() -> pd.DataFrame:
    return simulate_bars(MarketConfig(n_assets=3, n_bars=300, seed=1))


@pytest.fixture
def csv(bars: pd.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "market.csv"
    bars.to_csv(path, index=False)
    return path


@pytest.fixture
def panel(bars: pd.DataFrame, tmp_path: Path) -> Path:
    made = BarPreparation().panel(bars, name="made")
    Panel.write(tmp_path / "panel", made, made.info)
    return tmp_path / "panel"


def served(source: Source) -> Panel:
    """The panel that the served model makes of the example."""
    return source.preparation.panel(source.example)


# --- by name --------------------------------------------------------------------------------------


def test_the_mixture_of_the_project_is_as_configured() -> None:
    source = load_source(SourceConfig(name="mixed", simulated_weight=0.6, **SMALL))
    assert [panel.info.name for panel in source.panels] == ["simulated_1h", "sample_bars"]
    assert source.weights == (0.6, 0.4)
    assert source.example["item_id"].iloc[0] == sample_bars()["item_id"].iloc[0]
    assert source.example["timestamp"].is_monotonic_increasing


@pytest.mark.parametrize("name", ["sample", "simulated"])
def test_one_of_the_projects_sources(name: str) -> None:
    source = load_source(SourceConfig(name=name, **SMALL))
    assert source.weights == (1.0,)
    assert served(source).info.variates == source.panels[0].info.variates
    assert len(source.example) == 500


# --- by path --------------------------------------------------------------------------------------


def test_a_table_of_bars(csv: Path, bars: pd.DataFrame) -> None:
    source = load(csv)
    assert source.panels[0].item_ids == tuple(bars["item_id"].unique())
    assert source.panels[0].info.name == "market"
    last = source.panels[0].series(0).target
    np.testing.assert_allclose(served(source).series(0).target[:, 1:], last[:, -299:], rtol=1e-5)


def test_a_panel_made_of_bars_takes_bars_again(panel: Path) -> None:
    source = load(panel)
    assert isinstance(source.preparation, BarPreparation)
    whole, again = source.panels[0].series(0).target, served(source).series(0).target
    np.testing.assert_allclose(again[:, 1:], whole[:, 1:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variates", [("log_return",), ("log_range", "log_volume")])
def test_some_variates_are_forecast_and_the_others_seen(panel: Path, variates: tuple) -> None:
    source = load(panel, variates=variates)
    made = served(source)
    assert made.info.variates == source.panels[0].info.variates == variates
    assert made.info.past_covariates == source.panels[0].info.past_covariates
    np.testing.assert_allclose(
        made.series(0).target[:, 1:], source.panels[0].series(0).target[:, 1:], rtol=1e-4, atol=1e-5
    )


def test_a_panel_of_anything_takes_its_columns(make_panel, tmp_path: Path) -> None:
    made = make_panel(n_items=3, length=60)
    Panel.write(tmp_path / "panel", made, made.info)
    source = load(tmp_path / "panel")
    assert isinstance(source.preparation, ColumnPreparation)
    np.testing.assert_array_equal(served(source).series(0).target, made.series(0).target)


def test_a_panel_of_an_unknown_preparation_is_told(bars: pd.DataFrame, tmp_path: Path) -> None:
    from dataclasses import replace

    made = BarPreparation().panel(bars, name="made")
    info = replace(made.info, provenance={"preparation": {"name": "alchemy"}})
    Panel.write(tmp_path / "panel", made, info)
    with pytest.raises(CheckpointError, match=r"alchemy.*panel made.*bars"):
        load(tmp_path / "panel")


# --- several --------------------------------------------------------------------------------------


def test_several_are_weighted_by_the_root_of_their_bars(csv: Path) -> None:
    source = load(f"{csv},sample,simulated")
    assert [panel.info.name for panel in source.panels] == ["market", "sample_bars", "simulated_1h"]
    roots = np.sqrt([panel.lengths.sum() for panel in source.panels])
    np.testing.assert_allclose(source.weights, roots / roots.sum())


def test_weights_and_the_first_ones_preparation(csv: Path) -> None:
    source = load(f"{csv}, sample", weights=(0.7, 0.3))
    assert source.weights == (0.7, 0.3)
    assert source.example["item_id"].iloc[0].startswith("SIM")


def test_a_comma_in_a_name_is_part_of_it(bars: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "a, b.csv"
    bars.to_csv(path, index=False)
    assert SourceConfig(name="path", path=str(path)).parts == (str(path),)
    assert len(load(path).panels) == 1


def test_two_panels_of_one_name_are_refused(csv: Path, bars: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    bars.to_csv(tmp_path / "other/market.csv", index=False)
    with pytest.raises(DataError, match="two panels are both called market"):
        load(f"{csv},{tmp_path}/other/market.csv")


# --- refused at the door --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"weights": (0.5, 0.5), "path": "a,b,c"}, "2 data.weights for 3 sources"),
        ({"weights": (0.5, 0.4), "path": "a,b"}, r"sum to 0.9, not to 1.*\[0.556, 0.444\]"),
        ({"weights": (1.0, 0.0), "path": "a,b"}, "not all positive"),
        ({"weights": (float("nan"), 0.5), "path": "a,b"}, "not all positive"),
        ({"path": "a,b,a"}, "data names a twice"),
        ({"path": "a", "features": ""}, "data.features is empty"),
        ({"path": ""}, "Give one of them"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        SourceConfig(name="path", **fields)


def test_weights_of_a_named_source_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"data=mixed.*simulated_weight"):
        SourceConfig(weights=(0.5, 0.5))


def test_one_panel_has_one_weight(csv: Path) -> None:
    with pytest.raises(ConfigError, match=r"2 data\.weights for 1 panels"):
        load(csv, weights=(0.5, 0.5))
    assert load(csv, weights=(1.0,)).weights == (1.0,)


def test_a_path_to_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent"):
        load(tmp_path / "absent")
