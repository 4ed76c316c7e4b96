"""A PostgreSQL server of the tests' own: made, started, stopped and restarted for real."""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

USER = "searcher"
_PROGRAMS = ("initdb", "pg_ctl", "postgres", "psql")


class PostgresServer:
    """A server with a password; it belongs to an unprivileged user.

    Args:
        programs: where they are.
        folder: of its data.
        account: the user; None: ours.
        address: that it listens on, at a free port.
        clients: addresses that may connect besides those of its own host.
        prefix: what runs a command on its host, if that is not this one.
    """

    def __init__(
        self,
        programs: Path,
        folder: Path,
        account: str | None,
        *,
        address: str = "127.0.0.1",
        clients: str = "",
        prefix: Sequence[str] = (),
    ) -> None:
        self._programs = programs
        self._prefix = list(prefix)
        self.address = address
        self._account = account
        self._data = folder / "data"
        self.sockets = folder / "sockets"
        self.password = secrets.token_hex(8)
        self.port = free_port()
        self._databases = 0
        self.sockets.mkdir()
        secret = folder / "password"
        secret.write_text(self.password)
        if account is not None:
            for path in (folder, self.sockets, secret):
                shutil.chown(path, account)
        self._run(
            *("initdb", "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C"),
            *(f"--username={USER}", f"--pwfile={secret}", str(self._data)),
        )
        settings = [
            f"listen_addresses = '{address}'",
            f"port = {self.port}",
            f"unix_socket_directories = '{self.sockets}'",
            "fsync = off",  # the machine does not lose its power
            "shared_buffers = 16MB",
            "max_connections = 40",
        ]
        with (self._data / "postgresql.conf").open("a") as file:
            file.write("\n".join(settings) + "\n")
        if clients:
            with (self._data / "pg_hba.conf").open("a") as file:
                file.write(f"host all {USER} {clients} scram-sha-256\n")

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        return int((self._data / "postmaster.pid").read_text().splitlines()[0])

    def start(self) -> None:
        """Returns when it answers."""
        self._run("pg_ctl", "start", "-w", "-D", str(self._data), "-l", str(self._data / "log"))

    def stop(self, mode: str = "fast") -> None:
        """'fast' ends connections in order; 'immediate' is a crash."""
        self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", str(self._data))

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def url(self, database: str, *, port: int | None = None, password: str | None = None) -> str:
        secret = self.password if password is None else password
        return f"postgresql://{USER}:{secret}@{self.address}:{port or self.port}/{database}"

    def socket_url(self, database: str) -> str:
        """Through the file system, which hosts may share."""
        return (
            f"postgresql://{USER}:{self.password}@/{database}?host={self.sockets}&port={self.port}"
        )

    def new_database(self) -> str:
        """Its name."""
        self._databases += 1
        name = f"studies{self._databases}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def execute(self, command: str, database: str = "postgres") -> str:
        """What psql prints."""
        return self._run(
            *("psql", "--no-psqlrc", "--tuples-only", "--no-align"),
            *("--command", command, "--dbname", self.socket_url(database)),
        )

    def _run(self, program: str, *arguments: str) -> str:
        become = [] if self._account is None else _become(self._account)
        done = subprocess.run(
            [*self._prefix, *become, str(self._programs / program), *arguments],
            check=False,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            # The server keeps what it inherits: a pipe would never end.
            stdout=subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE,
            stderr=subprocess.DEVNULL if program == "pg_ctl" else subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            log = self._data / "log"
            tail = log.read_text()[-2000:] if log.exists() else ""
            raise RuntimeError(f"{program} failed ({done.returncode}): {done.stdout}{tail}")
        return done.stdout or ""


@contextmanager
def postgres_server(**options: Any) -> Iterator[PostgresServer]:
    """A running server; the test is skipped where there is none to run.

    Args:
        options: see PostgresServer.
    """
    pytest.importorskip("psycopg", reason="needs psycopg (pip install 'layersearch[postgres]')")
    programs = find_programs()
    if programs is None:
        pytest.skip("needs a PostgreSQL server's programs (apt-get install postgresql)")
    account = None
    if os.geteuid() == 0:
        account = next(filter(_exists, ("postgres", "nobody")), None)
        if account is None:
            pytest.skip("needs an unprivileged user to run PostgreSQL as")
    # Not under pytest's own folder: the unprivileged user may not enter that.
    folder = Path(tempfile.mkdtemp(prefix="layersearch-pg-", dir="/tmp"))
    server = PostgresServer(programs, folder, account, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def _become(account: str) -> list[str]:
    """What runs a command as another user; entering another host's namespaces takes root."""
    user = pwd.getpwnam(account)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def find_programs() -> Path | None:
    """The folder of initdb, pg_ctl and postgres; None: there is none."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("pg_ctl")
    folders = [*([Path(found).resolve().parent] if found else []), *installed]
    for folder in folders:
        if all((folder / program).exists() for program in _PROGRAMS):
            return folder
    return None


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _exists(account: str) -> bool:
    try:
        pwd.getpwnam(account)
    except KeyError:
        return False
    return True
