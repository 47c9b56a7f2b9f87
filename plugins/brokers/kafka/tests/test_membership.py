"""What keeps a client in its group while the cluster is in trouble."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aats_broker_kafka import offsets
from aats_broker_kafka.driver import LATEST, Driver, TopicPartition
from aats_broker_kafka.membership import Membership
from aats_broker_kafka.offsets import starts
from aiokafka.errors import NotCoordinatorForGroupError

from aats_core.errors import BrokerUnavailable
from aats_core.message import new_id
from plugins.brokers.kafka.tests.conftest import Opening

PATIENCE = 60


@asynccontextmanager
async def member(client: Opening) -> AsyncIterator[Membership]:
    """Yield the membership of a client in a group of its own."""
    name = f"membership.{new_id()}"
    async with client() as broker, broker.subscribe(name, "g"):
        yield broker._subscriptions._groups[f"g@{name}"].membership


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.02)


def test_signs_of_life_are_not_held_up_by_commits_without_an_answer(
    client: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        async with member(client) as membership:
            with monkeypatch.context() as patch:
                patch.setattr(membership._plain, "ask_coordinator", never)
                before = membership._proved
                await until(lambda: membership._proved > before)

    asyncio.run(main())


def test_a_group_whose_coordinator_moves_is_not_shared_out_anew(
    client: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = [SimpleNamespace(error_code=NotCoordinatorForGroupError.errno)]

    async def main() -> None:
        async with member(client) as membership:
            ask = membership._joining.ask_coordinator

            async def answer(group: str, request: Any, what: str, **options: Any) -> Any:
                return moved.pop() if moved else await ask(group, request, what, **options)

            generation = membership.generation
            monkeypatch.setattr(membership._joining, "ask_coordinator", answer)
            await until(lambda: not moved)
            before = membership._proved
            await until(lambda: membership._proved > before)
            assert membership.generation == generation

    asyncio.run(main())


def test_clients_of_one_broker_know_of_one_coordinator(client: Opening) -> None:
    async def main() -> None:
        async with member(client) as membership:
            membership._plain.forget_coordinator(membership._group)
            before = membership._proved
            await until(lambda: membership._proved > before)
            assert membership._group in membership._plain._coordinators

    asyncio.run(main())


def test_a_partition_whose_leader_is_away_is_begun_with_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    place = TopicPartition("t", 0)

    class Leaderless(Driver):
        def __init__(self) -> None:
            """Need no settings: it talks to nobody."""

        async def offsets(self, places: Any, when: int) -> dict[TopicPartition, int]:
            if when == LATEST:
                raise BrokerUnavailable("no leader")
            return dict.fromkeys(places, 0)

    async def stored(*_: object) -> dict[TopicPartition, tuple[int, str]]:
        return {place: (7, "note")}

    monkeypatch.setattr(offsets, "committed", stored)
    assert asyncio.run(starts(Leaderless(), "g", {place})) == {place: (7, "note", 7)}
