"""The file format: fingerprints, refusals, full disks and damaged files."""

import errno
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from support.series import INFO, series, small, small_info

from tsfm.data import arrow
from tsfm.data.panel import Panel
from tsfm.errors import ConfigError, DataError


def test_hugging_face_reads_the_same_values(written):
    for rows in (
        datasets.load_from_disk(str(written.path)),
        datasets.Dataset.from_file(str(written.path / arrow.DATA_FILE)),
    ):
        assert rows["item_id"][:] == list(written.item_ids)
        for row, one in zip(rows, written):
            np.testing.assert_array_equal(np.array(row["target"], np.float32), one.target)
            assert pd.Timestamp(row["start"]) == one.start
            assert row["freq"] == "h"


def test_fingerprint_is_of_the_content(written, tmp_path, monkeypatch):
    monkeypatch.setattr(arrow, "BATCH_ITEMS", 2)
    again = Panel.write(tmp_path / "elsewhere", written, replace(INFO, name="other", licence="x"))
    assert len(again._store._batches) == 3
    assert again.fingerprint == written.fingerprint
    assert Panel.from_series(written, INFO).fingerprint == written.fingerprint
    assert Panel(written._store).fingerprint == written.fingerprint
    for item in range(len(again)):
        np.testing.assert_array_equal(again.series(item).target, written.series(item).target)


@pytest.mark.parametrize(
    "change",
    [
        {"item_id": "B"},
        {"start": pd.Timestamp("2024-01-01 01:00")},
        {"static": {"sector": "tech", "size": 4}},
        {"target": series(seed=1).target},
        {"known_covariates": series(seed=1).known_covariates},
        {"past_covariates": series(seed=1).past_covariates},
        {"timestamps": pd.date_range("2024-01-01", periods=100, freq="2h").to_numpy()},
    ],
)
def test_fingerprint_notices_every_change(change):
    original = Panel.from_series([series()], INFO).fingerprint
    assert Panel.from_series([series()], INFO).fingerprint == original
    assert Panel.from_series([series(**change)], INFO).fingerprint != original


def test_fingerprint_notices_names_and_frequency():
    prints = {
        Panel.from_series([series()], info).fingerprint
        for info in (
            INFO,
            replace(INFO, variates=("close", "open", "volume")),
            replace(INFO, freq="D"),
        )
    }
    assert len(prints) == 3


def test_equal_values_have_one_fingerprint_whatever_their_bits():
    odd_nan = np.array([0x7FC00001], np.uint32).view(np.float32)[0]
    panels = [
        Panel.from_series([small([1, zero, nan])], small_info())
        for zero, nan in ((0.0, np.nan), (-0.0, odd_nan))
    ]
    assert panels[0].fingerprint == panels[1].fingerprint


def test_opening_reads_no_series(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow, "BATCH_BYTES", 1 << 18)
    long = (series(f"I{k}", 20_000, k) for k in range(10))
    path = Panel.write(tmp_path / "long", long, INFO).path
    body = path / arrow.DATA_FILE
    probe = (
        "import sys\n"
        "from tsfm.data.panel import Panel\n"
        "panel = Panel.open(sys.argv[1]); ids, lengths = panel.item_ids, panel.lengths\n"
        "rss, inside = 0, False\n"
        "for line in open('/proc/self/smaps'):\n"
        "    if '-' in line.split()[0] and ':' not in line.split()[0]:\n"
        "        inside = sys.argv[1] in line\n"
        "    elif inside and line.startswith('Rss:'):\n"
        "        rss += int(line.split()[1])\n"
        "print(len(ids), int(lengths.sum()), rss, 'torch' in sys.modules)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", probe, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    ).stdout.split()
    assert shown[:2] == ["10", "200000"]
    assert int(shown[2]) * 1024 < body.stat().st_size / 2
    assert shown[3] == "False"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"item_id": ""}, "not a name"),
        ({"target": np.zeros(100)}, "shape"),
        ({"target": np.zeros((2, 100))}, "open, close, volume"),
        ({"target": np.zeros((3, 0))}, "no bars"),
        ({"target": [["a"] * 100] * 3}, "numbers"),
        ({"target": np.full((3, 100), np.inf)}, "open is infinite"),
        ({"target": np.full((3, 100), 1e39)}, "too large"),
        ({"known_covariates": None}, "known_covariates are missing"),
        ({"known_covariates": np.zeros((2, 99))}, "known_covariates has shape"),
        ({"past_covariates": np.zeros((2, 100))}, "past_covariates has shape"),
        ({"start": pd.Timestamp("2024-01-06")}, "not a date of frequency"),
        ({"start": pd.Timestamp("2024-01-01", tz="UTC")}, "naive"),
        ({"timestamps": np.arange(99).astype("M8[h]")}, "timestamps have shape"),
        ({"timestamps": np.zeros(100).astype("M8[h]")}, "do not increase at bar 1"),
        ({"timestamps": np.full(100, "NaT", "M8[ns]")}, "do not increase"),
        ({"timestamps": np.array(["x"] * 100)}, "not dates"),
        ({"static": {"x": np.nan}}, "static attribute 'x'"),
        ({"static": {"x": [1]}}, "static attribute 'x'"),
    ],
)
def test_bad_series_are_refused_and_nothing_is_left(tmp_path, changes, reason):
    info = replace(INFO, freq="B")
    with pytest.raises(DataError, match=reason):
        Panel.write(tmp_path / "bad", [series("good"), series(**changes)], info)
    assert list(tmp_path.iterdir()) == []


