"""What tells a complete panel's directory from anything else: ``state.json``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tsfm.errors import DataError

DATA_FILE = "data-00000-of-00001.arrow"
STATE_FILE = "state.json"


def read_state(path: Path) -> dict[str, Any]:
    """The state of a panel's directory.

    Raises
    ------
    DataError
        When there is no panel, or its data are truncated.
    """
    if not (path / STATE_FILE).is_file() or not (path / DATA_FILE).is_file():
        raise DataError(
            "there is no panel here" if path.exists() else "the path does not exist",
            where=str(path),
            remedy=f"give a directory that holds {DATA_FILE} and {STATE_FILE}",
        )
    try:
        state = json.loads((path / STATE_FILE).read_text())
        expected = state["tsfm"]["bytes"]
        size = (path / DATA_FILE).stat().st_size
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(str(path), f"{STATE_FILE}: {error!r}") from error
    if size != expected:
        raise damaged(str(path), f"{DATA_FILE} has {size} bytes instead of {expected}")
    return state


def write_state(path: Path, fingerprint: str, items: int) -> None:
    """Make a directory with complete data one that ``datasets`` and :func:`read_state` accept."""
    size = (path / DATA_FILE).stat().st_size
    state = {
        "_data_files": [{"filename": DATA_FILE}],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
        "tsfm": {"items": items, "bytes": size, "fingerprint": fingerprint},
    }
    (path / "dataset_info.json").write_text("{}")
    (path / STATE_FILE).write_text(json.dumps(state, indent=2))


def damaged(where: str, detail: str) -> DataError:
    """The error for a panel whose bytes make no sense."""
    return DataError(
        f"the panel is damaged ({detail})", where=where, remedy="write or copy the panel again"
    )


def move_into_place(partial: Path, path: Path) -> None:
    """Rename a complete directory, replacing one that is there."""
    if not path.exists():
        partial.rename(path)
        return
    retired = path.with_name(f"{partial.name}.retired")
    path.rename(retired)
    try:
        partial.rename(path)
    except OSError:
        retired.rename(path)
        raise
    shutil.rmtree(retired, ignore_errors=True)
