"""Promises 1 and 9 while the server is away: nothing that was confirmed is lost, and work goes on by itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from aats_core.broker import Broker
from aats_core.errors import BrokerError, BrokerUnavailable
from aats_core.health import HealthStatus
from aats_core.testing.brokers_harness import BrokerHarness, create_group, number, promise, publish_all


class OutagePromises(BrokerHarness):
    """What a client does while its server cannot be reached, and afterwards."""

    @promise(9)
    async def test_what_could_not_be_published_in_time_was_not_accepted(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g") as subscription:
            await self.interrupt()
            with pytest.raises(BrokerUnavailable):
                await self.within(broker.publish(topic, number("refused")), "publish() did not give up")
            with pytest.raises(BrokerUnavailable):
                await self.within(broker.publish_many(topic, [number("refused")]), "publish_many() did not give up")
            await self.restore()
            await self.publish_in_the_end(broker, topic, "after")
            await self.expect(subscription, "after")

    @promise(9)
    async def test_publish_waits_through_a_short_outage(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g") as subscription:
            await self.interrupt()
            publishing = asyncio.ensure_future(broker.publish(topic, number("patient")))
            await asyncio.wait({publishing}, timeout=self.quiet)
            assert not publishing.done(), "publish() did not wait for the broker"
            await self.restore()
            await self.within(publishing, "publish() did not return")
            await self.expect(subscription, "patient")

    @promise(9)
    async def test_connecting_in_vain_says_so(self, broker: Broker) -> None:
        await self.interrupt()
        with pytest.raises(BrokerUnavailable):
            await self.within(self.make_broker().connect(), "connect() did not give up")
        await self.restore()
        assert await self.health_becomes(broker, HealthStatus.OK)

    @promise(9)
    async def test_what_was_confirmed_before_an_outage_is_delivered_after_it(self, broker: Broker) -> None:
        topic = self.new_topic()
        await create_group(broker, topic, "g")
        await publish_all(broker, topic, *range(20))
        await self.interrupt()
        await self.restore()
        async with self.client() as other, other.subscribe(topic, "g") as subscription:
            found = {(await self.receive(subscription)).message.read(int) for _ in range(20)}
        assert found == set(range(20))

    @promise(9)
    async def test_a_consumer_goes_on_after_a_long_outage(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g", prefetch=1) as subscription, self.inbox(subscription) as inbox:
            for value in range(2):
                await self.interrupt()
                await self.advance_time(2 * self.timeout)
                await self.restore()
                await self.publish_in_the_end(broker, topic, value)
                (delivery,) = await self.expect(inbox, value)
                await delivery.ack()

    @promise(9, short_lease=True)
    async def test_a_delivery_held_over_an_outage_is_not_lost(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g", prefetch=1) as subscription:
            await publish_all(broker, topic, "held")
            (held,) = await self.expect(subscription, "held")
            await self.interrupt()
            await self.restore()
            with suppress(BrokerError):
                await held.nack()
            await self.advance_time(self.lease)
            (again,) = await self.expect(subscription, "held")
            await again.ack()

    @promise(9)
    async def test_what_is_confirmed_between_outages_is_handled(self, broker: Broker) -> None:
        topic = self.new_topic()
        confirmed, handled = set[int](), set[int]()
        stop = asyncio.Event()

        async def produce() -> None:
            for value in range(10_000):
                with suppress(BrokerUnavailable):
                    await broker.publish(topic, number(value))
                    confirmed.add(value)
                if stop.is_set():
                    return
                await asyncio.sleep(0.002)

        async with broker.subscribe(topic, "g") as subscription, self.inbox(subscription) as inbox:
            producing = asyncio.ensure_future(produce())
            for _ in range(3):
                await asyncio.sleep(0.02)
                await self.interrupt()
                await asyncio.sleep(0.02)
                await self.restore()
            stop.set()
            await self.within(producing, "the publisher did not come back")
            while not confirmed <= handled:
                delivery = await self.receive(inbox)
                handled.add(delivery.message.read(int))
                with suppress(BrokerError):
                    await delivery.ack()
        assert confirmed

    @promise(9)
    async def test_health_tells_of_an_outage_and_of_its_end(self, broker: Broker) -> None:
        await self.interrupt()
        assert await self.health_becomes(broker, HealthStatus.DOWN), "an operator has to be told what is wrong"
        await self.restore()
        await self.health_becomes(broker, HealthStatus.OK)

    async def publish_in_the_end(self, broker: Broker, topic: str, value: object) -> None:
        """Publish, again and again while the broker is not yet back."""

        async def publish() -> None:
            while True:
                with suppress(BrokerUnavailable):
                    return await broker.publish(topic, number(value))

        await self.within(publish(), "the broker did not come back")

    async def health_becomes(self, broker: Broker, status: HealthStatus) -> str:
        """Wait until health has that status, or better than `DOWN` for `OK`, and return its detail."""

        async def wait() -> str:
            while True:
                health = await broker.health()
                if (health.status is HealthStatus.DOWN) == (status is HealthStatus.DOWN):
                    return health.detail or health.status
                await asyncio.sleep(0.02)

        return await self.within(wait(), f"health did not become {status}")
