"""Turns SQLite's errors into the errors that the kernel knows, each saying what to do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from aats_core.errors import StoreError, StoreFull, StoreUnavailable

_BESIDE = 64 * 1024
"""Bytes that fit for sure: those that the processes which have a database open share are 32 KiB at first."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise what SQLite raises within as an error of the kernel that names the file."""
    try:
        yield
    except apsw.Error as error:
        raise translate(error, path) from error


def translate(error: apsw.Error, path: Path) -> StoreError:
    """Return the kernel's error for one of SQLite's."""
    if isinstance(error, apsw.FullError) or (isinstance(error, apsw.IOError | apsw.CantOpenError) and _is_full(path)):
        return StoreFull(f"{path}: there is no room left on the disk; make some, and writing works again")
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StoreUnavailable(f"{path}: another process keeps the database locked; close it there ({error})")
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return StoreUnavailable(f"{path}: the file is damaged or no SQLite database; restore a backup ({error})")
    if isinstance(error, apsw.ReadOnlyError | apsw.PermissionsError):
        return StoreUnavailable(f"{path}: the database cannot be written; check the file's permissions ({error})")
    if isinstance(error, apsw.CantOpenError):
        return StoreUnavailable(
            f"{path}: the database cannot be opened; check that its directory exists and can be written ({error})"
        )
    if isinstance(error, apsw.IOError):
        return StoreUnavailable(f"{path}: the disk cannot be read or written ({error})")
    if isinstance(error, apsw.TooBigError):
        return StoreError(f"{path}: a value is larger than SQLite can hold ({error})")
    return StoreError(f"{path}: {type(error).__name__}: {error}")


def _is_full(path: Path) -> bool:
    """Tell whether there is no room for the files that SQLite makes beside a database that it opens.

    It tells of that as of any other failure to write, and of which it was it tells nothing.
    """
    try:
        return shutil.disk_usage(path.parent).free < _BESIDE
    except OSError:
        return False


def spoils_transaction(error: BaseException) -> bool:
    """Tell whether an error concerns the database as a whole rather than the one operation that met it."""
    return isinstance(error, apsw.Error) and not isinstance(error, apsw.ConstraintError | apsw.TooBigError)
