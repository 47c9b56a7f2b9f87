"""What a team sees of its broker: its own topics and dead letters, and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aats_broker_memory import MemoryBroker, MemorySettings

from aats_core.broker import GroupStatus, TopicStatus
from aats_core.errors import NotFound
from aats_core.message import Message
from aats_core.topics import TeamTopics


@asynccontextmanager
async def broker() -> AsyncIterator[MemoryBroker]:
    broker = MemoryBroker(MemorySettings())
    await broker.connect()
    for topic in ("ours.a", "ours.b", "theirs.a"):
        await broker.dead_letter(topic, Message("m", topic), reason="broken", attempts=3)
    yield broker
    await broker.close()


def test_a_team_sees_its_own_topics_without_their_prefix() -> None:
    async def scenario() -> None:
        async with broker() as server, server.subscribe("ours.a", "g"):
            assert await TeamTopics(server, "ours").status() == [
                TopicStatus("a", (GroupStatus("g", 1, 0, 0),), 1),
                TopicStatus("b", dead=1),
            ]

    asyncio.run(scenario())


def test_dead_letters_are_those_of_the_team_oldest_first() -> None:
    async def scenario() -> None:
        async with broker() as server:
            ours = TeamTopics(server, "ours")
            assert [letter.topic for letter in await ours.dead_letters()] == ["a", "b"]
            assert [letter.topic for letter in await ours.dead_letters("*")] == ["a", "b"]
            assert [letter.message.read(str) for letter in await ours.dead_letters("b")] == ["ours.b"]

    asyncio.run(scenario())


def test_an_edited_letter_keeps_what_is_known_of_it() -> None:
    async def scenario() -> None:
        async with broker() as server:
            ours = TeamTopics(server, "ours")
            old, _ = await ours.dead_letters()
            new = await ours.edit(old.id, {"better": True})
            assert (new.topic, new.reason, new.attempts, new.message.id) == ("a", "broken", 3, old.message.id)
            assert new.id != old.id
            assert [letter.message.read(object) for letter in await ours.dead_letters("a")] == [{"better": True}]

    asyncio.run(scenario())


def test_letters_of_several_topics_are_replayed_at_once() -> None:
    async def scenario() -> None:
        async with broker() as server, server.subscribe("ours.*", "g") as subscription:
            ours = TeamTopics(server, "ours")
            assert await ours.replay([letter.id for letter in await ours.dead_letters()]) == 2
            assert {(await anext(subscription)).topic for _ in range(2)} == {"ours.a", "ours.b"}
            assert await ours.dead_letters() == []

    asyncio.run(scenario())


def test_nothing_is_done_where_one_of_the_letters_is_not_ours() -> None:
    async def scenario() -> None:
        async with broker() as server:
            ours, theirs = TeamTopics(server, "ours"), TeamTopics(server, "theirs")
            ids = [letter.id for letter in [*await ours.dead_letters(), *await theirs.dead_letters()]]
            for refused in (ours.replay(ids), ours.purge(ids), ours.edit(ids[2], None)):
                with pytest.raises(NotFound, match=f"no dead letter {ids[2]}"):
                    await refused
            assert len(await ours.dead_letters()) == 2
            assert await ours.purge(ids[:2]) == 2

    asyncio.run(scenario())
