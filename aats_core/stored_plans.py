"""The plans of a team that does not run, read from its store."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Protocol, runtime_checkable

from aats_core.clock import RealClock
from aats_core.container import Container
from aats_core.errors import InvalidRequest, NotFound
from aats_core.hooks import Hooks
from aats_core.kinds import TaskKinds
from aats_core.operations import PlanDetail
from aats_core.plugins import PluginKind
from aats_core.policy import AllowAll
from aats_core.settings import TeamInfo
from aats_core.state_dir import StateDirectory
from aats_core.store import Store
from aats_core.task import PROJECT_MANAGER
from aats_core.team_file import TeamFile

_CLOSING = 10.0
_BACKENDS = (PluginKind.BROKER, PluginKind.STORE)


@runtime_checkable
class PlanReader(Protocol):
    """What a project manager offers besides its messages, so that its plans can be read while no team runs."""

    async def read_plan(self, id: str) -> PlanDetail:
        """Return a plan by its id, or the newest of that name; works without a start, and raises `NotFound`."""
        ...


async def read_stored_plan(team_file: TeamFile, id: str) -> PlanDetail:
    """Return a plan of a team that does not run; nothing of the team is started, and nothing is changed.

    Meanwhile the state directory is held, so that no team starts on it. Raises `NotFound`, `StateLocked` where the
    team runs after all, `StoreUnavailable`, and `InvalidRequest` where its project manager cannot read without it.
    """
    if not team_file.state_dir.is_dir():
        raise NotFound(f"there is no plan {id!r}: no team has run in {team_file.state_dir} yet")
    async with AsyncExitStack() as stack:
        state = stack.enter_context(StateDirectory(team_file.state_dir))
        section = team_file.team
        info = TeamInfo(section.name, section.namespace, state.path, "reader", section.grace, section.lease)
        parts = tuple(s for s in team_file.sections if s.kind in _BACKENDS or s.title == f"agents.{PROJECT_MANAGER}")
        container = Container(
            TeamFile(team_file.path, section, parts),
            hooks=Hooks(),
            shared=(info, RealClock(), TaskKinds(), AllowAll()),
        )
        manager = container.agent(PROJECT_MANAGER)
        if not isinstance(manager, PlanReader):
            raise InvalidRequest(f"{type(manager).__name__} cannot read plans while no team runs; start the team")
        for store in container.stores.values():
            stack.push_async_callback(_close, store)
            await store.connect()
        return await manager.read_plan(id)


async def _close(store: Store) -> None:
    async with asyncio.timeout(_CLOSING):
        await store.close()
