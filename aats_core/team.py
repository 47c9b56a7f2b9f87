"""A team: composes what a team file names, starts it in order, and stops it in reverse."""

from __future__ import annotations

import asyncio
import logging
import os
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from types import TracebackType
from typing import Any, Self, cast

from prometheus_client import CollectorRegistry, generate_latest

from aats_core import hookspecs
from aats_core.agent import Agent
from aats_core.clock import Clock, RealClock
from aats_core.container import Container
from aats_core.door import Door
from aats_core.errors import AatsError, AgentFailed, PluginBroken
from aats_core.exposition import BrokerCollector, RuntimeCollector, StoreCollector
from aats_core.health import Health, HealthStatus
from aats_core.hooks import Hooks
from aats_core.host import AgentHost
from aats_core.kinds import TaskKinds
from aats_core.middleware import Middleware
from aats_core.migrations.pending import PendingSteps
from aats_core.operations import AgentStatus, Operations, TeamStatus
from aats_core.policy import AllowAll, Policy
from aats_core.runtime import Runtime
from aats_core.secrets import redact
from aats_core.settings import AgentSettings, BrokerSettings, TeamInfo
from aats_core.state_dir import StateDirectory
from aats_core.store import RecordStore
from aats_core.task import PROJECT_MANAGER, TASK_SCHEDULER
from aats_core.team_broker import TeamBroker
from aats_core.team_file import TeamFile
from aats_core.topics import TeamTopics
from aats_core.version import VERSION
from aats_core.worker import Worker

log = logging.getLogger("aats.team")

HEALTH_TIMEOUT = 5.0
"""Seconds that a part has to say how it is."""

STOP_TIMEOUT = 30.0
"""Seconds that a part has to stop, an agent besides the team's grace time."""

READ_TIMEOUT = 5.0
"""Seconds that scheduler and project manager have for each part of theirs in a drain."""


