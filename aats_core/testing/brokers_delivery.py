"""Promise 2: at least once, whatever becomes of the consumer."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aats_core.broker import Broker
from aats_core.testing.brokers_harness import BrokerHarness, promise, publish_all


class DeliveryPromises(BrokerHarness):
    """Deliveries that are settled, given back, lost and kept."""

    @promise(2)
    async def test_a_message_given_back_is_delivered_again(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g") as subscription:
            await publish_all(broker, topic, "m")
            (first,) = await self.expect(subscription, "m")
            await first.nack()
            (second,) = await self.expect(subscription, "m")
            assert (first.attempt, second.attempt) == (1, 2)
            assert second.message.id == first.message.id
            await second.ack()

    @promise(2)
    async def test_a_message_given_back_waits_for_its_delay(self, broker: Broker) -> None:
        topic, delay = self.new_topic(), 1.0
        async with broker.subscribe(topic, "g") as subscription:
            await publish_all(broker, topic, "m")
            (first,) = await self.expect(subscription, "m")
            due = self.now() + delay
            await first.nack(delay=delay)
            await publish_all(broker, topic, "other")
            (other,) = await self.expect(subscription, "other")
            await other.ack()
            await self.advance_time(delay)
            (second,) = await self.expect(subscription, "m")
            assert self.now() >= due
            assert second.attempt == 2

    @promise(2)
    async def test_an_acknowledged_message_never_comes_back(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g") as subscription:
            await publish_all(broker, topic, "m")
            (delivery,) = await self.expect(subscription, "m")
            await delivery.ack()
            await delivery.ack()
            await delivery.nack()
        async with broker.subscribe(topic, "g") as subscription:
            await publish_all(broker, topic, "after")
            await self.expect(subscription, "after")

    @promise(2)
    async def test_leaving_gives_back_at_once_what_is_held(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g") as leaving:
            await publish_all(broker, topic, "m")
            await self.expect(leaving, "m")
        async with broker.subscribe(topic, "g") as subscription:
            (delivery,) = await self.expect(subscription, "m")
            assert delivery.attempt == 2

    @promise(2)
    async def test_what_a_dead_consumer_held_goes_to_another(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with self.client() as doomed:
            dying = await doomed.subscribe(topic, "g", prefetch=2).__aenter__()
            await publish_all(broker, topic, 1, 2)
            await (await self.receive(dying)).ack()
            held = await self.receive(dying)
        async with broker.subscribe(topic, "g") as survivor:
            again = await self.receive(survivor)
            assert again.message.id == held.message.id
            assert again.attempt == 2, "a delivery that its consumer did not survive has to be counted"
            await again.ack()

    @promise(2, short_lease=True)
    async def test_a_lease_that_runs_out_frees_the_message(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with self.client() as other, other.subscribe(topic, "g", prefetch=1) as stuck:
            await publish_all(broker, topic, "m")
            await self.expect(stuck, "m")
            async with broker.subscribe(topic, "g") as subscription:
                await self.advance_time(self.lease)
                (again,) = await self.expect(subscription, "m")
                assert again.attempt == 2
                await again.ack()

    @promise(2, short_lease=True)
    async def test_an_extended_lease_keeps_the_message(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with self.client() as other, other.subscribe(topic, "g", prefetch=1) as busy:
            await publish_all(broker, topic, "long")
            (delivery,) = await self.expect(busy, "long")
            async with broker.subscribe(topic, "g") as subscription, self.inbox(subscription) as inbox:
                for _ in range(4):
                    await self.advance_time(self.lease / 2)
                    await delivery.extend()
                await publish_all(broker, topic, "other")
                await self.expect(inbox, "other")
                await delivery.ack()

    @promise(2, short_lease=True)
    async def test_settling_a_lost_delivery_takes_it_from_nobody(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with self.client() as other, other.subscribe(topic, "g", prefetch=1) as stuck:
            await publish_all(broker, topic, "m")
            (lost,) = await self.expect(stuck, "m")
            async with broker.subscribe(topic, "g") as subscription:
                await self.advance_time(self.lease)
                (again,) = await self.expect(subscription, "m")
                await lost.nack()
                await lost.extend()
                await self.expect_nothing(subscription)
                await again.ack()
                await publish_all(broker, topic, "after")
                await self.expect(subscription, "after")

    @promise(2)
    async def test_a_cancelled_wait_loses_nothing(self, broker: Broker) -> None:
        topic, count = self.new_topic(), 20
        found: list[object] = []
        async with broker.subscribe(topic, "g", prefetch=2) as subscription:
            for value in range(count):
                waiting = asyncio.ensure_future(anext(subscription))
                await asyncio.sleep(0)
                await publish_all(broker, topic, value)
                for _ in range(value % 4):
                    await asyncio.sleep(0)
                waiting.cancel()
                with suppress(asyncio.CancelledError):
                    delivery = await waiting
                    found.append(delivery.message.read(int))
                    await delivery.ack()
            while len(found) < count:
                delivery = await self.receive(subscription)
                found.append(delivery.message.read(int))
                await delivery.ack()
        assert sorted(found, key=str) == sorted(range(count), key=str)

    @promise(2)
    async def test_closing_the_broker_ends_the_iteration(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with self.client() as other:
            subscription = await other.subscribe(topic, "g").__aenter__()
            waiting = asyncio.ensure_future(anext(subscription, None))
            await asyncio.wait({waiting}, timeout=self.quiet)
            await other.close()
            await publish_all(broker, topic, "for others")
            assert await self.within(waiting, "the iteration went on after close()") is None
