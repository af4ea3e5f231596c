"""Named data sets, read from a folder of their original files and kept for the next time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tsfm.data.cache import cache_directory
from tsfm.data.glucose.layouts import COLLECTIONS, Collection, TableLayout
from tsfm.data.locations import find
from tsfm.errors import DataError, one_of

if TYPE_CHECKING:
    import polars as pl

LOADERS: dict[str, str] = {
    "brist1d": "BrisT1D Blood Glucose Prediction Competition (Kaggle): train.csv",
    **{name: collection.title for name, collection in COLLECTIONS.items()},
}
_VERSION = 1
_DAY_ZERO = datetime(2015, 1, 1)


def load(name: str, directory: str | Path | None = None) -> dict[str, pl.DataFrame]:
    """A named data set as a frame by person.

    Parameters
    ----------
    name
        One of :data:`LOADERS`.
    directory
        Of the original files, unpacked, or the file itself. By default a folder of this name, here
        or where ``CUSTOM_DATA_PATH`` points.

    Returns
    -------
    frames
        ``timestamp``, ``glucose_mg_dl`` (or ``bg_mM``) and where there are any ``dose_units``,
        ``carbs``, ``basal_rate``, ``hr``, ``steps``, ``cals``, in order of time.

    Raises
    ------
    ConfigError
        When the name is not known.
    DataError
        When files are missing, naming those expected, or cannot be read.
    """
    import polars as pl

    one_of("data set", name, LOADERS)
    patterns = _patterns(name)
    found = find(directory or name)
    if found is None:
        raise DataError(
            f"the files of {name} are not at {directory or name}",
            where=LOADERS[name],
            remedy=f"give the folder that holds {', '.join(patterns)}",
        )
    files = [found] if found.is_file() else _files(found, patterns)
    cached = cache_directory() / "glucose" / f"{name}-{_key(files)}.parquet"
    if not cached.exists():
        _keep(_read(name, found, files), cached)
    try:
        table = pl.read_parquet(cached)
    except (OSError, pl.exceptions.PolarsError):
        table = _read(name, found, files)
        _keep(table, cached)
    return {
        str(person): rows.drop("item_id").select(_observed(rows.drop("item_id")))
        for (person,), rows in table.group_by("item_id", maintain_order=True)
    }


def _patterns(name: str) -> list[str]:
    if name == "brist1d":
        return ["train.csv"]
    return [table.pattern for table in COLLECTIONS[name].tables]


def _observed(rows: pl.DataFrame) -> list[str]:
    return [name for name in rows.columns if rows[name].null_count() < len(rows)]


def _files(directory: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted(file for pattern in patterns for file in directory.rglob(pattern))


def _key(files: Iterable[Path]) -> str:
    import xxhash

    digest = xxhash.xxh3_64(f"version {_VERSION}".encode())
    for file in files:
        state = file.stat()
        digest.update(f"{file.resolve()} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _keep(table: pl.DataFrame, path: Path) -> None:
    """Write the cache whole; where it cannot be written, nothing is kept."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        table.write_parquet(temporary)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DataError(
            f"what was read cannot be kept: {error}",
            where=str(path),
            remedy="name a directory that you may write to with TSFM_CACHE",
        ) from error


def _read(name: str, found: Path, files: list[Path]) -> pl.DataFrame:
    import polars as pl

    if name == "brist1d":
        return _read_brist1d(found, files)
    collection = COLLECTIONS[name]
    parts = [
        _read_table(file, layout)
        for layout in collection.tables
        for file in _files_of(layout, found, collection)
    ]
    table = pl.concat(parts, how="diagonal_relaxed")
    return table.sort("item_id", "timestamp", maintain_order=True)


def _files_of(layout: TableLayout, found: Path, collection: Collection) -> list[Path]:
    files = [found] if found.is_file() and found.match(layout.pattern) else []
    files = files or (_files(found, [layout.pattern]) if found.is_dir() else [])
    if layout.is_needed and not files:
        expected = ", ".join(
            table.pattern + ("" if table.is_needed else " (optional)")
            for table in collection.tables
        )
        raise DataError(
            f"{layout.pattern} is missing",
            where=str(found),
            remedy=f"give the unpacked download of {collection.title}, which holds {expected}",
        )
    return files


def _read_table(path: Path, layout: TableLayout) -> pl.DataFrame:
    import polars as pl

    from tsfm.data.glucose.harmonise import HIGH, LOW
    from tsfm.data.glucose.readers.cells import read_cells
    from tsfm.data.glucose.times import read_times
    from tsfm.data.glucose.units import read_numbers

    cells = read_cells(path)
    missing = [column for column in layout.needed_columns if column not in cells.columns]
    if missing:
        raise DataError(
            f"columns {', '.join(missing)} are missing",
            where=str(path),
            remedy=f"the file has {', '.join(cells.columns)}: give the original file",
        )
    for column, value in layout.only.items():
        cells = cells.filter(pl.col(column).str.strip_chars().str.to_lowercase() == value.lower())
    if cells.is_empty():
        raise DataError("the file has no rows of use", where=str(path))
    columns: dict[str, pl.Series] = {"item_id": cells[layout.item].str.strip_chars()}
    if isinstance(layout.time, str):
        columns["timestamp"] = read_times(cells[layout.time], where=str(path)).stamps
    else:
        columns["timestamp"] = _since_enrolment(cells, layout.time)
    for name, sources in layout.columns.items():
        parts = [read_numbers(cells[source]).values for source in sources.split("+")]
        frame = pl.DataFrame({str(k): part for k, part in enumerate(parts)})
        if name == "glucose_mg_dl":
            frame = frame.with_columns(pl.all().replace({-float("inf"): LOW, float("inf"): HIGH}))
        total = frame.sum_horizontal(ignore_nulls=True) * layout.factor.get(name, 1.0)
        is_known = frame.select(pl.any_horizontal(pl.all().is_not_null())).to_series()
        columns[name] = total.set(~is_known, None)
    table = pl.DataFrame(columns).drop_nulls("timestamp")
    return table.filter(pl.any_horizontal(pl.col(list(layout.columns)).is_not_null()))


def _since_enrolment(cells: pl.DataFrame, columns: tuple[str, str]) -> pl.Series:
    """Days since enrolment and clock times; day zero is 2015-01-01."""
    import polars as pl

    days, clock = (pl.col(column).str.strip_chars() for column in columns)
    day = pl.lit(_DAY_ZERO).cast(pl.Datetime("us")) + pl.duration(
        days=days.cast(pl.Float64, strict=False).cast(pl.Int64)
    )
    return cells.select(day.dt.combine(clock.str.to_time(strict=False)).alias("t")).to_series()


def _read_brist1d(found: Path, files: list[Path]) -> pl.DataFrame:
    import polars as pl

    from tsfm.data.glucose.cgm_config import CgmConfig
    from tsfm.data.glucose.readers import brist1d

    if not files:
        raise DataError(
            "train.csv is missing",
            where=str(found),
            remedy=f"give the unpacked download of {LOADERS['brist1d']}",
        )
    names = {"glucose": "bg_mM", "insulin": "dose_units", "carbohydrates": "carbs",
             "heart_rate": "hr", "calories": "cals"}  # fmt: skip
    people = brist1d.read(files[0], CgmConfig(name="brist1d"), "brist1d")
    parts = [
        one.frame.rename({k: v for k, v in names.items() if k in one.frame.columns}).insert_column(
            0, pl.Series("item_id", [one.item_id] * len(one.frame))
        )
        for one in people
    ]
    return pl.concat(parts, how="diagonal")
