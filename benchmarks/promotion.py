"""Racing promoters: how many win, and how long it takes until the last one knows.

    python benchmarks/promotion.py --json                # 20 promoters, 50 rounds
    python benchmarks/promotion.py --json --uri http://127.0.0.1:5000

In every round each promoter, a process of its own, brings another version of one registered model,
all as good as the champion, under a policy of non-inferiority: all would be promoted alone, and
exactly one must be. Each does the whole of ``promote``: vault opened and verified, forecasts of
candidate and champion, bootstrap, lease, alias. The peer is what scripts do with MLflow's registry:
read the alias, compare it with the champion that the evidence is about, set it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
import uuid
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

MODEL = "raced"
RULES = {"skill": {"above": -0.5}, "leakage": {}, "looks": {"at_most": 10**9}}
FORK = multiprocessing.get_context("fork")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--promoters", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--uri", help="tracking store; default: SQLite in a temporary directory")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    options = parser.parse_args()

    for shared in ("mlflow", "tsfm.tracking.promotion.examination"):
        import_module(shared)

    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        uri = options.uri or f"sqlite:///{folder}/mlflow.db"
        os.environ["MLFLOW_TRACKING_URI"] = uri
        preparing = FORK.Process(target=prepare, args=(options.promoters + 1,))
        preparing.start()
        preparing.join()
        began = time.perf_counter()
        ours = race(promote_one, options.promoters, options.rounds)
        seconds = (time.perf_counter() - began) / options.rounds
        peer = race(set_alias_one, options.promoters, options.rounds)
        os.chdir("/")
    result = {
        "ours": max(ours),
        "peer": round(float(np.mean(peer)), 2),
        "unit": "winners of a round (ours: the most in any round; peer: the mean)",
        "ratio": round(float(np.mean(peer)) / max(max(ours), 1), 2),
        "rounds_with_one_winner": sum(count == 1 for count in ours),
        "peer_rounds_with_one_winner": sum(count == 1 for count in peer),
        "rounds": options.rounds,
        "promoters": options.promoters,
        "seconds_per_round": round(seconds, 2),
    }
    print(
        f"{options.promoters} promoters at once, {options.rounds} rounds: exactly one winner in "
        f"{result['rounds_with_one_winner']} (without a lease: in "
        f"{result['peer_rounds_with_one_winner']}, {result['peer']} winners on average); "
        f"{seconds:.1f} s a round"
    )
    if options.json:
        print(json.dumps(result))


def race(one: Callable[..., str], promoters: int, rounds: int) -> list[int]:
    """Winners of every round; an outcome that is neither won nor lost ends the benchmark."""
    start = FORK.Barrier(promoters)
    racers = [Worker(one, start) for _ in range(promoters)]
    observer = Worker(champion_of)
    winners = []
    try:
        champion = observer.ask()
        for _ in range(rounds):
            versions = [str(v) for v in range(1, promoters + 2) if str(v) != champion]
            for racer, version in zip(racers, versions, strict=True):
                racer.order(version, champion)
            outcomes = [racer.answer() for racer in racers]
            odd = [told for told in outcomes if told not in ("promoted", "refused")]
            assert not odd, odd
            former, champion = champion, observer.ask()
            won = [v for v, told in zip(versions, outcomes, strict=True) if told == "promoted"]
            assert champion in (won or [former]), f"{champion} is champion, winners: {won}"
            winners.append(len(won))
    finally:
        for worker in (*racers, observer):
            worker.end()
    return winners


class Worker:
    """A process with a client of its own that does one thing at every order."""

    def __init__(self, one: Callable[..., str], start: Any = None) -> None:
        self.pipe, end = FORK.Pipe()
        self.process = FORK.Process(target=self.work, args=(one, start, end), daemon=True)
        self.process.start()
        end.close()

    @staticmethod
    def work(one: Callable[..., str], start: Any, pipe: Any) -> None:
        from mlflow import MlflowClient

        client = MlflowClient()
        while (order := pipe.recv()) is not None:
            if start is not None:
                start.wait()
            try:
                pipe.send(one(client, *order))
            except Exception as error:
                pipe.send(repr(error))

    def order(self, *arguments: str) -> None:
        self.pipe.send(arguments)

    def answer(self) -> str:
        return self.pipe.recv()

    def ask(self) -> str:
        self.order()
        return self.answer()

    def end(self) -> None:
        self.pipe.send(None)
        self.process.join(timeout=30)
        self.process.kill()


def promote_one(client: Any, version: str, _champion: str) -> str:
    from tsfm.tracking.promotion.policy import Policy
    from tsfm.tracking.promotion.promoter import promote

    policy = Policy.of({"rules": RULES, "replicates": 200, "vault": "vault"})
    return promote(client, MODEL, version, policy, run_id=uuid.uuid4().hex).outcome


def set_alias_one(client: Any, version: str, champion: str) -> str:
    if str(client.get_registered_model(MODEL).aliases.get("champion")) != champion:
        return "refused"
    client.set_registered_model_alias(MODEL, "champion", version)
    return "promoted"


def champion_of(client: Any) -> str:
    return str(client.get_registered_model(MODEL).aliases.get("champion"))


def prepare(versions: int) -> None:
    """A registered model of many equal versions, the first of them champion, and a vault."""
    import pandas as pd
    from mlflow import MlflowClient

    from tsfm.data.ohlcv.preparation import BarPreparation
    from tsfm.data.panel import Panel, PanelInfo, Series
    from tsfm.data.provenance import Provenance
    from tsfm.evaluation.tasks import Task
    from tsfm.models.statistical import SeasonalNaive
    from tsfm.tracking.promotion.vault import Vault
    from tsfm.tracking.registry import log_model, register
    from tsfm.tracking.runs import MlflowRun

    rng = np.random.default_rng(0)
    start = pd.Timestamp("2024-01-01")
    info = PanelInfo(
        name="walks", variates=("x",), freq="h", seasonality=24, licence="CC0-1.0",
        provenance={"made": "random walks"},
    )  # fmt: skip
    series = [
        Series(item_id=f"i{k}", target=rng.normal(size=(1, 300)).cumsum(1), start=start)
        for k in range(4)
    ]
    panel = Panel.from_series(series, info)
    Vault.seal("vault", [(Task.on(panel, context=48, horizon=6, stride=12), panel)])

    directory = Path("model")
    SeasonalNaive().save(directory)
    BarPreparation().save(directory)
    Provenance().save(directory)
    close = np.exp(rng.normal(0, 0.01, 60).cumsum())
    bars = pd.DataFrame({"item_id": "A", "timestamp": pd.bdate_range("2024-01-01", periods=60)})
    bars = bars.assign(open=close, high=close, low=close, close=close, volume=1.0)
    client = MlflowClient()
    with MlflowRun.start("raced", entry_point="benchmark") as run:
        logged = log_model(run, directory, name="naive", input_example=bars)
    for _ in range(versions):
        register(client, logged.model_id, MODEL)
    client.set_registered_model_alias(MODEL, "champion", "1")


if __name__ == "__main__":
    main()
