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
    return arrow.in_memory(ITEMS[first:stop], INFO)[0]


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
    remembered = killed.size
    killed.append(part(3, 4))
    killed.close()
    with (tmp_path / "parts" / DATA_FILE).open("ab") as file:
        file.write(torn)
    writer = PanelWriter(tmp_path / "parts", INFO, size=remembered)
    assert writer.item_ids == {"I0", "I1", "I2"}
    writer.append(part(3, 6))
    assert writer.finish() == whole.fingerprint
    Panel.open(tmp_path / "parts").verify()


def test_a_finished_panel_can_be_finished_again(tmp_path: Path, whole: Panel):
    writer = PanelWriter(tmp_path / "parts", INFO)
    writer.append(part(0, 6))
    size = writer.size
    writer.finish()
    assert PanelWriter(tmp_path / "parts", INFO, size=size).finish() == whole.fingerprint


def test_what_is_not_there_cannot_be_gone_on_with(tmp_path: Path):
    with pytest.raises(DataError, match="parts"):
        PanelWriter(tmp_path / "parts", INFO, size=1000)
    (tmp_path / "parts" / DATA_FILE).write_bytes(b"x" * 2000)
    with pytest.raises(DataError, match="parts"):
        PanelWriter(tmp_path / "parts", INFO, size=1000)
