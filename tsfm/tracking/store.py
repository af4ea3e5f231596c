"""Where runs are kept: the tracking address, checked before anything is trained.

The default is exactly MLflow's own (``sqlite:///mlflow.db`` in the working directory, artifacts
under ``./mlruns``), so that plain ``mlflow ui`` finds every run. Nothing here imports mlflow.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from importlib.metadata import entry_points
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from tsfm.errors import TrackingError

DATABASE, ARTIFACTS = "mlflow.db", "mlruns"
SERVER_SCHEMES = ("http", "https")
DATABASE_SCHEMES = ("postgresql", "mysql", "mssql")
SECONDS_TO_ANSWER = 5
FREE_BYTES_NEEDED = 64 * 2**20

_ELSEWHERE = "set MLFLOW_TRACKING_URI (or the .env file) to a store that can be reached"


def connect(uri: str | None = None) -> str:
    """Choose the tracking store, check that it can be used, and make it MLflow's own choice.

    Parameters
    ----------
    uri
        An address; by default ``MLFLOW_TRACKING_URI`` of the environment or of a ``.env`` file in
        the working directory or above it, else ``mlflow.db`` in the working directory.

    Returns
    -------
    str
        The absolute address, also put into ``MLFLOW_TRACKING_URI`` for child processes.

    Raises
    ------
    TrackingError
        Within seconds, when the address is of an unknown kind, does not answer, or lies on a
        read-only or full disk.
    """
    _read_env_file()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    address = absolute(uri or os.environ.get("MLFLOW_TRACKING_URI") or default_uri())
    check(address)
    os.environ["MLFLOW_TRACKING_URI"] = address
    for noisy in ("mlflow.store.db.utils", "mlflow.models.signature", "mlflow.pyfunc", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if "mlflow" in sys.modules:
        import mlflow

        mlflow.set_tracking_uri(address)
    return address


def default_uri() -> str:
    """MLflow's default in the working directory.

    Raises
    ------
    TrackingError
        When ``mlruns`` holds an old file store: MLflow would then look there instead.
    """
    root = Path.cwd()
    old = [entry for entry in root.glob(f"{ARTIFACTS}/*/meta.yaml") if entry.parent.name.isdigit()]
    if old:
        raise TrackingError(
            "mlruns/ holds an old-style file store, which MLflow would read in place of mlflow.db",
            where=str(old[0].parent.parent),
            remedy="move that folder elsewhere, or migrate it with "
            "`mlflow migrate-filestore`, or set MLFLOW_TRACKING_URI",
        )
    return absolute(f"sqlite:///{DATABASE}")


def absolute(uri: str) -> str:
    """An SQLite address that no longer depends on the working directory; others as they are.

    MLflow writes a path either plainly or percent-encoded; here only ``%`` itself is encoded.
    """
    if not uri.startswith("sqlite:///"):
        return uri.rstrip("/") if uri.startswith(SERVER_SCHEMES) else uri
    address, _, options = uri.removeprefix("sqlite:///").partition("?")
    path = str(Path(unquote(address)).absolute()).replace("%", "%25")
    return f"sqlite:///{path}" + (f"?{options}" if options else "")


def masked(uri: str) -> str:
    """The address without its password."""
    return re.sub(r"(://[^/@:]*):(?:[^?#]*|[^@]*)@", r"\1:***@", uri)


def reason(error: BaseException) -> str:
    """What a database's driver says, in a line, without the statement that failed."""
    cause = getattr(error, "orig", None) or error
    texts = [one for one in cause.args if isinstance(one, str) and one.strip()]
    lines = (texts[-1] if texts else str(cause)).strip().splitlines()
    return lines[0] if lines else type(cause).__name__


def is_server(uri: str) -> bool:
    """Whether a tracking server (rather than a database) stands behind the address."""
    return uri.startswith(SERVER_SCHEMES)


