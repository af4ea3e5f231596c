"""Directories of foreign forecasters on the Python that runs the tests."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml

LAST = """
def forecast(request):
    last = np.array([series[-1] for series in request.series()])
    return {"mean": np.repeat(last[:, None], request.horizon, axis=1)}
"""
HEAD = "import os, signal, subprocess, sys, threading\nimport numpy as np\n"


def write_foreign(directory: Path, code: str = LAST, **settings: Any) -> Path:
    """``worker.py`` with that code (numpy is ``np``), and ``foreign.yaml``; every variate alone."""
    directory.mkdir(parents=True, exist_ok=True)
    text = dedent(code)
    if "CAPABILITIES" not in text:
        text = 'CAPABILITIES = {"variates": 1}\n' + text
    (directory / "worker.py").write_text(HEAD + text)
    told = {"python": sys.executable, "start_seconds": 60, "request_seconds": 60} | settings
    (directory / "foreign.yaml").write_text(yaml.safe_dump(told))
    return directory
