"""What a lake needs beside its bars: locks, staging space and the catalogue's file.

Readers of hive partitions take every file below a directory for data (polars also hidden ones), so
all of it lies in a hidden directory beside the lake, ``.NAME.lake``, and may be lost: it is made
again from the lake's files.
"""

from __future__ import annotations

import shutil
import uuid
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tsfm.data.ohlcv.instrument import Instrument
from tsfm.errors import DataError

SHARDS = 256
_POLL_SECONDS = 0.005


class Sidecar:
    """The hidden directory beside a lake.

    Parameters
    ----------
    lake
        The lake's directory, resolved.
    """

    def __init__(self, lake: Path) -> None:
        self.path = lake.parent / f".{lake.name}.lake"
        self.catalogue = self.path / "catalogue.sqlite"
        self._locks = self.path / "locks"
        self._staging = self.path / "staging"

    def make(self, lake: Path) -> None:
        """Make the directories.

        Raises
        ------
        DataError
            When they cannot be made, or lie on another file system than the lake: a file moved
            from there would not appear at once.
        """
        try:
            for directory in (self._locks, self._staging):
                directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"locks and staging space cannot be made: {error}",
                where=str(self.path),
                remedy="let the lake's parent directory be written to",
            ) from error
        if lake.stat().st_dev != self.path.stat().st_dev:
            raise DataError(
                "the lake is the root of a file system, so nothing can be staged beside it",
                where=str(lake),
                remedy="make the lake a directory below it",
            )

    @contextmanager
    def locked(self, instruments: Iterable[Instrument]) -> Iterator[None]:
        """Hold the locks of some instruments, waiting for other processes and threads.

        An instrument's lock is one of 256, by its name; they are taken in order, so that nobody
        waits in a circle.
        """
        with ExitStack() as held:
            for shard in sorted({_shard(instrument) for instrument in instruments}):
                held.enter_context(self._lock(shard).acquire(poll_interval=_POLL_SECONDS))
            yield

    @contextmanager
    def free(self, instruments: Iterable[Instrument]) -> Iterator[list[Instrument]]:
        """Hold the locks of those instruments that nobody else holds, without waiting."""
        import filelock

        taken: dict[int, bool] = {}
        wanted = sorted(set(instruments), key=_shard)
        with ExitStack() as held:
            for shard in dict.fromkeys(map(_shard, wanted)):
                try:
                    held.enter_context(self._lock(shard).acquire(blocking=False))
                    taken[shard] = True
                except filelock.Timeout:
                    taken[shard] = False
            yield [instrument for instrument in wanted if taken[_shard(instrument)]]

    @contextmanager
    def all_locked(self) -> Iterator[None]:
        """Hold every lock."""
        with ExitStack() as held:
            for shard in range(SHARDS):
                held.enter_context(self._lock(shard).acquire(poll_interval=_POLL_SECONDS))
            yield

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A new directory, removed on leaving; of a killed process by :meth:`sweep`."""
        import filelock

        directory = self._staging / uuid.uuid4().hex
        lock = directory.with_suffix(".lock")
        with filelock.FileLock(lock, thread_local=False):
            directory.mkdir()
            try:
                yield directory
            finally:
                shutil.rmtree(directory, ignore_errors=True)
                lock.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove the staging directories whose process was killed."""
        import filelock

        for lock in self._staging.glob("*.lock"):
            try:
                with filelock.FileLock(lock, thread_local=False).acquire(blocking=False):
                    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                    lock.unlink(missing_ok=True)
            except filelock.Timeout:
                continue

    def _lock(self, shard: int):  # type: ignore[no-untyped-def]
        import filelock

        return filelock.FileLock(self._locks / f"{shard:02x}.lock", thread_local=False)


def _shard(instrument: Instrument) -> int:
    return zlib.crc32(str(instrument).encode()) % SHARDS
