"""Locks that a database server keeps for a connection, and frees when that is gone."""

from __future__ import annotations

import hashlib
import math
import time
from contextlib import suppress

import sqlalchemy

from sweeps.servers import SECONDS_IDLE
from tsfm.errors import TrackingError

_ACQUIRE = {
    "postgresql": "SELECT pg_advisory_lock(:key) IS NOT NULL",
    "mysql": "SELECT GET_LOCK(:key, :seconds)",
}
_RELEASE = {
    "postgresql": "SELECT pg_advisory_unlock(:key)",
    "mysql": "SELECT RELEASE_LOCK(:key)",
}
_HELD = {
    "postgresql": "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND granted "
    "AND pid = pg_backend_pid() AND (classid::bigint << 32 | objid::bigint) = :key",
    "mysql": "SELECT IS_USED_LOCK(:key) = CONNECTION_ID()",
}
_LOCK_NOT_AVAILABLE = "55P03"
SECONDS_ASKED = 60.0
"""For which the server lets one question wait: less than a connection may be silent."""


class LockLostError(TrackingError):
    """The connection that held a lock broke: another process may have it."""


class LockBusyError(TrackingError):
    """Another process held a lock all the time."""


class ServerLock:
    """One lock of a connection of its own.

    Parameters
    ----------
    connection
        To a database; no transaction is open on it. Closed by :meth:`release`.
    name
        Two names of one database never mean the same lock (but with a chance of 2**-56); neither do
        those of two databases.
    """

    def __init__(self, connection: sqlalchemy.Connection, name: str) -> None:
        self.connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        self.kind = connection.engine.name
        text = f"{connection.engine.url.database}/{name}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
        self.key = number if self.kind == "postgresql" else f"tsfm-{number}"

    def acquire(self, seconds: float) -> None:
        """Wait for it; held, it outlasts so long a silence of this connection.

        Raises
        ------
        LockBusyError
            When another process has it for so long.
        sqlalchemy.exc.SQLAlchemyError
            When the connection breaks, or the server cannot give locks.
        """
        if self.kind == "mysql":
            silence = sqlalchemy.text("SET SESSION wait_timeout = :seconds")
            self.connection.execute(silence, {"seconds": max(SECONDS_IDLE, math.ceil(seconds))})
        until = time.monotonic() + seconds
        while not self._given(min(SECONDS_ASKED, max(until - time.monotonic(), 0.001))):
            if time.monotonic() >= until:
                raise LockBusyError(f"the lock is held by another process for {seconds:g} s")

    def _given(self, seconds: float) -> bool:
        """PostgreSQL waits for ever where the limit is 0, MySQL as it rounds."""
        if self.kind == "postgresql":
            limit = sqlalchemy.text("SELECT set_config('lock_timeout', :limit, false)")
            self.connection.execute(limit, {"limit": f"{math.ceil(seconds * 1000)}"})
        try:
            given = self._asked(_ACQUIRE, seconds=seconds)
        except sqlalchemy.exc.OperationalError as error:
            if getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
                return False
            raise
        if given is None:
            refused = RuntimeError("the server gives no lock")
            raise sqlalchemy.exc.OperationalError(_ACQUIRE[self.kind], {}, refused)
        return bool(given)

    def is_held(self) -> bool:
        """Whether it is still this connection's."""
        if self.connection.invalidated:
            return False
        try:
            return bool(self._asked(_HELD))
        except sqlalchemy.exc.SQLAlchemyError:
            return False

    def release(self) -> bool:
        """Free it, and close the connection; whether it was held to this moment."""
        was_held = False
        if not self.connection.invalidated:
            with suppress(sqlalchemy.exc.SQLAlchemyError):
                was_held = bool(self._asked(_RELEASE))
        self.close(is_sound=was_held)
        return was_held

    def close(self, *, is_sound: bool) -> None:
        """Give the connection back to its pool, or end it, since it may still wait or hold."""
        with suppress(sqlalchemy.exc.SQLAlchemyError):
            if not is_sound:
                self.connection.invalidate()
            self.connection.close()

    def _asked(self, texts: dict[str, str], **values: float) -> object:
        text = sqlalchemy.text(texts[self.kind])
        return self.connection.execute(text, {"key": self.key, **values}).scalar()
