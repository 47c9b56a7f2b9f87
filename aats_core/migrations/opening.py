"""A migrator on the stores that a team file names, of which nothing else is connected or started."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry

from aats_core.clock import RealClock
from aats_core.container import Container
from aats_core.errors import StateLocked
from aats_core.hooks import Hooks
from aats_core.kinds import TaskKinds
from aats_core.migrations.migrator import Migrator
from aats_core.migrations.steps import Step, read_steps
from aats_core.plugins import PluginKind
from aats_core.policy import AllowAll
from aats_core.settings import TeamInfo
from aats_core.state_dir import StateDirectory, check_format
from aats_core.store import Store
from aats_core.team_file import TeamFile

_CLOSING = 10.0
_PAUSE = 0.2
_BACKENDS = (PluginKind.BROKER, PluginKind.STORE)


@asynccontextmanager
async def open_to_read(team_file: TeamFile) -> AsyncIterator[Migrator]:
    """Return a migrator for questions, beside a team that may run.

    Where the team has no state directory yet, a temporary one stands in for it. Raises `StateTooNew` where a newer
    version wrote the one that it has.
    """
    steps = read_steps(team_file)
    with ExitStack() as stack:
        directory = team_file.state_dir
        check_format(directory)
        if not directory.is_dir():
            directory = Path(stack.enter_context(TemporaryDirectory(prefix="aats-migrate-")))
        async with _connected(team_file, steps, directory) as migrator:
            yield migrator


@asynccontextmanager
async def open_to_change(
    team_file: TeamFile, *, wait: float | None, waiting: Callable[[str], None]
) -> AsyncIterator[Migrator]:
    """Return a migrator for changes; the state directory is held meanwhile, so that no team runs on it.

    `waiting` is called once with who holds it, and after `wait` seconds `StateLocked` raised.
    """
    steps = read_steps(team_file)
    with ExitStack() as stack:
        await _hold(stack, team_file.state_dir, wait, waiting)
        async with _connected(team_file, steps, team_file.state_dir) as migrator:
            yield migrator


async def _hold(stack: ExitStack, path: Path, wait: float | None, waiting: Callable[[str], None]) -> None:
    clock = RealClock()
    began, told = clock.monotonic(), False
    while True:
        try:
            stack.enter_context(StateDirectory(path))
        except StateLocked as error:
            if not told:
                waiting(str(error))
            told = True
            if wait is not None and clock.monotonic() - began >= wait:
                raise
        else:
            return
        await clock.sleep(_PAUSE)


@asynccontextmanager
async def _connected(team_file: TeamFile, steps: Sequence[Step], directory: Path) -> AsyncIterator[Migrator]:
    section = team_file.team
    info = TeamInfo(section.name, section.namespace, directory, "migrator", section.grace, section.lease)
    shared = (info, RealClock(), TaskKinds(), AllowAll(), CollectorRegistry())
    parts = tuple(part for part in team_file.sections if part.kind in _BACKENDS)
    container = Container(TeamFile(team_file.path, section, parts), hooks=Hooks(), shared=shared)
    async with AsyncExitStack() as stack:
        for store in container.stores.values():
            stack.push_async_callback(_close, store)
            await store.connect()
        yield Migrator(steps, container.stores, info)


async def _close(store: Store) -> None:
    async with asyncio.timeout(_CLOSING):
        await store.close()
