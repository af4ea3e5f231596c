"""Lineage: from a model to its data and base, from a panel to the runs that saw it."""

from __future__ import annotations

import json

import pytest
from support.told_commands import run_entry

from tsfm.data.panel import Panel
from tsfm.errors import ConfigError, TrackingError
from tsfm.tracking.ancestry import Ancestry, Node
from tsfm.tracking.ancestry_report import show_tree
from tsfm.tracking.lineage import whole_digest
from tsfm.tracking.registry import log_model
from tsfm.tracking.runs import MlflowRun


def made(name: str, panel: Panel, directory, bars, *, base: str = "", parent: str | None = None):
    """A run that saw a panel's first items, and registered a model."""
    with MlflowRun.start("made", entry_point="finetune", run_name=name, parent=parent) as run:
        run.log_config({"base_model": base, "seed": 3})
        run.log_environment(seed=3)
        run.log_panel(panel.select(panel.item_ids[:2]).slice(0, 50), "train")
        run.log_panel(panel, "test")
        log_model(run, directory, name=name, input_example=bars, register_as=name)
    return run


@pytest.fixture
def ancestry(client) -> Ancestry:
    return Ancestry(client=client)


@pytest.fixture
def panel(make_panel, tmp_path) -> Panel:
    small = make_panel(3, 100)
    return Panel.write(tmp_path / "panels" / "small", small, small.info)


def found(node: Node, **of: str) -> list[Node]:
    return [n for n in node.walk() if all(getattr(n, key) == value for key, value in of.items())]


def test_model_leads_to_run_data_code_and_its_bases(ancestry, panel, model_directory, bars):
    first = made("first", panel, model_directory, bars)
    second = made("second", panel, model_directory, bars, base="models:/first/1")
    node = ancestry.of_model("second")
    assert node.title == "models:/second/1"
    assert "no champion" in node.facts["notice"]
    (run,) = found(node, role="made by")[:1]
    assert second.run_id in run.title
    assert run.facts["again"] == f"mlflow run . -e reproduce -P run_id={second.run_id}"
    assert run.facts["seed"] == "seed=3"
    assert "commit" in run.facts["code"] or "sources" in run.facts["code"]
    (base,) = found(node, role="started from")
    assert base.title == "models:/first/1"
    assert first.run_id in base.children[0].title
    seen = {(n.role, n.title.split()[-1]) for n in run.children if n.kind == "panel"}
    assert ("test", panel.fingerprint) in seen
    assert json.loads(json.dumps(node.to_dict()))["children"]


def test_part_leads_to_its_whole_and_what_used_it(ancestry, client, panel, model_directory, bars):
    with MlflowRun.start("made", entry_point="dynamics") as whole:
        part = made("arm", panel, model_directory, bars, parent=whole.run_id)
    node = ancestry.of_run(part.run_id)
    assert whole.run_id in found(node, role="part of")[0].title
    assert node.facts["again"].endswith(whole.run_id)
    assert [n.title for n in found(node, role="made")] == ["models:/arm/1"]
    model_id = client.get_run(part.run_id).outputs.model_outputs[0].model_id
    with MlflowRun.start("forecast", entry_point="forecast") as user:
        user.set_tags({"tsfm.model": "models:/arm/1", "tsfm.model_id": model_id})
    (used,) = found(ancestry.of_model("models:/arm/1"), role="used by")
    assert user.run_id in used.title


def test_panel_is_found_by_place_fingerprint_and_part(ancestry, panel, model_directory, bars):
    run = made("first", panel, model_directory, bars)
    view = panel.select(panel.item_ids[:2]).slice(0, 50)
    with MlflowRun.start("made", entry_point="pretrain") as other:
        other.log_panel(view, "train")
    for asked in (str(panel.path), panel.fingerprint):
        node = ancestry.of_panel(asked)
        titles = " ".join(child.title for child in node.children)
        assert run.run_id in titles
        assert other.run_id in titles
    (part,) = [c for c in node.children if other.run_id in c.title]
    assert part.facts["seen"].startswith("train: a part, 2 series 2024-01-01 to 2024-01-03")
    (whole,) = [c for c in node.children if run.run_id in c.title]
    assert whole.facts["seen"].startswith("test: 3 series")
    assert whole.children[0].title == "models:/first/1"
    assert len(ancestry.of_panel(view.fingerprint[:10]).children) == 2


def test_views_know_the_panel_they_are_of(make_panel, panel):
    assert whole_digest(panel.variates(["b"]).slice(3, 50)) == panel.fingerprint
    small = make_panel(3, 60)
    assert whole_digest(small.select(["item-1"]).variates(["a"])) == small.fingerprint


def test_unknown_things_are_told(ancestry, client):
    with pytest.raises(TrackingError, match="there is no run"):
        ancestry.of_run("abc")
    with pytest.raises(ConfigError, match="neither a panel's directory nor a fingerprint"):
        ancestry.of_panel("nowhere")
    (note,) = ancestry.of_panel("0123456789abcdef").children
    assert note.title == "no run of this store saw it"


def test_a_base_that_is_gone_is_noted(ancestry, panel, model_directory, bars):
    made("second", panel, model_directory, bars, base="models:/lost/4")
    (note,) = found(ancestry.of_model("second"), role="started from")
    assert note.kind == "note"
    assert "models:/lost/4" in note.title


def test_command_prints_a_tree_and_writes_json(
    client, home, panel, model_directory, bars, monkeypatch, capfd
):
    run = made("first", panel, model_directory, bars)
    told = run_entry("lineage", ("model=first", "out=made/lineage.json"), monkeypatch, capfd)
    assert told.code == 0, told.err
    assert run.run_id in told.out
    kept = json.loads((home / "made" / "lineage.json").read_text())
    assert kept["asked"] == {"model": "first"}
    monkeypatch.setenv("MLFLOW_RUN_ID", run.run_id)
    told = run_entry("lineage", (f"panel={panel.path}",), monkeypatch, capfd)
    assert "made: model models:/first/1" in told.out
    assert any(e.path == "lineage.json" for e in client.list_artifacts(run.run_id))
    for words, expected in {
        (): "nothing is asked",
        ("model=a", "run_id=b"): "model and run_id at once",
        ("model=first", "out=tree.txt"): "no JSON file",
    }.items():
        told = run_entry("lineage", words, monkeypatch, capfd)
        assert (told.code, len(told.err.splitlines())) == (2, 1)
        assert expected in told.err


def test_tree_shows_markup_in_names_as_it_is(capsys):
    show_tree(Node(kind="note", title="[red]panel[/red]"))
    assert "[red]panel[/red]" in capsys.readouterr().out
