"""Turns the driver's and the server's errors into the errors that the kernel knows, each saying what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bson.errors import BSONError
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    InvalidOperation,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    WaitQueueTimeoutError,
)

from aats_core.errors import (
    Conflict,
    DuplicateKey,
    InvalidDocument,
    InvalidQuery,
    SchemaMismatch,
    StoreError,
    StoreFull,
    StoreUnavailable,
)

TRANSIENT = "TransientTransactionError"
"""The label of what may be done again from the transaction's beginning."""
UNKNOWN_COMMIT = "UnknownTransactionCommitResult"
"""The label of a commit that may have happened, and may be asked for again."""

INDEX_CONFLICTS = frozenset({85, 86})

_ALONE = 20
_DUPLICATE = frozenset({11000, 11001, 12582})
_INVALID_DOCUMENT = frozenset({2, 53, 171, 10334, 17280, 17420})
_UNAVAILABLE = frozenset({6, 7, 24, 64, 89, 91, 189, 262, 317, 9001, 10107, 11600, 11602, 13435, 13436})
_SCHEMA = 121
_FIRST_OF_PIPELINES = 15000
_WRONG = frozenset({2, 4, 9, 14, 15, 16, 17, 27, 28, 40, 52, 54, 57, 66, 67, 72, 73, 74, 115, 168, 197, 241, 291})
_KINDS: tuple[tuple[frozenset[int], type[StoreError], str], ...] = (
    (frozenset({14031}), StoreFull, "the server's disk is full; make room, and writing works again"),
    (frozenset({112, 225, 246, 251, 256}), Conflict, "someone else changed the data in between; try again"),
    (frozenset({50}), StoreUnavailable, "the server took longer than `timeout` allows and gave up"),
    (
        frozenset({239}),
        StoreUnavailable,
        "the server keeps no snapshot for so long; read faster, or raise its minSnapshotHistoryWindowInSeconds",
    ),
    (frozenset({13, 18}), StoreUnavailable, "MongoDB refuses this user; see username and password, and its roles"),
    (_UNAVAILABLE, StoreUnavailable, "MongoDB did not do it"),
)


@contextmanager
def translated(name: str, *, writing: bool = False) -> Iterator[None]:
    """Raise what the driver raises within as an error of the kernel that names the collection.

    `writing` says that whole documents are on their way, so that a bad value is one of theirs.
    """
    try:
        yield
    except (PyMongoError, BSONError, OverflowError) as error:
        raise translate(error, name, writing=writing) from error


def is_lost(error: BaseException | None) -> bool:
    """Tell whether an error means that the servers could not be reached, rather than that there was too much to do."""
    return isinstance(error, ConnectionFailure) and not isinstance(error, WaitQueueTimeoutError)


def translate(error: Exception, name: str, *, writing: bool = False) -> StoreError:
    """Return the kernel's error for one of the driver's."""
    if isinstance(error, BulkWriteError):
        return _of_code(_first(error), name, writing=writing)
    if isinstance(error, ConnectionFailure):
        return StoreUnavailable(f"{name}: {_unreachable(error)} ({cause(error)})")
    if isinstance(error, DocumentTooLarge):
        return InvalidDocument(f"{name}: a document is larger than the server's limit of 16 MB ({error})")
    if isinstance(error, OperationFailure):
        return _of_code({"code": error.code, "errmsg": str(error), **(error.details or {})}, name, writing=writing)
    if isinstance(error, BSONError | OverflowError) and not writing:
        return InvalidQuery(f"{name}: the answer holds what Python cannot, as a date beyond the year 9999: {error}")
    if isinstance(error, BSONError | OverflowError):
        return InvalidDocument(f"{name}: a document cannot be kept: {error}")
    if isinstance(error, InvalidOperation):
        return StoreUnavailable(f"{name}: the store is not open ({error})")
    if isinstance(error, ConfigurationError):
        return StoreUnavailable(f"{name}: the servers cannot do this: {error}")
    return StoreUnavailable(f"{name}: {type(error).__name__}: {error}")


def cause(error: Exception) -> str:
    """Return what a driver's error says of each server, without how the driver sees the whole of them."""
    return re.sub(r",? *\(configured timeouts:[^)]*\)|, Timeout: .*", "", str(error), flags=re.DOTALL)


def _unreachable(error: ConnectionFailure) -> str:
    if isinstance(error, WaitQueueTimeoutError):
        return "all connections were busy for too long; set a larger pool_size"
    if isinstance(error, NetworkTimeout):
        return "MongoDB gave no answer in time; whether a write was applied is not known"
    return "MongoDB cannot be reached"


def _first(error: BulkWriteError) -> Mapping[str, Any]:
    details = error.details or {}
    found = details.get("writeErrors") or details.get("writeConcernErrors") or [{}]
    first: Mapping[str, Any] = found[0]
    return first


def _of_code(details: Mapping[str, Any], name: str, *, writing: bool) -> StoreError:
    code, text = details.get("code") or 0, str(details.get("errmsg", "refused"))
    if code in _DUPLICATE:
        return DuplicateKey(f"{name}: another document has {_key(details)} already")
    if code == _SCHEMA:
        return SchemaMismatch(f"{name}: {_mismatch(details)}")
    for codes, kind, why in _KINDS:
        if code in codes:
            return kind(f"{name}: {why} ({text})")
    if code == _ALONE and "replica set" in text:
        return StoreError(f"{name}: {NO_REPLICA_SET}")
    if writing and code in _INVALID_DOCUMENT:
        return InvalidDocument(f"{name}: a document cannot be kept: {text}")
    if code in _WRONG or code >= _FIRST_OF_PIPELINES:
        return InvalidQuery(f"{name}: {text}")
    return StoreError(f"{name}: {text} (code {code})")


NO_REPLICA_SET = (
    "the server is no member of a replica set, so it has no transactions; start it with --replSet and call"
    " rs.initiate() once, a set of one node will do"
)


def _key(details: Mapping[str, Any]) -> str:
    values = details.get("keyValue") or {}
    return ", ".join(f"{field} = {value!r}" for field, value in values.items()) or str(details.get("errmsg"))


def _mismatch(details: Mapping[str, Any]) -> str:
    info = details.get("errInfo") or {}
    rules = info.get("details", {}).get("schemaRulesNotSatisfied", [])
    why = "; ".join(_rules(rules)) or str(details.get("errmsg"))
    return f"document {info.get('failingDocumentId')!r} does not fit the schema: {why}"


def _rules(rules: list[Mapping[str, Any]], above: str = "") -> Iterator[str]:
    for rule in rules:
        if "propertiesNotSatisfied" in rule:
            for each in rule["propertiesNotSatisfied"]:
                yield from _rules(each["details"], f"{above}{each['propertyName']}.")
        elif "missingProperties" in rule:
            yield f"{above.rstrip('.') or 'the document'} lacks {', '.join(rule['missingProperties'])}"
        else:
            asked = rule.get("specifiedAs", {})
            yield f"{above.rstrip('.') or 'the document'}: {rule.get('reason', rule.get('operatorName'))} ({asked})"
