"""Brokers that each break one of the promises 1 to 4."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

from aats_broker_memory import MemoryBroker
from msgspec.structs import replace

from aats_core.broker import DeadLetter, Delivery, Subscription, TopicStatus
from aats_core.errors import BrokerUnavailable, InvalidPayload
from aats_core.health import Health
from aats_core.message import Message
from tests.brokers.remote import RemoteBroker, RemoteDelivery, RemoteSubscription, fails

# Promise 1


@fails("a_message_arrives_as_it_was_sent")
class DropsHeaders(RemoteBroker):
    async def publish(self, topic: str, message: Message, **options: Any) -> None:
        await super().publish(topic, replace(message, headers={}), **options)


@fails("a_payload_is_fixed_when_it_is_published")
class SharesThePayload(RemoteBroker):
    async def publish(self, topic: str, message: Message, **options: Any) -> None:
        self.server.notes[message.id] = message
        await super().publish(topic, message, **options)

    class Held(RemoteDelivery):
        def __init__(self, inner: Delivery, broker: RemoteBroker) -> None:
            super().__init__(inner, broker)
            self.message = broker.server.notes[inner.message.id]


@fails("a_payload_that_json_cannot_carry_is_refused")
class SendsTextInstead(RemoteBroker):
    async def publish(self, topic: str, message: Message, **options: Any) -> None:
        try:
            await super().publish(topic, message, **options)
        except InvalidPayload:
            await super().publish(topic, replace(message, payload=str(message.payload)), **options)


@fails("publish_many_keeps_the_order_of_a_key", "publish_many_of_nothing_is_nothing")
class SendsTheLastFirst(RemoteBroker):
    async def publish_many(self, topic: str, messages: Sequence[Message], *, key: str | None = None) -> None:
        await self.publish(topic, messages[-1], key=key)
        await super().publish_many(topic, messages[:-1], key=key)


@fails("a_confirmed_message_outlives_its_publisher", "what_could_not_be_published_in_time_was_not_accepted")
class ConfirmsWhatItOnlyBuffered(RemoteBroker):
    async def publish(self, topic: str, message: Message, **options: Any) -> None:
        task = asyncio.ensure_future(self.later(topic, message, options, self.server.outages))
        self.server.notes[task] = task

    async def later(self, topic: str, message: Message, options: dict[str, Any], outages: int) -> None:
        await asyncio.sleep(0.001)
        with suppress(BrokerUnavailable):
            await super().publish(topic, message, **options)


@fails("closing_twice_is_harmless")
class ClosesOnce(RemoteBroker):
    async def close(self) -> None:
        self.server.notes[self, "closed"] = 1 / (1 - self.server.notes.get((self, "closed"), 0))
        await super().close()


@fails("health_says_whether_the_broker_is_connected", "health_tells_of_an_outage_and_of_its_end")
class IsAlwaysHealthy(RemoteBroker):
    async def health(self) -> Health:
        return Health()


# Promise 2


@fails("a_message_given_back_is_delivered_again", "any_sequence_of_calls_keeps_the_promises")
class LosesWhatIsGivenBack(RemoteBroker):
    class Held(RemoteDelivery):
        async def nack(self, *, delay: float = 0.0, reason: str = "") -> None:
            await self.inner.ack()


@fails(
    "what_a_dead_consumer_held_goes_to_another",
    "leaving_gives_back_at_once_what_is_held",
    "a_message_that_kills_its_consumers_becomes_a_dead_letter",
    "any_sequence_of_calls_keeps_the_promises",
    max_attempts=10**9,
)
class CountsWhatIsGivenBack(RemoteBroker):
    class Held(RemoteDelivery):
        def __init__(self, inner: Delivery, broker: RemoteBroker) -> None:
            super().__init__(inner, broker)
            self.attempt = 1 + broker.server.notes.get(inner.message.id, 0)

        async def nack(self, *, delay: float = 0.0, reason: str = "") -> None:
            self.broker.server.notes[self.message.id] = self.attempt
            await super().nack(delay=delay, reason=reason)


@fails("a_message_given_back_waits_for_its_delay")
class GivesBackAtOnce(RemoteBroker):
    class Held(RemoteDelivery):
        async def nack(self, *, delay: float = 0.0, reason: str = "") -> None:
            await self.inner.nack(reason=reason)


@fails(
    "an_acknowledged_message_never_comes_back",
    "settling_a_lost_delivery_takes_it_from_nobody",
    "a_message_given_back_is_delivered_again",
)
class PublishesWhatIsGivenBack(RemoteBroker):
    class Held(RemoteDelivery):
        async def nack(self, *, delay: float = 0.0, reason: str = "") -> None:
            await self.inner.ack()
            await self.broker.publish(self.topic, self.message)


@fails("leaving_gives_back_at_once_what_is_held", "what_a_dead_consumer_held_goes_to_another")
class LeavesQuietly(RemoteBroker):
    class Consumer(RemoteSubscription):
        async def __aexit__(self, *_: object) -> None:
            pass

    async def close(self) -> None:
        pass


@fails(
    "a_lease_that_runs_out_frees_the_message",
    "a_message_whose_lease_runs_out_too_often_becomes_a_dead_letter",
    "a_lost_lease_makes_room_for_the_next",
    lease=10**9,
)
class LeasesForEver(RemoteBroker):
    pass


@fails("an_extended_lease_keeps_the_message")
class ForgetsToExtend(RemoteBroker):
    class Held(RemoteDelivery):
        async def extend(self) -> None:
            pass


@fails("a_cancelled_wait_loses_nothing")
class DropsWhatNobodyWaitsFor(RemoteBroker):
    class Consumer(RemoteSubscription):
        async def __anext__(self) -> Delivery:
            return await asyncio.shield(asyncio.ensure_future(super().__anext__()))


@fails("closing_the_broker_ends_the_iteration")
class IteratesForEver(RemoteBroker):
    class Consumer(RemoteSubscription):
        async def __anext__(self) -> Delivery:
            with suppress(StopAsyncIteration):
                return await super().__anext__()
            return await asyncio.Future()


# Promise 3


@fails(
    "a_message_given_back_too_often_becomes_a_dead_letter",
    "a_message_that_kills_its_consumers_becomes_a_dead_letter",
    max_attempts=10**9,
)
class NeverGivesUp(RemoteBroker):
    pass


@fails("a_message_given_back_too_often_becomes_a_dead_letter")
class ForgetsTheReason(RemoteBroker):
    async def dead_letters(self, topic: str) -> list[DeadLetter]:
        return [replace(letter, reason="") for letter in await super().dead_letters(topic)]


@fails("a_rejected_message_is_a_dead_letter_at_once")
class LosesWhatIsRejected(RemoteBroker):
    class Held(RemoteDelivery):
        async def reject(self, *, reason: str) -> None:
            await self.inner.ack()


@fails("a_rejected_message_is_a_dead_letter_at_once")
class TriesWhatIsRejectedAgain(RemoteBroker):
    class Held(RemoteDelivery):
        async def reject(self, *, reason: str) -> None:
            await self.inner.nack(reason=reason)


@fails("a_dead_letter_can_be_put_there_without_a_delivery")
class DeliversDeadLetters(RemoteBroker):
    async def dead_letter(self, topic: str, message: Message, *, reason: str, attempts: int) -> None:
        await self.publish(topic, message)
        await super().dead_letter(topic, message, reason=reason, attempts=attempts)


@fails("every_client_sees_the_dead_letters_of_a_topic_or_pattern")
class FindsDeadLettersOfOneTopic(RemoteBroker):
    async def dead_letters(self, topic: str) -> list[DeadLetter]:
        return [letter for letter in await super().dead_letters(topic) if letter.topic == topic]


@fails("a_replayed_letter_is_a_fresh_message", "a_replayed_letter_can_be_edited")
class ReplaysAndKeeps(RemoteBroker):
    async def replay(self, topic: str, ids: Sequence[str], *, edited: Message | None = None) -> int:
        letters = {letter.id: letter.message for letter in await self.dead_letters(topic)}
        for letter in ids:
            await self.publish(topic, letters[letter])
        return len(ids)


@fails("purging_deletes_the_letters_named_or_all")
class PurgesEverything(RemoteBroker):
    async def purge(self, topic: str, ids: Sequence[str] | None = None) -> int:
        return await super().purge(topic)


# Promise 4


@fails("every_group_gets_every_message", "an_unsettled_message_of_a_key_holds_back_no_other_group")
class HasOneGroup(RemoteBroker):
    def subscribe(self, topic: str, group: str, **options: Any) -> Subscription:
        return super().subscribe(topic, "the group", **options)


@fails("consumers_of_a_group_share_its_messages", "a_group_keeps_its_messages_while_it_has_no_consumer")
class HasNoGroups(RemoteBroker):
    numbers = itertools.count()

    def subscribe(self, topic: str, group: str, **options: Any) -> Subscription:
        return super().subscribe(topic, f"{group}{next(self.numbers)}", **options)


@fails("a_group_gets_what_is_published_after_it_exists")
class TellsTheWholeHistory(RemoteBroker):
    async def publish(self, topic: str, message: Message, **options: Any) -> None:
        self.server.notes.setdefault(topic, []).append(message)
        await super().publish(topic, message, **options)

    class Consumer(RemoteSubscription):
        async def __aenter__(self) -> Self:
            await super().__aenter__()
            for topic, messages in list(self.broker.server.notes.items()):
                for message in messages:
                    await MemoryBroker.publish(self.broker, topic, message)
            return self


@fails("a_group_belongs_to_its_topic")
class KnowsGroupsByNameAlone(RemoteBroker):
    def subscribe(self, topic: str, group: str, **options: Any) -> Subscription:
        return super().subscribe(self.server.notes.setdefault(group, topic), group, **options)


@fails("a_star_is_exactly_one_word")
class StretchesTheStar(RemoteBroker):
    async def publish(self, topic: str, message: Message, **options: Any) -> None:
        await super().publish(".".join(topic.split(".")[:3]), message, **options)


@fails("a_topic_is_taken_literally")
class IgnoresCase(RemoteBroker):
    async def publish(self, topic: str, message: Message, **options: Any) -> None:
        await super().publish(topic.lower(), message, **options)


@fails("nothing_waits_for_an_ephemeral_group_that_ended", "an_ephemeral_group_ends_with_its_client")
class KeepsEphemeralGroups(RemoteBroker):
    def subscribe(self, topic: str, group: str, *, prefetch: int = 100, ephemeral: bool = False) -> Subscription:
        return super().subscribe(topic, group, prefetch=prefetch)


@fails("an_ephemeral_group_is_a_group_while_it_lasts")
class LosesWhatAnEphemeralGroupGivesBack(RemoteBroker):
    def subscribe(self, topic: str, group: str, *, prefetch: int = 100, ephemeral: bool = False) -> Subscription:
        subscription = super().subscribe(topic, group, prefetch=prefetch, ephemeral=ephemeral)
        if ephemeral:
            self.server.notes[self.Held] = subscription
        return subscription

    class Held(RemoteDelivery):
        async def nack(self, *, delay: float = 0.0, reason: str = "") -> None:
            if self.broker.server.notes.get(self.broker.Held):
                await self.inner.ack()
            else:
                await self.inner.nack(delay=delay, reason=reason)


@fails("topics_tell_what_waits_and_who_consumes", "topics_tell_of_patterns_and_dead_letters")
class KnowsOnlyItsOwnTopics(RemoteBroker):
    def subscribe(self, topic: str, group: str, **options: Any) -> Subscription:
        self.server.notes[self, topic] = True
        return super().subscribe(topic, group, **options)

    async def topics(self) -> list[TopicStatus]:
        return [status for status in await super().topics() if (self, status.topic) in self.server.notes]
