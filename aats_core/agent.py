"""An agent: a long-lived object with a name, typed handlers and durable state."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, ClassVar

from aats_core.clock import Clock
from aats_core.settings import AgentSettings

REQUEST_TIMEOUT = 30.0
"""Seconds that a request waits for its answer where the caller does not say."""


class AgentContext(ABC):
    """What the team gives an agent: its name and settings, the way to others, and its state."""

    __slots__ = ()

    @property
    @abstractmethod
    def name(self) -> str:
        """The agent's name."""

    @property
    @abstractmethod
    def settings(self) -> AgentSettings:
        """The agent's section of the team file."""

    @property
    @abstractmethod
    def clock(self) -> Clock:
        """The team's clock."""

    @abstractmethod
    async def send(
        self,
        receiver: str,
        type: str,
        payload: Any,
        *,
        priority: int,
        deadline: float | None,
        durable: bool,
    ) -> None:
        """Put a message into another agent's mailbox."""

    @abstractmethod
    async def request(self, receiver: str, type: str, payload: Any, *, timeout: float) -> Any:
        """Put a message into another agent's mailbox and wait for the answer."""

    @abstractmethod
    async def publish(self, topic: str, type: str, payload: Any) -> None:
        """Tell everyone who subscribed."""

    @abstractmethod
    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside the handlers for as long as the agent lives."""

    @abstractmethod
    async def load_state(self) -> dict[str, Any]:
        """Return the agent's durable state."""

    @abstractmethod
    async def save_state(self, state: dict[str, Any]) -> None:
        """Write the agent's durable state."""


class Agent:
    """The base of every agent. Subclass it and mark methods with `@on`, `@subscribe` and `@task`.

    A constructor, if there is one, asks for collaborators by type: a capability of a store, an integration,
    `Clock`, `TeamInfo`, or the agent's own `Settings`. One replica handles one message at a time. The methods
    below work from `start` to the end of `stop`, not yet in the constructor.
    """

    Settings: ClassVar[type[AgentSettings]] = AgentSettings

    context: AgentContext

    @property
    def name(self) -> str:
        """The agent's name: its section of the team file."""
        return self.context.name

    @property
    def settings(self) -> Any:
        """The agent's section of the team file, an instance of its `Settings`."""
        return self.context.settings

    async def start(self) -> None:
        """Get ready; called once before the first message."""

    async def stop(self) -> None:
        """Finish; called once after the last message."""

    async def send(
        self,
        receiver: str,
        type: str,
        payload: Any = None,
        *,
        priority: int = 5,
        deadline: float | None = None,
        durable: bool = False,
    ) -> None:
        """Send a message; returns once it is in the receiver's mailbox, waiting while that is full.

        Within a process the message does not go through the broker, and dies with the process, unless it is
        `durable`. Raises `UnknownReceiver`, or `BrokerUnavailable` where the broker was needed and is away.
        """
        await self.context.send(receiver, type, payload, priority=priority, deadline=deadline, durable=durable)

    async def request(
        self,
        receiver: str,
        type: str,
        payload: Any = None,
        *,
        timeout: float = REQUEST_TIMEOUT,
    ) -> Any:
        """Send a message and return the handler's answer.

        Raises `RequestTimeout` after `timeout` seconds, `RequestFailed` where the handler raised, `InvalidPayload`
        where the payload did not fit, and `UnknownReceiver`.
        """
        return await self.context.request(receiver, type, payload, timeout=timeout)

    async def publish(self, topic: str, type: str, payload: Any = None) -> None:
        """Publish a message to a topic through the broker; returns once the broker has confirmed it."""
        await self.context.publish(topic, type, payload)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine beside the handlers; if it raises, the agent has crashed and is restarted.

        It is cancelled when the agent stops.
        """
        return self.context.spawn(work)

    async def load_state(self) -> dict[str, Any]:
        """Return the agent's durable state, empty at first; replicas share it."""
        return await self.context.load_state()

    async def save_state(self, state: dict[str, Any]) -> None:
        """Write the agent's durable state; raises `Conflict` if it changed since this replica last loaded it."""
        await self.context.save_state(state)


class Effects(ABC):
    """What a task does to the world, done once although the task may run more than once."""

    @abstractmethod
    async def once(
        self,
        key: str,
        do: Any,
        *,
        check: Any = None,
        idempotent: bool = False,
    ) -> Any:
        """Do it and return its outcome, or return the outcome recorded when it was done before.

        `key` names the effect within its task. `do` is an async function without arguments, whose outcome JSON
        can carry. Where a crash left an intent without an outcome, `check(key)` is awaited if given: it
        returns the outcome if the effect happened, and None if not; with `idempotent` it is simply done again;
        otherwise the task stops in state unknown and `EffectUnknown` is raised.
        """

    @abstractmethod
    def store(self, *writes: Any) -> None:
        """Add writes to the task's own store, committed in one transaction with the task's result."""


class TaskContext(ABC):
    """What a task handler may know and do besides its payload.

    Cancellation arrives as `asyncio.CancelledError`; the worker's heartbeat goes on by itself while the event
    loop runs.
    """

    id: str
    plan: str
    name: str
    kind: str
    attempt: int
    deadline: float | None
    inputs: dict[str, Any]
    effects: Effects
    clock: Clock

    @abstractmethod
    async def report(self, text: str) -> None:
        """Say how far the task is, in words for people."""

    @abstractmethod
    async def heartbeat(self) -> None:
        """Renew the lease now; raises `asyncio.CancelledError` where the attempt has been taken away meanwhile."""
