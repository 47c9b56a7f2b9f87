"""Stand-ins for what the team gives an agent and its tasks; they record what was said to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, NamedTuple

import msgspec

from aats_core.agent import Agent, AgentContext, Effects, TaskContext
from aats_core.clock import Clock, RealClock
from aats_core.errors import EffectUnknown, RequestFailed, TaskFailed
from aats_core.settings import AgentSettings
from aats_core.store import Write

Do = Callable[[], Awaitable[Any]]
Check = Callable[[str], Awaitable[Any]]


class FakeEffects(Effects):
    """Keeps intents and outcomes in memory by the rules of the real ones.

    Give the same object to the contexts of two attempts to see what a repetition does; put a key into `intents`
    first to play a crash that left an effect begun. `done` counts how often something was done under a key, and
    `writes` holds what was added to the result's transaction.
    """

    def __init__(self) -> None:
        self.intents: set[str] = set()
        self.outcomes: dict[str, Any] = {}
        self.done: dict[str, int] = {}
        self.writes: list[Write] = []

    async def once(self, key: str, do: Do, *, check: Check | None = None, idempotent: bool = False) -> Any:
        """Do it once; what was recorded comes back as JSON carried it."""
        if key in self.outcomes:
            return self.outcomes[key]
        if key in self.intents:
            outcome = await check(key) if check is not None else None
            if outcome is not None:
                return self._record(key, outcome)
            if check is None and not idempotent:
                raise EffectUnknown(f"effect {key!r} was begun earlier and its outcome is not known")
        self.intents.add(key)
        self.done[key] = self.done.get(key, 0) + 1
        try:
            outcome = await do()
        except TaskFailed:
            self.intents.discard(key)
            raise
        self._record(key, outcome)
        return outcome

    def store(self, *writes: Write) -> None:
        """Remember the writes."""
        self.writes.extend(writes)

    def _record(self, key: str, outcome: Any) -> Any:
        self.outcomes[key] = msgspec.json.decode(msgspec.json.encode(outcome))
        self.intents.discard(key)
        return outcome


class FakeTaskContext(TaskContext):
    """The context of one attempt. `reports` holds what the handler reported, `heartbeats` how often it asked.

    Set `taken_away` to have the next heartbeat raise `CancelledError`, as where the attempt was given to another.
    """

    def __init__(
        self,
        id: str = "plan/task",
        *,
        kind: str = "test.kind",
        attempt: int = 1,
        deadline: float | None = None,
        inputs: Mapping[str, Any] | None = None,
        effects: FakeEffects | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.id = id
        self.plan, _, self.name = id.partition("/")
        self.kind = kind
        self.attempt = attempt
        self.deadline = deadline
        self.inputs = dict(inputs or {})
        self.effects: FakeEffects = effects or FakeEffects()
        self.clock = clock or RealClock()
        self.reports: list[str] = []
        self.heartbeats = 0
        self.taken_away = False

    async def report(self, text: str) -> None:
        """Remember the text."""
        self.reports.append(text)

    async def heartbeat(self) -> None:
        """Count it."""
        self.heartbeats += 1
        if self.taken_away:
            raise asyncio.CancelledError


class Sent(NamedTuple):
    """One message that an agent sent, requested or published; `receiver` is a topic where it was published."""

    how: str
    receiver: str
    type: str
    payload: Any
    priority: int = 5
    deadline: float | None = None
    durable: bool = False
    timeout: float | None = None


class FakeAgentContext(AgentContext):
    """What an agent sees of its team. `sent` records every message, `state` is its durable state.

    `answers` says what a request gets, by receiver and type: a value, or an exception to raise.
    """

    def __init__(
        self,
        settings: AgentSettings | None = None,
        *,
        name: str = "agent",
        clock: Clock | None = None,
        answers: Mapping[tuple[str, str], Any] | None = None,
    ) -> None:
        self._settings = settings or AgentSettings()
        self._name = name
        self._clock = clock or RealClock()
        self._spawned: set[asyncio.Task[None]] = set()
        self.answers = dict(answers or {})
        self.sent: list[Sent] = []
        self.state: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """The name that was given."""
        return self._name

    @property
    def settings(self) -> AgentSettings:
        """The settings that were given."""
        return self._settings

    @property
    def clock(self) -> Clock:
        """The clock that was given, or the machine's."""
        return self._clock

    async def send(
        self, receiver: str, type: str, payload: Any, *, priority: int, deadline: float | None, durable: bool
    ) -> None:
        """Record the message."""
        self.sent.append(Sent("send", receiver, type, payload, priority, deadline, durable))

    async def request(self, receiver: str, type: str, payload: Any, *, timeout: float) -> Any:
        """Record the message and return, or raise, the answer that was set up; `RequestFailed` where there is none."""
        self.sent.append(Sent("request", receiver, type, payload, timeout=timeout))
        if (receiver, type) not in self.answers:
            raise RequestFailed(f"no answer was set up for {type} to {receiver}")
        answer = self.answers[receiver, type]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def publish(self, topic: str, type: str, payload: Any) -> None:
        """Record the message."""
        self.sent.append(Sent("publish", topic, type, payload))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run it until it ends or `end` is awaited."""
        task = asyncio.get_running_loop().create_task(work)
        self._spawned.add(task)
        return task

    async def end(self) -> None:
        """Cancel what was spawned, as the team does when the agent stops, and raise what failed of it."""
        spawned, self._spawned = self._spawned, set()
        for task in spawned:
            task.cancel()
        for ended in await asyncio.gather(*spawned, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    async def load_state(self) -> dict[str, Any]:
        """Return a copy of the state."""
        return dict(self.state)

    async def save_state(self, state: dict[str, Any]) -> None:
        """Replace the state by what JSON carries of it."""
        self.state = msgspec.json.decode(msgspec.json.encode(state))


def give_context(agent: Agent, settings: AgentSettings | None = None) -> FakeAgentContext:
    """Give an agent a fake context with those settings, or its defaults, and return it."""
    context = FakeAgentContext(settings or type(agent).Settings(), name=type(agent).__name__.lower())
    agent.context = context
    return context
