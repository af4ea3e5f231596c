"""Readers of glucose sensors' files: which there are, told by a look at a file, and whole folders.

Every reader is a module with ``read(path, config, item_id) -> Iterator[Readings]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm.data.glucose.cgm_config import CgmConfig
from tsfm.data.glucose.readings import Readings, merged
from tsfm.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

FORMATS: dict[str, str] = {
    "table": "tsfm.data.glucose.readers.table",
    "brist1d": "tsfm.data.glucose.readers.brist1d",
    "ohio": "tsfm.data.glucose.readers.ohio",
    "dexcom": "tsfm.data.glucose.readers.dexcom",
    "libreview": "tsfm.data.glucose.readers.libreview",
    "nightscout": "tsfm.data.glucose.readers.nightscout",
}
SUFFIXES = (".csv", ".parquet", ".xml", ".json")


def read_source(
    source: str | Path | pd.DataFrame | pl.DataFrame | Mapping[str, Any], config: CgmConfig
) -> dict[str, Readings]:
    """The readings of every person, by id.

    Parameters
    ----------
    source
        A file or folder, a frame of one or many people, a frame by person, or a named data set
        (``brist1d:FOLDER``, see :mod:`tsfm.data.glucose.loaders`).

    Raises
    ------
    ConfigError
        When the format or a column given is not known.
    DataError
        When a file does not exist or cannot be read, naming it and what is wrong.
    """
    from tsfm.data.glucose.readers import table

    if isinstance(source, Mapping):
        return table.read_people(source, config)
    if not isinstance(source, str | Path):
        return merged(table.read_frame(source, config))
    name, _, folder = str(source).partition(":")
    from tsfm.data.glucose.loaders import LOADERS, load

    if name in LOADERS and not Path(str(source)).exists():
        return table.read_people(load(name, folder or None), config)
    path = Path(source).expanduser()
    if not path.exists():
        raise DataError(
            "the file or folder does not exist",
            where=str(path),
            remedy=f"correct the path, or name one of {', '.join(LOADERS)} as NAME:FOLDER",
        )
    if path.is_file():
        return merged(read_file(path, config, item_id=path.stem))
    return merged(_folder(path, config))


def read_file(path: Path, config: CgmConfig, *, item_id: str) -> Iterator[Readings]:
    """The people of one file; ``item_id`` is the one person's of a file that names none."""
    name = detect_format(path) if config.format == "auto" else config.format
    reader = import_module(FORMATS[name])
    yield from reader.read(path, config, item_id)


def detect_format(path: Path) -> str:
    """The format of a file, by its suffix and its first lines.

    Raises
    ------
    DataError
        When it cannot be opened, or is of another kind.
    """
    from tsfm.data.glucose.readers.cells import first_lines

    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(
            f"files of kind {suffix or 'without suffix'} are not read",
            where=str(path),
            remedy=f"give {', '.join(SUFFIXES)}",
        )
    if suffix != ".csv":
        return {".xml": "ohio", ".json": "nightscout", ".parquet": "table"}[suffix]
    head = "\n".join(first_lines(path, 4)).lower()
    if "event type" in head and "glucose value (" in head:
        return "dexcom"
    if "device timestamp" in head and "record type" in head:
        return "libreview"
    return "brist1d" if "bg-0:00" in head else "table"


def _folder(path: Path, config: CgmConfig) -> Iterator[Readings]:
    files = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in SUFFIXES and file.is_file() and not file.name.startswith(".")
    )
    if not files:
        raise DataError(
            "the folder holds no file that can be read",
            where=str(path),
            remedy=f"give {', '.join(SUFFIXES)}",
        )
    for file in files:
        relative = file.relative_to(path).with_suffix("")
        is_page = file.suffix.lower() == ".json" and len(relative.parts) > 1
        own = relative.parent if is_page else relative
        yield from read_file(file, config, item_id=own.as_posix())
