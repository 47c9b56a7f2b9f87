"""Keeps records and keys in MongoDB."""

from aats_store_mongodb.changes import Change, ChangeStream, MongoChanges
from aats_store_mongodb.collections import Granularity, MongoCollections
from aats_store_mongodb.store import MongoStore

__all__ = ["Change", "ChangeStream", "Granularity", "MongoChanges", "MongoCollections", "MongoStore"]
