"""Where effects are noted, outside of every broker: one line each, on disk before the next."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Ledger:
    """An append-only file of effects that several processes write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: set[str] = set()
        self._read = 0
        path.touch()

    def once(self, effect: str) -> bool:
        """Note an effect unless some process has noted it already; tells whether it was new."""
        with self.path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._catch_up(file.fileno())
            if effect in self._known:
                return False
            file.seek(0, os.SEEK_END)
            file.write(f"{effect}\n".encode())
            file.flush()
            os.fsync(file.fileno())
            return True

    def add(self, line: str) -> None:
        """Note something, be it for the first time or again."""
        with self.path.open("ab") as file:
            file.write(f"{line}\n".encode())

    def lines(self) -> list[str]:
        """Return everything that was noted."""
        return self.path.read_text().splitlines()

    def _catch_up(self, file: int) -> None:
        new = os.pread(file, os.fstat(file).st_size - self._read, self._read)
        self._read += len(new)
        self._known.update(new.decode().splitlines())
