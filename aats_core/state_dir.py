"""The state directory of a team: held by one process at a time, marked with the version that wrote it."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

from aats_core.errors import StateError, StateLocked, StateTooNew

FORMAT = 1
"""The version of what lies in a state directory; a newer one is not touched."""


_FORMAT_FILE = "format"


class StateDirectory:
    """A context manager that holds a state directory for this process, making it (mode 0700) where there is none.

    Raises `StateLocked` with the pid of the process that holds it, `StateTooNew`, or `StateError` where it cannot be
    written. However this process ends, the directory is free again. `node` is the name of this process among all
    that run the team: made up once, kept in the directory.
    """

    node: str

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def __enter__(self) -> Self:
        """Take hold of the directory."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._hold()
            if not check_format(self.path):
                _write(self.path / _FORMAT_FILE, str(FORMAT))
            self.node = self._name_node()
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

    def _name_node(self) -> str:
        path = self.path / "node"
        name = _read(path)
        if not name:
            name = secrets.token_hex(4)
            _write(path, name)
        return name

    def _hold(self) -> None:
        lock = self._lock = os.open(self.path / "team.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.read(lock, 32).decode(errors="replace").strip()
            raise StateLocked(
                f"state directory {self.path} is held by process {pid or '?'}, a running team or a command on its "
                "stores; stop it (a team by `aats drain`), or set team.state_dir to another"
            ) from error
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def check_format(state_dir: Path) -> bool:
    """Tell whether a state directory says which version wrote it, and that this one may use it; changes nothing.

    Raises `StateTooNew` where a newer version wrote it, and `StateError` where it says something else.
    """
    path = state_dir / _FORMAT_FILE
    text = _read(path)
    if not text:
        return False
    if not (text.isascii() and text.isdecimal()):
        raise StateError(f"{path} does not hold a version number; is {state_dir} a state directory?")
    if int(text) > FORMAT:
        raise StateTooNew(
            f"state directory {state_dir} has format {text}, this version of AATS knows {FORMAT}; "
            "upgrade aats-core, or set team.state_dir to another"
        )
    return True


def _read(path: Path) -> str:
    """Return what a file holds: nothing where there is none."""
    try:
        return path.read_text(errors="replace").strip()
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    """Write a file so that it is there as a whole or not at all, wherever a crash or a full disk ends this."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.write_text(f"{text}\n")
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
