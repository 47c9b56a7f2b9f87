"""The host of one agent: its mailbox, its replicas, and the supervisor that restarts them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from aats_core import hookspecs
from aats_core.agent import Agent, TaskContext
from aats_core.broker import Delivery, Subscription
from aats_core.handlers import Handler, collect
from aats_core.mailbox import Mailbox
from aats_core.message import Message
from aats_core.metrics import HandlerFigures
from aats_core.replica import Envelope, Replica
from aats_core.settings import AgentSettings
from aats_core.worker import Worker

if TYPE_CHECKING:
    from aats_core.runtime import Runtime

log = logging.getLogger("aats.agent")

LONGEST_BACKOFF = 3600.0
"""Seconds that a failed message waits at most before it is handled again."""


class HandlerTable(NamedTuple):
    """What an agent's class handles: messages by type, subscriptions, and tasks by kind."""

    messages: dict[str, Handler[Any]]
    topics: tuple[Handler[Any], ...]
    tasks: dict[str, Handler[Any]]


_tables: dict[type[Agent], HandlerTable] = {}


def handlers_of(cls: type[Agent]) -> HandlerTable:
    """Return the handlers that an agent class declares; raises `WiringError` where one is not valid."""
    known = _tables.get(cls)
    if known is not None:
        return known
    found = collect(cls, TaskContext)
    table = _tables[cls] = HandlerTable(
        {name: handler for (kind, name), handler in found.items() if kind == "on"},
        tuple(handler for (kind, _), handler in found.items() if kind == "subscribe"),
        {name: handler for (kind, name), handler in found.items() if kind == "task"},
    )
    return table


