"""A worker: the process of a foreign forecaster, asked one message at a time."""

from __future__ import annotations

import os
import select
import selectors
import signal
import subprocess
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from tsfm.errors import UserError
from tsfm.models.foreign.standalone.worker_side import HEAD, MAGIC, Message, unpack

PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
"""Environment variables that every worker is given."""

SIDE = Path(__file__).parent / "standalone" / "worker_side.py"
CLOSING_SECONDS = 5.0
_CHUNK = 1 << 20
_TAIL = 1 << 14
_SHORTEST_SECRET = 6


class WorkerError(UserError):
    """A foreign forecaster crashed, took too long, raised or answered nonsense.

    Attributes
    ----------
    whole
        The model's traceback, or the last of what it wrote to stderr.
    """

    whole: str = ""


class Worker:
    """A running process; ended with everything that it started when this object goes.

    Parameters
    ----------
    python
        Interpreter of the model's environment.
    directory
        That holds ``worker.py``.
    environment
        Names of the variables passed on, beside :data:`PASSED`.
    """

    def __init__(self, python: Path, directory: Path, environment: Sequence[str] = ()) -> None:
        self.directory = directory
        self._secrets = {name: os.environ[name] for name in environment if name in os.environ}
        passed = {name: os.environ[name] for name in PASSED if name in os.environ}
        try:
            self._process = subprocess.Popen(
                [str(python), str(SIDE), str(directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=directory,
                env=passed | self._secrets,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise WorkerError(
                f"{python} cannot be started: {error.strerror}",
                where=str(directory),
                remedy="python in foreign.yaml must be an interpreter with pyarrow and numpy",
            ) from error
        self._stdin, self._stdout, self._stderr = (
            _open(stream)
            for stream in (self._process.stdin, self._process.stdout, self._process.stderr)
        )
        for stream in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(stream.fileno(), False)
        self._told = bytearray()
        self._finalizer = weakref.finalize(self, _end, self._process, CLOSING_SECONDS)

    def exchange(self, question: bytes, seconds: float, doing: str) -> Message:
        """Send a message (or none) and wait for one.

        Parameters
        ----------
        seconds
            How long it may take.
        doing
            What the worker does meanwhile, for errors.

        Raises
        ------
        WorkerError
            When the process died, took longer, wrote what is no message, or tells of an error of
            its own; it has been ended in all cases but the last.
        """
        deadline = time.monotonic() + seconds
        unsent, answer = memoryview(question), bytearray()
        with selectors.DefaultSelector() as ready:
            ready.register(self._stdout, selectors.EVENT_READ)
            ready.register(self._stderr, selectors.EVENT_READ)
            if unsent:
                ready.register(self._stdin, selectors.EVENT_WRITE)
            while (size := self._size(answer)) is None or len(answer) < size:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self._ended(f"{doing} took longer than {seconds:g} s")
                for key, _ in ready.select(left):
                    if key.fileobj is self._stdout:
                        chunk = os.read(self._stdout.fileno(), _CHUNK)
                        if not chunk:
                            raise self._died(doing)
                        answer += chunk
                    elif key.fileobj is self._stderr:
                        if not self._listen():
                            ready.unregister(self._stderr)
                    else:
                        with suppress(BrokenPipeError):
                            unsent = unsent[os.write(self._stdin.fileno(), unsent[:_CHUNK]) :]
                            if unsent:
                                continue
                        ready.unregister(self._stdin)
        return self._read(answer, doing)

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._finalizer.alive and self._process.poll() is None

    def close(self) -> None:
        """End the process and all that it started."""
        self._finalizer()

    def fail(self, what: str, whole: str = "", remedy: str | None = None) -> WorkerError:
        """An error that names the model; values of the variables passed to it are hidden."""
        error = WorkerError(self._hidden(what), where=str(self.directory), remedy=remedy)
        error.whole = self._hidden(whole)
        return error

    def _read(self, answer: bytearray, doing: str) -> Message:
        try:
            header, columns = unpack(bytes(answer[HEAD.size :]))
            kind = header["kind"]
        except Exception as error:
            raise self._ended(f"{doing}: the answer cannot be read ({error})") from error
        if kind == "error":
            place = f" in {header.get('place')}" if header.get("place") else ""
            what = f"{doing}: {header.get('error')}{place}"
            raise self.fail(" ".join(what.split()), str(header.get("traceback", "")))
        return header, columns

    def _size(self, answer: bytearray) -> int | None:
        """Of the whole message, once it is known."""
        if bytes(answer[: len(MAGIC)]) != MAGIC[: len(answer)]:
            shown = bytes(answer[:40])
            raise self._ended(f"the worker wrote {shown!r}, which is no message")
        if len(answer) < HEAD.size:
            return None
        return HEAD.size + int(HEAD.unpack_from(answer)[1])

    def _listen(self) -> bool:
        """Keep the last of what it writes to stderr; false when that is closed."""
        with suppress(BlockingIOError):
            chunk = os.read(self._stderr.fileno(), _CHUNK)
            self._told += chunk
            del self._told[:-_TAIL]
            return bool(chunk)
        return True

    def _died(self, doing: str) -> WorkerError:
        until = time.monotonic() + 1
        while (left := until - time.monotonic()) > 0:
            if not select.select([self._stderr], [], [], left)[0] or not self._listen():
                break
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        return self._ended(f"{doing}: the worker {_how(self._process.returncode)}")

    def _ended(self, what: str) -> WorkerError:
        self._listen()
        _end(self._process, 0)
        self._finalizer.detach()
        whole = self._told.decode(errors="replace")
        lines = [line.strip() for line in whole.splitlines() if line.strip()]
        last = f"; its last lines: {' | '.join(lines[-3:])}" if lines else "; it wrote no line"
        return self.fail(what + last, whole)

    def _hidden(self, text: str) -> str:
        for name, value in self._secrets.items():
            if len(value) >= _SHORTEST_SECRET:
                text = text.replace(value, f"${name}")
        return text


def _open(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _how(code: int | None) -> str:
    if code is None:
        return "closed its output"
    if code >= 0:
        return f"exited with code {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    """Close its stdin, give it ``grace`` seconds to end, then end its whole group."""
    streams = [stream for stream in (process.stdin, process.stdout, process.stderr) if stream]
    if process.stdin:
        with suppress(OSError):
            process.stdin.close()
    until = time.monotonic() + grace
    waited = [stream for stream in streams[1:] if not stream.closed]
    while waited and (left := until - time.monotonic()) > 0:
        for stream in select.select(waited, [], [], left)[0]:
            with suppress(BlockingIOError):
                if not os.read(stream.fileno(), _CHUNK):
                    waited.remove(stream)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in streams:
        stream.close()
