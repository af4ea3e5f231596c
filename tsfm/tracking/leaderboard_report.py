"""Who stands on a leaderboard, what it leaves in its run, and what it prints."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from tsfm.errors import CheckpointError, ConfigError
from tsfm.evaluation.contender import Contender
from tsfm.evaluation.kept_blocks import write_blocks
from tsfm.evaluation.leaderboard import to_markdown
from tsfm.evaluation.significance import in_words
from tsfm.evaluation.standings import Standings
from tsfm.evaluation.standings_export import write_standings
from tsfm.evaluation.standings_text import readable, standings_markdown
from tsfm.tracking.console import print_run, print_table, stdout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tsfm.evaluation.answers import Answer
    from tsfm.tracking.runs import MlflowRun

ALL, BASELINES = "all", "baselines"
STATISTICAL = (
    "random_walk", "drift", "garch_walk", "har", "theta", "auto_ets", "parroting", "mean",
    "linear_extrapolation", "dlinear", "lightgbm",
)  # fmt: skip
"""What ``baselines`` stands for, beside the one that errors are relative to."""


def contenders(model: str, baseline: str) -> list[Contender]:
    """Models by their sources, separated by commas, and the baseline that all are held against.

    ``baselines`` stands for :data:`STATISTICAL`; ``all`` for these, the models that ship with the
    package and every registered model: its champion, or its latest version where it has none.

    Raises
    ------
    ConfigError
        When two sources have one name.
    CheckpointError, TrackingError
        When there is no model at a source.
    """
    from tsfm.models.source import SHIPPED

    found = {baseline: Contender(name=baseline)}
    for word in dict.fromkeys(part.strip() for part in model.split(",") if part.strip()):
        sources = [word]
        if word in (ALL, BASELINES):
            sources = list(STATISTICAL)
        if word == ALL:
            sources += [*SHIPPED, *_registered()]
        for source in sources:
            one = _contender(source)
            known = found.setdefault(one.name, one)
            if known != one:
                raise ConfigError(
                    f"{known.directory} and {one.directory} are both called {one.name}",
                    remedy="rename one of the directories",
                )
    return list(found.values())


def record_leaderboard(
    record: MlflowRun,
    found: Standings,
    results: pd.DataFrame,
    tested: pd.DataFrame | None,
    answered: Sequence[Answer] = (),
) -> None:
    """All files of the leaderboard under ``leaderboard/``, its metrics, and its words.

    Parameters
    ----------
    answered
        Whose window blocks become ``backtest.parquet``.
    """
    cells = [(a.result.model, a.result.task, a.blocks) for a in answered if a.blocks is not None]
    with tempfile.TemporaryDirectory() as folder:
        write_standings(found, results, folder)
        write_blocks(cells, Path(folder) / "backtest.parquet")
        text = standings_markdown(found)
        if tested is not None and len(tested):
            tested.to_csv(Path(folder) / "significance.csv", index=False)
            text += f"\n## Significance\n\n{in_words(tested)}\n\n{to_markdown(tested)}\n"
        (Path(folder) / "standings.md").write_text(text, encoding="utf-8")
        record.log_file(Path(folder), "leaderboard")
    for column in ("skill", "win_rate"):
        rows = zip(found.table["model"], found.table[column].astype(float), strict=True)
        record.log_metrics({f"{column}.{model}": value for model, value in rows}, step=0)
    note = f"{found.conclusion}\n\n{to_markdown(readable(found))}"
    record.set_tags({"mlflow.note.content": note, "conclusion": found.conclusion})


def show_leaderboard(
    record: MlflowRun, found: Standings, tested: pd.DataFrame | None, results: pd.DataFrame
) -> None:
    """Print the leaderboard, its conclusions, every failure and note, and where the run is."""
    console = stdout()
    print_table(console, f"{found.metric} relative to {found.baseline}", readable(found))
    console.print(f"{found.conclusion}\n", highlight=False)
    if tested is not None and len(tested):
        console.print(f"{leader_in_words(found, tested)}\n", highlight=False)
    for failure in found.failures.itertuples():
        told = f"failed      {failure.model} on {failure.task}: {failure.reason}"
        console.print(told, highlight=False, markup=False)
    for row in results[results["note"] != ""].itertuples():
        told = f"noted       {row.model} on {row.task}: {row.note}"
        console.print(told, highlight=False, markup=False)
    print_run(console, record)
    console.print("page        in the run's artifacts: leaderboard/standings.html", highlight=False)


def leader_in_words(found: Standings, tested: pd.DataFrame) -> str:
    """How sure the first of the table is to be better than each other; pairs of two, all."""
    leader = str(found.table["model"].iloc[0])
    about = tested[(tested["model"] == leader) | (tested["other"] == leader)]
    if len(about) in (0, len(tested)):
        return in_words(tested)
    return f"{leader}: {in_words(about)} Every other pair: leaderboard/significance.csv"


def _contender(source: str) -> Contender:
    from tsfm.models import named
    from tsfm.models.foreign.config import FILE_NAME
    from tsfm.models.source import FOREIGN, directory_of

    baseline = named(source)
    if baseline is not None:
        return Contender(name=baseline)
    if source.startswith(("models:/", "runs:/")):
        from tsfm.tracking.registry import pinned, resolve

        exact = pinned(source)
        return Contender(name=exact.partition(":/")[2], directory=resolve(exact))
    path = directory_of(source)
    is_given = path == Path(source.removeprefix(FOREIGN))
    one = Contender(name=path.absolute().name if is_given else source, directory=path)
    if one.foreign is None and source.startswith(FOREIGN):
        raise CheckpointError(
            f"the directory holds no {FILE_NAME}",
            where=str(path),
            remedy=f"tsfm foreign init writes one; leave out {FOREIGN!r} for a model of this lab",
        )
    if one.foreign is not None:
        one.provenance()
    return one


def _registered() -> list[str]:
    """Every registered model that has a version."""
    from mlflow import MlflowClient

    from tsfm.tracking import store

    store.connect()
    sources = []
    for model in MlflowClient().search_registered_models(max_results=1000):
        if "champion" in model.aliases:
            sources.append(f"models:/{model.name}@champion")
        elif model.latest_versions:
            sources.append(f"models:/{model.name}/latest")
    return sources