class AgentHost:
    """Hosts an agent in this process: delivers to its replicas and restarts those that crash."""

    __slots__ = (
        "_asleep",
        "_background",
        "_crashes",
        "_figures",
        "_mailbox",
        "factory",
        "handlers",
        "name",
        "plugin",
        "replicas",
        "restarts",
        "runtime",
        "settings",
        "status",
        "topics",
        "worker",
    )

    def __init__(
        self,
        runtime: Runtime,
        name: str,
        factory: Callable[[], Agent],
        settings: AgentSettings,
    ) -> None:
        self.runtime = runtime
        self.name = name
        self.factory = factory
        self.settings = settings
        self.status = "stopped"
        self.restarts = 0
        self.replicas = [Replica(self, factory()) for _ in range(settings.replicas)]
        self._asleep = settings.replicas
        self._mailbox: Mailbox[Message | Envelope] | None = None
        self._crashes: deque[float] | None = None
        self._background: set[asyncio.Task[None]] | None = None
        cls = self.replicas[0].agent.__class__
        self.plugin = settings.plugin or name
        self.handlers, self.topics, tasks = handlers_of(cls)
        self._figures: HandlerFigures | None = None
        self.worker = Worker(self, tasks) if tasks else None

    @property
    def mailbox(self) -> Mailbox[Message | Envelope]:
        """What waits for the agent."""
        if self._mailbox is None:
            self._mailbox = Mailbox(self.settings.mailbox)
        return self._mailbox

    @property
    def figures(self) -> HandlerFigures:
        """What its handlers did."""
        if self._figures is None:
            self._figures = HandlerFigures()
        return self._figures

    def describe_handlers(self) -> str:
        """Say in words which message types the agent handles."""
        return f"it handles {', '.join(sorted(self.handlers))}" if self.handlers else "it handles no messages"

    # Delivery

    def offer(self, item: Message | Envelope) -> bool:
        """Put something into the mailbox and return True, or return False where it is full."""
        if self.worker is not None and item.__class__ is Message and self.worker.take(item):
            return True
        mailbox = self._mailbox or self.mailbox
        if self._asleep and self.status != "stopped" and not mailbox.idle:
            self._wake_one()
        return mailbox.offer(item)

    def _wake_one(self) -> None:
        self._asleep -= 1
        replica = next((replica for replica in self.replicas if not replica.awake), None)
        if replica is not None:
            replica.wake()

    async def put(self, item: Message | Envelope) -> None:
        """Put something into the mailbox, waiting while it is full."""
        if not self.offer(item):
            await self.mailbox.put(item)

    async def retry_or_bury(self, envelope: Envelope, reason: str, *, again: bool) -> None:
        """Have a message that failed handled again later, or make it a dead letter after its last attempt."""
        retries, message, delivery = self.settings.retries, envelope.message, envelope.delivery
        attempt = delivery.attempt if delivery is not None else envelope.attempt
        if again and attempt <= retries.limit:
            delay = min(retries.backoff * retries.factor ** min(attempt - 1, 64), LONGEST_BACKOFF)
            log.warning("%s: %s failed, attempt %d, again in %.1f s", self.name, message.type, attempt, delay)
            if delivery is not None:
                await delivery.nack(delay=delay, reason=reason)
            else:
                later = Envelope(message, envelope.handler, None, attempt + 1)
                self.runtime.loop.call_later(delay, self.mailbox.force, later)
            return
        self.figures.dead += 1
        log.error("%s: %s is a dead letter after %d attempts: %s", self.name, message.type, attempt, reason)
        if delivery is not None:
            await delivery.reject(reason=reason)
        await self.runtime.bury(self.name, message, reason, attempt, stored=delivery is not None)

    # Life

    async def start(self) -> None:
        """Start every replica and listen to what the agent subscribed to."""
        for replica in self.replicas:
            await replica.start()
        self.status = "running"
        if self._mailbox:
            self._wake_one()
        for handler in self.topics:
            self.own(self._listen(self.runtime.subscription(handler.name, self.name), handler))
        if not self.runtime.local_only:
            for topic in self.runtime.addresses(self.name):
                self.own(self._listen(self.runtime.subscription(topic, self.name), None))
        if self.worker is not None:
            self.worker.start()

    async def stop(self) -> None:
        """Stop everything; what lies in the mailbox stays with the broker, or is dropped."""
        self.status = "stopped"
        tasks = list(self._background or ())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.worker is not None:
            await self.worker.stop()
        for replica in self.replicas:
            await replica.stop()

    def own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for as long as the host lives."""
        if self._background is None:
            self._background = set()
        task = self.runtime.loop.create_task(work, name=f"{self.name} host")
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _listen(self, subscription: Subscription, handler: Handler[Any] | None) -> None:
        async with subscription as deliveries:
            async for delivery in deliveries:
                await self.put(self._envelope(delivery, handler))

    def _envelope(self, delivery: Delivery, handler: Handler[Any] | None) -> Envelope:
        return Envelope(delivery.message, handler, delivery, delivery.attempt)

    # Supervision

    def crashed(self, replica: Replica, error: BaseException) -> None:
        """Restart a replica that crashed, with backoff, unless it crashed too often."""
        if self.status in ("stopped", "failed"):
            return
        policy, now = self.settings.restarts, self.runtime.loop.time()
        if self._crashes is None:
            self._crashes = deque()
        self._crashes.append(now)
        while self._crashes[0] < now - policy.window:
            self._crashes.popleft()
        recent = len(self._crashes)
        given_up = recent > policy.limit
        self.restarts += not given_up
        self.status = "failed" if given_up else "restarting"
        log.error("%s crashed%s", self.name, ", too often: given up" if given_up else ", is restarted", exc_info=error)
        self.runtime.hooks.notify(hookspecs.agent_crashed, self.name, error, 0 if given_up else self.restarts)
        delay = None if given_up else policy.backoff * 2 ** (recent - 1)
        self.own(self._replace(replica, delay))

    async def _replace(self, replica: Replica, delay: float | None) -> None:
        try:
            await replica.stop(running=False)
        finally:
            self.replicas.remove(replica)
        if delay is None:
            return
        await self.runtime.clock.sleep(delay)
        fresh = Replica(self, self.factory())
        self.replicas.append(fresh)
        try:
            await fresh.start()
        except Exception as error:  # noqa: BLE001 - contained: a failing start is one more crash
            self.crashed(fresh, error)
            return
        fresh.wake()
        self.status = "running"
