"""NATS with JetStream."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from tests.services.cluster import Cluster
from tests.services.service import Service, free_port


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
        return b"account_info_response" in self.ask("$JS.API.INFO")

    def ask(self, subject: str) -> bytes:
        """Return what comes when something is asked of JetStream; raises `TimeoutError` where nothing does."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.settimeout(1)
            connection.sendall(
                b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n'
                b"SUB ready 1\r\nPUB %b ready 0\r\n\r\nPING\r\n" % subject.encode()
            )
            answer = b""
            while b"PONG" not in answer or b"MSG ready" not in answer:
                received = connection.recv(65_536)
                if not received:
                    break
                answer += received
            return answer

    def address(self, port: int) -> str:
        """Return the URL that its clients take."""
        return f"nats://127.0.0.1:{port}"


class NatsNode(NatsServer):
    """One server of a cluster."""

    def __init__(self, directory: Path, ports: Sequence[int], number: int) -> None:
        super().__init__(directory)
        self.given = ""
        self.called = f"n{number}"
        self._peer_port = ports[number]
        self._peers = ", ".join(f"nats://127.0.0.1:{port}" for port in ports)

    def configuration(self) -> str:
        """Add where the others are."""
        return (
            f"{super().configuration()}"
            f"server_name: {self.called}\n"
            f"cluster {{ name: aats, listen: 127.0.0.1:{self._peer_port}, routes: [{self._peers}] }}\n"
        )


class NatsCluster(Cluster):
    """Three NATS servers; a stream with three replicas is on all of them."""

    name = "nats_cluster"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        ports = [free_port() for _ in range(3)]
        self.nodes: list[NatsNode] = [NatsNode(directory / str(number), ports, number) for number in range(3)]

    @classmethod
    def missing(cls) -> str:
        """Name the package."""
        return NatsServer.missing()

    def leader(self, queue: str) -> NatsNode:
        """Ask any server for the leader of a stream."""
        answer = b""
        for node in self.nodes:
            answer = node.ask(f"$JS.API.STREAM.INFO.{queue}")
            if found := re.search(rb'"leader":\s*"(\w+)"', answer):
                return next(node for node in self.nodes if node.called == found[1].decode())
        raise AssertionError(f"nobody leads {queue}: {answer!r}")
