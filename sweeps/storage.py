"""Where studies are kept: Optuna's tables in SQLite, PostgreSQL or MySQL, held through outages."""

from __future__ import annotations

import functools
import hashlib
import logging
import random
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import sqlalchemy
from filelock import FileLock, Timeout
from optuna import logging as optuna_logging
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage

from tsfm.errors import TrackingError
from tsfm.tracking import store

DATABASE = "sweeps.db"
DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
SECONDS_TO_ANSWER = 5
PATIENCE = 300.0
"""Seconds for which a database that went away is waited for."""

SECONDS_FOR_LOCK = 120.0
FOR_EVER = ("full", "readonly", "read-only", "no such table", "i/o error", "too large")
_ELSEWHERE = "give another storage=, or none for ./sweeps.db"
_PATIENT = (
    "create_new_study", "set_study_user_attr", "set_study_system_attr", "get_study_id_from_name",
    "get_study_user_attrs", "get_study_system_attrs", "get_study_directions", "_create_new_trial",
    "_set_trial_param", "set_trial_state_values", "set_trial_intermediate_value",
    "set_trial_user_attr", "set_trial_system_attr", "get_trial_system_attrs", "get_trial",
    "_get_trials", "_get_best_trial_id", "record_heartbeat", "_get_stale_trial_ids", "tally",
)  # fmt: skip


class StorageLostError(TrackingError):
    """The storage is gone, and stayed away."""


def address(given: str) -> str:
    """The storage's address: by default ``sweeps.db`` in the working directory, absolute."""
    return store.absolute(given or f"sqlite:///{DATABASE}")


def expect_reachable(uri: str) -> None:
    """Raise :class:`TrackingError` within seconds unless the storage answers and can be written."""
    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme not in ("sqlite", *DRIVERS):
        raise TrackingError(
            f"storage of the unknown kind {scheme!r}",
            where=f"storage={store.masked(uri)}",
            remedy="give sqlite:///path/sweeps.db, postgresql://user@host/database or mysql://…",
        )
    try:
        store.check(_driven(uri) if scheme != "sqlite" else uri)
    except TrackingError as error:
        told = error.what.replace("tracking", "sweep")
        raise TrackingError(
            told, where=f"storage={store.masked(uri)}", remedy=f"make it usable, or {_ELSEWHERE}"
        ) from error


