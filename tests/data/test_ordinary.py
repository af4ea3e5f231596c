"""The series that ship with packages, held to what is known of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsfm.data.ordinary import ordinary_panels
from tsfm.data.panel import Panel
from tsfm.errors import DataError


@pytest.fixture(scope="module")
def panels() -> dict[str, Panel]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LSF_PATH", raising=False)
        return by_name()


def by_name() -> dict[str, Panel]:
    return {panel.info.name: panel for panel in ordinary_panels()}


def test_several_kinds_and_frequencies(panels):
    assert len(panels) == 7
    assert {panel.info.freq for panel in panels.values()} >= {"30min", "W-SAT", "MS", "QS", "YS"}
    assert all(panel.info.licence for panel in panels.values())
    for panel in panels.values():
        for series in panel:
            assert np.isfinite(series.target).mean() > 0.9
            assert series.target.std() > 0 or np.isnan(series.target).any()


@pytest.mark.parametrize(
    ("name", "item", "date", "value"),
    [
        ("carbon_dioxide", "mauna_loa", "1958-03-29", 316.1),
        ("sea_temperature", "nino", "1951-02-01", 25.37 - 0.0),
        ("sunspots", "yearly", "1700-01-01", 5.0),
        ("sunspots", "yearly", "1778-01-01", 154.4),
        ("economy", "realgdp", "1959-04-01", 2778.801),
        ("equipment_orders", "europe", "1995-02-01", 65.15),
    ],
)
def test_values_stand_at_their_dates(panels, name, item, date, value):
    panel = panels[name]
    position = panel.item(item)
    stamps = panel.timestamps(position)
    place = int(np.flatnonzero(stamps == np.datetime64(date, "ns"))[0])
    found = float(panel.series(position).target[0, place])
    if name == "sea_temperature":
        from statsmodels.datasets import elnino

        value = float(elnino.load_pandas().data.set_index("YEAR").loc[1951, "FEB"])
    assert found == pytest.approx(value, rel=1e-5)


def test_panels_are_the_same_every_time(panels):
    again = {panel.info.name: panel.fingerprint for panel in ordinary_panels()}
    assert again == {name: panel.fingerprint for name, panel in panels.items()}
    assert isinstance(pd.Timestamp(panels["economy"].timestamps(0)[0]), pd.Timestamp)


def test_the_test_part_of_ett_where_it_is(monkeypatch, shared):
    monkeypatch.setenv("LSF_PATH", str(shared / "data/lsf"))
    panel = by_name()["ETTh1"]
    assert len(panel) == 7
    assert (panel.lengths == 2 * 2880).all()
    frame = pd.read_csv(shared / "data/lsf/ETTh1.csv")["OT"].to_numpy()
    series = next(one for one in panel if one.item_id == "OT")
    train = frame[:8640]
    np.testing.assert_allclose(
        series.target[0], (frame[8640:14400] - train.mean()) / train.std(), rtol=1e-5, atol=1e-5
    )


def test_a_damaged_file_of_ett_is_named(monkeypatch, tmp_path):
    (tmp_path / "ETTh1.csv").write_text("x,y\n1,2\n")
    monkeypatch.setenv("LSF_PATH", str(tmp_path))
    with pytest.raises(DataError, match="ETTh1 cannot be read"):
        ordinary_panels()
