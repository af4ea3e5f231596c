"""PostgreSQL and MySQL as storages of studies: how they are reached, and made to be alike."""

from __future__ import annotations

import functools
import re
from typing import Any

import sqlalchemy
from sqlalchemy.dialects import mysql

from tsfm.errors import ConfigError

DRIVERS = {
    "postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mysql+pymysql",
}  # fmt: skip
EXTRAS = {"pymysql": "tsfm-lab[mysql]"}
SECONDS_TO_CONNECT = 5
SECONDS_TO_ANSWER = 180
"""After which a server that says nothing is taken for gone; longer than any lock is waited for."""

SECONDS_IDLE = 600
"""After which a server drops a silent connection, and with it the locks of a dead machine."""

_REACHING: dict[str, dict[str, Any]] = {
    "postgresql+psycopg": {
        "connect_timeout": SECONDS_TO_CONNECT, "keepalives_idle": 30, "keepalives_interval": 10,
        "keepalives_count": 3, "tcp_user_timeout": 60_000,
    },
    "mysql+pymysql": {
        "connect_timeout": SECONDS_TO_CONNECT, "read_timeout": SECONDS_TO_ANSWER,
        "write_timeout": SECONDS_TO_ANSWER, "charset": "utf8mb4",
    },
}  # fmt: skip
_SESSION = {
    "postgresql": "SET TIME ZONE 'UTC'; SET tcp_keepalives_idle = 30; "
    "SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3",
    "mysql": "SET SESSION time_zone = '+00:00', "
    "sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'), "
    f"wait_timeout = {SECONDS_IDLE}",
}


def driven(uri: str) -> str:
    """The address with the driver that this project installs, where none is named."""
    scheme, colon, rest = uri.partition(":")
    if scheme.startswith("mariadb+"):  # Optuna knows the dialect by MySQL's name only
        scheme = scheme.replace("mariadb", "mysql")
    return f"{DRIVERS.get(scheme, scheme)}{colon}{rest}"


def engine_options(address: str) -> dict[str, Any]:
    """What ``sqlalchemy.create_engine`` is to be given with a server's ``driven`` address.

    Every statement sees what others have committed (MySQL's default shows a transaction the past),
    and a server that vanished is noticed.
    """
    reaching = _REACHING.get(address.partition(":")[0], {})
    return {
        "pool_pre_ping": True,
        "isolation_level": "READ COMMITTED",
        "connect_args": dict(reaching),
    }


def prepare_sessions(engine: sqlalchemy.Engine) -> None:
    """Make every connection keep times in UTC, cut no text short and die with its machine.

    Heartbeats are compared as the server tells the time: in local time, all would be an hour old at
    the end of summer time.
    """
    statement = _SESSION[engine.name]

    def prepare(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)
        connection.commit()

    sqlalchemy.event.listen(engine, "connect", prepare)
    engine.dispose()


@functools.cache
def widen_tables() -> None:
    """Let MySQL's tables hold what PostgreSQL's do, when they are made.

    Its own text ends at 64 KiB, its times at whole seconds, and names that differ in case only (two
    parameters, two studies) would be the same.
    """
    from optuna.storages._rdb.models import BaseModel

    long_text, exact_time = mysql.MEDIUMTEXT(), mysql.DATETIME(fsp=6)
    for table in BaseModel.metadata.tables.values():
        table.kwargs["mysql_charset"] = "utf8mb4"
        table.kwargs["mysql_collate"] = "utf8mb4_bin"
        for column in table.columns:
            if type(column.type) is sqlalchemy.Text:
                column.type = sqlalchemy.Text().with_variant(long_text, "mysql")
            elif type(column.type) is sqlalchemy.DateTime:
                column.type = sqlalchemy.DateTime().with_variant(exact_time, "mysql")


def missing_driver(error: ImportError) -> ConfigError:
    """What to install for a database's address."""
    name = error.name or (re.findall(r"'(\w+)'", str(error)) or ["its driver"])[0]
    return ConfigError(
        f"the storage needs the package {name}",
        remedy=f"pip install '{EXTRAS.get(name, name)}'",
    )
