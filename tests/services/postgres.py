"""PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import weakref
from pathlib import Path

from tests.services.service import Service, ServiceError

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
USER = "postgres"
PASSWORD = "secret"
_STARTING_UP = b"57P03"


class PostgresServer(Service):
    """A PostgreSQL with its defaults: what it confirmed outlives kill -9. Its texts do not sort by their bytes."""

    name = "postgres"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        # It does not run as root, and the directories of tests are closed to everyone else.
        self.data = Path(tempfile.mkdtemp(prefix="aats-postgres-"))
        weakref.finalize(self, shutil.rmtree, self.data, ignore_errors=True)

    @classmethod
    def missing(cls) -> str:
        """Name the package."""
        return "" if PROGRAMS else "PostgreSQL is not installed (Debian package postgresql)"

    def command(self) -> list[str]:
        """Make a cluster of databases at the first start."""
        if not (self.data / "PG_VERSION").exists():
            self._init()
        options = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
        }
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return [*_as_user(), str(PROGRAMS[-1] / "postgres"), "-D", str(self.data), *settings]

    def _init(self) -> None:
        secret = self.data.with_suffix(".password")
        secret.write_text(PASSWORD)
        if _as_user():
            for path in (self.data, secret):
                shutil.chown(path, USER, USER)
        try:
            options = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={secret}", "--encoding=UTF8"]
            options += ["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"]
            command = [*_as_user(), str(PROGRAMS[-1] / "initdb"), "-D", str(self.data), *options]
            done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
        finally:
            secret.unlink()
        if done.returncode:
            raise ServiceError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def answers(self) -> bool:
        """Ask for a session: it answers, be it with a refusal, unless it still starts up or recovers."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(_startup(user=USER, database="postgres"))
            answer = connection.recv(1024)
            return bool(answer) and _STARTING_UP not in answer

    def address(self, port: int) -> str:
        """Return the URL of its first database."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"

    def kill(self) -> None:
        """End it and all its sessions at once; these are no part of its process group."""
        sessions = _children(self.pid) if self._process is not None else []
        super().kill()
        for pid in sessions:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def stop(self) -> None:
        """End it in good order, without waiting for its clients."""
        self._end(signal.SIGINT)


class PostgresReplica(PostgresServer):
    """A hot standby that follows another server, from a copy of it that the first start makes."""

    def __init__(self, directory: Path, primary: PostgresServer) -> None:
        super().__init__(directory)
        self._primary = primary

    def _init(self) -> None:
        if _as_user():
            shutil.chown(self.data, USER, USER)
        program = str(PROGRAMS[-1] / "pg_basebackup")
        options = ["-D", str(self.data), "-R", "-X", "stream", "-c", "fast", "-d", self._primary.url]
        done = subprocess.run([*_as_user(), program, *options], cwd="/", capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceError(f"pg_basebackup failed:\n{done.stdout}{done.stderr}")


def _as_user() -> list[str]:
    if os.getuid() != 0:
        return []
    entry = pwd.getpwnam(USER)
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]


def _startup(**parameters: str) -> bytes:
    words = [word for pair in parameters.items() for word in pair]
    body = struct.pack("!i", 196608) + b"".join(word.encode() + b"\0" for word in words) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


def _children(pid: int) -> list[int]:
    listings = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for listing in listings for child in listing.read_text().split()]
