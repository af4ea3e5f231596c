"""A panel written part by part, by a process that may be killed in between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from tsfm.data import arrow
from tsfm.data.digest import Digest
from tsfm.data.panel_state import DATA_FILE, write_state
from tsfm.data.series import PanelInfo, Series
from tsfm.errors import DataError

END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class PanelWriter:
    """Appends parts to the Arrow stream of a panel's directory.

    Whoever remembers :attr:`mark` after each part can go on there after a kill: what was written
    later is cut off, and so are parts that did not reach the disk. Parts may have been made by
    other threads or processes; they are appended as they are.

    Parameters
    ----------
    directory
        Of the panel to be; not yet one until :meth:`finish`.
    info
        What the series share.
    marks
        Of an earlier writer's parts; :attr:`kept` says how many of them are intact.
    """

    def __init__(
        self, directory: Path, info: PanelInfo, *, marks: Sequence[tuple[int, str]] = ()
    ) -> None:
        self.directory, self.info = directory, info
        self.item_ids: set[str] = set()
        self._digest = Digest(info)
        self._schema = arrow.schema_of(info)
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / DATA_FILE
        path.touch()
        self._file = path.open("r+b")
        self.kept = self._intact(path, marks)
        size = marks[self.kept - 1][0] if self.kept else 0
        self._file.truncate(size)
        self._file.seek(size)
        if not size:
            self._file.write(self._schema.serialize())

    @property
    def mark(self) -> tuple[int, str]:
        """Bytes written, and the fingerprint of what they say."""
        return self._file.tell(), self._digest.hexdigest()

    def append(self, part: pa.Buffer) -> None:
        """Add series, given as the serialised batch that :func:`tsfm.data.arrow.encode` makes.

        They outlive the process when this returns.

        Raises
        ------
        DataError
            When an item was added before.
        """
        self._count(pa.ipc.read_record_batch(part, self._schema))
        self._file.write(part)
        self._file.flush()

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

    def _intact(self, path: Path, marks: Sequence[tuple[int, str]]) -> int:
        """The number of parts that say what they said; one batch is in memory at a time."""
        kept, whole, held = 0, self._digest, self.item_ids
        try:
            with path.open("rb") as file:
                reader = pa.ipc.open_stream(file)
                for size, digest in marks:
                    while file.tell() < size:
                        self._count(reader.read_next_batch())
                    if (file.tell(), self._digest.hexdigest()) != (size, digest):
                        break
                    kept, whole, held = kept + 1, self._digest.copy(), set(self.item_ids)
        except (OSError, StopIteration, pa.ArrowException, ValueError, TypeError):
            pass
        self._digest, self.item_ids = whole, held
        return kept

    def _count(self, batch: pa.RecordBatch) -> None:
        for row in range(batch.num_rows):
            record = arrow.record_of(batch, row, self.info)
            if record.item_id in self.item_ids:
                raise DataError(
                    f"item {record.item_id!r} is given twice",
                    where=f"panel {self.info.name}",
                    remedy="give every item its own id",
                )
            self.item_ids.add(record.item_id)
            self._digest.add(
                Series(
                    item_id=record.item_id,
                    target=record.target,
                    start=None if record.start is None else pd.Timestamp(record.start),
                    timestamps=record.timestamps,
                    past_covariates=record.past_covariates,
                    known_covariates=record.known_covariates,
                    static=record.static,
                )
            )
