"""What the contract tests of a broker stand on: brokers on one server, bounded waiting, and outages."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar, Self, TypeVar

import pytest

from aats_core.broker import Broker, DeadLetter, Delivery, Subscription, TopicStatus
from aats_core.message import Message, new_id
from aats_core.testing.contract import Contract

H = TypeVar("H", bound="BrokerHarness")


def promise(
    number: int, *, short_lease: bool = False
) -> Callable[[Callable[[H, Broker], Coroutine[Any, Any, None]]], Any]:
    """Make a test method of a coroutine that is given a connected broker, for one of the promises of `Broker`.

    The test is skipped where the broker lacks the promise. With `short_lease` the test waits for leases to run out.
    """

    def decorate(scenario: Callable[[H, Broker], Coroutine[Any, Any, None]]) -> Callable[[H], None]:
        def test(self: H) -> None:
            self.skip_unless(number)
            if short_lease:
                self.lease = self.short_lease
            asyncio.run(self.play(scenario))

        test.__name__, test.__qualname__ = scenario.__name__, scenario.__qualname__
        test.__doc__, test.__module__ = scenario.__doc__, scenario.__module__
        vars(test)["promise"] = number
        return test

    return decorate


class Inbox:
    """The deliveries of several consumers, in the order in which they came."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[Delivery] = asyncio.Queue()

    async def fill(self, subscription: Subscription) -> None:
        """Take all that a consumer gives."""
        async for delivery in subscription:
            self._arrived.put_nowait(delivery)

    def __aiter__(self) -> Self:
        """Return the inbox itself."""
        return self

    async def __anext__(self) -> Delivery:
        """Wait for the next delivery."""
        return await self._arrived.get()


class BrokerHarness(Contract, ABC):
    """What a broker's tests have to say of it, and what the contract's tests share.

    `make_broker` has to build the broker with the attributes `lease`, `max_attempts` and `timeout`. A subclass
    may enlarge them, `short_lease` and `patience` for a slow server. It may override a contract test only to mark it
    `xfail(reason=...)`.
    """

    lease: float = 60.0
    """Seconds: the lease that `make_broker` sets, longer than any test takes."""
    short_lease: float = 1.0
    """Seconds: what `lease` is in tests that wait for it to run out; no shorter than a few round trips."""
    max_attempts: int = 3
    """The deliveries before a message is a dead letter that `make_broker` sets."""
    timeout: float = 2.0
    """Seconds: the timeout that `make_broker` sets; the server has to be back within half of it after `restore`."""
    quiet: float = 0.2
    """Seconds that a test waits to see that something does not happen."""
    lacks: ClassVar[Mapping[int, str]] = {}
    """The promises that the broker cannot keep, by number, each with the reason; their tests are skipped."""
    adds: ClassVar[Mapping[int, str]] = {}
    """The promises that the plugin keeps where the server alone would not, by number, each with how it does that."""

    @abstractmethod
    def make_broker(self) -> Broker:
        """Return an unconnected broker; those that one test makes are clients of the same server."""

    async def interrupt(self) -> None:
        """Make the server unreachable, and keep its data; needed unless the broker lacks promise 9."""
        raise NotImplementedError(
            f"define {type(self).__name__}.interrupt, or say in `lacks` why there is no promise 9"
        )

    async def restore(self) -> None:
        """Make the server reachable again, and return once it answers."""
        raise NotImplementedError(f"define {type(self).__name__}.restore, or say in `lacks` why there is no promise 9")

    def skip_unless(self, number: int) -> None:
        """Skip the running test where the broker lacks that promise."""
        if number in self.lacks:
            pytest.skip(f"promise {number}: {self.lacks[number]}")

    async def play(self, scenario: Callable[[Self, Broker], Awaitable[None]]) -> None:
        """Run a scenario with a connected broker, and close that however it ends."""
        async with self.client() as broker:
            await self.within(scenario(self, broker), "the scenario did not end", times=6)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Broker]:
        """Open another client of the same server."""
        broker = self.make_broker()
        await self.within(broker.connect(), "connect() did not return")
        try:
            yield broker
        finally:
            await self.within(broker.close(), "close() did not return")

    async def receive(self, source: AsyncIterator[Delivery]) -> Delivery:
        """Return the next delivery."""
        return await self.within(anext(source), "nothing was delivered")

    async def expect(self, source: AsyncIterator[Delivery], *values: object) -> list[Delivery]:
        """Receive so many deliveries, which have to carry those payloads in that order, and return them."""
        found = [await self.receive(source) for _ in values]
        carried = [delivery.message.read(object) for delivery in found]
        assert carried == list(values), f"expected {values}, but {carried} was delivered"
        return found

    async def expect_nothing(self, source: AsyncIterator[Delivery]) -> None:
        """Fail if anything is delivered in a while."""
        waiting = asyncio.ensure_future(anext(source))
        await asyncio.wait({waiting}, timeout=self.quiet)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            delivery = await waiting
            raise AssertionError(f"{delivery.message.read(object)!r} was delivered, attempt {delivery.attempt}")

    @asynccontextmanager
    async def inbox(self, *subscriptions: Subscription) -> AsyncIterator[Inbox]:
        """Take from several consumers all that they give, and offer it in the order in which it came."""
        inbox = Inbox()
        pumps = [asyncio.ensure_future(inbox.fill(subscription)) for subscription in subscriptions]
        try:
            yield inbox
        finally:
            for task in pumps:
                task.cancel()
            ends = await asyncio.gather(*pumps, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def letters(self, broker: Broker, topic: str, count: int) -> list[DeadLetter]:
        """Return the dead letters of a topic, once there are so many."""

        async def wait() -> list[DeadLetter]:
            while len(found := await broker.dead_letters(topic)) < count:  # noqa: ASYNC110 - brokers tell of none
                await asyncio.sleep(0.01)
            return found

        found = await self.within(wait(), f"there were not {count} dead letters of {topic}")
        assert len(found) == count, f"expected {count} dead letters, found {[letter.message for letter in found]}"
        return found

    async def status(self, broker: Broker, topic: str) -> TopicStatus | None:
        """Return what a broker tells of a topic or pattern."""
        return next((status for status in await broker.topics() if status.topic == topic), None)

    async def eventually(self, look: Callable[[], Awaitable[object]], expected: object) -> None:
        """Look until what is expected is seen."""
        seen: object = None
        try:
            async with asyncio.timeout(self.patience):
                while (seen := await look()) != expected:  # noqa: ASYNC110 - brokers tell of none
                    await asyncio.sleep(0.01)
        except TimeoutError as error:
            raise AssertionError(f"expected {expected}, but saw {seen} after {self.patience:g} s") from error

    def new_topic(self) -> str:
        """Return a topic of two words that no other test uses."""
        return f"contract.{new_id()}"


def number(value: object, *, priority: int = 5) -> Message:
    """Return a small message that carries a value."""
    return Message("number", value, priority=priority)


async def publish_all(broker: Broker, topic: str, *values: object, key: str | None = None) -> None:
    """Publish small messages one after the other."""
    for value in values:
        await broker.publish(topic, number(value), key=key)


async def create_group(broker: Broker, topic: str, *groups: str) -> None:
    """Make groups exist that have no consumer."""
    for group in groups:
        async with broker.subscribe(topic, group):
            pass
