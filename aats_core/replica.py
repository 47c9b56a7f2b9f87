"""One replica of an agent: takes messages from the mailbox, one at a time, and runs their handlers."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import msgspec

from aats_core.agent import Agent, AgentContext
from aats_core.broker import Delivery
from aats_core.errors import AgentFailed, InvalidPayload, NoHandler, RequestFailed
from aats_core.handlers import Handler
from aats_core.message import Message
from aats_core.middleware import wrap
from aats_core.policy import SUBJECT

if TYPE_CHECKING:
    from aats_core.clock import Clock
    from aats_core.host import AgentHost
    from aats_core.settings import AgentSettings

log = logging.getLogger("aats.agent")

CURRENT: ContextVar[Message | None] = ContextVar("aats_message", default=None)
"""The message that is being handled; what is sent meanwhile carries on its correlation and headers."""


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A message in a mailbox together with where it came from; a bare `Message` was sent in this process, just now."""

    message: Message
    handler: Handler[Any] | None = None
    delivery: Delivery | None = None
    attempt: int = 1


class HandlerTimeout(Exception):
    """The handler did not end within the agent's `handler_timeout`."""


class Replica(AgentContext):
    """Runs one instance of an agent. It costs nothing but itself until the first message or `spawn`."""

    __slots__ = (
        "_overdue",
        "_promised",
        "_spawned",
        "_state_version",
        "_stopped",
        "_task",
        "agent",
        "busy_since",
        "host",
        "started",
    )

    def __init__(self, host: AgentHost, agent: Agent) -> None:
        self.host = host
        self.agent = agent
        self.started = False
        self.busy_since: float | None = None
        self._stopped = False
        self._promised: set[asyncio.Future[Any]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._spawned: set[asyncio.Task[None]] | None = None
        self._state_version = 0
        self._overdue = False
        agent.context = self

    # What the agent sees

    @property
    def name(self) -> str:
        """The agent's name."""
        return self.host.name

    @property
    def settings(self) -> AgentSettings:
        """The agent's section of the team file."""
        return self.host.settings

    @property
    def clock(self) -> Clock:
        """The team's clock."""
        return self.host.runtime.clock

    async def send(
        self, receiver: str, type: str, payload: Any, *, priority: int, deadline: float | None, durable: bool
    ) -> None:
        """Send a message."""
        await self.host.runtime.send(
            receiver, type, payload, sender=self.name, priority=priority, deadline=deadline, durable=durable
        )

    async def request(self, receiver: str, type: str, payload: Any, *, timeout: float) -> Any:
        """Send a message and wait for the answer."""
        if self._is_only(receiver) and asyncio.current_task() is self._task:
            raise RequestFailed(f"{self.name} asks itself for {type} and is too busy waiting for that to answer")
        return await self.host.runtime.request(receiver, type, payload, sender=self.name, timeout=timeout)

    def _is_only(self, receiver: str) -> bool:
        host = self.host
        return receiver in (self.name, host.runtime.address(self.name)) and len(host.replicas) == 1

    async def publish(self, topic: str, type: str, payload: Any) -> None:
        """Publish a message."""
        await self.host.runtime.publish(topic, type, payload, sender=self.name)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something until the agent stops; its failure is the agent's crash."""
        task = asyncio.get_running_loop().create_task(self._beside(work), name=f"{self.name} background")
        if self._spawned is None:
            self._spawned = set()
        self._spawned.add(task)
        task.add_done_callback(self._background_ended)
        task.add_done_callback(lambda _: work.close())  # where it was cancelled before it began
        return task

    async def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        with self._without_exit("beside its handlers"):
            await work

    @contextmanager
    def _without_exit(self, when: str) -> Iterator[None]:
        """Make an error of an attempt to end the process: only who runs the team may do that."""
        try:
            yield
        except (SystemExit, KeyboardInterrupt) as error:
            raise AgentFailed(f"{self.name} tried to end the process {when}: {error!r}") from error

    async def load_state(self) -> dict[str, Any]:
        """Return the durable state."""
        self._state_version, state = await self.host.runtime.states.load(self.name)
        return state

    async def save_state(self, state: dict[str, Any]) -> None:
        """Write the durable state."""
        self._state_version = await self.host.runtime.states.save(self.name, state, self._state_version)

    # Life

    async def start(self) -> None:
        """Start the agent; no message and no task reaches it before that has ended."""
        if self.agent.__class__.start is not Agent.start:
            with self._without_exit("in its start"):
                await self.agent.start()
        self.started = True

    @property
    def awake(self) -> bool:
        """Whether it takes messages."""
        return self._task is not None

    def wake(self) -> None:
        """Begin to take messages."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._serve(), name=f"{self.name} messages")

    async def stop(self) -> None:
        """Stop taking messages, stop the agent, and end what was spawned, on which it may rely.

        Whoever waits for an answer that the agent was to give later hears that there will be none. Where that is
        called again, the agent's own `stop` is not.
        """
        messages, self._task = self._task, None
        self._overdue = False
        try:
            await _end([messages])
            await self._stop_agent()
        finally:
            tasks = (messages, self._task, *(self._spawned or ()))
            self._task, self._spawned = None, None
            for answer in tuple(self._promised or ()):
                answer.cancel()
            await _end(tasks)

    async def _stop_agent(self) -> None:
        stopped, self._stopped = self._stopped, True
        if not stopped and self.agent.__class__.stop is not Agent.stop:
            with self._without_exit("in its stop"):
                await self.agent.stop()

    def cancel_overdue(self) -> None:
        """End the handler that runs now, as timed out."""
        if self._task is not None and self.busy_since is not None:
            self._overdue = True
            self._task.cancel()

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        if self._spawned is not None:
            self._spawned.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self.host.crashed(self, error)

    # Messages

    async def _serve(self) -> None:
        mailbox = self.host.mailbox
        while self._task is not None:  # a handler may have swallowed the cancellation that meant this loop
            while not mailbox:
                await mailbox.wait()
            try:
                await self._handle(mailbox.take())
            except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
                self.host.crashed(self, error)
                return
            except Exception:
                log.exception("%s could not settle a message; the broker gives it to somebody again", self.name)

    async def _handle(self, item: Message | Envelope) -> None:
        message = item if item.__class__ is Message else item.message  # type: ignore[union-attr] # the other of the two
        runtime = self.host.runtime
        CURRENT.set(message)
        SUBJECT.set(message.headers.get("subject", "") if message.headers else "")
        began = self.busy_since = runtime.time()
        try:
            handler = self._handler(item, message)
            if not runtime.middleware:
                result = await handler.call(self.agent, message, None)
            else:
                result = await self._wrapped(handler, message)
            if message.reply_to:
                self._reply(message, handler, result)
        except asyncio.CancelledError as error:
            await self._interrupted(item, error)
        except Exception as error:  # noqa: BLE001 - contained: whatever a handler raises is retried or a dead letter
            await self._failed(item, error)
        except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
            await self._failed(item, error)
            raise
        else:
            self.busy_since = None
            if item.__class__ is Envelope and item.delivery is not None:
                await item.delivery.ack()
        finally:
            self.busy_since = None
            if self._overdue:
                self._forgive()
            self.host.figures.latency.observe(runtime.time() - began)

    def _handler(self, item: Message | Envelope, message: Message) -> Handler[Any]:
        handler = self.host.handlers.get(message.type)
        if item.__class__ is Envelope and item.handler is not None:
            return item.handler
        if handler is None:
            raise NoHandler(f"{self.name} has no handler for {message.type!r}; {self.host.describe_handlers()}")
        return handler

    def _reply(self, message: Message, handler: Handler[Any], result: Any) -> None:
        """Answer a request; a handler that returned a future is answered for when that is done."""
        runtime = self.host.runtime
        if not isinstance(result, asyncio.Future):
            runtime.reply(message, handler, result)
            return
        if self._promised is None:
            self._promised = set()
        self._promised.add(result)
        result.add_done_callback(self._promised.discard)
        result.add_done_callback(lambda done: runtime.reply_later(message, handler, done))

    async def _wrapped(self, handler: Handler[Any], message: Message) -> Any:
        def innermost() -> Awaitable[Any]:
            return handler.call(self.agent, message, None)

        return await wrap(self.host.runtime.middleware, self.name, message, innermost)()

    async def _interrupted(self, item: Message | Envelope, error: asyncio.CancelledError) -> None:
        """See to a message whose handler was cancelled: for its time, by itself, or because the replica ends."""
        self.busy_since = None
        envelope = item if isinstance(item, Envelope) else Envelope(item)
        message, task = envelope.message, asyncio.current_task()
        if self._overdue:
            self._forgive()
            seconds = self.settings.handler_timeout
            await self._failed(envelope, HandlerTimeout(f"{message.type}: no end after {seconds:g} s"))
            return
        if task is None or not task.cancelling():
            await self._failed(envelope, error)
            return
        if envelope.delivery is not None:
            await envelope.delivery.nack(reason="the agent stopped")
        elif message.reply_to:
            self.host.runtime.reply_error(message, AgentFailed(f"{self.name} ended before it answered {message.type}"))
        elif self.host.status != "stopped":
            await self.host.retry_or_bury(envelope, "the agent crashed meanwhile", again=True)
        raise error

    def _forgive(self) -> None:
        """Take back the cancellation of an overdue handler, so that it ends nothing else."""
        self._overdue = False
        task = asyncio.current_task()
        while task is not None and task.cancelling():
            task.uncancel()

    async def _failed(self, item: Message | Envelope, error: BaseException) -> None:
        self.busy_since = None
        envelope = item if isinstance(item, Envelope) else Envelope(item)
        message = envelope.message
        self.host.figures.failed += 1
        if message.reply_to:
            self.host.runtime.reply_error(message, error)
            if envelope.delivery is not None:
                await envelope.delivery.ack()
            return
        reason = "".join(traceback.format_exception(error)).rstrip()
        if isinstance(error, InvalidPayload | NoHandler):
            reason = f"{error.__class__.__name__}: {error}"
        await self.host.retry_or_bury(envelope, reason, again=not isinstance(error, InvalidPayload | NoHandler))


async def _end(tasks: Iterable[asyncio.Task[None] | None]) -> None:
    """Cancel tasks and wait for their end; the one that asks for it is left out."""
    others = [task for task in tasks if task is not None and task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
