"""Redis, alone and as a cluster of three."""

from __future__ import annotations

import shutil
import socket

from tests.services.service import Service


class RedisServer(Service):
    """A Redis that syncs its append-only file before it answers, so that what it confirmed outlives kill -9."""

    name = "redis"

    @classmethod
    def missing(cls) -> str:
        """Name the package."""
        return "" if shutil.which("redis-server") else "redis-server is not installed (Debian package redis-server)"

    def command(self) -> list[str]:
        """Run without snapshots, with the append-only file alone."""
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.directory),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
        }
        return ["redis-server", *(word for name, value in options.items() for word in (f"--{name}", value))]

    def answers(self) -> bool:
        """Send a ping; the answer is PONG once the data is loaded."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")

    def address(self, port: int) -> str:
        """Return a URL of its first database."""
        return f"redis://127.0.0.1:{port}/0"
