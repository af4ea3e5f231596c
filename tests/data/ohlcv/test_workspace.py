"""Builds that end early: nothing is left, or exactly what the next start goes on with."""

from __future__ import annotations

from pathlib import Path

import filelock
import polars as pl
import pytest
from support.lakes import bars_of_market, make_lake

from tsfm.data.ohlcv import asset_batch
from tsfm.data.ohlcv.builder import BuilderConfig, IterativeFinancialDatasetBuilder
from tsfm.data.ohlcv.lake import Instrument, Lake
from tsfm.data.ohlcv.workspace import DONE, workspace
from tsfm.data.panel import Panel
from tsfm.data.panel_state import DATA_FILE
from tsfm.errors import DataError

SIZE = {"assets_per_batch": 2, "workers": 1}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("lakes")
    return make_lake(folder / "lake", equity_1h=bars_of_market(10, 300))


@pytest.fixture(scope="module")
def fingerprint(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> str:
    return builder(lake, tmp_path_factory.mktemp("built") / "panel").build().panel.fingerprint


def builder(lake: Lake, out: Path, **settings) -> IterativeFinancialDatasetBuilder:
    return IterativeFinancialDatasetBuilder(lake, out, BuilderConfig(**SIZE, **settings))


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch):
    """Symbols made into series, and a way to fail at one."""

    class Made(list):
        def fail_at(self, symbol: str, error: BaseException | None) -> None:
            self.failing, self.error = symbol, error

    original, seen = asset_batch.SeriesMaker.part, Made()
    seen.fail_at("", None)

    def part(self, bars):
        symbols = bars["symbol"].unique(maintain_order=True).to_list()
        if seen.failing in symbols and seen.error is not None:
            raise seen.error
        seen.extend(symbols)
        return original(self, bars)

    monkeypatch.setattr(asset_batch.SeriesMaker, "part", part)
    return seen


ERRORS = [KeyboardInterrupt(), RuntimeError("a defect"), OSError(28, "No space left on device")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_nothing_is_left_of_a_build_that_fails(lake, made, tmp_path, error):
    made.fail_at("SIM6", error)
    expected = DataError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        builder(lake, tmp_path / "panel").build()
    assert left(tmp_path) == []


@pytest.fixture
def unfinished(lake, made, tmp_path) -> Path:
    """The workspace of a build that got through three of five batches."""
    made.fail_at("SIM6", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        builder(lake, tmp_path / "panel", keep_unfinished=True).build()
    made.fail_at("", None)
    made.clear()
    (path,) = tmp_path.glob("panel.tmp-*")
    assert left(tmp_path) == [path.name]
    return path


def test_the_next_start_goes_on_after_the_finished_batches(
    lake, made, tmp_path, unfinished, fingerprint
):
    report = builder(lake, tmp_path / "panel").build()
    assert made == ["SIM6", "SIM7", "SIM8", "SIM9"]
    assert report.resumed_batches == 3
    assert report.notes == ("went on after 3 of 5 batches",)
    assert report.panel.fingerprint == fingerprint
    report.panel.verify()
    assert (report.assets, report.bars) == (10, 3000)
    assert left(tmp_path) == ["panel"]


def test_what_a_kill_left_half_written_is_cut_off(lake, tmp_path, unfinished, fingerprint):
    with (unfinished / DONE).open("a") as file:
        file.write('{"read": 600, "bars": 6')
    with (unfinished / "panel" / DATA_FILE).open("ab") as file:
        file.write(b"half a record batch")
    (unfinished / "scratch").mkdir()
    (unfinished / "scratch/bars-000000.arrow").write_bytes(b"torn")
    (tmp_path / "panel.tmp.lock").touch()
    report = builder(lake, tmp_path / "panel").build()
    assert report.panel.fingerprint == fingerprint
    assert left(tmp_path) == ["panel"]


def test_batches_whose_data_are_lost_are_made_again(lake, made, tmp_path, unfinished, fingerprint):
    data = unfinished / "panel" / DATA_FILE
    data.write_bytes(data.read_bytes()[:-1000])
    report = builder(lake, tmp_path / "panel").build()
    assert made == ["SIM4", "SIM5", "SIM6", "SIM7", "SIM8", "SIM9"]
    assert report.resumed_batches == 2
    assert report.panel.fingerprint == fingerprint
    assert left(tmp_path) == ["panel"]


def test_a_build_of_other_settings_starts_anew_and_clears_away(lake, made, tmp_path, unfinished):
    report = builder(lake, tmp_path / "panel", features="none").build()
    assert len(made) == 10
    assert report.notes == ("removed what another, unfinished build to this place had left",)
    assert left(tmp_path) == ["panel"]


def test_a_build_of_other_bars_starts_anew(made, tmp_path):
    lake = make_lake(tmp_path / "lake", equity_1h=bars_of_market(10, 300))
    made.fail_at("SIM6", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        builder(lake, tmp_path / "panel", keep_unfinished=True).build()
    made.fail_at("", None)
    one = Instrument(asset_class="equity", freq="1h", symbol="SIM0")
    lake.upsert(one, lake.read(one).drop("symbol").with_columns(pl.col("volume") + 1))
    made.clear()
    assert builder(lake, tmp_path / "panel").build().resumed_batches == 0
    assert len(made) == 10


# --- one place, one build -------------------------------------------------------------------------


def test_two_builds_to_one_place_are_not_made_at_once(lake, tmp_path):
    with (
        filelock.FileLock(tmp_path / "panel.tmp.lock"),
        pytest.raises(DataError, match="another build"),
    ):
        builder(lake, tmp_path / "panel").build()


def test_building_again_does_nothing(lake, made, tmp_path, fingerprint):
    first = builder(lake, tmp_path / "panel").build()
    made.clear()
    report = builder(lake, tmp_path / "panel").build()
    assert made == []
    assert report.notes == ("it was built before: there was nothing to do",)
    assert (report.counts, report.bars) == (first.counts, first.bars)
    assert report.panel.fingerprint == fingerprint


def test_another_panel_is_replaced_only_when_told(lake, tmp_path, fingerprint):
    builder(lake, tmp_path / "panel", features="none").build()
    with pytest.raises(DataError, match="exists already"):
        builder(lake, tmp_path / "panel").build()
    report = builder(lake, tmp_path / "panel", overwrite=True).build()
    assert Panel.open(tmp_path / "panel").fingerprint == report.panel.fingerprint == fingerprint
    assert left(tmp_path) == ["panel"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_no_build_made_is_never_replaced(lake, tmp_path, overwrite):
    (tmp_path / "panel").mkdir()
    (tmp_path / "panel/thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        builder(lake, tmp_path / "panel", overwrite=overwrite).build()
    assert (tmp_path / "panel/thesis.txt").read_text() == "mine"
    assert left(tmp_path) == ["panel"]


def test_a_place_that_cannot_be_written_to_is_told(lake, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        builder(lake, tmp_path / "file/panel").build()


def test_names_with_pattern_letters_are_names(tmp_path):
    (tmp_path / "ab.tmp-1").mkdir()
    with workspace(tmp_path / "a[b]", "d", keep_unfinished=False) as space:
        assert space.abandoned == 0
    assert left(tmp_path) == ["ab.tmp-1"]
