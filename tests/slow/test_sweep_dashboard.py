"""The dashboard's command that a sweep prints: it starts, and shows the study."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from support.sweeps import plan_of, study_of, wait_for

from sweeps.report import dashboard_command

pytestmark = pytest.mark.slow


def test_the_printed_command_serves_the_study(home):
    study = study_of(plan_of(trials=3), "shown")
    for value in (1.0, 0.5, 2.0):
        study.tell(study.take().trial, value)
    words = shlex.split(dashboard_command(study.rdb.uri))
    assert words[0] == "optuna-dashboard"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("optuna-dashboard")
    server = subprocess.Popen(
        [program, *words[1:], "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"

    def fetched(path: str) -> str:
        try:
            with urlopen(address + path, timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            assert server.poll() is None, "the dashboard ended"
            return ""

    try:
        page = wait_for(lambda: fetched("/dashboard"))
        assert "<title>Optuna Dashboard" in page
        (shown,) = json.loads(fetched("/api/studies"))["study_summaries"]
        assert shown["study_name"] == "shown"
        detail = json.loads(fetched(f"/api/studies/{shown['study_id']}"))
        assert [one["values"] for one in detail["trials"]] == [[1.0], [0.5], [2.0]]
        assert len(detail["best_trials"]) == 1
    finally:
        server.terminate()
        server.wait(timeout=30)
