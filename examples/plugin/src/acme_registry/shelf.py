"""The registry itself: a folder in which a name, once taken, stands for the same content for good."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import msgspec


class Taken(Exception):
    """The name stands for another content already."""


class Entry(msgspec.Struct, frozen=True):
    """A file in the registry."""

    name: str
    sha256: str
    size: int


class Shelf:
    """The files in one folder; every method blocks, so agents call it in a thread."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, name: str) -> Entry | None:
        """Return the entry of that name, or None."""
        try:
            return describe(self._root / name)
        except FileNotFoundError:
            return None

    def add(self, file: Path) -> Entry:
        """Put a copy of a file into the registry; raises `Taken` where its name stands for another content.

        The copy appears as a whole and is on the disk when this returns. Adding the same again changes nothing.
        """
        entry = describe(file)
        self._root.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=self._root, prefix=".upload-")
        try:
            with os.fdopen(handle, "wb") as target, file.open("rb") as source:
                shutil.copyfileobj(source, target)
                target.flush()
                os.fsync(target.fileno())
            os.link(part, self._root / file.name)  # fails where the name exists, unlike a rename
        except FileExistsError:
            if self.find(file.name) != entry:
                raise Taken(f"{file.name} is in the registry already, with another content") from None
        finally:
            Path(part).unlink()
        return entry

    def entries(self) -> list[Entry]:
        """Return everything in the registry, by name."""
        if not self._root.is_dir():
            return []
        return [describe(file) for file in sorted(self._root.iterdir()) if not file.name.startswith(".")]


def describe(file: Path) -> Entry:
    """Return what a file would be in the registry."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256")
    return Entry(file.name, digest.hexdigest(), file.stat().st_size)
