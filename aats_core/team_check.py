"""Checking a team file: what each section comes to, and whether what it stands for can be reached."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from aats_core.broker import Broker
from aats_core.clock import RealClock
from aats_core.container import Container
from aats_core.errors import AatsError, PluginBroken, StateError, StateLocked, WiringError
from aats_core.health import Health
from aats_core.hooks import Hooks
from aats_core.host import handlers_of
from aats_core.kinds import TaskKinds
from aats_core.layers import SECTIONS
from aats_core.plugins import Catalog, PluginKind
from aats_core.policy import AllowAll
from aats_core.problems import Problem
from aats_core.secrets import redact
from aats_core.section import shown_settings
from aats_core.settings import BrokerSettings, PluginSettings, StoreSettings, TeamInfo
from aats_core.state_dir import StateDirectory
from aats_core.store import Store
from aats_core.team_file import Section, TeamFile, describe_problems, examine_team_file
from aats_core.version import VERSION

log = logging.getLogger(__name__)

_SHARE = 0.8
"""The part of the time of a check that a broker or a store takes at most to say that its server is away."""


class CheckStatus(StrEnum):
    """What is known of a section: how well its part works, that it is not valid, or that it was not tried."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"
    INVALID = "invalid"
    UNTRIED = "untried"


class ShownSetting(msgspec.Struct, frozen=True):
    """One setting as it may be shown, secrets masked; `default` tells that nobody has set it."""

    name: str
    value: Any
    default: bool


class CheckRow(msgspec.Struct, frozen=True):
    """What a section comes to; `plugin` and `version` are empty where there is none to be used."""

    section: str
    plugin: str
    version: str
    status: CheckStatus
    detail: str
    settings: tuple[ShownSetting, ...] = ()


