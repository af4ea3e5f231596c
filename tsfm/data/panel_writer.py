"""A panel written part by part, by a process that may be killed in between."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa

from tsfm.data import arrow
from tsfm.data.panel import Panel
from tsfm.data.panel_state import DATA_FILE, damaged, write_state
from tsfm.data.series import PanelInfo

END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class PanelWriter:
    """Appends parts to the Arrow stream of a panel's directory.

    Whoever remembers :attr:`size` after a part can go on there after a kill: what was written
    later is cut off. The parts may have been made by other processes; they are appended as they
    are, and only their content goes through the fingerprint.

    Parameters
    ----------
    directory
        Of the panel to be; not yet one until :meth:`finish`.
    info
        What the series share.
    size
        Bytes of an earlier writer's that are kept; 0 starts anew.

    Raises
    ------
    DataError
        When what is kept cannot be read.
    """

    def __init__(self, directory: Path, info: PanelInfo, *, size: int = 0) -> None:
        self.directory = directory
        self.item_ids: set[str] = set()
        self._digest = arrow.Digest(info)
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / DATA_FILE
        if size:
            self._read_again(path, size)
        self._file = path.open("r+b" if size else "wb")
        self._file.truncate(size)
        self._file.seek(size)
        if not size:
            self._file.write(arrow.schema_of(info).serialize())

    @property
    def size(self) -> int:
        """Bytes written."""
        return self._file.tell()

    def append(self, part: pa.Buffer) -> None:
        """Add series, given as the stream that :func:`tsfm.data.arrow.in_memory` makes of them.

        They are on the disk when this returns.
        """
        self._count(part)
        for batch in pa.ipc.open_stream(part):
            self._file.write(batch.serialize())
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self) -> str:
        """End the stream and describe it: the directory is a panel. Returns its fingerprint."""
        self._file.write(END_OF_STREAM)
        self.close()
        fingerprint = self._digest.hexdigest()
        write_state(self.directory, fingerprint, len(self.item_ids))
        return fingerprint

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _read_again(self, path: Path, size: int) -> None:
        """Feed the fingerprint what was written before, one batch in memory at a time."""
        try:
            with path.open("rb") as file:
                reader = pa.ipc.open_stream(file)
                schema = reader.schema.serialize().to_pybytes()
                while file.tell() < size:
                    batch = reader.read_next_batch().serialize().to_pybytes()
                    self._count(pa.py_buffer(schema + batch + END_OF_STREAM))
        except (OSError, StopIteration, pa.ArrowException) as error:
            raise damaged(str(path), f"{type(error).__name__}: {error}") from error

    def _count(self, part: pa.Buffer) -> None:
        for series in Panel(arrow.Store(part)):
            self._digest.add(series)
            self.item_ids.add(series.item_id)
