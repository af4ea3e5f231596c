"""What holds of every family: GluonTS evaluates it, and nothing but safetensors is read."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from support.families import FAMILIES, HORIZON, LEVELS, PREPARATION, SLOW, make, save, walks

from tsfm.errors import CheckpointError
from tsfm.models.frames import forecast_frame
from tsfm.models.source import load_local

PICKLES = ("pytorch_model.bin", "model.pt", "adapter_model.bin", "python_model.pkl")
WEIGHTED = ("moirai", "ttm", "panda", "patchtst_hf", "chronos_t5", "chronos_bolt", "chronos2")


class Trap:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def model(request, tmp_path):
    return make(request.param, tmp_path / "parts")


def forecast(forecaster):
    return forecast_frame(forecaster, PREPARATION, walks(), HORIZON, LEVELS, seed=3)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name in FAMILIES
        if name != "garch"
    ],
    indirect=True,
)
def test_gluonts_evaluates_it(model):
    from gluonts.evaluation import Evaluator, make_evaluation_predictions

    entries = list(PREPARATION.panel(walks(bars=120)).gluonts())
    univariate = [one | {"target": one["target"][0]} for one in entries]
    predictor = model.to_gluonts_predictor(HORIZON)
    forecasts, actual = make_evaluation_predictions(univariate, predictor, num_samples=10)
    forecasts = list(forecasts)
    assert [one.item_id for one in forecasts] == ["item-0", "item-1"]
    assert {one.start_date for one in forecasts} == {entries[0]["start"] + 120 - HORIZON}
    evaluator = Evaluator(quantiles=[0.1, 0.5, 0.9], num_workers=0)
    totals, items = evaluator(actual, forecasts)
    assert np.isfinite([totals["mean_wQuantileLoss"], totals["MASE"], totals["RMSE"]]).all()
    expected = [
        np.abs(np.asarray(one["target"])[-HORIZON:] - told.quantile(0.5)).mean()
        for one, told in zip(univariate, forecasts, strict=True)
    ]
    observed = items["MAE"] if "MAE" in items else items["abs_error"] / HORIZON
    np.testing.assert_allclose(observed, expected, rtol=1e-5)


@pytest.mark.parametrize("model", WEIGHTED, indirect=True)
def test_pickles_beside_the_weights_are_never_opened(model, tmp_path, monkeypatch):
    directory = save(model, tmp_path / "model")
    for name in PICKLES:
        (directory / name).write_bytes(pickle.dumps(Trap(tmp_path / "opened")))
    expected = forecast(load_local(directory))

    def refuse(*_, **__):
        raise AssertionError("a pickle is read")

    for place, name in ((torch, "load"), (pickle, "load"), (pickle, "loads")):
        monkeypatch.setattr(place, name, refuse)
    pd.testing.assert_frame_equal(forecast(load_local(directory)), expected)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("model", WEIGHTED, indirect=True)
def test_pickles_instead_of_the_weights_are_refused(model, tmp_path):
    directory = save(model, tmp_path / "model")
    (weights,) = directory.glob("*.safetensors")
    weights.unlink()
    for name in PICKLES:
        (directory / name).write_bytes(pickle.dumps(Trap(tmp_path / "opened")))
    with pytest.raises(CheckpointError, match="safetensors"):
        load_local(directory)
    assert not (tmp_path / "opened").exists()
