"""Ensembles by the entry point data: what it leaves, and how it refuses."""

from __future__ import annotations

import json

import pytest

from tsfm.data.panel import Panel

SMALL = (
    "dynamics.n_skew=1 dynamics.n_parameters=2 dynamics.points=128 dynamics.points_per_period=32"
    " dynamics.transient=10 dynamics.couplings=speed dynamics.systems=Lorenz,Rossler,Chen"
)


@pytest.fixture
def simulated(command):
    """Run the entry point on a small ensemble; its exit code and what it wrote to stderr."""

    def call(*words: str, overrides: str = SMALL) -> tuple[int, str]:
        return command("data", "dataset=dynamics", *words, f"overrides={overrides}")

    return call


def test_an_ensemble_becomes_a_panel_a_report_and_files(home, simulated):
    assert simulated("n_trajectories=2", "out=ensemble") == (0, "")
    panel = Panel.open(home / "ensemble" / "dynamics")
    assert {series.static["system"] for series in panel} >= {"Lorenz", "Rossler", "Chen"}
    report = json.loads((home / "ensemble" / "dynamics.json").read_text())
    assert report["trajectories"] == len(panel)
    assert len(list((home / "ensemble" / "train" / "Lorenz").glob("*_T-128.arrow"))) == 2
    assert len(list((home / "ensemble" / "test" / "Chen").glob("*_T-128.arrow"))) == 2

    code, err = simulated("out=ensemble")
    assert (code, "exist already" in err) == (2, True)

    assert simulated("source=ensemble", "out=back", overrides="seed=0") == (0, "")
    assert len(Panel.open(home / "back" / "ensemble")) == len(panel)
    for source in ("ensemble", "ensemble/dynamics"):
        assert simulated("action=check", f"source={source}") == (0, "")


@pytest.mark.parametrize(
    ("words", "overrides", "told"),
    [
        (["out=a"], "dynamics.systems=Lorenz,Rosler", "Try Rossler"),
        (["out=a", "n_systems=0"], "seed=0", "n_systems=0"),
        (["out=a"], f"{SMALL} dynamics.parameter_scale=1e6 dynamics.n_skew=0", "parameter_scale"),
        (["action=check", "source=nowhere"], "seed=0", "DIRECTORY/train/SYSTEM"),
        ([], SMALL, "out"),
    ],
)
def test_bad_input_is_one_line(home, simulated, monkeypatch, words, overrides, told):
    monkeypatch.delenv("CUSTOM_DATA_PATH", raising=False)
    code, err = simulated(*words, overrides=overrides)
    assert (code, len(err.splitlines())) == (2, 1), err
    assert told in err
    assert not (home / "a" / "dynamics").exists()
