from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.tasks import Task
from tsfm.tracking.promotion.vault import Vault


@pytest.fixture
def pairs(make_panel):
    panel = make_panel(n_items=3, length=200)
    view = panel.select(panel.item_ids[1:])
    return [
        (Task.on(panel, name="whole", context=24, horizon=4), panel),
        (Task.on(view, name="made/part", context=24, horizon=4, seasonality=12), view),
    ]


def test_a_vault_gives_back_what_was_sealed(tmp_path: Path, pairs):
    sealed = Vault.seal(tmp_path / "vaults" / "ohlcv", pairs)
    opened = Vault.open(tmp_path / "vaults" / "ohlcv")
    assert opened.fingerprint == sealed.fingerprint
    for (task, panel), (asked, stored) in zip(pairs, opened.tasks, strict=True):
        assert (asked.name, asked.seasonality) == (task.name, task.seasonality)
        assert asked.windows(stored) == task.windows(panel)
        np.testing.assert_array_equal(stored.series(0).target, panel.series(0).target)
    assert [path.name for path in (tmp_path / "vaults").iterdir()] == ["ohlcv"]


def test_the_fingerprint_tells_other_tasks_and_other_values(tmp_path: Path, pairs, make_panel):
    first = Vault.seal(tmp_path / "a", pairs).fingerprint
    assert Vault.seal(tmp_path / "b", pairs).fingerprint == first
    assert Vault.seal(tmp_path / "c", pairs[:1]).fingerprint != first
    other = make_panel(n_items=3, length=200, seed=1)
    task = Task.on(other, name="whole", context=24, horizon=4)
    assert Vault.seal(tmp_path / "d", [(task, other), pairs[1]]).fingerprint != first


def largest(folder: Path) -> Path:
    return max(folder.rglob("*.arrow"), key=lambda path: path.stat().st_size)


def test_every_change_is_found(tmp_path: Path, pairs):
    vault = Vault.seal(tmp_path / "vault", pairs).path
    task = vault / "000" / "task.json"
    whole = task.read_text()
    task.write_text(whole.replace('"horizon": 4', '"horizon": 5'))
    with pytest.raises(DataError, match="the task was changed"):
        Vault.open(vault)
    task.write_text(whole)
    seal = vault / "vault.json"
    record = json.loads(seal.read_text())
    record["tasks"].pop()
    seal.write_text(json.dumps(record))
    with pytest.raises(DataError, match="the seal is broken"):
        Vault.open(vault)
    seal.write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        Vault.open(vault)


def test_a_changed_value_is_found(tmp_path: Path, pairs):
    vault = Vault.seal(tmp_path / "vault", pairs).path
    file = largest(vault / "000")
    content = bytearray(file.read_bytes())
    at = content.index(np.asarray(pairs[0][1].series(0).target).tobytes()[:64])
    content[at] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(DataError, match="task whole: the panel's content has changed"):
        Vault.open(vault)


def test_a_missing_panel_is_told(tmp_path: Path, pairs):
    vault = Vault.seal(tmp_path / "vault", pairs).path
    largest(vault / "001").unlink()
    with pytest.raises(DataError, match="task made/part"):
        Vault.open(vault)


def test_a_vault_is_never_replaced_and_none_is_told(tmp_path: Path, pairs):
    Vault.seal(tmp_path / "vault", pairs)
    with pytest.raises(DataError, match="never replaced"):
        Vault.seal(tmp_path / "vault", pairs[:1])
    with pytest.raises(ConfigError, match=r"there is no vault.*seal=true"):
        Vault.open(tmp_path / "none")


@pytest.mark.parametrize("chosen", [[], [0, 0]])
def test_no_task_or_two_of_one_name_are_refused(tmp_path: Path, pairs, chosen):
    with pytest.raises(DataError, match="cannot be sealed"):
        Vault.seal(tmp_path / "vault", [pairs[k] for k in chosen])
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_vault_that_fails(tmp_path: Path, pairs, monkeypatch):
    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(Task, "save", full)
    with pytest.raises(DataError, match="no space left"):
        Vault.seal(tmp_path / "vault", pairs)
    assert list(tmp_path.iterdir()) == []
