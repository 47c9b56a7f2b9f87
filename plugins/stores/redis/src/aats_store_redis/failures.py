"""Turns the driver's errors into the errors that the kernel knows, each saying what to do."""

from __future__ import annotations

from redis import exceptions

from aats_core.errors import StoreError, StoreFull, StoreUnavailable


class Unsent(Exception):
    """A command did not reach a server that could carry it out: it can be given again, at once or, `later`, not yet."""

    def __init__(self, message: str, *, later: bool = False) -> None:
        super().__init__(message)
        self.later = later


LOST = (OSError, TimeoutError, EOFError, exceptions.ConnectionError, exceptions.TimeoutError)
"""What is raised where a connection has ended, or an answer did not come."""

_ELSEWHERE = (
    exceptions.AskError,  # and MovedError
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    exceptions.ReadOnlyError,
    exceptions.MasterDownError,
    exceptions.BusyLoadingError,
)
_REFUSED = (exceptions.AuthenticationError, exceptions.NoPermissionError, exceptions.AuthorizationError)


def is_hopeless(error: BaseException) -> bool:
    """Tell whether connecting again will fail as well, until somebody changes the settings."""
    return isinstance(error, _REFUSED)


def is_unapplied(error: BaseException) -> bool:
    """Tell whether a server says that it did not do what was asked now, but that it, or another one, may later."""
    return isinstance(error, _ELSEWHERE) or str(error).startswith("BUSY ")


def translate(error: Exception, place: str) -> Exception:
    """Return the kernel's error for one of the driver's."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, exceptions.OutOfMemoryError):
        return StoreFull(f"{place}: the server has no memory left; make room or raise maxmemory ({error})")
    if str(error).startswith("MISCONF"):
        return StoreFull(f"{place}: the server cannot write to its disk and takes nothing; make room there ({error})")
    if is_hopeless(error):
        return StoreUnavailable(f"{place}: the server refuses the user; check `user` and `password` ({error})")
    if isinstance(error, LOST):
        return StoreUnavailable(
            f"{place}: the connection was lost, and whether a write was applied is not known ({reason(error)})"
        )
    return StoreError(f"{place}: {error}")


def reason(error: BaseException) -> str:
    """Return what an error says."""
    return str(error) or ("it does not answer" if isinstance(error, TimeoutError) else type(error).__name__)
