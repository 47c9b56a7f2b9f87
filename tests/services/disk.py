"""A disk of its own for a server, whose power can be cut: what was not synced by then is gone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.services.service import POLL, Service

SIZE = 512
"""MiB; the file that holds them is sparse."""

PATIENCE = 30.0
"""Seconds within which processes that were killed are gone."""


class Disk:
    """An ext4 file system in a file, mounted at `path` while in its context.

    What programs write stays in the kernel's memory until they sync it, or the kernel writes it after about thirty
    seconds; the file holds what a disk would by then.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "disk"
        self._image, self._copy = directory / "disk.img", directory / "copy.img"

    @staticmethod
    def missing() -> str:
        """Say why there can be none here; empty where there can."""
        if os.geteuid() != 0:
            return "only root can mount a disk image"
        absent = [program for program in ("mkfs.ext4", "mount", "umount") if not shutil.which(program)]
        if absent:
            return f"not installed: {', '.join(absent)}"
        return "" if Path("/dev/loop-control").exists() else "there are no loop devices"

    def __enter__(self) -> Self:
        with self._image.open("wb") as image:
            image.truncate(SIZE << 20)
        _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self._image))
        self.path.mkdir()
        self._mount()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unmount()

    def sync(self) -> None:
        """Write everything there, as the kernel does sooner or later."""
        _run("sync", "--file-system", str(self.path))

    def cut(self, server: Service) -> None:
        """Cut the power of a server and its disk, and mount what is left of that; the server does not run then."""
        os.killpg(server.pid, signal.SIGSTOP)
        _run("cp", "--sparse=always", str(self._image), str(self._copy))
        server.kill()
        self._unmount()
        self._copy.replace(self._image)
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.path))

    def _unmount(self) -> None:
        """Unmount it, once the last process that was killed there is gone."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                _run("umount", str(self.path))
            except subprocess.CalledProcessError:
                if time.monotonic() > until:
                    raise
                time.sleep(POLL)
            else:
                return


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=120)
