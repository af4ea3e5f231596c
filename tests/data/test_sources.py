"""Sources: which variates are forecast, and which only seen."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.data.panel import Panel
from tsfm.data.sources import SourceConfig, load_source
from tsfm.errors import ConfigError

SMALL = {"simulated_assets": 3, "simulated_bars": 200}


def test_variates_not_chosen_are_still_seen():
    whole = load_source(SourceConfig(name="simulated", **SMALL)).panels[0]
    source = load_source(SourceConfig(name="simulated", variates=("log_range",), **SMALL))
    (panel,) = source.panels
    assert panel.info.variates == ("log_range",)
    assert panel.info.past_covariates == ("log_close", "log_return", "log_volume")
    np.testing.assert_array_equal(panel.series(2).target, whole.series(2).target[[2]])
    served = source.preparation.panel(source.example)
    assert served.info.variates == panel.info.variates
    assert served.info.past_covariates == panel.info.past_covariates


def test_a_panel_s_example_goes_through_its_preparation(make_panel, tmp_path):
    made = make_panel(2, 60, ("a", "b"), past_covariates=("p",), known_covariates=("k",))
    Panel.write(tmp_path / "panel", made, made.info)
    path = str(tmp_path / "panel")
    source = load_source(SourceConfig(name="path", path=path, variates=("b",)), example_bars=20)
    assert source.panels[0].info.past_covariates == ("a", "p")
    served, expected = source.preparation.panel(source.example), made.series(0)
    assert served.info.known_covariates == ("k",)
    np.testing.assert_array_equal(served.series(0).target, expected.target[1:, -20:])
    np.testing.assert_array_equal(
        served.series(0).past_covariates,
        np.concatenate([expected.target[:1], expected.past_covariates])[:, -20:],
    )
    np.testing.assert_array_equal(
        served.series(0).known_covariates, expected.known_covariates[:, -20:]
    )


def test_unknown_variates_are_told(make_panel, tmp_path):
    made = make_panel(2, 60)
    Panel.write(tmp_path / "panel", made, made.info)
    with pytest.raises(ConfigError, match="Choose from a, b"):
        load_source(SourceConfig(name="path", path=str(tmp_path / "panel"), variates=("z",)))
    with pytest.raises(ConfigError, match="log_open"):
        load_source(SourceConfig(name="simulated", variates=("log_open",), **SMALL))
