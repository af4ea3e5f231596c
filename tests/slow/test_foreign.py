"""Foreign forecasters for real: an environment made by uv, hosts that are killed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support.foreign import write_foreign

from tsfm.__main__ import main
from tsfm.models.base import Context
from tsfm.models.foreign.config import ForeignConfig
from tsfm.models.foreign.environment import _uv, environment_directory, interpreter
from tsfm.models.foreign.forecaster import ForeignForecaster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

ROOT = Path(__file__).parents[2]
needs_uv = pytest.mark.skipif(_uv() is None, reason="uv is not installed")
needs_handles = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux 5.3")

HOST = """
import sys
from tsfm.models.foreign.forecaster import ForeignForecaster
model = ForeignForecaster.load(sys.argv[1])
model.predict(past=[1.0, 2.0], horizon=1)
if sys.argv[2] == "busy":
    model.predict(past=[1.0, 2.0], horizon=13)
sys.stdin.read()
"""


def code(fifo: Path) -> str:
    """Tells its own process and a child's when it is asked, and never answers for 13 bars."""
    return f"""
    wait = "import threading; threading.Event().wait()"
    child = subprocess.Popen([{sys.executable!r}, "-c", wait])
    def forecast(request):
        with open({str(fifo)!r}, "w") as pipe:
            pipe.write(f"{{os.getpid()}} {{child.pid}}")
        if request.horizon == 13:
            threading.Event().wait()
        return {{"mean": np.ones((1, 1))}}
    """


@pytest.fixture
def ended() -> Iterator[list[int]]:
    """Process handles, closed and checked at the end."""
    handles: list[int] = []
    yield handles
    assert len(handles) == 2
    for handle in handles:
        assert select.select([handle], [], [], 30)[0], "a process is left over"
        os.close(handle)


@needs_handles
@pytest.mark.parametrize("state", ["idle", "busy"])
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_a_host_that_is_killed(
    state: str, signal_number: int, tmp_path: Path, ended: list[int]
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    directory = write_foreign(tmp_path / "x", code(fifo))
    words = [sys.executable, "-c", HOST, str(directory), state]
    with subprocess.Popen(words, stdin=subprocess.PIPE, cwd=ROOT) as host:
        for _ in range(2 if state == "busy" else 1):
            told = fifo.read_text().split()
        ended += [os.pidfd_open(int(pid)) for pid in told]
        host.send_signal(signal_number)
        assert host.wait(60) == -signal_number


@needs_uv
def test_an_environment_is_made_by_uv_and_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    monkeypatch.setenv("TSFM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for name in ("one", "two"):
        assert main(["foreign", "init", name, "--python", version]) == 0
        (tmp_path / name / "requirements.txt").write_text("numpy\npyarrow\nsix==1.17.0\n")
        worker = tmp_path / name / "worker.py"
        worker.write_text(f"import six\nassert six.__version__ == '1.17.0'\n{worker.read_text()}")
    with ThreadPoolExecutor(2) as pool:
        made = set(pool.map(interpreter, map(ForeignConfig.read, ("one", "two"))))
    assert len(made) == 1
    (python,) = made
    assert environment_directory(ForeignConfig.read("one")) == python.parents[1]
    capfd.readouterr()
    assert main(["foreign", "check", "two"]) == 0
    assert "4" in str(capfd.readouterr().out.count("a mean only"))
    model = ForeignForecaster.load("one")
    past = np.random.default_rng(0).standard_normal((3, 20, 2)).astype(np.float32)
    found = model.predict(Context(past=past), 2).mean
    np.testing.assert_array_equal(found, np.repeat(past[:, -1:], 2, axis=1))
    model.close()


@needs_uv
def test_requirements_that_do_not_exist_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    monkeypatch.setenv("TSFM_CACHE", str(tmp_path / "cache"))
    assert main(["foreign", "init", str(tmp_path / "x")]) == 0
    (tmp_path / "x" / "requirements.txt").write_text("six==0.0.1\n")
    capfd.readouterr()
    assert main(["foreign", "check", str(tmp_path / "x")]) == 2
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert "the environment of x cannot be made" in told
    assert "six==0.0.1" in told
