"""The generic preparation, and its file."""

import numpy as np
import pandas as pd
import pytest

from tsfm.data.preparation import ColumnPreparation, load_preparation
from tsfm.errors import CheckpointError, ConfigError, DataError


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "item_id": ["x", "y"] * 5,
            "timestamp": np.repeat(pd.date_range("2024-01-01", periods=5, freq="5min"), 2),
            "heat": np.arange(10.0),
            "load": [1, None] * 5,
            "note": "a",
        }
    )


def test_columns_become_variates_as_they_are(frame: pd.DataFrame) -> None:
    preparation = ColumnPreparation(variates=["load", "heat"], freq="5min", seasonality=288)
    panel = preparation.fit(frame).panel(frame, name="plant")
    assert panel.item_ids == ("x", "y")
    assert (panel.info.name, panel.info.freq, panel.info.seasonality) == ("plant", "5min", 288)
    np.testing.assert_array_equal(panel.series(1).target, [[np.nan] * 5, [1, 3, 5, 7, 9]])
    np.testing.assert_array_equal(panel.timestamps(0), frame["timestamp"].unique())
    forecast = pd.DataFrame({"variate": ["heat"], "mean": [1.0], "q0.5": [1.0]})
    pd.testing.assert_frame_equal(preparation.restore(forecast), forecast)


def test_columns_may_be_covariates(frame: pd.DataFrame) -> None:
    preparation = ColumnPreparation(variates=["heat"], past_covariates=["load"])
    one = preparation.panel(frame).series(1)
    np.testing.assert_array_equal(one.target, [[1, 3, 5, 7, 9]])
    np.testing.assert_array_equal(one.past_covariates, [[np.nan] * 5])
    assert one.known_covariates is None
    with pytest.raises(DataError, match="columns load are missing"):
        preparation.panel(frame.drop(columns="load"))
    with pytest.raises(ConfigError, match="named twice"):
        ColumnPreparation(variates=["heat"], known_covariates=["heat"])


def test_state_survives_json(tmp_path) -> None:
    preparation = ColumnPreparation(
        variates=["heat"], known_covariates=["load"], freq="5min", seasonality=288
    )
    preparation.save(tmp_path)
    loaded = load_preparation(tmp_path)
    assert isinstance(loaded, ColumnPreparation)
    assert loaded.state() == preparation.state()


@pytest.mark.parametrize(
    ("change", "message", "where"),
    [
        (lambda f: f.drop(columns="heat"), "columns heat are missing", "plant"),
        (lambda f: f.iloc[:0], "there are no rows", "plant"),
        (lambda f: f.iloc[::-1], "not later", "plant, item 'y', row 2"),
        (lambda f: pd.concat([f, f.tail(1)]), "not later", "plant, item 'y', row 10"),
        (lambda f: f.assign(heat="warm"), "a value is not a number", "plant, item 'x'"),
        (lambda f: f.assign(timestamp="soon"), "timestamps are not dates", "plant"),
        (
            lambda f: f.assign(timestamp=f["timestamp"].dt.tz_localize("UTC")),
            "time zone",
            "plant",
        ),
    ],
)
def test_bad_frames(frame: pd.DataFrame, change, message: str, where: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        ColumnPreparation(variates=["heat"]).panel(change(frame), name="plant")
    assert raised.value.where == where


@pytest.mark.parametrize(
    "arguments",
    [
        {"variates": []},
        {"variates": ["a", "a"]},
        {"variates": ["timestamp"]},
        {"variates": ["a"], "freq": "blink"},
        {"variates": ["a"], "seasonality": 0},
    ],
)
def test_bad_arguments(arguments: dict) -> None:
    with pytest.raises(ConfigError):
        ColumnPreparation(**arguments)


@pytest.mark.parametrize(
    "text", [None, "{", '{"preparation": "magic"}', "[]", '{"preparation": "columns"}']
)
def test_a_missing_or_damaged_file_is_a_checkpoint_error(tmp_path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "preparation.json").write_text(text)
    with pytest.raises(CheckpointError):
        load_preparation(tmp_path)