def check(uri: str) -> None:
    """Raise :class:`TrackingError` unless the store answers and can be written to."""
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme == "sqlite":
        _check_sqlite(uri)
    elif scheme in SERVER_SCHEMES:
        _check_server(uri)
    elif scheme in DATABASE_SCHEMES:
        _check_database(uri)
    elif scheme not in _plugin_schemes():
        raise TrackingError(
            f"tracking address of the unknown kind {scheme or 'file'!r}",
            where=f"MLFLOW_TRACKING_URI={masked(uri)}",
            remedy="give sqlite:///path/mlflow.db, postgresql://user@host/database or "
            "http(s)://host:port (file stores are no longer supported by MLflow)",
        )


def probe_directory(directory: Path, *, purpose: str) -> None:
    """Raise :class:`TrackingError` unless a file can be written in ``directory``.

    A directory that does not exist yet stands for its nearest existing parent.
    """
    existing = directory.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(bytes(4096))
        free = shutil.disk_usage(existing).free
    except OSError as error:
        raise TrackingError(
            f"{purpose} cannot be written: {error.strerror or error}",
            where=str(directory),
            remedy=f"make the directory writable, or {_ELSEWHERE}",
        ) from error
    if free < FREE_BYTES_NEEDED:
        raise TrackingError(
            f"the disk for {purpose} is full: {free / 2**20:.0f} MiB are free",
            where=str(directory),
            remedy=f"free at least {FREE_BYTES_NEEDED // 2**20} MiB, or {_ELSEWHERE}",
        )


def _read_env_file() -> None:
    from dotenv import find_dotenv, load_dotenv

    load_dotenv(find_dotenv(usecwd=True), override=False)


def _check_sqlite(uri: str) -> None:
    path = Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0]))
    if not uri.startswith("sqlite:///") or path.name in ("", ":memory:") or path.is_dir():
        raise TrackingError(
            "the SQLite address names no file",
            where=masked(uri),
            remedy="give sqlite:///relative/path.db or sqlite:////absolute/path.db",
        )
    if not path.parent.is_dir():
        raise TrackingError(
            f"the folder {path.parent} does not exist",
            where=masked(uri),
            remedy=f"create it, or {_ELSEWHERE}",
        )
    probe_directory(path.parent, purpose="the tracking database")
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path, timeout=SECONDS_TO_ANSWER)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.rollback()
    except sqlite3.Error as error:
        raise TrackingError(
            f"the tracking database cannot be used: {error}",
            where=str(path),
            remedy=f"make it writable and readable by this user, or {_ELSEWHERE}",
        ) from error


def _check_server(uri: str) -> None:
    request = Request(f"{uri}/health", headers={"User-Agent": "tsfm-lab"})
    try:
        with urlopen(request, timeout=SECONDS_TO_ANSWER):
            return
    except HTTPError as error:
        if error.code in (401, 403):
            return
        problem = f"the tracking server answers {error.code} {error.reason} to {uri}/health"
    except (URLError, OSError, ValueError) as error:
        problem = f"the tracking server does not answer: {getattr(error, 'reason', error)}"
    raise TrackingError(
        problem,
        where=f"MLFLOW_TRACKING_URI={masked(uri)}",
        remedy="start `mlflow server` there, correct the address, or unset MLFLOW_TRACKING_URI "
        "to keep runs in ./mlflow.db",
    )


def _check_database(uri: str) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    options = {} if uri.startswith("mssql") else {"connect_timeout": SECONDS_TO_ANSWER}
    try:
        engine = create_engine(uri, connect_args=options)
        engine.connect().close()
        engine.dispose()
    except (SQLAlchemyError, ImportError, OSError, ValueError) as error:
        raise TrackingError(
            f"the tracking database does not answer: {reason(error)}",
            where=f"MLFLOW_TRACKING_URI={masked(uri)}",
            remedy="start it, correct address and credentials, or unset MLFLOW_TRACKING_URI "
            "to keep runs in ./mlflow.db",
        ) from error


def _plugin_schemes() -> set[str]:
    plugins = {plugin.name for plugin in entry_points(group="mlflow.tracking_store")}
    return {"databricks"} | plugins - {"file-plugin"}
