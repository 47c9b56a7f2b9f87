"""Promise 1 while all is well: what was published and confirmed arrives as it was sent."""

from __future__ import annotations

import pytest

from aats_core.broker import Broker
from aats_core.errors import InvalidPayload
from aats_core.health import HealthStatus
from aats_core.message import Message
from aats_core.testing.brokers_harness import BrokerHarness, create_group, number, promise, publish_all


class PublishPromises(BrokerHarness):
    """Publishing, and what arrives."""

    @promise(1)
    async def test_a_message_arrives_as_it_was_sent(self, broker: Broker) -> None:
        topic = self.new_topic()
        payload: dict[str, object] = {
            "text": "grüße \U0001f600\n\x00",
            "numbers": [1, -2.5, 2**53],
            "nothing": None,
            "nested": [{"a": []}],
        }
        sent = Message(
            "report",
            payload,
            sender="writer",
            receiver="reader",
            timestamp=1_700_000_000.25,
            correlation_id="chain-1",
            reply_to="agent.responses.writer",
            priority=3,
            deadline=1_800_000_000.5,
            headers={"subject": "ada", "traceparent": "00-ab-cd-01"},
        )
        async with broker.subscribe(topic, "g") as subscription:
            await broker.publish(topic, sent)
            delivery = await self.receive(subscription)
            assert (delivery.topic, delivery.attempt) == (topic, 1)
            assert delivery.message.read(object) == payload
            for field in Message.__struct_fields__:
                if field != "payload":
                    assert getattr(delivery.message, field) == getattr(sent, field), f"{field} changed on its way"
            await delivery.ack()

    @promise(1)
    async def test_a_payload_is_fixed_when_it_is_published(self, broker: Broker) -> None:
        topic, payload = self.new_topic(), {"steps": [1]}
        async with broker.subscribe(topic, "g") as subscription:
            await broker.publish(topic, number(payload))
            payload["steps"].append(2)
            await self.expect(subscription, {"steps": [1]})

    @promise(1)
    async def test_a_payload_that_json_cannot_carry_is_refused(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g") as subscription:
            with pytest.raises(InvalidPayload):
                await broker.publish(topic, number(object()))
            await publish_all(broker, topic, "after")
            await self.expect(subscription, "after")

    @promise(1)
    async def test_publish_many_keeps_the_order_of_a_key(self, broker: Broker) -> None:
        topic, values = self.new_topic(), list(range(50))
        async with broker.subscribe(topic, "g") as subscription:
            await broker.publish_many(topic, [number(value) for value in values], key="k")
            for value in values:
                (delivery,) = await self.expect(subscription, value)
                await delivery.ack()

    @promise(1)
    async def test_publish_many_of_nothing_is_nothing(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g") as subscription:
            await broker.publish_many(topic, [])
            await publish_all(broker, topic, "after")
            await self.expect(subscription, "after")

    @promise(1)
    async def test_a_confirmed_message_outlives_its_publisher(self, broker: Broker) -> None:
        topic = self.new_topic()
        await create_group(broker, topic, "g")
        async with self.client() as publisher:
            await publish_all(publisher, topic, "confirmed")
        async with broker.subscribe(topic, "g") as subscription:
            await self.expect(subscription, "confirmed")

    @promise(1)
    async def test_closing_twice_is_harmless(self, broker: Broker) -> None:
        async with self.client() as other:
            await other.close()
        topic = self.new_topic()
        async with broker.subscribe(topic, "g") as subscription:
            await publish_all(broker, topic, "still works")
            await self.expect(subscription, "still works")

    @promise(1)
    async def test_health_says_whether_the_broker_is_connected(self, broker: Broker) -> None:
        unconnected = await self.make_broker().health()
        assert unconnected.status is HealthStatus.DOWN
        assert unconnected.detail, "health has to say what is wrong"
        assert (await broker.health()).status is not HealthStatus.DOWN
