"""Several servers that are one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.services.service import POLL, Service, ServiceError


class Cluster(Service):
    """Three servers that are one; `kill` and `stop` end all of them. It is always one of its own."""

    nodes: Sequence[Service]

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.given = ""
        self._formed = False

    def form(self) -> None:
        """Make one of the servers, which run for the first time."""

    def command(self) -> list[str]:
        """Nothing runs but the servers."""
        return []

    def start(self) -> None:
        """Start those that do not run, at once as each waits for others, and wait until they agree."""
        with ThreadPoolExecutor(len(self.nodes)) as threads:
            list(threads.map(lambda node: node.start(), self.nodes))
        if not self._formed:
            self.form()
            self._formed = True
        until = time.monotonic() + self.patience
        while not self._agrees():
            if time.monotonic() > until:
                raise ServiceError(f"{self.name} did not agree within {self.patience:g} s")
            time.sleep(POLL)

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

    def _agrees(self) -> bool:
        try:
            return self.answers()
        except OSError:
            return False
