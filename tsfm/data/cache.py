"""Where what can be made again is kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "TSFM_CACHE"


def cache_directory() -> Path:
    """The directory that ``TSFM_CACHE`` names, else ``tsfm-lab`` in the user's cache directory.

    It may be deleted whenever nothing runs: what is missing is made again.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("tsfm-lab", appauthor=False)