def test_bad_sets_are_refused(tmp_path):
    with pytest.raises(DataError, match="given twice"):
        Panel.write(tmp_path / "bad", [series(), series()], INFO)
    with pytest.raises(DataError, match="no series"):
        Panel.write(tmp_path / "bad", [], INFO)
    with pytest.raises(DataError, match="needs a frequency"):
        Panel.write(tmp_path / "bad", [series()], replace(INFO, freq=None))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"freq": "fortnight"},
        {"freq": "-1h"},
        {"variates": ()},
        {"variates": ("x", "x")},
        {"variates": ("x",), "known_covariates": ("x",)},
        {"seasonality": 0},
        {"name": ""},
    ],
)
def test_bad_info_is_refused(fields):
    with pytest.raises(ConfigError):
        small_info(**fields)


def test_provenance_must_be_json(tmp_path):
    with pytest.raises(ConfigError, match="JSON"):
        Panel.write(tmp_path / "bad", [series()], replace(INFO, provenance={"x": object()}))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_path_is_kept(written, tmp_path):
    with pytest.raises(DataError, match="exists"):
        Panel.write(written.path, [series()], INFO)
    precious = tmp_path / "home"
    precious.mkdir()
    (precious / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match="not a panel"):
        Panel.write(precious, [series()], INFO, overwrite=True)
    assert (precious / "thesis.txt").exists()


def test_overwriting_keeps_what_is_mapped(written):
    before = written.series(0).target.copy()
    shorter = Panel.write(written.path, written.slice(0, 10), INFO, overwrite=True)
    assert list(shorter.lengths) == [10] * 5
    np.testing.assert_array_equal(written.series(0).target, before)
    assert [path.name for path in written.path.parent.iterdir()] == ["bars"]


def test_an_interrupted_write_leaves_what_was_there(written):
    def interrupted():
        yield series("new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Panel.write(written.path, interrupted(), INFO, overwrite=True)
    assert [path.name for path in written.path.parent.iterdir()] == ["bars"]
    assert len(Panel.open(written.path)) == 5


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(arrow, "_write_stream", full)
    with pytest.raises(DataError, match=r"No space left on device.*Free space"):
        Panel.write(tmp_path / "bars", [series()], INFO)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        Panel.write(tmp_path / "file" / "bars", [series()], INFO)
    with pytest.raises(DataError, match="cannot be written"):
        Panel.write("/proc/bars", [series()], INFO)


@pytest.mark.parametrize("damage", ["truncated", "emptied", "other", "state", "lost_state"])
def test_damage_is_told_on_opening(written, damage):
    data, state = written.path / arrow.DATA_FILE, written.path / arrow.STATE_FILE
    content = data.read_bytes()
    if damage == "lost_state":
        state.unlink()
    elif damage == "state":
        state.write_text("{")
    else:
        data.write_bytes(
            {
                "truncated": content[: len(content) // 2],
                "emptied": b"",
                "other": b"x" * len(content),
            }[damage]
        )
    with pytest.raises(DataError, match="bars"):
        Panel.open(written.path)


def test_missing_panels_are_told(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        Panel.open(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no panel"):
        Panel.open(tmp_path)


def test_changed_bytes_are_found_by_verify(written):
    written.verify()
    data = written.path / arrow.DATA_FILE
    content = bytearray(data.read_bytes())
    place = content.index(series("I0", 50, 0).target[1].tobytes())
    content[place] ^= 1
    data.write_bytes(content)
    with pytest.raises(DataError, match="changed"):
        Panel.open(written.path).verify()


def test_any_damaged_byte_gives_a_data_error_or_a_panel(tmp_path):
    panel = Panel.write(tmp_path / "p", [small(np.arange(20.0), start=None)], small_info())
    data = panel.path / arrow.DATA_FILE
    content = data.read_bytes()
    rng = np.random.default_rng(0)
    del panel
    for place in rng.choice(len(content), 120, replace=False):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        data.write_bytes(damaged)
        try:
            list(Panel.open(data.parent))
        except DataError:
            continue
