"""The contract suites of stores are held against stores that each break one promise: they have to notice."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aats_store_sqlite import SqliteStore
from hypothesis import Phase, settings

from aats_core.clock import VirtualClock
from aats_core.errors import InvalidQuery
from aats_core.health import Health
from aats_core.settings import TeamInfo
from aats_core.store import GraphStore, Insert, KeyValueStore, Lock, Put, Records, RecordStore, Require, Schema, Write
from aats_core.testing.stores import GraphStoreContract, KeyValueStoreContract, RecordStoreContract


class Careless(SqliteStore):
    """The SQLite store with some methods replaced; each replacement is given the capability as it should be."""


@dataclasses.dataclass
class Fault:
    """What a store does wrong, and which tests of the contract have to notice."""

    capability: type[Any]
    methods: dict[str, Callable[..., Any]]
    failing: tuple[str, ...]


class _As:
    """The methods of a capability before any was replaced."""

    def __init__(self, capability: Any) -> None:
        self._capability = capability

    def __getattr__(self, name: str) -> Any:
        return getattr(type(self._capability), name).__get__(self._capability)


FAULTS: dict[str, Fault] = {}


def fault(capability: type[Any], *failing: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a method that replaces the one of its name, up to the first two underscores."""

    def register(method: Callable[..., Any]) -> Callable[..., Any]:
        name = method.__name__.partition("__")[0]
        FAULTS[method.__name__] = Fault(capability, {name: method}, failing)
        return method

    return register


# Records


@fault(
    RecordStore,
    "test_whatever_fails_takes_the_whole_write_with_it",
    "test_one_write_reaches_several_collections_or_none",
)
async def write__one_by_one(honest: RecordStore, operations: Sequence[Write]) -> None:
    for operation in operations:
        await honest.write([operation])


@fault(
    RecordStore,
    "test_a_write_whose_requirement_fails_changes_nothing",
    "test_a_requirement_on_what_is_not_there_fails",
    "test_of_those_who_require_the_same_state_and_change_it_one_wins",
)
async def write__without_requirements(honest: RecordStore, operations: Sequence[Write]) -> None:
    await honest.write([operation for operation in operations if not isinstance(operation, Require)])


@fault(RecordStore, "test_an_insert_refuses_an_id_that_exists")
async def write__over_what_exists(honest: RecordStore, operations: Sequence[Write]) -> None:
    puts = [Put(op.collection, op.document) if isinstance(op, Insert) else op for op in operations]
    await honest.write(puts)


@fault(RecordStore, "test_operations_are_applied_in_order")
async def write__in_any_order(honest: RecordStore, operations: Sequence[Write]) -> None:
    await honest.write(list(reversed(operations)))


@fault(RecordStore, "test_what_was_written_is_read_at_once", "test_what_the_caller_changes_afterwards_is_not_written")
async def write__later(honest: RecordStore, operations: Sequence[Write]) -> None:
    asyncio.get_running_loop().call_later(0.02, lambda: asyncio.ensure_future(honest.write(operations)))


@fault(RecordStore, "test_an_insert_leaves_the_callers_documents_alone")
async def insert__with_ids_in_the_callers_documents(honest: RecordStore, collection: str, *documents: Any) -> Any:
    ids = await honest.insert(collection, *documents)
    for document, id_ in zip(documents, ids, strict=True):
        document["_id"] = id_
    return ids


@fault(RecordStore, "test_an_insert_writes_all_or_none")
async def insert__one_by_one(honest: RecordStore, collection: str, *documents: Any) -> Any:
    return [(await honest.insert(collection, document))[0] for document in documents]


@fault(RecordStore, "test_find_sorts_skips_and_limits", "test_documents_come_in_the_order_that_is_asked_for")
async def find__unsorted(honest: RecordStore, collection: str, filter: Any = None, **options: Any) -> Any:
    return await honest.find(collection, filter, **{**options, "sort": None})


@fault(RecordStore, "test_what_is_no_query_is_refused_and_named")
async def find__nothing_where_it_cannot_tell(honest: RecordStore, *arguments: Any, **options: Any) -> Any:
    try:
        return await honest.find(*arguments, **options)
    except InvalidQuery:
        return []


@fault(RecordStore, "test_find_keeps_the_fields_of_the_projection")
async def find__whole(honest: RecordStore, collection: str, filter: Any = None, **options: Any) -> Any:
    return await honest.find(collection, filter, **{**options, "projection": None})


@fault(RecordStore, "test_find_and_count_go_by_the_filter", "test_a_filter_finds_what_it_means")
async def count__everything(honest: RecordStore, collection: str, filter: Any = None) -> int:
    return await honest.count(collection)


@fault(RecordStore, "test_an_update_can_be_limited_to_one")
async def update__all(honest: RecordStore, *arguments: Any, **options: Any) -> Any:
    return await honest.update(*arguments, **{**options, "limit": None})


