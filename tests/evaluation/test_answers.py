from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.killed_answers import main as answer_in_a_process
from support.scripted_forecasters import Blind, Crossing, Remembering

from tsfm.data.panel import Panel
from tsfm.data.provenance import FILE_NAME, Provenance
from tsfm.evaluation import contender as contender_module
from tsfm.evaluation.answers import FORMAT, answers
from tsfm.evaluation.contender import Contender
from tsfm.evaluation.metric_names import METRIC_NAMES
from tsfm.evaluation.results import results_frame
from tsfm.evaluation.standings import standings
from tsfm.evaluation.suites import SuiteTask
from tsfm.models.base import Forecaster
from tsfm.models.statistical import SeasonalNaive

FIELDS = {"context": 60, "horizon": 12, "max_windows": 3}


@pytest.fixture
def task(bars: Panel) -> SuiteTask:
    return SuiteTask(
        suite="made up",
        name="made up/bars",
        dataset="bars",
        domain="Finance",
        freq="h",
        fields=FIELDS,
        source=lambda: bars,
    )


@dataclass(frozen=True, kw_only=True)
class Scripted(Contender):
    """Answers by a function, and counts how often it is loaded."""

    act: Callable[[], Forecaster]
    told: str = "digest"

    @property
    def digest(self) -> str:  # type: ignore[override]
        return self.told

    def load(self) -> Forecaster:
        return self.act()


class Holed(SeasonalNaive):
    """Forgets the last bar of every forecast."""

    def forecast(self, *arguments: Any, **options: Any) -> Any:
        forecast = super().forecast(*arguments, **options)
        mean = forecast.mean.copy()
        mean[:, -1] = np.nan
        return replace(forecast, mean=mean)


def test_what_was_answered_is_not_computed_again(task: SuiteTask, tmp_path: Path) -> None:
    contender = Contender(name="seasonal_naive")
    first = answers([contender], [task], metric="sql", kept=tmp_path)[0]
    again = answers([contender], [task], metric="sql", kept=tmp_path)[0]
    assert not first.is_kept
    assert again.is_kept
    assert again.result == first.result
    assert first.scores is not None
    assert again.scores is not None
    np.testing.assert_array_equal(again.scores["numerator"], first.scores["numerator"])
    np.testing.assert_array_equal(
        np.stack(again.scores["terms"].to_list()), np.stack(first.scores["terms"].to_list())
    )
    assert first.result.trained_on is False
    assert first.result.domain == "Finance"
    other = answers([contender], [task], metric="mase", kept=tmp_path)[0]
    assert other.is_kept, "every metric is kept"
    assert other.scores is not None
    assert set(other.scores["metric"]) == {"mase"}


def test_another_model_or_question_is_computed_and_damage_is_no_answer(
    task: SuiteTask, tmp_path: Path
) -> None:
    one = Scripted(name="one", act=SeasonalNaive, told="one")
    answers([one], [task], metric="sql", kept=tmp_path)
    other = replace(one, told="other")
    longer = replace(task, fields=FIELDS | {"horizon": 13})
    assert not answers([other], [task], metric="sql", kept=tmp_path)[0].is_kept
    assert not answers([one], [longer], metric="sql", kept=tmp_path)[0].is_kept
    renamed = answers([replace(one, name="renamed")], [task], metric="sql", kept=tmp_path)[0]
    assert renamed.is_kept
    assert renamed.result.model == "renamed"
    assert renamed.scores is not None
    assert set(renamed.scores["model"]) == {"renamed"}
    for path in tmp_path.rglob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-1])
    assert not answers([one], [task], metric="sql", kept=tmp_path)[0].is_kept


