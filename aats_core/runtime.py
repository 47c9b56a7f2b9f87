"""The runtime of one process: hosts its agents and carries messages between them and to the broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from aats_core import hookspecs
from aats_core.agent import REQUEST_TIMEOUT, Agent
from aats_core.broker import Broker, DeadLetter, Subscription
from aats_core.clock import Clock, RealClock
from aats_core.deadlines import Deadlines
from aats_core.error_body import ErrorBody, describe, revive
from aats_core.errors import (
    AatsError,
    RequestFailed,
    RequestTimeout,
    UnknownReceiver,
    WiringError,
)
from aats_core.handlers import Handler
from aats_core.host import LISTEN_AGAIN, AgentHost
from aats_core.message import Message, new_id
from aats_core.middleware import Middleware
from aats_core.policy import SUBJECT
from aats_core.replica import CURRENT
from aats_core.settings import AgentSettings, TeamInfo
from aats_core.states import AgentStates
from aats_core.store import RecordStore

if TYPE_CHECKING:
    from aats_core.hooks import Hooks

log = logging.getLogger("aats.runtime")

TRACE = ("traceparent", "tracestate")
"""Headers that a message hands on to those sent while it is handled."""

DEFAULTS = AgentSettings()


class _Answer(msgspec.Struct, omit_defaults=True):
    """What another process answers to a request."""

    result: Any = None
    error: ErrorBody | None = None


class Runtime:
    """Carries messages. Between agents of one process they do not go through the broker, whatever it is.

    It belongs to the event loop in which it is made; every name below is used from that loop only.
    """

    def __init__(
        self,
        *,
        hooks: Hooks,
        broker: Broker | None = None,
        records: RecordStore | None = None,
        clock: Clock | None = None,
        info: TeamInfo | None = None,
        middleware: Sequence[Middleware] = (),
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.time = self.loop.time
        self.hooks = hooks
        self.broker = broker
        self.records = records
        self.clock = clock or RealClock()
        self.info = info or TeamInfo()
        self.middleware = tuple(middleware)
        self.states = AgentStates(records)
        self.hosts: dict[str, AgentHost] = {}
        self._deadlines = Deadlines(self.loop)
        self._pending: dict[str, asyncio.Future[Any]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._watchdog: asyncio.Task[None] | None = None
        self._answers = f"agent.responses.{self.info.node}"

    # Agents

    @property
    def local_only(self) -> bool:
        """Whether there is no way to other processes."""
        return self.broker is None or self.broker.in_process

    def add(self, name: str, factory: Callable[[], Agent], settings: AgentSettings | None = None) -> AgentHost:
        """Host an agent under that name; `factory` makes one instance for each replica and each restart."""
        if name in self.hosts:
            raise WiringError(f"two agents are named {name}")
        host = self.hosts[name] = AgentHost(self, name, factory, settings or DEFAULTS)
        return host

    async def start(self) -> None:
        """Listen for answers from other processes and watch over handlers; `AgentHost.start` starts each agent."""
        self._watchdog = self.loop.create_task(self._watch(), name="handler watchdog")
        if not self.local_only:
            self._listening = self.loop.create_task(self._receive_answers(), name="answers")

    async def stop(self) -> None:
        """Stop listening; requests that still wait fail."""
        tasks = [task for task in (self._listening, self._watchdog) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for future in self._pending.values():
            if not future.done():
                future.set_exception(RequestFailed("the team stopped"))

    def address(self, name: str) -> str:
        """Return the address of an agent in this very process, where other processes may run the same agent."""
        return name if self.local_only else f"{name}@{self.info.node}"

    def addresses(self, name: str) -> tuple[str, str]:
        """Return the topics that an agent's messages come by: any process's, and this one's own."""
        return f"agent.tasks.{name}", f"agent.tasks.{name}.{self.info.node}"

    def subscription(self, topic: str, group: str) -> Subscription:
        """Return a subscription to a topic of this team; what is sent to this very process ends with it."""
        if self.broker is None:
            raise WiringError(f"{group} subscribes to {topic}, which needs a broker")
        own = topic.endswith(f".{self.info.node}")
        return self.broker.subscribe(f"{self.info.namespace}.{topic}", group, ephemeral=own)

    # Messages

    async def send(
        self,
        receiver: str,
        type: str,
        payload: Any = None,
        *,
        sender: str = "",
        priority: int = 5,
        deadline: float | None = None,
        durable: bool = False,
    ) -> None:
        """Put a message into an agent's mailbox; see `Agent.send`."""
        message = self._compose(type, payload, sender, receiver)
        if priority != 5 or deadline is not None:
            message = msgspec.structs.replace(message, priority=priority, deadline=deadline)
        host = self._local(receiver)
        if host is None or (durable and not self.local_only):
            await self._send_out(receiver, message)
        elif not host.offer(message):
            await host.put(message)

    async def request(
        self, receiver: str, type: str, payload: Any = None, *, sender: str = "", timeout: float = REQUEST_TIMEOUT
    ) -> Any:
        """Put a message into an agent's mailbox and wait for the answer; see `Agent.request`."""
        message = self._compose(type, payload, sender, receiver, self._answers)
        future: asyncio.Future[Any] = self.loop.create_future()
        waiting = self._deadlines.add(future, timeout)
        self._pending[message.id] = future
        try:
            host = self._local(receiver)
            if host is None:
                await self._send_out(receiver, message)
            elif not host.offer(message):
                async with asyncio.timeout(timeout):
                    await host.put(message)
            return await future
        except (RequestTimeout, TimeoutError) as error:
            raise RequestTimeout(f"{receiver} did not answer {type} within {timeout:g} s") from error
        finally:
            waiting.discard(future)
            del self._pending[message.id]

    async def publish(self, topic: str, type: str, payload: Any = None, *, sender: str = "") -> None:
        """Publish a message through the broker; see `Agent.publish`."""
        if self.broker is None:
            raise WiringError(f"publishing to {topic} needs a broker")
        await self.broker.publish(f"{self.info.namespace}.{topic}", self._compose(type, payload, sender, topic))

    def reply(self, message: Message, handler: Handler[Any], result: Any) -> None:
        """Answer a request; raises `InvalidPayload` where the handler's annotation does not allow that answer."""
        result = handler.check_result(result)
        future = self._pending.get(message.id)
        if future is None:
            self._answer_out(message, _Answer(result))
        elif not future.done():
            future.set_result(result)

    def reply_later(self, message: Message, handler: Handler[Any], done: asyncio.Future[Any]) -> None:
        """Answer a request with what came of the future that its handler returned."""
        if done.cancelled():
            self.reply_error(message, RequestFailed(f"{message.receiver} gave {message.type} up"))
        elif (error := done.exception()) is not None:
            self.reply_error(message, error)
        else:
            try:
                self.reply(message, handler, done.result())
            except AatsError as misfit:
                self.reply_error(message, misfit)

    def reply_error(self, message: Message, error: BaseException) -> None:
        """Answer a request with an error: one of the kernel's own as it is, any other as `RequestFailed`."""
        if not isinstance(error, AatsError):
            failure = RequestFailed(f"{message.receiver} failed on {message.type}: {error.__class__.__name__}: {error}")
            failure.__cause__ = error
            error = failure
        future = self._pending.get(message.id)
        if future is None:
            self._answer_out(message, _Answer(error=describe(error)))
        elif not future.done():
            future.set_exception(error)

    async def bury(self, agent: str, message: Message, reason: str, attempts: int, *, stored: bool) -> None:
        """Make a message that this process gave up a dead letter, and tell the observers."""
        topic = f"{self.info.namespace}.agent.tasks.{agent}"
        if self.broker is not None and not stored:
            if self.local_only:
                self.hosts[agent].hear_replays()
            await self.broker.dead_letter(topic, message, reason=reason, attempts=attempts)
        letter = DeadLetter(new_id(), topic, message, reason, attempts, self.clock.time())
        self.hooks.notify(hookspecs.message_dead, letter)

    def _compose(self, type: str, payload: Any, sender: str, receiver: str, reply_to: str = "") -> Message:
        cause, subject = CURRENT.get(), SUBJECT.get()
        if cause is None and not subject:
            return Message(type, payload, sender, receiver, reply_to=reply_to)
        carried = {n: v for n, v in cause.headers.items() if n in TRACE} if cause and cause.headers else {}
        if subject:
            carried["subject"] = subject
        correlation = (cause.correlation_id or cause.id) if cause else ""
        return Message(type, payload, sender, receiver, correlation_id=correlation, reply_to=reply_to, headers=carried)

    def _local(self, receiver: str) -> AgentHost | None:
        host = self.hosts.get(receiver)
        if host is None and "@" in receiver:
            name, _, node = receiver.partition("@")
            return self.hosts.get(name) if node == self.info.node else None
        return host

    async def _send_out(self, receiver: str, message: Message) -> None:
        if self.broker is None or self.broker.in_process:
            known = ", ".join(sorted(self.hosts)) or "none"
            raise UnknownReceiver(f"no agent is named {receiver!r}; there are: {known}")
        name, _, node = receiver.partition("@")
        topic = f"{self.info.namespace}.agent.tasks.{name}{'.' + node if node else ''}"
        await self.broker.publish(topic, message)

    # Requests between processes

    def _answer_out(self, request: Message, payload: _Answer) -> None:
        if self.broker is None or request.reply_to == self._answers:
            return
        answer = Message("answer", payload, request.receiver, request.sender, correlation_id=request.id)
        topic = f"{self.info.namespace}.{request.reply_to}"
        host = self.hosts[request.receiver.partition("@")[0]]
        host.own(self.broker.publish(topic, answer))

    async def _receive_answers(self) -> None:
        """Take in answers from other processes; where that fails, subscribe again."""
        while True:
            try:
                async with self.subscription(self._answers, self.info.node) as deliveries:
                    async for delivery in deliveries:
                        self._take_answer(delivery.message)
                        await delivery.ack()
                return
            except Exception:
                log.exception("could not listen to %s, tries again in %g s", self._answers, LISTEN_AGAIN)
            await self.clock.sleep(LISTEN_AGAIN)

    def _take_answer(self, answer: Message) -> None:
        future = self._pending.get(answer.correlation_id)
        if future is None or future.done():
            return
        try:
            _settle(future, answer)
        except (AatsError, TypeError, ValueError) as error:
            future.set_exception(RequestFailed(f"{answer.sender} gave an answer that cannot be read: {error}"))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1)
            now = self.loop.time()
            for host in self.hosts.values():
                for replica in host.replicas:
                    if replica.busy_since is not None and now - replica.busy_since > host.settings.handler_timeout:
                        replica.cancel_overdue()


def _settle(future: asyncio.Future[Any], answer: Message) -> None:
    payload = answer.read(_Answer)
    if payload.error is None:
        future.set_result(payload.result)
    else:
        future.set_exception(revive(payload.error))
