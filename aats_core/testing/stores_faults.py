"""What a store does while its server is killed, cut off or silent: tests to run on a server that they may treat so."""

from __future__ import annotations

import asyncio
import re
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, ClassVar, Protocol, TypeVar

import pytest

from aats_core.errors import StoreUnavailable
from aats_core.health import HealthStatus
from aats_core.message import new_id
from aats_core.store import KeyValueStore, Put, RecordStore, Store
from aats_core.testing.stores_load import Load, offered

T = TypeVar("T")

ADVICE = re.compile("start (it|the server)")
"""What is said once there is no hope that the server comes back in time."""
CLIENTS = 20
DOCUMENT = {"_id": 1}


class Server(Protocol):
    """A server that the tests may kill. It keeps its data, and answers again once `start` has returned."""

    port: int

    def kill(self) -> None:
        """End it at once, as a crash of its machine would."""

    def start(self) -> None:
        """Start it where it does not run."""


class Proxy(Protocol):
    """Forwards a port of its own to the server's."""

    port: int

    def inject(self, fault: str) -> None:
        """Hold every answer back by `half-open`, until `none`."""

    def reset(self) -> None:
        """Reset every connection once."""


class FaultHarness(ABC):
    """What a store's tests say of it and its server, and what the tests share."""

    patience: ClassVar[float] = 30.0
    """Seconds within which whatever has to happen does, on a machine that has much else to do."""
    short: ClassVar[float] = 1.0
    """A timeout that a call of a busy server seldom exceeds."""
    rounds: ClassVar[int] = 3
    """How often the server is killed under load."""
    secret: ClassVar[str] = ""
    """A password of the settings, which nothing may show."""
    unsure: ClassVar[str | None] = "not known"
    """What is said of a write whose answer does not come, where that is said."""
    keeps_writing: ClassVar[bool] = False
    """Whether a write survives that its connection is cut before it."""
    server: Server

    @abstractmethod
    def make_store(self, port: int = 0, **settings: Any) -> Store:
        """Return an unconnected store at a port of this machine, or the server's; all of a test open the same data.

        Its settings are `timeout`, in seconds, and `pool`, the most connections.
        """

    @abstractmethod
    def make_proxy(self) -> AbstractContextManager[Proxy]:
        """Return a proxy before the server."""

    async def warm_up(self) -> None:
        """Make the server quick enough for the short timeout, where it has only just begun."""
        await asyncio.sleep(0)

    @asynccontextmanager
    async def opened(self, port: int = 0, **settings: Any) -> AsyncIterator[Store]:
        """Connect a store, and close it afterwards."""
        if "timeout" in settings:
            await self.warm_up()
        store = self.make_store(port, **settings)
        await store.connect()
        try:
            yield store
        finally:
            await store.close()

    async def within(self, awaitable: Awaitable[T]) -> T:
        """Wait for what has to end; fails where it hangs."""
        return await asyncio.wait_for(awaitable, self.patience)

    async def until(self, condition: Callable[[], Awaitable[object]]) -> None:
        """Wait until something is true; a server that is away says that it is not."""
        async with asyncio.timeout(self.patience):
            while True:
                try:
                    if await condition():
                        return
                except StoreUnavailable:
                    pass
                await asyncio.sleep(0.02)

    async def healthy(self, store: Store) -> None:
        """Wait until a store works again."""

        async def works() -> bool:
            return (await store.health()).status is not HealthStatus.DOWN

        await self.until(works)

    async def put(self, records: RecordStore, name: str, *ids: object) -> None:
        """Write documents, again where a slow machine takes longer than the short timeout allows."""

        async def written() -> bool:
            await records.write([Put(name, {"_id": each}) for each in ids])
            return True

        await self.until(written)

    async def restart(self) -> None:
        """Kill the server, and start it again."""
        await asyncio.to_thread(self.server.kill)
        await asyncio.to_thread(self.server.start)


class RecordTruthContract(FaultHarness):
    """What was confirmed is there, and what is not known is said to be so.

    A subclass named `Test...` defines `make_store` and `make_proxy`, and sets `server` by a fixture of its own.
    """

    def test_what_was_confirmed_outlives_kill_9_under_load(self) -> None:
        """Keep what was confirmed, all of a write or nothing, and go on by itself."""

        async def scenario() -> None:
            async with self.opened(pool=6) as store:
                load = Load(store, f"load_{new_id()}", self.within)
                running = asyncio.create_task(load.run(CLIENTS))
                for _ in range(self.rounds):
                    await self.until(load.progress())
                    await self.restart()
                    await self.healthy(store)
                await self.until(load.progress())
                load.stopping = True
                await self.within(running)
                outcome = await load.outcome()
                assert (outcome.lost, outcome.wrong) == ([], [])

        asyncio.run(scenario())

    def test_an_answer_that_never_comes_is_no_success(self) -> None:
        """Say that nobody knows whether a write was applied, which is then all of it or nothing, and not repeat it."""

        async def scenario(proxy: Proxy) -> None:
            name = f"half_{new_id()}"
            async with self.opened(proxy.port, timeout=self.short, pool=4) as store, self.opened() as witness:
                records, seen = offered(store, RecordStore), offered(witness, RecordStore)
                await self.put(records, name, 1)
                proxy.inject("half-open")
                with pytest.raises(StoreUnavailable, match=self.unsure):
                    await self.within(records.write([Put(name, {"_id": "one"}), Put(name, {"_id": "other"})]))
                with pytest.raises(StoreUnavailable):
                    await self.within(records.find(name))
                proxy.inject("none")
                proxy.reset()
                await self.healthy(store)
                assert await seen.count(name) in (1, 3)
                await self.put(records, name, "one", "other")
                assert {each["_id"] for each in await seen.find(name)} == {1, "one", "other"}

        with self.make_proxy() as proxy:
            asyncio.run(scenario(proxy))


