"""Lakes by the entry point data: ingest, check and build, what they leave and how they exit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from mlflow import MlflowClient
from support.lakes import bars_of_market
from support.told_commands import Told, run_entry

from experiments import data
from experiments.config import DataConfig
from tsfm.data.ohlcv.lake import Lake
from tsfm.data.panel import Panel
from tsfm.errors import ConfigError

INGEST = ("action=ingest", "source=files", "asset_class=equity", "freq=1h")


@pytest.fixture
def command(home, monkeypatch, capfd) -> Callable[..., Told]:
    """Run the entry point on the lake called ``lake``."""

    def call(*words: str) -> Told:
        given = ("dataset=ohlcv", "lake=lake", *words)
        return run_entry("data", given, monkeypatch, capfd)

    return call


@pytest.fixture(scope="session")
def market() -> pl.DataFrame:
    return bars_of_market(5, 300)


@pytest.fixture
def files(home, market) -> Path:
    """CSV files of five symbols, one of each."""
    folder = home / "files"
    folder.mkdir()
    naive = market.with_columns(pl.col("ts").dt.replace_time_zone(None))
    for (symbol,), bars in naive.group_by("symbol"):
        bars.drop("symbol").write_csv(folder / f"{symbol}.csv")
    return folder


def runs(home: Path):
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return client, client.search_runs(experiments)


# --- what users do --------------------------------------------------------------------------------


def test_from_files_to_a_panel(home, command, files, market):
    answer = command(*INGEST)
    assert (answer.code, answer.err) == (0, "")
    assert "1,500 added" in answer.out
    assert json.loads((home / "lake.ingest.json").read_text())["rows"] == 1500
    assert Lake.open(home / "lake").catalogue()["bars"].sum() == len(market)
    assert "1,500 there already" in command(*INGEST).out

    answer = command("action=check", "out=quality")
    assert answer.code == 0, answer.err
    assert (home / "quality/quality.html").stat().st_size > 1000

    answer = command("action=build", "out=panel")
    assert answer.code == 0, answer.err
    panel = Panel.open(home / "panel")
    assert len(panel) == 5
    assert "rsi_14" in panel.info.past_covariates
    assert panel.fingerprint in answer.out
    assert str(home / "panel/build.json") in answer.out

    client, found = runs(home)
    assert [run.info.status for run in found] == ["FINISHED"] * 2
    built, checked = found
    assert {"quality/quality.html", "quality/quality.json"} <= {
        file.path for file in client.list_artifacts(checked.info.run_id, "quality")
    }
    assert checked.data.metrics["assets"] == 5
    assert "build.json" in {file.path for file in client.list_artifacts(built.info.run_id)}
    assert built.data.metrics["bars"] == 1500
    (dataset,) = built.inputs.dataset_inputs
    assert dataset.dataset.digest == panel.fingerprint[:32]
    assert built.info.run_id in answer.out


def test_files_with_other_names_of_columns_and_a_time_zone(home, command, files):
    for path in files.iterdir():
        text = path.read_text().replace("ts,", "When,").replace("close,", "Last,")
        path.write_text(text)
    answer = command(*INGEST, "columns=ts:When,close:Last", "timezone=America/New_York")
    assert answer.code == 0, answer.err
    catalogue = Lake.open(home / "lake").catalogue()
    assert catalogue["timezone"].unique().to_list() == ["America/New_York"]
    assert catalogue["first"][0].hour == 14


def test_overrides_reach_cleaning_and_building(home, command, files):
    command(*INGEST)
    answer = command(
        "action=build",
        "out=panel",
        "features=none",
        "overrides=build.name=mine build.symbols=[SIM1,SIM3] cleaning.outliers=false",
    )
    assert answer.code == 0, answer.err
    panel = Panel.open(home / "panel")
    assert (panel.info.name, panel.item_ids) == ("mine", ("SIM1", "SIM3"))
    assert panel.info.provenance["cleaning"]["outliers"] is False
    assert panel.info.past_covariates == ()


# --- what is bad is left out, and the exit code says so -------------------------------------------


def test_bad_files_and_rows_are_told_and_the_rest_is_ingested(home, command, files, market):
    (files / "EMPTY.csv").touch()
    lines = (files / "SIM2.csv").read_text().splitlines()
    lines[8] = lines[8].rpartition(",")[0] + ",-5"
    (files / "SIM2.csv").write_text("\n".join(lines))
    answer = command(*INGEST)
    assert answer.code == data.DONE_WITH_PROBLEMS == 4
    told = answer.err.splitlines()
    assert any("EMPTY.csv" in line and line.startswith("problem: ") for line in told)
    assert any("SIM2.csv, row 7" in line and "-5" in line for line in told)
    assert Lake.open(home / "lake").catalogue()["bars"].sum() == len(market) - 1
    problems = json.loads((home / "lake.ingest.json").read_text())["problems"]
    assert len(problems) == 2


def test_a_strict_ingest_stops_at_the_first_problem(home, command, files):
    (files / "EMPTY.csv").touch()
    answer = command(*INGEST, "strict=true")
    assert answer.code == 2
    assert "EMPTY.csv" in answer.err


def test_a_damaged_part_is_told_by_check_and_build(home, command, files):
    command(*INGEST)
    (part, *_) = sorted((home / "lake").glob("*/*/symbol=SIM2/*/*/part.parquet"))
    part.write_bytes(b"PAR1 is how it began")
    for words in (("action=check",), ("action=build", "out=panel")):
        answer = command(*words)
        assert answer.code == 4, answer.err
        (problem,) = answer.err.splitlines()
        assert problem.startswith("problem: ")
        assert "SIM2" in problem
    assert len(Panel.open(home / "panel")) == 4
    assert [run.info.status for run in runs(home)[1]] == ["FINISHED"] * 2
    assert command("action=build", "out=strict", "strict=true").code == 2
    assert not (home / "strict").exists()


def test_many_problems_are_told_in_few_lines(capsys):
    data.tell_problems([f"file {number}" for number in range(100)])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == data.PROBLEMS_SHOWN + 1
    assert "80 more" in lines[-1]


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("action=ingest", "asset_class=equity", "freq=1h"), "source is empty"),
        (("action=ingest", "source=files", "freq=1h"), "asset_class is empty"),
        (("action=ingest", "source=files", "asset_class=equity"), "freq is empty"),
        ((*INGEST, "lake="), "lake is empty"),
        ((*INGEST, "source=nowhere"), "nowhere"),
        ((*INGEST, "timezone=Mars/Olympus"), "Mars/Olympus"),
        ((*INGEST, "columns=price:Last"), "price"),
        ((*INGEST, "columns=nonsense"), "nonsense"),
        ((*INGEST, "asset_class=../up"), "../up"),
        ((*INGEST, "strict=perhaps"), "perhaps"),
        (("action=check",), "there is no lake"),
        (("action=build",), "out is empty"),
        (("action=build", "out=panel"), "there is no lake"),
        (("action=build", "out=panel", "splits=none.csv"), "none.csv"),
        (("action=build", "out=panel", "overrides=build.workers=-1"), "workers=-1"),
        (("action=build", "out=panel", "overrides=cleaning.adjust=up"), "adjust='up'"),
        (("action=sell",), "'sell'"),
        (("dataset=table", "action=ingest", "source=x"), "'ingest'"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(home, command, words, told):
    before = {path.name for path in home.iterdir()}
    answer = command(*words)
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert line.startswith("error: ")
    assert told in line
    assert {path.name for path in home.iterdir()} - before <= {"mlruns"}
    assert not runs(home)[1]


def test_configs_follow_from_the_parameters():
    config = DataConfig(
        dataset="ohlcv",
        action="build",
        lake="lake",
        out="panel",
        features="none",
        strict=True,
        seed=3,
    )
    made = config.builder_config()
    assert (made.features, made.seed, made.cleaning.strict) == ("none", 3, True)
    with pytest.raises(ConfigError, match="lake is empty"):
        DataConfig(dataset="ohlcv", action="check")
