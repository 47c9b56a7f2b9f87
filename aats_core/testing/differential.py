"""Holds a record store against MongoDB: generated operations give the same answer, or the same refusal, on both.

Subclass `DifferentialContract`, say how to make the store and the reference, and run it with pytest. The seed is
printed; `AATS_TEST_SEED` sets it, and `AATS_TEST_OPERATIONS` says how many operations each test tries.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from aats_core.errors import StoreError
from aats_core.message import new_id
from aats_core.store import Document, Records, UpdateResult
from aats_core.testing import strategies
from aats_core.testing.strategies_pipelines import UNORDERED, pipelines

_PER_COLLECTION = 5
_NO_SUCH_DATE = "refused: a date that Python has none of"
"""Of such a date MongoDB may or may not hear within a pipeline; then there is nothing to compare."""
_MADE_UP = re.compile(r"[0-9a-f]{24,}")


class Operation(msgspec.Struct, frozen=True):
    """A method of `Records` and its arguments; what is promised of the order of what comes back."""

    method: str
    arguments: dict[str, Any] = {}
    documents: tuple[Document, ...] = ()
    ordered: bool = False
    any_field_order: bool = False

    async def run(self, records: Records, collection: str) -> Any:
        """Return what the store answers, or the name of the error that it refuses with."""
        try:
            answer = await getattr(records, self.method)(collection, *self.documents, **self.arguments)
        except StoreError as error:
            no_date = "date" in str(error) and "range" in str(error)
            return _NO_SUCH_DATE if no_date else f"refused: {type(error).__name__}"
        if isinstance(answer, UpdateResult):
            return (answer.matched, answer.modified, comparable(answer.upserted_id))
        if isinstance(answer, list):
            each = [comparable(document, any_field_order=self.any_field_order) for document in answer]
            return each if self.ordered else sorted(each)
        return answer


def comparable(value: Any, *, any_field_order: bool = False) -> str:
    """Return text that is the same for values of the same type, value and order of fields, and for made-up ids."""
    if _MADE_UP.fullmatch(str(value)):
        return "made up"
    if isinstance(value, Mapping):
        fields = [_field(name, each, any_field_order=any_field_order) for name, each in value.items()]
        return f"{{{', '.join(sorted(fields) if any_field_order else fields)}}}"
    if isinstance(value, list):
        return f"[{', '.join(comparable(each, any_field_order=any_field_order) for each in value)}]"
    return repr(value)


def _field(name: str, value: Any, *, any_field_order: bool) -> str:
    if name == UNORDERED and isinstance(value, list):
        elements = sorted(comparable(each, any_field_order=any_field_order) for each in value)
        return f"{name!r}: any order of {elements}"
    return f"{name!r}: {comparable(value, any_field_order=any_field_order)}"


def finds() -> st.SearchStrategy[Operation]:
    """Operations that read by a filter."""
    plain = st.fixed_dictionaries({"filter": strategies.filters()}, optional={"projection": _projections()})
    page = st.fixed_dictionaries(
        {"sort": strategies.sorts().map(lambda sort: {**sort, "_id": 1})},
        optional={"filter": strategies.filters(), "skip": st.integers(0, 2), "limit": st.integers(1, 3)},
    )
    return st.one_of(
        plain.map(lambda arguments: Operation("find", arguments)),
        page.map(lambda arguments: Operation("find", arguments, ordered=True)),
        strategies.filters().map(lambda each: Operation("count", {"filter": each})),
    )


def _projections() -> st.SearchStrategy[dict[str, Any]]:
    ways = st.sampled_from(({}, {"_id": 0}, {"_id": 1}))
    fields = st.lists(strategies.paths(), min_size=1, max_size=2)
    return st.builds(
        lambda paths, way, of_id: {**dict.fromkeys(paths, way), **of_id}, fields, st.sampled_from((0, 1)), ways
    )


def changes() -> st.SearchStrategy[Operation]:
    """Operations that change documents."""
    updating = {"filter": st.one_of(st.just({}), strategies.filters()), "update": strategies.updates()}
    upserting = {**updating, "upsert": st.sampled_from((True,))}
    return st.one_of(
        st.fixed_dictionaries(updating).map(lambda arguments: Operation("update", arguments)),
        st.fixed_dictionaries(upserting).map(lambda arguments: Operation("update", arguments)),
        strategies.filters().map(lambda each: Operation("delete", {"filter": each})),
    )


def aggregations(other: str) -> st.SearchStrategy[Operation]:
    """Operations that run a pipeline."""
    return pipelines(other).map(lambda pipeline: Operation("aggregate", {"pipeline": pipeline}, any_field_order=True))


class DifferentialContract(ABC):
    """Every promise of the record language as tests against MongoDB."""

    operations: int = int(os.environ.get("AATS_TEST_OPERATIONS", "100"))
    """How many operations each test tries."""

    @abstractmethod
    def open_store(self) -> AbstractAsyncContextManager[Records]:
        """Return a context with the records of the store that is held against MongoDB."""

    @abstractmethod
    def open_reference(self) -> AbstractAsyncContextManager[Records]:
        """Return a context with the same operations on a real MongoDB."""

    @pytest.fixture(autouse=True)
    def _say_the_seed(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.seed = int(os.environ.get("AATS_TEST_SEED") or random.randrange(2**32))
        with capsys.disabled():
            print(f"\n{type(self).__name__}: {self.operations} operations a test, AATS_TEST_SEED={self.seed}")

    def test_what_is_inserted(self) -> None:
        with_ids = st.tuples(strategies.ids(), strategies.documents()).map(lambda both: {"_id": both[0], **both[1]})
        inserts = st.lists(with_ids, min_size=1, max_size=2).filter(_has_one_fault_at_most).map(_insertion)
        self._compare(st.tuples(st.just([]), st.lists(inserts, min_size=1, max_size=3)), 2)

    def test_what_is_found(self) -> None:
        reads = st.lists(finds(), min_size=_PER_COLLECTION, max_size=_PER_COLLECTION)
        self._compare(st.tuples(collections(), reads), _PER_COLLECTION)

    def test_what_is_changed(self) -> None:
        self._compare(st.tuples(collections(), changes().map(lambda change: [change])), 1)

    def test_what_pipelines_make(self) -> None:
        name = _new_name()
        some = st.lists(aggregations(name), min_size=_PER_COLLECTION, max_size=_PER_COLLECTION)
        self._compare(st.tuples(collections(), some), _PER_COLLECTION, name)

    def _compare(self, cases: st.SearchStrategy[Any], per_case: int, name: str = "") -> None:
        """Try cases, each the documents of a collection and what is done there, on both stores."""
        name = name or _new_name()
        examples = settings(
            max_examples=max(1, self.operations // per_case),
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        with asyncio.Runner() as runner:
            stack = AsyncExitStack()
            both = [runner.run(stack.enter_async_context(each())) for each in (self.open_reference, self.open_store)]
            try:
                seed(self.seed)(examples(given(cases)(lambda case: runner.run(_same(both, name, *case)))))()
            finally:
                runner.run(stack.aclose())


async def _same(both: Sequence[Records], name: str, documents: list[Document], operations: list[Operation]) -> None:
    """Fail where the second store answers otherwise than the first, or holds other documents afterwards."""
    for records in both:
        await records.delete(name, {})
        if documents:
            await records.insert(name, *documents)
    everything = Operation("find")
    for operation in operations:
        wanted, found = [await operation.run(records, name) for records in both]
        if _NO_SUCH_DATE in (wanted, found):
            return
        told = f"{operation.method} {operation.documents or operation.arguments}\n  of {documents}"
        assert found == wanted, f"{told}\n  MongoDB: {wanted}\n  the store: {found}"
        if operation.method in ("insert", "update", "delete"):
            left, there = [await everything.run(records, name) for records in both]
            assert there == left, f"after {told}\n  MongoDB holds: {left}\n  the store: {there}"


def collections() -> st.SearchStrategy[list[Document]]:
    """Up to four documents, each with an `_id` of its own."""
    documents = st.lists(strategies.documents(), min_size=1, max_size=4)
    return documents.map(lambda each: [{"_id": number, **document} for number, document in enumerate(each)])


def _has_one_fault_at_most(documents: list[Document]) -> bool:
    """Tell whether it is clear for which reason an insert is refused: an array is no `_id`."""
    return len(documents) == 1 or not any(isinstance(document["_id"], list) for document in documents)


def _insertion(documents: list[Document]) -> Operation:
    return Operation("insert", documents=tuple(documents))


def _new_name() -> str:
    return f"differential_{new_id()}"
