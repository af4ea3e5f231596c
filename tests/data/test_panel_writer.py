"""A panel written in parts is the panel written at once, also after a kill in between."""

from pathlib import Path

import datasets
import pytest
from support.series import INFO, series

from tsfm.data import arrow
from tsfm.data.panel import Panel
from tsfm.data.panel_state import DATA_FILE
from tsfm.data.panel_writer import PanelWriter
from tsfm.errors import DataError

ITEMS = [series(f"I{k}", 50 + k, k) for k in range(6)]


def part(first: int, stop: int):
    return arrow.encode(ITEMS[first:stop], INFO).serialize()


@pytest.fixture
def whole(tmp_path: Path) -> Panel:
    return Panel.write(tmp_path / "whole", ITEMS, INFO)


def test_parts_make_the_panel_that_is_written_at_once(tmp_path: Path, whole: Panel):
    writer = PanelWriter(tmp_path / "parts", INFO)
    for first in (0, 2, 4):
        writer.append(part(first, first + 2))
    assert writer.finish() == whole.fingerprint
    panel = Panel.open(tmp_path / "parts")
    panel.verify()
    assert (panel.info, panel.item_ids) == (whole.info, whole.item_ids)
    read = datasets.load_from_disk(str(tmp_path / "parts"))
    assert read["item_id"][:] == list(whole.item_ids)


@pytest.mark.parametrize("torn", [b"", b"half a record batch"])
def test_another_process_goes_on_after_the_last_part_remembered(
    tmp_path: Path, whole: Panel, torn: bytes
):
    killed = PanelWriter(tmp_path / "parts", INFO)
    killed.append(part(0, 3))
    remembered = killed.mark
    killed.append(part(3, 4))
    killed.close()
    with (tmp_path / "parts" / DATA_FILE).open("ab") as file:
        file.write(torn)
    writer = PanelWriter(tmp_path / "parts", INFO, marks=[remembered])
    assert writer.item_ids == {"I0", "I1", "I2"}
    writer.append(part(3, 6))
    assert writer.finish() == whole.fingerprint
    Panel.open(tmp_path / "parts").verify()


def test_a_finished_panel_can_be_finished_again(tmp_path: Path, whole: Panel):
    writer = PanelWriter(tmp_path / "parts", INFO)
    writer.append(part(0, 6))
    mark = writer.mark
    writer.finish()
    assert PanelWriter(tmp_path / "parts", INFO, marks=[mark]).finish() == whole.fingerprint


def spoil(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_parts_that_did_not_reach_the_disk_are_forgotten(tmp_path: Path, whole: Panel):
    writer = PanelWriter(tmp_path / "parts", INFO)
    marks = []
    for first in (0, 2, 4):
        writer.append(part(first, first + 2))
        marks.append(writer.mark)
    writer.close()
    file = tmp_path / "parts" / DATA_FILE
    spoil(file, marks[1][0] - 100)
    again = PanelWriter(tmp_path / "parts", INFO, marks=marks)
    assert (again.kept, again.item_ids, again.mark) == (1, {"I0", "I1"}, marks[0])
    again.append(part(2, 6))
    assert again.finish() == whole.fingerprint
    for content in (b"", b"x" * 5000, file.read_bytes()[:40]):
        file.write_bytes(content)
        assert PanelWriter(tmp_path / "parts", INFO, marks=marks).kept == 0


def test_an_item_is_given_once(tmp_path: Path):
    writer = PanelWriter(tmp_path / "parts", INFO)
    writer.append(part(0, 2))
    with pytest.raises(DataError, match="'I1' is given twice"):
        writer.append(part(1, 3))