@fault(RecordStore, "test_an_upsert_makes_a_document_of_equalities_and_update", "test_an_upsert_makes_what_it_means")
async def update__what_is_there(honest: RecordStore, *arguments: Any, **options: Any) -> Any:
    return await honest.update(*arguments, **{**options, "upsert": False})


@fault(RecordStore, "test_a_delete_returns_how_many_there_were")
async def delete__uncounted(honest: RecordStore, *arguments: Any) -> int:
    await honest.delete(*arguments)
    return 0


@fault(
    RecordStore,
    "test_an_exception_rolls_all_of_it_back",
    "test_a_cancelled_transaction_is_rolled_back",
    "test_a_transaction_sees_what_it_wrote_and_others_do_not",
    "test_nothing_is_lost_between_a_read_and_a_write",
)
def transaction__that_is_none(honest: RecordStore) -> AbstractAsyncContextManager[Records]:
    @asynccontextmanager
    async def nothing() -> AsyncIterator[Records]:
        yield honest

    return nothing()


@fault(
    RecordStore,
    "test_a_unique_index_refuses_the_same_values_however_they_come",
    "test_an_index_cannot_become_unique_over_what_is_not",
    "test_one_of_many_gets_a_unique_value",
    "test_documents_are_deleted_after_their_time",
    "test_text_is_found_by_its_words",
    "test_a_document_that_does_not_fit_is_refused_however_it_comes",
    "test_a_schema_outlives_the_store",
    "test_what_is_no_schema_is_refused",
)
async def ensure__nothing(honest: RecordStore, collection: str, schema: Schema) -> None:
    await honest.ensure(collection, Schema())


# Keys and locks

LOCKED: list[AbstractAsyncContextManager[Lock]] = []
"""What somebody went into and never came out of."""


@fault(KeyValueStore, "test_a_value_is_gone_after_its_time", "test_a_time_that_is_none_is_refused")
async def put__for_ever(honest: KeyValueStore, key: str, value: Any, *, ttl: float | None = None) -> None:
    await honest.put(key, value)


@fault(KeyValueStore, "test_keys_are_told_apart")
async def get__by_small_letters(honest: KeyValueStore, key: str) -> Any:
    return await honest.get(key.strip().lower())


@fault(KeyValueStore, "test_increments_at_the_same_time_all_count")
async def increment__in_two_steps(honest: KeyValueStore, key: str, by: int = 1) -> int:
    value = (await honest.get(key) or 0) + by
    await honest.put(key, value)
    return int(value)


@fault(KeyValueStore, "test_a_delete_tells_whether_there_was_a_value")
async def delete__untold(honest: KeyValueStore, key: str) -> bool:
    await honest.delete(key)
    return True


@fault(
    KeyValueStore,
    "test_a_limit_gives_so_many_permits_and_then_says_how_long_to_wait",
    "test_a_limit_holds_over_a_long_time",
    "test_no_more_permits_are_given_at_the_same_time",
)
async def limit__none(honest: KeyValueStore, key: str, *, rate: int, per: float) -> float:
    return 0.0


@fault(
    KeyValueStore,
    "test_one_holds_a_lock_at_a_time",
    "test_the_token_grows_with_every_holder",
    "test_who_waits_too_long_is_told",
    "test_a_lock_is_one_for_all_clients",
)
def lock__nobody_out(honest: KeyValueStore, name: str, **options: Any) -> AbstractAsyncContextManager[Lock]:
    @asynccontextmanager
    async def open_door() -> AsyncIterator[Lock]:
        yield Lock(name, 1)

    return open_door()


@fault(KeyValueStore, "test_an_error_inside_passes_and_frees_the_lock", "test_who_is_cancelled_frees_the_lock")
def lock__for_good(honest: KeyValueStore, name: str, **options: Any) -> AbstractAsyncContextManager[Lock]:
    @asynccontextmanager
    async def closed_door() -> AsyncIterator[Lock]:
        LOCKED.append(honest.lock(name, **{**options, "ttl": 1e6}))
        yield await LOCKED[-1].__aenter__()

    return closed_door()


# Graphs


@fault(GraphStore, "test_graphs_are_told_apart")
async def neighbours__in_one_graph(honest: GraphStore, graph: str, id: str, **options: Any) -> Any:
    return ["a"] if not await honest.neighbours(graph, id, **options) else await honest.neighbours(graph, id, **options)


@fault(GraphStore, "test_neighbours_go_by_direction_and_kind")
async def neighbours__either_way(honest: GraphStore, graph: str, id: str, **options: Any) -> Any:
    return await honest.neighbours(graph, id, **{**options, "direction": "both"})


