"""Where studies are kept: Optuna's tables in SQLite, PostgreSQL or MySQL, held through outages."""

from __future__ import annotations

import functools
import logging
import random
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import sqlalchemy
from filelock import FileLock, Timeout
from optuna import logging as optuna_logging
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage

from sweeps import servers
from sweeps.locks import LockBusyError, LockLostError, ServerLock
from sweeps.servers import driven
from tsfm.errors import TrackingError, UserError
from tsfm.tracking import store

T = TypeVar("T")

DATABASE = "sweeps.db"
PATIENCE = 300.0
"""Seconds for which a database that went away is waited for."""

SECONDS_FOR_LOCK = 120.0
FOR_EVER = (
    "full", "readonly", "read-only", "no such table", "i/o error", "too large", "too long",
    "packet bigger", "no space left", "denied", "does not exist", "doesn't exist",
    "unknown database", "authentication failed",
)  # fmt: skip
_BROKEN = "the connection that held the lock broke"
_ELSEWHERE = "give another storage=, or none for ./sweeps.db"
_PATIENT = (
    "create_new_study", "delete_study", "set_study_user_attr", "set_study_system_attr",
    "get_study_id_from_name", "get_study_user_attrs", "get_study_system_attrs",
    "get_study_directions", "_create_new_trial", "_set_trial_param", "set_trial_state_values",
    "set_trial_intermediate_value", "set_trial_user_attr", "set_trial_system_attr",
    "get_trial_system_attrs", "get_trial", "_get_trials", "_get_best_trial_id", "record_heartbeat",
    "_get_stale_trial_ids", "tally",
)  # fmt: skip


class StorageLostError(TrackingError):
    """The storage is gone, and stayed away."""


def address(given: str) -> str:
    """The storage's address: by default ``sweeps.db`` in the working directory, absolute."""
    return store.absolute(given or f"sqlite:///{DATABASE}")


