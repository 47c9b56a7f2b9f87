"""The contract suites of stores: subclass that of each capability, say how to make the store, run it with pytest."""

from __future__ import annotations

from typing import Any

from aats_core.store import GraphStore, KeyValueStore, RecordStore
from aats_core.testing.stores_graph import GraphPromises
from aats_core.testing.stores_keyvalue import KeyValuePromises
from aats_core.testing.stores_lifecycle import LifecyclePromises
from aats_core.testing.stores_locks import LockPromises
from aats_core.testing.stores_queries import QueryPromises
from aats_core.testing.stores_reads import ReadPromises
from aats_core.testing.stores_schemas import SchemaPromises
from aats_core.testing.stores_stream import StreamPromises
from aats_core.testing.stores_transactions import TransactionPromises
from aats_core.testing.stores_writes import WritePromises


class RecordStoreContract(
    LifecyclePromises[RecordStore],
    WritePromises,
    ReadPromises,
    QueryPromises,
    StreamPromises,
    SchemaPromises,
    TransactionPromises,
):
    """Every promise of `Store` and `RecordStore` as tests; a subclass named `Test...` defines `make_store`."""

    capability = RecordStore

    async def use(self, capability: Any) -> None:
        """Write and read a document."""
        name = self.new_name()
        await capability.insert(name, {"_id": 1})
        await capability.find(name)


class KeyValueStoreContract(LifecyclePromises[KeyValueStore], KeyValuePromises, LockPromises):
    """Every promise of `Store` and `KeyValueStore` as tests; a subclass named `Test...` defines `make_store`."""

    capability = KeyValueStore

    async def use(self, capability: Any) -> None:
        """Write and read a value."""
        name = self.new_name()
        await capability.put(name, 1)
        await capability.get(name)


class GraphStoreContract(LifecyclePromises[GraphStore], GraphPromises):
    """Every promise of `Store` and `GraphStore` as tests; a subclass named `Test...` defines `make_store`."""

    capability = GraphStore

    async def use(self, capability: Any) -> None:
        """Write and read a node."""
        name = self.new_name()
        await capability.put_node(name, "a", {})
        await capability.node(name, "a")
