"""Promise 3: what nobody can handle is kept, with the reason, and can be looked at, edited and replayed."""

from __future__ import annotations

from aats_core.broker import Broker
from aats_core.testing.brokers_harness import BrokerHarness, number, promise, publish_all


class DeadLetterPromises(BrokerHarness):
    """Dead letters: how a message becomes one, and what can be done with it."""

    @promise(3)
    async def test_a_message_given_back_too_often_becomes_a_dead_letter(self, broker: Broker) -> None:
        topic, began = self.new_topic(), self.now()
        async with broker.subscribe(topic, "g") as subscription:
            await publish_all(broker, topic, "poison")
            for attempt in range(1, self.max_attempts + 1):
                (delivery,) = await self.expect(subscription, "poison")
                assert delivery.attempt == attempt
                await delivery.nack(reason=f"failed {attempt}")
            (letter,) = await self.letters(broker, topic, 1)
            assert (letter.topic, letter.attempts) == (topic, self.max_attempts)
            assert letter.reason == f"failed {self.max_attempts}"
            assert letter.message.id == delivery.message.id
            assert letter.message.read(str) == "poison"
            assert began - 1 <= letter.time <= self.now() + 1
            await publish_all(broker, topic, "after")
            await self.expect(subscription, "after")

    @promise(3)
    async def test_a_message_that_kills_its_consumers_becomes_a_dead_letter(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g"):
            await publish_all(broker, topic, "deadly")
        for attempt in range(1, self.max_attempts + 1):
            async with self.client() as doomed:
                subscription = await doomed.subscribe(topic, "g").__aenter__()
                (delivery,) = await self.expect(subscription, "deadly")
                assert delivery.attempt == attempt
        async with broker.subscribe(topic, "g") as subscription:
            await publish_all(broker, topic, "after")
            await self.expect(subscription, "after")
            (letter,) = await self.letters(broker, topic, 1)
        assert letter.attempts == self.max_attempts
        assert letter.reason

    @promise(3, short_lease=True)
    async def test_a_message_whose_lease_runs_out_too_often_becomes_a_dead_letter(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g") as subscription:
            await publish_all(broker, topic, "endless")
            for _ in range(self.max_attempts):
                await self.expect(subscription, "endless")
                await self.advance_time(self.lease)
            (letter,) = await self.letters(broker, topic, 1)
            assert letter.attempts == self.max_attempts
            assert letter.reason

    @promise(3)
    async def test_a_rejected_message_is_a_dead_letter_at_once(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g") as subscription:
            await publish_all(broker, topic, "no")
            (delivery,) = await self.expect(subscription, "no")
            await delivery.reject(reason="not for me")
            (letter,) = await self.letters(broker, topic, 1)
            assert (letter.reason, letter.attempts) == ("not for me", 1)
            await publish_all(broker, topic, "after")
            await self.expect(subscription, "after")

    @promise(3)
    async def test_a_dead_letter_can_be_put_there_without_a_delivery(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g") as subscription:
            await broker.dead_letter(topic, number("given up"), reason="no retries left", attempts=7)
            await publish_all(broker, topic, "after")
            await self.expect(subscription, "after")
        (letter,) = await self.letters(broker, topic, 1)
        assert (letter.message.read(str), letter.reason, letter.attempts) == ("given up", "no retries left", 7)

    @promise(3)
    async def test_every_client_sees_the_dead_letters_of_a_topic_or_pattern(self, broker: Broker) -> None:
        topic = self.new_topic()
        for word, value in (("a", 1), ("b", 2), ("a", 3), ("a.deeper", 4)):
            await broker.dead_letter(f"{topic}.{word}", number(value), reason="r", attempts=1)
        async with self.client() as other:
            of_pattern = await self.letters(other, f"{topic}.*", 3)
            of_topic = await self.letters(other, f"{topic}.a", 2)
        assert [letter.message.read(int) for letter in of_pattern] == [1, 2, 3]
        assert [letter.message.read(int) for letter in of_topic] == [1, 3]
        assert len({letter.id for letter in of_pattern}) == 3

    @promise(3)
    async def test_a_replayed_letter_is_a_fresh_message(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g") as subscription:
            await publish_all(broker, topic, 1, 2)
            for _ in range(2):
                await (await self.receive(subscription)).reject(reason="not now")
            first, second = await self.letters(broker, topic, 2)
            assert await broker.replay(topic, [first.id, "no-such-letter"]) == 1
            (delivery,) = await self.expect(subscription, first.message.read(int))
            assert delivery.attempt == 1
            await delivery.ack()
            (left,) = await self.letters(broker, topic, 1)
            assert left.id == second.id

    @promise(3)
    async def test_a_replayed_letter_can_be_edited(self, broker: Broker) -> None:
        topic = self.new_topic()
        async with broker.subscribe(topic, "g") as subscription:
            await publish_all(broker, topic, "wrong")
            await (await self.receive(subscription)).reject(reason="wrong")
            (letter,) = await self.letters(broker, topic, 1)
            assert await broker.replay(topic, [letter.id], edited=number("right")) == 1
            await self.expect(subscription, "right")
            assert await broker.dead_letters(topic) == []

    @promise(3)
    async def test_purging_deletes_the_letters_named_or_all(self, broker: Broker) -> None:
        topic, other = self.new_topic(), self.new_topic()
        for value in range(4):
            await broker.dead_letter(topic, number(value), reason="r", attempts=1)
        await broker.dead_letter(other, number("other"), reason="r", attempts=1)
        found = await self.letters(broker, topic, 4)
        assert await broker.purge(topic, [found[1].id, "no-such-letter"]) == 1
        assert [letter.id for letter in await self.letters(broker, topic, 3)] == [found[i].id for i in (0, 2, 3)]
        assert await broker.purge(topic) == 3
        assert await broker.dead_letters(topic) == []
        await self.letters(broker, other, 1)
