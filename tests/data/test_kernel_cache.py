"""Kept kernels: old code is never run, and copies of the package share what is compiled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tsfm.data import kernel_cache
from tsfm.data.kernel_cache import SourcesLocator, digest_of

CALLED = (
    "from tsfm.data.kernel_cache import njit\n@njit(cache=True)\ndef called():\n    return {}\n"
)
CALLER = """
from tsfm.data.kernel_cache import njit
from tsfm.called import called
@njit(cache=True)
def caller():
    return called() + 1
"""
ASK = "from tsfm.caller import caller; print(caller(), sum(caller.stats.cache_hits.values()))"


@pytest.fixture
def package(tmp_path) -> Path:
    """Two kernels in a package of their own."""
    folder = tmp_path / "here" / "tsfm"
    (folder / "data").mkdir(parents=True)
    shutil.copy(kernel_cache.__file__, folder / "data")
    for name, text in {"caller": CALLER, "called": CALLED.format(1), "other": "x = 1\n"}.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def ask(package: Path) -> list[int]:
    """The kernel's answer, and how often it was found compiled."""
    kept = package.parents[1] / "kept"
    names = {"XDG_CACHE_HOME": str(kept), "HOME": str(kept), "PYTHONPATH": str(package.parent)}
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "COV_"))}
    found = subprocess.run(
        [sys.executable, "-c", ASK], env=plain | names, cwd=package.parent,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [int(word) for word in found.stdout.split()]


def test_a_kernel_that_another_file_changed_is_compiled_again_and_copies_share_it(package):
    assert ask(package) == [2, 0]
    elsewhere = shutil.copytree(package, package.parents[1] / "there" / "tsfm")
    assert ask(elsewhere) == [2, 1]
    (package / "called.py").write_text(CALLED.format(7))
    assert ask(package) == [8, 0]


def test_where_numba_is_told_to_keep_kernels_they_are_kept(monkeypatch, tmp_path):
    def kernel() -> None: ...

    file = str(Path(kernel_cache.__file__))
    monkeypatch.setattr(kernel, "__module__", "tsfm.data.kernel_cache")
    assert SourcesLocator.from_function(kernel, file) is not None
    monkeypatch.setattr(kernel, "__module__", "statsforecast.garch")
    assert SourcesLocator.from_function(kernel, file) is None
    monkeypatch.setattr(kernel, "__module__", "tsfm.data.kernel_cache")
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    assert SourcesLocator.from_function(kernel, file) is None


def test_a_cache_that_cannot_be_written_is_done_without(package, tmp_path):
    (tmp_path / "kept").write_text("no directory")
    assert ask(package) == [2, 0]
    assert list((package / "__pycache__").glob("caller.caller-*.nbi"))


def test_a_digest_is_of_the_text_of_all_that_is_imported(package):
    before = digest_of(package / "caller.py")
    (package / "other.py").write_text("x = 2\n")
    assert digest_of(package / "caller.py") == before
    (package / "called.py").write_text(CALLED.format(3))
    changed = digest_of(package / "caller.py")
    assert changed != before
    (package / "called.py").write_text(CALLED.format(3) + "from tsfm.other import x\n")
    deeper = digest_of(package / "caller.py")
    (package / "other.py").write_text("x = 3\n")
    assert len({before, changed, deeper, digest_of(package / "caller.py")}) == 4