class Team:
    """A running team, as an async context manager.

    Entering starts everything or, where something fails, nothing, and raises what failed. Leaving drains: no task is
    assigned any more, running ones have the team's grace time to finish, the others are handed back; until then the
    team can be spoken to. Then all parts stop in reverse order of their start. Raises `AgentFailed` where the
    team ends because the project manager or the task scheduler was given up, or with `every_agent` any agent.
    """

    operations: Operations
    hooks: Hooks
    metrics: CollectorRegistry

    def __init__(
        self,
        team_file: TeamFile,
        *,
        clock: Clock | None = None,
        policy: Policy | None = None,
        every_agent: bool = False,
    ) -> None:
        self._file = team_file
        self._clock = clock or RealClock()
        self._policy = policy
        self._every_agent = every_agent
        self._stack = AsyncExitStack()
        self._stopping = asyncio.Event()
        self._grace = team_file.team.grace
        self._draining = False
        self._failure: AgentFailed | None = None

    async def __aenter__(self) -> Self:
        """Start the team."""
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        self.hooks.notify(hookspecs.team_started, self._info)
        log.info("team %s runs, process %d", self._info.name, os.getpid())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drain and stop the team."""
        self._stopping.set()
        self.hooks.notify(hookspecs.team_stopping, self._info)
        await self._stack.aclose()
        log.info("team %s stopped", self._info.name)
        if self._failure is not None and error is None:
            raise self._failure

    def request_stop(self, *, now: bool = False) -> None:
        """Ask for the team's end: after a drain, or with `now` handing back at once what runs."""
        self._stopping.set()
        if now:
            self._grace = 0.0
        if now and self._draining:
            for worker in self._workers():
                worker.hurry()

    async def wait_stopped(self) -> None:
        """Wait until somebody has asked for the team's end."""
        await self._stopping.wait()

    # Start

    async def _start(self, stack: AsyncExitStack) -> None:
        section = self._file.team
        self._started = self._clock.time()
        state = stack.enter_context(StateDirectory(self._file.state_dir))
        self._info = TeamInfo(
            section.name, section.namespace, state.path, state.node, grace=section.grace, lease=section.lease
        )
        if self._policy is None:
            self._policy = AllowAll()
            log.info("access control: everybody who can open the socket of %s may do everything", state.path)
        self.hooks, self._kinds = Hooks(), TaskKinds()
        self.metrics = CollectorRegistry()
        shared = (self._info, self._clock, self._kinds, self._policy, self.metrics)
        self._container = Container(self._file, hooks=self.hooks, shared=shared)
        await self._open_backends(stack)
        self._runtime = await self._start_runtime(stack)
        self.operations = Operations(
            self._runtime.request,
            self._policy,
            hooks=self.hooks,
            status=self._status,
            drain=self.request_stop,
            topics=self._topics,
            metrics=lambda: generate_latest(self.metrics).decode(),
        )
        self.hooks.register(self, "kernel.team")
        await self._start_agents(stack)
        await stack.enter_async_context(Door(self.operations, state.path))
        stack.push_async_callback(self._drain)

    async def _open_backends(self, stack: AsyncExitStack) -> None:
        self._broker = TeamBroker(
            self._container.broker, lease=cast("BrokerSettings", self._file.broker.settings).lease
        )
        self._topics = TeamTopics(self._broker, self._info.namespace)
        stack.push_async_callback(_quietly, "broker", self._broker.close)
        with _naming("broker", "connect"):
            await self._broker.connect()
        for name, store in self._container.stores.items():
            stack.push_async_callback(_quietly, f"stores.{name}", store.close)
            with _naming(f"stores.{name}", "connect"):
                await store.connect()
        self._migrations = PendingSteps(self._file, self._container.stores)
        pending = await self._migrations.health()
        if pending.detail:
            log.warning("migrations: %s", pending.detail)

    async def _start_runtime(self, stack: AsyncExitStack) -> Runtime:
        integrations = self._container.integrations
        runtime = Runtime(
            hooks=self.hooks,
            broker=self._broker,
            records=self._primary(),
            clock=self._clock,
            info=self._info,
            middleware=[part for part in integrations.values() if isinstance(part, Middleware)],
        )
        self.metrics.register(RuntimeCollector(runtime.hosts))
        self.metrics.register(BrokerCollector(self._broker.figures))
        self.metrics.register(StoreCollector(self._container.store_figures))
        for work in (self._broker.look(self._topics, self._clock), self._broker.renew(self._clock)):
            stack.callback(asyncio.create_task(work, name="broker").cancel)
        stack.push_async_callback(runtime.stop)
        await runtime.start()
        for name, integration in integrations.items():
            stack.push_async_callback(_quietly, f"integrations.{name}", integration.stop)
            with _naming(f"integrations.{name}", "start"):
                await integration.start()
        return runtime

    def _primary(self) -> RecordStore | None:
        """Return the record store named primary, or the only one."""
        found = {
            name: part
            for name, parts in self._container.capabilities.items()
            for part in parts
            if isinstance(part, RecordStore)
        }
        return found.get("primary") or (next(iter(found.values())) if len(found) == 1 else None)

    async def _start_agents(self, stack: AsyncExitStack) -> None:
        """Start the agents: those that keep and schedule tasks first, so that every worker finds them there."""
        section, first = self._file.team, [PROJECT_MANAGER, TASK_SCHEDULER]
        names = [*first, *(name for name in self._file.agents if name not in first)]
        hosts = [self._add(name) for name in names]
        for host in hosts:
            if host.worker is not None:
                self._kinds.add(host.worker.tasks)
        for host in hosts:
            stack.push_async_callback(_quietly, f"agents.{host.name}", host.stop, section.grace + STOP_TIMEOUT)
            with _naming(f"agents.{host.name}", "start"):
                await host.start()

    def _add(self, name: str) -> AgentHost:
        def make() -> Agent:
            return self._container.agent(name)

        settings = cast("AgentSettings", self._file.agents[name].settings)
        return self._runtime.add(name, make, settings)

    # Stop

    async def _drain(self) -> None:
        self._draining = True
        await self._ask(TASK_SCHEDULER, "scheduler.drain")
        await self._ask(PROJECT_MANAGER, "assignments.end")
        async with asyncio.TaskGroup() as group:
            for worker in self._workers():
                group.create_task(worker.drain(self._grace))
        await self._ask(PROJECT_MANAGER, "inbox.read")

    async def _ask(self, agent: str, type: str) -> None:
        """Have an agent do its part in draining, where it still can."""
        try:
            await self._runtime.request(agent, type, timeout=READ_TIMEOUT)
        except AatsError as error:
            log.warning("%s; tasks whose last step was not stored run again after a restart", error)

    @hookspecs.hookimpl
    def agent_crashed(self, agent: str, restarts: int) -> None:
        """End the team where it can do nothing any more."""
        if restarts == 0 and (self._every_agent or agent in (PROJECT_MANAGER, TASK_SCHEDULER)):
            self._failure = AgentFailed(f"{agent} crashed too often; the log says why. What was accepted is kept")
            self._stopping.set()

    def _workers(self) -> list[Worker]:
        return [host.worker for host in self._runtime.hosts.values() if host.worker is not None]

    # Status

    async def _status(self) -> TeamStatus:
        container = self._container
        parts: dict[str, Callable[[], Awaitable[Health]]] = {"broker": container.broker.health}
        parts |= {f"stores.{name}": store.health for name, store in container.stores.items()}
        parts |= {f"integrations.{name}": part.health for name, part in container.integrations.items()}
        if self._migrations.any:
            parts["migrations"] = self._migrations.health
        answers = await asyncio.gather(*(_health(ask) for ask in parts.values()))
        return TeamStatus(
            self._info.name,
            VERSION,
            os.getpid(),
            self._started,
            self._draining or self._stopping.is_set(),
            dict(zip(parts, answers, strict=True)),
            [_agent_status(host) for host in self._runtime.hosts.values()],
        )