def expect_reachable(uri: str) -> None:
    """Raise :class:`TrackingError` within seconds unless the storage answers and can be written."""
    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme not in ("sqlite", *servers.DRIVERS):
        raise TrackingError(
            f"storage of the unknown kind {scheme!r}",
            where=f"storage={store.masked(uri)}",
            remedy="give sqlite:///path/sweeps.db, postgresql://user@host/database or mysql://…",
        )
    try:
        store.check(driven(uri))
    except TrackingError as error:
        cause = error.__cause__
        if isinstance(cause, ImportError):
            raise servers.missing_driver(cause) from error
        told = error.what.replace("tracking", "sweep")
        raise TrackingError(
            told, where=f"storage={store.masked(uri)}", remedy=f"make it usable, or {_ELSEWHERE}"
        ) from error
    if driven(uri).startswith("mysql") and not sqlalchemy.make_url(driven(uri)).database:
        raise TrackingError(
            "the address names no database",
            where=f"storage={store.masked(uri)}",
            remedy="make an empty one, and give its name: mysql://user@host/database",
        )


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
        self.uri, self._strict = uri, threading.local()
        is_sqlite = uri.startswith("sqlite")
        address = driven(uri)
        options = (
            {"connect_args": {"timeout": 60}} if is_sqlite else servers.engine_options(address)
        )
        if is_sqlite:
            _write_ahead(_file(uri))
        optuna_logging.set_verbosity(logging.ERROR)
        try:
            with warnings.catch_warnings(), self._making(address, options):
                warnings.simplefilter("ignore", ExperimentalWarning)
                super().__init__(
                    address.replace("{", "{{").replace("}", "}}"),
                    engine_kwargs=options,
                    heartbeat_interval=heartbeat,
                    grace_period=grace,
                )
        except ImportError as error:
            raise servers.missing_driver(error) from error
        except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
            raise _lost(error, uri) from error
        except RuntimeError as error:
            raise TrackingError(
                f"the storage was made by another version of Optuna: {error}",
                where=f"storage={store.masked(uri)}",
                remedy=_ELSEWHERE,
            ) from error
        if is_sqlite:
            sqlalchemy.event.listen(self.engine, "connect", _hasten)
            self.engine.dispose()
        else:
            servers.prepare_sessions(self.engine)

    @contextmanager
    def lock(self, name: str, *, seconds: float = SECONDS_FOR_LOCK) -> Iterator[None]:
        """Held by one process at a time, of all that use this storage; freed if it dies.

        However long, it stops nobody who takes trials: beside SQLite its kind (what stands before
        ``/``) has a file of its own.

        What is done in it goes on if the database goes away and comes back, and the lock is then
        another's: what must not happen twice belongs into :meth:`alone`.

        Parameters
        ----------
        seconds
            That it is waited for.

        Raises
        ------
        StorageLostError
            When it cannot be had.
        """
        if self.uri.startswith("sqlite"):
            with self._alone_in_file(seconds, kind=name.partition("/")[0]):
                yield
            return
        held = self._acquired(self.engine, name, seconds)
        try:
            yield
        finally:
            held.release()

    def alone(self, name: str, section: Callable[[], T]) -> T:
        """What ``section`` returns, called under a lock; again if that was lost on the way.

        It must find, or leave to :meth:`sweeps.study.SweepStudy.recover`, what it had done before.

        Raises
        ------
        StorageLostError
            When the lock cannot be had, or not be kept.
        """
        if self.uri.startswith("sqlite"):
            with self._alone_in_file(SECONDS_FOR_LOCK):
                return section()
        began = time.monotonic()
        while True:
            try:
                return self._guarded(name, section)
            except LockLostError as error:
                if time.monotonic() - began > PATIENCE:
                    raise _lost(error, self.uri) from error

    def _guarded(self, name: str, section: Callable[[], T]) -> T:
        """Raise :class:`LockLostError` as soon as a lost lock shows."""
        held = self._acquired(self.engine, name, SECONDS_FOR_LOCK)
        self._strict.lock = held
        try:
            found = section()
        except Exception as error:
            if isinstance(error, UserError) or held.is_held():
                raise
            raise LockLostError(_BROKEN) from error
        finally:
            self._strict.lock = None
            was_held = held.release()
        if not was_held:
            raise LockLostError(_BROKEN)
        return found

    def _expect_held(self, error: BaseException) -> None:
        """Where a call has failed in :meth:`alone`: that it may be repeated as it is."""
        lock: ServerLock | None = getattr(self._strict, "lock", None)
        if lock is not None and not lock.is_held():
            raise LockLostError(_BROKEN) from error

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
        ((count, waiting),) = self._rows(counted, study=study_id, mark=mark)
        return int(count), None if waiting is None else int(waiting)

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """Also those that were taken without a sign of life: their taker was cut off, or died.

        To be called under the lock under which trials are taken and first show life.
        """
        lifeless = sqlalchemy.text(
            "SELECT t.trial_id FROM trials t LEFT JOIN trial_heartbeats h "
            "ON h.trial_id = t.trial_id "
            "WHERE t.study_id = :study AND t.state = 'RUNNING' AND h.trial_id IS NULL"
        )
        silent = super()._get_stale_trial_ids(study_id)
        return [*silent, *(trial for (trial,) in self._rows(lifeless, study=study_id))]

    def _rows(self, question: sqlalchemy.TextClause, **values: Any) -> Sequence[sqlalchemy.Row]:
        """The answer; what fails is told as Optuna's own questions tell it."""
        try:
            with self.engine.connect() as connection:
                return connection.execute(question, values).all()
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise StorageInternalError(str(error)) from error

    def _acquired(self, engine: sqlalchemy.Engine, name: str, seconds: float) -> ServerLock:
        began = time.monotonic()
        while True:
            try:
                lock = ServerLock(engine.connect(), name)
                try:
                    lock.acquire(seconds)
                except BaseException:
                    lock.close(is_sound=False)
                    raise
                return lock
            except LockBusyError as error:
                raise _busy(error.what, store.masked(self.uri)) from error
            except sqlalchemy.exc.SQLAlchemyError as error:
                if time.monotonic() - began > PATIENCE or _is_for_ever(error):
                    raise _lost(error, self.uri) from error
                time.sleep(0.5)

    @contextmanager
    def _making(self, address: str, options: dict[str, Any]) -> Iterator[None]:
        """While the tables are made by one process, or found."""
        if self.uri.startswith("sqlite"):
            with self._alone_in_file(SECONDS_FOR_LOCK):
                _expect_own(address, options, self.uri)
                yield
            return
        servers.widen_tables()
        engine = sqlalchemy.create_engine(address, **options)
        lock = self._acquired(engine, "tables", SECONDS_FOR_LOCK)
        try:
            _expect_own(address, options, self.uri)
            yield
        finally:
            lock.release()
            engine.dispose()

    @contextmanager
    def _alone_in_file(self, seconds: float, *, kind: str = "") -> Iterator[None]:
        """Among the processes of this machine, where the storage is a file."""
        path = f"{_file(self.uri)}{kind and '.'}{kind}.lock"
        try:
            with FileLock(path, timeout=seconds):
                yield
        except Timeout as error:
            raise _busy(f"the lock is held by another process for {seconds:g} s", path) from error


_OUTAGES = (
    StorageInternalError, sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError,
)  # fmt: skip


def _patiently(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def persistent(self: SweepStorage, *args: Any, **kwargs: Any) -> Any:
        began = time.monotonic()
        pause = 0.1
        while True:
            try:
                return method(self, *args, **kwargs)
            except _OUTAGES as error:
                if time.monotonic() - began > PATIENCE or _is_for_ever(error):
                    raise _lost(error, self.uri) from error
                self.scoped_session.remove()
                self._expect_held(error)
                time.sleep(pause * (0.5 + random.random()))
                pause = min(2 * pause, 5.0)

    return persistent


for _name in _PATIENT:
    setattr(SweepStorage, _name, _patiently(getattr(SweepStorage, _name)))


def _is_for_ever(error: BaseException) -> bool:
    told = store.reason(error.__cause__ or error).lower()
    return any(re.search(rf"\b{word}\b", told) for word in FOR_EVER)


def _lost(error: BaseException, uri: str) -> StorageLostError:
    return StorageLostError(
        f"the storage of the sweep cannot be used: {store.reason(error.__cause__ or error)}",
        where=f"storage={store.masked(uri)}",
        remedy="free disk space or bring it back, then give the same command again: it goes on",
    )


def _busy(what: str, where: str) -> StorageLostError:
    return StorageLostError(what, where=where, remedy="stop that process")


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
