"""Keeps records, keys and graphs in a PostgreSQL database."""

from aats_store_postgres.notifications import Notification, PostgresNotifications
from aats_store_postgres.replicas import PostgresReplicas
from aats_store_postgres.store import PostgresStore
from aats_store_postgres.tables import PostgresTables

__all__ = ["Notification", "PostgresNotifications", "PostgresReplicas", "PostgresStore", "PostgresTables"]
