"""LISTEN and NOTIFY, and locks whose waiters are told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aats_store_postgres import Notification, PostgresNotifications, PostgresStore, locks, notifications

from aats_core.errors import StoreError, StoreUnavailable
from aats_core.message import new_id
from aats_core.store import KeyValueStore
from tests.services.proxy import Fault, FaultProxy

PATIENCE = 60.0
LISTENING = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"


def offered(store: PostgresStore, kind: Any) -> Any:
    return next(each for each in store.capabilities if isinstance(each, kind))


def run(scenario: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(2 * PATIENCE):
            await scenario

    asyncio.run(main())


async def heard(source: AsyncIterator[Notification], *, until: str) -> list[Notification]:
    """Return what is heard up to a payload."""
    found = []
    async with asyncio.timeout(PATIENCE):
        async for notification in source:
            found.append(notification)
            if notification.payload == until:
                break
    return found


async def say_until_heard(said: Any, source: AsyncIterator[Notification], channel: str) -> list[Notification]:
    """Say something again and again until it is heard, and return what was heard up to then."""

    async def say() -> None:
        while True:
            with contextlib.suppress(StoreUnavailable):
                await said.notify(channel, "again")
            await asyncio.sleep(0.05)

    saying = asyncio.create_task(say())
    try:
        return await heard(source, until="again")
    finally:
        saying.cancel()


async def cut_listeners(store: PostgresStore) -> None:
    await store.native.execute(f"SELECT pg_terminate_backend(pid) FROM ({LISTENING}) AS listening")


class TestNotifications:
    def test_what_one_says_others_hear_in_order_on_their_channels_alone(self, opened: Any) -> None:
        async def scenario() -> None:
            async with opened() as one, opened() as other:
                mine, yours = f"A 'channel\" {new_id()}", new_id()
                said, here = offered(one, PostgresNotifications), offered(other, PostgresNotifications)
                async with here.listen(mine) as source, here.listen(yours, mine) as both:
                    for number in range(100):
                        await said.notify(mine, str(number))
                        await said.notify(yours, f"other {number}")
                    await said.notify(mine, "end")
                    wanted = [*(Notification(mine, str(number)) for number in range(100)), Notification(mine, "end")]
                    assert await heard(source, until="end") == wanted
                    assert len(await heard(both, until="end")) == 201
                async with here.listen(mine) as source:
                    await one.native.execute("SELECT pg_notify($1, 'from another program')", mine)
                    (found,) = await heard(source, until="from another program")
                    assert found.channel == mine

        run(scenario())

    @pytest.mark.parametrize("wrong", ["", "a" * 64, "a\0b"])
    def test_names_that_no_channel_has(self, opened: Any, wrong: str) -> None:
        async def scenario() -> None:
            async with opened() as store:
                with pytest.raises(StoreError, match="name has 1 to 63 bytes"):
                    await offered(store, PostgresNotifications).notify(wrong)
                with pytest.raises(StoreError, match="name has 1 to 63 bytes"):
                    offered(store, PostgresNotifications).listen(wrong)
                with pytest.raises(StoreError, match="at most 7999 bytes"):
                    await offered(store, PostgresNotifications).notify("a", "b" * 8000)

        run(scenario())

    def test_a_listener_that_does_not_keep_up_is_told_of_the_gap(self, opened: Any, monkeypatch: Any) -> None:
        async def scenario() -> None:
            async with opened() as store:
                both, name = offered(store, PostgresNotifications), new_id()
                monkeypatch.setattr(notifications, "_MOST_WAITING", 3)
                async with both.listen(name) as slow, both.listen(name) as quick:
                    for number in range(10):
                        await both.notify(name, str(number))
                        await heard(quick, until=str(number))
                    found = [await anext(slow) for _ in range(4)]
                    assert found == [*(Notification(name, str(n)) for n in range(3)), Notification(name, gap=True)]
                    await both.notify(name, "goes on")
                    assert await heard(slow, until="goes on") == [Notification(name, "goes on")]

        run(scenario())

    def test_the_connection_exists_only_while_somebody_listens(self, opened: Any) -> None:
        async def scenario() -> None:
            async with opened() as store:
                both = offered(store, PostgresNotifications)
                async with both.listen(new_id()), both.listen(new_id()):
                    assert await store.native.fetchval(f"SELECT count(*) FROM ({LISTENING}) AS listening") == 1
                async with asyncio.timeout(PATIENCE):
                    while await store.native.fetchval(f"SELECT count(*) FROM ({LISTENING}) AS listening"):
                        await asyncio.sleep(0.05)

        run(scenario())

    def test_whoever_listens_when_the_store_is_closed_is_told(self, opened: Any) -> None:
        async def scenario() -> None:
            async with opened() as store:
                async with offered(store, PostgresNotifications).listen("anything") as source:
                    waiting = asyncio.ensure_future(anext(source))
                    await asyncio.sleep(0)
                    await store.close()
                    with pytest.raises(StoreUnavailable, match="closed"):
                        await waiting
                with pytest.raises(StoreUnavailable, match="not connected"):
                    async with offered(store, PostgresNotifications).listen("anything"):
                        pass

        run(scenario())

    def test_listening_survives_a_server_that_is_killed(self, opened: Any, own_server: Any) -> None:
        async def scenario() -> None:
            async with opened() as store:
                both, name = offered(store, PostgresNotifications), new_id()
                async with both.listen(name) as source:
                    await both.notify(name, "before")
                    assert await heard(source, until="before") == [Notification(name, "before")]
                    own_server.kill()
                    own_server.start()
                    found = await say_until_heard(both, source, name)
                    assert found[0] == Notification(name, gap=True)
                    assert found[-1] == Notification(name, "again")

        run(scenario())

    def test_listening_survives_a_connection_on_which_nothing_passes(self, opened: Any, own_server: Any) -> None:
        async def scenario() -> None:
            with FaultProxy(own_server.port) as proxy:
                async with opened() as said, opened(proxy.port, timeout=2.0) as store:
                    name = new_id()
                    async with offered(store, PostgresNotifications).listen(name) as source:
                        proxy.inject(Fault.STALL)
                        await offered(said, PostgresNotifications).notify(name, "unheard")
                        await asyncio.sleep(2.0)
                        proxy.inject(Fault.CUT)
                        proxy.inject(Fault.NONE)
                        found = await say_until_heard(offered(said, PostgresNotifications), source, name)
                        assert Notification(name, gap=True) in found

        run(scenario())


class TestLocks:
    @pytest.fixture(autouse=True)
    def _nobody_looks(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(locks, "_LOOK", 10_000.0)

    def test_who_waits_in_another_process_is_told(self, opened: Any) -> None:
        async def scenario() -> None:
            async with opened() as one, opened() as other:
                await _passed_on(offered(one, KeyValueStore), offered(other, KeyValueStore), _nothing)

        run(scenario())

    def test_who_waits_is_told_although_its_connection_was_lost(self, opened: Any) -> None:
        async def scenario() -> None:
            async with opened() as one, opened() as other:
                values = offered(one, KeyValueStore), offered(other, KeyValueStore)
                await _passed_on(*values, lambda: cut_listeners(one))

        run(scenario())


async def _nothing() -> None:
    pass


async def _passed_on(first: Any, second: Any, meanwhile: Any) -> None:
    """Have a lock of a long life passed on while nobody looks whether it is free."""
    name = "lock " + new_id() * 300
    tokens = []

    async def wait() -> None:
        async with second.lock(name, timeout=PATIENCE) as lock:
            tokens.append(lock.token)

    async with first.lock(name, ttl=10_000.0) as lock:
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0.3)
        await meanwhile()
        assert not tokens
    await waiting
    assert tokens == [lock.token + 1]
