"""Requests as a scoring server hands them over: answered as in process, or refused in words."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from support.families import make, save, walks

from tsfm.data.ohlcv.preparation import BarPreparation
from tsfm.errors import ConfigError
from tsfm.models.statistical import SeasonalNaive
from tsfm.tracking import scoring
from tsfm.tracking.registry import log_model
from tsfm.tracking.request_body import CSV, JSON, PARQUET
from tsfm.tracking.runs import MlflowRun
from tsfm.tracking.scoring_limits import ServingLimits
from tsfm.tracking.serving import ServedForecaster, load_served

LIMITS = ServingLimits(rows=1000, horizon=50, levels=20, values=3000, body_mb=1)


@pytest.fixture(scope="module")
def model(empty_database, tmp_path_factory, bars):
    """A model that was logged, as MLflow loads it, with limits as in a server."""
    import mlflow

    place = tmp_path_factory.mktemp("scored")
    SeasonalNaive().save(place / "model")
    BarPreparation().save(place / "model")
    shutil.copy(empty_database, place / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        mlflow.set_tracking_uri(f"sqlite:///{place / 'mlflow.db'}")
        with MlflowRun.start("trial", entry_point="pretrain") as run:
            logged = log_model(
                run, place / "model", name="naive", horizon=4,
                input_example=bars.groupby("item_id").tail(20),
            )  # fmt: skip
        loaded = load_served(logged.uri).model
        mlflow.set_tracking_uri(None)
    loaded.unwrap_python_model().limits = LIMITS
    return loaded


def ask(model, body, kind=JSON):
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = scoring.answer(sent, kind, model, LIMITS)
    return response.status, json.loads(response.response)


def split(bars):
    return json.loads(bars.to_json(orient="split", index=False, date_format="iso"))


def records(bars):
    return json.loads(bars.to_json(orient="records", date_format="iso"))


@pytest.fixture
def answered(model, bars):
    """What the model says in process."""
    return model.predict(bars, params={"horizon": 3, "quantile_levels": [0.1, 0.5]})


def as_frame(told):
    frame = pd.DataFrame(told["predictions"])
    return frame.assign(timestamp=pd.to_datetime(frame["timestamp"]))


PARAMS = {"horizon": 3, "quantile_levels": [0.1, 0.5]}


@pytest.mark.parametrize(
    "body",
    [
        lambda bars: {"dataframe_split": split(bars), "params": PARAMS},
        lambda bars: {"dataframe_records": records(bars), "params": PARAMS},
        lambda bars: {"instances": records(bars), "params": PARAMS},
        lambda bars: {
            "inputs": {k: list(v.values()) for k, v in json.loads(bars.to_json()).items()}
            | {"timestamp": bars["timestamp"].astype(str).tolist()},
            "params": PARAMS,
        },
        lambda bars: {
            "dataframe_split": split(bars.assign(extra="text", volume=bars["volume"].astype(int))),
            "params": PARAMS,
        },
    ],
    ids=["split", "records", "instances", "inputs", "extra columns, whole numbers"],
)
def test_every_json_shape_is_answered_as_in_process(model, bars, answered, body):
    status, told = ask(model, body(bars))
    assert status == 200
    found = as_frame(told)
    pd.testing.assert_frame_equal(found, answered, check_dtype=False, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (CSV, lambda bars: bars.to_csv(index=False).encode()),
        (f"{CSV}; charset=utf-8", lambda bars: bars.to_csv(index=False).encode()),
        (PARQUET, lambda bars: bars.to_parquet()),
        (PARQUET, lambda bars: bars.set_index("timestamp").to_parquet()),
    ],
)
def test_tables_are_answered_with_the_defaults(model, bars, kind, body):
    status, told = ask(model, body(bars), kind)
    assert status == 200
    pd.testing.assert_frame_equal(as_frame(told), model.predict(bars), check_dtype=False, rtol=1e-6)


def test_as_of_and_notes_arrive(model, bars):
    shuffled = bars.sample(frac=1, random_state=1)
    params = {"horizon": 1, "quantile_levels": [0.5], "as_of": "2024-02-01"}
    status, told = ask(model, {"dataframe_split": split(shuffled), "params": params})
    assert status == 200
    frame = pd.DataFrame(told["predictions"])
    assert set(frame["timestamp"]) == {"2024-02-02T00:00:00"}
    assert set(frame["note"]) == {"rows were out of order and have been sorted by time"}


def replaced(bars, **values):
    table = split(bars)
    for name, value in values.items():
        table["data"][3][table["columns"].index(name)] = value
    return {"dataframe_split": table}


GOOD = {"horizon": 1}
REFUSED = {
    "no json": (lambda _: b"{", "no JSON"),
    "not utf-8": (lambda _: b'{"\xff": 1}', "no JSON"),
    "empty": (lambda _: b"", "no JSON"),
    "nested": (lambda _: b'{"inputs":' + b"[" * 300_000, "nested too deep"),
    "long number": (lambda _: b'{"inputs": ' + b"9" * 5000 + b"}", "no JSON"),
    "a list": (lambda _: [], "the JSON is a list"),
    "no table": (lambda _: {"params": GOOD}, "holds 0 tables"),
    "two tables": (lambda b: {"inputs": [], "dataframe_split": split(b)}, "holds 2 tables"),
    "foreign key": (lambda b: {"dataframe_split": split(b), "parms": {}}, "unknown keys parms"),
    "table of text": (lambda _: {"dataframe_split": "x"}, "columns or data are missing"),
    "data of text": (lambda _: {"dataframe_split": {"columns": ["a"], "data": 1}}, "is no list"),
    "ragged": (lambda _: {"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}, "row 0"),
    "records of text": (lambda _: {"dataframe_records": ["x"]}, "row is a str"),
    "no records": (lambda _: {"dataframe_records": []}, "item_id.*missing"),
    "records apart": (lambda _: {"inputs": [{f"c{k}": 1} for k in range(900)]}, "are missing"),
    "ragged columns": (lambda _: {"inputs": {"item_id": [1], "open": [1, 2]}}, "one length"),
    "a column less": (
        lambda b: {"dataframe_split": split(b.drop(columns="close"))}, "columns close are missing"),
    "params of text": (lambda b: {"dataframe_split": split(b), "params": "x"}, "params is a str"),
    "text in numbers": (lambda b: replaced(b, high="much"), "column high holds 'much'.*row 3"),
    "a table in a cell": (lambda b: replaced(b, high={"a": [1]}), "column high holds.*row 3"),
    "no date": (lambda b: replaced(b, timestamp="soon"), "'soon' is no date.*row 3"),
    "an impossible bar": (lambda b: replaced(b, low=1e9), "high is below.*row 3"),
    "no values": (
        lambda b: {"dataframe_split": split(b.assign(open=None, high=None, low=None, close=None))},
        "no bar has a close"),
    "short": (lambda b: {"dataframe_split": split(b.head(2))}, r"too short a history.*AAA \(2\)"),
    "many rows": (lambda _: {"inputs": [{}] * 1001}, r"1001 rows is more.*TSFM_SERVING_ROWS"),
    "a large body": (lambda _: b" " * 1_000_001, "body of 1 MB is more.*TSFM_SERVING_BODY_MB"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_nonsense_is_refused_in_words(model, bars, case):
    body, message = REFUSED[case]
    status, told = ask(model, body(bars))
    assert status == 400
    assert told["error_code"] == "INVALID_PARAMETER_VALUE"
    assert pd.Series([told["message"]]).str.contains(message).all(), told["message"]
    assert len(told["message"]) < 1000
    assert "Traceback" not in told["message"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"horizn": 3}, "unknown parameters horizn"),
        ({"horizon": "many"}, "horizon='many'"),
        ({"horizon": 51}, "horizon=51 is more.*TSFM_SERVING_HORIZON"),
        ({"horizon": 10**30}, "horizon=10+ is beyond"),
        ({"quantile_levels": [k / 50 for k in range(1, 30)]}, "29 quantile levels"),
        ({"quantile_levels": [[0.1], "x"]}, "quantile_levels="),
        ({"horizon": 50, "quantile_levels": [k / 40 for k in range(10, 30)]}, None),
        ({"horizon": 50, "seed": -1}, "seed=-1"),
        ({"seed": 10**400}, "seed=1000"),
        ({"as_of": 7}, "as_of=7 is no date"),
        ({"as_of": "soon"}, "as_of='soon' is no date"),
    ],
)
def test_parameters_out_of_range_are_refused(model, bars, params, message):
    status, told = ask(model, {"dataframe_split": split(bars), "params": params})
    assert status == (200 if message is None else 400)
    assert message is None or pd.Series([told["message"]]).str.contains(message).all(), told


def test_the_product_of_items_horizon_and_levels_is_limited(model, bars):
    many = pd.concat([bars.head(20).assign(item_id=f"i{k}") for k in range(8)])
    status, told = ask(model, {"dataframe_split": split(many), "params": {"horizon": 50}})
    assert status == 400
    assert "8 items × horizon 50 × 10 numbers = 4000 is more" in told["message"]


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        (None, b"{}", "type 'unknown'"),
        ("image/png", b"\x89PNG", "'image/png' are not read.*text/csv"),
        (f"{JSON}; charset=latin-1", b"{}", "latin-1 is not read"),
        (CSV, b"\x00\xff\xfe", "missing|cannot be read"),
        (CSV, b'a,b\n1,2,3\n"', "cannot be read|missing"),
        (CSV, b"", "cannot be read"),
        (PARQUET, b"PAR1", "Parquet cannot be read"),
        (PARQUET, pd.DataFrame({"x": [1]}).to_parquet(), "item_id, timestamp.*missing"),
    ],
)
def test_other_bodies_are_refused(model, kind, body, message):
    status, told = ask(model, body, kind)
    assert status == 400
    assert pd.Series([told["message"]]).str.contains(message).all(), told


def test_a_defect_of_ours_is_logged_and_answered_without_its_trace(
    model, bars, monkeypatch, caplog
):
    def fail(*_):
        raise ZeroDivisionError("a secret place")

    monkeypatch.setattr("tsfm.tracking.serving.ServedForecaster.forecast", fail)
    status, told = ask(model, {"dataframe_split": split(bars)})
    assert (status, told["error_code"]) == (500, "INTERNAL_ERROR")
    assert "ZeroDivisionError" in told["message"]
    assert "secret" not in told["message"]
    assert "a secret place" in caplog.text


def test_threads_that_share_a_model_get_its_one_answer(tmp_path):
    """A network in training mode is switched to inference and back by every forecast."""
    torch.manual_seed(0)
    save(make("ttm", tmp_path), tmp_path / "model")
    served = ServedForecaster()
    served.load_context(SimpleNamespace(artifacts={"forecaster": str(tmp_path / "model")}))
    served.forecaster.train()
    frames = [walks(seed=k) for k in range(8)]
    params = {"horizon": 8, "quantile_levels": [0.5]}
    expected = [served.forecast(frame, params) for frame in frames]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(5):
            found = list(threads.map(lambda frame: served.forecast(frame, params), frames))
            for one, other in zip(found, expected, strict=True):
                pd.testing.assert_frame_equal(one, other)


def test_mlflow_itself_tells_why_with_status_400(model, bars):
    """Without our request path: the pyfunc's own errors map to the same status."""
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match="column high holds 'much'") as caught:
        model.predict(bars.astype({"high": object}).assign(high="much"))
    assert caught.value.get_http_status_code() == 400


