"""What must not be left behind: threads and child processes of this process."""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def child_processes() -> dict[int, str]:
    """Return the command lines of this process's children by process id, those included that nobody waited for."""
    if not sys.platform.startswith("linux"):
        return {child.pid or 0: child.name for child in multiprocessing.active_children()}
    found: dict[int, str] = {}
    for listing in Path("/proc/self/task").glob("*/children"):
        for pid in _read(listing).split():
            words = _read(Path("/proc", pid, "cmdline")).replace("\0", " ").strip()
            found[int(pid)] = words or "ended, but nobody waited for it"
    return found


@contextmanager
def nothing_left(patience: float) -> Iterator[None]:
    """Fail where threads or child processes begun inside still exist `patience` seconds after the end."""
    threads, children = set(threading.enumerate()), set(child_processes())
    yield
    deadline = time.monotonic() + patience
    while True:
        left = [str(thread) for thread in threading.enumerate() if thread not in threads]
        left += [f"process {pid}: {words}" for pid, words in child_processes().items() if pid not in children]
        if not left:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"left behind: {'; '.join(left)}")
        time.sleep(0.01)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # it has ended meanwhile
        return ""
