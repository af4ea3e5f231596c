"""``mlflow models serve`` under large, senseless and many requests: it answers, and lives on."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from support.families import make, save, walks
from support.scoring_server import Server, serving

from tsfm.tracking.registry import log_model
from tsfm.tracking.runs import MlflowRun

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LARGE = 50_000_000
MOST_MB = 2500
PARAMS = {"horizon": 4, "quantile_levels": [0.1, 0.5, 0.9]}


@pytest.fixture(scope="module")
def server(empty_database, tmp_path_factory):
    """A TTM in an empty directory: no training data, no cache, nothing of the project."""
    import mlflow
    from mlflow import MlflowClient

    place = tmp_path_factory.mktemp("served")
    shutil.copy(empty_database, place / "mlflow.db")
    store = f"sqlite:///{place / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("MLFLOW_TRACKING_URI", store)
        mlflow.set_tracking_uri(store)
        directory = save(make("ttm", place), place / "model")
        with MlflowRun.start("served", entry_point="pretrain") as run:
            log_model(run, directory, name="ttm", register_as="walks", input_example=table())
        MlflowClient().set_registered_model_alias("walks", "champion", "1")
        mlflow.set_tracking_uri(None)
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    with serving("models:/walks@champion", store, elsewhere) as started:
        yield started


def table(items: int = 2) -> pd.DataFrame:
    return walks(items, bars=100)


def body(frame: pd.DataFrame, **params: object) -> dict:
    split = json.loads(frame.to_json(orient="split", index=False, date_format="iso"))
    return {"dataframe_split": split, "params": PARAMS | params}


def still_answers(server: Server) -> str:
    status, text = server.ask(body(table()))
    assert status == 200, text
    return text


def test_it_starts_without_training_data_or_cache(server):
    told = json.loads(still_answers(server))["predictions"]
    assert len(told) == 2 * 2 * 4
    assert not list(server.log.parent.joinpath("cache").rglob("*.arrow"))


SENSELESS = {
    "text": lambda: b"x" * LARGE,
    "an open string": lambda: b'{"dataframe_split": "' + b"x" * LARGE,
    "nesting": lambda: b'{"inputs":' + b"[" * LARGE,
    "closed nesting": lambda: b'{"inputs":' + b"[" * (LARGE // 2) + b"]" * (LARGE // 2) + b"}",
    "one number": lambda: b'{"inputs":' + b"9" * LARGE + b"}",
    "numbers": lambda: b'{"inputs":[' + b"9," * (LARGE // 2) + b"9]}",
    "NaN": lambda: b'{"inputs":{"a":[' + b"NaN," * (LARGE // 4) + b"NaN]}}",
    "other columns in each row": lambda: (
        b'{"dataframe_records":[' + b",".join(b'{"c%d":1}' % k for k in range(LARGE // 15)) + b"]}"
    ),
    "keys": lambda: b"{" + b",".join(b'"c%d":1' % k for k in range(LARGE // 13)) + b"}",
    "a long name": lambda: json.dumps(
        body(table().assign(item_id="x" * (LARGE // 300)))
        | {"params": {"horizon": 1, "as_of": "2020-01-01"}}
    ).encode(),
}


@pytest.mark.parametrize("case", SENSELESS)
def test_fifty_megabytes_of_nonsense_are_refused_in_words(server, case):
    status, text = server.ask(SENSELESS[case]())
    assert status == 400, text[:500]
    assert json.loads(text)["error_code"] == "INVALID_PARAMETER_VALUE"
    assert len(text) < 5000
    assert "Traceback" not in text
    assert server.memory() < MOST_MB
    still_answers(server)


@pytest.mark.parametrize("kind", ["application/json", "text/csv", "application/vnd.apache.parquet"])
def test_fifty_megabytes_of_history_are_answered(server, kind):
    columns = {"item_id": str, "timestamp": str}
    frame = walks(items=40, bars=20_000).astype(columns)
    if kind == "application/json":
        sent = json.dumps(body(frame)).encode()
    elif kind == "text/csv":
        sent = frame.to_csv(index=False).encode()
    else:
        path = server.log.parent / "rows.parquet"
        frame.to_parquet(path, compression="none", use_dictionary=False)
        sent = path.read_bytes()
    assert len(sent) > 0.75 * LARGE
    status, text = server.ask(sent, kind)
    assert status == 200, text[:500]
    assert {row["item_id"] for row in json.loads(text)["predictions"]} == set(frame["item_id"])
    assert server.memory() < MOST_MB


@pytest.mark.parametrize(
    "changes",
    [
        {"horizon": 10**9},
        {"horizon": 10**60},
        {"quantile_levels": [k / 100_001 for k in range(1, 100_000)]},
        {"horizon": 4096, "quantile_levels": [k / 200 for k in range(1, 199)]},
        {"horizon": -1},
        {"seed": 1.5},
        {"unknown": 1},
    ],
)
def test_questions_beyond_bounds_are_refused_in_words(server, changes):
    status, text = server.ask(body(table(items=20), **changes))
    assert status == 400
    assert "Traceback" not in text
    still_answers(server)


def test_the_longest_horizon_is_answered(server):
    status, text = server.ask(body(table(1), horizon=4096, quantile_levels=[0.5]))
    assert status == 200, text[:500]
    assert len(json.loads(text)["predictions"]) == 2 * 4096


def test_a_hundred_clients_at_once_all_get_the_same_answer(server):
    expected = still_answers(server)
    before = server.memory()
    question = json.dumps(body(table())).encode()
    with ThreadPoolExecutor(100) as clients:
        for _ in range(3):
            answers = list(clients.map(lambda _: server.ask(question), range(100)))
            assert {status for status, _ in answers} == {200}
            assert {text for _, text in answers} == {expected}
    assert server.memory() < before + 300


def test_a_hundred_senseless_clients_do_not_keep_the_others_out(server):
    nonsense = [b"{", b"x" * 1_000_000, b'{"inputs":' + b"[" * 200_000]
    with ThreadPoolExecutor(100) as clients:
        asked = [clients.submit(server.ask, nonsense[k % 3]) for k in range(90)]
        good = [clients.submit(server.ask, body(table())) for _ in range(10)]
        assert {one.result()[0] for one in good} == {200}
        assert {one.result()[0] for one in asked} == {400}


def test_clients_that_hang_up_leave_nothing_behind(server):
    import socket

    for sent in (b"POST /invocations HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n{", b"\x00\xff"):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(sent)
    still_answers(server)


def test_memory_does_not_grow_with_large_requests(server):
    question = json.dumps(body(walks(items=40, bars=4000).astype({"timestamp": str}))).encode()
    after = []
    for _ in range(8):
        assert server.ask(question)[0] == 200
        after.append(server.memory())
    assert max(after[4:]) < after[3] + 200


def test_nothing_above_was_a_defect(server):
    assert "Traceback" not in Path(server.log).read_text()
