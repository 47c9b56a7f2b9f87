"""Collections of kinds that only MongoDB has: time series, and collections spread over shards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pymongo.errors import OperationFailure

from aats_core.errors import StoreError
from aats_core.store import Capability, Document
from aats_store_mongodb.database import Database
from aats_store_mongodb.queries import complete

_UNKNOWN_COMMAND = 59


class Granularity(StrEnum):
    """How far apart the measurements of one source are, more or less."""

    SECONDS = "seconds"
    MINUTES = "minutes"
    HOURS = "hours"


class MongoCollections(Capability):
    """Makes such collections; what they hold is read through `Records`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def make_time_series(
        self,
        collection: str,
        *,
        time: str,
        source: str | None = None,
        granularity: Granularity = Granularity.SECONDS,
        expire_after: float | None = None,
    ) -> bool:
        """Make a time series where there is no such collection; tells whether there was none.

        `time` and `source` are the fields that hold when and by what something was measured; `expire_after` is in
        seconds. MongoDB keeps such documents packed and does not change them in transactions.
        """
        kind: dict[str, Any] = {"timeField": time, "granularity": granularity.value}
        if source is not None:
            kind["metaField"] = source
        options: dict[str, Any] = {"timeseries": kind}
        if expire_after is not None:
            options["expireAfterSeconds"] = math.ceil(expire_after)
        with self._database.call(collection, {"create": collection}):
            return await self._database.make(collection, **options)

    async def append(self, collection: str, *documents: Document) -> None:
        """Write measurements; not all or none as `insert` does, which takes a transaction for several."""
        sent = [complete(document) for document in documents]
        if sent:
            target = self._database.collection(collection)
            with self._database.call(collection, {"insert": target.name}, writing=True):
                await target.insert_many(sent, ordered=False)

    async def shard(self, collection: str, key: Mapping[str, int | str]) -> None:
        """Spread a collection over the shards of a cluster by fields, each 1 or `hashed`; again, it changes nothing.

        Raises `StoreError` where the servers are no sharded cluster, or it is spread by other fields.
        """
        database, name = self._database.native.name, self._database.full_name(collection)
        with self._database.call(collection, {"shard": collection}):
            try:
                await self._database.driver.client.admin.command("shardCollection", f"{database}.{name}", key=dict(key))
            except OperationFailure as error:
                if error.code != _UNKNOWN_COMMAND:
                    raise
                raise StoreError(f"{collection}: cannot be spread, the servers are no sharded cluster") from error
