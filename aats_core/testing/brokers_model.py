"""Random sequences of calls, held against a model that knows what may be delivered next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aats_core.broker import Broker, Delivery, Subscription
from aats_core.testing.brokers_harness import BrokerHarness, create_group, number

T = TypeVar("T")

GROUPS = ("one", "two")
KEYS = (None, "k", "l")
SETTLE = ("ack", "nack", "reject")


@dataclass
class Expected:
    """A message that a group has not settled: how often it was delivered, and whether someone holds it."""

    value: int
    key: str | None
    attempts: int = 0
    held: Delivery | None = None


class BrokerMachine(RuleBasedStateMachine):
    """Publishes, consumes, settles and leaves at random; every delivery has to be one that the model allows."""

    harness: ClassVar[BrokerHarness]

    def __init__(self) -> None:
        super().__init__()
        self.topic = self.harness.new_topic()
        self.runner = asyncio.Runner()
        self.waiting: dict[str, list[Expected]] = {group: [] for group in GROUPS}
        self.dead = 0
        self.published = 0
        self.brokers: dict[str, Broker] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.run(self._begin())

    def run(self, work: Awaitable[T]) -> T:
        """Do something on the machine's event loop."""
        return self.runner.run(self.harness.within(work, "a call did not return"))

    def teardown(self) -> None:
        """Take what is left, all of which has to come, and close."""
        try:
            for group in GROUPS:
                while self._allowed(group):
                    self._settle(group, self._receive(group), "ack")
        finally:
            for broker in self.brokers.values():
                self.run(broker.close())
            self.runner.close()

    @rule(key=st.sampled_from(KEYS), priority=st.integers(1, 9))
    def publish(self, key: str | None, priority: int) -> None:
        """Publish one message, which both groups have to get."""
        self.published += 1
        message = number(self.published, priority=priority)
        self.run(self.brokers["one"].publish(self.topic, message, key=key))
        for group in GROUPS:
            self.waiting[group].append(Expected(self.published, key))

    @rule(group=st.sampled_from(GROUPS), fates=st.lists(st.sampled_from(["hold", *SETTLE]), min_size=1, max_size=3))
    def receive(self, group: str, fates: list[str]) -> None:
        """Receive, as long as something has to come, and hold or settle it."""
        for fate in fates:
            if self._allowed(group):
                expected = self._receive(group)
                if fate != "hold":
                    self._settle(group, expected, fate)

    @rule(group=st.sampled_from(GROUPS), how=st.sampled_from(SETTLE), which=st.integers(0, 99))
    def settle(self, group: str, how: str, which: int) -> None:
        """Settle one of the messages that are held."""
        held = [expected for expected in self.waiting[group] if expected.held]
        if held:
            self._settle(group, held[which % len(held)], how)

    @rule(group=st.sampled_from(GROUPS))
    def leave_and_return(self, group: str) -> None:
        """Take the consumer away with all that it holds, and put another in its place."""
        self.run(self.subscriptions[group].__aexit__(None, None, None))
        self._give_back(group)
        self.subscriptions[group] = self.run(self._subscribe(group))

    @rule(group=st.sampled_from(GROUPS))
    def die_and_return(self, group: str) -> None:
        """Close the client of a group with all that it holds, and open another."""
        self.run(self.brokers[group].close())
        self._give_back(group)
        self.run(self._open(group))

    @precondition(lambda self: self.dead)
    @invariant()
    def dead_letters_are_complete(self) -> None:
        """As many dead letters as messages that were given up."""
        self.run(self.harness.letters(self.brokers["one"], self.topic, self.dead))

    async def _begin(self) -> None:
        for group in GROUPS:
            await self._open(group)
        await create_group(self.brokers["one"], self.topic, *GROUPS)

    async def _open(self, group: str) -> None:
        broker = self.harness.make_broker()
        await broker.connect()
        self.brokers[group] = broker
        self.subscriptions[group] = await self._subscribe(group)

    async def _subscribe(self, group: str) -> Subscription:
        return await self.brokers[group].subscribe(self.topic, group, prefetch=1000).__aenter__()

    def _allowed(self, group: str) -> dict[int, Expected]:
        """What may be delivered: what nobody holds and has no unsettled message of its key before it."""
        allowed, keys = {}, set()
        for expected in self.waiting[group]:
            if expected.key not in keys and expected.held is None:
                allowed[expected.value] = expected
            if expected.key is not None:
                keys.add(expected.key)
        return allowed

    def _receive(self, group: str) -> Expected:
        delivery = self.run(self.harness.receive(self.subscriptions[group]))
        value = delivery.message.read(int)
        allowed = self._allowed(group)
        assert value in allowed, f"group {group} got {value}, but only {sorted(allowed)} may be delivered"
        expected = allowed[value]
        expected.attempts += 1
        assert delivery.attempt == expected.attempts, f"{value}: attempt {delivery.attempt}, not {expected.attempts}"
        expected.held = delivery
        return expected

    def _settle(self, group: str, expected: Expected, how: str) -> None:
        delivery, expected.held = expected.held, None
        assert delivery is not None
        if how == "nack":
            self.run(delivery.nack(reason="again"))
        elif how == "reject":
            self.run(delivery.reject(reason="no"))
        else:
            self.run(delivery.ack())
        if how == "reject" or (how == "nack" and expected.attempts >= self.harness.max_attempts):
            self.dead += 1
        elif how == "nack":
            return
        self.waiting[group].remove(expected)

    def _give_back(self, group: str) -> None:
        for expected in [e for e in self.waiting[group] if e.held]:
            expected.held = None
            if expected.attempts >= self.harness.max_attempts:
                self.dead += 1
                self.waiting[group].remove(expected)