def test_dates_and_missing_numbers_are_valid_json():
    frame = pd.DataFrame(
        {
            "item_id": ["A", "B"],
            "timestamp": pd.to_datetime(["2024-01-01T00:00:00.5", None]),
            "mean": [0.1 + 0.2, np.nan],
        }
    )
    told = json.loads(scoring.predictions(frame))["predictions"]
    assert told == [
        {"item_id": "A", "timestamp": "2024-01-01T00:00:00.500", "mean": 0.1 + 0.2},
        {"item_id": "B", "timestamp": None, "mean": None},
    ]


def test_limits_are_set_by_the_environment():
    limits = ServingLimits.from_environment({"TSFM_SERVING_HORIZON": "7", "TSFM_OTHER": "x"})
    assert limits == ServingLimits(horizon=7)
    for text in ("0", "-1", "many", ""):
        with pytest.raises(ConfigError, match="TSFM_SERVING_ROWS"):
            ServingLimits.from_environment({"TSFM_SERVING_ROWS": text})


def test_nothing_is_installed_outside_a_scoring_server(monkeypatch):
    from mlflow.pyfunc import scoring_server

    before = scoring_server.invocations
    monkeypatch.delenv("__pyfunc_model_path__", raising=False)
    assert scoring.install() is None
    assert scoring_server.invocations is before


def test_a_scoring_server_of_this_mlflow_is_taken_over():
    """In a process of its own: the server's module keeps what is installed."""
    program = (
        "from mlflow.pyfunc import scoring_server\n"
        "from tsfm.tracking import scoring\n"
        "assert scoring.install() is not None\n"
        "import inspect; source = inspect.getsource(scoring_server.init)\n"
        "assert 'to_thread(invocations, data, content_type, model, input_schema)' in source\n"
        "assert scoring_server.invocations.__module__ == 'tsfm.tracking.scoring'\n"
    )
    environment = {"__pyfunc_model_path__": "x", "PATH": "/usr/bin"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
