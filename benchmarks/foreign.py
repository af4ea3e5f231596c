"""MOIRAI by uni2ts in its own environment, beside ours on the same weights and frozen task.

    python benchmarks/foreign.py --peer-python PATH [--weights DIRECTORY]

``docs/foreign_examples/uni2ts`` answers through a worker in the environment of ``--peer-python``
(``benchmarks/peers/README.md``). Without ``--weights`` they are drawn at random by uni2ts. ``mean``
is the largest difference of the two means, ``median`` the average difference between the medians of
the peer's 100 samples and of our mixture, both in units of our interval between the 10 % and 90 %
quantiles; ``sql`` is the loss by which leaderboards rank. ``question_ms``: what asking 64 series of
512 bars of ``docs/foreign_examples/last_value`` takes beyond the same walk in this process.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from tsfm.evaluation.backtest import Backtest, backtest
from tsfm.evaluation.results import result_of
from tsfm.evaluation.suites import load_suite
from tsfm.models.base import Context, Forecaster
from tsfm.models.foreign.forecaster import ForeignForecaster
from tsfm.models.moirai import Moirai
from tsfm.models.statistical import RandomWalk

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "docs" / "foreign_examples"
PATCH_SIZE = 16


def main() -> None:
    parser = argparse.ArgumentParser(description="uni2ts as a foreign forecaster, beside ours")
    parser.add_argument("--peer-python", required=True, help="of an environment with uni2ts")
    parser.add_argument("--weights", help="directory of weights instead of random ones")
    parser.add_argument("--task", default="general/commits")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "uni2ts"
        shutil.copytree(EXAMPLES / "uni2ts", directory)
        write_checkpoint(args.peer_python, directory / "checkpoint", args.weights)
        ready = {"python": args.peer_python, "requirements": None}
        peer = ForeignForecaster.load(directory, **ready)
        (entry,) = load_suite(args.task)
        task, panel = entry.open()
        sizes = {"patch_size": PATCH_SIZE, "context": task.context, "horizon": task.horizon}
        ours = Moirai.from_pretrained(directory / "checkpoint", **sizes)
        began = time.perf_counter()
        parameters = peer.capabilities.parameters
        started = time.perf_counter() - began
        answers = {"ours": backtest(ours, task, panel), "peer": backtest(peer, task, panel)}
        peer.close()
    found = {
        "task": task.name,
        "windows": len(answers["ours"].origins),
        "parameters": parameters,
        **differences(answers["ours"], answers["peer"]),
        **{f"sql_{name}": result_of(one).errors["sql"] for name, one in answers.items()},
        **{f"ms_per_series_{name}": 1000 * one.seconds_per_series for name, one in answers.items()},
        "start_s": started,
        "question_ms": question_cost(),
    }
    print(json.dumps(found, indent=1))


def write_checkpoint(python: str, target: Path, weights: str | None) -> None:
    """By the peer, as it writes those that it releases."""
    words = [str(Path(weights).absolute())] if weights else []
    script = HERE / "peers" / "uni2ts_checkpoint.py"
    subprocess.run([python, str(script), str(target), *words], check=True)


def differences(ours: Backtest, peer: Backtest) -> dict[str, float]:
    """Of means and medians, over the width of our 80 % interval."""
    width = ours.quantiles[..., -1] - ours.quantiles[..., 0]
    return {
        "mean": float(np.nanmax(np.abs(ours.mean - peer.mean) / width)),
        "median": float(np.nanmean(np.abs(ours.median - peer.median) / width)),
    }


def question_cost() -> float:
    """Milliseconds that the pipe costs."""
    context = Context(past=np.random.default_rng(0).standard_normal((64, 512, 1)).cumsum(axis=1))
    ready = {"python": sys.executable, "requirements": None}
    foreign = ForeignForecaster.load(EXAMPLES / "last_value", **ready)
    costs = {
        name: fastest(one, context) for name, one in (("far", foreign), ("near", RandomWalk()))
    }
    foreign.close()
    return 1000 * (costs["far"] - costs["near"])


def fastest(model: Forecaster, context: Context) -> float:
    """Seconds of the fastest of several questions."""
    taken = []
    for _ in range(10):
        began = time.perf_counter()
        model.predict(context, 24)
        taken.append(time.perf_counter() - began)
    return min(taken)


if __name__ == "__main__":
    main()
