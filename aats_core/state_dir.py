"""The state directory of a team: held by one process at a time, marked with the version that wrote it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

from aats_core.errors import StateError, StateLocked, StateTooNew

FORMAT = 1
"""The version of what lies in a state directory; a newer one is not touched."""


class StateDirectory:
    """A context manager that holds a state directory for this process, making it (mode 0700) where there is none.

    Raises `StateLocked` with the pid of the process that holds it, `StateTooNew`, or `StateError` where it cannot be
    written. However this process ends, the directory is free again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def __enter__(self) -> Self:
        """Take hold of the directory."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = self._hold()
            self._check_format()
        except OSError as error:
            self._release()
            raise StateError(f"state directory {self.path}: {error.strerror}; set team.state_dir to another") from error
        except StateError:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the directory go."""
        self._release()

    @property
    def node(self) -> str:
        """The name of this process among all that run the team: made up once, kept in the directory."""
        path = self.path / "node"
        with contextlib.suppress(FileNotFoundError):
            name = path.read_text().strip()
            if name:
                return name
        name = secrets.token_hex(4)
        path.write_text(f"{name}\n")
        return name

    def _hold(self) -> int:
        path = self.path / "team.lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.read(lock, 32).decode(errors="replace").strip()
            os.close(lock)
            raise StateLocked(
                f"state directory {self.path} is held by the team that runs as process {pid or '?'}; "
                "stop that one (`aats drain`), or set team.state_dir to another"
            ) from error
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        return lock

    def _check_format(self) -> None:
        path = self.path / "format"
        try:
            text = path.read_text().strip()
        except FileNotFoundError:
            path.write_text(f"{FORMAT}\n")
            return
        if not text.isdigit():
            raise StateError(f"{path} does not hold a version number; is {self.path} a state directory?")
        if int(text) > FORMAT:
            raise StateTooNew(
                f"state directory {self.path} has format {text}, this version of AATS knows {FORMAT}; "
                "upgrade aats-core, or set team.state_dir to another"
            )

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