class RecordFaultContract(RecordTruthContract):
    """All of `RecordTruthContract`, and what callers are spared while the server or its connections fail."""

    def test_nobody_hangs_while_the_server_is_away_and_calls_fail_at_once_after_a_while(self) -> None:
        """Say that the server cannot be reached, and how to mend that, without waiting for it anew each time."""

        async def scenario() -> None:
            name = f"away_{new_id()}"
            async with self.opened(timeout=self.short) as store:
                records = offered(store, RecordStore)
                await self.put(records, name, 1)
                await asyncio.to_thread(self.server.kill)
                try:
                    await self._is_away(store, records, name)
                finally:
                    await asyncio.to_thread(self.server.start)
                await self.warm_up()
                await self.healthy(store)
                await self.until(lambda: _same(records.find(name), [DOCUMENT]))

        asyncio.run(scenario())

    async def _is_away(self, store: Store, records: RecordStore, name: str) -> None:
        calls = records.find(name), records.write([Put(name, {"_id": 2})])
        for end in await self.within(asyncio.gather(*calls, return_exceptions=True)):
            assert isinstance(end, StoreUnavailable)
            assert re.search("cannot be reached|no answer", str(end))
        values = [each for each in store.capabilities if isinstance(each, KeyValueStore)]

        async def hopeless() -> bool:
            calls: list[Awaitable[object]] = [records.find(name) for _ in range(50)]
            calls += [each.put(name, 1) for each in values for _ in range(50)]
            ends = await self.within(asyncio.gather(*calls, return_exceptions=True))
            assert {type(end) for end in ends} == {StoreUnavailable}
            health = await store.health()
            assert health.status is HealthStatus.DOWN
            assert not self.secret or self.secret not in f"{health.detail} {ends}"
            return ADVICE.search(f"{health.detail} {ends}") is not None

        await self.until(hopeless)

    def test_reads_go_on_over_cut_connections(self) -> None:
        """Read again over another connection, unnoticed."""

        async def scenario(proxy: Proxy) -> None:
            name = f"cut_{new_id()}"
            async with self.opened(proxy.port, pool=4) as store:
                records = offered(store, RecordStore)
                await records.insert(name, DOCUMENT)
                for turn in range(10):
                    reads = [asyncio.create_task(records.find(name)) for _ in range(8)]
                    await asyncio.sleep(0)
                    proxy.reset()
                    assert await self.within(asyncio.gather(*reads)) == [[DOCUMENT]] * 8
                    if self.keeps_writing:
                        proxy.reset()
                        await self.within(records.write([Put(f"{name}_written", {"_id": turn})]))

        with self.make_proxy() as proxy:
            asyncio.run(scenario(proxy))

    def test_a_caller_who_gives_up_leaves_no_connection_behind(self) -> None:
        """Have every connection again where callers are cancelled."""

        async def scenario() -> None:
            name = f"gone_{new_id()}"
            async with self.opened(pool=3) as store:
                records = offered(store, RecordStore)
                await records.insert(name, DOCUMENT)
                for pause in range(30):
                    tasks = [asyncio.create_task(records.find(name)) for _ in range(10)]
                    await asyncio.sleep(pause / 10_000)
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
                found = await self.within(asyncio.gather(*(records.find(name) for _ in range(20))))
                assert found == [[DOCUMENT]] * 20

        asyncio.run(scenario())

    def test_a_server_that_is_not_there_is_named_and_the_password_is_not(self) -> None:
        """Raise from `connect`, in time, what says where nobody answers."""

        async def scenario() -> None:
            with socket.create_server(("127.0.0.1", 0)) as taken:
                port = taken.getsockname()[1]
            store = self.make_store(port, timeout=0.5)
            with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
                await self.within(store.connect())
            assert not self.secret or self.secret not in f"{caught.value} {vars(store)}"
            await store.close()

        asyncio.run(scenario())


class KeyValueFaultContract(FaultHarness):
    """A subclass named `Test...` defines the same as one of `RecordTruthContract`."""

    def test_an_increment_whose_answer_never_comes_is_not_repeated(self) -> None:
        """Say that nobody knows whether a counter was increased, and increase it once at most."""

        async def scenario(proxy: Proxy) -> None:
            name = f"half_{new_id()}"
            async with self.opened(proxy.port, timeout=self.short) as store, self.opened() as witness:
                proxy.inject("half-open")
                with pytest.raises(StoreUnavailable):
                    await self.within(offered(store, KeyValueStore).increment(name))
                proxy.inject("none")
                proxy.reset()
                await self.healthy(store)
                assert await offered(witness, KeyValueStore).get(name) in (None, 1)

        with self.make_proxy() as proxy:
            asyncio.run(scenario(proxy))

    def test_a_lock_outlives_a_restart_of_the_server(self) -> None:
        """Keep a lock for its holder, and let the next one in with a higher token."""

        async def scenario() -> None:
            name = f"lock_{new_id()}"
            async with self.opened() as store, self.opened() as other:
                async with offered(store, KeyValueStore).lock(name, ttl=600.0) as lock:
                    await self.restart()
                    await self.healthy(other)
                    with pytest.raises(TimeoutError):
                        async with offered(other, KeyValueStore).lock(name, timeout=0.1):
                            pass
                    await self.healthy(store)
                async with offered(other, KeyValueStore).lock(name, timeout=self.patience) as following:
                    assert following.token > lock.token

        asyncio.run(scenario())


async def _same(call: Awaitable[object], wanted: object) -> bool:
    """Tell that a call has the right answer; a wrong one is none that may become right."""
    assert await call == wanted
    return True
