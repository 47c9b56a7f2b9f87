"""NATS with JetStream."""

from __future__ import annotations

import shutil
import socket

from tests.services.service import Service


class NatsServer(Service):
    """A NATS server with JetStream on disk.

    NATS 2.9 writes a message to its file before it confirms it, so that what it confirmed outlives kill -9, and syncs
    the file every two minutes; `sync_interval: always` came with 2.10.
    """

    name = "nats"

    @classmethod
    def missing(cls) -> str:
        """Name the package."""
        return "" if shutil.which("nats-server") else "nats-server is not installed (Debian package nats-server)"

    def command(self) -> list[str]:
        """Write the configuration, and run it."""
        config = self.directory / "nats.conf"
        config.write_text(self.configuration())
        return ["nats-server", "--config", str(config)]

    def configuration(self) -> str:
        """Return what stands in its configuration file."""
        return (
            f"listen: 127.0.0.1:{self.port}\n"
            f'jetstream {{ store_dir: "{self.directory / "jetstream"}", max_file: 10G, max_mem: 1G }}\n'
        )

    def answers(self) -> bool:
        """Ask for the account's JetStream, which answers once the data is loaded."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.settimeout(1)
            connection.sendall(
                b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n'
                b"SUB ready 1\r\nPUB $JS.API.INFO ready 0\r\n\r\nPING\r\n"
            )
            answer = b""
            while b"PONG" not in answer or b"MSG ready" not in answer:
                received = connection.recv(65_536)
                if not received:
                    return False
                answer += received
            return b"account_info_response" in answer

    def address(self, port: int) -> str:
        """Return the URL that its clients take."""
        return f"nats://127.0.0.1:{port}"
