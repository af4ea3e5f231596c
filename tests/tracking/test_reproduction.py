"""What around a run is no longer as it was, and how results are held side by side."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from tsfm.data.panel import Panel
from tsfm.tracking.environment import describe
from tsfm.tracking.experiment import RESUMED_TAG
from tsfm.tracking.reproduction import changes, compare_runs, rerun_commands
from tsfm.tracking.run_record import RunRecord
from tsfm.tracking.runs import MlflowRun


def run_with(client, metrics: dict[str, float], parent: str | None = None, name: str | None = None):
    with MlflowRun.start("made", entry_point="pretrain", parent=parent, run_name=name) as run:
        run.log_environment(seed=1)
        run.log_metrics(metrics, step=0)
    return RunRecord.read(client, run.run_id)


def test_nothing_has_changed_right_away(client):
    assert changes(run_with(client, {}), describe(seed=1)) == []


def test_changes_of_code_packages_and_machine_are_named(client):
    record, now = run_with(client, {}), describe(seed=1)
    other = replace(
        now,
        code=replace(now.code, commit="f" * 40, diff="another"),
        packages=now.packages | {"torch": "0.1", "new": "1"},
        machine=now.machine | {"processor": "abacus", "host": "elsewhere"},
    )
    told = {one.kind: one.told for one in changes(record, other)}
    assert set(told) == {"code", "packages", "machine"}
    assert "now ffffffff" in told["code"]
    assert "the package's sources are the same" in told["code"]
    assert "new absent → 1" in told["packages"]
    assert "→ 0.1" in told["packages"]
    assert told["machine"].endswith("→ abacus")


def test_commands_lead_to_the_code_of_then(client):
    record = run_with(client, {})
    commit = record.code["commit"]
    if commit is None:
        pytest.skip("not in a git repository")
    commands = rerun_commands(record)
    assert commands[0] == f"git worktree add ../at-{commit[:8]} {commit}"
    assert record.run_id in commands[-1]
    assert ("apply" in " ".join(commands)) == record.is_dirty


def test_a_panel_that_changed_or_is_gone_is_named(client, make_panel, tmp_path):
    small = make_panel(2, 60)
    panel = Panel.write(tmp_path / "panel", small, small.info)
    with MlflowRun.start("made", entry_point="pretrain") as run:
        run.log_environment(seed=1)
        run.log_panel(panel.slice(0, 30), "train")
    record = RunRecord.read(client, run.run_id)
    assert changes(record, describe(seed=1)) == []
    other = make_panel(2, 60, seed=5)
    Panel.write(tmp_path / "panel", other, other.info, overwrite=True)
    (changed,) = changes(record, describe(seed=1))
    assert changed.kind == "data"
    assert other.fingerprint in changed.told
    shutil.rmtree(tmp_path / "panel")
    (gone,) = changes(record, describe(seed=1))
    assert str(tmp_path / "panel") in gone.told


def test_values_agree_within_the_tolerance_times_are_not_compared(client):
    nan = float("nan")
    old = run_with(client, {"a": 1.0, "b": 1e9, "c": 0.0, "d": nan, "train_seconds": 3.0})
    new = run_with(client, {"a": 1 + 5e-7, "b": 1e9 + 5, "c": 5e-7, "d": nan, "train_seconds": 9.0})
    result = compare_runs(old, new, tolerance=1e-6)
    assert result.table["metric"].tolist() == ["a", "b", "c", "d"]
    assert result.is_equal
    assert result.weights == "not compared"
    strict = compare_runs(old, new, tolerance=1e-9)
    assert strict.differing["metric"].tolist() == ["a", "b", "c"]


def test_what_only_one_run_has_differs(client):
    result = compare_runs(run_with(client, {"a": 1.0}), run_with(client, {"b": 1.0}), tolerance=1)
    assert result.differing["metric"].tolist() == ["a", "b"]


def test_parts_are_compared_by_their_names(client):
    old, new = run_with(client, {"x": 1.0}), run_with(client, {"x": 1.0})
    for whole, value in ((old, 1.0), (new, 2.0)):
        run_with(client, {"y": value}, parent=whole.run_id, name="arm 1")
    run_with(client, {"y": 3.0}, parent=old.run_id, name="arm 2")
    differing = compare_runs(old, new, tolerance=1e-6).differing
    assert differing["part"].tolist() == ["arm 1", "arm 2"]


def test_panels_that_differ_make_runs_different(client, make_panel):
    records = []
    for seed in (0, 1):
        with MlflowRun.start("made", entry_point="pretrain") as run:
            run.log_panel(make_panel(1, 50, seed=seed), "test")
            run.log_metrics({"a": 1.0}, step=0)
        records.append(RunRecord.read(client, run.run_id))
    result = compare_runs(*records, tolerance=1e-6)
    assert result.table["equal"].all()
    assert not result.is_equal
    assert [one.told.rpartition(" was ")[2] for one in result.data] == [
        "not seen again",
        "not seen then",
    ]


def test_resumed_runs_tell_how_often(client, home):
    from tsfm.tracking.experiment import open_experiment

    with open_experiment("made", {"seed": 0}, entry_point="pretrain", seed=0) as run:
        pass
    assert RunRecord.read(client, run.run_id).resumed == 0
    for _ in range(2):
        with open_experiment("made", {}, entry_point="pretrain", seed=0, resume=run.run_id):
            pass
    record = RunRecord.read(client, run.run_id)
    assert (record.resumed, record.tags[RESUMED_TAG]) == (2, "2")
