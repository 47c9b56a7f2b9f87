"""Brokers that each break one of the promises 5 to 9."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from aats_broker_memory import MemoryBroker
from msgspec.structs import replace

from aats_core.broker import Delivery, Subscription
from aats_core.errors import BrokerUnavailable
from aats_core.message import Message
from tests.brokers.careless_delivery import ConfirmsWhatItOnlyBuffered
from tests.brokers.remote import RemoteBroker, RemoteDelivery, RemoteSubscription, fails

# Promises 5, 6 and 7


@fails(
    "a_message_waits_until_the_one_before_it_of_its_key_is_settled",
    "the_order_of_a_key_holds_across_consumers",
    "the_order_of_a_key_holds_while_a_message_given_back_is_delayed",
    "the_order_of_a_key_survives_its_consumer",
    "the_order_of_a_key_is_stronger_than_priority",
    "a_key_keeps_its_order_through_retries_and_many_consumers",
    "any_sequence_of_calls_keeps_the_promises",
)
class IgnoresKeys(RemoteBroker):
    async def publish(self, topic: str, message: Message, *, key: str | None = None, **options: Any) -> None:
        await super().publish(topic, message, **options)


@fails("a_dead_letter_lets_the_next_of_its_key_go_on", "every_way_to_settle_makes_room_for_the_next")
class HoldsOnToWhatIsRejected(RemoteBroker):
    class Held(RemoteDelivery):
        async def reject(self, *, reason: str) -> None:
            await self.broker.dead_letter(self.topic, self.message, reason=reason, attempts=self.attempt)


@fails(
    "the_most_urgent_of_what_waits_comes_first",
    "an_urgent_message_overtakes_what_waits_for_a_busy_consumer",
)
class IgnoresPriority(RemoteBroker):
    async def publish(self, topic: str, message: Message, **options: Any) -> None:
        await super().publish(topic, replace(message, priority=5), **options)


@fails(
    "a_message_for_later_comes_at_its_time",
    "messages_for_later_come_in_the_order_of_their_times",
    "a_message_for_later_outlives_its_publisher",
)
class IgnoresTheTime(RemoteBroker):
    async def publish(self, topic: str, message: Message, *, not_before: float | None = None, **options: Any) -> None:
        await super().publish(topic, message, **options)


@fails("a_message_for_later_outlives_its_publisher")
class DelaysInTheClient(RemoteBroker):
    async def publish(self, topic: str, message: Message, *, not_before: float | None = None, **options: Any) -> None:
        if not_before is None:
            return await super().publish(topic, message, **options)
        task = asyncio.ensure_future(self.later(not_before - self.clock.time(), topic, message))
        self.server.notes[task] = task
        return None

    async def later(self, delay: float, topic: str, message: Message) -> None:
        await self.clock.sleep(delay)
        with suppress(BrokerUnavailable):
            await self.publish(topic, message)


@fails("a_time_in_the_past_is_now")
class WaitsForThePast(RemoteBroker):
    async def publish(
        self, topic: str, message: Message, *, key: str | None = None, not_before: float | None = None
    ) -> None:
        wait = None if not_before is None else self.clock.time() + abs(not_before - self.clock.time())
        await super().publish(topic, message, key=key, not_before=wait)


# Promise 8


@fails("a_consumer_holds_no_more_than_its_prefetch")
class HasNoBound(RemoteBroker):
    def subscribe(self, topic: str, group: str, *, prefetch: int = 100) -> Subscription:
        return super().subscribe(topic, group, prefetch=10**6)


@fails("a_slow_consumer_holds_back_no_other")
class TakesAllItCanGet(HasNoBound):
    class Consumer(RemoteSubscription):
        async def __anext__(self) -> Delivery:
            taken = self.broker.server.notes.setdefault(self, [await super().__anext__()])
            with suppress(TimeoutError):
                while True:
                    taken.append(await asyncio.wait_for(super().__anext__(), 0.001))
            return taken.pop(0)


# Promise 9


@fails("what_could_not_be_published_in_time_was_not_accepted")
class SendsWhatItRefusedLater(RemoteBroker):
    async def publish(self, topic: str, message: Message, **options: Any) -> None:
        if not self.server.up.is_set():
            await MemoryBroker.publish(self, topic, message, **options)
        await super().publish(topic, message, **options)


@fails("publish_waits_through_a_short_outage")
class GivesUpAtOnce(RemoteBroker):
    async def publish(self, topic: str, message: Message, **options: Any) -> None:
        if not self.server.up.is_set():
            raise BrokerUnavailable
        await super().publish(topic, message, **options)


@fails("what_is_confirmed_between_outages_is_handled", "what_could_not_be_published_in_time_was_not_accepted")
class ConfirmsInTheDark(RemoteBroker):
    async def publish(self, topic: str, message: Message, **options: Any) -> None:
        if self.server.up.is_set():
            await super().publish(topic, message, **options)


@fails("connecting_in_vain_says_so")
class ConnectsForEver(RemoteBroker):
    async def reach(self) -> None:
        await self.server.up.wait()


@fails("a_consumer_goes_on_after_a_long_outage")
class NeverReturns(RemoteBroker):
    class Consumer(RemoteSubscription):
        async def __anext__(self) -> Delivery:
            if not self.broker.server.up.is_set():
                await asyncio.Future()
            found = await super().__anext__()
            return found if self.broker.server.up.is_set() else await asyncio.Future()


@fails("what_was_confirmed_before_an_outage_is_delivered_after_it")
class LosesItsBufferInAnOutage(ConfirmsWhatItOnlyBuffered):
    async def later(self, topic: str, message: Message, options: dict[str, Any], outages: int) -> None:
        await asyncio.sleep(0.001)
        if outages == self.server.outages:
            await RemoteBroker.publish(self, topic, message, **options)


@fails("a_delivery_held_over_an_outage_is_not_lost")
class LosesWhatIsHeldInAnOutage(RemoteBroker):
    class Held(RemoteDelivery):
        def __init__(self, inner: Delivery, broker: RemoteBroker) -> None:
            super().__init__(inner, broker)
            self.outages = broker.server.outages

        async def nack(self, *, delay: float = 0.0, reason: str = "") -> None:
            if self.outages == self.broker.server.outages:
                await super().nack(delay=delay, reason=reason)
            else:
                await self.inner.ack()
