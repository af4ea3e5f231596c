"""Which files are a sensor's, and what is served of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsfm.data.covariates import narrowed, with_covariates
from tsfm.data.glucose.cgm_config import CgmConfig
from tsfm.data.glucose.origins import holds_readings, is_glucose
from tsfm.data.sources import SourceConfig, load_source
from tsfm.errors import ConfigError, DataError


def table(**columns) -> pd.DataFrame:
    return pd.DataFrame({"timestamp": pd.date_range("2024", periods=40, freq="5min")} | columns)


READINGS = table(glucose=np.linspace(90, 150, 40))
BARS = table(**{name: np.full(40, 10.0) for name in ("open", "high", "low", "close", "volume")})


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(("frame", "expected"), [(READINGS, True), (BARS, False)])
def test_tables_are_told_by_their_columns(tmp_path, suffix, frame, expected):
    path = tmp_path / f"data.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    assert holds_readings(str(path), CgmConfig()) is expected
    assert holds_readings(str(tmp_path), CgmConfig()) is expected


def test_columns_that_are_named_make_a_table_a_sensor_s(tmp_path):
    path = tmp_path / "odd.csv"
    table(reading=np.linspace(90, 150, 40)).to_csv(path, index=False)
    assert not holds_readings(str(path), CgmConfig())
    assert holds_readings(str(path), CgmConfig(), ["reading"])
    assert holds_readings(str(path), CgmConfig(columns={"glucose": "reading"}))


def test_names_and_empty_folders(tmp_path):
    assert holds_readings("brist1d:somewhere", CgmConfig())
    assert not holds_readings(str(tmp_path), CgmConfig())


def test_a_source_of_readings_has_a_report_and_a_preparation(tmp_path):
    path = tmp_path / "me.csv"
    READINGS.to_csv(path, index=False)
    source = load_source(SourceConfig(name="path", path=str(path)))
    (panel,) = source.panels
    assert is_glucose(panel)
    assert source.reports[0].rows == 40
    again = source.preparation.panel(source.example)
    np.testing.assert_array_equal(again.series(0).target, panel.series(0).target)
    with pytest.raises(ConfigError, match="glucose alone"):
        load_source(SourceConfig(name="path", path=str(path), variates=("a", "b")))


def test_the_cohort_is_a_source_whose_covariates_can_be_left_out():
    from tsfm.data.glucose.cohort_config import CohortConfig

    few = CohortConfig(days=1, patients=("adult#001",))
    source = load_source(SourceConfig(name="virtual", cohort=few))
    assert source.panels[0].info.past_covariates == ("insulin", "carbohydrates")
    served = source.preparation.panel(source.example)
    np.testing.assert_allclose(
        served.series(0).past_covariates, source.panels[0].series(0).past_covariates, rtol=1e-5
    )
    bare = narrowed(source, (), ())
    assert bare.panels[0].info.past_covariates == ()
    assert list(bare.example.columns) == ["item_id", "timestamp", "glucose"]
    assert bare.preparation.panel(bare.example).info.past_covariates == ()
    assert narrowed(source, ("all",), ("all",)) is source


def test_covariates_by_name(make_panel):
    panel = make_panel(past_covariates=("a1", "a2"), known_covariates=("k1", "k2"))
    some = with_covariates(panel, ("a2",), ("k2", "k1"))
    assert (some.info.past_covariates, some.info.known_covariates) == (("a2",), ("k2", "k1"))
    np.testing.assert_array_equal(
        some.series(1).past_covariates[0], panel.series(1).past_covariates[1]
    )
    np.testing.assert_array_equal(
        some.series(1).known_covariates, panel.series(1).known_covariates[::-1]
    )
    with pytest.raises(DataError, match=r"known covariates a1 are not.*k1, k2"):
        with_covariates(panel, ("a2",), ("a1",))
