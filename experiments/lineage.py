"""Which data, code, config and parent runs made a model; which runs saw a panel.

mlflow run . -e lineage -P model=ohlcv
mlflow run . -e lineage -P panel=panels/sample_bars
mlflow run . -e lineage -P run_id=<run id> -P out=lineage.json
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli import Parameter, run
from experiments.lineage_config import LineageConfig

if TYPE_CHECKING:
    from tsfm.tracking.ancestry import Ancestry, Node

PARAMETERS = {
    "model": Parameter("model", "registered name (its champion), models:/…, directory or hub id"),
    "panel": Parameter("panel", "a panel's directory, or a fingerprint's first characters"),
    "run_id": Parameter("run_id", "of a run"),
    "out": Parameter("out", "JSON file to write the answer to; empty: print it alone"),
}


def main(config: LineageConfig) -> None:
    from tsfm.tracking.ancestry import Ancestry
    from tsfm.tracking.ancestry_report import show_tree
    from tsfm.tracking.run_record import store_client

    kind, name = config.asked
    client = store_client()
    found = answer(Ancestry(client=client), kind, name)
    show_tree(found)
    told = json.dumps({"asked": {kind: name}, "answer": found.to_dict()}, indent=2)
    if config.out:
        write(Path(config.out), told)
        print(f"written to  {config.out}")
    launched = os.environ.get("MLFLOW_RUN_ID")
    if launched:
        client.log_text(launched, told, "lineage.json")


def answer(ancestry: Ancestry, kind: str, name: str) -> Node:
    """The tree of the thing that is asked about."""
    if kind == "panel":
        return ancestry.of_panel(name)
    return ancestry.of_model(name) if kind == "model" else ancestry.of_run(name)


def write(path: Path, text: str) -> None:
    """All of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    run("lineage", LineageConfig, PARAMETERS, main, title="Where a model, panel or run comes from.")