def test_a_cell_goes_on_where_it_was_broken_off(task: SuiteTask, tmp_path: Path) -> None:
    class Fragile(Remembering):
        def forecast(self, *arguments: Any, **options: Any) -> Any:
            if len(self.calls) == 3:
                raise MemoryError("no more")
            return super().forecast(*arguments, **options)

    broken, whole = Fragile(), Remembering()
    ask = {"metric": "sql", "kept": tmp_path, "batch_size": 2, "windows": 4}
    one = Scripted(name="one", act=lambda: broken, told="one")
    failed = answers([one], [task], **ask)[0]
    assert failed.result.failure == "MemoryError: no more"
    assert broken.calls == [2, 2, 2]
    again = answers([replace(one, act=lambda: whole)], [task], **ask)[0]
    assert whole.calls == [2, 2, 1], "the first four windows were kept, the fifth was not"
    assert again.result.windows == 9
    assert not again.is_kept
    alone = answers([Scripted(name="one", act=Remembering, told="x")], [task], metric="sql")[0]
    assert again.result.errors == pytest.approx(alone.result.errors, rel=1e-12, nan_ok=True)
    assert again.scores is not None
    assert alone.scores is not None
    np.testing.assert_allclose(
        again.scores["numerator"].to_numpy(float), alone.scores["numerator"].to_numpy(float)
    )
    answers([replace(one, act=lambda: whole)], [task], **ask)
    assert len(whole.calls) == 3, "nothing is computed twice"


def test_a_lost_result_is_made_of_the_kept_windows(task: SuiteTask, tmp_path: Path) -> None:
    model = Remembering()
    one = Scripted(name="one", act=lambda: model, told="one")
    first = answers([one], [task], metric="sql", kept=tmp_path)[0]
    (path,) = tmp_path.rglob("result.json")
    path.write_text("{")
    again = answers([one], [task], metric="sql", kept=tmp_path)[0]
    assert again.is_kept
    assert again.result == first.result
    assert len(model.calls) == 1


@pytest.mark.slow
def test_a_killed_process_leaves_what_it_had_answered(tmp_path: Path) -> None:
    """It kills itself before a forecast, and again, until everything is answered."""
    calls = tmp_path / "calls"
    codes = []
    for _ in range(10):
        arguments = [str(tmp_path / "kept"), str(calls), "5"]
        program = "import sys; from support.killed_answers import main; main(*sys.argv[1:])"
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        codes.append(done.returncode)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert codes.count(-signal.SIGKILL) >= 3
    assert codes[-1] == 0
    asked = [int(line) for line in calls.read_text().split()]
    kept = answer_in_a_process(str(tmp_path / "kept"), str(calls), "5")
    assert kept.is_kept
    assert [int(line) for line in calls.read_text().split()] == asked
    whole = answer_in_a_process(str(tmp_path / "other"), str(tmp_path / "more"), "1000000")
    assert kept.result.errors == pytest.approx(whole.result.errors, rel=1e-9, nan_ok=True)
    once = len((tmp_path / "more").read_text().split())
    assert len(asked) <= once + 2 * len(codes), "at most the chunk that was at hand is asked again"


def test_bad_answers_are_told(task: SuiteTask, tmp_path: Path) -> None:
    contenders = [
        Scripted(name="crossing", act=Crossing, told="1"),
        Scripted(name="blind", act=Blind, told="2"),
    ]
    crossing, blind = answers(contenders, [task], metric="sql", kept=tmp_path)
    assert crossing.result.note.startswith("quantiles cross in ")
    assert crossing.result.note.endswith(" of bars and were sorted")
    right = answers([Contender(name="seasonal_naive")], [task], metric="sql")[0]
    assert crossing.result.errors["sql"] == pytest.approx(right.result.errors["sql"])
    assert "no finite forecast for " in blind.result.failure
    assert " NaN, " in blind.result.failure
    assert blind.scores is None
    assert blind.blocks is None
    assert len(list(tmp_path.iterdir())) == 1, "failures are tried again"


