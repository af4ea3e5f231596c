"""Where a build keeps what is not finished: one directory beside its output, and who owns it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tsfm.errors import DataError

RECORD = "record.json"
DONE = "done.jsonl"


@dataclass(kw_only=True)
class Workspace:
    """The directory ``<out>.tmp-<digest>`` of a build, owned by this process.

    Attributes
    ----------
    digest
        Of everything that the result depends on: another build has another directory.
    record
        What was decided at the beginning; empty in a new build.
    done
        One entry for each finished batch, in order.
    abandoned
        Directories of other builds to the same output that were killed; they were removed.
    """

    path: Path
    digest: str
    record: dict[str, Any] = field(default_factory=dict)
    done: list[dict[str, Any]] = field(default_factory=list)
    abandoned: int = 0

    @property
    def panel(self) -> Path:
        """The panel to be."""
        return self.path / "panel"

    @property
    def scratch(self) -> Path:
        """Temporary files that do not outlive this process."""
        return self.path / "scratch"

    def begin(self, record: dict[str, Any]) -> None:
        """Note what the whole build goes by."""
        self.record = record
        _replace(self.path / RECORD, json.dumps(record))

    def keep_batches(self, count: int) -> int:
        """Forget all batches but the first ones, which are intact; returns their number."""
        if count < len(self.done):
            self.done = self.done[:count]
            _replace(self.path / DONE, "".join(json.dumps(entry) + "\n" for entry in self.done))
        return count

    def finish_batch(self, entry: dict[str, Any]) -> None:
        """Note that a batch is written."""
        self.done.append(entry)
        with (self.path / DONE).open("a") as file:
            file.write(json.dumps(entry) + "\n")


@contextmanager
def workspace(out: Path, digest: str, *, keep_unfinished: bool) -> Iterator[Workspace]:
    """The workspace of a build: a new one, or that of the same build killed earlier.

    Unfinished builds of other settings to the same output are removed. On leaving, nothing is left
    of it; with ``keep_unfinished`` an error leaves the finished batches.

    Raises
    ------
    DataError
        When another process is building to the same output, or there is no place for it.
    """
    import filelock

    lock = filelock.FileLock(out.with_name(f"{out.name}.tmp.lock"))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        raise DataError(
            "another build to the same place is running",
            where=str(out),
            remedy="wait for it, or build to another place",
        ) from error
    except OSError as error:
        raise DataError(
            f"the panel cannot be written: {error.strerror or error}",
            where=str(out),
            remedy="choose a place that can be written to",
        ) from error
    try:
        made = _open(out, digest)
        try:
            yield made
        except BaseException:
            shutil.rmtree(made.scratch, ignore_errors=True)
            if not (keep_unfinished and made.record):
                shutil.rmtree(made.path, ignore_errors=True)
            raise
        shutil.rmtree(made.path, ignore_errors=True)
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _open(out: Path, digest: str) -> Workspace:
    own = out.with_name(f"{out.name}.tmp-{digest}")
    others = [path for path in out.parent.glob(f"{_escaped(out.name)}.tmp-*/") if path != own]
    for path in others:
        shutil.rmtree(path, ignore_errors=True)
    made = Workspace(path=own, digest=digest, abandoned=len(others))
    own.mkdir(exist_ok=True)
    shutil.rmtree(made.scratch, ignore_errors=True)
    made.scratch.mkdir()
    if (own / RECORD).exists():
        made.record = json.loads((own / RECORD).read_text())
        made.done = _entries(own / DONE)
    return made


def _entries(path: Path) -> list[dict[str, Any]]:
    """Whole lines; a line that a kill cut short is cut off, so that the next one begins afresh."""
    if not path.exists():
        return []
    whole, _, rest = path.read_bytes().rpartition(b"\n")
    if rest:
        _replace(path, whole.decode() + "\n" * bool(whole))
    return [json.loads(line) for line in whole.splitlines()]


def _replace(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
