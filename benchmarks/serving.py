"""Latency and throughput of a served model, over HTTP and in process.

    python benchmarks/serving.py --json
    python benchmarks/serving.py --json --requests 400 --clients 1,8,32

The model is the shipped ``ttm-base``: 512 hourly values of one item in, 96 steps at nine quantile
levels out. Ours is the model as this project logs it. The peer is the same network in a plain
MLflow pyfunc: a typed signature, MLflow's own request path (JSON to a frame by the schema, records
back through ``json``), nothing checked and nothing repaired. Both are served by ``mlflow models
serve --env-manager local``, side by side, and answer the same bodies in turns, so that other work
on the machine is shared. Counted beside the latencies is the processor time that a request costs
the server.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

CONTEXT, HORIZON = 512, 96
PEER = """
import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Plain(PythonModel):
    def load_context(self, context):
        from tsfm.models.source import load_local

        self.forecaster = load_local(context.artifacts["forecaster"])

    def predict(self, context, model_input, params=None):
        items = list(model_input.groupby("item_id", sort=False))
        past = np.stack([rows["value"].to_numpy(np.float32) for _, rows in items])[..., None]
        horizon, levels = int(params["horizon"]), tuple(params["quantile_levels"])
        forecast = self.forecaster.predict(past=past, horizon=horizon, quantile_levels=levels)
        frames = []
        for row, (item, rows) in enumerate(items):
            made = pd.DataFrame({
                "item_id": item,
                "step": np.arange(1, horizon + 1),
                "timestamp": pd.date_range(rows["timestamp"].iloc[-1], periods=horizon + 1,
                                           freq="h")[1:],
                "mean": forecast.mean[row, :, 0].astype(float),
            })
            for k, level in enumerate(levels):
                made[f"q{level:g}"] = forecast.quantiles[row, :, 0, k].astype(float)
            frames.append(made)
        return pd.concat(frames, ignore_index=True)


set_model(Plain())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=200, help="of each number of clients")
    parser.add_argument("--clients", default="1,8,32", help="at once")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    options = parser.parse_args()
    clients = [int(number) for number in options.clients.split(",")]

    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        frame = walks()
        addresses = {"ours": log_ours(frame), "peer": save_peer(frame, Path(folder))}
        found = measure(addresses, frame, options.requests, clients)
        os.chdir("/")
    ours, peer = found["ours"], found["peer"]
    assert np.allclose(ours.pop("answer"), peer.pop("answer"), rtol=1e-4), "answers differ"
    first = str(clients[0])
    result = {
        "ours": ours["http"][first]["p50_ms"],
        "peer": peer["http"][first]["p50_ms"],
        "unit": f"ms, median latency of a request with {first} client(s)",
        "ratio": round(peer["http"][first]["p50_ms"] / ours["http"][first]["p50_ms"], 2),
        "cpu_ratio": round(peer["cpu_ms"] / ours["cpu_ms"], 2),
        "requests": options.requests,
        "detail": {"ours": ours, "peer": peer},
    }
    for name, one in (("ours", ours), ("plain pyfunc", peer)):
        print(f"{name}: first answer {one['first_answer_s']:.1f} s after start, "
              f"{one['cpu_ms']:.1f} ms of CPU a request, "
              f"in process p50 {one['in_process']['p50_ms']:.1f} ms")  # fmt: skip
        for number, told in one["http"].items():
            print(f"  {number:>3} clients: p50 {told['p50_ms']:.1f} ms, p99 "
                  f"{told['p99_ms']:.1f} ms, {told['per_second']:.1f} requests/s")  # fmt: skip
    if options.json:
        print(json.dumps(result))


def walks() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "item_id": "A",
            "timestamp": pd.date_range("2024-01-01", periods=CONTEXT, freq="h"),
            "value": rng.normal(size=CONTEXT).cumsum() + 50,
        }
    )


def log_ours(frame: pd.DataFrame) -> str:
    from tsfm import load_forecaster
    from tsfm.data.preparation import ColumnPreparation
    from tsfm.tracking.registry import log_model
    from tsfm.tracking.runs import MlflowRun

    directory = load_forecaster("ttm-base").save("model")
    ColumnPreparation(variates=["value"], freq="h", seasonality=24).save(directory)
    with MlflowRun.start("served", entry_point="benchmark") as run:
        logged = log_model(run, directory, name="ttm", register_as="ttm", input_example=frame)
    return logged.uri