def test_a_task_whose_data_are_missing_is_named(task: SuiteTask) -> None:
    def gone() -> Panel:
        raise FileNotFoundError("weather.csv")

    found = answers([Contender(name="mean")], [replace(task, source=gone), task], metric="sql")
    assert found[0].result.failure == "FileNotFoundError: weather.csv"
    assert found[1].result.failure == ""


def test_failures_are_cells_and_tried_again(task: SuiteTask, tmp_path: Path) -> None:
    broken = SuiteTask(
        suite="x", name="x/gone", dataset="gone", domain="", freq="h",
        panel="nowhere", fingerprint="f", fields=FIELDS,
    )  # fmt: skip
    loads: list[int] = []

    def unloadable() -> Forecaster:
        loads.append(1)
        raise MemoryError("too large")

    contenders = [
        Contender(name="seasonal_naive"),
        Scripted(name="unloadable", act=unloadable),
        Scripted(name="holed", act=Holed),
        Contender(name="nowhere", directory=tmp_path / "nowhere"),
    ]
    found = answers(contenders, [task, broken, replace(task, name="again")], metric="sql")
    failure = {(a.result.model, a.result.task): a.result.failure for a in found}
    assert failure["seasonal_naive", "made up/bars"] == ""
    assert failure["unloadable", "made up/bars"] == "MemoryError: too large"
    assert len(loads) == 1
    assert "no finite forecast" in failure["holed", "made up/bars"]
    assert "no model at" in failure["nowhere", "made up/bars"]
    assert all("x/gone" in failure[c.name, "x/gone"] for c in contenders)
    table = standings(results_frame(a.result for a in found), replicates=5)
    assert len(table.failures) == 6
    assert table.left_out == ("x/gone",)
    kept = tmp_path / "kept"
    answers(contenders[1:3], [task], metric="sql", kept=kept)
    assert not list(kept.glob("*"))


def test_leakage_is_read_from_the_provenance(task: SuiteTask, bars: Panel, tmp_path: Path) -> None:
    def saved(name: str, panel: Panel | None) -> Contender:
        folder = SeasonalNaive().save(tmp_path / name)
        if panel is not None:
            (folder / FILE_NAME).write_text(Provenance.of(panel, block=16).to_json())
        return Contender(name=name, directory=folder)

    early = bars.slice(0, 50)
    contenders = [saved("leaky", bars), saved("clean", early), saved("silent", None)]
    found = answers(contenders, [task], metric="sql")
    assert [a.result.trained_on for a in found] == [True, False, None]


def test_digests_follow_files_and_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = SeasonalNaive().save(tmp_path / "model")
    before = Contender(name="a", directory=folder).digest
    assert Contender(name="b", directory=folder).digest == before
    (folder / "weights.safetensors").write_bytes(b"1")
    after = Contender(name="a", directory=folder).digest
    (folder / "weights.safetensors").write_bytes(b"2")
    assert len({before, after, Contender(name="a", directory=folder).digest}) == 3
    one, other = (Contender(name=n).digest for n in ("seasonal_naive", "random_walk"))
    assert one != other
    code = tmp_path / "code.py"
    code.write_text("changed")
    monkeypatch.setattr(contender_module.inspect, "getfile", lambda _: str(code))
    assert Contender(name="seasonal_naive").digest != one


def test_progress_counts_cells_and_windows(task: SuiteTask) -> None:
    told: list[tuple[int, int, str]] = []
    contenders = [Contender(name="seasonal_naive"), Contender(name="random_walk")]
    answers(
        contenders, [task], metric="sql", batch_size=5, progress=lambda *seen: told.append(seen)
    )
    assert told == [
        (done, 2, f"{name}{at}")
        for done, name in enumerate(("seasonal_naive", "random_walk"))
        for at in ("", ": 5 of 9 windows", ": 9 of 9 windows")
    ]


def test_other_columns_are_another_format() -> None:
    """Kept answers hold every metric: a new one needs a new ``FORMAT``, and its number here."""
    assert (FORMAT, len(METRIC_NAMES)) == ("blocks2", 20)
