"""What the config refuses before anything heavy is imported."""

from __future__ import annotations

import sys

import pytest

from experiments.config import PretrainConfig
from tsfm.errors import ConfigError


def test_tensorboard_is_missed_at_the_door(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ConfigError, match=r"tensorboard=true.*tsfm-lab\[tensorboard\]"):
        PretrainConfig(model={"name": "moirai"}, tensorboard=True)
    assert not PretrainConfig(model={"name": "moirai"}).tensorboard
