"""Foreign forecasters on leaderboards: equal to ours where they are the same, failed where not."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from support.foreign import write_foreign

from tsfm.data.panel import Panel
from tsfm.data.provenance import Provenance
from tsfm.errors import CheckpointError, ConfigError, DataError
from tsfm.evaluation.answers import answers
from tsfm.evaluation.contamination import audit, trained_on
from tsfm.evaluation.contender import Contender, digest_of_files
from tsfm.evaluation.results import results_frame
from tsfm.evaluation.standings import standings
from tsfm.evaluation.suites import FOLDER, load_suite
from tsfm.tracking.leaderboard_report import contenders

EXAMPLE = Path(__file__).parents[2] / "docs" / "foreign_examples" / "last_value" / "worker.py"


def last_value(directory: Path) -> Path:
    """The example, on this Python."""
    return write_foreign(directory, EXAMPLE.read_text(), reads_history=True, training_data=[])


def test_the_example_has_the_row_of_the_random_walk(tmp_path: Path) -> None:
    tasks = load_suite("general/weather,general/sunspots,general/economy")
    names = [Contender(name=name) for name in ("seasonal_naive", "random_walk")]
    theirs = Contender(name="last_value", directory=last_value(tmp_path / "last_value"))
    results = results_frame(
        answer.result for answer in answers([*names, theirs], tasks, metric="sql")
    )
    assert (results["failure"] == "").all(), results["failure"].tolist()
    table = standings(results, metric="sql", baseline="seasonal_naive").table.set_index("model")
    columns = [
        *table.columns.difference(["seconds", "mean_rank", "win_rate", "rank", "crps_exact"])
    ]
    columns = [name for name in columns if not name.startswith("win_rate")]
    ours, row = table.loc["random_walk", columns], table.loc["last_value", columns]
    for name in columns:
        assert row[name] == pytest.approx(ours[name], rel=1e-5, abs=1e-5, nan_ok=True), name
    assert np.isnan(table.loc["last_value", "crps_exact"]), "it answers quantiles only"
    by_task = results.set_index(["model", "task"]).filter(like="error/")
    by_task = by_task.drop(columns="error/crps_exact")
    np.testing.assert_allclose(by_task.loc["last_value"], by_task.loc["random_walk"], rtol=1e-5)


def test_what_fails_is_a_cell_and_the_next_task_is_answered(tmp_path: Path) -> None:
    code = """
    def forecast(request):
        if request.horizon == 12:
            print("no memory left", file=sys.stderr)
            os._exit(7)
        return {"mean": np.repeat(request.past[:, -1], request.horizon, axis=1)}
    """
    tasks = load_suite("general/sunspots,general/marriages,general/unemployment")
    horizons = [entry.open()[0].horizon for entry in tasks]
    assert (horizons.count(12), len(horizons)) == (1, 3), horizons
    one = Contender(name="theirs", directory=write_foreign(tmp_path / "theirs", code))
    found = answers([Contender(name="seasonal_naive"), one], tasks, metric="mase")
    results = results_frame(answer.result for answer in found).set_index(["model", "task"])
    failures = results.loc["theirs", "failure"]
    for entry, horizon in zip(tasks, horizons, strict=True):
        told = failures[entry.name]
        assert ("exited with code 7; its last lines: no memory left" in told) == (horizon == 12)
    table = standings(results.reset_index(), metric="mase", baseline="seasonal_naive").table
    assert table.set_index("model").loc["theirs", "failures"] == 1
    assert results.loc["theirs", "trained_on"].isna().all()


def test_its_files_and_the_packages_of_its_interpreter_are_its_digest(tmp_path: Path) -> None:
    directory = write_foreign(tmp_path / "a")

    def digest() -> str:
        return Contender(name="a", directory=directory).digest

    first = digest()
    (directory / "__pycache__").mkdir()
    (directory / "__pycache__" / "worker.pyc").write_bytes(b"1")
    (directory / ".git").mkdir()
    (directory / ".git" / "HEAD").write_text("x")
    assert digest() == first
    assert digest_of_files(directory) != digest_of_files(directory, own=True)
    (directory / "weights.bin").write_bytes(b"1")
    second = digest()
    assert second != first
    environment = tmp_path / "env"
    packages = environment / "lib" / "python3.11" / "site-packages"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(sys.executable)
    packages.mkdir(parents=True)
    write_foreign(directory, python=str(environment / "bin" / "python"))
    third = digest()
    (packages / "torch-2.13.0.dist-info").mkdir()
    assert len({first, second, third, digest()}) == 4


def test_what_it_was_trained_on_is_what_its_author_says(tmp_path: Path) -> None:
    panel = FOLDER / "general" / "marriages"

    def contender(**settings: object) -> Contender:
        one = Contender(name="x", directory=write_foreign(tmp_path / "x", **settings))
        assert one.foreign is not None
        return one

    assert contender().provenance() is None
    assert contender().declared_data == frozenset()
    assert contender(training_data=[]).provenance() == Provenance()
    told = contender(training_data=["m4_hourly", "electricity", str(panel)])
    assert told.declared_data == {"m4_hourly", "electricity"}
    provenance = told.provenance()
    assert provenance is not None
    assert [s.fingerprint for s in provenance.sources] == [Panel.open(panel).fingerprint]
    tasks = load_suite("general/marriages,general/sunspots")
    said = {
        "silent": (contender(), [None, None], ["unknown", "unknown"]),
        "nothing": (contender(training_data=[]), [False, False], ["clean", "clean"]),
        "name": (contender(training_data=["sunspots"]), [False, True], ["clean", "seen"]),
        "panel": (contender(training_data=[str(panel)]), [True, False], ["seen", "clean"]),
    }
    for one, seen, verdicts in said.values():
        asked = [(entry.dataset, *entry.open()) for entry in tasks]
        assert [trained_on(one, *question) for question in asked] == seen
        assert audit([one], tasks).verdicts["verdict"].tolist() == verdicts


def test_sources_of_foreign_forecasters(tmp_path: Path) -> None:
    one = write_foreign(tmp_path / "one")
    found = contenders(f"foreign:{one},{one}", "seasonal_naive")
    assert [contender.name for contender in found] == ["seasonal_naive", "one"]
    other = write_foreign(tmp_path / "b" / "one", batch_size=3)
    with pytest.raises(ConfigError, match="both called one"):
        contenders(f"{one},foreign:{other}", "seasonal_naive")
    write_foreign(other, training_data=["no/panel"])
    with pytest.raises(DataError, match="no/panel"):
        contenders(str(other), "seasonal_naive")
    (other / "worker.py").unlink()
    with pytest.raises(CheckpointError, match=r"no worker\.py"):
        contenders(str(other), "seasonal_naive")
    (other / "foreign.yaml").unlink()
    with pytest.raises(CheckpointError, match=r"no foreign\.yaml"):
        contenders(f"foreign:{other}", "seasonal_naive")
