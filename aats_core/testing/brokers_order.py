"""Promises 5, 6 and 7: order per key, priority, and messages for later."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict

from aats_core.broker import Broker, Delivery
from aats_core.testing.brokers_harness import BrokerHarness, Inbox, create_group, number, promise, publish_all


class OrderPromises(BrokerHarness):
    """When a message's turn comes."""

    @promise(5)
    async def test_a_message_waits_until_the_one_before_it_of_its_key_is_settled(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(f"{topic}.*", "g") as subscription:
            await publish_all(broker, f"{topic}.a", 1, key="k")
            (first,) = await self.expect(subscription, 1)
            await publish_all(broker, f"{topic}.a", 2, key="k")
            await publish_all(broker, f"{topic}.a", "other key", key="l")
            await publish_all(broker, f"{topic}.a", "no key")
            others = [await self.receive(subscription), await self.receive(subscription)]
            assert {d.message.read(object) for d in others} == {"other key", "no key"}
            await self.expect_nothing(subscription)
            await first.ack()
            await self.expect(subscription, 2)

    @promise(5)
    async def test_the_order_of_a_key_holds_across_consumers(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with (
            self.client() as other,
            broker.subscribe(topic, "g") as one,
            other.subscribe(topic, "g") as two,
            self.inbox(one, two) as inbox,
        ):
            await publish_all(broker, topic, 1, 2, 3, key="k")
            for value in (1, 2, 3):
                (delivery,) = await self.expect(inbox, value)
                await self.expect_nothing(inbox)
                await delivery.ack()

    @promise(5)
    async def test_the_order_of_a_key_holds_while_a_message_given_back_is_delayed(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g") as subscription:
            await publish_all(broker, topic, 1, 2, key="k")
            (first,) = await self.expect(subscription, 1)
            await first.nack(delay=1.0)
            await self.expect_nothing(subscription)
            await self.advance_time(1.0)
            (again,) = await self.expect(subscription, 1)
            await again.ack()
            await self.expect(subscription, 2)

    @promise(5)
    async def test_the_order_of_a_key_survives_its_consumer(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with self.client() as doomed:
            dying = await doomed.subscribe(topic, "g", prefetch=10).__aenter__()
            await publish_all(broker, topic, 1, 2, key="k")
            await self.expect(dying, 1)
        async with broker.subscribe(topic, "g") as subscription:
            (again,) = await self.expect(subscription, 1)
            await self.expect_nothing(subscription)
            await again.ack()
            await self.expect(subscription, 2)

    @promise(5)
    async def test_a_dead_letter_lets_the_next_of_its_key_go_on(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g") as subscription:
            await publish_all(broker, topic, 1, 2, key="k")
            (first,) = await self.expect(subscription, 1)
            await first.reject(reason="no")
            await self.expect(subscription, 2)

    @promise(5)
    async def test_an_unsettled_message_of_a_key_holds_back_no_other_group(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "slow") as slow, broker.subscribe(topic, "quick") as quick:
            await publish_all(broker, topic, 1, 2, key="k")
            await self.expect(slow, 1)
            (first,) = await self.expect(quick, 1)
            await first.ack()
            await self.expect(quick, 2)

    @promise(5)
    async def test_a_key_keeps_its_order_through_retries_and_many_consumers(self, broker: Broker) -> None:
        topic, keys, each = self.new_topic(), "abcde", 12
        handled: dict[str, list[int]] = defaultdict(list)
        complete = asyncio.Event()
        dice = random.Random(7)

        async def handle(delivery: Delivery) -> None:
            key, value = delivery.message.read(tuple[str, int])
            await asyncio.sleep(0.002 * dice.random())
            if delivery.attempt == 1 and dice.random() < 0.2:
                return await delivery.nack()
            handled[key].append(value)
            if sum(map(len, handled.values())) == each * len(keys):
                complete.set()
            return await delivery.ack()

        async def consume(deliveries: Inbox, tasks: asyncio.TaskGroup) -> None:
            async for delivery in deliveries:
                tasks.create_task(handle(delivery))

        async with (
            self.client() as other,
            broker.subscribe(topic, "g") as one,
            other.subscribe(topic, "g") as two,
            self.inbox(one, two) as inbox,
            asyncio.TaskGroup() as tasks,
        ):
            consuming = tasks.create_task(consume(inbox, tasks))
            for value in range(each):
                await asyncio.gather(*(publish_all(broker, topic, [key, value], key=key) for key in keys))
            await self.within(complete.wait(), "not every message was handled")
            consuming.cancel()
        assert handled == {key: list(range(each)) for key in keys}

    @promise(6)
    async def test_the_most_urgent_of_what_waits_comes_first(self, broker: Broker) -> None:
        topic = self.new_topic()
        await create_group(broker, topic, "g")
        for priority in (5, 9, 1, 7, 3, 2, 8, 6, 4):
            await broker.publish(topic, number(priority, priority=priority))
        async with broker.subscribe(topic, "g", prefetch=1) as subscription:
            for priority in range(1, 10):
                (delivery,) = await self.expect(subscription, priority)
                await delivery.ack()

    @promise(6)
    async def test_an_urgent_message_overtakes_what_waits_for_a_busy_consumer(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g", prefetch=1) as subscription:
            await publish_all(broker, topic, "in hand")
            (delivery,) = await self.expect(subscription, "in hand")
            await publish_all(broker, topic, "waiting")
            await broker.publish(topic, number("urgent", priority=1))
            await asyncio.sleep(self.quiet)  # what is confirmed may still be on its way to the consumer
            await delivery.ack()
            (urgent,) = await self.expect(subscription, "urgent")
            await urgent.ack()
            await self.expect(subscription, "waiting")

    @promise(6)
    async def test_the_order_of_a_key_is_stronger_than_priority(self, broker: Broker) -> None:
        topic = self.new_topic()
        await create_group(broker, topic, "g")
        await broker.publish(topic, number("first", priority=9), key="k")
        await broker.publish(topic, number("second", priority=1), key="k")
        async with broker.subscribe(topic, "g", prefetch=1) as subscription:
            (first,) = await self.expect(subscription, "first")
            await first.ack()
            await self.expect(subscription, "second")

    @promise(7)
    async def test_a_message_for_later_comes_at_its_time(self, broker: Broker) -> None:
        topic, delay = self.new_topic(), 1.0
        async with broker.subscribe(topic, "g", prefetch=1) as subscription:
            due = self.now() + delay
            await broker.publish(topic, number("later"), not_before=due)
            await publish_all(broker, topic, "now")
            (first,) = await self.expect(subscription, "now")
            await first.ack()
            await self.expect_nothing(subscription)
            await self.advance_time(delay)
            await self.expect(subscription, "later")
            assert self.now() >= due

    @promise(7)
    async def test_a_message_for_later_outlives_its_publisher(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g") as subscription:
            async with self.client() as publisher:
                await publisher.publish(topic, number("later"), not_before=self.now() + 1.0)
            await self.expect_nothing(subscription)
            await self.advance_time(1.0)
            await self.expect(subscription, "later")

    @promise(7)
    async def test_messages_for_later_come_in_the_order_of_their_times(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g") as subscription:
            began = self.now()
            for step in (3, 1, 2):
                await broker.publish(topic, number(step), not_before=began + step * 0.5)
            for step in (1, 2, 3):
                await self.advance_time(0.5)
                await self.expect(subscription, step)

    @promise(7)
    async def test_a_time_in_the_past_is_now(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g") as subscription:
            await broker.publish(topic, number("late"), not_before=self.now() - 3600)
            await self.expect(subscription, "late")
