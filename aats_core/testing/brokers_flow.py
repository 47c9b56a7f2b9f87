"""Promise 8: a consumer holds so many messages and no more, and a slow one is nobody else's problem."""

from __future__ import annotations

from aats_core.broker import Broker
from aats_core.testing.brokers_harness import BrokerHarness, create_group, number, promise, publish_all


class FlowPromises(BrokerHarness):
    """How many messages a consumer may hold."""

    @promise(8)
    async def test_a_consumer_holds_no_more_than_its_prefetch(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g", prefetch=2) as subscription:
            await publish_all(broker, topic, *range(5))
            held = [await self.receive(subscription), await self.receive(subscription)]
            await self.expect_nothing(subscription)
            await held.pop().ack()
            held.append(await self.receive(subscription))
            await self.expect_nothing(subscription)

    @promise(8)
    async def test_every_way_to_settle_makes_room_for_the_next(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g", prefetch=1) as subscription:
            await publish_all(broker, topic, *range(4))
            await (await self.receive(subscription)).ack()
            await (await self.receive(subscription)).reject(reason="no")
            await (await self.receive(subscription)).nack(delay=0.01)
            await self.receive(subscription)

    @promise(8, short_lease=True)
    async def test_a_lost_lease_makes_room_for_the_next(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g", prefetch=1) as subscription:
            await publish_all(broker, topic, "m")
            (lost,) = await self.expect(subscription, "m")
            await self.advance_time(self.lease)
            (again,) = await self.expect(subscription, "m")
            await lost.ack()
            await again.ack()

    @promise(8)
    async def test_a_slow_consumer_holds_back_no_other(self, broker: Broker) -> None:
        topic, count, prefetch = self.new_topic(), 60, 5
        await create_group(broker, topic, "g", "other")
        await broker.publish_many(topic, [number(value) for value in range(count)])
        async with self.client() as second, broker.subscribe(topic, "g", prefetch=prefetch) as slow:
            await self.receive(slow)
            for group, least in (("g", count - prefetch), ("other", count)):
                async with second.subscribe(topic, group) as quick:
                    for _ in range(least):
                        await (await self.receive(quick)).ack()
