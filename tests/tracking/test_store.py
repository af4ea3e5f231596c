import errno
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from urllib.parse import unquote

import pytest
from mlflow.utils.file_utils import path_to_local_sqlite_uri

from tsfm.errors import TrackingError
from tsfm.tracking import store

pytestmark = pytest.mark.usefixtures("home")

Usage = namedtuple("Usage", "total used free")


def test_default_is_the_one_of_mlflow(home):
    import mlflow

    mlflow.set_tracking_uri(None)
    theirs = mlflow.get_tracking_uri()
    assert store.connect() == theirs == f"sqlite:///{home / 'mlflow.db'}"
    mlflow.set_tracking_uri(None)


@pytest.mark.parametrize("name", ["a fresh copy", "100% sure", "ünïcode"])
def test_any_folder_name_leads_to_the_database_of_plain_mlflow(home, monkeypatch, name):
    from sqlalchemy.engine import make_url

    (home / name).mkdir()
    monkeypatch.chdir(home / name)
    ours = store.connect()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    theirs = store.connect(path_to_local_sqlite_uri(home / name / "mlflow.db"))
    assert ours == theirs
    assert unquote(make_url(ours).database) == str(home / name / "mlflow.db")


def test_choosing_a_store_leaves_no_file_behind(home):
    store.connect()
    assert list(home.iterdir()) == []


def test_an_old_file_store_is_refused_where_mlflow_would_switch_to_it(home):
    (home / "mlruns" / "0").mkdir(parents=True)
    (home / "mlruns" / "0" / "meta.yaml").write_text("")
    with pytest.raises(TrackingError, match=r"old-style file store.*mlruns.*[Mm]ove"):
        store.connect()


def test_environment_overrides_the_default_and_reaches_child_processes(home, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    assert store.connect() == f"sqlite:///{home / 'other.db'}"
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{home / 'other.db'}"


def test_env_file_is_read_but_the_environment_wins(home, monkeypatch):
    (home / ".env").write_text("MLFLOW_TRACKING_URI=sqlite:///from_file.db\n")
    assert store.connect().endswith("from_file.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///from_environment.db")
    assert store.connect().endswith("from_environment.db")


def test_connecting_does_not_import_mlflow(home):
    program = (
        "import sys; from tsfm.tracking import store, runs, registry, reaper, environment;"
        "store.connect(); assert not {'mlflow', 'torch'} & set(sys.modules)"
    )
    root = str(store.Path(store.__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=home)


@pytest.mark.parametrize(
    "uri",
    ["redis://localhost/0", "./mlruns", "file:///tmp/mlruns", "sqlite://", "sqlite:///:memory:"],
)
def test_unusable_kinds_of_address_are_refused(home, uri):
    with pytest.raises(TrackingError) as caught:
        store.connect(uri)
    assert caught.value.remedy
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:{port}", "postgresql://user:secret@127.0.0.1:{port}/mlflow"]
)
def test_nothing_listening_is_told_at_once_without_the_password(uri):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = uri.format(port=free.getsockname()[1])
    began = time.monotonic()
    with pytest.raises(TrackingError, match=r"does not answer") as caught:
        store.connect(address)
    assert time.monotonic() - began < 5
    assert address.split("@")[-1] in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "unset MLFLOW_TRACKING_URI" in str(caught.value)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:{port}", "postgresql://127.0.0.1:{port}/db"])
def test_a_server_that_never_answers_is_given_up(monkeypatch, uri):
    monkeypatch.setattr(store, "SECONDS_TO_ANSWER", 2)
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TrackingError):
        store.connect(uri.format(port=silent.getsockname()[1]))
    assert time.monotonic() - began < 10


def test_a_missing_folder_is_named(home):
    with pytest.raises(TrackingError, match="nowhere does not exist"):
        store.connect(f"sqlite:///{home}/nowhere/mlflow.db")


def test_a_file_that_is_no_database_is_refused(home):
    (home / "mlflow.db").write_bytes(b"x" * 5000)
    with pytest.raises(TrackingError, match="not a database"):
        store.connect()


def test_a_database_that_another_process_keeps_locked_is_refused(home, monkeypatch):
    monkeypatch.setattr(store, "SECONDS_TO_ANSWER", 0.05)
    other = sqlite3.connect(home / "mlflow.db")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(TrackingError, match="locked"):
        store.connect()
    other.close()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no read-only directory at hand")
def test_a_read_only_folder_is_refused():
    with pytest.raises(TrackingError, match=r"cannot be written.*Make the directory writable"):
        store.connect("sqlite:////proc/mlflow.db")


def test_a_full_disk_is_refused(monkeypatch):
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 10**6))
    with pytest.raises(TrackingError, match=r"full: 1 MiB"):
        store.connect()


def test_a_write_that_fails_is_refused(monkeypatch):
    def full(**_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(TrackingError, match="No space left on device"):
        store.connect()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://me:pass@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("mysql://me:p/a@ss@host/db?ssl=1", "mysql://me:***@host/db?ssl=1"),
        ("mysql://me:p?a#ss@host/db?ssl=a@b", "mysql://me:***@host/db?ssl=a@b"),
        ("https://host/path", "https://host/path"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
    ],
)
def test_passwords_are_masked(uri, shown):
    assert store.masked(uri) == shown
