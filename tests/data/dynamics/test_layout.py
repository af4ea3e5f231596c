"""Folders of Arrow files: back as they were, read by GluonTS, and refused when otherwise."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from gluonts.dataset.arrow import ArrowWriter
from gluonts.dataset.common import FileDataset
from support.dynamics import small

from tsfm.data.dynamics.ensembles import NAME, panel_info
from tsfm.data.dynamics.layout import read_layout, write_layout
from tsfm.data.panel import Panel
from tsfm.data.series import PanelInfo, Series
from tsfm.errors import DataError

ITEMS = {
    "Lorenz/0/0": ("Lorenz", 3),
    "Lorenz/1/0": ("Lorenz", 3),
    "Chen/0/0": ("Chen", 3),
    "Lorenz->Rossler/flow/0/0": ("Lorenz,Rossler", 6),
    "Chen->Lorenz/flow/0/0": ("Chen,Lorenz", 6),
}


@pytest.fixture
def panel() -> Panel:
    """Chen's family is held out at seed 0, the others are not."""
    rng = np.random.default_rng(0)

    def items():
        for item_id, (members, dimension) in ITEMS.items():
            target = np.full((6, 64), np.nan, np.float32)
            target[:dimension] = rng.normal(size=(dimension, 64))
            static = {"members": members, "dimension": dimension, "lyapunov": 0.9}
            yield Series(item_id=item_id, target=target, static=static)

    return Panel.from_series(items(), panel_info(small(), 6))


@pytest.fixture
def folder(panel, tmp_path) -> Path:
    return write_layout(panel, tmp_path / "data")


