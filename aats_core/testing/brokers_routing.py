"""Promise 4: groups share or all get a message; a pattern's `*` is one word."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from aats_core.broker import Broker, GroupStatus, Subscription, TopicStatus
from aats_core.testing.brokers_harness import BrokerHarness, create_group, promise, publish_all


class RoutingPromises(BrokerHarness):
    """Topics, patterns and groups."""

    @promise(4)
    async def test_consumers_of_a_group_share_its_messages(self, broker: Broker) -> None:
        topic, count = self.new_topic(), 40
        found: list[int] = []
        complete = asyncio.Event()

        async def consume(subscription: Subscription) -> None:
            async for delivery in subscription:
                found.append(delivery.message.read(int))
                await delivery.ack()
                if len(found) >= count:
                    complete.set()

        async with AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            for client in (broker, await stack.enter_async_context(self.client())):
                for _ in range(2):
                    subscription = await stack.enter_async_context(client.subscribe(topic, "g", prefetch=3))
                    tasks.create_task(consume(subscription))
            await publish_all(broker, topic, *range(count))
            await self.within(complete.wait(), "the group did not get every message")
        assert sorted(found) == list(range(count))

    @promise(4)
    async def test_every_group_gets_every_message(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "one") as one, broker.subscribe(topic, "two") as two:
            await publish_all(broker, topic, "m")
            (settled,) = await self.expect(one, "m")
            await settled.ack()
            (delivery,) = await self.expect(two, "m")
            assert delivery.attempt == 1, "another group's delivery was counted"
            await delivery.nack()
            await self.expect(two, "m")
            await publish_all(broker, topic, "after")
            await self.expect(one, "after")

    @promise(4)
    async def test_a_group_keeps_its_messages_while_it_has_no_consumer(self, broker: Broker) -> None:
        topic = self.new_topic()
        await create_group(broker, topic, "g")
        await publish_all(broker, topic, "kept")
        async with broker.subscribe(topic, "g") as subscription:
            await self.expect(subscription, "kept")

    @promise(4)
    async def test_a_group_gets_what_is_published_after_it_exists(self, broker: Broker) -> None:
        topic = self.new_topic()
        await publish_all(broker, topic, "before any group")
        await create_group(broker, topic, "early")
        await publish_all(broker, topic, "before the second group")
        async with broker.subscribe(topic, "late") as late, broker.subscribe(topic, "early") as early:
            await publish_all(broker, topic, "after")
            await self.expect(late, "after")
            deliveries = [await self.receive(early), await self.receive(early)]
            assert {d.message.read(str) for d in deliveries} == {"before the second group", "after"}

    @promise(4)
    async def test_a_group_belongs_to_its_topic(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(f"{topic}.a", "g") as a, broker.subscribe(f"{topic}.*", "g") as every:
            await publish_all(broker, f"{topic}.a", 1)
            await self.expect(a, 1)
            await self.expect(every, 1)
            await publish_all(broker, f"{topic}.b", 2)
            await self.expect(every, 2)
            await publish_all(broker, f"{topic}.a", 3)
            await self.expect(a, 3)

    @promise(4)
    async def test_a_star_is_exactly_one_word(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(f"{topic}.*", "g") as last, broker.subscribe(f"{topic}.*.end", "g") as middle:
            for word in ("a", "a.b", "", "b.end", "a.b.end", "c"):
                await publish_all(broker, f"{topic}.{word}" if word else topic, word)
            await publish_all(broker, f"{topic}x.a", "x")
            first, second = await self.receive(last), await self.receive(last)
            assert {d.message.read(str) for d in (first, second)} == {"a", "c"}
            assert {d.topic for d in (first, second)} == {f"{topic}.a", f"{topic}.c"}
            await self.expect(middle, "b.end")
            for word in ("fence", "fence.end"):
                await publish_all(broker, f"{topic}.{word}", word)
            await self.expect(last, "fence")
            await self.expect(middle, "fence.end")

    @promise(4)
    async def test_a_topic_is_taken_literally(self, broker: Broker) -> None:
        topic = f"{self.new_topic()}.project-manager_1"
        async with broker.subscribe(topic, "g") as subscription:
            for other in (topic.replace(".", "x"), f"{topic}2", f"{topic}.a", topic[:-1], topic.upper()):
                await publish_all(broker, other, other)
            await publish_all(broker, topic, "mine")
            await self.expect(subscription, "mine")

    @promise(4)
    async def test_an_ephemeral_group_is_a_group_while_it_lasts(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with (
            broker.subscribe(topic, "one", ephemeral=True) as one,
            broker.subscribe(f"{topic.partition('.')[0]}.*", "two", ephemeral=True) as two,
        ):
            await publish_all(broker, topic, "m")
            (delivery,) = await self.expect(one, "m")
            await delivery.nack()
            (again,) = await self.expect(one, "m")
            assert again.attempt == 2, "what was given back came with its attempts forgotten"
            await again.ack()
            while (await self.receive(two)).topic != topic:
                pass

    @promise(4)
    async def test_nothing_waits_for_an_ephemeral_group_that_ended(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g", ephemeral=True) as subscription:
            await publish_all(broker, topic, "held", "waiting")
            await self.expect(subscription, "held")
        await publish_all(broker, topic, "into the void")
        async with broker.subscribe(topic, "g", ephemeral=True) as subscription:
            await publish_all(broker, topic, "after")
            await self.expect(subscription, "after")

    @promise(4, short_lease=True)
    async def test_an_ephemeral_group_ends_with_its_client(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with self.client() as other:
            await other.subscribe(topic, "g", ephemeral=True).__aenter__()
        await self.advance_time(self.lease)
        await self.eventually(lambda: self.status(broker, topic), None)

    @promise(4)
    async def test_topics_tell_what_waits_and_who_consumes(self, broker: Broker) -> None:
        topic = self.new_topic()
        await create_group(broker, topic, "idle")
        async with broker.subscribe(topic, "busy", prefetch=1) as busy, self.client() as other:
            await publish_all(broker, topic, 1, 2, 3)
            delivery = await self.receive(busy)
            expected = TopicStatus(topic, (GroupStatus("busy", 1, 2, 1), GroupStatus("idle", 0, 3, 0)))
            await self.eventually(lambda: self.status(other, topic), expected)
            await delivery.ack()
            await self.receive(busy)
            expected = TopicStatus(topic, (GroupStatus("busy", 1, 1, 1), GroupStatus("idle", 0, 3, 0)))
            await self.eventually(lambda: self.status(other, topic), expected)

    @promise(4)
    async def test_topics_tell_of_patterns_and_dead_letters(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(f"{topic}.*", "g") as subscription, self.client() as other:
            await publish_all(broker, f"{topic}.a", "dead", "alive")
            await (await self.receive(subscription)).reject(reason="broken")
            await self.receive(subscription)
            expected = TopicStatus(f"{topic}.*", (GroupStatus("g", 1, 0, 1),))
            await self.eventually(lambda: self.status(other, f"{topic}.*"), expected)
            await self.eventually(lambda: self.status(other, f"{topic}.a"), TopicStatus(f"{topic}.a", dead=1))
