"""Forgetting: ratios of errors held to backtests by hand, and told in words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.embedders import Persistent
from support.ttm import make_mixing_model, make_model

from tsfm.data.panel import Panel
from tsfm.data.series import PanelInfo, Series
from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.analysis_config import ForgettingConfig
from tsfm.evaluation.backtest import backtest
from tsfm.evaluation.metrics import score
from tsfm.evaluation.retention import analyse_retention, as_changes, ask, is_able

CONFIG = ForgettingConfig(context=32, horizon=6, windows=10)


def walks(kinds: int = 5, length: int = 200) -> list[Panel]:
    rng = np.random.default_rng(0)
    panels = []
    for kind in range(kinds):
        values = 20 + rng.standard_normal((3, length)).cumsum(axis=1).astype(np.float32)
        info = PanelInfo(name=f"kind{kind}", variates=("value",), freq="D", seasonality=7)
        start = pd.Timestamp("2020-01-01")
        series = [
            Series(item_id=f"i{k}", target=row[None], start=start) for k, row in enumerate(values)
        ]
        panels.append(Panel.from_series(series, info))
    return panels


def test_a_model_that_is_its_base_has_forgotten_nothing():
    found = analyse_retention(Persistent(), Persistent(), walks(), CONFIG)
    changes = found.tables["forgetting"]
    np.testing.assert_array_equal(changes["change"], 0)
    assert set(changes["verdict"]) <= {"unchanged", "undecided"}
    assert set(found.tables["forgetting_overall"]["verdict"]) == {"unchanged"}
    assert "has not changed" in found.conclusion
    assert found.metrics["change.mase"] == 0


def test_changes_are_ratios_of_errors_after_and_before():
    worse = Persistent(lambda context: 3.0)
    panels = walks()
    found = analyse_retention(worse, Persistent(), panels, CONFIG)
    changes = found.tables["forgetting"].set_index(["series", "metric"])
    task, view = ask(panels[1], CONFIG)
    for metric in ("mase", "crps", "smape"):
        values = []
        for model in (Persistent(), worse):
            scores = score(backtest(model, task, view))
            part = scores[scores["metric"] == metric]
            values.append(part["numerator"].sum() / part["denominator"].sum())
        row = changes.loc[("kind1", metric)]
        np.testing.assert_allclose(row[["before", "after"]].to_numpy(float), values, rtol=1e-5)
        assert row["change"] == pytest.approx(values[1] / values[0] - 1, rel=1e-5)
        assert row["low"] <= row["change"] <= row["high"]
    overall = found.tables["forgetting_overall"].set_index("metric").loc["mase"]
    by_kind = changes.xs("mase", level="metric")["change"]
    assert overall["change"] == pytest.approx(np.exp(np.log1p(by_kind).mean()) - 1)
    assert overall["verdict"] == "worse"
    assert "has become worse" in found.conclusion
    assert "kind3 +" in found.conclusion


def test_training_may_help_as_well():
    found = analyse_retention(Persistent(), Persistent(lambda context: 3.0), walks(), CONFIG)
    assert "has become better" in found.conclusion
    assert (found.tables["forgetting"]["change"] < 0).all()


def test_a_skill_is_a_change_turned_round():
    row = {
        "task": "t", "variate": "v", "metric": "mase", "value": 1.2, "baseline_value": 1.0,
        "skill": -0.2, "low": -0.3, "high": -0.1, "verdict": "loss", "windows": 9, "clusters": 4,
    }  # fmt: skip
    (change,) = as_changes(pd.DataFrame([row])).to_dict("records")
    assert (change["change"], change["low"], change["high"]) == (0.2, 0.1, 0.3)
    assert change["verdict"] == "worse"


def test_short_series_are_asked_from_half_of_their_bars():
    (panel,) = walks(kinds=1, length=46)
    task, _ = ask(panel, CONFIG)
    assert task.context == 20
    assert ask(panel, ForgettingConfig(context=32, horizon=40)) is None
    with pytest.raises(DataError, match="no series is long enough"):
        analyse_retention(
            Persistent(), Persistent(), [panel], ForgettingConfig(context=32, horizon=40)
        )
    with pytest.raises(ConfigError, match=r"forgetting.windows=0"):
        ForgettingConfig(windows=0)


def test_models_that_need_covariates_cannot_be_asked():
    assert is_able(make_model(), ForgettingConfig(context=64, horizon=16))
    assert not is_able(make_mixing_model(targets=1, past=2, known=0), CONFIG)
