"""What the contract tests of a store stand on: stores over the same data, bounded waiting, what a store may lack."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Generic, Self, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from aats_core.message import new_id
from aats_core.store import Capability, Store
from aats_core.testing.contract import Contract

C = TypeVar("C", bound=Capability)
H = TypeVar("H", bound="StoreHarness[Any]")

FEATURES = {
    "second client": "a second store over the same data at the same time",
    "reopening": "data that outlive the store's being closed",
    "transactions": "RecordStore.transaction",
    "unique": "unique indexes",
    "expiry": "indexes that expire",
    "text": "full-text indexes",
    "validation": "JSON Schema of a collection",
    "int64": "refusing integers beyond 64 bits",
}
"""What a store may lack, by the name that `lacks` uses."""


def promise(
    *needs: str,
) -> Callable[[Callable[[H, Any], Coroutine[Any, Any, None]]], Any]:
    """Make a test method of a coroutine that is given the capability of a connected store.

    The test is skipped where the store lacks one of the features that it needs.
    """

    def decorate(scenario: Callable[[H, Any], Coroutine[Any, Any, None]]) -> Callable[[H], None]:
        def test(self: H) -> None:
            self.skip_unless(*needs)
            asyncio.run(self.play(scenario))

        test.__name__, test.__qualname__ = scenario.__name__, scenario.__qualname__
        test.__doc__, test.__module__ = scenario.__doc__, scenario.__module__
        return test

    return decorate


class StoreHarness(Contract, ABC, Generic[C]):
    """What a store's tests have to say of it, and what the contract's tests share.

    A subclass may enlarge `patience` for a slow server. It may override a contract test only to mark it
    `xfail(reason=...)`.
    """

    capability: ClassVar[type[Capability]]
    """Which capability the tests are about."""
    lacks: ClassVar[Mapping[str, str]] = {}
    """The features (names of `FEATURES`) that the store cannot have, each with the reason; their tests are skipped."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        unknown = set(cls.lacks) - set(FEATURES)
        if unknown:
            raise TypeError(f"{cls.__name__}.lacks: no such features: {', '.join(unknown)}; known are {list(FEATURES)}")

    @abstractmethod
    def make_store(self) -> Store:
        """Return an unconnected store; those that one test makes open the same data."""

    def skip_unless(self, *features: str) -> None:
        """Skip the running test where the store lacks one of these features."""
        for feature in features:
            if feature in self.lacks:
                pytest.skip(f"{FEATURES[feature]}: {self.lacks[feature]}")

    async def play(self, scenario: Callable[[Self, Any], Awaitable[None]]) -> None:
        """Run a scenario with a connected store, and close that however it ends."""
        async with self.client() as capability:
            await self.within(scenario(self, capability), "the scenario did not end", times=6)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[C]:
        """Open a store over the data of this test, and offer what the tests are about."""
        store = self.make_store()
        await self.within(store.connect(), "connect() did not return")
        try:
            yield self.offered(store)
        finally:
            await self.within(store.close(), "close() did not return")

    def offered(self, store: Store) -> C:
        """Return the capability that the tests are about."""
        found = [each for each in store.capabilities if isinstance(each, self.capability)]
        assert len(found) == 1, f"{store} offers {len(found)} of {self.capability.__name__}"
        return found[0]  # type: ignore[return-value] # it is what `capability` says

    def for_examples(self) -> Any:
        """Return the settings for a test that tries generated cases."""
        return settings(
            max_examples=self.examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )

    @asynccontextmanager
    async def expect(self, kind: type[Exception], *words: str) -> AsyncIterator[None]:
        """Fail unless what is inside raises that error, with a message that holds those words."""
        with pytest.raises(kind) as caught:
            yield
        missing = [word for word in words if word not in str(caught.value)]
        assert not missing, f"the message of {kind.__name__} does not say {missing}: {caught.value}"

    def new_name(self) -> str:
        """Return a name that no other test uses."""
        return f"contract_{new_id()}"