class CheckReport(msgspec.Struct, frozen=True):
    """A checked team file: a row for each section, those of the defaults too, and every problem in a line."""

    path: str
    rows: tuple[CheckRow, ...]
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether a team can be expected to start from this file here and now."""
        return not self.problems and all(row.status in (CheckStatus.OK, CheckStatus.DEGRADED) for row in self.rows)


_Findings = dict[str, tuple[CheckStatus, str]]
"""By section, what was found out about it: its status, and a sentence about that."""

_UNTRIED = (CheckStatus.UNTRIED, "something else in the file has to be put right first")


async def check_team_file(
    path: Path | str,
    *,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
    catalog: Catalog | None = None,
    timeout: float = 10.0,
) -> CheckReport:
    """Read a team file as a run would, connect what it names, each within `timeout` seconds, and disconnect it.

    Integrations are started and stopped, agents only built. Where no team has used the state directory yet, or
    one uses it right now, a temporary directory stands in for it. Raises `SettingsError` where the file cannot be
    read at all.
    """
    team_file, problems = examine_team_file(path, overrides=overrides, environ=environ, catalog=catalog)
    findings: _Findings = {}
    with _state_directory(team_file.state_dir) as (directory, findings["team"]):
        team = team_file.team
        info = TeamInfo(team.name, team.namespace, directory, "check", grace=team.grace, lease=team.lease)
        whole = not any(map(_of_backend, problems))
        container, agents, faults = _compose(_impatient(team_file, timeout), info, whole=whole)
        problems += faults
        if container is not None:
            findings |= await _reach(container, timeout)
            findings |= {agent.title: _build(container, agent) for agent in agents}
    wrong: _Findings = {}
    for problem in problems:
        field = f"{problem.field}: " if problem.field else ""
        wrong.setdefault(problem.section, (CheckStatus.INVALID, f"{field}{problem.text}"))
    findings |= wrong
    rows = sorted(_rows(team_file, findings), key=_place)
    return CheckReport(str(path), tuple(rows), tuple(describe_problems(path, problems)))


def _rows(team_file: TeamFile, findings: _Findings) -> Iterator[CheckRow]:
    team = team_file.team
    yield CheckRow("team", "", VERSION, *findings["team"], _shown(team, team.model_fields_set))
    for section in team_file.sections:
        shown = _shown(section.settings, section.given)
        plugin = section.plugin
        yield CheckRow(section.title, plugin.name, plugin.version, *findings.get(section.title, _UNTRIED), shown)
    known = {"", "team", *(section.title for section in team_file.sections)}
    for title, finding in findings.items():
        if title not in known:
            yield CheckRow(title, "", "", *finding)


def _place(row: CheckRow) -> int:
    table = row.section.partition(".")[0]
    return SECTIONS.index(table) if table in SECTIONS else len(SECTIONS)


def _shown(settings: PluginSettings, given: Collection[str]) -> tuple[ShownSetting, ...]:
    return tuple(ShownSetting(name, value, name not in given) for name, value in shown_settings(settings).items())


@contextmanager
def _state_directory(path: Path) -> Iterator[tuple[Path, tuple[CheckStatus, str]]]:
    """Hold the state directory where a team has used it, or make one that stands in for it."""
    with ExitStack() as stack:
        finding = (CheckStatus.OK, f"state directory {path}")
        directory = None
        try:
            if path.is_dir() and any(path.iterdir()):
                directory = stack.enter_context(StateDirectory(path)).path
            elif _can_be_written(path):
                finding = (CheckStatus.OK, f"state directory {path}, not in use yet")
            else:
                finding = (CheckStatus.DOWN, f"state directory {path} cannot be written; set state_dir to another")
        except StateLocked as error:
            finding = (CheckStatus.DEGRADED, str(error))
        except (StateError, OSError) as error:
            finding = (CheckStatus.DOWN, str(error))
        yield directory or Path(stack.enter_context(TemporaryDirectory(prefix="aats-check-"))), finding


def _can_be_written(path: Path) -> bool:
    nearest = next(parent for parent in (path, *path.parents) if parent.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _impatient(team_file: TeamFile, timeout: float) -> TeamFile:
    """Return a team file whose backends give up, and say why, before the check has waited for them long enough."""
    sections = []
    for section in team_file.sections:
        settings = section.settings
        if isinstance(settings, BrokerSettings | StoreSettings):
            settings = settings.model_copy(update={"timeout": min(settings.timeout, timeout * _SHARE)})
        sections.append(msgspec.structs.replace(section, settings=settings))
    return msgspec.structs.replace(team_file, sections=tuple(sections))


def _of_backend(problem: Problem) -> bool:
    return problem.section.partition(".")[0] in ("broker", "stores", "integrations")


def _compose(
    team_file: TeamFile, info: TeamInfo, *, whole: bool
) -> tuple[Container | None, Iterable[Section], list[Problem]]:
    """Build the whole team or, where that is not to be or fails, broker and stores; say also which agents it has."""
    shared = (info, RealClock(), TaskKinds(), AllowAll(), CollectorRegistry())
    backends = [section for section in team_file.sections if section.kind in (PluginKind.BROKER, PluginKind.STORE)]
    if not any(section.kind is PluginKind.BROKER for section in backends):
        return None, (), []
    problems: list[Problem] = []
    for sections in (team_file.sections if whole else backends, backends):
        part = TeamFile(team_file.path, team_file.team, tuple(sections))
        try:
            return Container(part, hooks=Hooks(), shared=shared), part.agents.values(), problems
        except (WiringError, PluginBroken) as error:
            problems = problems or [_as_problem(line) for line in str(error).splitlines()]
    return None, (), problems


def _as_problem(line: str) -> Problem:
    match = re.match(r"\[([^\]]+)\] (.*)", line)
    return Problem(match[1], "", match[2]) if match else Problem("", "", line)


async def _reach(container: Container, timeout: float) -> _Findings:
    """Connect the broker and the stores at once, then start the integrations in order; end all of them again."""
    backends: dict[str, Broker | Store] = {"broker": container.broker}
    backends |= {f"stores.{name}": store for name, store in container.stores.items()}
    findings: _Findings = {}
    async with AsyncExitStack() as stack:
        for title, backend in backends.items():
            stack.push_async_callback(_end, title, backend.close, timeout, findings)
        attempts = [_attempt(backend.connect, backend.health, timeout) for backend in backends.values()]
        findings |= zip(backends, await asyncio.gather(*attempts), strict=True)
        for name, integration in container.integrations.items():
            title = f"integrations.{name}"
            stack.push_async_callback(_end, title, integration.stop, timeout, findings)
            findings[title] = await _attempt(integration.start, integration.health, timeout)
    return findings


async def _attempt(
    begin: Callable[[], Awaitable[None]], health: Callable[[], Awaitable[Health]], timeout: float
) -> tuple[CheckStatus, str]:
    try:
        async with asyncio.timeout(timeout):
            await begin()
            answer = await health()
    except TimeoutError as error:
        return CheckStatus.DOWN, redact(str(error)) or f"no answer within {timeout:g} s"
    except Exception as error:  # noqa: BLE001 - contained: that is the finding
        return CheckStatus.DOWN, redact(f"{type(error).__name__}: {error}")
    return CheckStatus(answer.status), redact(answer.detail)


async def _end(title: str, end: Callable[[], Awaitable[None]], timeout: float, findings: _Findings) -> None:
    try:
        async with asyncio.timeout(timeout):
            await end()
    except Exception as error:
        log.exception("[%s] could not be ended well after the check", title)
        status, detail = findings.get(title, _UNTRIED)
        failure = redact(f"could not be ended well after the check: {type(error).__name__}: {error}")
        worse = CheckStatus.DEGRADED if status is CheckStatus.OK else status
        findings[title] = (worse, f"{detail}; {failure}" if detail else failure)


def _build(container: Container, section: Section) -> tuple[CheckStatus, str]:
    """Build an agent and look at its handlers; its detail says which tasks it runs."""
    try:
        table = handlers_of(type(container.agent(section.name)))
    except AatsError as error:
        return CheckStatus.INVALID, str(error)
    return CheckStatus.OK, f"runs {', '.join(sorted(table.tasks))}" if table.tasks else ""
