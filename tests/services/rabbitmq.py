"""RabbitMQ, one node."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tests.services.cluster import Cluster
from tests.services.service import Service, free_port

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
METHOD_FRAME = b"\x01"
SCRIPTS = "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"


class RabbitServer(Service):
    """A RabbitMQ with the virtual host `aats`, which belongs to the user `aats` with the password `secret`.

    It is run by the scripts of RabbitMQ itself: those that Debian puts before them change the user. It has a port
    mapper of its own, in its process group, so that nothing of it outlives it.
    """

    name = "rabbitmq"
    patience = 60.0
    user: ClassVar[str] = "aats"
    password: ClassVar[str] = "secret"
    listener: ClassVar[str] = "tcp"
    extra: str = ""
    """More lines of its configuration."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._mapper_port = free_port()
        self._peer_port = free_port()

    @classmethod
    def missing(cls) -> str:
        """Name the package."""
        if cls.script() and shutil.which("epmd"):
            return ""
        return "rabbitmq-server is not installed (Debian package rabbitmq-server)"

    def command(self) -> list[str]:
        """Write the configuration, and run without plugins."""
        (self.directory / "plugins").write_text("[].\n")
        (self.directory / "rabbitmq.conf").write_text(
            f"listeners.{self.listener}.1 = 127.0.0.1:{self.port}\n"
            f"default_vhost = aats\ndefault_user = {self.user}\ndefault_pass = {self.password}\n"
            f"disk_free_limit.absolute = 50MB\n{self.extra}"
        )
        return ["sh", "-c", 'epmd & exec "$0"', self.script()]

    @property
    def node(self) -> str:
        """What its peers call it."""
        return f"aats-{self.port}@localhost"

    def environment(self) -> Mapping[str, str]:
        """Return the places of its data, and the ports on which its parts find each other."""
        own = str(self.directory)
        return {
            "HOME": own,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "RABBITMQ_DIST_PORT": str(self._peer_port),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": f"{own}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{own}/plugins",
            "RABBITMQ_MNESIA_BASE": f"{own}/mnesia",
            "RABBITMQ_LOG_BASE": f"{own}/log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
        }

    def answers(self) -> bool:
        """Offer to speak AMQP; the answer is the first method of its handshake."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(PROTOCOL_HEADER)
            return connection.recv(1) == METHOD_FRAME

    def address(self, port: int) -> str:
        """Return the address of its listener; user and password are settings of their own."""
        return f"amqp://127.0.0.1:{port}"

    @staticmethod
    def script() -> str:
        """Return the path of what runs it."""
        root = Path("/")
        return next((str(path) for path in root.glob(SCRIPTS.lstrip("/"))), "")


class RabbitNode(RabbitServer):
    """One server of a cluster, whose port mapper is the cluster's."""

    patience = 180.0

    def __init__(self, directory: Path, mapper_port: int) -> None:
        super().__init__(directory)
        self.given = ""
        self._mapper_port = mapper_port

    def join(self, peers: list[str]) -> None:
        """Tell it who the others are, and the cookie by which they know each other."""
        discovery = "cluster_formation"
        lines = [f"{discovery}.peer_discovery_backend = classic_config"]
        lines += [f"{discovery}.classic_config.nodes.{number} = {peer}" for number, peer in enumerate(peers, 1)]
        self.extra = "\n".join([*lines, ""])
        cookie = self.directory / ".erlang.cookie"
        cookie.write_text("AATS")
        cookie.chmod(0o400)

    def command(self) -> list[str]:
        """Run it alone."""
        super().command()
        return [self.script()]


class RabbitCluster(Cluster):
    """Three nodes of RabbitMQ; a quorum queue is on all of them."""

    name = "rabbitmq_cluster"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._mapper_port = free_port()
        self._mapper: subprocess.Popen[bytes] | None = None
        self.nodes: list[RabbitNode] = [RabbitNode(directory / str(number), self._mapper_port) for number in range(3)]
        for node in self.nodes:
            node.join([peer.node for peer in self.nodes])

    @classmethod
    def missing(cls) -> str:
        """Name the package."""
        return RabbitServer.missing()

    def start(self) -> None:
        """Start the port mapper first."""
        if self._mapper is None:
            environment = {"ERL_EPMD_ADDRESS": "127.0.0.1", "ERL_EPMD_PORT": str(self._mapper_port)}
            self._mapper = subprocess.Popen(["epmd"], env={**os.environ, **environment}, start_new_session=True)
        super().start()

    def stop(self) -> None:
        """End the port mapper last."""
        super().stop()
        mapper, self._mapper = self._mapper, None
        if mapper is not None:
            os.killpg(mapper.pid, signal.SIGTERM)
            mapper.wait()

    def leader(self, queue: str) -> RabbitNode:
        """Return the node that clients try first: who declares a queue leads it, as long as it lives."""
        return self.nodes[0]
