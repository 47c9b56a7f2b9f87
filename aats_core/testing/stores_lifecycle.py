"""What every store promises, whatever it offers."""

from __future__ import annotations

import asyncio
from typing import Any

from aats_core.errors import StoreUnavailable
from aats_core.health import HealthStatus
from aats_core.settings import StoreSettings
from aats_core.store import Capability
from aats_core.testing.leftovers import nothing_left
from aats_core.testing.stores_harness import C, StoreHarness


class LifecyclePromises(StoreHarness[C]):
    """How a store is opened and closed."""

    async def use(self, capability: Any) -> None:
        """Do something small with the capability; raises what the store raises."""
        raise NotImplementedError

    def test_the_class_is_documented_and_its_settings_are_described(self) -> None:
        cls = type(self.make_store())
        assert cls.__dict__.get("__doc__"), f"{cls.__name__} needs a docstring of its own"
        declared = getattr(cls, "Settings", None)
        assert isinstance(declared, type), f"{cls.__name__} names its settings model as Settings"
        assert issubclass(declared, StoreSettings)
        bare = [name for name, field in declared.model_fields.items() if not field.description]
        assert not bare, f"settings without a description: {', '.join(bare)}"

    def test_it_offers_one_of_each_capability_at_most(self) -> None:
        async def scenario() -> None:
            store = self.make_store()
            await store.connect()
            try:
                offered = store.capabilities
                for kind in Capability.__subclasses__():
                    assert sum(isinstance(each, kind) for each in offered) <= 1, kind.__name__
                assert isinstance(self.offered(store), self.capability)
                assert store.native is not None
            finally:
                await store.close()

        asyncio.run(scenario())

    def test_it_does_nothing_before_it_is_connected(self) -> None:
        async def scenario() -> None:
            store = self.make_store()
            assert (await store.health()).status is HealthStatus.DOWN
            await store.close()

        with nothing_left(self.patience):
            asyncio.run(scenario())

    def test_it_is_well_while_it_is_open_and_not_afterwards(self) -> None:
        async def scenario() -> None:
            store = self.make_store()
            await store.connect()
            health = await self.within(store.health(), "health() did not return")
            assert health.status is HealthStatus.OK, health.detail
            await store.close()
            health = await self.within(store.health(), "health() did not return")
            assert health.status is HealthStatus.DOWN
            assert health.detail, "health says in words what is wrong"

        asyncio.run(scenario())

    def test_closing_leaves_nothing_behind_and_twice_is_harmless(self) -> None:
        async def scenario() -> None:
            store = self.make_store()
            await store.connect()
            await self.use(self.offered(store))
            await store.close()
            await store.close()

        with nothing_left(self.patience):
            asyncio.run(scenario())

    def test_what_is_asked_of_a_closed_store_is_refused(self) -> None:
        async def scenario() -> None:
            store = self.make_store()
            await store.connect()
            capability = self.offered(store)
            await store.close()
            async with self.expect(StoreUnavailable):
                await self.within(self.use(capability), "a closed store did not answer")

        asyncio.run(scenario())
