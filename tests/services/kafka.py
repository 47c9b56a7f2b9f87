"""Kafka, one node that is broker and controller, from the jars that Maven fetches."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from tests.services.jars import fetch_jars, missing_for_java, run
from tests.services.service import Service, free_port

CLUSTER = "MkU3OEVBNTcwNTJENDM2Qk"
USER, PASSWORD = "ada", "correct-horse"
"""Whom the SASL listeners know, by SCRAM-SHA-512."""

NUMBER = 42
FIND_COORDINATOR = struct.pack(">ihhih4sh4s", 20, 10, 0, NUMBER, 4, b"test", 4, b"test")
"""The request for the coordinator of a group: size, kind, version, number, and the names of client and group."""

JAVA = ["java", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN"]


class KafkaServer(Service):
    """A Kafka whose plain listener is at `port`.

    What connects to a Kafka is told by it where to connect next. So a proxy needs a listener of its own: it forwards
    the port `front` to the port `behind`, and the listener there tells its clients of `front`. SASL without TLS is at
    `sasl_port`. Where `tls` names a file with a key and its certificates and one with the authority's, TLS with client
    certificates is at `tls_port`, and SASL over TLS at `sasl_tls_port`.
    """

    name = "kafka"
    patience: ClassVar[float] = 100.0

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.tls: tuple[Path, Path] | None = None
        self.node = 1
        self.controller, self.behind, self.front = free_port(), free_port(), free_port()
        self.sasl_port, self.tls_port, self.sasl_tls_port = free_port(), free_port(), free_port()
        self.quorum = {self.node: self.controller}
        """The ports of all controllers, by node."""
        self.extra: dict[str, object] = {}
        """More of its configuration."""
        self._coordinates = False

    @classmethod
    def missing(cls) -> str:
        """Name what Debian has to give; the jars are fetched when the server first starts."""
        return missing_for_java()

    def command(self) -> list[str]:
        """Write the configuration and format the data directory once, with the user of the SASL listeners."""
        config = self.directory / "server.properties"
        config.write_text("".join(f"{name}={value}\n" for name, value in self.options().items()))
        java = [*JAVA, "-cp", f"{fetch_jars(self.name)}/*"]
        if not (self.directory / "data").exists():
            user = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"
            storage = ["format", "-t", CLUSTER, "-c", str(config), "--add-scram", user]
            run([*java, "kafka.tools.StorageTool", *storage])
        return [*java, "kafka.Kafka", str(config)]

    def options(self) -> Mapping[str, object]:
        """Return the configuration: a replica of everything on each node, quick rebalances, small files."""
        listeners = {"PLAINTEXT": self.port, "PROXIED": self.behind, "SASL_PLAINTEXT": self.sasl_port}
        protocols = {"CONTROLLER": "PLAINTEXT", "PROXIED": "PLAINTEXT"}
        if self.tls:
            listeners |= {"SSL": self.tls_port, "SASL_SSL": self.sasl_tls_port}
        advertised = listeners | {"PROXIED": self.front}
        protocols |= {name: name for name in listeners if name not in protocols}
        return {
            "process.roles": "broker,controller",
            "node.id": self.node,
            "controller.quorum.voters": ",".join(f"{node}@127.0.0.1:{port}" for node, port in self.quorum.items()),
            "controller.listener.names": "CONTROLLER",
            "listeners": _joined({"CONTROLLER": self.controller, **listeners}),
            "advertised.listeners": _joined(advertised),
            "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in protocols.items()),
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "log.dirs": self.directory / "data",
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": 4,
            "offsets.topic.replication.factor": len(self.quorum),
            "transaction.state.log.replication.factor": len(self.quorum),
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": len(self.quorum),
            "share.coordinator.state.topic.min.isr": 1,
            "broker.session.timeout.ms": 2000,
            "broker.heartbeat.interval.ms": 500,
            "group.initial.rebalance.delay.ms": 0,
            "group.coordinator.append.linger.ms": 0,
            "group.min.session.timeout.ms": 500,
            "controller.quorum.fetch.timeout.ms": 1000,
            "controller.quorum.election.timeout.ms": 500,
            "log.index.size.max.bytes": 65536,
            "num.network.threads": 2,
            "num.io.threads": 4,
            **_scram("sasl_plaintext"),
            **(self._tls_options(*self.tls) if self.tls else {}),
            **self.extra,
        }

    def answers(self) -> bool:
        """Ask who coordinates a group; until there is one for the first time, which takes long, it does not answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(FIND_COORDINATOR)
            _, number, code = struct.unpack(">iih", connection.recv(10).ljust(10, b"\xff"))
        self._coordinates |= code == 0
        return self._coordinates and number == NUMBER

    def address(self, port: int) -> str:
        """Return the bootstrap address."""
        return f"127.0.0.1:{port}"

    def _tls_options(self, own: Path, authority: Path) -> dict[str, object]:
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": own,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": authority,
            "listener.name.ssl.ssl.client.auth": "required",
            **_scram("sasl_ssl"),
        }


class KafkaCluster:
    """Several nodes, each broker and controller, that elect leaders among themselves."""

    def __init__(self, directory: Path, size: int = 3) -> None:
        self.nodes = {number: KafkaServer(directory / str(number)) for number in range(1, size + 1)}
        quorum = {number: server.controller for number, server in self.nodes.items()}
        for number, server in self.nodes.items():
            server.node, server.quorum = number, quorum

    @property
    def urls(self) -> list[str]:
        """The bootstrap addresses of all nodes."""
        return [server.url for server in self.nodes.values()]

    def start(self) -> None:
        """Start all nodes at once: none answers before most of them run."""
        fetch_jars(KafkaServer.name)
        with ThreadPoolExecutor() as pool:
            list(pool.map(KafkaServer.start, self.nodes.values()))

    def stop(self) -> None:
        """End all nodes, without the order that would take them long."""
        for server in self.nodes.values():
            server.kill()


def _scram(listener: str) -> dict[str, object]:
    module = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    return {f"listener.name.{listener}.scram-sha-512.sasl.jaas.config": module}


def _joined(listeners: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items())
