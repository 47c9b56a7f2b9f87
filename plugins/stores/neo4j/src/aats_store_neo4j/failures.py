"""Turns the driver's errors into the errors that the kernel knows, each saying what to do."""

from __future__ import annotations

import ssl

from neo4j.exceptions import (
    AuthError,
    ClientError,
    ConfigurationError,
    ConnectionAcquisitionTimeoutError,
    ConstraintError,
    DatabaseError,
    DatabaseUnavailable,
    DriverError,
    Forbidden,
    ForbiddenOnReadOnlyDatabase,
    IncompleteCommit,
    Neo4jError,
    NotALeader,
    ServiceUnavailable,
    SessionExpired,
    TransientError,
)

from aats_core.errors import Conflict, DuplicateKey, StateError, StoreError, StoreFull, StoreUnavailable

LOST = (ServiceUnavailable, SessionExpired, OSError, DatabaseUnavailable, NotALeader)
"""What is raised where a session has ended, or none could begin."""

_ENDED = ("TransactionTimedOut", "TransactionTimedOutClientConfiguration", "LockClientStopped")
_FULL = ("OutOfDiskSpace", "MemoryPoolOutOfMemoryError", "OutOfMemoryError", "TransactionOutOfMemoryError")
_AWAY = ("DatabaseNotFound",)


def is_lost(error: BaseException) -> bool:
    """Tell whether the connection has ended, or there was none."""
    return isinstance(error, LOST) and not is_hopeless(error)


def is_unknown(error: BaseException) -> bool:
    """Tell whether it is not known if the transaction was applied."""
    return isinstance(error, IncompleteCommit)


def is_rolled_back(error: BaseException) -> bool:
    """Tell whether others were in the way; nothing was applied, and the same can be tried again."""
    return isinstance(error, TransientError) and not _is_any(error, _ENDED + _FULL)


def is_hopeless(error: BaseException) -> bool:
    """Tell whether trying again will fail as well, until somebody changes the settings."""
    if isinstance(error, AuthError | ConfigurationError):
        return True
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _is_any(error: BaseException, names: tuple[str, ...]) -> bool:
    code = error.code if isinstance(error, Neo4jError) else None
    return (code or "").rpartition(".")[2] in names


def translate(error: Exception, place: str) -> Exception:
    """Return the kernel's error for one of the driver's; others stay as they are."""
    if isinstance(error, AuthError):
        return StoreUnavailable(f"{place}: the server refuses user or password; check both ({_text(error)})")
    if _is_any(error, _AWAY):
        return StoreUnavailable(f"{place}: {_text(error)}; create the database, or name another in `database`")
    if _is_any(error, _ENDED):
        return StoreUnavailable(
            f"{place}: a statement took longer than `timeout` allows and was ended, nothing of it was applied; "
            "others hold what it needs, or it wants an index, or raise `timeout`"
        )
    if _is_any(error, _FULL):
        return StoreFull(f"{place}: the server has no room left; make some, and writing works again ({_text(error)})")
    if isinstance(error, ForbiddenOnReadOnlyDatabase):
        return StoreUnavailable(f"{place}: the server can only be read; use `neo4j://` or name the leader")
    if is_unknown(error):
        return StoreUnavailable(f"{place}: the connection was lost, and whether a write was applied is not known")
    if isinstance(error, ConnectionAcquisitionTimeoutError):
        return StoreUnavailable(f"{place}: all connections are busy; raise `pool`")
    return _translate_rest(error, place)


def _translate_rest(error: Exception, place: str) -> Exception:
    if isinstance(error, ConfigurationError) or is_hopeless(error):
        return StoreUnavailable(f"{place}: cannot be used as `uri` and `tls` say: {_text(error)}")
    if is_lost(error):
        return StoreUnavailable(f"{place}: the connection was lost; nothing was applied ({_text(error)})")
    if isinstance(error, TransientError):
        return Conflict(f"{place}: others changed the same data at the same time; try again ({_text(error)})")
    if isinstance(error, ConstraintError):
        return DuplicateKey(f"{place}: {_text(error)}")
    if isinstance(error, Forbidden):
        return StateError(f"{place}: {_text(error)}; grant it to the user")
    if isinstance(error, ClientError | DatabaseError | DriverError):
        return StoreError(f"{place}: {_text(error)}")
    return error


def _text(error: BaseException) -> str:
    message = error.message if isinstance(error, Neo4jError) else str(error)
    return message or type(error).__name__