def write(path: Path, *targets: np.ndarray) -> Path:
    """As dystformer does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [{"start": "2024-05-06 07:08", "target": target} for target in targets]
    ArrowWriter(compression="lz4").write_to_file(entries, path)
    return path


# --- what is written ------------------------------------------------------------------------------


def test_files_lie_where_the_specification_says(folder):
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.arrow")) == [
        "test/Chen/0_T-64.arrow",
        "test_skew/Chen_Lorenz/0_T-64.arrow",
        "train/Lorenz/0_T-64.arrow",
        "train/Lorenz/1_T-64.arrow",
        "train/Lorenz_Rossler/0_T-64.arrow",
    ]
    assert sorted(path.name for path in folder.iterdir()) == ["test", "test_skew", "train"]


def test_items_come_back_as_they_were(panel, folder):
    back = read_layout(folder, name=NAME)
    assert sorted(back.item_ids) == sorted(panel.item_ids)
    assert back.info.variates == panel.info.variates
    for series in panel:
        twin = back.series(back.item(series.item_id))
        np.testing.assert_array_equal(twin.target, series.target)
        assert twin.static == series.static


def test_gluonts_reads_the_files(panel, folder):
    path = folder / "train" / "Lorenz" / "1_T-64.arrow"
    (entry,) = FileDataset(path, freq="h", one_dim_target=False)
    expected = panel.series(panel.item("Lorenz/1/0")).target[:3]
    np.testing.assert_array_equal(entry["target"], expected)
    assert entry["target"].shape == (3, 64)


def test_one_split_has_its_own_width(folder):
    assert read_layout(folder, "test").info.variates == ("x0", "x1", "x2")
    assert len(read_layout(folder, "train")) == 3


def test_what_others_wrote_is_read(tmp_path):
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(3, 64)).astype(np.float32)
    write(tmp_path / "train" / "Lorenz" / "10_T-64.arrow", whole)
    write(tmp_path / "train" / "Lorenz" / "9_T-64.arrow", *whole)
    write(tmp_path / "train" / "Rossler_Chen" / "0_T-64.arrow", np.tile(whole, (2, 1)))
    write(tmp_path / "train" / "MyOwn" / "0_T-32.arrow", whole[:, :32])
    back = read_layout(tmp_path)
    assert back.item_ids == (
        "train/Lorenz/9",
        "train/Lorenz/10",
        "train/MyOwn/0",
        "train/Rossler_Chen/0",
    )
    for item in (0, 1):
        series = back.series(item)
        np.testing.assert_array_equal(series.target[:3], whole)
        assert series.static["family"] == "lorenz"
        assert series.static["lyapunov"] == pytest.approx(0.89, abs=0.01)
    assert back.series(2).static["members"] == "MyOwn"
    assert back.series(3).static["members"] == "Rossler,Chen"
    assert back.series(3).static["role"] == "skew"


# --- what is refused ------------------------------------------------------------------------------


def test_splits_are_replaced_only_when_told(panel, folder):
    with pytest.raises(DataError, match="train, test, test_skew exist already"):
        write_layout(panel, folder)
    write_layout(panel.select(["Lorenz/1/0"]), folder, overwrite=True)
    assert [path.name for path in folder.rglob("*.arrow")] == ["0_T-64.arrow"]
    assert sorted(path.name for path in folder.iterdir()) == ["train"]


def test_nothing_partial_is_left(panel, tmp_path, monkeypatch):
    def full(self, *_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ArrowWriter, "write_to_file", full)
    with pytest.raises(DataError, match="cannot be written: No space left"):
        write_layout(panel, tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


def test_a_panel_of_something_else_is_not_written(tmp_path):
    info = PanelInfo(name="prices", variates=("x0",))
    panel = Panel.from_series([Series(item_id="A", target=np.zeros((1, 4)))], info)
    with pytest.raises(DataError, match="which systems"):
        write_layout(panel, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def rename(folder: Path, name: str) -> None:
    path = folder / "train" / "Lorenz" / "1_T-64.arrow"
    path.rename(path.with_name(name))


WRONG = {
    "no directory": (shutil.rmtree, "no such directory"),
    "no split": (lambda f: [shutil.rmtree(p) for p in f.iterdir()], "none of the folders train"),
    "no file": (lambda f: [p.unlink() for p in f.rglob("*.arrow")], "there is no Arrow file"),
    "a folder too deep": (
        lambda f: (f / "train" / "Lorenz" / "more").mkdir(),
        r"more.*Trajectories must lie in DIRECTORY/train/SYSTEM",
    ),
    "another name": (lambda f: rename(f, "second.arrow"), "second.arrow"),
    "another length": (lambda f: rename(f, "1_T-1024.arrow"), r"\(3, 64\), not 1024 points"),
    "no Arrow": (
        lambda f: (f / "train" / "Lorenz" / "1_T-64.arrow").write_bytes(b"x,y\n1,2\n"),
        "1_T-64.arrow.*Write it again",
    ),
    "truncated": (
        lambda f: (f / "train" / "Lorenz" / "1_T-64.arrow").write_bytes(b"ARROW1"),
        "cannot be read",
    ),
    "mixed dimensions": (
        lambda f: write(f / "train" / "Lorenz" / "2_T-64.arrow", np.zeros((4, 64), np.float32)),
        "0_T-64.arrow has 3 dimensions but 2_T-64.arrow has 4",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_another_layout_is_one_error(folder, case: str):
    spoil, told = WRONG[case]
    spoil(folder)
    with pytest.raises(DataError, match=told):
        read_layout(folder)


def test_files_beside_the_folders_are_told(tmp_path, folder):
    moved = tmp_path / "flat"
    (moved / "train").mkdir(parents=True)
    (folder / "train" / "Lorenz" / "0_T-64.arrow").rename(moved / "train" / "0_T-64.arrow")
    with pytest.raises(
        DataError, match=r"beside the folders.*0_T-64.arrow.*DIRECTORY/train/SYSTEM"
    ):
        read_layout(moved)


def test_an_unknown_split_is_told(folder):
    with pytest.raises(DataError, match="no folder validation"):
        read_layout(folder, "validation")
