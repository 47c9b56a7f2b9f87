"""Redis, alone and as a cluster, with and without replicas."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from typing import ClassVar

from tests.services.cluster import Cluster
from tests.services.service import Service, free_port


class RedisServer(Service):
    """A Redis that syncs its append-only file before it answers, so that what it confirmed outlives kill -9."""

    name = "redis"

    def __init__(self, directory: Path, **options: str) -> None:
        super().__init__(directory)
        self.options = {name.replace("_", "-"): value for name, value in options.items()}

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
            "repl-diskless-sync-delay": "0",
            **self.options,
        }
        return ["redis-server", *(word for name, value in options.items() for word in (f"--{name}", value))]

    def answers(self) -> bool:
        """Send a ping; the answer is PONG once the data is loaded, or that a password is wanted first."""
        return self.ask("PING").startswith((b"+PONG", b"-NOAUTH"))

    def ask(self, command: str) -> bytes:
        """Return the answer to a command as it comes over the wire, or the beginning of a long one."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(4096)

    def address(self, port: int) -> str:
        """Return a URL of its first database."""
        return f"redis://127.0.0.1:{port}/0"


class RedisNode(RedisServer):
    """One server of a cluster."""

    def __init__(self, directory: Path) -> None:
        self.bus = free_port()
        super().__init__(directory, cluster_enabled="yes", cluster_port=str(self.bus), cluster_node_timeout="2000")
        self.given = ""


class RedisCluster(Cluster):
    """Three masters that share the keys; `kill` and `stop` end all servers.

    It is always one of its own, as tests change what its nodes announce.
    """

    name = "redis_cluster"
    replicas: ClassVar[int] = 0
    """How many each master has."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        count = 3 * (1 + self.replicas)
        self.nodes: list[RedisNode] = [RedisNode(directory / str(number)) for number in range(count)]

    @classmethod
    def missing(cls) -> str:
        """Name the package."""
        return RedisServer.missing()

    def form(self) -> None:
        """Share the keys out."""
        addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
        words = ["redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", str(self.replicas)]
        subprocess.run([*words, "--cluster-yes"], check=True, capture_output=True, timeout=self.patience)

    def answers(self) -> bool:
        """Ask every server whether all keys have one, and whether it is a replica that lacks something."""
        return all(
            b"cluster_state:ok" in node.ask("CLUSTER INFO")
            and b"master_link_status:down" not in node.ask("INFO replication")
            for node in self.nodes
        )

    def address(self, port: int) -> str:
        """Return the URL of one of its servers."""
        return self.nodes[0].url

    def leader(self, namespace: str) -> RedisNode:
        """Return the master that holds the keys of a team: the others point on to it."""
        return next(node for node in self.nodes if node.ask(f"EXISTS aats:{{{namespace}}}:").startswith(b":"))


class ReplicatedRedisCluster(RedisCluster):
    """Three masters, each with a replica that takes over when its master is not heard of for two seconds."""

    name = "redis_replicated"
    replicas = 1

    def address(self, port: int) -> str:
        """Return the URLs of all, as any may be gone."""
        return ",".join(node.url for node in self.nodes)


class TwiceReplicatedRedisCluster(ReplicatedRedisCluster):
    """Three masters, each with two replicas, of which one is left where the other takes over."""

    name = "redis_twice_replicated"
    replicas = 2
