"""The vault: held-out tasks, frozen in files, that nothing but ``promote`` reads."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tsfm.errors import ConfigError, DataError, UserError

if TYPE_CHECKING:
    from tsfm.data.panel import Panel
    from tsfm.evaluation.tasks import Task

SEAL = "vault.json"


@dataclass(frozen=True, kw_only=True)
class Vault:
    """Tasks with their panels, as they were sealed.

    Attributes
    ----------
    fingerprint
        Of all tasks and panels together; looks are counted under it.
    """

    path: Path
    fingerprint: str
    tasks: tuple[tuple[Task, Panel], ...]

    @classmethod
    def seal(cls, path: str | Path, tasks: Iterable[tuple[Task, Panel]]) -> Self:
        """Freeze tasks into a new vault; it appears whole or not at all.

        Raises
        ------
        DataError
            When there is one already, it cannot be written, or no task is given.
        """
        path, tasks = Path(path), list(tasks)
        cls.expect_none(path)
        names = [task.name for task, _ in tasks]
        if not names or len(set(names)) < len(names):
            raise DataError(
                f"the tasks {', '.join(names) or '(none)'} cannot be sealed",
                where=str(path),
                remedy="give at least one task, each with a name of its own",
            )
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            sealed = [_write(partial / f"{k:03}", *pair) for k, pair in enumerate(tasks)]
            record = {"tasks": sealed, "fingerprint": _digest(sealed)}
            (partial / SEAL).write_text(json.dumps(record, indent=1))
            partial.rename(path)
        except OSError as error:
            raise DataError(f"the vault cannot be written: {error}", where=str(path)) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return cls.open(path)

    @staticmethod
    def expect_none(path: str | Path) -> None:
        """Raise :class:`DataError` where there is a vault."""
        if Path(path).exists():
            raise DataError(
                "a vault is never replaced: its looks are counted",
                where=str(path),
                remedy="seal another one under a new name, and name it in the policy",
            )

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Read a vault and check every byte of it.

        Raises
        ------
        ConfigError
            When there is none.
        DataError
            When a file of it is missing, damaged or changed.
        """
        path = Path(path)
        try:
            record = json.loads((path / SEAL).read_text())
            sealed, fingerprint = record["tasks"], record["fingerprint"]
        except FileNotFoundError as error:
            raise ConfigError(
                "there is no vault of held-out tasks",
                where=str(path),
                remedy="seal one: mlflow run . -e promote -P seal=true -P model=<name> "
                "-P data=<bars that no model was trained on>",
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"the seal cannot be read: {error!r}", where=str(path / SEAL)
            ) from error
        if _digest(sealed) != fingerprint:
            raise DataError("the seal is broken", where=str(path / SEAL), remedy=_AGAIN)
        tasks = tuple(_read(path / f"{k:03}", entry) for k, entry in enumerate(sealed))
        return cls(path=path, fingerprint=fingerprint, tasks=tasks)


_AGAIN = "restore the files, or seal another vault: results on changed data compare with nothing"


def _write(folder: Path, task: Task, panel: Panel) -> dict[str, str]:
    from tsfm.data.panel import Panel as Stored

    folder.mkdir()
    stored = Stored.write(folder / "panel", panel, panel.info)
    replace(task, panel_fingerprint=stored.fingerprint).save(folder / "task.json")
    return {
        "task": task.name,
        "panel": stored.fingerprint,
        "question": hashlib.sha256((folder / "task.json").read_bytes()).hexdigest(),
    }


def _read(folder: Path, entry: dict[str, str]) -> tuple[Task, Panel]:
    from tsfm.data.panel import Panel as Stored
    from tsfm.evaluation.tasks import Task as Question

    file = folder / "task.json"
    try:
        if hashlib.sha256(file.read_bytes()).hexdigest() != entry["question"]:
            raise DataError("the task was changed after it was sealed", where=str(file))
        task, panel = Question.load(file), Stored.open(folder / "panel")
        panel.verify()
        if panel.fingerprint != entry["panel"]:
            raise DataError("the panel was replaced after it was sealed", where=str(folder))
    except (OSError, UserError) as error:
        what = error.what if isinstance(error, UserError) else str(error)
        raise DataError(
            f"task {entry['task']}: {what}", where=str(folder), remedy=_AGAIN
        ) from error
    return task, panel


def _digest(sealed: object) -> str:
    return hashlib.sha256(json.dumps(sealed, sort_keys=True).encode()).hexdigest()[:32]
