"""Keeps records, keys and graphs in one SQLite file."""

from aats_store_sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