@fault(GraphStore, "test_neighbours_within_some_steps_come_nearest_first", "test_ways_are_shortest_in_any_graph")
async def neighbours__by_name(honest: GraphStore, graph: str, id: str, **options: Any) -> Any:
    return sorted(await honest.neighbours(graph, id, **options), reverse=True)


@fault(GraphStore, "test_a_shortest_path_has_no_more_steps_than_allowed")
async def shortest_path__of_any_length(honest: GraphStore, *ends: str, **options: Any) -> Any:
    return await honest.shortest_path(*ends, **{**options, "max_depth": 32})


@fault(GraphStore, "test_a_shortest_path_has_both_ends")
async def shortest_path__between_its_ends(honest: GraphStore, *ends: str, **options: Any) -> Any:
    path = await honest.shortest_path(*ends, **options)
    return path[1:-1] if path else path


@fault(GraphStore, "test_deleting_a_node_deletes_its_relations")
async def delete_node__alone(honest: GraphStore, graph: str, id: str) -> bool:
    there = await honest.node(graph, id) is not None
    await honest.put_node(graph, id, {})
    return there


@fault(GraphStore, "test_a_node_has_the_properties_put_last", "test_a_search_knows_what_changed")
async def put_node__once(honest: GraphStore, graph: str, id: str, properties: Any) -> None:
    if await honest.node(graph, id) is None:
        await honest.put_node(graph, id, properties)


@fault(GraphStore, "test_a_search_finds_nodes_that_hold_all_the_words_best_first")
async def search__for_the_first_word(honest: GraphStore, graph: str, text: str, **options: Any) -> Any:
    return await honest.search(graph, text.split(maxsplit=1)[0], **options)


@fault(GraphStore, "test_a_search_finds_nodes_that_hold_all_the_words_best_first")
async def search__for_the_last_word(honest: GraphStore, graph: str, text: str, **options: Any) -> Any:
    return await honest.search(graph, text.rsplit(maxsplit=1)[-1], **options)


CONTRACTS = {RecordStore: RecordStoreContract, KeyValueStore: KeyValueStoreContract, GraphStore: GraphStoreContract}


def contract_of(found: Fault, directory: Path) -> Any:
    """Return the contract suite of a store that has that fault."""
    clock, stores = VirtualClock(), []

    class Contract(CONTRACTS[found.capability]):  # type: ignore[misc] # which of them is known only here
        patience = 1.0

        def make_store(self) -> SqliteStore:
            stores.append(Careless(SqliteStore.Settings(), TeamInfo(state_dir=directory), clock))
            part = next(part for part in stores[-1].capabilities if isinstance(part, found.capability))
            for name, method in found.methods.items():
                setattr(part, name, method.__get__(_As(part)))
            return stores[-1]

        def for_examples(self) -> Any:
            return settings(super().for_examples(), phases=[Phase.generate])  # that it fails is enough

        async def advance_time(self, seconds: float) -> None:
            for _ in range(10):
                await clock.advance(seconds / 10)
                for store in stores:
                    await store.health()

        def now(self) -> float:
            return clock.time()

    return Contract()


@pytest.mark.parametrize(
    ("name", "test"),
    [pytest.param(name, test, id=f"{name}-{test}") for name, found in FAULTS.items() for test in found.failing],
)
def test_a_careless_store_fails(name: str, test: str, tmp_path: Path) -> None:
    contract = contract_of(FAULTS[name], tmp_path)
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - however it fails, pytest shows it as a failure
        getattr(contract, test)()
    assert not isinstance(
        caught.value, KeyboardInterrupt | pytest.skip.Exception | NameError | AttributeError | TypeError
    )


@pytest.mark.parametrize("test", sorted({test for found in FAULTS.values() for test in found.failing}))
def test_what_careless_stores_fail_an_honest_one_passes(test: str, tmp_path: Path) -> None:
    capability = next(found.capability for found in FAULTS.values() if test in found.failing)
    getattr(contract_of(Fault(capability, {}, ()), tmp_path), test)()


class Boasting(Careless):
    """Is always well."""

    async def health(self) -> Health:
        return Health()


class Leaving(Careless):
    """Leaves everything open."""

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("store", "test"),
    [
        (Boasting, "test_it_is_well_while_it_is_open_and_not_afterwards"),
        (Boasting, "test_it_does_nothing_before_it_is_connected"),
        (Leaving, "test_what_is_asked_of_a_closed_store_is_refused"),
        (Leaving, "test_it_is_well_while_it_is_open_and_not_afterwards"),
    ],
)
def test_a_careless_life_is_noticed(store: type[SqliteStore], test: str, tmp_path: Path) -> None:
    class Contract(RecordStoreContract):
        def make_store(self) -> SqliteStore:
            return store(SqliteStore.Settings(), TeamInfo(state_dir=tmp_path), VirtualClock())

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(Contract(), test)()
