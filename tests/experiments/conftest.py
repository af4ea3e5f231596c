"""An empty working directory with a tracking store of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.entry_points import Answer
from support.told_commands import run_entry
from support.tracking_store import home as home


@pytest.fixture
def command(home, monkeypatch, capfd) -> Callable[..., Answer]:
    """Run an entry point; its exit code and what it wrote to stderr."""

    def call(name: str, *words: str) -> Answer:
        code, _, err = run_entry(name, words, monkeypatch, capfd)
        return code, err

    return call
