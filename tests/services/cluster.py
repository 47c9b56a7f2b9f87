"""Several servers that are one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.services.service import Service


class Cluster(Service):
    """Three servers that keep the same data; `kill` and `stop` end all of them. It is always one of its own."""

    nodes: Sequence[Service]

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.given = ""

    @abstractmethod
    def leader(self, queue: str) -> Service:
        """Return the server that leads the others in what a queue or stream holds."""

    def command(self) -> list[str]:
        """Nothing runs but the servers."""
        return []

    def start(self) -> None:
        """Start those that do not run, at once: each waits for others."""
        with ThreadPoolExecutor(len(self.nodes)) as threads:
            list(threads.map(lambda node: node.start(), self.nodes))

    def kill(self) -> None:
        """End all at once."""
        for node in self.nodes:
            node.kill()

    def stop(self) -> None:
        """End all in good order."""
        for node in self.nodes:
            node.stop()

    def answers(self) -> bool:
        """Ask all."""
        return all(node.answers() for node in self.nodes)

    def address(self, port: int) -> str:
        """Return the URLs of all, with commas between them."""
        return ",".join(node.url for node in self.nodes)
