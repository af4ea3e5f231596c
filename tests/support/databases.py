"""Database servers of a test's own, each in a folder that is given: started, killed, started anew.

``address`` is that of an empty database; ``with_password`` of the same one by a user whose password
is ``SECRET``.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

SECRET = "s3cret-w0rd"
SECONDS_TO_START = 60


class Server(ABC):
    """What its user says of one; ``port`` is chosen by the system."""

    scheme: str
    package: str

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as chosen:
            chosen.bind(("127.0.0.1", 0))
            self.port = chosen.getsockname()[1]

    @property
    def address(self) -> str:
        return self._address(self.user)

    @property
    def with_password(self) -> str:
        return self._address(f"guarded:{SECRET}")

    @property
    @abstractmethod
    def user(self) -> str:
        """Who needs no password."""

    @abstractmethod
    def start(self) -> None:
        """Until it answers."""

    @abstractmethod
    def stop(self) -> None:
        """At once: connections break, nothing committed is lost."""

    def _address(self, user: str) -> str:
        return f"{self.scheme}://{user}@127.0.0.1:{self.port}/sweeps"

    def _found(self, program: str, places: str) -> str:
        """A program on the path or in Debian's place for it."""
        known = sorted(Path("/usr").glob(f"{places}/{program}"))
        found = shutil.which(program) or (str(known[-1]) if known else None)
        if found is None:
            pytest.skip(f"{program} is not found: install {self.package}")
        return found


class Postgres(Server):
    """PostgreSQL, which refuses to run as root."""

    scheme, package = "postgresql", "postgresql"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.programs = Path(self._found("initdb", "lib/postgresql/*/bin")).resolve().parent
        if os.geteuid() == 0:
            shutil.chown(folder, self.user)
        self._run("initdb", "-D", f"{folder}/data", "-U", self.user, "--auth=trust", "--no-sync")
        rules = folder / "data/pg_hba.conf"
        rules.write_text(f"host all guarded 127.0.0.1/32 password\n{rules.read_text()}")
        self.start()
        guarded = f"CREATE ROLE guarded SUPERUSER LOGIN PASSWORD '{SECRET}'"
        for words in (("CREATE DATABASE sweeps",), (guarded,)):
            self._run("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", self.user,
                      "-d", "postgres", "-c", *words)  # fmt: skip

    @property
    def user(self) -> str:
        return "postgres" if os.geteuid() == 0 else getpass.getuser()

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._control("-l", f"{self.folder}/log", "-o", options, "start")

    def stop(self) -> None:
        self._control("-m", "immediate", "stop")

    def _control(self, *words: str) -> None:
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-w", *words)

    def _run(self, program: str, *words: str) -> None:
        command = [str(self.programs / program), *words]
        if os.geteuid() == 0:
            command = ["runuser", "-u", self.user, "--", *command]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class MariaDB(Server):
    """MariaDB, which stands for MySQL as well."""

    scheme, package = "mysql", "mariadb-server"
    user = "root"  # type: ignore[assignment]

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.program = self._found("mariadbd", "sbin")
        account = "root" if os.geteuid() == 0 else getpass.getuser()
        self.options = [
            "--no-defaults", f"--datadir={folder}/data", f"--user={account}",
            "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M",
            "--innodb-flush-method=nosync", "--sync-frm=0",
        ]  # fmt: skip
        subprocess.run(
            [self._found("mariadb-install-db", "bin"), *self.options, "--skip-test-db",
             "--auth-root-authentication-method=normal"],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        (folder / "first.sql").write_text(
            "CREATE DATABASE IF NOT EXISTS sweeps;\n"
            f"CREATE OR REPLACE USER guarded@'127.0.0.1' IDENTIFIED BY '{SECRET}';\n"
            "GRANT ALL ON sweeps.* TO guarded@'127.0.0.1';\n"
        )
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, *self.options, f"--port={self.port}", "--bind-address=127.0.0.1",
                 f"--socket={self.folder}/socket", f"--pid-file={self.folder}/pid",
                 f"--init-file={self.folder}/first.sql", "--skip-name-resolve",
                 "--innodb-flush-log-at-trx-commit=2"],
                stdout=log, stderr=log,
            )  # fmt: skip
        until = time.monotonic() + SECONDS_TO_START
        while not self._answers():
            told = (self.folder / "log").read_text(errors="replace")
            assert self.process.poll() is None, told
            assert time.monotonic() < until, told
            time.sleep(0.05)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def _answers(self) -> bool:
        with socket.socket() as one:
            one.settimeout(1)
            return one.connect_ex(("127.0.0.1", self.port)) == 0


SERVERS = {"postgresql": Postgres, "mariadb": MariaDB}
