"""Logging: short lines for people on stderr, JSON lines in the state directory, secrets in neither.

Whoever logs only puts the record into a queue; a thread writes it, so a slow disk or terminal holds nobody up.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import queue
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from aats_core.errors import StateError

LOG_FILE = "aats.log"
FILE_BYTES = 10 * 1024 * 1024
"""How large the log file grows before it is set aside."""

FILES_KEPT = 3
"""How many log files that were set aside are kept."""

TEXT_LIMIT = 64 * 1024
"""Characters of the longest message that is logged whole."""

WAITING_LIMIT = 10_000
"""Records that may wait to be written; what comes while so many wait is lost, and how many were is logged."""

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class Logging:
    """A context manager in which everything that is logged in this process, or warned of, is shown and kept.

    `level` counts for the file, `console_level` for stderr. What is logged before `write_to` is kept in memory and
    written then. `redact` takes the secrets out of a text.
    """

    def __init__(self, *, level: int, console_level: int, redact: Callable[[str], str]) -> None:
        self._level = level
        console = _Console()
        console.setLevel(console_level)
        self._until_open = logging.handlers.MemoryHandler(1)
        self._file: _File | None = None
        self._queue = _Queue(redact)
        self._listener = logging.handlers.QueueListener(
            self._queue.queue, console, self._until_open, respect_handler_level=True
        )
        self._before: tuple[int, list[logging.Handler]] = (0, [])

    def __enter__(self) -> Self:
        """Begin to log."""
        root = logging.getLogger()
        self._before = (root.level, root.handlers[:])
        root.handlers[:] = [self._queue]
        root.setLevel(self._level)
        logging.captureWarnings(capture=True)
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is left, and leave logging as it was."""
        logging.captureWarnings(capture=False)
        root = logging.getLogger()
        root.setLevel(self._before[0])
        root.handlers[:] = self._before[1]
        self._listener.stop()
        self._until_open.flush()
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def write_to(self, state_dir: Path) -> Path:
        """Keep the log in a state directory, and return the file; raises `StateError` where it cannot be opened."""
        path = state_dir / LOG_FILE
        try:
            self._file = _File(path)
        except OSError as error:
            raise StateError(f"the log file {path} cannot be opened: {error.strerror}") from error
        self._until_open.setTarget(self._file)
        return path


class _Queue(logging.handlers.QueueHandler):
    """Puts records into the queue, finished and without secrets; never waits."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self.queue: queue.Queue[logging.LogRecord]
        super().__init__(queue.Queue(WAITING_LIMIT))
        self._redact = redact
        self._lost = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Return a record that holds its texts and nothing else that could change or tell a secret."""
        ready = logging.makeLogRecord({**record.__dict__, **self._extras(record)})
        ready.msg, ready.args = self._text(record.getMessage()), None
        trace = record.exc_text or ("".join(traceback.format_exception(*record.exc_info)) if record.exc_info else "")
        stack = f"{record.stack_info}\n" if record.stack_info else ""
        ready.exc_info, ready.stack_info, ready.exc_text = None, None, self._text((trace + stack).rstrip())
        return ready

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue a record, or count it as lost where too many wait."""
        try:
            if self._lost:
                text = f"{self._lost} log records were lost, there were too many at once"
                note = {"name": "aats.log", "levelno": logging.WARNING, "levelname": "WARNING", "msg": text}
                self.queue.put_nowait(logging.makeLogRecord(note))
                self._lost = 0
            self.queue.put_nowait(record)
        except queue.Full:
            self._lost += 1

    def _extras(self, record: logging.LogRecord) -> dict[str, Any]:
        return {
            name: value if isinstance(value, int | float | None) else self._text(str(value))
            for name, value in record.__dict__.items()
            if name not in _STANDARD
        }

    def _text(self, text: str) -> str:
        safe = self._redact(text)
        cut = len(safe) - TEXT_LIMIT
        whole = safe if cut <= 0 else f"{safe[:TEXT_LIMIT]}… ({cut} characters more)"
        return whole.encode(errors="backslashreplace").decode()


class _Console(logging.Handler):
    """Shows records on what stderr is at that time; of an error's traceback only what the error was."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; where nobody reads there is nobody to tell."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock} {record.levelname.lower():<7} {record.name}: {record.msg}"
        if record.exc_text:
            line += f" ({record.exc_text.splitlines()[-1]})"
        with suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)


class _File(logging.handlers.RotatingFileHandler):
    """Keeps records as JSON lines; that they cannot be written is said once, on stderr."""

    def __init__(self, path: Path) -> None:
        self._failing = False
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        handle = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one JSON object."""
        return _as_json(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        before, self._failing = self._failing, False
        super().emit(record)
        if self._failing and not before:
            with suppress(OSError, ValueError):
                print(f"aats: the log file {self.baseFilename} cannot be written", file=sys.stderr, flush=True)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002
        """Note that the record could not be written."""
        self._failing = True


def _as_json(record: logging.LogRecord) -> str:
    extras = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
    trace = {"trace": record.exc_text} if record.exc_text else {}
    line = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.msg,
        **trace,
        **extras,
    }
    return msgspec.json.encode(line).decode()
