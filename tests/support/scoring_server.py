"""A real ``mlflow models serve`` process, and clients of it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where it listens, and the process that answers (``mlflow`` becomes ``uvicorn``)."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def ask(
        self, body: bytes | dict, kind: str | None = "application/json", timeout: float = 240
    ) -> tuple[int, str]:
        """Status and text of an answer."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            headers = {} if kind is None else {"Content-Type": kind}
            connection.request("POST", "/invocations", sent, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def is_up(self) -> bool:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            connection.request("GET", "/ping")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def memory(self) -> float:
        """Resident megabytes of everything that was started."""
        group = os.getpgid(self.process.pid)
        total = 0
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = status.read_text().rpartition(")")[2].split()
                total += int(fields[21]) if int(fields[2]) == group else 0
            except (OSError, IndexError, ValueError):
                continue
        return total * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def serving(uri: str, store: str, directory: Path, **variables: str) -> Iterator[Server]:
    """``mlflow models serve -m URI --env-manager local`` in ``directory``, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = ("PATH", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
    environment = {key: os.environ[key] for key in kept if key in os.environ} | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(directory),
        "TSFM_CACHE": str(directory / "cache"),
        "MLFLOW_TRACKING_URI": store,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "OMP_NUM_THREADS": "1",
    }
    log = directory / "server.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [BIN / "mlflow", "models", "serve", "-m", uri, "--env-manager", "local",
             "-p", str(port)],
            cwd=directory, env=environment | variables, stdout=stream, stderr=stream,
            start_new_session=True,
        )  # fmt: skip
    server = Server(port=port, process=process, log=log)
    try:
        deadline = time.monotonic() + 400
        while not server.is_up():
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)
