"""Every family logged, registered, loaded elsewhere by MLflow alone: the same forecasts to 1e-5."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.families import FAMILIES, HORIZON, LEVELS, PREPARATION, SLOW, make, save, walks

from tsfm.models.frames import forecast_frame
from tsfm.tracking.registry import log_model
from tsfm.tracking.runs import MlflowRun

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SERVED = [name for name in FAMILIES if name not in SLOW]
MOMENTS = ("2024-01-05T00:00:00", "2024-01-07T11:00:00", "2024-01-09T07:00:00")
PROGRAM = """
import json, sys
opened = []
def watch(event, arguments):
    if event == "pickle.find_class" and loading:
        opened.append(".".join(map(str, arguments)))
loading = False
sys.addaudithook(watch)
import mlflow, pandas as pd, torch
frame = pd.read_parquet(sys.argv[1])
families, moments, params = json.loads(sys.argv[2])
loads = []
real = torch.load
torch.load = lambda *a, **k: loads.append(a) or real(*a, **k)
for family in families:
    loading = True
    model = mlflow.pyfunc.load_model(f"models:/{family}/1")
    loading = False
    for moment in moments:
        told = model.predict(frame, params=params | {"as_of": moment})
        told.to_parquet(f"{family}.{moment[:10]}.parquet")
import tsfm
assert "artifacts/code/tsfm" in tsfm.__file__, tsfm.__file__
assert not loads, loads
print(json.dumps(opened))
"""


@pytest.fixture(scope="module")
def forecasts(empty_database, tmp_path_factory):
    """By family: what the model said before it was saved, and where the other process wrote."""
    import mlflow

    place = tmp_path_factory.mktemp("families")
    shutil.copy(empty_database, place / "mlflow.db")
    uri = f"sqlite:///{place / 'mlflow.db'}"
    frame = walks()
    frame.to_parquet(place / "rows.parquet")
    expected = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        with MlflowRun.start("families", entry_point="pretrain") as run:
            for family in SERVED:
                model = make(family, place / "parts" / family)
                expected[family] = {moment: said(model, frame, moment) for moment in MOMENTS}
                directory = save(model, place / "saved" / family)
                example = frame.groupby("item_id").tail(30)
                log_model(run, directory, name=family, register_as=family, input_example=example)
        mlflow.set_tracking_uri(None)
    shutil.rmtree(place / "saved")
    elsewhere, cache = place / "elsewhere", place / "cache"
    elsewhere.mkdir()
    cache.mkdir()
    params = {"horizon": HORIZON, "quantile_levels": LEVELS, "seed": 3}
    task = json.dumps([SERVED, MOMENTS, params])
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(elsewhere),
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "TSFM_CACHE": str(cache),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM, str(place / "rows.parquet"), task],
        cwd=elsewhere, env=environment, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    opened = json.loads(done.stdout.strip().splitlines()[-1])
    return {"expected": expected, "place": elsewhere, "opened": opened, "cache": cache}


def said(model, frame: pd.DataFrame, moment: str) -> pd.DataFrame:
    return forecast_frame(model, PREPARATION, frame, HORIZON, LEVELS, seed=3, as_of=moment)


@pytest.mark.parametrize("family", SERVED)
def test_a_fresh_process_forecasts_what_was_saved(forecasts, family):
    for moment, expected in forecasts["expected"][family].items():
        found = pd.read_parquet(Path(forecasts["place"]) / f"{family}.{moment[:10]}.parquet")
        found = found.drop(columns="note", errors="ignore")
        assert len(found) >= 2 * HORIZON
        assert found["timestamp"].min() == pd.Timestamp(moment) + pd.Timedelta("1h")
        numbers = list(expected.columns[4:])
        pd.testing.assert_frame_equal(found[expected.columns[:4]], expected.iloc[:, :4])
        np.testing.assert_allclose(found[numbers], expected[numbers], rtol=1e-5, atol=1e-5)


def test_no_pickle_is_opened_while_models_load(forecasts):
    assert forecasts["opened"] == []


def test_neither_training_data_nor_a_cache_is_needed(forecasts):
    assert list(forecasts["cache"].rglob("*.arrow")) == []
    assert not (Path(forecasts["place"]).parent / "saved").exists()
