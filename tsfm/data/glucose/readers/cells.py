"""Cells of delimited text, whatever its delimiter and encoding."""

from __future__ import annotations

import codecs
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tsfm.errors import DataError

if TYPE_CHECKING:
    import polars as pl

_DELIMITERS = ",;\t|"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def encoding_of(path: Path) -> str:
    """By the mark at the file's beginning; without one UTF-8 where it is that, else Latin-1.

    Raises
    ------
    DataError
        When the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError as error:
        raise DataError(f"the file cannot be opened: {error}", where=str(path)) from error
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def first_lines(path: Path, count: int) -> list[str]:
    """Some lines of a text file."""
    with path.open(encoding=encoding_of(path), errors="replace") as file:
        return [line.rstrip("\r\n") for line in islice(file, count)]


def read_cells(path: Path, *, skip: int = 0) -> pl.DataFrame:
    """All cells as text.

    Parameters
    ----------
    skip
        Lines before the header.

    Raises
    ------
    DataError
        When the file is missing, empty, damaged, or names a column twice.
    """
    import polars as pl

    encoding = encoding_of(path)
    header = (first_lines(path, skip + 1) or [""])[-1]
    delimiter = max(_DELIMITERS, key=header.count)
    try:
        raw = path.read_bytes()
        if encoding != "utf-8":
            raw = raw.decode(encoding).encode()
        names = pl.read_csv(
            raw, has_header=False, skip_rows=skip, n_rows=1, infer_schema=False,
            separator=delimiter,
        ).row(0)  # fmt: skip
        cells = pl.read_csv(raw, skip_rows=skip, infer_schema=False, separator=delimiter)
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"the table cannot be read: {reason}",
            where=str(path),
            remedy="give delimited text with one header line, and as many cells in every row",
        ) from error
    repeated = sorted({str(name) for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"columns {', '.join(repeated)} are named twice", where=str(path))
    return cells.rename({name: name.strip() for name in cells.columns})