def _agent_status(host: AgentHost) -> AgentStatus:
    worker = host.worker
    return AgentStatus(
        host.name,
        host.plugin,
        host.status,
        len(host.replicas),
        host.figures.handled,
        len(host.mailbox),
        host.restarts,
        list(worker.tasks) if worker else [],
        worker.running if worker else [],
        "" if not host.figures.dead else f"{host.figures.dead} dead letters",
    )


async def _health(ask: Callable[[], Awaitable[Health]]) -> Health:
    try:
        async with asyncio.timeout(HEALTH_TIMEOUT):
            return await ask()
    except TimeoutError:
        return Health(HealthStatus.DOWN, f"no answer within {HEALTH_TIMEOUT:g} s")
    except Exception as error:  # noqa: BLE001 - contained: health never raises, and a plugin that does is not well
        return Health(HealthStatus.DOWN, f"{type(error).__name__}: {error}")


@contextmanager
def _naming(name: str, what: str) -> Iterator[None]:
    """Say which part it was that did not come up, where that raises an error of its own."""
    try:
        yield
    except AatsError:
        raise
    except (Exception, SystemExit) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise PluginBroken(
            redact(f"[{name}] {what} failed: {type(error).__name__}: {error} (at {frame.filename}:{frame.lineno})")
        ) from error


async def _quietly(name: str, stop: Callable[[], Awaitable[Any]], seconds: float = STOP_TIMEOUT) -> None:
    """Stop one part; that it fails or hangs must not keep the others from being stopped."""
    try:
        async with asyncio.timeout(seconds):
            await stop()
    except TimeoutError:
        log.error("[%s] did not stop within %g s; the others stop without it", name, seconds)
    except AatsError as error:
        log.warning("[%s] did not stop well: %s", name, error)
    except Exception:
        log.exception("[%s] did not stop well", name)
