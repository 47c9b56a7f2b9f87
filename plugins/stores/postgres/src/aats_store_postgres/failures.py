"""Turns the driver's errors into the errors that the kernel knows, each saying what to do."""

from __future__ import annotations

import ssl

import asyncpg

from aats_core.errors import Conflict, StateError, StoreError, StoreFull, StoreUnavailable

LOST = (
    ConnectionError,
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.InternalClientError,
)
"""What is raised where a session has ended, or none could begin."""

ROLLED_BACK = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""What is raised where others were in the way; the transaction is undone and can be tried again."""

STALE = (asyncpg.UndefinedTableError, asyncpg.InvalidCachedStatementError)
"""What is raised where the schema of a collection has changed meanwhile."""

_PASSING = (
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.TransactionRollbackError,
)
"""What servers answer that may answer otherwise the next time, with nothing changed: one that starts, or is full."""


def is_lost(error: BaseException) -> bool:
    """Tell whether the session has ended; the driver also raises such errors for arguments that it cannot send."""
    return isinstance(error, LOST) and not isinstance(error, asyncpg.DataError | TimeoutError)


def is_hopeless(error: BaseException) -> bool:
    """Tell whether connecting again will fail as well, until somebody changes the settings or the server."""
    if isinstance(error, asyncpg.PostgresError):
        return not isinstance(error, _PASSING)
    if isinstance(error, OSError):
        return isinstance(error, ssl.SSLCertVerificationError)
    return isinstance(error, ValueError | OverflowError)


def refused(error: Exception, place: str) -> Exception:
    """Return the kernel's error for a connection that is hopeless, in the words of who refuses it."""
    if not isinstance(error, asyncpg.PostgresError):
        return StoreUnavailable(f"{place}: no connection can be made as `dsn` and `tls` say: {error}")
    known = translate(error, place)
    if type(known) is StoreError:
        return StoreUnavailable(f"{place}: the server refuses the connection: {error}; check `dsn`")
    return known


def translate(error: Exception, place: str) -> Exception:
    """Return the kernel's error for one of the driver's; others stay as they are."""
    if isinstance(error, asyncpg.QueryCanceledError):
        return StoreUnavailable(
            f"{place}: a statement took longer than `timeout` allows and was ended, nothing of it was applied; "
            "others hold what it needs, or it wants an index, or raise `timeout`"
        )
    if isinstance(error, ROLLED_BACK):
        return Conflict(f"{place}: others changed the same data at the same time; try again ({error})")
    if isinstance(error, asyncpg.DiskFullError | asyncpg.OutOfMemoryError | asyncpg.InsufficientResourcesError):
        return StoreFull(f"{place}: the server has no room left; make some, and writing works again ({error})")
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return StoreUnavailable(f"{place}: the server can only be read; name the primary in `dsn` ({error})")
    if isinstance(error, asyncpg.InvalidPasswordError | asyncpg.InvalidAuthorizationSpecificationError):
        return StoreUnavailable(f"{place}: the server refuses user or password; check `dsn` ({error})")
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return StoreUnavailable(f"{place}: {error}; create the database, or name another in `dsn`")
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return StateError(f"{place}: {error}; grant it to the user of `dsn`")
    return _translate_rest(error, place)


def _translate_rest(error: Exception, place: str) -> Exception:
    if isinstance(error, asyncpg.ProgramLimitExceededError | asyncpg.StatementTooComplexError):
        return StoreError(f"{place}: the document or query is larger than PostgreSQL can hold ({error})")
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return StoreUnavailable(f"{place}: the server takes no more connections; lower `pool` or raise max_connections")
    if is_lost(error):
        return StoreUnavailable(
            f"{place}: the connection was lost, and whether a write was applied is not known ({error})"
        )
    if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError):
        return StoreError(f"{place}: {type(error).__name__}: {error}")
    return error
