"""Directories that a library's ``save_pretrained`` writes and reads, with settings of our own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from tsfm.errors import CheckpointError
from tsfm.models.checkpoint import CONFIG_FILE, WEIGHTS_FILE, unwritten

OWN_KEY = "tsfm"
"""Of ``config.json``: how we use the model."""


def write_pretrained(network: Any, told: Mapping[str, Any], directory: Path) -> Path:
    """Write a directory of the library's layout, ``told`` added to its ``config.json``.

    Raises
    ------
    CheckpointError
        When it cannot be written; an earlier model there stays.
    """
    staged = directory / f".{uuid4().hex}.tmp"
    try:
        staged.mkdir(parents=True)
        with without_bars():
            network.save_pretrained(staged)
        content = json.loads((staged / CONFIG_FILE).read_text()) | told
        (staged / CONFIG_FILE).write_text(json.dumps(content, indent=2))
        for path in sorted(staged.iterdir(), key=lambda path: path.name == CONFIG_FILE):
            os.replace(path, directory / path.name)
    except OSError as error:
        raise unwritten(directory, error) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return directory


@contextmanager
def without_bars() -> Iterator[None]:
    """Without the progress bars of transformers, which a file of some megabytes does not need."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def expect_weights(directory: Path) -> None:
    """Raise :class:`CheckpointError` unless weights are there, in one file or several."""
    if not (directory / WEIGHTS_FILE).exists() and not index_of(directory).exists():
        raise CheckpointError(
            f"no {WEIGHTS_FILE}", where=str(directory), remedy="download or save the model again"
        )


def index_of(directory: Path) -> Path:
    """Where weights in several files are listed."""
    return directory / f"{WEIGHTS_FILE}.index.json"


def expect_none_missing(missing: Collection[str], directory: Path) -> None:
    """The library fills what a file lacks with random numbers; we do not forecast with those."""
    if missing:
        raise CheckpointError(
            f"{WEIGHTS_FILE} lacks {len(missing)} of the model's weights, {min(missing)} the first",
            where=str(directory),
            remedy="download or save the model again",
        )


def unreadable(model: str, error: Exception, directory: Path) -> CheckpointError:
    """What the library said of files that it cannot make a model of."""
    return CheckpointError(
        f"the {model} model cannot be read: {str(error).strip().splitlines()[0]}",
        where=str(directory),
        remedy=f"{WEIGHTS_FILE} or {CONFIG_FILE} is damaged; download or save the model again",
    )
