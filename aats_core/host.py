"""The host of one agent: its mailbox, its replicas, and the supervisor that restarts them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from aats_core.agent import Agent, TaskContext
from aats_core.errors import AgentFailed
from aats_core.handlers import Handler, collect
from aats_core.mailbox import Mailbox
from aats_core.message import Message
from aats_core.metrics import HandlerFigures
from aats_core.replica import Envelope, Replica
from aats_core.settings import AgentSettings
from aats_core.supervisor import Supervisor
from aats_core.worker import Worker

if TYPE_CHECKING:
    from aats_core.runtime import Runtime

log = logging.getLogger("aats.agent")

LISTEN_AGAIN = 1.0
"""Seconds after which an agent subscribes again where that failed."""

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
        "_figures",
        "_hears_replays",
        "_mailbox",
        "_supervisor",
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
        self.status = "starting"
        self.restarts = 0
        self.replicas = [Replica(self, factory()) for _ in range(settings.replicas)]
        self._asleep = settings.replicas
        self._hears_replays = False
        self._mailbox: Mailbox[Message | Envelope] | None = None
        self._supervisor: Supervisor | None = None
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
        """Put something into the mailbox and return True, or return False where it is full or closed."""
        if self.worker is not None and item.__class__ is Message and self.worker.take(item):
            return True
        mailbox = self._mailbox or self.mailbox
        if self._asleep and self.status != "starting" and not mailbox.idle and not mailbox.closed:
            self._wake_one()
        return mailbox.offer(item)

    def _wake_one(self) -> None:
        """Have one more replica take messages; one that is put in the place of another does so by itself."""
        self._asleep -= 1
        replica = next((replica for replica in self.replicas if replica.started and not replica.awake), None)
        if replica is not None:
            replica.wake()

    async def put(self, item: Message | Envelope) -> None:
        """Put something into the mailbox, waiting while it is full; raises `AgentFailed` where the agent has ended."""
        if not self.offer(item) and not await self.mailbox.put(item):
            raise AgentFailed(self._farewell())

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
                self.runtime.loop.call_later(delay, self._hand_over, later)
            return
        self.figures.dead += 1
        log.error("%s: %s is a dead letter after %d attempts: %s", self.name, message.type, attempt, reason)
        if delivery is not None:
            await delivery.reject(reason=reason)
        await self.runtime.bury(self.name, message, reason, attempt, stored=delivery is not None)

    def _hand_over(self, envelope: Envelope) -> None:
        """Put a message that was accepted before into the mailbox, be it full or not."""
        if self.mailbox.closed:
            self.own(self.retry_or_bury(envelope, self._farewell(), again=False))
            return
        if self._asleep and not self.mailbox.idle:
            self._wake_one()
        self.mailbox.force(envelope)

    # Life

    async def start(self) -> None:
        """Start every replica and listen to what the agent subscribed to."""
        for replica in tuple(self.replicas):
            await replica.start()
        if self.status == "failed":
            return
        self.status = "running"
        for _ in range(min(len(self.mailbox), self._asleep) if self._mailbox else 0):
            self._wake_one()
        for handler in self.topics:
            self.own(self._listen(handler.name, handler))
        if not self.runtime.local_only:
            for topic in self.runtime.addresses(self.name):
                self.own(self._listen(topic, None))
        if self.worker is not None:
            self.worker.start()

    def hear_replays(self) -> None:
        """Listen to the broker for dead letters that come again, where nothing else ever comes by it."""
        if not self._hears_replays:
            self._hears_replays = True
            self.own(self._listen(self.runtime.addresses(self.name)[0], None))

    async def stop(self) -> None:
        """Stop everything; what lies in the mailbox stays with the broker, or is dropped, and requests there fail."""
        self.status = "stopped"
        await _end(self._background or ())
        if self.worker is not None:
            await self.worker.stop()
        left = self.mailbox.close()
        removals = self._supervisor.removals if self._supervisor is not None else ()
        stops = (*(replica.stop() for replica in self.replicas), *removals)
        ends = await asyncio.gather(*stops, return_exceptions=True)
        self._refuse(left)
        await asyncio.gather(*(self._background or ()), return_exceptions=True)  # the last answers, on their way out
        failures = [end for end in ends if isinstance(end, BaseException)]
        if failures:
            raise failures[0]

    def own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for as long as the host lives; where it fails, that is logged."""
        if self._background is None:
            self._background = set()
        task = self.runtime.loop.create_task(work, name=f"{self.name} host")
        self._background.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        assert self._background is not None
        self._background.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("%s: something that runs beside its handlers failed", self.name, exc_info=error)

    async def _listen(self, topic: str, handler: Handler[Any] | None) -> None:
        """Take in what comes by a topic; where that fails, subscribe again."""
        while True:
            try:
                async with self.runtime.subscription(topic, self.name) as deliveries:
                    async for delivery in deliveries:
                        if handler is None and self.worker is not None and self.worker.take(delivery.message):
                            await delivery.ack()
                            continue
                        await self.put(Envelope(delivery.message, handler, delivery, delivery.attempt))
                return
            except Exception:
                log.exception("%s: could not listen to %s, tries again in %g s", self.name, topic, LISTEN_AGAIN)
            await self.runtime.clock.sleep(LISTEN_AGAIN)

    def _farewell(self) -> str:
        ended = "crashed too often and was given up" if self.status == "failed" else "has stopped"
        return f"{self.name} {ended}; it takes no more messages"

    def _refuse(self, left: list[Message | Envelope]) -> None:
        """Tell those who wait for an answer that there will be none."""
        for item in left:
            message = item if isinstance(item, Message) else item.message
            if message.reply_to:
                self.runtime.reply_error(message, AgentFailed(self._farewell()))

    # Supervision

    def crashed(self, replica: Replica, error: BaseException) -> None:
        """Have the supervisor see to a replica that crashed."""
        if self._supervisor is None:
            self._supervisor = Supervisor(self)
        self._supervisor.crashed(replica, error)

    async def give_up(self) -> None:
        """End the agent for good: its tasks are handed back, and whoever sends it something hears that it is gone."""
        left = self.mailbox.close()
        await _end(self._background or ())
        if self.worker is not None:
            await self.worker.stop()
        self._refuse(left)
        for item in left:
            envelope = item if isinstance(item, Envelope) else Envelope(item)
            if envelope.delivery is None and not envelope.message.reply_to:
                self.own(self.retry_or_bury(envelope, self._farewell(), again=False))


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their end; the one that asks for it is left out."""
    others = [task for task in tasks if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
