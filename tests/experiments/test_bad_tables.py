"""Tables that no panel can be made of: one line, exit code 2, and no panel left."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.bad_bars import bars, constant, repeated, undated, unobserved, unsorted, wordy
from support.entry_points import expect_told

BAD_TABLES = [
    (lambda frame: frame.drop(columns="timestamp"), "", ["timestamp"]),
    (unsorted, "", ["BBB", "not sorted"]),
    (repeated, "", ["BBB", "repeated"]),
    (constant, "", ["BBB", "constant"]),
    (unobserved, "", ["BBB", "no observed value"]),
    (wordy, "", ["volume", "many"]),
    (undated, "", ["yesterday"]),
    (lambda frame: frame.iloc[[0, 1, 5, 20, 21, 90]], "", ["frequency"]),
    (lambda frame: frame, "freq=fortnight", ["fortnight", "15min"]),
    (lambda frame: frame, "freq=-1h", ["-1h"]),
    (lambda frame: frame, "layout=square", ["square", "wide"]),
    (lambda frame: frame, "date_offset=someday", ["someday"]),
    (lambda frame: frame, "date_offset=2030-01-01", ["2030"]),
    (lambda frame: frame, "overrides=table.min_length=500", ["300", "min_length=500"]),
]


@pytest.mark.parametrize(("spoil", "option", "told"), BAD_TABLES)
def test_bad_tables_leave_no_panel(home, command, spoil, option, told):
    spoil(bars()).to_csv(home / "table.csv", index=False)
    words = [f"source={home / 'table.csv'}", f"out={home / 'panels'}", *filter(None, [option])]
    expect_told(command("data", *words), *told)
    assert not list(home.glob("panels/**/*"))


def test_a_missing_table(home, command):
    answer = command("data", f"source={home / 'absent.csv'}", f"out={home / 'panels'}")
    expect_told(answer, "absent.csv")
    assert not (home / "panels").exists()


def test_a_panel_is_not_written_over(home, command):
    bars().to_csv(home / "table.csv", index=False)
    words = [f"source={home / 'table.csv'}", f"out={home / 'panels'}"]
    assert command("data", *words) == (0, "")
    before = {path: path.read_bytes() for path in home.glob("panels/**/*") if path.is_file()}
    expect_told(command("data", *words), "panels/table")
    after = {path: path.read_bytes() for path in home.glob("panels/**/*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("place", ["/proc", "a file"])
def test_a_place_where_no_panel_can_be_written(home, command, place):
    bars().to_csv(home / "table.csv", index=False)
    (home / "a file").touch()
    out = Path(place) / "panels" if place == "/proc" else home / place
    expect_told(command("data", f"source={home / 'table.csv'}", f"out={out}"), str(out))


def test_a_damaged_panel_is_refused_by_check(home, command):
    bars().to_csv(home / "table.csv", index=False)
    assert command("data", f"source={home / 'table.csv'}", f"out={home}") == (0, "")
    (arrow,) = home.glob("table/*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:500])
    expect_told(command("data", "action=check", f"source={home / 'table'}"), "table")
