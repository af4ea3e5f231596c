"""Files of scored windows: whole or absent, in order, up to the first damage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.kept_blocks import KeptBlocks, write_blocks
from tsfm.evaluation.window_blocks import block_table, told


@pytest.fixture
def tables(answered: Callable[..., Backtest]) -> list[pa.Table]:
    return [block_table(answered(windows=3 * k, seed=k)) for k in (1, 2, 3)]


def _fill(blocks: KeptBlocks, tables: list[pa.Table]) -> KeptBlocks:
    first = 0
    for table in tables:
        blocks.add(table, first)
        first += told(table)["windows"]
    return blocks


@pytest.mark.parametrize("is_in_memory", [True, False])
def test_what_is_added_comes_back_in_order(
    is_in_memory: bool, tables: list[pa.Table], tmp_path: Path
) -> None:
    blocks = _fill(KeptBlocks(None if is_in_memory else tmp_path / "cell"), tables)
    for _ in range(2):
        found = list(blocks)
        assert [told(table) for table in found] == [told(table) for table in tables]
        for ours, theirs in zip(found, tables, strict=True):
            assert ours.equals(theirs)


def test_nothing_is_made_before_something_is_added(tmp_path: Path) -> None:
    blocks = KeptBlocks(tmp_path / "cell")
    assert list(blocks) == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("harm", ["cut", "flip", "gone", "other"])
def test_damage_ends_what_is_known_and_is_replaced(
    harm: str, tables: list[pa.Table], tmp_path: Path
) -> None:
    home = tmp_path / "cell"
    _fill(KeptBlocks(home), tables)
    path = home / "000000003-000000009.parquet"
    content = bytearray(path.read_bytes())
    if harm == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif harm == "flip":
        for place in range(100, 4000, 50):
            content[place] ^= 0xFF
        path.write_bytes(content)
    elif harm == "other":
        pq.write_table(pa.table({"x": [1]}), path)
    else:
        path.unlink()
    blocks = KeptBlocks(home)
    assert len(list(blocks)) == 1
    blocks.add(tables[1], 3)
    assert len(list(blocks)) == 3


def test_files_that_are_being_written_do_not_count(tables: list[pa.Table], tmp_path: Path) -> None:
    home = tmp_path / "cell"
    _fill(KeptBlocks(home), tables[:1])
    (home / ".000000003-000000009.parquet.17").write_bytes(b"half")
    assert len(list(KeptBlocks(home))) == 1


def test_cells_join_in_one_file(
    tables: list[pa.Table], answered: Callable[..., Backtest], tmp_path: Path
) -> None:
    other = answered(windows=3, horizon=2)
    other = replace(
        other, task=replace(other.task, quantile_levels=(0.1, 0.5, 0.9)),
        quantiles=other.quantiles[..., [0, 4, 8]],
    )  # fmt: skip
    cells = [("a", "t", tables), ("b", "t", tables[:1]), ("b", "u", [block_table(other)])]
    path = write_blocks(cells, tmp_path / "backtest.parquet")
    frame = pq.read_table(path).to_pandas()
    assert [file.name for file in tmp_path.iterdir()] == ["backtest.parquet"]
    sizes = frame.groupby(["model", "task"], observed=True).size()
    assert sizes.to_dict() == {
        ("a", "t"): sum(map(len, tables)), ("b", "t"): len(tables[0]), ("b", "u"): 3 * 2 * 2,
    }  # fmt: skip
    mine = frame[frame["model"] == "a"]["mae.numerator"]
    assert mine.sum() == pytest.approx(sum(np.sum(t["mae.numerator"].to_numpy()) for t in tables))
    assert set(frame[frame["task"] == "u"]["pit"].map(len)) == {4}


def test_a_leaderboard_of_failures_has_an_empty_file(tmp_path: Path) -> None:
    path = write_blocks([], tmp_path / "backtest.parquet")
    assert pq.read_table(path).num_rows == 0
