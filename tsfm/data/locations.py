"""Where a file or panel is looked for when its name alone is given."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLES = ("CUSTOM_DATA_PATH", "LOTSA_V1_PATH", "LSF_PATH")


def find(name: str | Path) -> Path | None:
    """The path itself where it exists, else the first of its namesakes in the data directories.

    Parameters
    ----------
    name
        A path, or the name of something in a directory that ``CUSTOM_DATA_PATH``,
        ``LOTSA_V1_PATH`` or ``LSF_PATH`` names, in this order.
    """
    if not str(name):
        return None
    path = Path(name).expanduser()
    directories = [Path(os.environ[variable]) for variable in VARIABLES if os.environ.get(variable)]
    candidates = [path, *(directory.expanduser() / path for directory in directories)]
    return next((candidate for candidate in candidates if candidate.exists()), None)
