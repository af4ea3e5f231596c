"""Where compiled kernels are kept: by the text of all that they call, whatever place it lies in.

Numba itself looks at a function's own file: after an update of another one, whose functions it
calls, it would go on with old code. And each copy of the package, as MLflow puts one beside every
logged model, would be compiled anew.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Self

import numba
from numba import njit
from numba.core.caching import InTreeCacheLocator
from platformdirs import user_cache_path

__all__ = ["njit"]

_PACKAGE = __name__.partition(".")[0]
_config: Any = numba.config
_IMPORT = re.compile(rf"^\s*from ({_PACKAGE}\.[\w.]+) import", re.MULTILINE)


def digest_of(path: Path) -> str:
    """Of a module of the package and those of the package that it imports, at any depth."""
    root = next(folder for folder in path.parents if folder.name == _PACKAGE).parent
    texts: dict[str, str] = {}
    waiting = [path]
    while waiting:
        one = waiting.pop()
        name = one.relative_to(root).as_posix()
        if name not in texts and one.is_file():
            texts[name] = one.read_text(encoding="utf-8")
            modules = _IMPORT.findall(texts[name])
            waiting += [root / f"{module.replace('.', '/')}.py" for module in modules]
    return hashlib.sha256(repr(sorted(texts.items())).encode()).hexdigest()[:24]


class SourcesLocator(InTreeCacheLocator):
    """Finds the directory of a kernel of this package, in the user's cache directory."""

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        super().__init__(py_func, py_file)
        self._cache_path = str(_directory(Path(py_file)))

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> Self | None:
        if _config.CACHE_DIR or not py_func.__module__.startswith(f"{_PACKAGE}."):
            return None
        found: Self | None = super().from_function(py_func, py_file)
        return found


@cache
def _directory(path: Path) -> Path:
    kept = user_cache_path("tsfm-lab", appauthor=False) / "kernels"
    return kept / f"{path.stem}-{digest_of(path)}"


_AS_NUMBA_DOES = (
    "UserProvidedCacheLocator", "InTreeCacheLocator", "UserWideCacheLocator", "IPythonCacheLocator",
    "ZipCacheLocator",
)  # fmt: skip
if not _config.CACHE_LOCATOR_CLASSES:
    _config.CACHE_LOCATOR_CLASSES = ",".join((f"{__name__}.SourcesLocator", *_AS_NUMBA_DOES))