class SweepStorage(RDBStorage):
    """Optuna's storage with heartbeats, made for many writers and for long absences.

    SQLite writes ahead, so that readers and writers do not wait for one another. What fails because
    the database went away is repeated for :data:`PATIENCE` seconds; every repeated write is either
    idempotent, or leaves a trial without owner that :meth:`sweeps.study.SweepStudy.recover` takes
    back.

    Parameters
    ----------
    heartbeat, grace
        Seconds between signs of life, and without one until a trial is taken for dead.
    """

    def __init__(self, uri: str, *, heartbeat: int = 10, grace: int = 60) -> None:
        is_sqlite = uri.startswith("sqlite")
        options: dict[str, Any] = {"pool_pre_ping": not is_sqlite}
        if is_sqlite:
            options["connect_args"] = {"timeout": 60}
            _write_ahead(_file(uri))
        optuna_logging.set_verbosity(logging.ERROR)
        address = _driven(uri)
        try:
            with warnings.catch_warnings(), self._alone(uri):
                warnings.simplefilter("ignore", ExperimentalWarning)
                _expect_own(address, options, uri)
                super().__init__(
                    address.replace("{", "{{").replace("}", "}}"),
                    engine_kwargs=options,
                    heartbeat_interval=heartbeat,
                    grace_period=grace,
                )
        except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
            raise _lost(error.__cause__ or error, uri) from error
        except RuntimeError as error:
            raise TrackingError(
                f"the storage was made by another version of Optuna: {error}",
                where=f"storage={store.masked(uri)}",
                remedy=_ELSEWHERE,
            ) from error
        self.uri = uri
        if is_sqlite:
            sqlalchemy.event.listen(self.engine, "connect", _hasten)
            self.engine.dispose()

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Held by one process at a time, of all that use this storage; freed if it dies.

        Raises
        ------
        StorageLostError
            When it cannot be had.
        """
        if self.uri.startswith("sqlite"):
            with self._alone(self.uri):
                yield
            return
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
        text = {
            "postgresql": ("SELECT pg_advisory_lock(:key)", "SELECT pg_advisory_unlock(:key)"),
            "mysql": ("SELECT GET_LOCK(:key, 120)", "SELECT RELEASE_LOCK(:key)"),
        }[self.engine.name]
        key = {"key": number if self.engine.name == "postgresql" else str(number)}
        connection = self._connected()
        try:
            connection.execute(sqlalchemy.text(text[0]), key)
            yield
        finally:
            try:
                connection.execute(sqlalchemy.text(text[1]), key)
                connection.close()
            except sqlalchemy.exc.SQLAlchemyError:
                connection.invalidate()

    def tally(self, study_id: int, mark: str) -> tuple[int, int | None]:
        """Trials of a study that count, and one that waits.

        Parameters
        ----------
        mark
            System attribute of trials that do not count.

        Returns
        -------
        tuple
            Number of trials without the mark; id of the oldest waiting one.
        """
        counted = sqlalchemy.text(
            "SELECT (SELECT COUNT(*) FROM trials WHERE study_id = :study) - "
            "(SELECT COUNT(*) FROM trial_system_attributes a JOIN trials t "
            "ON t.trial_id = a.trial_id WHERE t.study_id = :study AND a.key = :mark), "
            "(SELECT MIN(trial_id) FROM trials WHERE study_id = :study AND state = 'WAITING')"
        )
        try:
            with self.engine.connect() as connection:
                row = connection.execute(counted, {"study": study_id, "mark": mark}).one()
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise StorageInternalError(str(error)) from error
        return int(row[0]), None if row[1] is None else int(row[1])

    def _connected(self) -> sqlalchemy.Connection:
        began = time.monotonic()
        while True:
            try:
                return self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            except sqlalchemy.exc.SQLAlchemyError as error:
                if time.monotonic() - began > PATIENCE:
                    raise _lost(error, self.uri) from error
                time.sleep(0.5)

    @staticmethod
    @contextmanager
    def _alone(uri: str) -> Iterator[None]:
        """Among the processes of this machine, where the storage is a file."""
        if not uri.startswith("sqlite"):
            yield
            return
        try:
            with FileLock(f"{_file(uri)}.lock", timeout=SECONDS_FOR_LOCK):
                yield
        except Timeout as error:
            raise StorageLostError(
                f"the lock is held by another process for {SECONDS_FOR_LOCK:.0f} s",
                where=f"{_file(uri)}.lock",
                remedy="stop that process",
            ) from error


def _patiently(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def persistent(self: SweepStorage, *args: Any, **kwargs: Any) -> Any:
        began = time.monotonic()
        pause = 0.1
        while True:
            try:
                return method(self, *args, **kwargs)
            except StorageInternalError as error:
                reason = str(error.__cause__ or error).lower()
                waited = time.monotonic() - began
                if waited > PATIENCE or any(word in reason for word in FOR_EVER):
                    raise _lost(error.__cause__ or error, self.uri) from error
                self.scoped_session.remove()
                time.sleep(pause * (0.5 + random.random()))
                pause = min(2 * pause, 5.0)

    return persistent


for _name in _PATIENT:
    setattr(SweepStorage, _name, _patiently(getattr(SweepStorage, _name)))


def _lost(error: BaseException, uri: str) -> StorageLostError:
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    return StorageLostError(
        f"the storage of the sweep cannot be used: {reason}",
        where=f"storage={store.masked(uri)}",
        remedy="free disk space or bring it back, then give the same command again: it goes on",
    )


def _expect_own(address: str, options: dict[str, Any], uri: str) -> None:
    """That the database holds no other program's tables: MLflow's versions would be mixed up."""
    engine = sqlalchemy.create_engine(address, **options)
    names = set(sqlalchemy.inspect(engine).get_table_names())
    engine.dispose()
    if "alembic_version" in names and "studies" not in names:
        raise TrackingError(
            "the database holds another program's tables",
            where=f"storage={store.masked(uri)}",
            remedy="give a database of its own, or none for ./sweeps.db",
        )


def _driven(uri: str) -> str:
    scheme, colon, rest = uri.partition(":")
    return f"{DRIVERS.get(scheme, scheme)}{colon}{rest}"


def _file(uri: str) -> Path:
    return Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0]))


def _write_ahead(path: Path) -> None:
    """Once for the file, before anyone else has it open."""
    import sqlite3
    from contextlib import closing

    try:
        with closing(sqlite3.connect(path, timeout=60)) as database:
            database.execute("PRAGMA journal_mode=WAL")
    except sqlite3.Error as error:
        raise _lost(error, f"sqlite:///{path}") from error


def _hasten(connection: Any, _record: Any) -> None:
    """A killed process loses nothing; a power cut may lose the last reports, never the file."""
    connection.execute("PRAGMA synchronous=NORMAL")
