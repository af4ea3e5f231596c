"""Ensembles as folders of GluonTS Arrow files, one trajectory each, and back.

``DIRECTORY/train/Lorenz/0_T-1024.arrow`` holds ``start`` and ``target [variate, time]`` (float32)
as GluonTS' own writer does, so that ``FileDataset(path, freq="h", one_dim_target=False)`` reads it;
beside them ``item_id`` and ``static`` (JSON), which bring an item back as it was. Systems of
held-out families are in ``test``, skew products with a member of one in ``test_skew``; a skew
product's folder is called ``Lorenz_Rossler``. Folders that dystformer or Panda wrote are read, too.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tsfm.data.dynamics.families import family_of, split_by_family
from tsfm.data.panel import Panel
from tsfm.data.series import PanelInfo, Series
from tsfm.errors import DataError

SPLITS = ("train", "test", "test_skew")
FILE_NAME = re.compile(r"(\d+)_T-(\d+)\.arrow")
_START = "2000-01-01 00:00"
_SHAPE = "DIRECTORY/train/SYSTEM/0_T-1024.arrow"


def write_layout(
    panel: Panel,
    directory: str | Path,
    *,
    held_out: float | None = None,
    seed: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write an ensemble's panel; each split appears only when it is complete.

    Parameters
    ----------
    held_out, seed
        As :func:`split_by_family` takes them.
    overwrite
        Replace splits that are there.

    Raises
    ------
    DataError
        When the panel is no ensemble, a split is there already, or the disk cannot be written to.
    """
    directory = Path(directory)
    there = expect_free(directory, overwrite=overwrite)
    views = split_by_family(panel, held_out, seed)
    partial = directory / f".{uuid.uuid4().hex[:8]}.partial"
    try:
        for name, view in zip(SPLITS, views):
            if view is not None:
                _write_split(view, partial / name)
        for name in there:
            (directory / name).rename(partial / f"{name}.old")
        for name, view in zip(SPLITS, views):
            if view is not None:
                (partial / name).rename(directory / name)
    except OSError as error:
        raise DataError(
            f"the files cannot be written: {error.strerror or error}",
            where=str(directory),
            remedy="free space on the disk, or choose a place that can be written to",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return directory


def expect_free(directory: Path, *, overwrite: bool = False) -> list[str]:
    """Splits that are there already; raise :class:`DataError` unless they may be replaced."""
    there = [name for name in SPLITS if (directory / name).exists()]
    if there and not overwrite:
        raise DataError(
            f"{', '.join(there)} exist already",
            where=str(directory),
            remedy="choose another directory or overwrite",
        )
    return there


def read_layout(directory: str | Path, split: str | None = None, *, name: str = "") -> Panel:
    """Read the files of one split, or of all, into a panel in memory.

    Parameters
    ----------
    split
        A folder of ``directory`` such as ``train``; by default all that there are.
    name
        Of the panel, by default the directory's.

    Raises
    ------
    DataError
        When the directory is laid out otherwise, a file is damaged or does not hold what its name
        says, or a system's trajectories have different numbers of dimensions.
    """
    directory = Path(directory)
    files = {
        place: _files(place) for chosen in _splits(directory, split) for place in _systems(chosen)
    }
    series = [one for place, paths in files.items() for one in _read_system(place, paths)]
    if not series:
        raise _otherwise(directory, "there is no Arrow file")
    width = max(len(one.target) for one in series)
    info = PanelInfo(
        name=name or directory.resolve().name,
        variates=tuple(f"x{k}" for k in range(width)),
        provenance={"layout": str(directory)},
    )
    return Panel.from_series((_widened(one, width) for one in series), info)


def _write_split(view: Panel, folder: Path) -> None:
    from gluonts.dataset.arrow import ArrowWriter

    writer = ArrowWriter(compression="lz4")
    written: dict[str, int] = {}
    for series in view:
        system = str(series.static["members"]).replace(",", "_")
        index = written[system] = written.get(system, -1) + 1
        target = series.target[np.isfinite(series.target).any(axis=1)]
        place = folder / system
        place.mkdir(parents=True, exist_ok=True)
        entry: dict[str, Any] = {
            "start": _START,
            "target": np.ascontiguousarray(target),
            "item_id": series.item_id,
            "static": json.dumps(dict(series.static)),
        }
        writer.write_to_file([entry], place / f"{index}_T-{series.length}.arrow")


def _splits(directory: Path, split: str | None) -> list[Path]:
    if not directory.is_dir():
        raise _otherwise(directory, "there is no such directory")
    if split is not None:
        if not (directory / split).is_dir():
            raise _otherwise(directory, f"there is no folder {split}")
        return [directory / split]
    found = [directory / name for name in SPLITS if (directory / name).is_dir()]
    if not found:
        raise _otherwise(directory, f"none of the folders {', '.join(SPLITS)} is there")
    return found


def _systems(split: Path) -> list[Path]:
    """Folders of a split, one for each system."""
    for path in sorted(split.glob("*.arrow")):
        raise _otherwise(path, "the file lies beside the folders of systems")
    return sorted(path for path in split.iterdir() if path.is_dir())


def _files(place: Path) -> list[tuple[int, Path]]:
    """Arrow files of one system by sample number."""
    named = []
    for path in sorted(place.iterdir()):
        if path.name.startswith("."):
            continue
        match = FILE_NAME.fullmatch(path.name)
        if match is None or path.is_dir():
            raise _otherwise(path, "not a file called NUMBER_T-LENGTH.arrow")
        named.append((int(match[1]), path))
    return sorted(named)


def _read_system(place: Path, paths: list[tuple[int, Path]]) -> Iterator[Series]:
    dimensions: dict[int, Path] = {}
    for index, path in paths:
        series = _read(place, index, path)
        dimensions.setdefault(len(series.target), path)
        if len(dimensions) > 1:
            (first, one), (second, other) = dimensions.items()
            raise DataError(
                f"{one.name} has {first} dimensions but {other.name} has {second}",
                where=str(place),
                remedy="keep the trajectories of one system, of one dimension, in a folder",
            )
        yield series


def _read(place: Path, index: int, path: Path) -> Series:
    import pyarrow as pa
    from gluonts.dataset.arrow import File

    try:
        entries = list(File.infer(path))
        targets = [np.atleast_2d(entry["target"]) for entry in entries]
        target = np.concatenate(targets).astype(np.float32)
        first = entries[0]
        static = json.loads(first["static"]) if "static" in first else _static(place.name)
        item_id = str(first.get("item_id", f"{place.parent.name}/{place.name}/{index}"))
    except (OSError, pa.ArrowException, KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(
            f"the file cannot be read as a GluonTS Arrow file: {error}",
            where=str(path),
            remedy="write it again, with start and target [variate, time]",
        ) from error
    promised = int(FILE_NAME.fullmatch(path.name)[2])  # type: ignore[index]
    if target.ndim != 2 or target.shape[1] != promised:
        raise DataError(
            f"the trajectory has shape {target.shape}, not {promised} points as its name says",
            where=str(path),
            remedy="rename the file, or write it again",
        )
    return Series(item_id=item_id, target=target, static={**static, "dimension": len(target)})


def _static(folder: str) -> dict[str, float | str]:
    """What the name of a folder tells, and the catalogue of a system it knows."""
    from tsfm.data.dynamics.systems import load_system, system_names

    parts = folder.split("_")
    known = set(system_names())
    members = tuple(parts) if set(parts) <= known else (folder,)
    static: dict[str, float | str] = {
        "system": "->".join(members),
        "members": ",".join(members),
        "family": "->".join(map(family_of, members)),
        "role": "system" if len(members) == 1 else "skew",
    }
    if members[0] in known and len(members) == 1:
        system = load_system(members[0])
        static |= {"period": system.period, "lyapunov": system.lyapunov}
    return static


def _widened(series: Series, width: int) -> Series:
    target = np.full((width, series.length), np.nan, np.float32)
    target[: len(series.target)] = series.target
    return replace(series, target=target)


def _otherwise(path: Path, what: str) -> DataError:
    return DataError(what, where=str(path), remedy=f"trajectories must lie in {_SHAPE}")
