"""Forecasters inside GluonTS's own evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.errors import DataError
from tsfm.evaluation.backtest import backtest
from tsfm.evaluation.metrics import per_bar
from tsfm.evaluation.tasks import Task
from tsfm.models.statistical import SeasonalNaive

HORIZON = 6


@pytest.mark.parametrize("variates", [("a",), ("a", "b", "c")])
def test_gluonts_evaluates_a_forecaster_as_our_backtest_does(make_panel, variates):
    from gluonts.dataset.split import split
    from gluonts.ev.metrics import MAE
    from gluonts.model.evaluation import evaluate_model

    panel = make_panel(n_items=3, length=[80, 100, 90], variates=variates, freq="h")
    model = SeasonalNaive(season=4)
    _, template = split(list(panel.gluonts()), offset=-HORIZON)
    theirs = evaluate_model(
        model.to_gluonts_predictor(HORIZON),
        test_data=template.generate_instances(HORIZON),
        metrics=[MAE("0.5")],
        axis=None,
    )
    tasks = [
        (Task.on(part, context=int(part.lengths[0]) - HORIZON, horizon=HORIZON), part)
        for part in (panel.select([item_id]) for item_id in panel.item_ids)
    ]
    errors = [per_bar(backtest(model, task, part), "mae") for task, part in tasks]
    np.testing.assert_allclose(theirs["MAE[0.5]"].item(), np.mean(errors), rtol=1e-5)


def test_forecasts_follow_their_entries(make_panel):
    panel = make_panel(n_items=5, length=50, variates=("a", "b"), freq="D")
    predictor = SeasonalNaive(season=7).to_gluonts_predictor(HORIZON)
    predictor.batch_size = 2
    entries = list(panel.gluonts())
    for entry, forecast in zip(entries, predictor.predict(entries), strict=True):
        assert forecast.item_id == entry["item_id"]
        assert forecast.start_date == entry["start"] + 50
        np.testing.assert_array_equal(forecast.mean[:, 1], entry["target"][1, -7 : -7 + HORIZON])
        assert (forecast.quantile(0.9) >= forecast.quantile(0.1)).all()


@pytest.mark.parametrize("entry", [{}, {"start": "2020"}])
def test_an_entry_without_a_start_is_told(entry):
    predictor = SeasonalNaive().to_gluonts_predictor(HORIZON)
    with pytest.raises(DataError, match="no start"):
        list(predictor.predict([entry | {"target": np.arange(9.0)}]))
