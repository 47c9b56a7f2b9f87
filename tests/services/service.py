"""A real server in a process of its own: started, waited for, killed and stopped."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

POLL = 0.02
"""Seconds between two looks whether a server answers."""

LOG_LINES = 30

PORTS = range(20_000, 32_768)
"""Linux gives connections ports from 32768 on, and might give one of them that of a server which is down."""


class ServiceError(Exception):
    """A server could not be had, or did not start."""


class Service(ABC):
    """One server. It keeps its data over `kill` and `start`, and answers once `start` has returned."""

    name: ClassVar[str]
    patience: ClassVar[float] = 30.0
    """Seconds within which it has to answer."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.behind, self.front = self.port, 0
        """The port that a proxy forwards to, and the one at which it has to listen; 0 where any will do."""
        self.given = os.environ.get(f"AATS_TEST_{self.name.upper()}_URL", "")
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @abstractmethod
    def missing(cls) -> str:
        """Say what has to be installed before it can run here; empty where nothing has to."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return what runs it in the foreground; may write its configuration first."""

    @abstractmethod
    def answers(self) -> bool:
        """Ask it once whether it is ready; an `OSError` means that it is not."""

    @abstractmethod
    def address(self, port: int) -> str:
        """Return the URL under which a client reaches it at that loopback port."""

    @property
    def url(self) -> str:
        """The URL of the server: this one, or the one that `AATS_TEST_<NAME>_URL` gives."""
        return self.given or self.address(self.port)

    @property
    def pid(self) -> int:
        """The id of its process."""
        if self._process is None:
            raise ServiceError(f"{self.name} does not run")
        return self._process.pid

    def environment(self) -> Mapping[str, str]:
        """Return what it needs in its environment beside what is there."""
        return {}

    def start(self) -> None:
        """Start it and wait until it answers; raises `ServiceError` with the end of its log where it does not."""
        if self.given or self._process is not None:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait()

    def kill(self) -> None:
        """End it at once, as a crash of its machine would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order, or at once where it takes too long."""
        self._end(signal.SIGTERM)

    @property
    def log(self) -> Path:
        """What the server prints."""
        return self.directory / "server.log"

    def _wait(self) -> None:
        until = time.monotonic() + self.patience
        while True:
            try:
                if self.answers():
                    return
            except OSError:
                pass
            if self._process is None or self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES:])
                raise ServiceError(f"{self.name} did not answer within {self.patience:g} s:\n{tail}")
            time.sleep(POLL)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            os.killpg(process.pid, number)
            process.wait(self.patience)
        except ProcessLookupError:
            process.wait()
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> int:
    """Return a loopback port that nobody listens on, and that no connection is given while a server is down."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
