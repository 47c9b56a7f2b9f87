"""Keeps records in MongoDB."""

from aats_store_mongodb.store import MongoStore

__all__ = ["MongoStore"]