def save_peer(frame: pd.DataFrame, folder: Path) -> str:
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    from tsfm.models.base import QUANTILE_LEVELS
    from tsfm.tracking.registry import PACKAGE

    code = folder / "plain.py"
    code.write_text(PEER)
    kinds = (DataType.string, DataType.datetime, DataType.double)
    params = [
        ParamSpec("horizon", DataType.long, HORIZON),
        ParamSpec("quantile_levels", DataType.double, list(QUANTILE_LEVELS), shape=(-1,)),
    ]
    mlflow.pyfunc.save_model(
        folder / "plain",
        python_model=str(code),
        artifacts={"forecaster": str(folder / "model")},
        code_paths=[str(PACKAGE)],
        signature=ModelSignature(
            Schema([ColSpec(kind, name) for kind, name in zip(kinds, frame, strict=True)]),
            params=ParamSchema(params),
        ),
        pip_requirements=[],
    )
    return str(folder / "plain")


def measure(
    addresses: dict[str, str], frame: pd.DataFrame, requests: int, clients: list[int]
) -> dict[str, dict[str, Any]]:
    """First answer, latencies by number of clients, processor time, and ``predict`` in process."""
    split = json.loads(frame.to_json(orient="split", index=False, date_format="iso"))
    split["data"] = [[item, moment.rstrip("Z"), value] for item, moment, value in split["data"]]
    body = json.dumps({"dataframe_split": split, "params": {"horizon": HORIZON}}).encode()
    found: dict[str, dict[str, Any]] = {name: {"http": {}} for name in addresses}
    with ExitStack() as servers:
        ports, groups = {}, {}
        for name, uri in addresses.items():
            port, process, started = servers.enter_context(serving(uri))
            answer = first_answer(port, process, body)
            found[name]["first_answer_s"] = round(time.perf_counter() - started, 2)
            told = pd.DataFrame(json.loads(answer)["predictions"])
            found[name]["answer"] = told["q0.5"].to_numpy()
            ports[name], groups[name] = port, process.pid
            load(port, body, 20, 1)
        before = {name: cpu_seconds(group) for name, group in groups.items()}
        turns = 5
        for number in clients:
            seconds: dict[str, list[float]] = {name: [] for name in addresses}
            wall = dict.fromkeys(addresses, 0.0)
            for _ in range(turns):
                for name, port in ports.items():
                    began = time.perf_counter()
                    seconds[name] += load(port, body, requests // turns, number)
                    wall[name] += time.perf_counter() - began
            for name in addresses:
                rate = len(seconds[name]) / wall[name]
                told = quantiles(seconds[name]) | {"per_second": round(rate, 2)}
                found[name]["http"][str(number)] = told
        asked = turns * (requests // turns) * len(clients)
        for name, group in groups.items():
            spent = cpu_seconds(group) - before[name]
            found[name]["cpu_ms"] = round(1e3 * spent / asked, 2)
    for name, told in in_process(addresses, frame, requests).items():
        found[name]["in_process"] = told
    return found


@contextmanager
def serving(uri: str) -> Iterator[tuple[int, subprocess.Popen[bytes], float]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    binaries = Path(sys.executable).parent
    command = [binaries / "mlflow", "models", "serve", "-m", uri, "--env-manager", "local",
               "-p", str(port)]  # fmt: skip
    environment = os.environ | {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{Path.cwd() / 'mlflow.db'}",
    }
    started = time.perf_counter()
    with Path(f"server-{port}.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield port, process, started
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def first_answer(port: int, process: subprocess.Popen[bytes], body: bytes) -> bytes:
    while True:
        assert process.poll() is None, Path(f"server-{port}.log").read_text()[-2000:]
        try:
            return ask(port, body)
        except OSError:
            time.sleep(0.1)


def ask(port: int, body: bytes) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text[:500]
        return text
    finally:
        connection.close()


def load(port: int, body: bytes, requests: int, clients: int) -> list[float]:
    """Seconds of every request."""

    def one(_: int) -> float:
        began = time.perf_counter()
        ask(port, body)
        return time.perf_counter() - began

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(one, range(requests)))


def quantiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{p}_ms": round(1e3 * float(np.percentile(seconds, p)), 2) for p in (50, 99)}


def cpu_seconds(group: int) -> float:
    """Of all processes of a group."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12]) if int(fields[2]) == group else 0
        except (OSError, IndexError):
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def in_process(
    addresses: dict[str, str], frame: pd.DataFrame, requests: int
) -> dict[str, dict[str, float]]:
    """``predict`` of models that MLflow loads here, in turns."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    models = {name: mlflow.pyfunc.load_model(uri) for name, uri in addresses.items()}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(requests + 5):
        for name, model in models.items():
            began = time.perf_counter()
            model.predict(frame, params={"horizon": HORIZON})
            seconds[name].append(time.perf_counter() - began)
    return {name: quantiles(told[5:]) for name, told in seconds.items()}


if __name__ == "__main__":
    main()
